"""Bucket: tensors of one rule, one format and one kind of decay, which one compiled call steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, compress, product
from operator import is_, itemgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thalweg.kernels.body import Wrap
from thalweg.kernels.cpu.kernel import compiled
from thalweg.kernels.cpu.table import Table, use_threads
from thalweg.kernels.cpu.vector import LANES
from thalweg.optim.addresses import addresses_of
from thalweg.optim.memory import (
    ForeignError,
    SparseError,
    apart,
    foreign,
    is_sparse,
    laid_as,
    local,
    real,
    reduced,
    shared,
)
from thalweg.optim.options import Options
from thalweg.optim.recipe import Recipe
from thalweg.optim.state import LOST, kept_keys

__all__ = ["Bucket", "Member", "PreparedStep"]

_FORMATS = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}
_data_ptr: Any = Tensor.data_ptr


@dataclass(frozen=True, eq=False)
class Member:
    """A parameter, its state and the group that it belongs to."""

    parameter: Tensor
    state: dict[str, Any]
    group: int


class PreparedStep:
    """A step of a bucket whose gradients are found. Take it before another one is prepared.

    Args:
        bucket: the tensors.
        gradients: those that exist, as the kernel takes them. None: all of the parameters' own;
            they are not kept alive.
        found: (parameters,), their addresses, 0 for a missing one. None: not known yet.
        copied: the parameters whose gradient is a copy.
    """

    __slots__ = ("bucket", "copied", "found", "gradients")

    def __init__(
        self,
        bucket: "Bucket",
        gradients: list[Tensor] | None,
        found: NDArray[np.intp] | None,
        copied: Sequence[Tensor],
    ) -> None:
        self.bucket, self.gradients, self.found, self.copied = bucket, gradients, found, copied

    def take(self, recipes: Sequence[Recipe], scale: float | Tensor) -> None:
        """Take the step of the tensors that have a gradient.

        Args:
            recipes: of each group of the optimizer.
            scale: the factor of gradients. On a GPU it may be a float64 tensor of two numbers: the
                factor, and 1 to take the step or 0 to skip it.
        """
        self.bucket.take(self, recipes, scale)


class Bucket:
    """Tensors that one compiled call steps.

    Args:
        members: parameters that ``fits`` takes. They have equal dtypes, and so have their states. A
            state with another order in memory than its parameter is replaced by one with the same
            order.
        recipe: of the first one. The others differ only in values.
        options: what the kernel does beside.
        number: how many buckets the optimizer made before, >= 0; 0 by default. With torch's seed it
            fixes random rounding, so that it differs between buckets.

    Attributes:
        form: of the recipe. It decides the kernel.
        pattern: which parameters have a gradient in this step; None: all.
    """

    def __init__(
        self, members: Sequence[Member], recipe: Recipe, options: Options, number: int = 0
    ) -> None:
        self.seeds = torch.initial_seed(), number
        self.rule, self.form = recipe.rule, recipe.form
        self.groups = [member.group for member in members]
        self.parameters = [member.parameter for member in members]
        self.states = [member.state for member in members]
        keys, others, self.numbers = self._keys(recipe, options)
        self._settle()
        for member, key in product(members, keys):  # states of a checkpoint may have another order
            kept = member.state[key]
            member.state[key] = laid_as(kept, member.parameter, kept.dtype)
        named = (*keys, *others, *filter(None, self.numbers))
        self.fetch = [itemgetter(key) for key in named]
        self.held = [list(map(fetch, self.states)) for fetch in self.fetch]
        self.addresses = addresses_of(self.parameters, list(chain(*self.held)))
        arrays = [self.parameters, *self.held[: len(keys)]]
        columns = [[real(tensor) for tensor in column] for column in arrays]
        formats = [column[0].dtype for column in columns]
        self.dtype = formats[0]
        computed = torch.float64 if self.dtype is torch.float64 else torch.float32
        names = [None if f is computed else _FORMATS[f] for f in formats]
        # Always with scale and decay, so that no value that a user changes needs another kernel.
        self.wrap = Wrap(
            scaled=True,
            coupled=self._couples(recipe),
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
        self._recipes: Sequence[Recipe] | None = None
        self._scale = 1.0
        self.t, self.taken = np.zeros(0), 0.0
        self._show(columns, computed)

    def _keys(
        self, recipe: Recipe, options: Options
    ) -> tuple[list[str], list[str], list[str | None]]:
        """Return the keys of arrays as the parameter, of other arrays, and of numbers.

        The first number is the count of steps; None if it is not kept.
        """
        numbers = [recipe.keys.get(name) for name in ("step", *self.rule.uniform_state)]
        return kept_keys(recipe, self.parameters[0], options), [], numbers

    def _settle(self) -> None:
        """Bring the numbers of the state to where the kernel finds them: here they are."""

    def _couples(self, recipe: Recipe) -> bool:
        """Return whether the step may have to add a decay to the gradient."""
        return not recipe.decoupled

    def _show(self, columns: Sequence[Sequence[Tensor]], computed: torch.dtype) -> None:
        """Give the kernel the addresses of everything."""
        items = [column[0].element_size() for column in columns]
        self.table = Table(
            compiled(self.rule, np.dtype(str(computed).removeprefix("torch.")), self.wrap),
            [value.numel() for value in columns[0]],
            [[t.data_ptr() for t in row] for row in zip(*columns, strict=True)],
            [items[0], *items],
            seeds=self.seeds,
        )
        self._keep()
        self._gather()

    def _keep(self) -> None:
        """Show the table where each tensor keeps its numbers."""
        kept = [[s[key] if key else None for key in self.numbers] for s in self.states]
        self.table.keep(
            np.array([[0 if n is None else n.data_ptr() for n in row] for row in kept], np.intp),
            np.array([[n is not None and n.dtype is torch.float64 for n in row] for row in kept]),
        )

    def valid(self) -> bool:
        """Return whether parameters and state are still the same, at the same addresses."""
        columns = zip(self.fetch, self.held, strict=True)
        try:
            same = all(all(map(is_, map(fetch, self.states), held)) for fetch, held in columns)
        except KeyError:  # a state is missing
            return False
        return same and self.addresses.unmoved()

    def agrees(self, recipes: Sequence[Recipe]) -> bool:  # noqa: ARG002 - for those of whole models
        """Return whether one call can step all tensors that have a gradient."""
        return True

    def prepare(self) -> "PreparedStep":
        """Find the gradients. Return a step that can be taken until a gradient is replaced.

        A long step keeps them alive, because other threads may free theirs meanwhile.

        Raises:
            SparseError: one of them is sparse.
            ForeignError: one of them is foreign.
        """
        light = self.pattern is None and not self.table.parallel
        if light and self.addresses.find_gradients():
            return PreparedStep(self, None, self.addresses.found, ())
        return self._prepare_each()

    def _prepare_each(self) -> "PreparedStep":
        """Do the same where gradients may be missing, or differ from their parameters."""
        found = [p.grad for p in self.parameters]
        present = [g for g in found if g is not None]
        pattern = None if len(present) == len(found) else [g is not None for g in found]
        if pattern != self.pattern:
            self.pattern = pattern
            self._chosen = np.array(pattern or [True] * len(found))
            self._gather()
        if self.addresses.locate(found):
            return PreparedStep(self, present, self.addresses.found, ())
        return self._fitting(present)

    def _fitting(self, present: list[Tensor]) -> "PreparedStep":
        """Look at each gradient. Copy those that a kernel cannot take as they are."""
        if any(map(is_sparse, present)):
            raise SparseError
        if any(map(foreign, present)):
            raise ForeignError
        stepping = list(compress(self.parameters, self._chosen))
        whole = list(map(reduced, present, stepping))
        here = list(map(local, whole))
        fitting = [laid_as(g, local(p), p.dtype) for g, p in zip(here, stepping, strict=True)]
        steps = zip(present, whole, here, fitting, strict=True)
        differ = [given is not g or near is not ours for given, g, near, ours in steps]
        return PreparedStep(self, fitting, None, list(compress(stepping, differ)))

    def take(self, step: "PreparedStep", recipes: Sequence[Recipe], scale: Any) -> None:  # noqa: ANN401 - a number here
        """Take a step; see ``PreparedStep.take``."""
        gradients, found = step.gradients, step.found
        if gradients is not None and not gradients:
            return
        if found is None or (self.zeroed and shared(found)):
            if gradients is None:
                gradients = [p.grad for p in self.parameters if p.grad is not None]
            gradients = apart(gradients) if self.zeroed else gradients
            found = np.zeros(len(self.parameters), np.intp)
            found[self._chosen] = list(map(_data_ptr, gradients))
        if self.table.parallel:
            use_threads(torch.get_num_threads())
        while not self._run(found, recipes, scale):
            self._gather()  # somebody has changed the state
        self._count_change()

    def _count_change(self) -> None:
        self.addresses.count_change(self._chosen, gradients=self.zeroed)

    def _run(self, found: NDArray[np.intp], recipes: Sequence[Recipe], scale: float) -> bool:
        """Take the step. Return False, and do nothing, if the state has other counts of steps."""
        if recipes is not self._recipes or scale != self._scale:
            self._recipes, self._scale = recipes, scale
            given = [self._row(recipes[group], scale) for group in self.cohort_groups]
            self._hyper = np.repeat(np.array(given, np.float64)[:, :, None], LANES, axis=2)
        return self._take_step(found)

    def _take_step(self, found: NDArray[np.intp]) -> bool:
        return self.table.step(found, self.cohort, self.t, self._hyper, self.uniform)

    def _row(self, recipe: Recipe, scale: float) -> list[float]:
        """Return the values of a group, as the kernel takes them."""
        recipe = recipe.of(self.parameters[0])
        signed = -scale if recipe.maximize else scale
        return self.wrap.row(
            self.rule, recipe.hyper,
            gradient_scale=signed, coupled_decay=recipe.decay, shrink=recipe.decay,
        )  # fmt: skip

    def _gather(self) -> None:
        """Gather the tensors that step into cohorts of one group, count of steps and state."""
        chosen = self.pattern or [True] * len(self.groups)
        numbers = self.table.numbers()
        if self.numbers[0] is None:  # then only the noise of rounding depends on t
            numbers[:, 0] = self.taken = self.t.max(initial=self.taken)
        key = np.column_stack([self.groups, self._distinct(numbers)])[chosen]
        cohorts, inverse = np.unique(key, axis=0, return_inverse=True)
        self.cohort = np.full(len(chosen), -1, np.intp)
        self.cohort[chosen] = inverse.ravel()
        self.cohort_groups = cohorts[:, 0].astype(int).tolist()
        self.t = np.ascontiguousarray(cohorts[:, 1])
        self.uniform = np.ascontiguousarray(np.repeat(cohorts[:, 2:, None], LANES, axis=2))
        self._recipes = None

    def _distinct(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what tells cohorts apart, of each tensor's count of steps and other numbers."""
        return numbers
