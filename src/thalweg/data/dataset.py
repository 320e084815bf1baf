"""Dataset: features, target, and what they are called."""

from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MAX_VALUES", "MIN_ROWS", "Dataset", "real"]

MIN_ROWS = 10
"""Fewer rows than this cannot be split into three parts that mean anything."""

MAX_VALUES = 1_000
"""More distinct values than this in a categorical column or target are names, not categories."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A table of finite numbers and what is to be predicted from it.

    Attributes:
        name: what reports call it.
        X: features, float64 (n, d), not standardized.
        y: target: float64 (n,) for regression, else int64 codes 0..k-1 into ``classes``.
        features: the d column names.
        target: the target's name.
        classes: the k class names, or None for regression.
        source: where it came from.
        dropped: bad rows that were left out.
    """

    name: str
    X: NDArray[np.float64] = field(repr=False)
    y: NDArray[Any] = field(repr=False)
    features: tuple[str, ...] = field(repr=False)
    target: str
    classes: tuple[str, ...] | None
    source: str
    dropped: int = 0

    @property
    def kind(self) -> str:
        """``"regression"``, ``"binary"`` (two classes) or ``"multiclass"``."""
        if self.classes is None:
            return "regression"
        return "binary" if len(self.classes) == 2 else "multiclass"

    @classmethod
    def from_arrays(
        cls,
        X: ArrayLike,
        y: ArrayLike,
        name: str = "data",
        kind: str | None = None,
        *,
        features: tuple[str, ...] | None = None,
        target: str = "y",
        source: str = "arrays",
        dropped: int = 0,
    ) -> "Dataset":
        """Make a data set of arrays, lists or data frames.

        Args:
            X: finite numbers (n, d), n >= 10, d >= 1.
            y: n values. Text, booleans, and integers of at most min(20, n/3) distinct values are
                classes; floats and all other integers are regression.
            name: what reports call it.
            kind: ``"regression"`` or ``"classification"``, to override that guess.
            features: d names; by default the columns of a data frame, else x0, x1, ...
            target: the target's name.
            source: where the data came from.
            dropped: rows that were left out before.

        Raises:
            ValueError: a value is not finite, lengths differ, or there is nothing to learn; the
                message names the place and the value.

        Example:
            >>> Dataset.from_arrays([[0.5], [1.5]] * 5, ["no", "yes"] * 5)
            Dataset(name='data', target='y', classes=('no', 'yes'), source='arrays', dropped=0)
        """
        columns = getattr(X, "columns", None)
        matrix = _matrix(X)
        if features is None:
            labels = [f"x{j}" for j in range(matrix.shape[1])] if columns is None else columns
            features = tuple(map(str, labels))
        values, classes = _target(y, target, kind)
        if len(values) != len(matrix):
            raise ValueError(f"X has {len(matrix)} rows and y has {len(values)}; they must agree")
        if len(features) != matrix.shape[1]:
            raise ValueError(f"X has {matrix.shape[1]} columns and features {len(features)} names")
        if len(matrix) < MIN_ROWS:
            after = f" after {dropped} bad ones were dropped" if dropped else ""
            raise ValueError(f"at least {MIN_ROWS} rows are needed, got {len(matrix)}{after}")
        if len(np.unique(values)) < 2:
            only = classes[0] if classes else values[0]
            raise ValueError(
                f"target {target!r} has the one value {only} in every row; nothing can be learned"
            )
        return cls(name, matrix, values, features, target, classes, source, dropped)


def real(name: str, values: ArrayLike) -> NDArray[Any]:
    """Return the values as an array; raise ValueError where they are ragged, sparse or complex.

    Args:
        name: what messages call them.
        values: an array, a list or a data frame.

    Example:
        >>> real("X", [[1, 2]]).shape
        (1, 2)
    """
    if hasattr(values, "toarray"):
        kind = type(values).__name__
        raise ValueError(f"{name} must be dense, got {kind}; use {name}.toarray()")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be an array: {error}") from None
    if array.dtype.kind == "c":
        raise ValueError(f"{name} must be real, got {array.dtype}; use {name}.real")
    return array


def _matrix(X: ArrayLike) -> NDArray[np.float64]:
    dense = real("X", X)
    try:
        matrix = np.array(dense, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"X must be a table of numbers: {error}") from None
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        hint = "; use X.reshape(-1, 1) for a single feature" if matrix.ndim == 1 else ""
        raise ValueError(f"X must have the shape (rows, features), got {matrix.shape}{hint}")
    bad = np.argwhere(~np.isfinite(matrix))
    if len(bad):
        i, j = bad[0]
        raise ValueError(f"X must be finite, got X[{i}, {j}] = {matrix[i, j]}")
    return matrix


def _target(
    y: ArrayLike, name: str, kind: str | None
) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """Return the values and None for regression, else the codes and the classes."""
    if kind not in (None, "regression", "classification"):
        raise ValueError(f"kind must be 'regression' or 'classification', got {kind!r}")
    values = real("y", y)
    if values.ndim != 1:
        raise ValueError(f"y must have the shape (rows,), got {values.shape}; use y.ravel()")
    if values.dtype.kind == "O" and all(isinstance(value, Real) for value in values):
        values = np.asarray(values.tolist())  # a data frame keeps numbers as objects at times
    if values.dtype.kind not in "biuf":
        meant = str if isinstance(next(iter(values), None), str) else Real
        odd = next((i for i, value in enumerate(values) if not isinstance(value, meant)), None)
        if odd is not None:
            raise ValueError(f"y must be all numbers or all text, got y[{odd}] = {values[odd]!r}")
    elif not np.isfinite(values).all():
        i = int(np.argmin(np.isfinite(values)))
        raise ValueError(f"y must be finite, got y[{i}] = {values[i]}")
    numeric = values.dtype.kind in "iuf"
    if kind == "regression" and not numeric:
        raise ValueError(
            f"target {name!r} has values such as {values[0]!s}; a regression needs numbers"
        )
    distinct, codes = np.unique(values, return_inverse=True)
    few = values.dtype.kind in "iu" and len(distinct) <= min(20, len(values) / 3)
    if kind == "regression" or (kind is None and numeric and not few):
        return values.astype(np.float64), None
    if len(distinct) > MAX_VALUES:
        raise ValueError(
            f"target {name!r} has {len(distinct)} distinct values; "
            f"at most {MAX_VALUES} can be classes"
        )
    return codes.astype(np.int64), tuple(map(str, distinct))
