"""Rules of sums: what they promise, and those that no library has right, by hand.

What other libraries do is in test_references.py.
"""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from thalweg import rules
from thalweg.tensors import Tensors

Array = NDArray[np.float64]


def drawn(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def test_a_first_step_of_lamb_is_as_long_as_the_rate_times_x() -> None:
    for size in (1e-6, 1.0, 1e6):
        x, g = drawn(1, 7, 5), size * drawn(2, 7, 5)
        moved, *_ = rules.lamb(g, x, 0.0, 0.0, t=1, lr=0.01, eps=0.0)
        assert np.linalg.norm(moved - x) == pytest.approx(0.01 * np.linalg.norm(x), rel=1e-12)


def test_a_first_step_of_lars_is_trust_times_x() -> None:
    x, g = drawn(1, 7, 5), drawn(2, 7, 5)
    moved, _ = rules.lars(g, x, 0.0, t=1, lr=1.0, trust=0.02, eps=0.0)
    assert np.linalg.norm(moved - x) == pytest.approx(0.02 * np.linalg.norm(x), rel=1e-12)
    still = 0 * x  # a tensor that starts at 0 gets the rate alone
    moved, _ = rules.lars(g, still, 0.0, t=1, lr=0.1)
    np.testing.assert_allclose(moved, -0.1 * g, rtol=1e-14)


def test_adam_mini_is_adam_with_the_mean_of_each_row() -> None:
    g, x = drawn(3, 6, 4, 5), drawn(4, 4, 5)
    m, v, start, lr, b1, b2, eps, decay = 0 * x, np.zeros(4), x, 0.1, 0.8, 0.9, 1e-3, 0.1
    state: dict[str, object] = {"m": 0.0, "v": 0.0}
    hyper = {"lr": lr, "beta1": b1, "beta2": b2, "eps": eps, "weight_decay": decay}
    mine = start
    for t, slope in enumerate(g, 1):
        mine, state = rules.adam_mini.advance(slope, mine, state, t=t, hyper=hyper)
        m = b1 * m + (1 - b1) * slope
        step = np.empty_like(x)
        for row in range(4):
            v[row] = b2 * v[row] + (1 - b2) * sum(e**2 for e in slope[row]) / 5
            root = np.sqrt(v[row] / (1 - b2**t)) + eps
            step[row] = m[row] / (1 - b1**t) / root
        x = (1 - lr * decay) * x - lr * step
        np.testing.assert_allclose(mine, x, rtol=1e-13)
    assert np.shape(state["v"]) == (4, 1)


def test_dowg_steps_by_the_distance_it_has_gone() -> None:
    starts = [drawn(5, 3), drawn(6, 2, 2)]
    points, r, s = list(starts), 0.01, 0.0
    mine = Tensors(starts)
    hyper = {"lr": 1.0, "distance0": 0.01, "eps": 0.0}
    state = rules.dowg.first_state(mine, hyper)
    for t in range(1, 9):
        slopes = [x - 1.0 for x in points]
        mine, state = rules.dowg.advance(Tensors(slopes), mine, state, t=t, hyper=hyper)
        gone = np.sqrt(sum(((x - a) ** 2).sum() for x, a in zip(points, starts, strict=True)))
        r = max(r, gone)
        s += r**2 * sum((g**2).sum() for g in slopes)
        points = [x - r**2 / np.sqrt(s) * g for x, g in zip(points, slopes, strict=True)]
        for part, x in zip(mine, points, strict=True):
            np.testing.assert_allclose(part, x, rtol=1e-12)
    assert r > 0.02  # it has grown


@pytest.mark.parametrize("name", rules.names("sums"))
def test_gradients_of_zero_are_no_end(name: str) -> None:
    """A whole tensor without slope, or a row of one, leaves everything finite."""
    rule = rules.get(name)
    g = torch.ones(3, 4)
    g[1] = 0.0
    for slope in (torch.zeros(3, 4), g):
        x = torch.ones(3, 4)
        state = rule.first_state(x, rule.defaults)
        for t in range(1, 4):
            x, state = rule.advance(slope, x, state, t=t, hyper=rule.defaults)
        assert torch.isfinite(x).all()
