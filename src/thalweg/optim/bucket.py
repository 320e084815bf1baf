"""Bucket: tensors that one compiled call steps: of one rule, one format and one kind of decay."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress, product
from operator import is_, itemgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.graph import increment_version

from thalweg.kernels.body import Wrap
from thalweg.kernels.cpu.kernel import compiled
from thalweg.kernels.cpu.simd import LANES
from thalweg.kernels.cpu.table import Table, use_threads
from thalweg.optim.addresses import places_of
from thalweg.optim.dispatch_keys import own, readable
from thalweg.optim.options import Options
from thalweg.optim.recipe import Recipe
from thalweg.optim.state import LOST, kept_keys

__all__ = [
    "Bucket", "ForeignError", "Member", "SparseError", "apart", "fits", "foreign", "is_sparse",
    "local", "overlaps", "reduced",
]  # fmt: skip

_FORMATS = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
_data_ptr: Any = Tensor.data_ptr

_COMPLEX = (torch.complex64, torch.complex128)
_HALF = (torch.bfloat16, torch.float16)
_SPARSE = {
    torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc,
}  # fmt: skip


def local(tensor: Tensor) -> Tensor:
    """Return the part of a distributed tensor that this process holds, else the tensor itself."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def reduced(gradient: Tensor, p: Tensor) -> Tensor:
    """Return a distributed gradient as its parameter is distributed: sums left open are taken."""
    given: Any = gradient
    like: Any = p
    if not hasattr(like, "placements") or given.placements == like.placements:
        return gradient
    whole: Tensor = given.redistribute(like.device_mesh, like.placements)
    return whole


def _real(tensor: Tensor) -> Tensor:
    """Return a tensor's memory as real numbers, without its history."""
    tensor = local(tensor).detach()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def fits(p: Tensor, kept: Sequence[Tensor], device: str = "cpu") -> bool:
    """Return whether a kernel of that kind of device can step a parameter with its arrays of state.

    They must lie there, in memory of their own, of one shape, the parameter without gaps, in
    formats that the kernels know; a state may be narrower than float32, as long as all are.
    """
    arrays = [local(tensor) for tensor in (p, *kept)]
    if not all(map(_lies, arrays)):
        return False
    first = arrays[0]
    if first.dtype in _COMPLEX:
        right = all(a.dtype is first.dtype for a in arrays)
    else:
        computed = torch.float64 if first.dtype is torch.float64 else torch.float32
        legal = {computed} if computed is torch.float64 else {computed, *_HALF}
        states = {a.dtype for a in arrays[1:]}
        right = first.dtype in legal and states <= legal and len(states) < 2
    alike = all(a.shape == first.shape and a.device.type == device for a in arrays)
    return right and alike and _dense(first)


def _lies(tensor: Tensor) -> bool:
    """Return whether a tensor's values lie in its memory, and that is there."""
    return own(tensor) and (tensor.data_ptr() != 0 or tensor.numel() == 0)


def is_sparse(gradient: Tensor) -> bool:
    """Return whether a gradient has values for some of its elements alone."""
    return gradient.layout in _SPARSE


def foreign(gradient: Tensor) -> bool:
    """Return whether only its own class can read a gradient; a distributed one is copied."""
    return not hasattr(gradient, "placements") and not readable(gradient)


def _dense(tensor: Tensor) -> bool:
    """Return whether the elements fill their memory, each in its own place, in whatever order."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride != expected:
                return False
            expected *= size
    return True


def overlaps(tensor: Tensor) -> bool:
    """Return whether two elements may lie in one place, as those of an expanded tensor do."""
    extent = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride < extent:
            return True
        extent += stride * (size - 1)
    return False


def _ordered(tensor: Tensor, like: Tensor) -> bool:
    """Return whether two tensors are of one shape and in one order of memory."""
    strides = zip(tensor.stride(), like.stride(), tensor.shape, strict=False)
    # The stride of a single element is never taken.
    return tensor.shape == like.shape and all(a == b or size == 1 for a, b, size in strides)


def _laid_as(tensor: Tensor, like: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the tensor in a dtype and the memory order of another, itself if it has them."""
    here = local(tensor)
    if here.dtype is dtype and _ordered(here, local(like)) and _lies(here):
        return tensor
    return torch.empty_like(like, dtype=dtype).copy_(tensor)


def apart(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients, with a copy of each that is a later one too: each can be zeroed."""
    last = {g.data_ptr(): i for i, g in enumerate(gradients)}
    return [g if last[g.data_ptr()] == i else g.clone() for i, g in enumerate(gradients)]


def _shared(found: NDArray[np.intp]) -> bool:
    """Return whether two gradients lie at one place."""
    there = found[found > 0]
    return len(np.unique(there)) < len(there)


class SparseError(Exception):
    """A gradient is sparse: no kernel takes it."""


class ForeignError(Exception):
    """A gradient is one that only its own class can read: no kernel takes it."""


@dataclass(frozen=True, eq=False)
class Member:
    """A parameter, its state and the group that it belongs to."""

    parameter: Tensor
    state: dict[str, Any]
    group: int


class Bucket:
    """Tensors that one compiled call steps.

    Args:
        members: parameters that ``fits`` takes; they and their states agree in dtypes. A state in
            another order of memory than its parameter's is replaced by one in that order.
        recipe: of the first of them; the others differ in values only.
        options: what the kernel does beside.
        number: of the buckets that the optimizer made before, >= 0; 0 by default. With torch's seed
            it decides what is rounded at random: no two buckets are rounded alike.

    Attributes:
        form: of the recipe: what decides the kernel.
        pattern: which of them have a gradient in this step; None: all.
        copied: those whose gradient had to be copied for this step.
    """

    def __init__(
        self, members: Sequence[Member], recipe: Recipe, options: Options, number: int = 0
    ) -> None:
        self.seeds = torch.initial_seed(), number
        self.rule, self.form = recipe.rule, recipe.form
        self.groups = [member.group for member in members]
        self.parameters = [member.parameter for member in members]
        self.states = [member.state for member in members]
        keys = kept_keys(recipe, self.parameters[0], options)
        for member, key in product(members, keys):  # a checkpoint may have them in another order
            kept = member.state[key]
            member.state[key] = _laid_as(kept, member.parameter, kept.dtype)
        self.numbers = [recipe.keys.get(name) for name in ("step", *self.rule.uniform_state)]
        self.fetch = [itemgetter(key) for key in (*keys, *filter(None, self.numbers))]
        self.held = [list(map(fetch, self.states)) for fetch in self.fetch]
        self.addresses, self.orders = self._addresses(), self._orders()
        plain = not any(hasattr(p, "to_local") for p in self.parameters)
        self.places = places_of(self.parameters, list(chain(*self.held))) if plain else None
        arrays = [self.parameters, *self.held[: len(keys)]]
        columns = [[_real(tensor) for tensor in column] for column in arrays]
        formats = [column[0].dtype for column in columns]
        self.dtype = formats[0]
        computed = torch.float64 if self.dtype is torch.float64 else torch.float32
        names = [None if f is computed else _FORMATS[f] for f in formats]
        # Always scaled and decayed: no value that a user may change compiles anything.
        self.wrap = Wrap(
            scaled=True,
            coupled=not recipe.decoupled,
            shrunk=recipe.decoupled,
            cautious=options.cautious,
            zeroed=options.zero_gradients,
            values=names[0],
            state=names[1] if keys and keys[0] != LOST else None,
            without=recipe.without,
            rounding=options.rounding if "bfloat16" in names else "nearest",
        )
        self.zeroed = options.zero_gradients
        self.pattern: list[bool] | None = None
        self._chosen = np.ones(len(members), np.bool_)
        self.copied: list[Tensor] = []
        self._found: NDArray[np.intp] | None = None
        self._recipes: Sequence[Recipe] | None = None
        self._scale = 1.0
        self.t, self.taken = np.zeros(0), 0.0
        self._prepare(columns, computed)

    def _prepare(self, columns: Sequence[Sequence[Tensor]], computed: torch.dtype) -> None:
        """Show the kernel where everything lies."""
        items = [column[0].element_size() for column in columns]
        self.table = Table(
            compiled(self.rule, np.dtype(str(computed).removeprefix("torch.")), self.wrap),
            [value.numel() for value in columns[0]],
            [[t.data_ptr() for t in row] for row in zip(*columns, strict=True)],
            [items[0], *items],
            seeds=self.seeds,
        )
        kept = [[s[key] if key else None for key in self.numbers] for s in self.states]
        self.table.keep(
            np.array([[0 if n is None else n.data_ptr() for n in row] for row in kept], np.intp),
            np.array([[n is not None and n.dtype is torch.float64 for n in row] for row in kept]),
        )
        self._gather()

    def _addresses(self) -> list[int]:
        """Return where parameters and state lie now.

        What lay there before is held, so that nothing else can have come to lie at its address.
        """
        return list(map(_data_ptr, map(local, self._arrays())))

    def _arrays(self) -> Iterator[Tensor]:
        return chain(self.parameters, *(map(fetch, self.states) for fetch in self.fetch))

    def _orders(self) -> list[tuple[Any, ...]]:
        """Return shape and strides of parameters and state."""
        return [(a.shape, a.stride()) for a in map(local, self._arrays())]

    def valid(self) -> bool:
        """Return whether parameters and state still lie where they were found, and how."""
        try:
            if self.places is None:
                return self._addresses() == self.addresses and self._orders() == self.orders
            columns = zip(self.fetch, self.held, strict=True)
            same = all(all(map(is_, map(fetch, self.states), held)) for fetch, held in columns)
            return same and self.places.unmoved()
        except (KeyError, TypeError):  # a state is gone, or no tensor any more
            return False

    def gradients(self) -> list[Tensor] | None:
        """Return the gradients that are there, in the parameters' own dtype and memory order.

        None stands for all of them, which are not held: ``places`` knows where they lie. A step
        that lasts holds them, for other threads may free theirs meanwhile.

        Raises:
            SparseError: one of them is sparse.
            ForeignError: one of them is foreign.
        """
        light = self.pattern is None and not self.table.parallel
        if light and self.places and self.places.find_gradients():
            self.copied, self._found = [], self.places.found
            return None
        return self._kept()

    def _kept(self) -> list[Tensor]:
        """Return the gradients that are there; never None."""
        found = [p.grad for p in self.parameters]
        present = [g for g in found if g is not None]
        pattern = None if len(present) == len(found) else [g is not None for g in found]
        if pattern != self.pattern:
            self.pattern = pattern
            self._chosen = np.array(pattern or [True] * len(found))
            self._gather()
        self._found = None
        if self.places and self.places.locate(found):
            self.copied, self._found = [], self.places.found
            return present
        return self._look(present)

    @property
    def stepping(self) -> list[Tensor]:
        """The parameters that have a gradient in this step."""
        return list(compress(self.parameters, self.pattern)) if self.pattern else self.parameters

    def _look(self, present: list[Tensor]) -> list[Tensor]:
        """Look at each gradient; copy those that no kernel takes as they are."""
        if any(map(is_sparse, present)):
            raise SparseError
        if any(map(foreign, present)):
            raise ForeignError
        stepping = self.stepping
        whole = list(map(reduced, present, stepping))
        here = list(map(local, whole))
        fitting = [_laid_as(g, local(p), p.dtype) for g, p in zip(here, stepping, strict=True)]
        steps = zip(present, whole, here, fitting, strict=True)
        differ = [given is not g or near is not ours for given, g, near, ours in steps]
        self.copied = list(compress(stepping, differ))
        return fitting

    def step(
        self, gradients: Sequence[Tensor] | None, recipes: Sequence[Recipe], scale: float
    ) -> None:
        """Take one step of the tensors that have a gradient.

        Args:
            gradients: what ``gradients`` returned just before.
            recipes: of each group of the optimizer.
            scale: what gradients are multiplied by.
        """
        if gradients is not None and not gradients:
            return
        found = self._found
        if found is None or (self.zeroed and _shared(found)):
            given = self._kept() if gradients is None else gradients
            gradients = apart(given) if self.zeroed else given
            found = np.zeros(len(self.parameters), np.intp)
            found[self.pattern or slice(None)] = list(map(_data_ptr, gradients))
        if self.table.parallel:
            use_threads(torch.get_num_threads())
        while not self._run(found, recipes, scale):
            self._gather()  # somebody has written into the state
        self._count_change()

    def _count_change(self) -> None:
        """Let torch count what a step has written: a backward pass through old values must fail."""
        if self.places:
            self.places.count_change(self._chosen, gradients=self.zeroed)
            return
        columns = [self.parameters, *self.held]
        if self.zeroed:
            columns.append([p.grad for p in self.parameters])
        increment_version(list(chain.from_iterable(compress(c, self._chosen) for c in columns)))

    def _run(self, found: NDArray[np.intp], recipes: Sequence[Recipe], scale: float) -> bool:
        """Take the step; return False, and do nothing, where the state has other numbers."""
        if recipes is not self._recipes or scale != self._scale:
            self._recipes, self._scale = recipes, scale
            given = [self._row(recipes[group], scale) for group in self.cohort_groups]
            self._hyper = np.repeat(np.array(given, np.float64)[:, :, None], LANES, axis=2)
        return self.table.step(found, self.cohort, self.t, self._hyper, self.uniform)

    def _row(self, recipe: Recipe, scale: float) -> list[float]:
        """Return what the kernel takes of a group."""
        signed = -scale if recipe.maximize else scale
        return self.wrap.row(
            self.rule, recipe.hyper,
            gradient_scale=signed, coupled_decay=recipe.decay, shrink=recipe.decay,
        )  # fmt: skip

    def _gather(self) -> None:
        """Gather the tensors that step into cohorts of one group, count of steps and state."""
        chosen = self.pattern or [True] * len(self.groups)
        numbers = self.table.numbers()
        if self.numbers[0] is None:  # nothing but the noise of rounding depends on t then
            numbers[:, 0] = self.taken = self.t.max(initial=self.taken)
        key = np.column_stack([self.groups, numbers])[chosen]
        cohorts, inverse = np.unique(key, axis=0, return_inverse=True)
        self.cohort = np.full(len(chosen), -1, np.intp)
        self.cohort[chosen] = inverse.ravel()
        self.cohort_groups = cohorts[:, 0].astype(int).tolist()
        self.t = np.ascontiguousarray(cohorts[:, 1])
        self.uniform = np.ascontiguousarray(np.repeat(cohorts[:, 2:, None], LANES, axis=2))
        self._recipes = None
