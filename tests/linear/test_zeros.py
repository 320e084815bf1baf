"""Zeros of a stream, beside those of the optimum of all its rows."""

import pickle
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from thalweg.linear import LinearClassifier, LinearRegressor
from thalweg.linear.problem import Rows
from thalweg.linear.zeros import Zeros

L1: dict[str, Any] = {"alpha": 0.05, "l1_ratio": 1.0, "random_state": 0}


def drawn(rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 40)) * (rng.random((rows, 40)) < 0.5)
    return X, X[:, :5] @ [2.0, -2.0, 1.0, -1.0, 1.0] + rng.normal(size=rows)


def streamed(fit: Any, X: Any, y: Any, *, window: int = 250) -> Any:
    for first in range(0, len(y), window):
        rows = slice(first, first + window)
        fit.partial_fit(X[rows], y[rows])
        fit = pickle.loads(pickle.dumps(fit))  # noqa: S301 - our own
    return fit


@pytest.mark.parametrize("sparse", [False, True])
def test_a_stream_has_the_zeros_of_the_optimum(sparse: bool) -> None:  # noqa: FBT001
    X, y = drawn(3000)
    rows = csr_array(X) if sparse else X
    exact = LinearRegressor(**L1).fit(rows, y).coef_
    assert 30 < (exact == 0).sum() <= 35
    fit = LinearRegressor(**L1)
    for found in (streamed(fit, rows, y), LinearRegressor(**L1).fit_stream([(rows, y)])):
        assert ((found.coef_ == 0) & (exact == 0)).sum() >= 0.75 * (exact == 0).sum()
        assert (found.coef_[:5] != 0).all()
        np.testing.assert_allclose(found.coef_, exact, atol=0.1)
    none = streamed(LinearRegressor(random_state=0), rows, y)
    assert (none.coef_ != 0).all()


def test_outputs_have_their_own_zeros() -> None:
    X, y = drawn(2000)
    targets = np.column_stack([y, X[:, 9]])
    pair: Any = streamed(LinearRegressor(**L1), X, targets)
    assert (pair.coef_[0, :5] != 0).all()
    assert np.flatnonzero(pair.coef_[1]).tolist() == [9]
    classes = np.digitize(X[:, 0], [-0.5, 0.5])
    fit: Any = LinearClassifier(**L1)
    for first in range(0, 2000, 500):
        rows = slice(first, first + 500)
        fit.partial_fit(X[rows], classes[rows], classes=[0, 1, 2])
    assert (fit.coef_[:, 1:] == 0).mean() > 0.9
    assert (fit.coef_[[0, 2], 0] != 0).all()


def test_rows_without_weight_say_nothing() -> None:
    X, y = drawn(600)
    labels = (y > 0).astype(int)
    fit = LinearClassifier(**L1, class_weight={0: 0.0}).partial_fit(X, labels, classes=[0, 1])
    negative = labels == 0
    fit.partial_fit(X[negative], labels[negative])
    assert np.isfinite(fit.coef_).all()
    assert fit._zeros[0].weights[1] == (~negative).sum()


def test_the_mean_of_what_two_know_is_what_both_have_seen() -> None:
    X, y = drawn(400)
    fit = LinearRegressor(**L1).partial_fit(X, y)
    problem, w = fit._problems[0], np.random.default_rng(1).normal(size=(41, 1))
    l1 = problem.weights(fit._columns, own=False)[1]
    halves = [slice(0, 200), slice(200, 400)]
    one, two, both = Zeros(l1), Zeros(l1), Zeros(l1)
    for zeros, parts in ((one, halves[:1]), (two, halves[1:]), (both, [slice(0, 400)])):
        for part in parts:
            rows = Rows(X[part], [y[part]], np.ones(len(y[part])))
            zeros.add(fit._objective(problem, rows, rows.targets[0]), w, len(y[part]))
    one.average([one, two], np.array([0.5, 0.5]))
    held = [zeros.sums[1] / zeros.weights[1] for zeros in (one, both)]
    np.testing.assert_allclose(held[0][0], held[1][0], atol=1e-12)
    assert Zeros(l1).applied(w) is w
