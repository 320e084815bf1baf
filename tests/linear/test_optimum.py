"""The finish where the derivative of the loss jumps, against linear programs and liblinear."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import approx_fprime, linprog
from scipy.sparse import csr_array
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import QuantileRegressor
from sklearn.preprocessing import scale
from sklearn.svm import LinearSVC, LinearSVR

from thalweg.linear import LinearClassifier, LinearRegressor
from thalweg.linear.columns import Columns
from thalweg.linear.interior import solver
from thalweg.linear.objective import Objective
from thalweg.linear.optimum import optimum, proximal_step
from thalweg.losses import LOSSES

EXACT: dict[str, Any] = {"tol": 1e-8, "max_iter": 10**6, "random_state": 0}


def mean_loss(fit: Any, X: Any, y: NDArray[Any], parameter: float = 0.0) -> float:
    """Return the mean loss and the penalty that a fitted estimator of ours or another's has."""
    z = fit.decision_function(X) if hasattr(fit, "decision_function") else fit.predict(X)
    name = "hinge" if hasattr(fit, "decision_function") else "epsilon_insensitive"
    return float(LOSSES[name].value(z, y, parameter).mean())


@pytest.mark.parametrize("quantile", [0.5, 0.9])
@pytest.mark.parametrize("alpha", [0.0, 0.01, 1.0])
def test_quantiles_are_those_of_a_linear_program(alpha: float, quantile: float) -> None:
    X, y = load_diabetes(return_X_y=True, scaled=False)
    X = scale(X)
    theirs = QuantileRegressor(quantile=quantile, alpha=alpha).fit(X, y)
    ours: Any = LinearRegressor("quantile", quantile=quantile, alpha=alpha, l1_ratio=1.0).fit(X, y)

    def objective(fit: Any) -> float:
        loss = LOSSES["quantile"].value(fit.predict(X), y, quantile).mean()
        return float(loss + alpha * abs(fit.coef_).sum())

    np.testing.assert_allclose(objective(ours), objective(theirs), rtol=1e-9)
    np.testing.assert_array_equal(ours.coef_ == 0, theirs.coef_ == 0)


@pytest.mark.parametrize("C", [0.01, 1.0, 10.0])
def test_margins_are_those_of_liblinear(C: float) -> None:
    X, y = load_breast_cancer(return_X_y=True)
    X, settings = scale(X), {"alpha": 1 / (C * len(y)), "fit_intercept": False}
    theirs = LinearSVC(loss="hinge", C=C, fit_intercept=False, **EXACT).fit(X, y)
    for rows in (X, csr_array(X), X.astype(np.float32)):
        ours: Any = LinearClassifier("hinge", **settings).fit(rows, y)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-3 * abs(theirs.coef_).max())
    X, y = load_diabetes(return_X_y=True, scaled=False)
    X, y = scale(X), y - y.mean()
    numbers = LinearSVR(epsilon=5.0, C=C, fit_intercept=False, **EXACT).fit(X, y)
    settings["alpha"] = 1 / (C * len(y))
    tube: Any = LinearRegressor("epsilon_insensitive", epsilon=5.0, **settings).fit(X, y)
    np.testing.assert_allclose(tube.coef_, numbers.coef_, atol=1e-3 * abs(y).mean())


def test_many_parameters_come_as_near() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 600)) * (rng.random((300, 600)) < 0.2)
    y = (X[:, :9].sum(axis=1) + rng.normal(size=300) > 0).astype(int)
    for C in (0.1, 10.0):
        theirs = LinearSVC(loss="hinge", C=C, fit_intercept=False, **EXACT).fit(X, y)
        for rows in (X, csr_array(X)):
            ours: Any = LinearClassifier(
                "hinge", alpha=1 / (300 * C), fit_intercept=False, random_state=0
            )
            found, least = (
                mean_loss(fit, X, y) + (fit.coef_**2).sum() / (600 * C)
                for fit in (ours.fit(rows, y), theirs)
            )
            assert least * (1 - 1e-6) <= found <= least * (1 + 1e-4)
        rough: Any = ours.set_params(finish=0.1).fit(X, y)
        assert least < mean_loss(rough, X, y) + (rough.coef_**2).sum() / (600 * C) < 1.1 * least
    quantiles: Any = LinearRegressor("quantile", alpha=0.05, l1_ratio=1.0).fit(X, X[:, 0])
    assert np.count_nonzero(quantiles.coef_) < 20
    np.testing.assert_allclose(quantiles.coef_[0], 1, atol=1e-3)


def test_where_no_parameters_are_best_a_finish_still_ends() -> None:
    """Loss 0 at infinitely many, columns twice, more columns than rows, and nothing to explain."""
    rng = np.random.default_rng(0)
    X, noise = rng.normal(size=(40, 3)), rng.normal(size=40)
    apart: Any = LinearClassifier("hinge", alpha=0.0).fit(X, X[:, 0] > 0)
    assert apart.score(X, X[:, 0] > 0) == 1
    assert np.isfinite(apart.coef_).all()
    constant: Any = LinearRegressor("quantile", alpha=0.0).fit(X, np.full(40, 7.0))
    np.testing.assert_allclose(constant.predict(X), 7)
    twice: Any = LinearRegressor("quantile", alpha=0.0).fit(np.hstack([X, X]), noise)
    once: Any = LinearRegressor("quantile", alpha=0.0).fit(X, noise)
    np.testing.assert_allclose(twice.predict(np.hstack([X, X])), once.predict(X), atol=1e-6)
    wide: Any = LinearRegressor("epsilon_insensitive", epsilon=0.0, alpha=0.0).fit(X.T, noise[:3])
    np.testing.assert_allclose(wide.predict(X.T), noise[:3], atol=1e-8)


def test_a_rough_finish_is_as_near_as_it_says() -> None:
    X, y = load_diabetes(return_X_y=True, scaled=False)
    losses = [
        mean_loss(LinearRegressor("epsilon_insensitive", alpha=0.0, finish=f).fit(X, y), X, y, 0.1)
        for f in (True, 1e-2)
    ]
    # The least by SciPy's linear program: w and two distances for each row.
    n, one = len(y), np.ones((len(y), 1))
    table = np.hstack([X, one, -np.eye(n), np.eye(n)])
    costs = np.append(np.zeros(11), np.full(2 * n, 1 / n))
    best = linprog(
        costs, np.vstack([table, -table]), np.append(y + 0.1, 0.1 - y), bounds=[(None, None)] * 11
        + [(0, None)] * (2 * n),
    )  # fmt: skip
    np.testing.assert_allclose(losses[0], best.fun, rtol=1e-9)
    assert losses[0] < losses[1] < 1.01 * losses[0]


@pytest.mark.parametrize("sparse", [False, True])
def test_an_objective_has_its_derivatives(sparse: bool) -> None:  # noqa: FBT001
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 4)) * (rng.random((30, 4)) < 0.6), rng.integers(0, 2, 30)
    weights, rows = np.full(30, 1 / 30), csr_array(X) if sparse else X
    columns = Columns.of(rows, weights, intercept=True)
    penalties = np.full((2, 5, 1), 0.1)
    of = Objective(rows, columns, y, weights, LOSSES["logistic"], 0.0, *penalties)
    w = rng.normal(size=5)
    np.testing.assert_allclose(
        of.smooth(w[:, None])[1][:, 0], approx_fprime(w, lambda v: of.smooth(v[:, None])[0]),
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip
    hinge = replace(of, loss=LOSSES["hinge"], width=0.5)
    for each in (of, hinge):
        second = approx_fprime(w, lambda v, f=each: f.smooth(v[:, None])[1][:, 0])
        np.testing.assert_allclose(each.curvature(w[:, None]), second, rtol=1e-5, atol=1e-6)
    scaled = (X - columns.centre - columns.mean) / columns.scale
    scaled = np.column_stack([scaled, np.ones(30)])
    each = rng.random(30)
    np.testing.assert_allclose(of.gram(each), scaled.T @ np.diag(each) @ scaled, atol=1e-12)
    np.testing.assert_allclose(of.outputs(w[:, None])[:, 0], scaled @ w)
    np.testing.assert_allclose(of.backward(each[:, None])[:, 0], scaled.T @ each, atol=1e-12)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("wide", [np.float64, np.float32])
def test_rows_of_few_entries_have_the_second_derivatives_of_a_table(
    wide: Any,
    intercept: bool,  # noqa: FBT001
) -> None:
    rng = np.random.default_rng(0)
    table = (3 + rng.normal(size=(60, 12))) * (rng.random((60, 12)) < 0.1)
    rows = csr_array(table.astype(wide))
    if wide is np.float64:
        rows.indices, rows.indptr = rows.indices.astype(np.int64), rows.indptr.astype(np.int64)
    weights = rng.random(60)
    weights /= weights.sum()
    columns = Columns.of(rows, weights, intercept=intercept)
    l2 = np.full((12 + intercept, 1), 0.1)
    of = Objective(
        rows, columns, rng.integers(0, 3, 60), weights, LOSSES["softmax"], 0.0, l2, 0 * l2
    )
    assert of._has_few_products
    w = rng.normal(size=(12 + intercept, 3))
    flat = lambda v: of.smooth(v.reshape(w.shape))[1].ravel()  # noqa: E731
    second = approx_fprime(w.ravel(), flat)
    np.testing.assert_allclose(of.curvature(w), second, rtol=1e-4, atol=1e-6)
    table[:, 0] = 1e6 + rng.normal(size=60)  # of whose products few digits are left
    far = csr_array(table)
    columns = Columns.of(far, weights, intercept=True)
    assert not replace(of, X=far, columns=columns)._has_few_products


def test_a_singular_system_has_its_shortest_solution() -> None:
    matrix = np.array([[1.0, 1.0], [1.0, 1.0]])
    np.testing.assert_allclose(solver(matrix)(np.array([2.0, 2.0])), [1, 1])
    np.testing.assert_allclose(solver(matrix + np.eye(2))(np.array([3.0, 3.0])), [1, 1])


def test_a_proximal_step_of_columns_without_correlation_is_the_optimum() -> None:
    """It is a soft threshold of least squares then, and from there on nothing moves."""
    X = np.linalg.qr(np.random.default_rng(0).normal(size=(50, 4)))[0] * np.sqrt(50)
    none, one = np.zeros(4), np.ones(4)
    columns = Columns(none, one, False, one, 4.0, one, none)  # noqa: FBT003
    y, l1 = X @ [3.0, 0.05, -2.0, 0.0], np.full((4, 1), 0.5)
    of = Objective(
        X, columns, y, np.full(50, 0.02), LOSSES["squared"], 0.0, np.zeros((4, 1)), l1
    )  # fmt: skip
    found = proximal_step(of, np.full((4, 1), 0.1))
    np.testing.assert_allclose(found[:, 0], [2.5, 0, -1.5, 0], atol=1e-8)
    np.testing.assert_allclose(optimum(of, found), found, atol=1e-8)


def test_a_start_from_which_the_objective_is_linear_is_no_optimum() -> None:
    """Modified Huber is, at margins below -1: the intercept has no second derivative there."""
    X, y = scale(load_diabetes(return_X_y=True)[0][:40]), np.arange(40) % 3 == 0
    columns = Columns.of(X, np.ones(40), intercept=True)
    l2 = np.append(np.full(10, 100.0), 0.0)[:, None]
    of = Objective(
        X, columns, y, np.full(40, 1 / 40), LOSSES["modified_huber"], 0.0, l2, 0 * l2
    )  # fmt: skip
    ends = [optimum(of, np.append(np.zeros(10), b)[:, None]) for b in (0.0, -9.0, 9.0)]
    for end in ends:
        assert abs(of.smooth(end)[1]).max() < 1e-8
        np.testing.assert_allclose(end, ends[0], atol=1e-8)
