"""Data sets of arrays and of data frames."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from thalweg import data


def test_from_arrays_takes_lists_and_copies() -> None:
    X = np.arange(24.0).reshape(12, 2)
    made = data.Dataset.from_arrays(X, list(range(12)), name="mine")
    X[0, 0] = -1
    assert made.X[0, 0] == 0
    assert (made.name, made.kind, made.features) == ("mine", "regression", ("x0", "x1"))
    assert data.Dataset.from_arrays(X, [True, False] * 6).classes == ("False", "True")
    assert data.Dataset.from_arrays(X, [3, 1, 2] * 4).y.tolist() == [2, 0, 1] * 4
    assert data.Dataset.from_arrays(X, np.array(["b", "a"] * 6, object)).classes == ("a", "b")
    assert data.Dataset.from_arrays(X, np.array([3, 1, 2] * 4, object)).classes == ("1", "2", "3")
    assert data.Dataset.from_arrays(X, np.array([0.5, 1] * 6, object)).kind == "regression"


X12 = np.zeros((12, 2))
Y12 = [0.5 * i for i in range(12)]


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (X12, Y12[:11], "X has 12 rows and y has 11; they must agree"),
        (X12[:9], Y12[:9], "at least 10 rows are needed, got 9"),
        (X12[:, 0], Y12, r"X must have the shape \(rows, features\), got \(12,\); use X.reshape"),
        (X12[:, :0], Y12, r"X must have the shape \(rows, features\), got \(12, 0\); at least one"),
        (X12 + np.inf, Y12, r"X must be finite, got X\[0, 0\] = inf"),
        ([["a", 1.0]] * 12, Y12, "X must be a table of numbers: could not convert string"),
        ([[1.0], [1.0, 2.0]], Y12, "X must be an array: "),
        (X12 + 1j, Y12, "X must be real, got complex128; use X.real"),
        (X12, np.array(Y12) + 1j, "y must be real, got complex128; use y.real"),
        (X12, [Y12] * 12, r"y must have the shape \(rows,\), got \(12, 12\); give the numbers of"),
        (X12, [[y] for y in Y12], r"y must .*, got \(12, 1\); use y.ravel\(\)"),
        (pd.DataFrame(X12), [Y12] * 12, r"got \(12, 12\); give the numbers of one target"),
        (X12, [*Y12[:11], np.nan], r"y must be finite, got y\[11\] = nan"),
        (X12, [None, *["a"] * 11], r"y must be all numbers or all text, got y\[0\] = None"),
        (X12, [1.5, *[None] * 11], r"y must be all numbers or all text, got y\[1\] = None"),
        (X12, [1] * 12, "target 'y' has the one value 1 in every row; nothing can be learned"),
    ],
)
def test_from_arrays_names_what_is_wrong(X: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data.Dataset.from_arrays(X, y)


def test_whole_numbers_are_classes_also_as_floats() -> None:
    """Integers become floats where values were missing."""
    few = np.arange(12) % 2
    assert data.Dataset.from_arrays(X12, few).classes == ("0", "1")
    assert data.Dataset.from_arrays(X12, few.astype(float)).classes == ("0.0", "1.0")
    assert data.Dataset.from_arrays(X12, few + 0.5).kind == "regression"
    assert data.Dataset.from_arrays(X12, np.arange(12.0)).kind == "regression"


def test_from_arrays_refuses_sparse_and_misnamed_tables() -> None:
    class Sparse:
        def toarray(self) -> NDArray[np.float64]:
            return X12

    with pytest.raises(ValueError, match=r"X must be dense, got Sparse; use X.toarray\(\)"):
        data.Dataset.from_arrays(Sparse(), Y12)
    with pytest.raises(ValueError, match="X has 2 columns and features 1 names"):
        data.Dataset.from_arrays(X12, Y12, features=("a",))
