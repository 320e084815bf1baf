"""The optimum of a linear model, from wherever a pass has ended. X is not copied."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.sparse import csr_array, diags_array, hstack, issparse
from sklearn.utils import gen_batches

from thalweg.linear.columns import Columns
from thalweg.losses import Loss

__all__ = ["Objective", "optimum"]

_NEWTON = 400  # parameters: above, L-BFGS has the last word
_STEPS = 40  # of Newton's method
_SHIFT = 1e-5  # of outputs, by which the second derivative of the loss is found
_CHUNK = 1 << 17  # numbers of X that are handled together: they stay in the cache
_ENOUGH = 200  # rows for each parameter, at least, in an estimate of the second derivatives
_ROWS = 20_000  # rows in one, at least


@dataclass(frozen=True)
class Objective:
    """mean of weighted losses + Σ l2/2 w² + Σ l1 |w|, of parameters w (columns, outputs).

    Attributes:
        X: (n, features), an array or a CSR matrix.
        columns: how its columns are scaled.
        y: (n,), targets as the loss has them.
        weights: (n,), with the sum 1.
        loss: the loss.
        parameter: its own number.
        l2: (columns, 1), weights of w²/2.
        l1: (columns, 1), weights of |w|.
    """

    X: Any
    columns: Columns
    y: NDArray[Any]
    weights: NDArray[np.float64]
    loss: Loss
    parameter: float
    l2: NDArray[np.float64]
    l1: NDArray[np.float64]

    def _parts(self, every: int = 1) -> Iterator[tuple[slice, Any]]:
        """Yield some rows at a time, centred, in float64; one of so many parts."""
        n, d = self.X.shape
        entries = max(self.X.nnz // n, 1) if issparse(self.X) else d
        size = min(n, max(1, (max(8 * _CHUNK, 4 * d) if issparse(self.X) else _CHUNK) // entries))
        parts = [*gen_batches(n, size)][::every]
        near = np.empty((0 if issparse(self.X) else size, d))
        for rows in parts:
            if issparse(self.X):
                yield rows, self.X if size == n else self.X[rows]
            else:
                part = near[: rows.stop - rows.start]
                yield rows, np.subtract(self.X[rows], self.columns.centre, out=part)

    def _unscaled(self, w: NDArray[np.float64]) -> tuple[NDArray[np.float64], Any]:
        d = len(self.columns.scale)
        return w[:d] / self.columns.scale[:, None], w[d] if self.columns.intercept else 0.0

    def smooth(self, w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the objective without |w|, and its gradient."""
        d = len(self.columns.scale)
        coef, intercept = self._unscaled(w)
        value, gradient = 0.5 * float(np.sum(self.l2 * w * w)), np.zeros_like(w)
        for rows, part in self._parts():
            z = part @ coef + intercept
            values, slopes = self.loss.rows(z, self.y[rows], self.parameter)
            value += float(self.weights[rows] @ values)
            slopes = slopes * self.weights[rows, None]
            gradient[:d] += part.T @ slopes
            gradient[d:] += slopes.sum(axis=0)
        gradient[:d] /= self.columns.scale[:, None]
        return value, gradient + self.l2 * w

    def both(self, w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the objective, and a subgradient: 0 of |w| where w is 0."""
        value, gradient = self.smooth(w)
        return value + float(np.sum(self.l1 * abs(w))), gradient + self.l1 * np.sign(w)

    def curvature(self, w: NDArray[np.float64], every: int = 1) -> NDArray[np.float64]:
        """Return the second derivatives, columns x outputs squared, by one of so many parts.

        Those of the loss are found by differences.
        """
        d, k = w.shape
        hessian, weight = np.zeros((d, k, d, k)), 0.0
        coef, intercept = self._unscaled(w)
        for rows, part in self._parts(every):
            z, whole = part @ coef + intercept, self._whole(part)
            weight += float(self.weights[rows].sum())
            for c in range(k):
                shift = _SHIFT * (np.arange(k) == c) * np.maximum(1, abs(z[:, c : c + 1]))
                above, below = (
                    self.loss.rows(z + side * shift, self.y[rows], self.parameter)[1]
                    for side in (1, -1)
                )
                second = (above - below) / (2 * shift[:, c : c + 1]) * self.weights[rows, None]
                for b in range(k):
                    column = second[:, b : b + 1]
                    scaled = whole.multiply(column).tocsr() if issparse(whole) else whole * column
                    product = whole.T @ scaled
                    hessian[:, b, :, c] += product.toarray() if issparse(product) else product
        hessian /= weight
        for c in range(k):
            hessian[np.arange(d), c, np.arange(d), c] += self.l2[:, 0]
        return hessian.reshape(d * k, d * k)

    def diagonal(self, w: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return about the second derivative in each parameter of a column, (columns, 1)."""
        coef, intercept = self._unscaled(w)
        total, weight = 0.0, 0.0
        for rows, part in self._parts(self.sampling(1)):
            z, own = part @ coef + intercept, self.weights[rows]
            shift = _SHIFT * (np.arange(w.shape[1]) == 0)
            above, below = (
                self.loss.rows(z + side * shift, self.y[rows], self.parameter)[1][:, 0]
                for side in (1, -1)
            )
            total += float(own @ (above - below)) / (2 * _SHIFT)
            weight += float(own.sum())
        share = np.append(self.columns.share, [1.0] * (len(w) - len(self.columns.share)))
        return np.asarray(max(total / weight, 0.01) * np.minimum(share, 1)[:, None] + self.l2)

    def _whole(self, part: Any) -> Any:
        """Return rows scaled, with the constant column."""
        n, one = part.shape[0], int(self.columns.intercept)
        if issparse(part):
            return csr_array(
                hstack([part @ diags_array(1 / self.columns.scale), np.ones((n, one))])
            )
        return np.hstack([part / self.columns.scale, np.ones((n, one))])

    def sampling(self, size: int) -> int:
        """Return of how many parts one tells enough of the second derivatives."""
        return max(1, int(self.X.shape[0]) // max(_ENOUGH * size, _ROWS))


def optimum(
    objective: Objective, start: NDArray[np.float64], accuracy: float = 0.0
) -> NDArray[np.float64]:
    """Return the parameters that minimize an objective.

    Of few parameters without |w| by Newton's method, whose second derivatives are those of enough
    rows as long as that helps. Where it gets stuck, and of others, by L-BFGS, and few of them then
    by Newton. |w| is smooth in the two parts of w = p - q, p and q >= 0, so that zeros are zeros.

    Args:
        objective: what is minimized.
        start: parameters, (columns, outputs).
        accuracy: a share of the objective; less than that is not worth a step. 0: none.
    """
    few, split = start.size <= _NEWTON, bool(objective.l1.any())
    if few and not split:
        start, done = _newton(objective, start, accuracy, objective.sampling(start.size))
        if done:
            return start
    w = _quasi_newton(objective, start, accuracy, split=split)
    return _newton(objective, w, accuracy, 1)[0] if few else w


def _quasi_newton(
    objective: Objective, start: NDArray[np.float64], accuracy: float, *, split: bool
) -> NDArray[np.float64]:
    """Take steps of L-BFGS in units in which each parameter alone has the curvature 1.

    Where there is |w|, they are those of the two parts of w.
    """
    shape, size = start.shape, start.size
    unit = 1 / np.sqrt(objective.diagonal(start))
    l1 = np.broadcast_to(objective.l1 * unit, shape).ravel()

    def joined(flat: NDArray[np.float64]) -> NDArray[np.float64]:
        return (flat[:size] - flat[size:] if split else flat).reshape(shape) * unit

    def function(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = objective.smooth(joined(flat))
        g = (gradient * unit).ravel()
        if not split:
            return value, g
        return value + float(l1 @ (flat[:size] + flat[size:])), np.concatenate([g + l1, l1 - g])

    first = (start / unit).ravel()
    if split:
        first = np.concatenate([np.maximum(first, 0), np.maximum(-first, 0)])
    ends = {"ftol": max(accuracy / 10, 1e-12), "gtol": 1e-9}
    found = minimize(
        function,
        first,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * (2 * size) if split else None,
        options={"maxiter": 2000, "maxfun": 4000, "maxcor": 20, **ends},
    )
    return joined(found.x)


def _newton(
    objective: Objective, w: NDArray[np.float64], accuracy: float, every: int
) -> tuple[NDArray[np.float64], bool]:
    """Take steps of Newton's method in the parameters that are not held at 0 by |w|.

    Returns:
        The parameters, and whether they are those of the optimum.
    """
    value, gradient = objective.both(w)
    before = np.inf
    for _ in range(_STEPS):
        moves = ((objective.l1 == 0) | (w != 0)).ravel()
        g = gradient.ravel()[moves]
        if not g.any():
            return w, True
        step = np.zeros(w.size)
        step[moves] = _solved(objective.curvature(w, every)[np.ix_(moves, moves)], g)
        decrement = 0.5 * float(g @ step[moves])  # how far the objective is from its least
        if not np.isfinite(decrement) or decrement < 0:
            return w, False
        if decrement <= accuracy * abs(value):
            return w - step.reshape(w.shape), True
        if decrement > before / 20:
            every = 1
        before = decrement
        for length in 0.5 ** np.arange(12):
            new = w - length * step.reshape(w.shape)
            new = np.where((objective.l1 > 0) & (new * w < 0), 0.0, new)
            lower, its_gradient = objective.both(new)
            if lower <= value:
                break
        else:
            if every == 1:
                return w, decrement <= 1e-13 * max(1.0, abs(value))
            every = 1
            continue
        small = np.max(abs(new - w)) <= 1e-13 * max(1.0, np.max(abs(new)))
        w, value, gradient = new, lower, its_gradient
        if small:
            return w, True
    return w, False


def _solved(curvature: NDArray[np.float64], g: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the step of Newton's method; the shortest where several are equal."""
    try:
        return np.asarray(cho_solve(cho_factor(curvature), g))
    except LinAlgError:
        return np.asarray(np.linalg.lstsq(curvature, g, rcond=1e-13)[0], np.float64)
