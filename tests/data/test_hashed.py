"""Hashed features, against scikit-learn's hasher of the same words and pandas's numbers."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from sklearn.feature_extraction import FeatureHasher

from thalweg.data.hashed import Hashed

DAYS = [dt.date(2020, 1, i) for i in (1, 2, 4)]
TABLE = pa.table(
    {
        "n": [1, None, 4],
        "d": DAYS,
        "town": pa.array(["x", None, "y"]).dictionary_encode(),
        "word": ["p", "q", "p"],
        "w": [1.0, 2.0, 1.0],
        "y": ["no", "yes", "no"],
    }
)


def test_words_are_hashed_as_scikit_learn_does_and_numbers_are_standardized() -> None:
    hashed = Hashed("y", "w", size=32, seed=5).fit(TABLE)
    found = hashed.transform(TABLE).toarray()
    words = [
        ["town=x", "word=p"],
        ["town is missing", "word=q", "n is missing"],
        ["town=y", "word=p"],
    ]
    tokens = [[f"5 {token}" for token in row] for row in words]
    np.testing.assert_array_equal(
        found[:, 2:], FeatureHasher(32, input_type="string").transform(tokens).toarray()
    )
    np.testing.assert_allclose(found[:, 0], [-1, 0, 1])
    days = np.array([0, 1, 3.0])
    np.testing.assert_allclose(found[:, 1], (days - days.mean()) / days.std())
    y, weights = hashed.answers(TABLE)
    assert y.tolist() == ["no", "yes", "no"]
    assert weights is not None
    assert weights.tolist() == [1, 2, 1]
    unseen = TABLE.set_column(3, "word", pa.array(["never", "seen", "p"]))
    assert (hashed.transform(unseen)[[0]] != hashed.transform(TABLE)[[0]]).nnz == 2


def test_numbers_alone_stay_as_they_are() -> None:
    table = pa.table({"a": [1.0, 3.0], "b": [True, False], "y": [0, 1]})
    hashed = Hashed("y").fit(table)
    gap = pa.table({"a": pa.array([None, 5.0]), "b": [True, True]})
    assert hashed.transform(table).tolist() == [[1, 1], [3, 0]]
    assert hashed.transform(gap).tolist() == [[2, 1], [5, 1]]


def test_columns_that_are_not_there_or_change_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no column 'z'; the columns are: n, d"):
        Hashed("z").fit(TABLE)
    with pytest.raises(ValueError, match="weight must name a column of numbers, got 'town'"):
        Hashed("y", "town").fit(TABLE).answers(TABLE)
    assert "town" not in Hashed("y", drop="town").fit(TABLE).words
    hashed = Hashed("y", drop=["d"]).fit(TABLE)
    with pytest.raises(ValueError, match="there is no column 'town'"):
        hashed.transform(TABLE.drop_columns(["town"]))
    with pytest.raises(ValueError, match="column 'n' held numbers at first, and then words"):
        hashed.transform(TABLE.set_column(0, "n", pa.array(["a", "b", "c"])))
    with pytest.raises(ValueError, match=r"column 'v' holds list<.*>; it must hold numbers"):
        Hashed("y").fit(TABLE.append_column("v", pa.array([[1], [2], [3]])))
