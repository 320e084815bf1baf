"""Leaky averages against the memories of the rules."""

import numpy as np
import pytest

from thalweg import rules, theory


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.999])
def test_leaky_weights_are_those_of_the_rules(beta: float) -> None:
    # The m of averaged momentum after an impulse is the weight of a gradient that is i steps old.
    x, state = 0.0, {"m": 0.0}
    weights = []
    for t in range(1, 51):
        hyper = {"lr": 0.1, "beta": beta}
        g = 1.0 if t == 1 else 0.0
        x, state = rules.get("averaged_momentum").advance(g, x, state, t=t, hyper=hyper)
        weights.append(state["m"])
    found = theory.leaky_weights(beta, 50)
    np.testing.assert_allclose(found, weights, rtol=1e-10, atol=1e-300)
    assert found.sum() == pytest.approx(1 - beta**50, rel=1e-12)
    long = theory.leaky_weights(beta, 100_000)
    mean_age = (np.arange(1, 100_001) * long).sum()
    assert theory.effective_window(beta) == pytest.approx(mean_age, rel=1e-9)
    assert theory.effective_window(beta) * found[0] == pytest.approx(1, rel=1e-12)
