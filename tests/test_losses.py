"""The losses: their values by SciPy, their derivatives by differences."""

import numpy as np
import pytest
from scipy.special import log_expit, log_softmax

from thalweg.losses import LOSSES, get

Z = np.array([-700.0, -30.0, -1.5, -0.25, 0.0, 0.75, 2.0, 40.0, 700.0])


def test_values_are_those_of_scipy() -> None:
    for y in (0.0, 1.0):
        np.testing.assert_allclose(LOSSES["logistic"].value(Z, y, 0), -log_expit((2 * y - 1) * Z))
    np.testing.assert_array_equal(LOSSES["squared"].value(Z, 2.0, 0), (Z - 2) ** 2 / 2)
    table = np.random.default_rng(0).normal(size=(9, 4))
    codes = np.arange(9) % 4
    mean = LOSSES["softmax"].at(table, codes)[0]
    np.testing.assert_allclose(mean, -log_softmax(table, axis=1)[range(9), codes].mean())


@pytest.mark.parametrize("name", LOSSES)
def test_slopes_are_derivatives(name: str) -> None:
    loss, rng = LOSSES[name], np.random.default_rng(1)
    k = 4 if name == "softmax" else 1
    z, y = rng.normal(size=(20, k)) * 3, rng.integers(0, 2, 20)
    slope = loss.at(z, y, 0.7)[1]
    for i, c in [(0, 0), (7, k - 1), (19, 0)]:
        step = np.zeros_like(z)
        step[i, c] = 1e-6
        found = (loss.at(z + step, y, 0.7)[0] - loss.at(z - step, y, 0.7)[0]) / 2e-6
        np.testing.assert_allclose(slope[i, c], found, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in LOSSES if LOSSES[name].kinks])
def test_a_derivative_that_jumps_is_averaged_over_a_width(name: str) -> None:
    loss, rng = LOSSES[name], np.random.default_rng(2)
    z, y = rng.normal(size=(50, 1)), rng.integers(0, 2, 50)
    places = np.linspace(-0.6, 0.6, 20_001)
    means = [
        np.mean([loss.rows(z + s, y, 0.3)[i].reshape(-1) for s in places], axis=0) for i in (0, 1)
    ]
    for found, mean in zip(loss.rows(z, y, 0.3, width=0.6), means, strict=True):
        np.testing.assert_allclose(found.reshape(-1), mean, atol=1e-4)


def test_an_unknown_loss_gets_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"loss must be one of squared, .*, got 'l'"):
        get("l")
