"""Bucket: tensors that one compiled call steps: of one rule, one format and one kind of decay."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter, is_
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thalweg.kernels.generate import Wrap
from thalweg.kernels.kernel import compiled
from thalweg.kernels.simd import LANES
from thalweg.kernels.table import Table
from thalweg.optim.options import Options
from thalweg.optim.recipe import Recipe
from thalweg.optim.state import LOST, kept_keys

__all__ = ["Bucket", "Member", "SparseError", "fits", "local"]

_FORMATS = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
_dtype, _layout = attrgetter("dtype"), attrgetter("layout")
_data_ptr: Any = Tensor.data_ptr
_is_contiguous: Any = Tensor.is_contiguous
_EMPTY = torch.empty(0)  # lies at address 0: no gradient
_MOST_THREADS = numba.get_num_threads()  # as many as Numba has started


_COMPLEX = (torch.complex64, torch.complex128)


def local(tensor: Tensor) -> Tensor:
    """Return the part of a distributed tensor that this process holds, else the tensor itself."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _real(tensor: Tensor) -> Tensor:
    """Return a tensor's memory as real numbers, without its history."""
    tensor = local(tensor).detach()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def fits(p: Tensor, kept: Sequence[Tensor]) -> bool:
    """Return whether a kernel can step a parameter with its arrays of state.

    They must lie on the CPU, in one order without gaps, in formats that the kernels know; a state
    may be narrower than what is computed in, as long as all are.
    """
    arrays = [local(tensor) for tensor in (p, *kept)]
    first = arrays[0]
    if first.dtype in _COMPLEX:
        right = all(a.dtype is first.dtype for a in arrays)
    else:
        computed = torch.float64 if first.dtype is torch.float64 else torch.float32
        legal = {computed, torch.bfloat16, torch.float16}
        states = {a.dtype for a in arrays[1:]}
        right = first.dtype in legal and states <= legal and len(states) < 2
    lazy = any(a.is_conj() or a.is_neg() for a in arrays)  # bits that no kernel reads
    alike = not lazy and all(
        a.stride() == first.stride() and a.device.type == "cpu" for a in arrays
    )
    return right and alike and _dense(first)


def _dense(tensor: Tensor) -> bool:
    """Return whether the elements fill their memory, each in its own place, in whatever order."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride != expected:
                return False
            expected *= size
    return True


def _same_memory(tensor: Tensor, like: Tensor) -> Tensor:
    """Return the tensor in the dtype and memory order of another, itself if it has them."""
    lazy = tensor.is_conj() or tensor.is_neg()  # of bits that no kernel reads
    if tensor.dtype is like.dtype and tensor.stride() == like.stride() and not lazy:
        return tensor
    return torch.empty_like(like).copy_(tensor)


class SparseError(Exception):
    """A gradient is sparse: no kernel takes it."""


@dataclass(frozen=True, eq=False)
class Member:
    """A parameter, its state and the group that it belongs to."""

    parameter: Tensor
    state: dict[str, Any]
    group: int


class Bucket:
    """Tensors that one compiled call steps.

    Args:
        members: parameters that ``fits`` takes; they and their states agree in dtypes and in the
            order of their memory.
        recipe: of the first of them; the others differ in values only.
        options: what the kernel does beside.
    """

    def __init__(self, members: Sequence[Member], recipe: Recipe, options: Options) -> None:
        self.rule = recipe.rule
        self.groups = [member.group for member in members]
        self.parameters = [member.parameter for member in members]
        self.states = [member.state for member in members]
        self.plain = not any(hasattr(p, "to_local") for p in self.parameters)
        self.contiguous = all(p.is_contiguous() for p in map(local, self.parameters))
        keys = kept_keys(recipe, self.parameters[0], options)
        self.held = [[state[key] for state in self.states] for key in keys]
        self.seen = list(chain.from_iterable(map(dict.values, self.states)))
        self.addresses = self._addresses()
        columns = [[_real(tensor) for tensor in column] for column in (self.parameters, *self.held)]
        formats = [column[0].dtype for column in columns]
        self.dtype = formats[0]
        computed = torch.float64 if self.dtype is torch.float64 else torch.float32
        names = [None if f is computed else _FORMATS[f] for f in formats]
        # Always scaled and decayed: no value that a user may change compiles anything.
        wrap = Wrap(
            scaled=True,
            coupled=not recipe.decoupled,
            shrunk=recipe.decoupled,
            cautious=options.cautious,
            zeroed=options.zero_gradients,
            values=names[0],
            state=names[1] if self.held and keys[0] != LOST else None,
            without=recipe.without,
            rounding=options.rounding if "bfloat16" in names else "nearest",
        )
        items = [column[0].element_size() for column in columns]
        self.table = Table(
            compiled(self.rule, np.dtype(str(computed).removeprefix("torch.")), wrap),
            [value.numel() for value in columns[0]],
            [[t.data_ptr() for t in row] for row in zip(*columns, strict=True)],
            [items[0], *items],
            seed=torch.initial_seed(),
        )
        self.copied: list[Tensor] = []  # whose gradient had to be copied for this step
        self._keep(recipe)
        self._present: list[bool] | None = None
        self.t: NDArray[np.float64]
        self.uniform: NDArray[np.float64]
        self.cohort: NDArray[np.intp]
        self._recipes: Sequence[Recipe] | None = None
        self._scale = 1.0

    def _keep(self, recipe: Recipe) -> None:
        """Show the table where each tensor's count of steps and uniform state lie."""
        names = ("step", *self.rule.uniform_state)
        kept = [
            [state[recipe.keys[n]] if n in recipe.keys else None for n in names]
            for state in self.states
        ]
        self.table.keep(
            np.array([[0 if s is None else s.data_ptr() for s in row] for row in kept], np.intp),
            np.array([[s is not None and s.dtype is torch.float64 for s in row] for row in kept]),
        )

    def _addresses(self) -> list[int]:
        arrays = chain(self.parameters, *self.held)
        return list(map(_data_ptr, arrays if self.plain else map(local, arrays)))

    def valid(self) -> bool:
        """Return whether parameters and state still lie where they were found."""
        now = list(chain.from_iterable(map(dict.values, self.states)))
        same = len(now) == len(self.seen) and all(map(is_, now, self.seen))
        return same and self._addresses() == self.addresses

    def gradients(self) -> list[Tensor | None]:
        """Return the gradients, local, in the parameters' own dtype and memory order.

        Raises:
            SparseError: one of them is sparse.
        """
        found = [p.grad for p in self.parameters]
        if not self.plain:
            found = [g if g is None else local(g) for g in found]
        present = [g for g in found if g is not None]
        if set(map(_layout, present)) - {torch.strided}:
            raise SparseError
        first = self.parameters[0]
        right = {first.dtype}.issuperset(map(_dtype, present)) and not first.is_complex()
        self.copied = []
        if right and self.contiguous and all(map(_is_contiguous, present)):
            return found
        fitting = [
            g if g is None else _same_memory(g, local(p))
            for g, p in zip(found, self.parameters, strict=True)
        ]
        pairs = zip(self.parameters, fitting, found, strict=True)
        self.copied = [p for p, ours, theirs in pairs if ours is not theirs]
        return fitting

    def step(
        self, gradients: Sequence[Tensor | None], recipes: Sequence[Recipe], scale: float
    ) -> None:
        """Take one step of the tensors that have a gradient.

        Args:
            gradients: what ``gradients`` returned.
            recipes: of each group of the optimizer.
            scale: what gradients are multiplied by.
        """
        present = [g is not None for g in gradients]
        if not any(present):
            return
        there = gradients if all(present) else [_EMPTY if g is None else g for g in gradients]
        places = np.array(list(map(_data_ptr, there)), np.intp)
        if self.table.parallel:
            numba.set_num_threads(min(torch.get_num_threads(), _MOST_THREADS))
        if present != self._present:
            self._gather(present)
        while not self._run(places, recipes, scale):
            self._gather(present)  # somebody has written into the state

    def _run(self, places: NDArray[np.intp], recipes: Sequence[Recipe], scale: float) -> bool:
        """Take the step; return False, and do nothing, where the state has other numbers."""
        if recipes is not self._recipes or scale != self._scale:
            self._recipes, self._scale = recipes, scale
            given = [
                (*r.hyper.values(), -scale if r.maximize else scale, r.decay)
                for r in (recipes[group] for group in self.cohort_groups)
            ]
            self._hyper = np.repeat(np.array(given, np.float64)[:, :, None], LANES, axis=2)
        self.t += 1
        return self.table.step(places, self.cohort, self.t, self._hyper, self.uniform)

    def _gather(self, present: list[bool]) -> None:
        """Gather the tensors that step into cohorts of one group, count of steps and state."""
        key = np.column_stack([self.groups, self.table.numbers()])[present]
        cohorts, inverse = np.unique(key, axis=0, return_inverse=True)
        self.cohort = np.full(len(present), -1, np.intp)
        self.cohort[present] = inverse.ravel()
        self.cohort_groups = cohorts[:, 0].astype(int).tolist()
        self.t = np.ascontiguousarray(cohorts[:, 1])
        self.uniform = np.ascontiguousarray(np.repeat(cohorts[:, 2:, None], LANES, axis=2))
        self._present, self._recipes = present, None
