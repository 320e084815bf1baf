"""The training of a linear model as an object: it starts, steps and evaluates."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.checks import Hyperparameter
from thalweg.kernels.cpu.kernel import compiled, compiled_loss
from thalweg.kernels.cpu.linear import evaluate_blocks, train_blocks
from thalweg.kernels.cpu.vector import LANES, aligned_zeros
from thalweg.linear.examples import Examples
from thalweg.linear.stream import Stretch
from thalweg.linear.team import Team
from thalweg.losses import get
from thalweg.rule import AT_X, Rule
from thalweg.schedules import values

__all__ = ["Hyper", "Trainer"]

Hyper = float | Callable[[int], float]

_ROWS = 1 << 16  # rows that one compiled call works through: their order stays in the cache
_SCHEDULED = 1 << 22  # scheduled values that it is given at the most


class Trainer:
    """A training of a linear model in lanes: where it stands, and how it goes on.

    Each step takes its rows from whatever examples it is given, so that they may come from
    anywhere. A training that was pickled goes on as if it had never stopped.

    Args:
        rule: what steps.
        loss: the name of the loss.
        initial: (d, k), the initial parameters, the same in all lanes.
        lanes: each one's hyperparameters, all of the rule's.
        l2: weight of the penalty; the intercept is not penalized.
        dtype: float32 or float64, what is computed in.

    Attributes:
        count: blocks, of LANES lanes each; the last is filled up with copies of the last lane.
        steps: how many steps have been taken.
    """

    def __init__(
        self,
        rule: Rule,
        loss: str,
        initial: NDArray[np.float64],
        lanes: Sequence[Mapping[str, Hyper]],
        *,
        l2: float,
        dtype: np.dtype[Any],
    ) -> None:
        self._loss, self._l2 = get(loss), l2
        self._kernel = kernel = compiled(rule, dtype)
        self._numbers = self._loss.number, dtype.type(0)
        self.lanes = lanes
        self.count = -(-len(lanes) // LANES)
        padded = [*lanes, *[lanes[-1]] * (self.count * LANES - len(lanes))]
        self._padded = padded
        self._scheduled = [n for n in rule.hyperparameters if any(callable(h[n]) for h in lanes)]
        first = [{n: _first(v) for n, v in hyper.items()} for hyper in padded]
        self._hyper = self._rows([[h[n] for h in first] for n in rule.hyperparameters])
        self._uniform = self._rows(
            [[rule.start_of(s, h) for h in first] for s in rule.uniform_state]
        )
        self._powers = np.empty((self.count, kernel.powers, LANES))
        self.w = aligned_zeros((self.count, *initial.shape, LANES), kernel.dtype)
        self.w[:] = initial[None, :, :, None]
        starts = self._rows([[rule.start_of(s, h) for h in first] for s in rule.state])
        states = (self.count, len(rule.state), *initial.shape, LANES)
        self._state = aligned_zeros(states, kernel.dtype)
        self._state[:] = starts[:, :, None, None, :]
        at_x = [i for i, s in enumerate(rule.state) if rule.start.get(s) == AT_X]
        self._state[:, at_x] = self.w[:, None]
        self._size = self.count * initial.size
        self._diverged = np.zeros((self.count, LANES), np.int64)
        self.steps = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave out machine code: it is compiled where the training goes on."""
        return {**vars(self), "_kernel": (self._kernel.rule, self._kernel.dtype)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._kernel = compiled(*state["_kernel"])

    def _rows(self, table: list[list[float]]) -> NDArray[np.float64]:
        """Lay a (rows, lanes) table out as (blocks, rows, LANES)."""
        array = np.array(table, np.float64).reshape(-1, self.count, LANES)
        return np.ascontiguousarray(array.swapaxes(0, 1))

    def epochs_per_call(self, n: int, steps: int) -> int:
        """Return how many epochs of n rows and so many steps go into one compiled call."""
        scheduled = steps * len(self._scheduled) * len(self._padded)
        return max(1, min(_ROWS // n, _SCHEDULED // max(scheduled, 1)))

    def step(self, team: Team, examples: Examples, stretch: Stretch) -> None:
        """Take the steps of a stretch of the examples in all lanes that have not diverged."""
        kernel = self._kernel
        steps = len(stretch.bounds) - 1
        numbers = [list(kernel.rule.hyperparameters).index(n) for n in self._scheduled]
        schedule = self._schedule(np.arange(self.steps, self.steps + steps))
        features = examples.X.shape[1]
        constants = (
            np.array(kernel.passes, np.intp),
            kernel.slots,
            kernel.steady,
            self._numbers,
        )
        data = (examples.X, examples.y, kernel.dtype.type(self._l2), features - examples.intercept)
        rows = (stretch.order, stretch.bounds, self.steps)
        lanes = (self.w, self._state, self._hyper, self._powers, self._uniform)
        tables = (np.array(numbers, np.intp), schedule, self._diverged)
        team.run(
            lambda first, last: train_blocks(
                *constants, *data, *rows, *lanes, *tables, first, last, team.stop
            ),
            2 * len(stretch.order) * self._size,
        )
        self.steps += steps

    def _schedule(self, steps: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the scheduled values, (steps, blocks, scheduled, LANES), checked."""
        shape = (len(steps), self.count, len(self._scheduled), LANES)
        if not self._scheduled:
            return np.empty(shape)
        known: dict[tuple[str, int], NDArray[np.float64]] = {}
        table = np.empty((len(self._scheduled), len(self._padded), len(steps)))
        for row, name in zip(table, self._scheduled, strict=True):
            check = self._kernel.rule.hyperparameters[name]
            for lane, hyper in zip(row, self._padded, strict=True):
                key = name, id(hyper[name])  # a schedule need not be hashable
                if key not in known:
                    known[key] = _checked(check, hyper[name], steps)
                lane[:] = known[key]
        return np.ascontiguousarray(
            table.reshape(len(self._scheduled), self.count, LANES, len(steps)).transpose(3, 1, 0, 2)
        )

    def evaluate(self, team: Team, examples: Examples) -> NDArray[np.float64]:
        """Return the mean loss on the examples, one per lane, where its rule's answer is."""
        answer = self._answer()
        result, dtype = np.empty((self.count, LANES)), self._kernel.dtype
        loss = compiled_loss(self._loss, dtype).values, dtype.type(0)
        team.run(
            lambda first, last: evaluate_blocks(
                loss, examples.X, examples.y, answer, first, last, result
            ),
            len(examples.X) * self._size,
        )
        return result.ravel()[: len(self.lanes)]

    @property
    def diverged_at(self) -> NDArray[np.int64]:
        """The step after which each lane became infinite or NaN; 0 = never."""
        return self._diverged.ravel()[: len(self.lanes)]

    def _answer(self) -> NDArray[Any]:
        """Return where the lanes are judged, as ``w``, computed in float64."""
        rule = self._kernel.rule
        if rule.judged is None or self.steps == 0:
            return self.w
        rows = (self._hyper, self._uniform)
        hyper, uniform = (array.swapaxes(0, 1)[:, :, None, None, :] for array in rows)
        state = dict(zip(rule.state, self._state.swapaxes(0, 1), strict=True))
        state |= dict(zip(rule.uniform_state, uniform, strict=False))
        with np.errstate(all="ignore"):  # of lanes that diverged
            found = rule.answer_at(
                self.w, state, dict(zip(rule.hyperparameters, hyper, strict=True))
            )
        return np.ascontiguousarray(np.broadcast_to(found, self.w.shape), self.w.dtype)

    @property
    def parameters(self) -> NDArray[Any]:
        """The parameters where they are judged, (lanes, d, k)."""
        moved = self._answer().transpose(0, 3, 1, 2)
        return moved.reshape(-1, *self.w.shape[1:3])[: len(self.lanes)].copy()


def _first(hyper: Hyper) -> float:
    return float(values(hyper, np.zeros(1, np.int64))[0]) if callable(hyper) else float(hyper)


def _checked(check: Hyperparameter, hyper: Hyper, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    scheduled = values(hyper, steps)
    for i in (scheduled.argmin(), scheduled.argmax()):  # NaN is both
        try:
            check.check_scheduled(float(scheduled[i]))
        except ValueError as error:
            raise ValueError(f"{error} from its schedule at step {steps[i]}") from None
    return scheduled
