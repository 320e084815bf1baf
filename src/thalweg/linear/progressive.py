"""One pass of eight rates side by side, each row predicted before it is learned."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.kernels.cpu.dense_rows import learn_dense
from thalweg.kernels.cpu.kernel import compiled, compiled_loss, compiled_pass
from thalweg.kernels.cpu.rows import finite_lanes
from thalweg.kernels.cpu.vector import LANES, aligned_zeros
from thalweg.linear.columns import Columns
from thalweg.losses import Loss
from thalweg.rule import AT_X, Rule

__all__ = ["Progressive"]

_TEMPER = 0.3  # of how much a lane counts
_LEAST = 1e-3  # of the best one's share, below which a lane does not count


class Progressive:
    """Trainings of one linear model in lanes, at as many rates, and what tells which is best.

    The *progressive loss* is that of each row before it is learned (Blum, Kalai & Langford 1999):
    it tells what the loss on new rows is, and no row is held out for it. Beside the parameters
    stands their average, in which step t has the weight t (Lacoste-Julien, Schmidt & Bach 2012).

    A step on sparse rows moves the columns that it meets, and leaves the parameters and the state
    of all others as they are. For rules that rest without a gradient (``resting.rests``) that is
    what they would do anyway; momentum and averages of others decay more slowly so.

    Args:
        rule: what steps.
        loss: the loss.
        parameter: the loss's own number.
        columns: how the columns are scaled.
        outputs: k, the outputs of a row.
        lanes: settings, each with all of the rule's hyperparameters; whole blocks of LANES.
        sparse: whether rows come in CSR form.
        penalties: two rows, the weights of w²/2 and of |w| for each column; None: there are none.
        strength: two rows, each lane's factors of these; None: 1.

    Attributes:
        lanes: how many.
        steps: how many were taken.
        averaged: whether the average goes on with the parameters; it may be let off for good.
    """

    def __init__(
        self,
        rule: Rule,
        loss: Loss,
        parameter: float,
        columns: Columns,
        *,
        outputs: int,
        lanes: Sequence[Mapping[str, float]],
        sparse: bool,
        penalties: NDArray[np.float64] | None = None,
        strength: NDArray[np.float64] | None = None,
    ) -> None:
        self._rule, self.sparse, self._intercept = rule, sparse, columns.intercept
        self._centre = columns.centre
        self._inverse = np.append(1 / columns.scale, [1.0] * columns.intercept)
        if sparse:  # as its entries are read
            self._inverse = self._inverse.astype(np.float32)
        self._loss, self._parameter, self._outputs = loss, np.float32(parameter), outputs
        self.lanes, self._side = len(lanes), len(lanes) if sparse else LANES
        self._blocks = self.lanes // self._side
        arrays, count = 2 + len(rule.state), len(self._inverse)
        self._table = aligned_zeros(
            (count, arrays, outputs, self.lanes)
            if sparse
            else (self._blocks, arrays, count, outputs, LANES),
            np.float32,
        )
        for i, state in enumerate(rule.state):
            starts = np.array([rule.start_of(state, lane) for lane in lanes], np.float32)
            if starts.any():
                self._part(2 + i)[:] = starts.reshape(-1, self._side)
        self._hyper = self._in_blocks([[lane[n] for lane in lanes] for n in rule.hyperparameters])
        self._uniform = self._in_blocks(
            [[rule.start_of(s, lane) for lane in lanes] for s in rule.uniform_state]
        )
        self._l2, self._l1 = (np.zeros((2, 0)) if penalties is None else penalties).astype(
            np.float32
        )
        given = np.ones((2, self.lanes)) if strength is None else strength
        self._strength = self._in_blocks(given).astype(np.float32)
        if not given[1].any():
            self._l1 = self._l1[:0]
        self._mark, self._slot = np.zeros((2, count if sparse else 0), np.int64)
        self.steps, self.averaged = 0, True
        self._known: NDArray[np.bool_] | None = None  # which lanes are finite, once it was asked
        self.forget()

    def _in_blocks(self, rows: Any) -> NDArray[np.float64]:  # noqa: ANN401 - numbers in lists
        """Lay rows with a number for each lane out as (blocks, rows, LANES)."""
        array = np.array(rows, np.float64).reshape(-1, self._blocks, self._side)
        array = array[:, 0] if self.sparse else array.swapaxes(0, 1)
        return np.ascontiguousarray(array)

    def _part(self, i: int) -> NDArray[np.float32]:
        """Return an array of the table, (columns, outputs, blocks, LANES)."""
        if self.sparse:
            return np.asarray(self._table[:, i, :, None])
        return np.moveaxis(self._table[:, i], 0, 2)

    def start(self, parameters: NDArray[np.float64], first: int = 0) -> None:
        """Let all lanes begin at these parameters, (columns, outputs), from column first on."""
        parts = [0] if self.sparse else [0, 1]
        parts += [2 + i for i, s in enumerate(self._rule.state) if self._rule.start.get(s) == AT_X]
        for i in parts:
            self._part(i)[first:] = parameters[:, :, None, None]

    def fill(self, state: str, values: NDArray[np.float64]) -> None:
        """Let a state of the rule begin at these values, (outputs,), in every column."""
        self._part(2 + list(self._rule.state).index(state))[:] = values[:, None, None]

    def learn(
        self,
        X: Any,  # noqa: ANN401 - an array or a CSR matrix
        order: NDArray[np.intp],
        y: NDArray[np.float32],
        weights: NDArray[np.float32],
        *,
        batch_size: int,
        measured_from: int,
        constants: NDArray[np.float64] | None = None,
    ) -> None:
        """Learn rows in an order.

        Args:
            X: (n, features), as ``Columns`` measured them, not scaled.
            order: rows of X.
            y: (n,), targets as the loss has them.
            weights: (n,).
            batch_size: rows per step.
            measured_from: from which place in the order on the progressive loss counts.
            constants: (n,), what is added to the loss of a row where it counts; None: nothing.
        """
        self._known = None
        take_steps = self._sparse_pass(X, batch_size) if self.sparse else self._dense_pass(X)
        for rows, measured in ((order[:measured_from], False), (order[measured_from:], True)):
            if not len(rows):
                continue
            sums = np.zeros((self._blocks * measured, 2, self._side))
            self.steps = take_steps(rows, y, weights, batch_size, sums)
            if measured:
                own = weights[rows]
                self._weight[1] += own.sum(dtype=np.float64)
                self._sums[1] += sums.swapaxes(0, 1).reshape(2, -1)
                if constants is not None:
                    self._sums[1] += own.astype(np.float64) @ constants[rows]

    def _sparse_pass(self, X: Any, batch_size: int) -> Callable[..., int]:  # noqa: ANN401
        """Return what learns rows of X: of their order, y, weights, batch and sums."""
        wide = X.data.itemsize == 8, X.indices.itemsize == 8
        places = X.indptr.astype(np.int64)
        arrays = X.data.ctypes.data, X.indices.ctypes.data, places, wide, self._inverse
        single = batch_size == 1 and self._loss.name != "softmax"
        kernel = compiled_pass(self._rule, self._loss, self.lanes, single=single)
        return lambda order, y, weights, batch, sums: kernel(
            self._parameter, (*arrays, self._intercept), (order, y, weights), batch, self.steps,
            self._table, self._mark, self._slot, self._hyper, self._uniform,
            (self._l2, self._l1, self._strength), self.averaged, sums.reshape(-1, self.lanes),
        )  # fmt: skip

    def _dense_pass(self, X: NDArray[Any]) -> Callable[..., int]:
        """Return what learns rows of X: of their order, y, weights, batch and sums."""
        kernel = compiled(self._rule, np.dtype(np.float32))
        loss = compiled_loss(self._loss, np.dtype(np.float32))
        return lambda order, y, weights, batch, sums: learn_dense(
            self._outputs if self._outputs > 1 else None,
            np.array(kernel.passes, np.intp), kernel.slots, kernel.steady,
            (loss.slopes, loss.values, self._parameter),
            X.ctypes.data, X.strides, X.itemsize == 8, self._centre, self._inverse,
            int(self._intercept), order, y, weights, batch, self.steps,
            self._table, self._hyper, np.empty((self._blocks, kernel.powers, LANES)),
            self._uniform, self._l2, self._l1, self._strength, self.averaged, sums,
        )  # fmt: skip

    def average(self, others: Sequence["Progressive"], shares: NDArray[np.float64]) -> None:
        """Become the average of trainings that went on from the same start.

        Args:
            others: where each is.
            shares: of each, with the sum 1.
        """
        means = []
        for share, other in zip(shares, others, strict=True):
            table = other._table.astype(np.float64)  # noqa: SLF001 - its own kind
            if self.sparse:  # the average of parameters stands there by its distance from them
                table[:, 1] = table[:, 0] - table[:, 1] / max(other._area, 1)  # noqa: SLF001
            means.append(share * table)
        self.steps = max(other.steps for other in others)
        table = np.sum(means, axis=0)
        if self.sparse:
            table[:, 1] = (table[:, 0] - table[:, 1]) * self._area
        self._table[:], self._known = table, None
        for name in ("_uniform", "_sums", "_weight"):
            parts = [share * vars(other)[name] for share, other in zip(shares, others, strict=True)]
            setattr(self, name, np.sum(parts, axis=0))

    @property
    def _area(self) -> float:
        """The sum of the weights 1, 2, ... of the steps."""
        return self.steps * (self.steps + 1) / 2

    @property
    def measured(self) -> tuple[NDArray[np.float64], float]:
        """The sums of the losses that were measured, (2, lanes), and the weight of their rows."""
        return self._sums.sum(axis=0), float(self._weight.sum())

    def forget(self) -> None:
        """Begin to measure anew."""
        self._sums, self._weight = np.zeros((2, 2, self.lanes)), np.zeros(2)

    def forget_half(self) -> None:
        """Keep what was measured on at least the last half of the rows, and forget the rest."""
        if self._weight[1] >= self._weight[0]:
            self._sums = np.array([self._sums[1], np.zeros((2, self.lanes))])
            self._weight = np.array([self._weight[1], 0.0])

    @property
    def losses(self) -> NDArray[np.float64]:
        """The progressive loss of the parameters and of their average, (2, lanes)."""
        with np.errstate(invalid="ignore"):  # nothing was measured
            losses: NDArray[np.float64] = self._sums.sum(axis=0) / self._weight.sum()
        return losses

    def best(self, lanes: Sequence[int] | None = None) -> tuple[int, int]:
        """Return what has the least progressive loss: 0 or 1 for the average, and the lane.

        Args:
            lanes: among which; None: all.

        Raises:
            OverflowError: none of them is finite.
        """
        losses = self._judged(lanes)
        which, lane = np.unravel_index(losses.argmin(), losses.shape)
        return int(which), int(lane)

    def shares(self, lanes: Sequence[int] | None = None) -> NDArray[np.float64]:
        """Return how much each lane, and its average, counts in what has learned best, (2, lanes).

        Among few rows luck chooses: so each counts by exp(-0.3 m (L - L*) / s), L its progressive
        loss of m rows and L* the least (Vovk 1990 has 1 where this has 0.3). s is 1 of losses that
        are logarithms of probabilities, and the scale of others that L* tells. Many rows leave one.

        Args:
            lanes: among which; None: all.
        """
        losses, degree = self._judged(lanes), self._loss.degree
        least = losses.min()
        scale = max(degree * least, 1e-300) if degree else 1.0
        lead = (losses - least) * (self.measured[1] / scale)
        found: NDArray[np.float64] = np.exp(-_TEMPER * lead)
        found[found < _LEAST] = 0
        return np.asarray(found / found.sum())

    def _judged(self, lanes: Sequence[int] | None) -> NDArray[np.float64]:
        """Return the losses of these lanes, infinite where they do not count."""
        if self._known is None:
            self._known = self._finite()
        among, losses = np.full(self.lanes, lanes is None), self.losses
        among[[] if lanes is None else list(lanes)] = True
        losses = np.where(among & self._known & ~np.isnan(losses), losses, np.inf)
        if np.isinf(losses.min()):
            raise OverflowError("the training became infinite at every rate")
        return losses

    def _finite(self) -> NDArray[np.bool_]:
        """Return whether all parameters of a lane are finite, (lanes,)."""
        part = self._part(0)
        bytes_apart = [*part.strides[:2], part.strides[2] if self._side == LANES else 4 * LANES]
        column, output, block = (each // (4 * LANES) for each in bytes_apart)
        found = np.empty((self.lanes // LANES, LANES), np.float32)
        finite_lanes(self._table, (block, column, output), part.shape[:2], found)
        return np.asarray(found.ravel() == 0)

    def parameters(self, which: int, lane: int) -> NDArray[np.float64]:
        """Return the parameters of a lane (0) or their average (1), (columns, outputs)."""
        place = divmod(lane, self._side)
        found = self._part(which)[:, :, *place].astype(np.float64)
        if which == 0 or not self.sparse:
            return found
        return self.parameters(0, lane) - found / max(self._area, 1)

    def mixed(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean of the parameters by such shares, (columns, outputs)."""
        used = zip(*np.nonzero(shares), strict=True)
        each = (shares[place] * self.parameters(*place) for place in used)
        return np.asarray(sum(each), np.float64)
