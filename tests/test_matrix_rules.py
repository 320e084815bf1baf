"""Rules of matrices: what they promise. What other libraries do is in test_references.py."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from thalweg import rules

Array = NDArray[np.float64]
SHAPES = ((12, 5), (5, 12), (6, 6), (2, 4, 3))
every_rule = pytest.mark.parametrize("name", rules.names("matrices"))


def drawn(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_of_muon_has_singular_values_near_the_rate(shape: tuple[int, ...]) -> None:
    x = drawn(0, *shape)
    moved, _ = rules.muon(drawn(1, *shape), x, 0.0, t=1, lr=0.5, weight_decay=0.0)
    values = np.linalg.svd(x - moved, compute_uv=False) / (0.5 * 0.2 * max(shape[-2:]) ** 0.5)
    assert values.min() > 0.68
    assert values.max() < 1.21


@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_of_normuon_is_the_rate_a_fifth_in_the_mean_and_its_rows_are_alike(
    shape: tuple[int, ...],
) -> None:
    x = drawn(0, *shape)
    moved, *_ = rules.normuon(drawn(1, *shape), x, 0.0, 0.0, t=1, lr=0.5, weight_decay=0.0)
    rows = np.sqrt(((x - moved) ** 2).mean(-1))
    np.testing.assert_allclose(rows, 0.5 * 0.2, rtol=1e-6)


def test_normuon_divides_rows_by_their_second_moment() -> None:
    """Two steps by hand, the singular values by a decomposition."""
    hyper = {"lr": 0.1, "beta1": 0.6, "beta2": 0.9, "eps": 0.0, "weight_decay": 0.5}
    x, state = drawn(0, 4, 6), {"m": 0.0, "v": 0.0}
    m, v, mine = np.zeros((4, 6)), np.zeros((4, 1)), x
    for t in (1, 2):
        g = drawn(t, 4, 6)
        mine, state = rules.normuon.advance(g, mine, state, t=t, hyper=hyper)
        m = 0.6 * m + 0.4 * g
        left, values, right = np.linalg.svd(m, full_matrices=False)
        values = values / np.linalg.norm(m)
        for _ in range(5):
            values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
        u = left @ np.diag(values) @ right
        v = 0.9 * v + 0.1 * (u**2).mean(1, keepdims=True)
        u = u / np.sqrt(v)
        x = x - 0.1 * 0.5 * x - 0.2 * 0.1 * np.sqrt(24) / np.linalg.norm(u) * u
        np.testing.assert_allclose(mine, x, rtol=1e-10)


@every_rule
def test_several_matrices_are_stepped_as_each_alone(name: str) -> None:
    rule = rules.get(name)
    hyper = rule.defaults | ({"every": 2.0} if "every" in rule.defaults else {})
    x = drawn(0, 3, 4, 4)
    state = rule.first_state(x, hyper)
    alone = [(a, rule.first_state(a, hyper)) for a in x]
    for t in range(1, 6):
        g = drawn(t, 3, 4, 4)
        x, state = rule.advance(g, x, state, t=t, hyper=hyper)
        alone = [
            rule.advance(slope, *own, t=t, hyper=hyper) for slope, own in zip(g, alone, strict=True)
        ]
    np.testing.assert_allclose(x, [own[0] for own in alone], rtol=1e-9)


@every_rule
def test_rows_and_columns_may_be_turned(name: str) -> None:
    """The step of a rotated gradient is the rotated step: what elements are called is no matter."""
    rule, hyper = rules.get(name), rules.get(name).defaults
    if name == "normuon":
        pytest.skip("it treats rows one by one")
    turn, across = (np.linalg.qr(drawn(seed, 5, 5))[0] for seed in (8, 9))
    x = drawn(0, 5, 5)
    paths = [(x, rule.first_state(x, hyper)), (turn @ x @ across, rule.first_state(x, hyper))]
    for t in range(1, 5):
        g = drawn(t, 5, 5)
        slopes = g, turn @ g @ across
        paths = [
            rule.advance(s, *own, t=t, hyper=hyper) for s, own in zip(slopes, paths, strict=True)
        ]
    np.testing.assert_allclose(turn @ paths[0][0] @ across, paths[1][0], rtol=1e-7, atol=1e-9)


@every_rule
def test_a_gradient_of_zero_is_no_end(name: str) -> None:
    rule = rules.get(name)
    x = torch.ones(3, 4)
    state = rule.first_state(x, rule.defaults)
    for t in range(1, 4):
        x, state = rule.advance(torch.zeros(3, 4), x, state, t=t, hyper=rule.defaults)
    assert torch.isfinite(x).all()
