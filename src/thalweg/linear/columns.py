"""Columns of X in units of their spread, without a copy of X: rows are scaled as they are read."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils import assert_all_finite

from thalweg.kernels.cpu.moments import dense_moments, sparse_moments

__all__ = ["Columns", "check_stored"]

_FIRST = 1000  # rows whose mean is near that of all
_CONSTANT = 1e-14  # a spread of this part of the mean is rounding
_NOTHING = 1e-12  # a share of the rows below is none
_DIGITS = 1e-6  # a difference of squares of this part of them has lost too many digits


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
        mean: (d,), what a finish subtracts beside, without a copy: of sparse columns with an
            intercept their mean, else 0.
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    intercept: bool
    share: NDArray[np.float64]
    square: float
    unit: NDArray[np.float64]
    mean: NDArray[np.float64]

    @classmethod
    def of(
        cls, X: Any, weights: NDArray[np.float64], *, intercept: bool, user: str | None = None
    ) -> "Columns":
        """Measure the columns of X, an array or a CSR matrix, whose rows have these weights.

        Raises:
            ValueError: a number is NaN or infinite; the message says that user does not take it.
        """
        d = X.shape[1]
        if issparse(X):
            sums = np.zeros((d, 4))
            wide = X.data.itemsize == 8, X.indices.itemsize == 8
            arrays = X.data.ctypes.data, X.indices.ctypes.data, X.indptr.astype(np.int64)
            sparse_moments(*arrays, wide, weights, sums)
            squares, counts, total = np.ascontiguousarray(sums[:, :3].T)
            _check_finite(X, squares, user)
            scale = np.sqrt(squares / np.where(counts > 0, counts, 1))
            share = counts / weights.sum()
            _refuse_large(scale, 1e37, np.dtype(np.float32))  # as they are read
            met = scale > 1e-36
            scale, often = np.where(met, scale, 1.0), np.where(met, share, 1.0)
            mean = total / weights.sum() if intercept else np.zeros(d)
            variance = squares / weights.sum() - mean**2
            lost = np.flatnonzero(met & (variance < _DIGITS * mean**2))
            variance[lost] = _variances(X, weights, mean, lost)
            unit = np.where(variance > _CONSTANT**2 * mean**2, np.sqrt(variance / often), scale)
            return cls(np.zeros(d), scale, intercept, often, share.sum() + intercept, unit, mean)
        mean, spread, share = _dense(X, weights, user)
        # In the type of X, so that its kernels subtract the same number.
        centre = mean.astype(X.dtype).astype(np.float64) if intercept else np.zeros(d)
        spread = spread if intercept else np.hypot(spread, mean)
        small, large = (1e-36, 1e37) if X.itemsize == 4 else (1e-150, 1e300)
        _refuse_large(spread, large, X.dtype)
        varies = (spread > _CONSTANT * abs(mean)) & (spread > small)
        share = np.where(varies, share, 0.0)
        scale = np.where(varies, spread / np.sqrt(np.where(varies, share, 1.0)), 1.0)
        square = float(share.sum() + intercept)
        return cls(centre, scale, intercept, np.ones(d), square, scale, np.zeros(d))

    def original(self, w: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return coefficients (k, d) and intercepts (k,) in X itself of parameters (columns, k)."""
        d = len(self.scale)
        coef = (w[:d] / self.scale[:, None]).T
        return coef, w[d] - coef @ self.centre if self.intercept else np.zeros(len(coef))

    def scaled(self, coef: NDArray[Any], intercept: NDArray[Any]) -> NDArray[np.float64]:
        """Return the parameters (columns, k) that ``original`` turns into these."""
        w = (coef * self.scale).T.astype(np.float64)
        return np.vstack([w, intercept + coef @ self.centre]) if self.intercept else w

    def centred(self, w: NDArray[np.float64], way: int = 1) -> NDArray[np.float64]:
        """Return parameters (columns, k) of a pass as a finish has them, or with way = -1 back."""
        if not self.intercept:
            return w
        moved = w.copy()
        moved[-1] += way * (self.mean / self.scale) @ w[:-1]
        return moved

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


def check_stored(X: Any) -> None:
    """Raise ValueError if the indices of a sparse matrix point out of it: kernels follow them."""
    if X.format == "csr" and _in_order(X):
        return
    try:
        if X.format == "coo":
            type(X)((X.data, X.coords), shape=X.shape)
        elif X.format in {"csr", "csc", "bsr"}:
            parts = (X.data, X.indices, X.indptr)
            type(X)(parts, shape=X.shape).check_format(full_check=True)
    except ValueError as error:
        raise ValueError(f"X must be a sparse matrix of shape {X.shape}, but {error}") from None


def _in_order(X: Any) -> bool:
    """Return whether the indices of a CSR matrix are in range, by the quickest look at them."""
    starts, columns = X.indptr, X.indices
    if starts.shape != (X.shape[0] + 1,) or columns.ndim != 1 or columns.dtype.kind != "i":
        return False
    most = min(columns.size, X.data.size)
    rising = starts[0] == 0 and starts[-1] <= most and bool((starts[1:] >= starts[:-1]).all())
    seen = columns.view(f"u{columns.itemsize}")  # what is below 0 is large there
    return rising and bool(seen.size == 0 or seen.max() < X.shape[1])


def _dense(
    X: NDArray[Any], weights: NDArray[np.float64], user: str | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the means of the columns, their deviations, and the share of what is not 0."""
    kind = np.finfo(X.dtype)
    with np.errstate(all="ignore"):  # of columns that are measured again
        first = X[:_FIRST].mean(axis=0, dtype=np.float64)  # near the mean: squares keep digits
        first = first.astype(X.dtype).astype(np.float64)
        sums = np.zeros((3, X.shape[1]))
        dense_moments(X.ctypes.data, X.strides, X.itemsize == 8, first, weights, sums)
        _check_finite(X, sums, user)
        total, square, share = sums / weights.sum()
        spread = np.sqrt(np.maximum(square - total**2, 0))
        lost = ~np.isfinite(square) | (square < kind.tiny / kind.eps)  # digits, or all
        for j in np.flatnonzero(lost & (share > 0)):
            x = X[:, j] - first[j]
            if 0 < (size := abs(x).max()) < np.inf:
                mean = np.average(x / size, weights=weights)
                total[j] = size * mean
                spread[j] = size * np.sqrt(np.average((x / size - mean) ** 2, weights=weights))
    return first + total, spread, share


def _variances(
    X: Any,
    weights: NDArray[np.float64],
    mean: NDArray[np.float64],
    columns: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Return the variances of some columns, of differences from their means."""
    if not columns.size:
        return np.zeros(0)
    some = X[:, columns].tocsc()
    place = np.repeat(np.arange(columns.size), np.diff(some.indptr))
    own, centre = weights[some.indices], mean[columns]
    squares = np.bincount(place, own * (some.data - centre[place]) ** 2, columns.size)
    total = weights.sum()
    rest = 1 - np.bincount(place, own, columns.size) / total
    rest[rest < _NOTHING] = 0
    return np.asarray(squares / total + rest * centre**2)


def _refuse_large(spread: NDArray[np.float64], most: float, dtype: np.dtype[Any]) -> None:
    for j in np.flatnonzero(~(spread <= most)):
        raise ValueError(
            f"X must have columns that spread over at most {most:g} ({dtype}), got more in column "
            f"{j}: divide it by a power of 10"
        )


def _check_finite(X: Any, sums: NDArray[np.float64], user: str | None) -> None:
    """Look for what made sums infinite or NaN: reading X once more for it would cost each fit."""
    if not np.isfinite(sums).all():
        with np.errstate(invalid="ignore"):  # infinity less infinity
            assert_all_finite(X, estimator_name=user, input_name="X")
