"""Encoder: the columns of a table as standardized numbers, fitted on the training part alone."""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Encoder"]

_EXACT = 2**53  # float64 cannot hold all larger integers
_COMPONENTS = 30  # features of a column of many different words
_CATEGORIES = 100  # features of a column that is said to be categories; the rarest share one
_MISSING = "missing"


class Encoder:
    """Turns columns into features: imputed, encoded and standardized by the rows of ``fit``.

    A missing number becomes the median, and an indicator is added. Words become 0/1 features, one
    for each value. If there are 40 values or more, skrub's ``StringEncoder`` makes 30 features. A
    missing word is the category "missing". A date becomes the seconds since another one and the
    features of skrub's ``DatetimeEncoder``. A standardized value is (value - mean) /
    scale, where scale is the population standard deviation, or 1 for a constant feature.

    Args:
        names: of the columns.
        types: ``"category"`` or ``"text"`` for columns of words, if the user said so.

    Attributes:
        features: the names of the d features, once fitted.
        mean: float64 (d,).
        scale: float64 (d,), > 0.

    Example:
        >>> import pandas as pd
        >>> towns = pd.Categorical(["a", "b", "a"])
        >>> frame = pd.DataFrame({"size": [1.0, None, 3.0], "town": towns})
        >>> encoder = Encoder(["size", "town"]).fit(frame)
        >>> encoder.features
        ('size', 'size missing', 'town_a', 'town_b')
        >>> encoder.transform(frame)[:, 0].round(3).tolist()
        [-1.225, 0.0, 1.225]
    """

    features: tuple[str, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    def __init__(self, names: Sequence[str], types: Mapping[str, str] | None = None) -> None:
        self.names = tuple(names)
        self.types = dict(types or {})

    def fit(self, X: "NDArray[np.float64] | pd.DataFrame") -> Self:
        """Fit to the rows of the training part.

        Raises:
            ValueError: a column cannot be standardized in float64.
        """
        self._fitted(X)
        return self

    def transform(self, X: "NDArray[np.float64] | pd.DataFrame") -> NDArray[np.float64]:
        """Return the features (n, d), float64, standardized."""
        values = X if isinstance(X, np.ndarray) else self._values(X)
        return self._standardized(values, copy=values is X)

    def fit_transform(self, X: "NDArray[np.float64] | pd.DataFrame") -> NDArray[np.float64]:
        """Fit, and return the features of the same rows."""
        values = self._fitted(X)
        return self._standardized(values, copy=values is X)

    def words(self) -> dict[str, frozenset[str]]:
        """Return the words of each column that has a feature for each, once fitted."""
        vectorizer = getattr(self, "_vectorizer", None)
        if vectorizer is None:
            return {}
        encoders = {name: vectorizer.transformers_[name] for name in vectorizer.feature_names_in_}
        return {
            name: frozenset(encoder.categories_[0])
            for name, encoder in encoders.items()
            if hasattr(encoder, "categories_")
        }

    def _fitted(self, X: "NDArray[np.float64] | pd.DataFrame") -> NDArray[np.float64]:
        if isinstance(X, np.ndarray):
            self.features = self.names
            self._scale_by(X)
            return X
        from sklearn.impute import SimpleImputer  # noqa: PLC0415 - takes a second to load

        kinds = {name: X[name].dtype.kind for name in self.names}
        self._origins = {c: _origin(X[c]) for c, kind in kinds.items() if kind in "biufM"}
        self._medians = {c: X[c].median() for c, kind in kinds.items() if kind == "M"}
        self.features = ()
        if self._origins:
            self._imputer = SimpleImputer(
                strategy="median", add_indicator=True, keep_empty_features=True
            ).fit(self._numbers(X))
            features = [f"{c}_seconds" if kinds[c] == "M" else c for c in self._origins]
            gaps = [f"{features[j]} missing" for j in self._imputer.indicator_.features_]
            self.features = (*features, *gaps)
        others = [c for c, kind in kinds.items() if kind not in "biuf"]
        self._vectorizer = _vectorizer(self.types, others) if others else None
        if self._vectorizer is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # few texts have fewer components
                self._vectorizer.fit(self._filled(X[others]))
            self.features += tuple(self._vectorizer.all_outputs_)
        values = self._values(X)
        self._scale_by(values)
        return values

    def _numbers(self, X: "pd.DataFrame") -> NDArray[np.float64]:
        """Return numbers and the seconds of dates, NaN where they are missing."""
        columns = [_floats(X[c], origin) for c, origin in self._origins.items()]
        return np.column_stack(columns) if columns else np.empty((len(X), 0))

    def _values(self, X: "pd.DataFrame") -> NDArray[np.float64]:
        """Return the features, not yet standardized."""
        blocks = []
        if self._origins:
            blocks.append(self._imputer.transform(self._numbers(X)))
        if self._vectorizer is not None:
            columns = self._filled(X[list(self._vectorizer.feature_names_in_)])
            blocks.append(self._vectorizer.transform(columns).to_numpy())
        return np.concatenate(blocks, axis=1, dtype=np.float64)

    def _filled(self, X: "pd.DataFrame") -> "pd.DataFrame":
        """Return words and dates without missing ones."""
        found = {}
        for name in X.columns:
            column = X[name]
            if name in self._medians:
                column = column.fillna(self._medians[name])
            elif column.dtype.name != "category":  # of a frame that was made by hand
                column = column.astype("category")
            if name not in self._medians and column.hasnans:
                words = column.cat.categories.union([_MISSING])
                column = column.cat.set_categories(words).fillna(_MISSING)
            found[name] = column
        return X.assign(**found)

    def _scale_by(self, values: NDArray[np.float64]) -> None:
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 - takes a second to load

        with np.errstate(over="ignore", invalid="ignore"):  # judged right below
            scaler = StandardScaler().fit(values)
        for name, variance in zip(self.features, scaler.var_, strict=True):
            if not np.isfinite(variance):
                raise ValueError(
                    f"column {name!r} overflows float64 when it is standardized; divide it by a "
                    "constant first"
                )
        # scikit-learn takes a column as constant if its spread is small beside its size.
        self._shift = np.zeros(len(self.features))
        far = (scaler.scale_ == 1) & (np.ptp(values, axis=0) > 0)
        self._shift[far] = values[0, far]
        if self._shift.any():
            scaler.fit(values - self._shift)
        self.mean, self.scale = scaler.mean_, scaler.scale_
        self._scaler = scaler

    def _standardized(self, values: NDArray[np.float64], *, copy: bool) -> NDArray[np.float64]:
        if self._shift.any():
            values, copy = values - self._shift, False
        standardized: NDArray[np.float64] = self._scaler.transform(values, copy=copy)
        return standardized


def _origin(column: "pd.Series[Any]") -> int:
    """Return what is subtracted from large integers and dates, so that float64 can hold them."""
    if column.dtype.kind == "M":
        return int(column.dropna().astype("int64").min()) if column.notna().any() else 0
    large = column.dtype.kind in "iu" and max(abs(int(column.min())), abs(int(column.max())))
    return int(column.iloc[0]) if large > _EXACT else 0


def _floats(column: "pd.Series[Any]", origin: int) -> NDArray[np.float64]:
    if column.dtype.kind == "M":
        whole: NDArray[np.int64] = column.to_numpy().astype("datetime64[us]").view(np.int64)
        return np.where(column.isna(), np.nan, (whole - origin) / 1e6)
    if origin:  # in Python's integers, which have no end
        return np.array([int(value) - origin for value in column], dtype=np.float64)
    values: NDArray[np.float64] = column.to_numpy(dtype=np.float64)
    return values


def _vectorizer(types: Mapping[str, str], columns: Sequence[str]) -> Any:  # noqa: ANN401 - untyped
    import skrub  # noqa: PLC0415 - takes seconds to load
    from sklearn.preprocessing import OneHotEncoder  # noqa: PLC0415

    def one_hot(**more: Any) -> Any:  # noqa: ANN401 - untyped there
        unknown = "infrequent_if_exist"
        return OneHotEncoder(handle_unknown=unknown, sparse_output=False, dtype="float32", **more)

    from thalweg.data.word_encoder import WordEncoder  # noqa: PLC0415 - loads skrub

    text = WordEncoder(n_components=_COMPONENTS, random_state=0)
    asked = {kind: [c for c in columns if types.get(c) == kind] for kind in ("category", "text")}
    return skrub.TableVectorizer(
        low_cardinality=one_hot(),
        high_cardinality=text,
        datetime=skrub.DatetimeEncoder(add_total_seconds=False, periodic_encoding="spline"),
        specific_transformers=[
            (one_hot(max_categories=_CATEGORIES), asked["category"]),
            (text, asked["text"]),
        ],
    )
