"""Bucket: tensors that one compiled call steps: of one rule, one format and one kind of decay."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter, is_
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thalweg.kernels.generate import Wrap
from thalweg.kernels.kernel import compiled
from thalweg.kernels.loops import write_scalars
from thalweg.kernels.simd import LANES
from thalweg.kernels.table import Table
from thalweg.optim.recipe import Recipe

__all__ = ["Bucket", "Member", "fits", "local", "same_memory"]

_FORMATS = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
_dtype = attrgetter("dtype")
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


def same_memory(tensor: Tensor, like: Tensor) -> Tensor:
    """Return the tensor in the dtype and memory order of another, itself if it has them."""
    if tensor.dtype is like.dtype and tensor.stride() == like.stride():
        return tensor
    return torch.empty_like(like).copy_(tensor)


@dataclass(frozen=True, eq=False)
class Member:
    """A parameter, its state and the group that it belongs to."""

    parameter: Tensor
    state: dict[str, Any]
    group: int


class Bucket:
    """Tensors that one compiled call steps.

    Args:
        members: parameters that ``fits`` takes, of one dtype and memory-order per state.
        recipe: of the first of them; the others differ in values only.
        extra: what the kernel does beside.
    """

    def __init__(self, members: Sequence[Member], recipe: Recipe, **extra: bool) -> None:
        rule = recipe.rule
        self.members = list(members)
        self.groups = np.array([member.group for member in members], np.intp)
        self.parameters = [member.parameter for member in members]
        self.plain = not any(hasattr(p, "to_local") for p in self.parameters)
        self.states = [member.state for member in members]
        self.values = [_real(p) for p in self.parameters]
        self.keys = [recipe.keys[name] for name in rule.state]
        self.held = [[state[key] for state in self.states] for key in self.keys]
        arrays = [self.values, *([_real(s) for s in column] for column in self.held)]
        rows = list(zip(*arrays, strict=True))
        computed = torch.float64 if self.values[0].dtype is torch.float64 else torch.float32
        formats = [
            None if column[0].dtype is computed else _FORMATS[column[0].dtype] for column in arrays
        ]
        # Always scaled and decayed: no value that a user may change compiles anything.
        wrap = Wrap(
            scaled=True,
            coupled=not recipe.decoupled,
            shrunk=recipe.decoupled,
            values=formats[0],
            state=formats[1] if rule.state else None,
            **extra,
        )
        self.kernel = compiled(rule, np.dtype(str(computed).removeprefix("torch.")), wrap)
        items = [column[0].element_size() for column in arrays]
        self.table = Table(
            self.kernel,
            [value.numel() for value in self.values],
            [[tensor.data_ptr() for tensor in row] for row in rows],
            [items[0], *items],
        )
        self.addresses = [p.data_ptr() for p in map(local, self.parameters)]
        self.contiguous = all(p.is_contiguous() for p in map(local, self.parameters))
        self._read_scalars(recipe)
        self._active: bytes | None = None
        self._given: list[tuple[float, ...]] = []

    def _read_scalars(self, recipe: Recipe) -> None:
        """Read each tensor's count of steps and uniform state; note where they lie."""
        rule = recipe.rule
        self.scalars = [recipe.keys[n] for n in ("step", *rule.uniform_state) if n in recipe.keys]
        kept = [[state[key] for key in self.scalars] for state in self.states]
        shape = (len(self.members), len(self.scalars))
        self.scalar_places = np.array(
            [[s.data_ptr() for s in row] for row in kept], np.intp
        ).reshape(shape)
        self.scalar_wide = np.array(
            [[s.dtype is torch.float64 for s in row] for row in kept], np.bool_
        ).reshape(shape)
        self.numbers = np.array([[float(s) for s in row] for row in kept], np.float64).reshape(
            shape
        )

    def valid(self) -> bool:
        """Return whether parameters and state still lie where they were found."""
        parameters = self.parameters if self.plain else map(local, self.parameters)
        if list(map(Tensor.data_ptr, parameters)) != self.addresses:
            return False
        return all(
            all(map(is_, [state.get(key) for state in self.states], column))
            for key, column in zip(self.keys, self.held, strict=True)
        )

    def gradients(self) -> list[Tensor | None]:
        """Return the gradients in the parameters' own dtype and memory order."""
        found = [p.grad for p in self.parameters]
        if not self.plain:
            found = [g if g is None else local(g) for g in found]
        dtype = self.values[0].dtype
        present = [g for g in found if g is not None]
        if (
            self.contiguous
            and all(map(dtype.__eq__, map(_dtype, present)))
            and all(g.is_contiguous() for g in present)
        ):
            return found
        return [
            g if g is None else same_memory(g, local(p))
            for g, p in zip(found, self.parameters, strict=True)
        ]

    def step(
        self, gradients: Sequence[Tensor | None], recipe_of: Callable[[int, float], Recipe],
        scale: float,
    ) -> None:  # fmt: skip
        """Take one step of the tensors that have a gradient.

        Args:
            gradients: what ``gradients`` returned.
            recipe_of: group, step -> recipe.
            scale: what gradients are multiplied by.
        """
        places = np.array([0 if g is None else g.data_ptr() for g in gradients], np.intp)
        here = np.array([g is not None for g in gradients])
        if here.tobytes() != self._active:
            self._gather(here)
        self.t += 1
        cohorts = zip(self.cohort_groups, self.t.tolist(), strict=True)
        recipes = [recipe_of(group, t) for group, t in cohorts]
        given = [(*r.hyper.values(), -scale if r.maximize else scale, r.decay) for r in recipes]
        if given != self._given:
            self._given = given
            self._hyper = np.repeat(np.array(given, np.float64)[:, :, None], LANES, axis=2)
        numba.set_num_threads(min(torch.get_num_threads(), _MOST_THREADS))
        self.table.step(places, self.cohort, self.t, self._hyper, self.uniform)
        if self.scalars:
            self._write(here)

    def _gather(self, here: NDArray[np.bool_]) -> None:
        """Gather the tensors that step into cohorts of one group, step and uniform state."""
        key = np.column_stack([self.groups, self.numbers])[here]
        cohorts, inverse = np.unique(key, axis=0, return_inverse=True)
        self.cohort = np.zeros(len(here), np.intp)
        self.cohort[here] = inverse.ravel()
        self.cohort_groups = cohorts[:, 0].astype(int).tolist()
        counted = len(self.scalars) > len(self.kernel.rule.uniform_state)
        self.t = np.ascontiguousarray(cohorts[:, 1]) if counted else np.zeros(len(cohorts))
        uniform = cohorts[:, 1 + counted :]
        self.uniform = np.ascontiguousarray(np.repeat(uniform[:, :, None], LANES, axis=2))
        self._active = here.tobytes()

    def _write(self, here: NDArray[np.bool_]) -> None:
        """Write the count of steps and the uniform state into the tensors that keep them."""
        columns = [self.t] * (len(self.scalars) > len(self.kernel.rule.uniform_state))
        columns += list(self.uniform[:, :, 0].T)
        self.numbers[here] = np.column_stack(columns)[self.cohort[here]]
        write_scalars(self.scalar_places, self.scalar_wide, self.numbers)
