"""Where a training begins: the outputs of the best constant, and the size of slopes there."""

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import GammaRegressor, LinearRegression, PoissonRegressor, Ridge

from thalweg.linear import LinearRegressor
from thalweg.linear.unit import Unit, first_outputs, first_squares
from thalweg.losses import LOSSES

RNG = np.random.default_rng(0)
WEIGHTS = RNG.uniform(0.5, 2, 300)
TARGETS = {
    "logistic": RNG.random(300) < 0.1,
    "softmax": RNG.choice(3, 300, p=[0.7, 0.25, 0.05]),
    "squared": 1e4 * RNG.normal(size=300) + 1e6,
    "poisson": 1e-6 * RNG.poisson(2.0, 300),
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_training_begins_at_the_best_constant(name: str) -> None:
    loss, y = LOSSES[name], TARGETS[name]
    outputs = 3 if name == "softmax" else 1
    unit = Unit.of(loss, y, WEIGHTS, 0.0, intercept=True)
    target = unit.targets(loss, y)

    def mean(z: np.ndarray) -> float:
        return float(WEIGHTS @ loss.rows(np.tile(z, (300, 1)), target)[0])

    best = minimize(mean, np.zeros(outputs), tol=1e-10).x
    first = first_outputs(loss, y, WEIGHTS, outputs)
    np.testing.assert_allclose(first, best - (best.mean() if outputs > 1 else 0), atol=1e-4)
    slopes = loss.rows(np.tile(first, (300, 1)), target)[1] * WEIGHTS[:, None]
    found = first_squares(loss, first, unit, y=y, weights=WEIGHTS, parameter=0.0)
    np.testing.assert_allclose(found, (slopes**2).mean(axis=0))


def test_a_class_that_has_not_come_yet_is_not_taken_for_impossible() -> None:
    first = first_outputs(LOSSES["logistic"], np.zeros(10**6, bool), np.ones(10**6), 1)
    np.testing.assert_allclose(first, -np.log(1000))
    several = first_outputs(LOSSES["softmax"], np.array([0, 2]), np.ones(2), 4)
    np.testing.assert_allclose(several[[0, 2]] - several[[1, 3]], np.log(500))


@pytest.mark.parametrize(
    ("loss", "alpha", "theirs"),
    [
        ("squared", 0.0, LinearRegression(fit_intercept=False)),
        ("squared", 0.1, Ridge(alpha=30.0, fit_intercept=False)),
        ("poisson", 0.1, PoissonRegressor(alpha=0.1, fit_intercept=False, tol=1e-10)),
        ("gamma", 0.1, GammaRegressor(alpha=0.1, fit_intercept=False, tol=1e-10)),
    ],
)
def test_without_an_intercept_nothing_is_taken_from_targets(
    loss: str, alpha: float, theirs: Any
) -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(1.0, 1.0, (300, 3))
    y = np.exp(X @ [0.3, 0.2, -0.1] + 2 + rng.normal(size=300))
    ours = LinearRegressor(loss, alpha=alpha, fit_intercept=False, random_state=0).fit(X, y)
    theirs.fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-5, atol=1e-6)
    assert ours.intercept_ == 0
