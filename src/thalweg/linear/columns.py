"""Columns of X in units of their spread, without a copy of X: rows are scaled as they are read."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from thalweg.kernels.cpu.moments import dense_moments, sparse_moments

__all__ = ["Columns"]

_FIRST = 1000  # rows whose mean is near that of all
_CONSTANT = 1e-14  # a spread of this part of the mean is rounding
_ROUNDED = 1e-12  # so is a difference of squares of this part of them


@dataclass(frozen=True)
class Columns:
    """How the columns of X become those of a training, and its parameters those of X.

    Dense columns are centred, if there is an intercept, and divided by their standard deviation,
    else by their root mean square; sparse ones by the root mean square of what is not 0.

    Attributes:
        centre: (d,), what is subtracted; 0 of sparse columns.
        scale: (d,), what the rest is divided by.
        intercept: whether a constant column follows them.
        share: (d,), in which part of the rows a column is not 0; 1 of dense columns.
        square: the mean of ||x||² over the scaled rows, the constant among them.
        unit: (d,), in which ``alpha="auto"`` penalizes: the root of the variance over the share of
            the rows in which a column is not 0. Of a column without zeros that is its standard
            deviation, of a rare one the root mean square of what is not 0.
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    intercept: bool
    share: NDArray[np.float64]
    square: float
    unit: NDArray[np.float64]

    @classmethod
    def of(cls, X: Any, weights: NDArray[np.float64], *, intercept: bool) -> "Columns":
        """Measure the columns of X, an array or a CSR matrix, whose rows have these weights."""
        d = X.shape[1]
        if issparse(X):
            sums = np.zeros((d, 3))
            wide = X.data.itemsize == 8, X.indices.itemsize == 8
            arrays = X.data.ctypes.data, X.indices.ctypes.data, X.indptr.astype(np.int64)
            sparse_moments(*arrays, wide, weights, sums)
            squares, counts, total = sums.T
            scale = np.sqrt(squares / np.where(counts > 0, counts, 1))
            share = counts / weights.sum()
            met = scale > 0
            scale, often = np.where(met, scale, 1.0), np.where(met, share, 1.0)
            mean = total / weights.sum() if intercept else np.zeros(d)
            variance = squares / weights.sum() - mean**2
            unit = np.where(variance > _ROUNDED * mean**2, np.sqrt(abs(variance) / often), scale)
            return cls(np.zeros(d), scale, intercept, often, share.sum() + intercept, unit)
        first = X[:_FIRST].mean(
            axis=0, dtype=np.float64
        )  # near the mean: squares keep their digits
        first = first.astype(X.dtype).astype(np.float64)
        sums = np.zeros((3, d))
        dense_moments(X.ctypes.data, X.strides, X.itemsize == 8, first, weights, sums)
        total, square, share = sums / weights.sum()
        mean, variance = first + total, np.maximum(square - total**2, 0)
        # In the type of X, so that its kernels subtract the same number.
        centre = mean.astype(X.dtype).astype(np.float64) if intercept else np.zeros(d)
        spread = np.sqrt(variance if intercept else variance + mean**2)
        varies = spread > _CONSTANT * abs(mean)
        share = np.where(varies, share, 0.0)
        scale = np.where(varies, spread / np.sqrt(np.where(varies, share, 1.0)), 1.0)
        return cls(centre, scale, intercept, np.ones(d), float(share.sum() + intercept), scale)

    def original(self, w: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return coefficients (k, d) and intercepts (k,) in X itself of parameters (columns, k)."""
        d = len(self.scale)
        coef = (w[:d] / self.scale[:, None]).T
        return coef, w[d] - coef @ self.centre if self.intercept else np.zeros(len(coef))

    def scaled(self, coef: NDArray[Any], intercept: NDArray[Any]) -> NDArray[np.float64]:
        """Return the parameters (columns, k) that ``original`` turns into these."""
        w = (coef * self.scale).T.astype(np.float64)
        return np.vstack([w, intercept + coef @ self.centre]) if self.intercept else w

    def penalized(self, *, own: bool) -> NDArray[np.float64]:
        """Return the number (d,) by which a parameter is multiplied where it is penalized.

        Args:
            own: whether a column is penalized in its own unit, else in that of X.
        """
        return (self.unit if own else 1.0) / self.scale

    def penalties(self, batch_size: int, *, own: bool) -> NDArray[np.float64]:
        """Return the weights of w²/2 and |w| in each column for a penalty of 1, as steps meet them.

        A column is penalized where it is met, by as much more as it is met less often.

        Args:
            batch_size: rows of a step.
            own: as of ``penalized``.
        """
        often = 1 - (1 - np.minimum(self.share, 1)) ** batch_size
        factor = self.penalized(own=own)
        each = np.array([factor**2, factor]) / often
        return np.pad(each, ((0, 0), (0, int(self.intercept))))
