"""Dataset: features, target, and their names."""

from collections import Counter
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.data.options import Options
from thalweg.words import argument, listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    import pyarrow as pa

    from thalweg.data.columns import Style

__all__ = ["MAX_VALUES", "MIN_ROWS", "Dataset", "as_arrow", "real"]

MIN_ROWS = 10
"""Fewer rows than this cannot be split into three parts that mean anything."""

MAX_VALUES = 1_000
"""More distinct values than this in a categorical column or target are names, not categories."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A table, and the target that is predicted from it.

    Attributes:
        name: what reports call it.
        X: the columns: float64 (n, d), finite, of arrays; of a file or a data frame a pandas frame
            of numbers, dates and categories, NaN where a value is missing. ``split`` encodes and
            standardizes it.
        y: target: float64 (n,) for regression, else int64 codes 0..k-1 into ``classes``.
        features: the names of the columns.
        target: the target's name.
        classes: the k class names, or None for regression.
        source: where it came from.
        loaded: the source that ``load`` was given; "" if it was made in another way.
        dropped: rows that were left out.
        options: how it was read.
        notes: sentences that say what was assumed, what was left out and which columns look wrong.
        styles: how the texts of a file's columns were written, by name; new rows are read alike.
    """

    name: str
    X: "NDArray[np.float64] | pd.DataFrame" = field(repr=False)
    y: NDArray[Any] = field(repr=False)
    features: tuple[str, ...] = field(repr=False)
    target: str
    classes: tuple[str, ...] | None
    source: str
    loaded: str = field(default="", repr=False)
    dropped: int = 0
    options: Options = field(default_factory=Options, repr=False)
    notes: tuple[str, ...] = field(default=(), repr=False)
    styles: "Mapping[str, Style]" = field(default_factory=dict, repr=False)

    @property
    def kind(self) -> str:
        """``"regression"``, ``"binary"`` (two classes) or ``"multiclass"``."""
        if self.classes is None:
            return "regression"
        return "binary" if len(self.classes) == 2 else "multiclass"

    @property
    def missing(self) -> int:
        """How many values are missing; ``split`` imputes them."""
        return 0 if isinstance(self.X, np.ndarray) else int(self.X.isna().to_numpy().sum())

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
        options: Options | None = None,
    ) -> "Dataset":
        """Make a data set from arrays and lists, or from a pandas or polars frame as from a file.

        Args:
            X: finite numbers (n, d), n >= 10, d >= 1; or a frame or an Arrow table, whose columns
                may also be texts, dates and categories and lack values.
            y: n values. Text, booleans, and whole numbers of at most min(20, n/3) distinct values
                are classes, also as floats; all other numbers are regression.
            name: what reports call it.
            kind: ``"regression"`` or ``"classification"``, to override that guess.
            features: d names; by default those of a frame, else x0, x1, ...
            target: the target's name.
            source: where the data came from.
            options: for a frame: which columns are used, and how.

        Raises:
            ValueError: a value is not finite, lengths differ, or there is nothing to learn; the
                message names the place and the value.

        Example:
            >>> Dataset.from_arrays([[0.5], [1.5]] * 5, ["no", "yes"] * 5)
            Dataset(name='data', target='y', classes=('no', 'yes'), source='arrays', dropped=0)
        """
        if hasattr(X, "collect"):  # polars's lazy frame
            X = X.collect()
        if hasattr(X, "columns"):
            table = _with_target(as_arrow(X), y, target)
            options = options or Options()
            return cls.from_table(table, target, name, kind, source=source, options=options)
        matrix = _matrix(X)
        if features is None:
            features = tuple(f"x{j}" for j in range(matrix.shape[1]))
        values, classes = _target(y, target, kind)
        if len(values) != len(matrix):
            raise ValueError(f"X has {len(matrix)} rows and y has {len(values)}; they must agree")
        if len(features) != matrix.shape[1]:
            raise ValueError(f"X has {matrix.shape[1]} columns and features {len(features)} names")
        _check_rows(target, values, classes)
        return cls(name, matrix, values, features, target, classes, source)

    @classmethod
    def from_table(
        cls,
        table: "pa.Table",
        target: str | None,
        name: str,
        kind: str | None,
        *,
        source: str,
        options: Options,
        loaded: str = "",
        dropped: Counter[str] | None = None,
        assumed: tuple[str, ...] = (),
        comma: bool = False,
    ) -> "Dataset":
        """Make a data set from an Arrow table, whose texts may be numbers or dates.

        Args:
            table: the columns and the target.
            target: its name.
            name: what reports call it.
            kind: as in ``from_arrays``.
            source: where the data came from.
            options: which columns are used, and how.
            loaded: what ``load`` was given.
            dropped: rows that were left out before, by reason.
            assumed: what was assumed before, in words.
            comma: whether the decimal mark is a comma where numbers do not show it.
        """
        from thalweg.data import suspects, tables  # noqa: PLC0415 - load PyArrow

        found = tables.prepared(table, target, options, comma=comma)
        assert target is not None
        y, classes = _target(found.y, target, kind)
        gone = (dropped or Counter()) + found.dropped
        _check_rows(target, y, classes, gone.total())
        notes = []
        if said := (*assumed, *found.assumed):
            notes.append(f"assumed: {'; '.join(said)}")
        if gone:
            why = ", ".join(f"{count} {reason}" for reason, count in gone.items())
            notes.append(f"rows left out: {why}")
        notes += suspects.suspects(found.X, y, classes=classes is not None)
        notes += suspects.kinships(found.X, y, classes=classes is not None)
        notes += suspects.stand_ins({**found.X, target: found.y})
        words = {n: [*c.cat.categories] for n, c in found.X.items() if c.dtype.name == "category"}
        texts = {target: classes} if classes and found.y.dtype.kind == "O" else {}
        notes += suspects.spellings({**words, **texts})
        return cls(
            name, found.X, y, tuple(found.X.columns), target, classes, source, loaded,
            gone.total(), options, tuple(notes), found.styles,
        )  # fmt: skip

    def summary(self, encoded: int) -> str:
        """Return one line that says which data the race uses.

        Args:
            encoded: how many features the columns become.

        Example:
            >>> Dataset.from_arrays([[0.5], [1.5]] * 5, ["no", "yes"] * 5).summary(1)
            'data: y is one of 2 classes (no 5, yes 5); 10 rows; 1 column → 1 feature'
        """
        what = "a number"
        if self.classes is not None:
            counts = np.bincount(self.y, minlength=len(self.classes))
            shown = [f"{name} {count}" for name, count in zip(self.classes, counts, strict=True)]
            what = f"one of {len(self.classes)} classes ({listed(shown, 8)})"
        facts = [f"{self.dropped} left out"] * bool(self.dropped)
        facts += [f"{self.missing} values imputed"] * bool(self.missing)
        rows = f"{len(self.y)} rows" + (f" ({', '.join(facts)})" if facts else "")
        columns, features = len(self.features), encoded
        return (
            f"{self.name}: {self.target} is {what}; {rows}; {columns} column{'s' * (columns != 1)} "
            f"→ {features} feature{'s' * (features != 1)}"
        )


def _check_rows(
    target: str, values: NDArray[Any], classes: tuple[str, ...] | None, dropped: int = 0
) -> None:
    """Raise ValueError if there is too little to learn from."""
    if len(values) < MIN_ROWS:
        after = f" after {dropped} bad ones were dropped" if dropped else ""
        raise ValueError(f"at least {MIN_ROWS} rows are needed, got {len(values)}{after}")
    if len(np.unique(values)) < 2:
        only = classes[0] if classes else values[0]
        raise ValueError(
            f"target {target!r} has the one value {only} in every row; nothing can be learned"
        )


def as_arrow(frame: Any) -> "pa.Table":  # noqa: ANN401 - pandas's or polars's
    """Return a data frame as an Arrow table."""
    import pyarrow as pa  # noqa: PLC0415 - only frames and files need it

    if isinstance(frame, pa.Table):
        return frame
    try:
        if hasattr(frame, "to_arrow"):
            return frame.to_arrow()
        frame = frame.rename(columns=str).apply(_known_to_arrow)
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ValueError(f"X must be a frame of numbers, texts and dates: {error}") from None


def _known_to_arrow(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return periods as dates, intervals as words, and sparse columns as dense ones."""
    import pandas as pd  # noqa: PLC0415 - its user has loaded it

    kind = column.dtype
    if isinstance(kind, pd.SparseDtype):
        return column.sparse.to_dense()
    if isinstance(kind, pd.PeriodDtype):
        return column.dt.to_timestamp()
    if isinstance(kind, pd.CategoricalDtype):
        kind = kind.categories.dtype
    if isinstance(kind, (pd.IntervalDtype, pd.PeriodDtype)):
        return column.astype("category").cat.rename_categories(str)
    return column


def _with_target(table: "pa.Table", y: ArrayLike, target: str) -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415 - only frames and files need it

    if target in table.column_names:
        raise ValueError(f"X has a column {target!r}; name the target otherwise with target=")
    values = real("y", y)
    if values.ndim != 1:
        raise _not_one_column(values)
    if len(values) != table.num_rows:
        raise ValueError(f"X has {table.num_rows} rows and y has {len(values)}; they must agree")
    typed = getattr(y, "array", y)  # pandas's integers may lack values, NumPy's may not
    try:
        column = pa.array(typed if hasattr(typed, "__arrow_array__") else values, from_pandas=True)
        return table.append_column(target, pa.chunked_array([column]))
    except pa.ArrowException as error:
        raise ValueError(f"y must be all numbers or all text: {error}") from None


def _not_one_column(y: NDArray[Any]) -> ValueError:
    one = y.size == len(y) if y.ndim else False
    remedy = "use y.ravel()" if one else "give the numbers of one target"
    return ValueError(f"y must have the shape (rows,), got {y.shape}; {remedy}")


def real(name: str, values: ArrayLike) -> NDArray[Any]:
    """Return the values as an array. Raise ValueError if they are ragged, sparse or complex.

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
        hints = {1: "; use X.reshape(-1, 1) for a single feature", 2: "; at least one is needed"}
        hint = hints.get(matrix.ndim, "")
        raise ValueError(f"X must have the shape (rows, features), got {matrix.shape}{hint}")
    bad = np.argwhere(~np.isfinite(matrix))
    if len(bad):
        i, j = bad[0]
        raise ValueError(f"X must be finite, got X[{i}, {j}] = {matrix[i, j]}")
    return matrix


def _check_classes(name: str, distinct: NDArray[Any], rows: int, *, sure: bool) -> None:
    """Raise ValueError where there are too many classes, or most rows have a text of their own."""
    if len(distinct) > MAX_VALUES:
        raise ValueError(
            f"target {name!r} has {len(distinct)} distinct values; "
            f"at most {MAX_VALUES} can be classes"
        )
    if not sure and 2 * len(distinct) > rows > 2 * MIN_ROWS:
        raise ValueError(
            f"target {name!r} has {len(distinct)} different texts in {rows} rows, such as "
            f"{str(distinct[0])!r}; a target is numbers, or classes of several rows each "
            f"({argument('kind', 'classification')} takes them as they are)"
        )


def _target(
    y: ArrayLike, name: str, kind: str | None
) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """Return the values and None for regression; otherwise the codes and the classes."""
    if kind not in (None, "regression", "classification"):
        raise ValueError(f"kind must be 'regression' or 'classification', got {kind!r}")
    values = real("y", y)
    if values.ndim != 1:
        raise _not_one_column(values)
    if values.dtype.kind == "O" and all(isinstance(value, Real) for value in values):
        values = np.asarray(values.tolist())  # a data frame may keep numbers as objects
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
    few = len(distinct) <= min(20, len(values) / 3) and numeric and not (distinct % 1).any()
    if kind == "regression" or (kind is None and numeric and not few):
        return values.astype(np.float64), None
    _check_classes(name, distinct, len(values), sure=numeric or kind is not None)
    return codes.astype(np.int64), tuple(map(str, distinct))
