"""The optimum of a linear model on small data, from wherever a pass has ended."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import issparse

from thalweg.losses import Loss

__all__ = ["Objective", "optimum"]

_NEWTON = 400  # parameters: above, L-BFGS has the last word
_STEPS = 30  # of Newton's method
_SHIFT = 1e-5  # of outputs, by which the second derivative of the loss is found


@dataclass(frozen=True)
class Objective:
    """mean of weighted losses + Σ l2/2 w² + Σ l1 |w|, of parameters w (columns, outputs).

    Attributes:
        X: (n, columns), an array or a CSR matrix, with the constant column.
        y: (n,), targets as the loss has them.
        weights: (n,), with the sum 1.
        loss: the loss.
        parameter: its own number.
        l2: (columns, 1), weights of w²/2.
        l1: (columns, 1), weights of |w|.
    """

    X: Any
    y: NDArray[Any]
    weights: NDArray[np.float64]
    loss: Loss
    parameter: float
    l2: NDArray[np.float64]
    l1: NDArray[np.float64]

    def smooth(self, w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the objective without |w|, and its gradient."""
        values, slopes = self.loss.rows(self.X @ w, self.y, self.parameter)
        value = self.weights @ values + 0.5 * np.sum(self.l2 * w * w)
        return float(value), self.X.T @ (slopes * self.weights[:, None]) + self.l2 * w

    def value(self, w: NDArray[np.float64]) -> float:
        """Return the objective."""
        return self.smooth(w)[0] + float(np.sum(self.l1 * abs(w)))

    def curvature(self, w: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the second derivatives, columns x outputs squared; of the loss by differences."""
        z, (d, k) = self.X @ w, w.shape
        hessian = np.zeros((d, k, d, k))
        for c in range(k):
            shift = _SHIFT * (np.arange(k) == c) * np.maximum(1, abs(z[:, c : c + 1]))
            above, below = (
                self.loss.rows(z + side * shift, self.y, self.parameter)[1] for side in (1, -1)
            )
            second = (above - below) / (2 * shift[:, c : c + 1]) * self.weights[:, None]
            for b in range(k):
                column = second[:, b : b + 1]
                scaled = self.X.multiply(column) if issparse(self.X) else self.X * column
                product = self.X.T @ scaled
                hessian[:, b, :, c] = product.toarray() if issparse(product) else product
            hessian[np.arange(d), c, np.arange(d), c] += self.l2[:, 0]
        return hessian.reshape(d * k, d * k)


def optimum(objective: Objective, start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the parameters that minimize an objective: by L-BFGS, and few of them then by Newton.

    |w| is smooth in the two parts of w = p - q, p and q >= 0, so that zeros are zeros.
    """
    shape, size = start.shape, start.size
    split = bool(objective.l1.any())
    l1 = np.broadcast_to(objective.l1, shape).ravel()

    def joined(flat: NDArray[np.float64]) -> NDArray[np.float64]:
        return (flat[:size] - flat[size:] if split else flat).reshape(shape)

    def function(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = objective.smooth(joined(flat))
        g = gradient.ravel()
        if not split:
            return value, g
        return value + float(l1 @ (flat[:size] + flat[size:])), np.concatenate([g + l1, l1 - g])

    first = start.ravel()
    if split:
        first = np.concatenate([np.maximum(first, 0), np.maximum(-first, 0)])
    found = minimize(
        function,
        first,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * (2 * size) if split else None,
        options={"maxiter": 2000, "maxfun": 4000, "ftol": 1e-12, "gtol": 1e-9, "maxcor": 20},
    )
    w = joined(found.x)
    return _newton(objective, w) if size <= _NEWTON else w


def _newton(objective: Objective, w: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take steps of Newton's method in the parameters that are not held at 0 by |w|."""
    value = objective.value(w)
    for _ in range(_STEPS):
        moves = ((objective.l1 == 0) | (w != 0)).ravel()
        if not moves.any():
            return w
        gradient = (objective.smooth(w)[1] + objective.l1 * np.sign(w)).ravel()[moves]
        curvature = objective.curvature(w)[np.ix_(moves, moves)]
        step = np.zeros(w.size)
        step[moves] = np.linalg.lstsq(curvature, gradient, rcond=1e-13)[0]
        if not np.isfinite(step).all():
            return w
        for length in 0.5 ** np.arange(12):
            new = w - length * step.reshape(w.shape)
            new = np.where((objective.l1 > 0) & (new * w < 0), 0.0, new)
            lower = objective.value(new)
            if lower <= value:
                break
        else:
            return w
        small = np.max(abs(new - w)) <= 1e-13 * max(1.0, np.max(abs(new)))
        w, value = new, lower
        if small:
            return w
    return w
