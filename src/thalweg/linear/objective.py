"""What a finish minimizes, of rows where they lie: X is not copied.

Its columns are centred if there is an intercept, which is then that at their mean: those of sparse
X too, but only in what is computed of them. With a large mean little else could be told of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from scipy.sparse import issparse
from sklearn.utils import gen_batches

from thalweg.kernels.cpu.moments import sparse_products
from thalweg.linear.columns import Columns
from thalweg.losses import Loss

__all__ = ["Objective"]

_SHIFT = 1e-5  # of outputs, by which the second derivative of the loss is found
_CHUNK = 1 << 17  # numbers of X that are handled together: they stay in the cache
_ENOUGH = 200  # rows for each parameter, at least, in an estimate of the second derivatives
_ROWS = 20_000  # rows in one, at least
_QUICKER = 5  # times that a table's products are, each, than those of entries
_FAR = 1e4  # a mean of so many units, whose square would leave few digits of what is centred
_FREE = 1e-9  # of their second derivatives: added to those of intercepts, which softmax has free


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
        width: how far to both sides a derivative that jumps is averaged; 0: it is not.
    """

    X: Any
    columns: Columns
    y: NDArray[Any]
    weights: NDArray[np.float64]
    loss: Loss
    parameter: float
    l2: NDArray[np.float64]
    l1: NDArray[np.float64]
    width: float = 0.0

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

    def _tables(self, every: int = 1) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Yield some rows at a time as arrays, scaled, with the constant; one of so many parts."""
        n, d = self.X.shape
        size = min(n, max(1, _CHUNK // d))
        table = np.empty((size, d + self.columns.intercept))
        for rows in [*gen_batches(n, size)][::every]:
            part = table[: rows.stop - rows.start]
            part[:, d:] = 1
            if issparse(self.X):
                np.subtract(self.X[rows].toarray(), self.columns.mean, out=part[:, :d])
            else:
                np.subtract(self.X[rows], self.columns.centre, out=part[:, :d])
            part[:, :d] /= self.columns.scale
            yield rows, part

    def _unscaled(self, w: NDArray[np.float64]) -> tuple[NDArray[np.float64], Any]:
        coef = w[: len(self.columns.scale)] / self.columns.scale[:, None]
        return coef, w[-1] - self.columns.mean @ coef if self.columns.intercept else 0.0

    def _scaled(self, gradient: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a gradient in the parameters of one in the coefficients of X, and intercepts."""
        d = len(self.columns.scale)
        gradient[:d] -= self.columns.mean[:, None] * gradient[d:].sum(axis=0)
        gradient[:d] /= self.columns.scale[:, None]
        return gradient

    def smooth(self, w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the objective without |w|, and its gradient."""
        d = len(self.columns.scale)
        coef, intercept = self._unscaled(w)
        value, gradient = 0.5 * float(np.sum(self.l2 * w * w)), np.zeros_like(w)
        for rows, part in self._parts():
            z = part @ coef + intercept
            values, slopes = self.loss.rows(z, self.y[rows], self.parameter, self.width)
            value += float(self.weights[rows] @ values)
            slopes = slopes * self.weights[rows, None]
            gradient[:d] += part.T @ slopes
            gradient[d:] += slopes.sum(axis=0)
        return value, self._scaled(gradient) + self.l2 * w

    def both(self, w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the objective, and a subgradient: 0 of |w| where w is 0."""
        value, gradient = self.smooth(w)
        return value + float(np.sum(self.l1 * abs(w))), gradient + self.l1 * np.sign(w)

    def outputs(self, w: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the outputs of all rows, (n, outputs)."""
        coef, intercept = self._unscaled(w)
        return np.concatenate([part @ coef + intercept for _, part in self._parts()])

    def backward(self, slopes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the gradient of what has these slopes, (n, outputs), in the outputs."""
        d, one = self.X.shape[1], int(self.columns.intercept)
        gradient = np.zeros((d + one, slopes.shape[1]))
        for rows, part in self._parts():
            gradient[:d] += part.T @ slopes[rows]
        gradient[d:] = slopes.sum(axis=0)
        return self._scaled(gradient)

    def gram(self, each: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return Σ each x xᵀ over the scaled rows, each (n,) and >= 0."""
        size = self.X.shape[1] + self.columns.intercept
        total = np.zeros((size, size))
        for rows, table in self._tables():
            part = table * np.sqrt(each[rows, None])
            total += part.T @ part
        return total

    @property
    def _has_few_products(self) -> bool:
        """Whether X has so few entries in a row that their products are quicker than a table's."""
        if not issparse(self.X) or (abs(self.columns.mean) > _FAR * self.columns.unit).any():
            return False
        n, d = self.X.shape
        return bool(_QUICKER * np.sum(np.diff(self.X.indptr).astype(float) ** 2) < n * d**2)

    def _products(self, X: Any, each: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ANN401
        """Return Σ each x xᵀ over rows of sparse X, scaled, centred and with the constant."""
        d, one = X.shape[1], int(self.columns.intercept)
        found, mean, total = np.zeros((d + one, d + one)), self.columns.mean, each.sum()
        wide = X.data.itemsize == 8, X.indices.itemsize == 8
        arrays = X.data.ctypes.data, X.indices.ctypes.data, X.indptr.astype(np.int64)
        sparse_products(*arrays, wide, each, found)
        first = X.T @ each
        found[:d, d:] = (first - total * mean)[:, None]
        found[:d, :d] -= np.outer(first, mean) + np.outer(mean, first - total * mean)
        found[d:, d:] = total
        scale = np.append(self.columns.scale, [1.0] * one)
        found = np.triu(found) / np.outer(scale, scale)
        return np.asarray(found + np.triu(found, 1).T)

    def _second(self, z: NDArray[np.float64], rows: slice, c: int) -> NDArray[np.float64]:
        """Return the derivatives of the slopes in output c, by differences.

        Of a loss that is averaged over a width, the difference over that width is exact.
        """
        shift = self.width or _SHIFT * np.maximum(1, abs(z[:, c : c + 1]))
        sides = (side * shift * (np.arange(z.shape[1]) == c) for side in (1, -1))
        above, below = (self.loss.rows(z + s, self.y[rows], self.parameter)[1] for s in sides)
        return np.asarray((above - below) / (2 * shift))

    def curvature(self, w: NDArray[np.float64], every: int = 1) -> NDArray[np.float64]:
        """Return the second derivatives, columns x outputs squared, by one of so many parts.

        Those of the loss are found by differences.
        """
        d, k = w.shape
        hessian, weight = np.zeros((d, k, d, k)), 0.0
        few, (coef, intercept) = self._has_few_products, self._unscaled(w)
        for rows, part in self._parts(every) if few else self._tables(every):
            z = part @ coef + intercept if few else part @ w
            weight += float(self.weights[rows].sum())
            for c in range(k):
                second = self._second(z, rows, c) * self.weights[rows, None]
                for b in range(k):
                    each = np.ascontiguousarray(second[:, b])
                    hessian[:, b, :, c] += (
                        self._products(part, each) if few else part.T @ (part * each[:, None])
                    )
        hessian /= weight
        for c in range(k):
            hessian[np.arange(d), c, np.arange(d), c] += self.l2[:, 0]
        return hessian.reshape(d * k, d * k)

    def left_out(self, w: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
        """Return about the mean loss of each row by a model of all the others; w is the optimum.

        That model is one step of Newton's method away: without a row whose slopes are g and second
        derivatives S its outputs are those of w and A (1 - S A)⁻¹ g more, A = u xᵀ H⁻¹ x (Rad &
        Maleki 2020; exact for the squared loss: Allen 1974).

        Args:
            w: parameters, (columns, outputs).
            weights: (n,), how much is left out with each row: its own weight, less where it stands
                for several rows, more where it has copies.
        """
        d, k = w.shape
        hessian = self.curvature(w)
        free = np.arange((d - self.columns.intercept) * k, d * k)
        hessian[free, free] += _FREE * np.maximum(hessian[free, free], 1e-300)
        try:
            root = cholesky(hessian, lower=True)
        except LinAlgError:
            return np.inf
        inverse = solve_triangular(root, np.eye(d * k), lower=True).reshape(d * k, d, k)
        total = 0.0
        # Nothing holds an intercept at one class, and e^z of a row may be far from all others.
        with np.errstate(all="ignore"):
            for rows, table in self._tables():
                z, y = table @ w, self.y[rows]
                slopes = self.loss.rows(z, y, self.parameter)[1]
                second = np.stack([self._second(z, rows, c) for c in range(k)], axis=2)
                far = np.stack([table @ inverse[:, :, c].T for c in range(k)], axis=1)
                moves = far @ far.swapaxes(1, 2)
                moves *= weights[rows, None, None]
                step = moves @ np.linalg.solve(np.eye(k) - second @ moves, slopes[:, :, None])
                losses = self.loss.rows(z + step[:, :, 0], y, self.parameter)[0]
                total += float(self.weights[rows] @ losses)
        return total if np.isfinite(total) else np.inf

    def diagonal(self, w: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return about the second derivative in each parameter of a column, (columns, 1)."""
        coef, intercept = self._unscaled(w)
        total, weight = 0.0, 0.0
        for rows, part in self._parts(self.sampling(1)):
            second, own = self._second(part @ coef + intercept, rows, 0), self.weights[rows]
            total += float(own @ second[:, 0])
            weight += float(own.sum())
        spread = np.minimum(self.columns.share, 1) * (self.columns.unit / self.columns.scale) ** 2
        spread = np.append(spread, [1.0] * self.columns.intercept)[:, None]
        return np.asarray(max(total / weight, 0.01) * spread + self.l2)

    def sampling(self, size: int) -> int:
        """Return of how many parts one tells enough of the second derivatives."""
        return max(1, int(self.X.shape[0]) // max(_ENOUGH * size, _ROWS))
