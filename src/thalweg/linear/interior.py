"""The optimum where the derivative of a loss jumps: a quadratic program, by an interior point."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from thalweg.linear.objective import Objective

__all__ = ["interior_optimum", "solver"]

Floats = NDArray[np.float64]
_Step = tuple[Floats, Floats, Floats, Floats]  # of what a point has

_STEPS = 100
_SHARE = 0.995  # of the way to the nearest bound: the longest step
_EXACT = 1e-11  # of the objective: less is rounding
_NOTHING = 1e-15  # is 0, of an objective


def interior_optimum(objective: Objective, start: Floats, accuracy: float = 0.0) -> Floats:
    """Return the parameters that minimize an objective whose loss is linear between its kinks.

    The objective is ½ wᵀΛw + bᵀw + Σ tᵢ max(0, aᵢᵀw - cᵢ), with a term for each kink of each row,
    and one for each |w| = 2 max(0, w) - w. A slope αᵢ in (0, tᵢ) of each term, and u, v > 0 with
    u - v = Aw - c, are brought to (t - α) u = α v = 0 and Λw + b + Aᵀα = 0. A step of Newton's
    method needs one matrix, Λ + AᵀDA with D = 1 / (u / (t - α) + v / α) (Portnoy & Koenker 1997,
    of quantiles). It aims at products above 0, by a prediction of what can be reached, and corrects
    the prediction's second order (Mehrotra 1992).

    Args:
        objective: what is minimized; its loss has kinks.
        start: parameters, (columns, 1).
        accuracy: a share of the objective; less than that is not worth a step. 0: none.
    """
    terms = _Terms.of(objective)
    point = terms.begin(start[:, 0])
    enough = max(accuracy, _EXACT)
    for _ in range(_STEPS):
        residual = terms.residual(point)
        value = objective.both(point.w[:, None])[0]
        far = point.gap + float(abs(residual) @ abs(point.w))
        if far <= enough * value or min(far, value) <= _NOTHING:
            break
        point = terms.step(point, residual)
    return terms.end(point, enough)[:, None]


@dataclass
class _Point:
    """Where the method stands.

    Attributes:
        w: parameters, (columns,).
        slope: of each term, > 0.
        rest: up to its largest slope, > 0; a difference of the two would lose its digits.
        above: u of each term, > 0.
        below: v of each term, > 0.
    """

    w: Floats
    slope: Floats
    rest: Floats
    above: Floats
    below: Floats

    @property
    def gap(self) -> float:
        """How far the objective is from its least, if the residual is 0."""
        return float(self.rest @ self.above + self.slope @ self.below)

    def moved(self, length: float, step: _Step) -> "_Point":
        """Return where a step of such a length ends."""
        w, turn, up, down = (length * change for change in step)
        return _Point(
            self.w + w, self.slope + turn, self.rest - turn, self.above + up, self.below + down
        )


@dataclass(frozen=True)
class _Terms:
    """The terms max(0, aᵀw - c) of an objective, and what else it has.

    Attributes:
        objective: whose they are.
        kinks: (kinks of the loss, n), c of the rows' terms.
        penalized: the columns with a |w|, whose terms follow.
        linear: (columns,), b.
        most: the largest slope of each term.
    """

    objective: Objective
    kinks: Floats
    penalized: NDArray[np.intp]
    linear: Floats
    most: Floats

    @classmethod
    def of(cls, objective: Objective) -> "_Terms":
        loss, y, weights = objective.loss, objective.y.astype(np.float64), objective.weights
        assert loss.kinks is not None
        kinks = np.array(loss.kinks(y, objective.parameter))
        left = loss.slope(kinks.min(axis=0) - 1, y, objective.parameter)
        l1 = objective.l1[:, 0]
        linear = objective.backward((left * weights)[:, None])[:, 0] - l1
        most = np.concatenate([*(len(kinks) * [weights]), 2 * l1[l1 > 0]])
        return cls(objective, kinks, np.flatnonzero(l1), linear, most)

    def _of(self, w: Floats) -> Floats:
        """Return aᵀw of each term."""
        z = self.objective.outputs(w[:, None])[:, 0]
        return np.concatenate([*(len(self.kinks) * [z]), w[self.penalized]])

    def _rows(self, each: Floats) -> tuple[Floats, Floats]:
        """Return the sum over the terms of each row, and the rest, of a number for each term."""
        count = self.kinks.size
        return each[:count].reshape(self.kinks.shape).sum(axis=0), each[count:]

    def _back(self, each: Floats) -> Floats:
        """Return Σ each a."""
        rows, rest = self._rows(each)
        total: Floats = self.objective.backward(rows[:, None])[:, 0]
        total[self.penalized] += rest
        return total

    def begin(self, w: Floats) -> _Point:
        """Return a point at these parameters, away from all bounds."""
        distance = self._of(w)
        distance[: self.kinks.size] -= self.kinks.ravel()
        near = float(np.mean(abs(distance))) or 1.0
        above, below = np.maximum(distance, 0) + near, np.maximum(-distance, 0) + near
        return _Point(w, self.most / 2, self.most / 2, above, below)

    def residual(self, point: _Point) -> Floats:
        """Return the gradient in w for the slopes of the terms."""
        return self.objective.l2[:, 0] * point.w + self.linear + self._back(point.slope)

    def step(self, point: _Point, residual: Floats) -> _Point:
        """Return the next point."""
        slope, rest, above, below = point.slope, point.rest, point.above, point.below
        stiffness = 1 / (above / rest + below / slope)
        rows, others = self._rows(stiffness)
        matrix = self.objective.gram(rows)
        places = np.arange(len(matrix))
        matrix[places, places] += self.objective.l2[:, 0]
        matrix[self.penalized, self.penalized] += others
        solve = solver(matrix)

        def towards(upper: Floats | float, lower: Floats | float) -> _Step:
            """Return the step to (t - α) u = upper, α v = lower."""
            pull = stiffness * (above - below - upper / rest + lower / slope)
            w = solve(-residual - self._back(pull))
            turn = stiffness * self._of(w) + pull
            up, down = (upper + above * turn) / rest - above, (lower - below * turn) / slope - below
            return w, turn, up, down

        predicted = towards(0.0, 0.0)
        reached = point.moved(_longest(point, predicted), predicted)
        aim = (reached.gap / point.gap) ** 3 * point.gap / (2 * len(slope))
        _, turn, up, down = predicted
        corrected = towards(aim + turn * up, aim - turn * down)
        return point.moved(min(1.0, _SHARE * _longest(point, corrected)), corrected)

    def end(self, point: _Point, enough: float) -> Floats:
        """Return the parameters, with zeros where |w| has a slope between its largest ones."""
        first = self.kinks.size
        inside = np.minimum(point.slope, point.rest)[first:] / self.most[first:]
        size = abs(point.w[self.penalized])
        w = point.w.copy()
        w[self.penalized[size < inside]] = 0
        value, with_zeros = (self.objective.both(each[:, None])[0] for each in (point.w, w))
        return w if with_zeros <= value + enough * value else point.w


def _longest(point: _Point, step: _Step) -> float:
    """Return the length of step, at most about 1, that reaches the nearest bound."""
    _, turn, up, down = step
    room = ((point.slope, turn), (point.rest, -turn), (point.above, up), (point.below, down))
    return 1 / max(1.0, *(float(np.max(-change / left)) for left, change in room))


def solver(matrix: Floats) -> Callable[[Floats], Floats]:
    """Return what solves systems of a positive matrix; the shortest solution of several."""
    try:
        factor = cho_factor(matrix)
    except LinAlgError:
        return lambda right: np.asarray(np.linalg.lstsq(matrix, right, rcond=1e-13)[0], np.float64)
    return lambda right: np.asarray(cho_solve(factor, right))
