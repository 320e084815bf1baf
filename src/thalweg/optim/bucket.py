"""Bucket: tensors that one compiled call steps: of one rule, one format and one kind of decay."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter, is_, itemgetter
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch
from torch import Tensor

from thalweg.kernels.generate import Wrap
from thalweg.kernels.kernel import compiled
from thalweg.kernels.simd import LANES
from thalweg.kernels.table import Table
from thalweg.optim.recipe import Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


def local(tensor: Tensor) -> Tensor:
    """Return the part of a distributed tensor that this process holds, else the tensor itself."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _real(tensor: Tensor) -> Tensor:
    """Return a tensor's memory as real numbers, without its history."""
    tensor = local(tensor).detach()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def fits(tensor: Tensor) -> bool:
    """Return whether a kernel can step the tensor: on the CPU, in a known format, without gaps."""
    tensor = local(tensor)
    known = tensor.dtype in _FORMATS or tensor.dtype in (torch.complex64, torch.complex128)
    return tensor.device.type == "cpu" and known and _dense(tensor)


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
    if tensor.dtype is like.dtype and tensor.stride() == like.stride():
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
        cautious: whether an element that would move up its gradient stays where it is.
    """

    def __init__(self, members: Sequence[Member], recipe: Recipe, *, cautious: bool) -> None:
        self.rule = recipe.rule
        self.groups = [member.group for member in members]
        self.parameters = [member.parameter for member in members]
        self.states = [member.state for member in members]
        self.plain = not any(hasattr(p, "to_local") for p in self.parameters)
        self.contiguous = all(p.is_contiguous() for p in map(local, self.parameters))
        self.addresses = [p.data_ptr() for p in map(local, self.parameters)]
        self.keys = [recipe.keys[name] for name in self.rule.state]
        self.held = [[state[key] for state in self.states] for key in self.keys]
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
            cautious=cautious,
            values=names[0],
            state=names[1] if self.held else None,
        )
        items = [column[0].element_size() for column in columns]
        self.table = Table(
            compiled(self.rule, np.dtype(str(computed).removeprefix("torch.")), wrap),
            [value.numel() for value in columns[0]],
            [[t.data_ptr() for t in row] for row in zip(*columns, strict=True)],
            [items[0], *items],
        )
        self._keep(recipe)
        self._present: list[bool] | None = None
        self.t: NDArray[np.float64]
        self.uniform: NDArray[np.float64]
        self.cohort: NDArray[np.intp]
        self._recipes: Sequence[Recipe] | None = None
        self._scale = 1.0

    def _keep(self, recipe: Recipe) -> None:
        """Read each tensor's count of steps and uniform state; new values go where these lie."""
        names = ("step", *self.rule.uniform_state)
        kept = [
            [state[recipe.keys[n]] if n in recipe.keys else None for n in names]
            for state in self.states
        ]
        self.numbers = np.array([[0.0 if s is None else float(s) for s in row] for row in kept])
        self.table.keep(
            np.array([[0 if s is None else s.data_ptr() for s in row] for row in kept], np.intp),
            np.array([[s is not None and s.dtype is torch.float64 for s in row] for row in kept]),
        )
        self.scalars = [s for row in kept for s in row if s is not None]  # whose memory it is

    def valid(self) -> bool:
        """Return whether parameters and state still lie where they were found."""
        parameters = self.parameters if self.plain else map(local, self.parameters)
        if list(map(_data_ptr, parameters)) != self.addresses:
            return False
        try:
            return all(
                all(map(is_, map(itemgetter(key), self.states), column))
                for key, column in zip(self.keys, self.held, strict=True)
            )
        except KeyError:  # somebody has taken state away
            return False

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
        right = {self.parameters[0].dtype}.issuperset(map(_dtype, present))
        if right and self.contiguous and all(map(_is_contiguous, present)):
            return found
        return [
            g if g is None else _same_memory(g, local(p))
            for g, p in zip(found, self.parameters, strict=True)
        ]

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
        if present != self._present:
            self._gather(present)
        self.t += 1
        if recipes is not self._recipes or scale != self._scale:
            self._recipes, self._scale = recipes, scale
            given = [
                (*r.hyper.values(), -scale if r.maximize else scale, r.decay)
                for r in (recipes[group] for group in self.cohort_groups)
            ]
            self._hyper = np.repeat(np.array(given, np.float64)[:, :, None], LANES, axis=2)
        if self.table.parallel:
            numba.set_num_threads(min(torch.get_num_threads(), _MOST_THREADS))
        there = gradients if all(present) else [_EMPTY if g is None else g for g in gradients]
        places = np.array(list(map(_data_ptr, there)), np.intp)
        self.table.step(places, self.cohort, self.t, self._hyper, self.uniform)

    def _gather(self, present: list[bool]) -> None:
        """Gather the tensors that step into cohorts of one group, count of steps and state."""
        if self._present is not None:  # those of the last steps have moved on
            moved = self.cohort >= 0
            now = np.column_stack([self.t, self.uniform[:, :, 0]])
            self.numbers[moved] = now[self.cohort[moved]]
        key = np.column_stack([self.groups, self.numbers])[present]
        cohorts, inverse = np.unique(key, axis=0, return_inverse=True)
        self.cohort = np.full(len(present), -1, np.intp)
        self.cohort[present] = inverse.ravel()
        self.cohort_groups = cohorts[:, 0].astype(int).tolist()
        self.t = np.ascontiguousarray(cohorts[:, 1])
        self.uniform = np.ascontiguousarray(np.repeat(cohorts[:, 2:, None], LANES, axis=2))
        self._present, self._recipes = present, None
