"""Mixed step: that of a stack whose lanes have several rules."""

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from thalweg.kind import ELEMENT_WISE
from thalweg.rule import Rule
from thalweg.schedules import Hyper
from thalweg.stack.elsewhere import Elsewhere
from thalweg.stack.matrix_step import ADAMW, MatrixStep, mapped, rest
from thalweg.stack.step import (
    AskingStep,
    Asks,
    DeviceStep,
    LaneStep,
    StackStep,
    WholeStep,
    rows_of,
)

__all__ = ["MixedStep"]


class MixedStep:
    """The state of several rules, each in its own lanes, and their step: one call for each rule.

    Args:
        rules: each lane's. Lanes of one rule are side by side.
        hyper: each lane's hyperparameters, all of them.
        parameters: (lanes, *shape) each, contiguous; changed in place.
        steps: of the whole training, for which schedules are evaluated at once.
        blocks: of each parameter, how many matrices it is for a rule of matrices; 0 where another
            rule steps it.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        hyper: Sequence[Mapping[str, Hyper]],
        parameters: Sequence[Tensor],
        steps: int,
        blocks: Sequence[int] = (),
    ) -> None:
        fast = StackStep if parameters[0].device.type == "cpu" else DeviceStep
        self._steps: list[tuple[slice, LaneStep]] = []
        begin = 0
        for _, group in itertools.groupby(rules, key=lambda rule: rule.name):
            same = list(group)
            own = slice(begin, begin + len(same))
            rows = rows_of(own, parameters)
            step: LaneStep
            if same[0].kind == ELEMENT_WISE:
                step = fast(same[0], hyper[own], rows, steps)
            elif mapped(same[0], hyper[own], rows):
                others = [i for i, count in enumerate(blocks) if not count]
                values = rest(hyper[own])
                alone = fast(ADAMW, values, [rows[i] for i in others], steps) if others else None
                step = MatrixStep(same[0], hyper[own], rows, blocks, alone)
            else:
                whole = AskingStep if same[0].inputs else WholeStep
                step = whole(same[0], hyper[own], rows, steps, blocks)
            self._steps.append((own, step))
            begin = own.stop

    @property
    def taken(self) -> int:
        """Steps so far."""
        return self._steps[0][1].taken

    def select(self, lanes: Sequence[int], parameters: Sequence[Tensor]) -> None:
        """Go on with some lanes, whose parameters now lie elsewhere."""
        before, self._steps, begin = self._steps, [], 0
        for own, step in before:
            kept = [lane - own.start for lane in lanes if own.start <= lane < own.stop]
            if kept:
                now = slice(begin, begin + len(kept))
                step.select(kept, rows_of(now, parameters))
                self._steps.append((now, step))
                begin = now.stop

    def __call__(
        self,
        gradients: Sequence[Tensor],
        scale: Tensor | None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """Take one step; see ``LaneStep``."""
        for own, step in self._steps:
            asks = None if elsewhere is None else Asks(elsewhere, own)
            step([g[own] for g in gradients], None if scale is None else scale[own], asks)

    def states(self, lane: int) -> list[dict[str, Tensor]]:
        """Return the state of each of a lane's parameters, by name, "step" among them."""
        own, step = next(pair for pair in self._steps if lane < pair[0].stop)
        return step.states(lane - own.start)

    @property
    def judged(self) -> list[int]:
        """The lanes whose rules are judged elsewhere than they train."""
        elsewhere = [own for own, step in self._steps if step.rule.judged is not None]
        return [lane for own in elsewhere for lane in range(own.start, own.stop)]

    def answers(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return where the lanes that are at these parameters are judged."""
        found = [step.answers(rows_of(own, parameters)) for own, step in self._steps]
        return [torch.cat(parts) for parts in zip(*found, strict=True)]
