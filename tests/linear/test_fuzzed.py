"""Inputs of every form: the same numbers give the same model, and what cannot be used is said."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyarrow import parquet
from scipy import sparse

from thalweg.linear import LinearClassifier, LinearRegressor, LinearSearch

Form = Callable[[NDArray[Any]], Any]


def stored(X: NDArray[Any], order: int) -> Any:
    """Return CSR with wide indices, every entry in two halves, in any order, and zeros."""
    rng = np.random.default_rng(order)
    n, d = X.shape
    columns = np.concatenate([[*rng.permutation(d), *rng.permutation(d)] for _ in range(n)])
    values = X[np.repeat(np.arange(n), 2 * d), columns] / 2
    return sparse.csr_array((values, columns.astype(np.int64), np.arange(n + 1) * 2 * d), X.shape)


FORMS: dict[str, Form] = {
    "fortran": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, 0), 3, 1)[::2, ::3],
    "backwards": lambda X: np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1],
    "float32": lambda X: X.astype(np.float32),
    "integers": lambda X: X.astype(np.int64),
    "objects": lambda X: X.astype(object),
    "other endian": lambda X: X.astype(">f8"),
    "lists": lambda X: X.tolist(),
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_array,
    "coo": sparse.coo_array,
    "csr 32": lambda X: sparse.csr_array(X.astype(np.float32)),
    "stored": lambda X: stored(X, 1),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Whole numbers, many of them 0, some columns constant; labels of both kinds; weights."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    n, d = draw(st.integers(2, 30)), draw(st.integers(1, 5))
    X = rng.integers(-9, 10, (n, d)) * (rng.random((n, d)) < draw(st.sampled_from([0.1, 0.6, 1])))
    X[:, rng.random(d) < 0.2] = draw(st.integers(-3, 3))
    y = (X @ rng.normal(size=d) + rng.normal(size=n) > 0).astype(int)
    y[:2] = [0, 1]
    weights = rng.integers(0, 4, n).astype(float)
    weights[:2] = 1
    return X.astype(float), y, weights


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=4, deadline=None)
@example((np.array([[7.0, 3.0], [0.0, 0.0]]), np.array([0, 1]), np.ones(2)))  # any penalty will do
@example(
    (np.array([[4.0], [3.0], [5.0]]), np.array([0, 1, 1]), np.array([1.0, 1.0, 3.0]))
)  # nearly so
@given(tables())
def test_the_same_numbers_give_the_same_model(form: str, table: Any) -> None:
    X, y, weights = table
    for estimator in (LinearClassifier(random_state=0), LinearRegressor(random_state=0)):
        plain = estimator.fit(X, y, sample_weight=weights)
        coef, z = plain.coef_, X @ np.atleast_2d(plain.coef_).T + plain.intercept_
        other = estimator.fit(FORMS[form](X), y.tolist(), sample_weight=weights.tolist())
        np.testing.assert_allclose(other.coef_, coef, rtol=1e-5, atol=1e-6)
        found = X @ np.atleast_2d(other.coef_).T + other.intercept_
        np.testing.assert_allclose(found, z, rtol=1e-5, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(tables(), st.integers(-140, 140), st.integers(-30, 30), st.integers(-130, 130))
def test_no_unit_is_too_large_or_small(table: Any, one: int, single: int, of_y: int) -> None:
    X, y, _ = table
    for unit, dtype in ((10.0**one, np.float64), (10.0**single, np.float32)):
        small: Any = X.astype(dtype) * dtype(unit)
        found = LinearClassifier(finish=False, random_state=0).fit(small, y)
        assert np.isfinite(found.coef_).all()
        plain = LinearClassifier().fit(X, y).decision_function(X)
        moved = LinearClassifier().fit(small, y).decision_function(small)
        np.testing.assert_allclose(moved, plain, rtol=1e-3, atol=1e-3)
    line = LinearRegressor().fit(X, y * 10.0**of_y).predict(X) / 10.0**of_y
    np.testing.assert_allclose(line, LinearRegressor().fit(X, y).predict(X), rtol=1e-6, atol=1e-8)


X = np.random.default_rng(0).normal(size=(30, 3))
Y = (X[:, 0] > 0).astype(int)


def broken(part: str, value: int) -> Any:
    csr = sparse.csr_matrix(X)
    csr.indices, csr.indptr = csr.indices.copy(), csr.indptr.copy()
    getattr(csr, part)[4] = value
    return csr


REFUSED: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "NaN": (np.where(X > 1, np.nan, X), Y, {}, "X contains NaN"),
    "infinity": (np.where(X > 1, np.inf, X), Y, {}, "X contains infinity"),
    "sparse NaN": (sparse.csr_array(np.where(X > 1, np.nan, X)), Y, {}, "X contains NaN"),
    "words": (np.array([["a", "b"]] * 30), Y, {}, "could not convert string to float"),
    "complex": (X + 1j, Y, {}, "Complex data not supported"),
    "no rows": (X[:0], Y[:0], {}, "Found array with 0 sample"),
    "no columns": (X[:, :0], Y, {}, "Found array with 0 feature"),
    "a vector": (X[:, 0], Y, {}, "Expected 2D array"),
    "a cube": (X[None], Y, {}, "Found array with dim 3"),
    "a short y": (X, Y[:5], {}, "inconsistent numbers of samples"),
    "NaN in y": (X, np.where(Y > 0, np.nan, 1.0), {}, "y contains NaN"),
    "weights below 0": (X, Y, {"sample_weight": -np.ones(30)}, "Negative values in data"),
    "weights of 0": (X, Y, {"sample_weight": np.zeros(30)}, "at least one non-zero number"),
    "NaN among weights": (X, Y, {"sample_weight": np.full(30, np.nan)}, "contains NaN"),
    "few weights": (X, Y, {"sample_weight": np.ones(3)}, r"sample_weight.shape == \(3,\)"),
    "a column outside": (broken("indices", 77), Y, {}, r"shape \(30, 3\), but indices must be < 3"),
    "a column below": (broken("indices", -2), Y, {}, "but indices must be >= 0"),
    "rows outside": (broken("indptr", 10**6), Y, {}, "indptr must be a non-decreasing sequence"),
    "a large column": (X * 1e300, Y, {}, "spread over at most 1e\\+300 .* got more in column 0"),
    "a large sparse column": (sparse.csr_array(X * 1e45), Y, {}, "at most 1e\\+37 .float32."),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("finish", [False, True])
def test_what_cannot_be_used_is_refused(case: str, finish: bool) -> None:  # noqa: FBT001
    rows, y, more, message = REFUSED[case]
    for estimator in (LinearClassifier(finish=finish), LinearRegressor(finish=finish)):
        with pytest.raises((ValueError, TypeError), match=message):
            estimator.fit(rows, y, **more)
        if not {"weight", "weights", "y", "large"} & set(case.split()):
            estimator.fit(X, Y)
            with pytest.raises(ValueError, match=r"X|array|features|string|Complex"):
                estimator.predict(rows if case != "no columns" else X[:, :2])


def test_targets_that_cannot_be_used_are_refused() -> None:
    one_row = {"sample_weight": np.eye(30)[0]}
    for y, more, message in (
        (0 * Y, {}, r"at least two classes, got one class: \[0\]"),
        (Y, one_row, "at least two classes with a sample_weight above 0, got one class"),
        (X[:, 0], {}, "Unknown label type: continuous"),
    ):
        with pytest.raises(ValueError, match=message):
            LinearClassifier().fit(X, y, **more)
    with pytest.raises(ValueError, match="at least two classes"):
        LinearSearch(LinearClassifier(), {"alpha": [1.0]}, cv=2).fit(X, 0 * Y)
    for y, message in (
        (np.array(["a"] * 30), "could not convert string to float"),
        (
            X[:, 0] * 1e200,
            "y must have a standard deviation between 1e-140 and 1e140, got [0-9.]+e",
        ),
        (X[:, 0] * 1e-200, "multiply it by a power of 10"),
    ):
        with pytest.raises(ValueError, match=message):
            LinearRegressor().fit(X, y)
    line = LinearRegressor().fit(X[:1], [3.0])
    np.testing.assert_allclose(line.predict(X), 3)


def test_blocks_that_do_not_fit_are_refused() -> None:
    wide = sparse.csr_array(X)
    for blocks, message in (
        ([(X, Y), (X[:, :2], Y)], r"same columns, .* shapes \(30, 3\) and \(30, 2\)"),
        ([(X, Y), (wide, Y)], "dense or sparse, .* ndarray and csr_array"),
        ([(X, Y[:3])], r"y of a block must be as long as its X, of shape \(30, 3\), got \(3,\)"),
        ([(X, Y, np.ones(2))], "sample_weight of a block must be as long"),
        ([(X, None)], "y of a block must be given"),
        ([(X,)], "a block must be .* got tuple of 1"),
        ([X], "a block must be .* got ndarray"),
        ([], "source has no rows"),
        ([(X, Y), (X * np.nan, Y)], "X contains NaN"),
        ([(broken("indices", 77), Y)], "indices must be < 3"),
        ([(X, 0 * Y)], r"classes must name at least two labels, got \[0\]; in a stream"),
    ):
        with pytest.raises(ValueError, match=message):
            LinearClassifier().fit_stream(blocks)


def contents() -> dict[str, bytes]:
    whole = pa.table({"a": X[:, 0], "y": Y})
    sink = pa.BufferOutputStream()
    parquet.write_table(whole, sink)
    good = sink.getvalue().to_pybytes()
    packed = gzip.compress(b"a,y\n" + b"1.5,0\n2.25,1\n" * 1000)
    return {
        "cut.parquet": good[: len(good) // 2],
        "empty.csv": b"",
        "header.csv": b"a,y\n",
        "bytes.csv": bytes(range(256)) * 20,
        "ragged.csv": b"a,b,y\n1,2,0\n1,2\n3,4,1\n",
        "twice.csv": b"a,a,y\n1,2,0\n2,3,1\n",
        "infinite.csv": b"a,y\n1,0\ninf,1\n",
        "wide.csv": "a,y\n1,0\n2,1\n".encode("utf-16"),
        "cut.csv.gz": packed[:-20],
        "plain.csv.gz": b"a,y\n1,0\n2,1\n",
        "other.csv": b"a,b\n1,0\n2,1\n",
        "far.svm": b"1 99999999999:2\n0 2:1\n",
        "mixed.svm": b"1 3:2 1:5\n0 2:1\n",
    }


@pytest.mark.parametrize("name", contents())
def test_broken_files_are_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(contents()[name])
    with pytest.raises(ValueError, match=r"\w") as said:
        LinearClassifier().fit_stream(path, target=None if "svm" in name else "y")
    place = {"twice.csv": "two 'a'", "infinite.csv": "infinity", "other.csv": "no column 'y'"}
    assert place.get(name, str(path)) in str(said.value)
