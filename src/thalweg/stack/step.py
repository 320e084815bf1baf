"""Step: one step in all lanes, each by a rule with hyperparameters of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thalweg import schedules
from thalweg.kernels.body import Wrap
from thalweg.kernels.cpu.kernel import compiled
from thalweg.kernels.cpu.table import Table, use_threads
from thalweg.kernels.cpu.vector import LANES
from thalweg.kind import MATRICES
from thalweg.optim import Descent, roles
from thalweg.rule import Rule
from thalweg.schedules import Hyper
from thalweg.stack.elsewhere import Elsewhere

__all__ = [
    "AskingStep", "Asks", "DeviceStep", "LaneStep", "StackStep", "WholeStep", "judged", "rows_of",
    "value_at",
]  # fmt: skip

_WRAP = Wrap(scaled=True)


@dataclass(frozen=True)
class Asks:
    """What some lanes of a stack ask for.

    Attributes:
        elsewhere: of the whole stack.
        own: which lanes these are.
    """

    elsewhere: Elsewhere
    own: slice

    def gradients(self, points: Sequence[Tensor]) -> list[Tensor]:
        """Return the gradients of these lanes at points of theirs, (lanes, *shape) each."""
        return self.elsewhere.gradients(self.own, points)

    def seed(self, lane: int) -> int:
        """Return what fixes the random numbers of a lane's step."""
        return self.elsewhere.seed(self.own.start + lane)


class LaneStep(Protocol):
    """The state of all lanes, and their step.

    Attributes:
        rule: whose.
    """

    rule: Rule

    @property
    def taken(self) -> int:
        """Steps so far."""

    def select(self, lanes: Sequence[int], parameters: Sequence[Tensor]) -> None:
        """Go on with some lanes, whose parameters now lie elsewhere."""

    def __call__(
        self, gradients: Sequence[Tensor], scale: Tensor | None, asks: "Asks | None" = None
    ) -> None:
        """Take one step.

        Args:
            gradients: as the parameters.
            scale: (lanes,), the factor of each lane's gradient; None for 1.
            asks: has the gradients at other points.
        """

    def states(self, lane: int) -> list[dict[str, Tensor]]:
        """Return the state of each of a lane's parameters, by name, "step" among them."""

    def answers(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return where the lanes that are at these parameters are judged."""


class StackStep:
    """The state of a rule in all lanes, and its step: one compiled call.

    Args:
        rule: the rule.
        hyper: each lane's hyperparameters, all of them.
        parameters: (lanes, *shape) each, contiguous; changed in place.
        steps: of the whole training, for which schedules are evaluated at once.

    Attributes:
        state: (lanes, *shape) by name, one tensor per parameter.
    """

    def __init__(
        self,
        rule: Rule,
        hyper: Sequence[Mapping[str, Hyper]],
        parameters: Sequence[Tensor],
        steps: int,
    ) -> None:
        self.rule = rule
        self.taken = 0
        first = [{n: value_at(value, 0) for n, value in own.items()} for own in hyper]
        rows = np.array([_WRAP.row(rule, own, gradient_scale=1.0) for own in first])
        self._hyper = np.repeat(rows[:, :, None], LANES, axis=2)
        self._scheduled: dict[int, NDArray[np.float64]] = {}
        for j, name in enumerate(rule.hyperparameters):
            if any(callable(own[name]) for own in hyper):
                columns = [schedules.values(own[name], np.arange(steps)) for own in hyper]
                self._scheduled[j] = np.stack(np.broadcast_arrays(*columns, np.empty(steps))[:-1])
        self.state = {
            name: [
                _filled(p, [rule.start_of(name, own, x) for x, own in zip(p, first, strict=True)])
                for p in parameters
            ]
            for name in rule.state
        }
        starts = [[rule.start_of(name, own) for name in rule.uniform_state] for own in first]
        shape = len(hyper), len(rule.uniform_state), LANES
        self.uniform = np.broadcast_to(np.array(starts).reshape(*shape[:2], 1), shape).copy()
        self._lay_out(parameters)

    def _lay_out(self, parameters: Sequence[Tensor]) -> None:
        lanes = len(self._hyper)
        dtype = np.dtype(str(parameters[0].dtype).removeprefix("torch."))
        columns = [list(parameters), *self.state.values()]
        self._parameters = parameters
        sizes = np.array([p[0].numel() for p in parameters], np.intp)
        # Where each lane of each tensor lies, from where the tensor begins.
        self._offsets = np.multiply.outer(sizes * dtype.itemsize, np.arange(lanes, dtype=np.intp))
        self._table = Table(
            compiled(self.rule, dtype, _WRAP),
            np.repeat(sizes, lanes).tolist(),
            np.stack([self._addresses(column) for column in columns], axis=1).tolist(),
            [dtype.itemsize] * (1 + len(columns)),
        )
        self._cohort = np.tile(np.arange(lanes), len(parameters))

    def select(self, lanes: Sequence[int], parameters: Sequence[Tensor]) -> None:
        """Go on with some lanes, whose parameters now lie elsewhere."""
        index = torch.tensor(lanes)
        self.state = {name: [s[index] for s in held] for name, held in self.state.items()}
        self._hyper, self.uniform = self._hyper[lanes], self.uniform[lanes]
        self._scheduled = {j: values[lanes] for j, values in self._scheduled.items()}
        self._lay_out(parameters)

    def states(self, lane: int) -> list[dict[str, Tensor]]:
        """Return the state of each of a lane's parameters, by name, "step" among them."""
        numbers = dict(zip(self.rule.uniform_state, self.uniform[lane, :, 0].tolist(), strict=True))
        numbers["step"] = float(self.taken)
        return [
            {name: held[i][lane].clone() for name, held in self.state.items()}
            | {name: torch.tensor(value) for name, value in numbers.items()}
            for i in range(len(self._parameters))
        ]

    def answers(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return where the lanes that are at these parameters are judged."""
        rows = [
            dict(zip(self.rule.hyperparameters, own[:, 0], strict=False)) for own in self._hyper
        ]
        return judged(self.rule, rows, parameters, self)

    def __call__(
        self,
        gradients: Sequence[Tensor],
        scale: Tensor | None,
        asks: Asks | None = None,  # noqa: ARG002 - for rules that ask
    ) -> None:
        """Take one step; see ``LaneStep``."""
        for j, values in self._scheduled.items():
            self._hyper[:, j] = values[:, self.taken, None]
        column = _WRAP.column(self.rule, "gradient_scale")
        self._hyper[:, column] = 1.0 if scale is None else scale.numpy()[:, None]
        kept = [g.contiguous() for g in gradients]
        taken = np.full(len(self._hyper), float(self.taken))
        if self._table.parallel:
            use_threads(torch.get_num_threads())
        self._table.step(self._addresses(kept), self._cohort, taken, self._hyper, self.uniform)
        self.taken += 1

    def _addresses(self, tensors: Sequence[Tensor]) -> NDArray[np.intp]:
        """Return where each lane of each tensor, contiguous as the parameters, lies."""
        first = np.array([tensor.data_ptr() for tensor in tensors], np.intp)
        return (first[:, None] + self._offsets).ravel()


class DeviceStep:
    """The same by ``optim.Descent``, one group per lane: two launches on a GPU.

    Args:
        rule: the rule.
        hyper: each lane's hyperparameters, all of them.
        parameters: (lanes, *shape) each, contiguous; changed in place.
        steps: of the whole training; not needed here.
    """

    def __init__(
        self,
        rule: Rule,
        hyper: Sequence[Mapping[str, Hyper]],
        parameters: Sequence[Tensor],
        steps: int,  # noqa: ARG002 - as StackStep
    ) -> None:
        self.taken = 0
        self.rule, self._hyper = rule, list(hyper)
        self._lay_out(parameters)

    def _lay_out(self, parameters: Sequence[Tensor]) -> None:
        self._views = [[p.detach()[i] for p in parameters] for i in range(len(self._hyper))]
        groups = [
            {"params": views, **_fixed(own)}
            for views, own in zip(self._views, self._hyper, strict=True)
        ]
        optimizer = Descent(groups, self.rule)
        self._optimizers = [optimizer] * len(groups)
        self._groups = [[group] for group in optimizer.param_groups]

    def select(self, lanes: Sequence[int], parameters: Sequence[Tensor]) -> None:
        """Go on with some lanes, whose parameters now lie elsewhere."""
        kept = [self.states(lane) for lane in lanes]
        self._hyper = [self._hyper[lane] for lane in lanes]
        self._lay_out(parameters)
        for optimizer, views, states in zip(self._optimizers, self._views, kept, strict=True):
            optimizer.state.update(zip(views, states, strict=True))

    def states(self, lane: int) -> list[dict[str, Tensor]]:
        """Return the state of each of a lane's parameters, by name, "step" among them."""
        states = (self._optimizers[lane].state[view] for view in self._views[lane])
        return [{name: value.clone() for name, value in own.items()} for own in states]

    def answers(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return where the lanes that are at these parameters are judged."""
        last = max(0, self.taken - 1)
        rows = [{n: value_at(value, last) for n, value in own.items()} for own in self._hyper]
        return judged(self.rule, rows, parameters, self)

    def __call__(
        self,
        gradients: Sequence[Tensor],
        scale: Tensor | None,
        asks: Asks | None = None,  # noqa: ARG002 - for rules that ask
    ) -> None:
        """Take one step; see ``LaneStep``."""
        self._schedule()
        for lane, views in enumerate(self._views):
            for view, gradient in zip(views, gradients, strict=True):
                view.grad = gradient[lane] if scale is None else gradient[lane] * scale[lane]
        for optimizer in dict.fromkeys(self._optimizers):
            optimizer.step()
        self.taken += 1

    def _schedule(self) -> None:
        """Set what a schedule gives for the coming step."""
        for groups, own in zip(self._groups, self._hyper, strict=True):
            for group in groups:
                group.update((n, value(self.taken)) for n, value in own.items() if callable(value))


class WholeStep(DeviceStep):
    """The same of a rule that looks at whole tensors: an optimizer for each lane.

    Args:
        rule: the rule.
        hyper: each lane's hyperparameters, all of them.
        parameters: (lanes, *shape) each, contiguous; changed in place.
        steps: of the whole training; not needed here.
        blocks: of each parameter, how many matrices it is for a rule of matrices; 0 where AdamW
            steps it, at the same rate and weight decay.
    """

    def __init__(
        self,
        rule: Rule,
        hyper: Sequence[Mapping[str, Hyper]],
        parameters: Sequence[Tensor],
        steps: int,
        blocks: Sequence[int],
    ) -> None:
        self._blocks = blocks if rule.kind == MATRICES else [1] * len(parameters)
        super().__init__(rule, hyper, parameters, steps)

    def _lay_out(self, parameters: Sequence[Tensor]) -> None:
        self._views = [[p.detach()[i] for p in parameters] for i in range(len(self._hyper))]
        self._optimizers = [
            Descent(self._divided(views, _fixed(own)), self.rule, **_fixed(own))
            for views, own in zip(self._views, self._hyper, strict=True)
        ]
        self._groups = [optimizer.param_groups for optimizer in self._optimizers]

    def _divided(self, views: Sequence[Tensor], own: Mapping[str, float]) -> list[dict[str, Any]]:
        """Return groups of a lane's tensors, by who steps them."""
        counts = {str(i): count for i, count in enumerate(self._blocks) if count}
        named = {str(i): view for i, view in enumerate(views)}
        groups, rest = roles.groups(named, counts)
        shared = {n: own[n] for n in ("lr", "weight_decay") if n in own}
        return [*groups, *([{"params": rest, "rule": "adamw", **shared}] if rest else [])]


class _Unanswered(Exception):  # noqa: N818 - no error: the step is begun again
    """A rule asks for the gradient where the parameters are."""


class AskingStep(WholeStep):
    """The same of a rule that asks for gradients at other points: those of all lanes in one pass.

    A rule is a plain function. So a lane's step is begun, and left where it asks; all lanes' points
    go through the module together, and each step is begun again with the answers. It writes nothing
    before it has them all.
    """

    def __call__(
        self, gradients: Sequence[Tensor], scale: Tensor | None, asks: Asks | None = None
    ) -> None:
        """Take one step; see ``LaneStep``."""
        assert asks is not None
        self._schedule()
        first = [_scaled(g, scale) for g in gradients]
        answers = [first]
        open_lanes = list(range(len(self._views)))
        while open_lanes:
            points = [[view.clone() for view in views] for views in self._views]
            begun = ((i, self._begun(i, answers, points[i], asks)) for i in open_lanes)
            open_lanes = [lane for lane, ended in begun if not ended]
            if open_lanes:
                columns = [torch.stack(column) for column in zip(*points, strict=True)]
                answers.append(asks.gradients(columns))
        self.taken += 1

    def _begun(
        self, lane: int, answers: Sequence[Sequence[Tensor]], point: list[Tensor], asks: Asks
    ) -> bool:
        """Begin a lane's step. Return whether it ended; else the point has become what it asks."""
        views = self._views[lane]
        rounds = iter(answers)

        def closure() -> None:
            found = next(rounds, None)
            if found is None:
                point[:] = [view.clone() for view in views]
                raise _Unanswered
            for view, g in zip(views, found, strict=True):
                view.grad = g[lane]

        with torch.random.fork_rng([]):
            torch.manual_seed(asks.seed(lane))
            try:
                self._optimizers[lane].step(closure)
            except _Unanswered:
                return False
        return True


def _scaled(gradient: Tensor, scale: Tensor | None) -> Tensor:
    if scale is None:
        return gradient
    return gradient * scale.reshape(-1, *[1] * (gradient.ndim - 1))


def _fixed(own: Mapping[str, Hyper]) -> dict[str, Any]:
    """Return what is no schedule: its value is set before each step, perhaps after the last one."""
    return {name: value for name, value in own.items() if not callable(value)}


def rows_of(rows: slice, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return some lanes of tensors."""
    return [tensor.detach()[rows] for tensor in tensors]


def judged(
    rule: Rule,
    hyper: Sequence[Mapping[str, float]],
    parameters: Sequence[Tensor],
    step: LaneStep,
) -> list[Tensor]:
    """Return where each lane is judged: computed for each as for one that trains alone."""
    if rule.judged is None or not step.taken:
        return list(parameters)
    rows = [
        [
            rule.answer_at(p[lane], state, own)
            for p, state in zip(parameters, step.states(lane), strict=True)
        ]
        for lane, own in enumerate(hyper)
    ]
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def value_at(value: Hyper, step: int) -> float:
    """Return a hyperparameter's value after so many steps."""
    return value(step) if callable(value) else value


def _filled(like: Tensor, starts: Sequence[float | Tensor]) -> Tensor:
    """Return a tensor of the same shape that holds a start in each lane: a number or a tensor."""
    filled = torch.empty_like(like, memory_format=torch.contiguous_format)
    for lane, start in zip(filled, starts, strict=True):
        lane.copy_(torch.as_tensor(start))
    return filled
