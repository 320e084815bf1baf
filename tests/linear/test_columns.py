"""Columns in units of their spread."""

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from thalweg.linear.columns import Columns

RNG = np.random.default_rng(0)
WEIGHTS = RNG.integers(1, 4, 500).astype(float)


def table(dtype: str) -> np.ndarray:
    X = RNG.normal(size=(500, 4)) * [1.0, 1e-3, 1e4, 0.0] + [0.0, 10.0, 1e5, 7.0]
    return X.astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dense_columns_without_zeros_have_mean_0_and_deviation_1(dtype: str) -> None:
    X = table(dtype)
    repeated = np.repeat(X.astype(float), WEIGHTS.astype(int), axis=0)
    columns = Columns.of(X, WEIGHTS, intercept=True)
    rtol = 1e-12 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(columns.centre, repeated.mean(axis=0), rtol=rtol, atol=1e-15)
    assert (columns.centre == columns.centre.astype(dtype)).all()
    np.testing.assert_allclose(columns.scale[:3], repeated.std(axis=0)[:3], rtol=max(rtol, 1e-9))
    assert columns.scale[3] == 1
    assert columns.square == 4
    free = Columns.of(X, WEIGHTS, intercept=False)
    np.testing.assert_allclose(free.scale, np.sqrt((repeated**2).mean(axis=0)), rtol=rtol)


def test_sparse_columns_have_the_root_mean_square_1_where_they_are() -> None:
    X = RNG.normal(size=(500, 3)) * (RNG.random((500, 3)) < 0.2) * [1.0, 100.0, 0.0]
    repeated = np.repeat(X, WEIGHTS.astype(int), axis=0)
    columns = Columns.of(csr_array(X), WEIGHTS, intercept=True)
    for j in range(2):
        met = repeated[:, j][repeated[:, j] != 0]
        np.testing.assert_allclose(columns.scale[j], np.sqrt(np.mean(met**2)))
        np.testing.assert_allclose(columns.share[j], len(met) / len(repeated))
    assert columns.scale[2] == 1
    norms = ((X / columns.scale) ** 2).sum(axis=1) + 1
    np.testing.assert_allclose(columns.square, WEIGHTS @ norms / WEIGHTS.sum())


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_unit_of_a_column_is_its_deviation_where_it_is_not_0(
    dtype: str,
    intercept: bool,  # noqa: FBT001
) -> None:
    X = table("float64")
    X[:, 0] *= RNG.random(500) < 0.01
    X[:, 1] = RNG.random(500) < 0.5
    X[:, 3] = 0
    X = X.astype(dtype)
    repeated = np.repeat(X.astype(float), WEIGHTS.astype(int), axis=0)
    variance = repeated.var(axis=0) if intercept else (repeated**2).mean(axis=0)
    unit = np.sqrt(variance[:3] / (repeated[:, :3] != 0).mean(axis=0))
    for rows in (X, np.asfortranarray(X), csr_array(X)):
        columns = Columns.of(rows, WEIGHTS, intercept=intercept)
        np.testing.assert_allclose(columns.unit, [*unit, 1], rtol=1e-6)
        norms = (((rows - columns.centre) / columns.scale) ** 2).sum(axis=1) + intercept
        np.testing.assert_allclose(columns.square, WEIGHTS @ norms / WEIGHTS.sum(), rtol=1e-6)
        own = columns.scale * columns.penalized(own=True)
        np.testing.assert_allclose(own, columns.unit)
        np.testing.assert_allclose(columns.scale * columns.penalized(own=False), 1)


def test_a_constant_column_has_a_unit() -> None:
    X = np.full((500, 2), 7.3)
    for rows in (X, csr_array(X)):
        unit = Columns.of(rows, WEIGHTS, intercept=True).unit
        assert (unit >= 1).all()


@pytest.mark.parametrize("sparse", [False, True])
def test_parameters_go_there_and_back(sparse: bool) -> None:  # noqa: FBT001
    X: Any = csr_array(table("float64")) if sparse else table("float64")
    columns = Columns.of(X, WEIGHTS, intercept=True)
    w = RNG.normal(size=(5, 2))
    coef, intercept = columns.original(w)
    dense = X.toarray() if sparse else X
    z = (dense - columns.centre) / columns.scale @ w[:4] + w[4]
    np.testing.assert_allclose(X @ coef.T + intercept, z, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(columns.scaled(coef, intercept), w, rtol=1e-7)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(
    value: float,
    sparse: bool,  # noqa: FBT001
) -> None:
    X = RNG.normal(size=(1500, 3))
    weights = np.ones(1500)
    X[[2, -2], 2] = value, -value
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        Columns.of(csr_array(X) if sparse else X, weights, intercept=True)


def test_the_spread_of_sparse_columns_far_from_0_keeps_its_digits() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 3)) + np.array([1e7, 0.0, 1e9])
    X[::2, 1] = 0
    X = np.column_stack([X, np.full(50, 0.1)])
    weights = rng.random(50)
    columns = Columns.of(csr_array(X), weights, intercept=True)
    mean = np.average(X, axis=0, weights=weights)
    variance = np.average((X - mean) ** 2, axis=0, weights=weights)
    share = np.average(X != 0, axis=0, weights=weights)
    np.testing.assert_allclose(columns.unit[:3], np.sqrt(variance / share)[:3], rtol=1e-7)
    np.testing.assert_allclose(columns.unit[3], 0.1)  # a constant column has no spread
    w = rng.normal(size=(5, 2))
    np.testing.assert_allclose(columns.centred(columns.centred(w), -1), w)
