"""How strong a penalty is: beside models that were trained without a row, each anew."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, PoissonRegressor, RidgeCV
from sklearn.metrics import log_loss
from sklearn.preprocessing import scale

from thalweg.linear import LinearClassifier, LinearRegressor
from thalweg.linear.columns import Columns
from thalweg.linear.objective import Objective
from thalweg.linear.optimum import optimum
from thalweg.linear.strength import _narrow, _together, strength
from thalweg.losses import LOSSES


def objective(X: Any, y: NDArray[Any], loss: str, alpha: float) -> Objective:
    """Return one of rows that count alike, whose columns are penalized as they are."""
    n = len(y)
    columns = Columns.of(X, np.ones(n), intercept=True)
    l2 = np.append(alpha / columns.scale**2, 0.0)[:, None]
    return Objective(X, columns, y, np.full(n, 1 / n), LOSSES[loss], 0.0, l2, 0 * l2)


def told(of: Objective, outputs: int = 1) -> float:
    w = optimum(of, np.zeros((of.X.shape[1] + 1, outputs)))
    return of.left_out(w, of.weights)


def test_of_squares_what_is_left_out_is_exact() -> None:
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X[:60]), scale(y[:60])
    for alpha in (0.01, 1.0):
        ridge = RidgeCV(alphas=[60 * alpha], store_cv_results=True).fit(X, y)
        for rows in (X, csr_array(X)):
            found = told(objective(rows, y, "squared", alpha))
            np.testing.assert_allclose(found, ridge.cv_results_.mean() / 2, rtol=1e-8)


@pytest.mark.parametrize("loss", ["logistic", "softmax", "poisson"])
def test_of_other_losses_it_is_near_what_a_loop_finds(loss: str) -> None:
    X, y = load_iris(return_X_y=True)
    X, alpha = scale(X[::2]), 0.05
    y = y[::2] if loss == "softmax" else (y[::2] if loss == "poisson" else y[::2] == 1).astype(int)
    n = len(y)
    total = 0.0
    for i in range(n):
        rest = np.arange(n) != i
        if loss == "poisson":
            fit: Any = PoissonRegressor(alpha=alpha * n / (n - 1), tol=1e-10, max_iter=1000)
            mean = fit.fit(X[rest], y[rest]).predict(X[i : i + 1])[0]
            total += mean - y[i] * np.log(mean)
        else:
            fit = LogisticRegression(C=1 / (n * alpha), tol=1e-10, max_iter=1000)
            shares = fit.fit(X[rest], y[rest]).predict_proba(X[i : i + 1])
            total += log_loss(y[i : i + 1], shares, labels=fit.classes_)
    of = objective(X, y, loss, alpha)
    found = told(of, 3 if loss == "softmax" else 1)
    w = optimum(of, np.zeros((5, 3 if loss == "softmax" else 1)))
    trained = float(of.weights @ of.loss.rows(of.outputs(w), y)[0])
    assert abs(found - total / n) < 0.03 * (total / n - trained)


def test_a_weight_of_two_is_a_row_twice() -> None:
    X, y, *_ = _breast()
    X = X[:, :5]
    twice = np.where(y == 1, 2, 1)
    total = twice.sum()
    weighted = objective(X, y, "logistic", 0.01)
    weighted = replace(weighted, weights=twice / total)
    repeated = objective(np.repeat(X, twice, axis=0), np.repeat(y, twice), "logistic", 0.01)
    repeated = replace(repeated, columns=weighted.columns, l2=weighted.l2)
    w = optimum(weighted, np.zeros((6, 1)))
    one = [np.full(len(of.y), 1 / total) for of in (weighted, repeated)]
    found = [of.left_out(w, left) for of, left in zip((weighted, repeated), one, strict=True)]
    np.testing.assert_allclose(*found, rtol=1e-10)
    copies = [of.left_out(w, _together(of, 1 / total)) for of in (weighted, repeated)]
    np.testing.assert_allclose(*copies, rtol=1e-10)
    assert copies[0] > found[0]  # all columns hardly ever have a number twice


def test_rows_are_left_out_with_their_copies_but_not_with_rows_that_happen_to_be_equal() -> None:
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=60), rng.integers(0, 2, 60)])
    y = (X[:, 0] + rng.normal(size=60) > 0).astype(int)
    twice = objective(np.repeat(X, 2, axis=0), np.repeat(y, 2), "logistic", 0.1)
    np.testing.assert_allclose(_together(twice, 1 / 120), 1 / 60)
    for kind in (csr_array, csr_matrix):
        sparse = replace(twice, X=kind(twice.X))
        np.testing.assert_allclose(_together(sparse, 1 / 120), 1 / 60)
    for same in (X[:, 1:], np.repeat(X[:2], 30, axis=0)):  # two kinds of rows, and few rows often
        for rows in (same, csr_array(same)):
            of = objective(rows, y, "logistic", 0.1)
            np.testing.assert_allclose(_together(of, 1 / 60), 1 / 60)
    once, again = LinearClassifier().fit(X, y), LinearClassifier().fit(twice.X, twice.y)
    assert again.alpha_ in {once.alpha_ / 2, 2 * once.alpha_}  # of powers of 4 over 120


def test_a_wide_objective_has_the_same_optimum_in_the_components_of_its_rows() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 60)) * (rng.random((20, 60)) < 0.5)
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    for rows in (X, csr_array(X), csr_matrix(X)):
        wide = objective(rows, y, "logistic", 0.02)
        narrow = _narrow(wide)
        assert narrow.X.shape[1] <= 20
        ends = [optimum(of, np.zeros((of.X.shape[1] + 1, 1))) for of in (wide, narrow)]
        values = [of.both(w)[0] for of, w in zip((wide, narrow), ends, strict=True)]
        np.testing.assert_allclose(*values, rtol=1e-9)
        np.testing.assert_allclose(wide.outputs(ends[0]), narrow.outputs(ends[1]), atol=1e-5)
        np.testing.assert_allclose(told(wide), told(narrow), rtol=1e-5)


def _breast() -> tuple[NDArray[Any], ...]:
    X, y = load_breast_cancer(return_X_y=True)
    return X[:200], y[:200], X[200:], y[200:]


def test_a_regression_has_the_penalty_that_ridge_regression_finds_by_rows_left_out() -> None:
    rng = np.random.default_rng(0)
    for noise in (0.01, 1.0, 10.0):
        X = scale(rng.normal(size=(40, 15)) @ rng.normal(size=(15, 15)))
        y = X[:, 0] + noise * rng.normal(size=40)
        powers = 4.0 ** np.arange(-3, 7)
        theirs = RidgeCV(alphas=powers).fit(X, y)
        ours: Any = LinearRegressor().fit(X, y)
        np.testing.assert_allclose(ours.alpha_, theirs.alpha_ / 40, rtol=1e-12)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-8)


def test_many_rows_and_many_columns_are_asked_in_part() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8000, 3))
    y = (X[:, 0] + 3 * rng.normal(size=8000) > 0).astype(int)
    many = strength(objective(X, y, "logistic", 1 / 8000), np.zeros((4, 1)), 1 / 8000)
    some = X[np.arange(5000) * 8000 // 5000], y[np.arange(5000) * 8000 // 5000]
    assert many == strength(objective(*some, "logistic", 1 / 5000), np.zeros((4, 1)), 1 / 5000)
    wide = rng.normal(size=(100, 1200))
    noise = rng.random(100) < 0.5
    assert strength(objective(wide, noise, "logistic", 1e-2), np.zeros((1201, 1)), 1e-2) >= 64
    classes = rng.integers(0, 50, 100)
    few = strength(objective(wide, classes, "softmax", 1e-2), np.zeros((1201, 50)), 1e-2)
    assert few == 1  # 13 rows would have to speak for 60,000 parameters


def test_a_wide_fit_is_better_than_by_the_penalty_of_one() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1100, 900))
    y = (X[:, :4].sum(axis=1) + rng.normal(size=1100) > 0).astype(int)
    losses = [
        log_loss(y[100:], LinearClassifier(**given).fit(X[:100], y[:100]).predict_proba(X[100:]))
        for given in ({}, {"alpha": 0.01})
    ]
    assert losses[0] < 0.9 * losses[1]
    targets = np.column_stack([y, rng.normal(size=1100)])
    both: Any = LinearRegressor().fit(X[:100, :20], targets[:100])
    assert both.alpha_.shape == (2,)
    assert both.alpha_[1] > both.alpha_[0]
    assert LinearClassifier(finish=False).fit(X[:100], y[:100]).alpha_ == 0.01
    assert LinearClassifier(alpha=0.5).fit(X[:100], y[:100]).alpha_ == 0.5
