"""Hashed: the columns of a table as features. Words are hashed, and none is remembered."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from thalweg.words import closest, listed

__all__ = ["Hashed"]

_SHOWN = 30  # columns in a message: a table may have thousands


class Hashed:
    """Turns the columns of Arrow tables into features, by what the first table shows.

    Numbers, booleans and dates (in seconds) are features as they are, and a missing one is the mean
    of ``fit``'s table. Words are hashed: "column=word" becomes 1 or -1 in one of ``size`` features,
    by scikit-learn's ``FeatureHasher`` (Weinberger et al. 2009). A word that was never seen is then
    a feature like others. A table that has words, or lacks numbers, has sparse features: there
    numbers are standardized by the mean and the deviation of ``fit``'s table, and a missing one is
    0 and the hashed word "column is missing".

    Args:
        target: the column to predict.
        weight: the column of the rows' weights; None: all are 1.
        drop: columns to leave out.
        size: features of words, >= 1; 2¹⁸ by default.
        seed: of the hash, >= 0: another one lets other words meet in a feature.

    Attributes:
        numbers: the columns that are features as they are.
        words: the columns that are hashed.
        sparse: whether features are sparse.

    Example:
        >>> import pyarrow as pa
        >>> table = pa.table({"a": [1.0, 3.0], "b": ["x", "y"], "y": [0, 1]})
        >>> hashed = Hashed("y", size=16).fit(table)
        >>> hashed.transform(table).shape, hashed.numbers, hashed.words
        ((2, 17), ('a',), ('b',))
    """

    numbers: tuple[str, ...]
    words: tuple[str, ...]
    sparse: bool

    def __init__(
        self,
        target: str,
        weight: str | None = None,
        drop: Sequence[str] = (),
        *,
        size: int = 1 << 18,
        seed: int = 0,
    ) -> None:
        self.target, self.weight, self.drop = (
            target,
            weight,
            (drop,) if isinstance(drop, str) else tuple(drop),
        )
        self.size, self.seed = size, seed

    def fit(self, table: pa.Table) -> Self:
        """See which columns hold words, and how far numbers spread.

        Raises:
            ValueError: a column is not there, or holds neither numbers, words nor dates.
        """
        asked = [self.target, *([self.weight] if self.weight else []), *self.drop]
        _check(asked, table.column_names)
        if twice := {name for name in table.column_names if table.column_names.count(name) > 1}:
            raise ValueError(f"columns must differ in their names, got two {min(twice)!r}")
        names = [name for name in table.column_names if name not in asked]
        if not names:
            raise ValueError(f"there is no column beside the target {self.target!r}")
        kinds = {name: _kind(name, table[name].type) for name in names}
        self.numbers = tuple(name for name, kind in kinds.items() if kind == "number")
        self.words = tuple(name for name, kind in kinds.items() if kind == "word")
        values = self._values(table)
        known = np.isfinite(values)
        self.sparse = bool(self.words) or bool(np.isnan(values).any())
        count = np.maximum(known.sum(axis=0), 1)
        self._mean = np.where(known, values, 0).sum(axis=0) / count
        squares = np.where(known, values - self._mean, 0) ** 2
        self._deviation = np.sqrt(squares.sum(axis=0) / count)
        self._deviation[self._deviation == 0] = 1.0
        return self

    @property
    def features(self) -> int:
        """How many there are."""
        return len(self.numbers) + self.sparse * self.size

    def transform(self, table: pa.Table) -> Any:  # noqa: ANN401 - an array or a csr_array
        """Return the features (rows, features) in float64: an array, or CSR if they are sparse.

        Raises:
            ValueError: a column is not there, or is no longer what it was.
        """
        _check([*self.numbers, *self.words], table.column_names)
        values = self._values(table)
        missing = np.isnan(values)
        if not self.sparse:
            return np.where(missing, self._mean, values)
        values = np.where(missing, 0, (values - self._mean) / self._deviation)
        return csr_array(hstack([csr_array(values), self._hashed(table, missing)], format="csr"))

    def answers(self, table: pa.Table) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        """Return the targets and the weights of a table that has them in every row."""
        _check([self.target, *([self.weight] if self.weight else [])], table.column_names)
        y = _plain(table[self.target]).to_numpy()
        if self.weight is None:
            return y, None
        if _kind(self.weight, table[self.weight].type) != "number":
            raise ValueError(f"weight must name a column of numbers, got {self.weight!r}")
        return y, _floats(table[self.weight])

    def _values(self, table: pa.Table) -> NDArray[np.float64]:
        for name in self.numbers:
            if _kind(name, table[name].type) != "number":
                raise ValueError(f"column {name!r} held numbers at first, and then words")
        columns = [_floats(table[name]) for name in self.numbers]
        return np.column_stack(columns) if columns else np.zeros((table.num_rows, 0))

    def _hashed(self, table: pa.Table, missing: NDArray[np.bool_]) -> csr_array:
        """Return the hashed words: a feature for each column's, and for each missing number."""
        n, before = table.num_rows, f"{self.seed} " if self.seed else ""
        rows, features, signs = [], [], []
        for name in self.words:
            coded = _plain(table[name]).cast(pa.string()).dictionary_encode().combine_chunks()
            if isinstance(coded, pa.ChunkedArray):
                coded = coded.chunk(0) if coded.num_chunks else pa.array([], coded.type)
            known = coded.dictionary.to_pylist()
            tokens = [f"{before}{name}={word}" for word in known] + [f"{before}{name} is missing"]
            place, sign = self._tokens(tokens)
            codes = pc.fill_null(coded.indices, len(known)).to_numpy(zero_copy_only=False)
            rows.append(np.arange(n))
            features.append(place[codes])
            signs.append(sign[codes])
        for j, name in enumerate(self.numbers):
            if (gaps := np.flatnonzero(missing[:, j])).size:
                place, sign = self._tokens([f"{before}{name} is missing"])
                rows.append(gaps)
                features.append(np.repeat(place, len(gaps)))
                signs.append(np.repeat(sign, len(gaps)))
        if not rows:
            return csr_array((n, self.size))
        where = np.concatenate(rows), np.concatenate(features)
        return csr_array((np.concatenate(signs), where), shape=(n, self.size))

    def _tokens(self, tokens: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        from sklearn.feature_extraction import FeatureHasher  # noqa: PLC0415 - slow to load

        hashed = FeatureHasher(self.size, input_type="string").transform([[t] for t in tokens])
        return hashed.indices, hashed.data


def _check(names: Sequence[str], columns: Sequence[str]) -> None:
    for name in names:
        if name not in columns:
            hint = closest(name, columns)
            raise ValueError(
                f"there is no column {name!r}; {hint and hint + ' '}the columns are: "
                f"{listed(columns, _SHOWN)}"
            )


def _kind(name: str, kind: pa.DataType) -> str:
    held = kind.value_type if pa.types.is_dictionary(kind) else kind
    if any(is_(held) for is_ in _NUMBERS):
        return "number"
    if pa.types.is_string(held) or pa.types.is_large_string(held):
        return "word"
    raise ValueError(f"column {name!r} holds {kind}; it must hold numbers, words or dates")


_NUMBERS = (
    pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal,
    pa.types.is_null, pa.types.is_timestamp, pa.types.is_date,
)  # fmt: skip


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    return column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return numbers, NaN where they are missing; dates in seconds."""
    column = _plain(column)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
        return _floats(column) / 1e6
    values: NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
    return values
