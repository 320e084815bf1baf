"""Gradient noise against sums over all pairs of examples."""

import math

import numpy as np
import pytest

from thalweg.noise import GradientNoise

EXAMPLES = np.random.default_rng(0).normal([1.0, -2.0, 0.5], [1.0, 3.0, 0.1], size=(24, 3))


@pytest.mark.parametrize("batch_size", [1, 2, 6])
def test_both_estimates_are_those_of_pairs_of_batches(batch_size: int) -> None:
    batches = EXAMPLES.reshape(-1, batch_size, 3).mean(axis=1)
    noise = GradientNoise.of(iter(batches), batch_size)
    # g_i · g_j of two batches is |G|² in the mean; |g_i - g_j|² / 2 is tr Σ / b.
    pairs = [(a, b) for i, a in enumerate(batches) for b in batches[:i]]
    signal = np.mean([a @ b for a, b in pairs])
    variance = np.mean([(a - b) @ (a - b) for a, b in pairs]) / 2 * batch_size
    assert noise.signal == pytest.approx(signal, rel=1e-12)
    assert noise.variance == pytest.approx(variance, rel=1e-12)
    assert noise.scale == pytest.approx(variance / signal, rel=1e-12)


def test_float32_is_added_up_in_float64() -> None:
    batches = (1e4 + EXAMPLES).astype(np.float32)
    exact = GradientNoise.of(batches.astype(np.float64), 1)
    assert GradientNoise.of(batches, 1) == exact


def test_a_gradient_that_drowns_in_noise_has_no_scale() -> None:
    noise = GradientNoise.of(np.array([[1.0], [-1.0]]), 1)
    assert (noise.variance, noise.signal) == (2.0, -1.0)
    assert math.isnan(noise.scale)
    for few in ([], [np.ones(3)]):
        assert math.isnan(GradientNoise.of(few, 4).scale)
