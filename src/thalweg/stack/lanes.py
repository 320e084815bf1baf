"""Stack: copies of a module whose parameters lie side by side."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from thalweg.errors import TaskError, blamed
from thalweg.stack.batch import Batch, count, each, leaves
from thalweg.stack.mapped import Program, mapped
from thalweg.stack.model import Model
from thalweg.stack.objective import Alone, Objective
from thalweg.stack.values import Values

__all__ = ["COMPILED_SIZES", "Stack"]

COMPILED_SIZES = (
    2,
    8,
    32,
)  # lanes of stacks whose steps are compiled, which takes seconds for each

# Examples of a pass without gradients: so few that their inputs fit into a processor's caches.
_FEWEST, _MOST, _ELEMENTS = 32, 256, 2**16


class Stack:
    """Copies of a module, one per lane.

    Args:
        model: the module.
        seeds: one for each lane: of its start and of what it draws.
        shared: whether all lanes see the same minibatches; then their seeds are equal.
        stacked: whether lanes are computed in one pass. Otherwise there is one lane, with a module
            of its own.

    Attributes:
        parameters: what is trained, by name: (lanes, *shape) each.
        state: the buffers that training changes, in the same form.
    """

    def __init__(self, model: Model, seeds: Sequence[int], *, shared: bool, stacked: bool) -> None:
        self.model = model
        self.stacked = stacked
        self.shared = shared
        self._alone: Alone | None = None
        if stacked:
            made = {seed: model.initial(seed) for seed in set(seeds)}
            starts = [made[seed] for seed in seeds]
        else:
            self._alone, start = model.alone(*seeds)
            starts = [start]
        self.seeds = torch.tensor(seeds)
        self.parameters = _stacked([start.parameters for start in starts])
        self.state = _stacked([start.state for start in starts])
        fixed = [start.fixed for start in starts]
        self._one_fixed = shared or model.traits.seedless
        self.fixed = fixed[0] if self._one_fixed else _stacked(fixed)
        self._learn()

    def _learn(self) -> None:
        for parameter in self.parameters.values():
            parameter.requires_grad_()

    def _mapped(
        self,
        function: Any,  # noqa: ANN401 - or a program
        batch: Batch,
        *more: Tensor,
        shared: bool,
        what: str = "training",
    ) -> Any:  # noqa: ANN401
        fixed, examples = (None if same else 0 for same in (self._one_fixed, shared))
        dimensions = (0, 0, fixed, examples, 0, *[None] * len(more))
        given = self.parameters, self.state, self.fixed, batch, self.seeds, *more
        if isinstance(function, Program):
            with blamed("compile=True", "; leave compile=False"):
                return function(dimensions, *given, stacked=self.stacked)
        with blamed(what):
            return mapped(function, dimensions, *given, stacked=self.stacked)

    def gradients(
        self, batch: Batch, step: int, *, compiled: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Return each lane's loss on its minibatch and the gradients of its objective.

        Args:
            batch: one minibatch for all, or, if not shared, one per lane.
            step: of the training. What is drawn depends on it.
            compiled: whether a program that torch has compiled computes it.
        """
        now = torch.tensor(step)
        if compiled:
            with torch.no_grad():
                gradients, (losses, self.state) = self._mapped(
                    self.model.programs["gradients"], batch, now, shared=self.shared
                )
            return losses, list(gradients.values())
        if self._alone:
            return self._gradients_alone(self._alone, batch, now)
        objective, (losses, state) = self._mapped(self.model.loss, batch, now, shared=self.shared)
        with blamed("training"):
            found = torch.autograd.grad(
                objective.sum(), list(self.parameters.values()), allow_unused=True,
                materialize_grads=True,
            )  # fmt: skip
        self.state = {name: tensor.detach() for name, tensor in state.items()}
        return losses.detach(), list(found)

    def _gradients_alone(
        self, alone: Alone, batch: Batch, step: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        values, batch = self._values(0), batch if self.shared else each(_first, batch)
        seed = self.seeds[0]
        found: list[Tensor | None] = [None] * len(self.parameters)
        try:
            with blamed("training"):
                loss, found = alone.gradients(values, list(self.parameters), batch, seed, step)
        except TaskError:
            if not alone.overflows(values, batch, seed, step, training=True):
                raise
            loss = torch.tensor(math.nan)  # it has diverged, as where a loss is computed of it
        self.state = {name: values[name][None] for name in self.state}
        zeros = (torch.zeros_like(parameter[0]) for parameter in self.parameters.values())
        both = zip(found, zeros, strict=True)
        return loss[None], [(zero if own is None else own)[None] for own, zero in both]

    @property
    def objective(self) -> Objective:
        """The module with its loss that passes go through."""
        return self._alone.objective if self._alone else self.model.objective

    def passed(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return what the state is after one minibatch in training mode; it stays as it is."""
        now = torch.tensor(0)
        with blamed("training"):
            if self._alone:
                values = {name: value.clone() for name, value in self._values(0).items()}
                self._alone(values, batch, "loss", self.seeds[0], now, training=True)
                return {name: values[name][None] for name in self.state}
            _, (_, state) = self._mapped(self.model.loss, batch, now, shared=True)
        found: Mapping[str, Tensor] = state
        return found

    def _values(self, lane: int) -> dict[str, Tensor]:
        parameters, state, fixed = self.lane(lane)
        return {**fixed, **parameters, **state}

    def losses(self, batch: Batch, part: str, *, compiled: bool = False) -> Tensor:
        """Return each lane's mean loss on a part, (lanes,), float64, in evaluation mode.

        It is the mean over chunks, weighted by their examples, unless the loss needs the whole
        part.
        """
        if self.model.traits.whole:
            return self.whole_losses(batch, part)
        total = torch.zeros(len(self.seeds), dtype=torch.float64, device=self.model.device)
        rows = count(batch, "batch")
        whole = _chunk(batch, rows)
        for piece in _chunks(batch, rows):
            own = count(piece, "batch")
            losses = self._evaluated("loss", piece, part, compiled=compiled and own == whole)
            total += losses.double() * own
        return total.cpu() / rows

    def whole_losses(self, batch: Batch, part: str) -> Tensor:
        """Return the same from one call of the loss with all examples, one lane after the other."""
        loss = self.model.task.loss
        with blamed(part):
            if loss is None:
                found = [self.of_lane(i, "loss", batch) for i in range(len(self.seeds))]
            else:
                outputs = self.outputs(batch, part)
                with self.model.precision():
                    found = [loss(own, batch[1]) for own in outputs]
        return torch.stack(found).double().cpu()

    def outputs(self, batch: Batch, part: str) -> Tensor:
        """Return the outputs of each lane's module for examples, (lanes, examples, ...)."""
        rows = count(batch, "batch")
        pieces = [self._evaluated("outputs", piece, part) for piece in _chunks(batch, rows)]
        return torch.cat(pieces, dim=1)

    def scores(self, batch: Batch) -> list[float]:
        """Return the score of each lane by a user's own step on all examples, one lane at a time.

        A metric may do what cannot be done in lanes, and memory has room for one lane's pass.
        """
        with blamed("metric"):
            return [float(self.of_lane(lane, "score", batch)) for lane in range(len(self.seeds))]

    def _evaluated(self, what: str, batch: Batch, part: str, *, compiled: bool = False) -> Any:  # noqa: ANN401
        if self._alone and not compiled:
            try:
                with blamed(part):
                    return each(lambda tensor: tensor[None], self.of_lane(0, what, batch))
            except TaskError:
                start = self._values(0), batch, self.seeds[0], torch.tensor(0)
                if what != "loss" or not self._alone.overflows(*start, training=False):
                    raise
                return torch.full((1,), math.nan)  # as in training
        function: Any = partial(self.model.evaluate, what=what)
        if compiled:
            function = self.model.programs[what]
        return self._mapped(function, batch, shared=True, what=part)

    def of_lane(self, lane: int, what: str, batch: Batch) -> Any:  # noqa: ANN401
        """Return the "loss", "outputs" or "score" of all examples in one lane."""
        if not self._alone:
            return self.model.evaluate(*self.lane(lane), batch, self.seeds[lane], what=what)
        values = self._values(lane)
        found = self._alone(values, batch, what, self.seeds[lane], torch.tensor(0), training=False)
        self.state = {name: values[name][None] for name in self.state}
        return found

    def finite(self) -> Tensor:
        """Return which lanes' parameters are finite, (lanes,)."""
        found = [p.detach().flatten(1).isfinite().all(1) for p in self.parameters.values()]
        return torch.stack(found).all(0).cpu()

    def select(self, lanes: Sequence[int]) -> None:
        """Keep some of the lanes."""
        index = torch.tensor(lanes)
        self.seeds = self.seeds[index]
        self.parameters = {n: t.detach()[index] for n, t in self.parameters.items()}
        self.state = {n: t[index] for n, t in self.state.items()}
        if not self._one_fixed:
            self.fixed = {n: t[index] for n, t in self.fixed.items()}
        self._learn()

    def lane(self, lane: int) -> tuple[Values, Values, Values]:
        """Return one lane's parameters, state and fixed values."""
        own = [{n: t.detach()[lane] for n, t in g.items()} for g in (self.parameters, self.state)]
        fixed = self.fixed if self._one_fixed else {n: t[lane] for n, t in self.fixed.items()}
        return own[0], own[1], fixed


def _stacked(groups: Sequence[Values]) -> dict[str, Tensor]:
    return {name: torch.stack([group[name] for group in groups]) for name in groups[0]}


def _chunk(batch: Batch, rows: int) -> int:
    """Return how many examples make a chunk: a divisor of all if one is large enough.

    A smaller rest is not compiled, and takes as long as a compiled chunk.
    """
    elements = sum(tensor[0].numel() for tensor in leaves(batch))
    most = max(_FEWEST, min(_MOST, _ELEMENTS // elements))
    sizes = range(most + most // 2, most // 2, -1)
    return next((size for size in sizes if rows % size == 0), min(most, rows))


def _chunks(batch: Batch, rows: int) -> Iterator[Batch]:
    size = _chunk(batch, rows)
    for first in range(0, rows, size):
        yield each(partial(_sliced, slice(first, first + size)), batch)


def _first(tensor: Tensor) -> Tensor:
    return tensor[0]


def _sliced(piece: slice, tensor: Tensor) -> Tensor:
    return tensor[piece]
