"""Wrappers: each around AdamW against its paper's loop, written out in NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from thalweg import rules
from thalweg.optim import Descent
from thalweg.wrappers import trusted

Array = NDArray[np.float64]
STEPS, LR, B1, B2, EPS, DECAY = 12, 0.05, 0.8, 0.9, 1e-6, 0.1
RNG = np.random.default_rng(3)
STARTS = [RNG.normal(size=(3, 4)), RNG.normal(size=5)]
SLOPES = [[RNG.normal(size=x.shape) for x in STARTS] for _ in range(STEPS)]


class AdamW:
    """AdamW of one tensor, as the paper has it."""

    def __init__(self) -> None:
        self.m: Any = 0.0
        self.v: Any = 0.0
        self.t = 0

    def step(self, g: Array, x: Array) -> Array:
        self.t += 1
        self.m = B1 * self.m + (1 - B1) * g
        self.v = B2 * self.v + (1 - B2) * g**2
        m_hat, v_hat = self.m / (1 - B1**self.t), self.v / (1 - B2**self.t)
        return x - LR * DECAY * x - LR * m_hat / (np.sqrt(v_hat) + EPS)


# A loop takes the start and all gradients of one tensor; it returns x and where it is judged.
Loop = Callable[[Array, list[Array]], tuple[Array, Array]]


def plain(change: Callable[[AdamW, Array, Array], Array]) -> Loop:
    def loop(x: Array, slopes: list[Array]) -> tuple[Array, Array]:
        inner = AdamW()
        for g in slopes:
            x = change(inner, g, x)
        return x, x

    return loop


def cautious(inner: AdamW, g: Array, x: Array) -> Array:
    u = x - inner.step(g, x)
    mask = u * g > 0
    return x - u * mask * (u.size / (mask.sum() + 1))


def grams(inner: AdamW, g: Array, x: Array) -> Array:
    return x - np.abs(x - inner.step(g, x)) * np.sign(g)


def centralized(inner: AdamW, g: Array, x: Array) -> Array:
    if g.ndim > 1:
        g = np.stack([row - sum(row) / len(row) for row in g])
    return inner.step(g, x)


def agc(inner: AdamW, g: Array, x: Array) -> Array:
    clipped = []
    for row, weights in zip(np.atleast_1d(g), x, strict=True):
        longest = 0.3 * max(float(np.linalg.norm(weights)), 0.4)
        length = np.linalg.norm(row)
        clipped.append(row * longest / length if length > longest else row)
    return inner.step(np.stack(clipped), x)


def trust_ratio(inner: AdamW, g: Array, x: Array) -> Array:
    u = x - inner.step(g, x)
    return x - LR * np.linalg.norm(x) / np.linalg.norm(u) * u


def lookahead(x: Array, slopes: list[Array]) -> tuple[Array, Array]:
    inner, slow = AdamW(), x
    for i, g in enumerate(slopes, 1):
        x = inner.step(g, x)
        if i % 5 == 0:
            slow = slow + 0.3 * (x - slow)
            x = slow
    return x, slow


def averaged(x: Array, slopes: list[Array]) -> tuple[Array, Array]:
    inner, mean = AdamW(), x
    for g in slopes:
        x = inner.step(g, x)
        mean = 0.7 * mean + 0.3 * x
    return x, mean


CASES: dict[str, tuple[Loop, dict[str, float]]] = {
    "cautious": (plain(cautious), {}),
    "grams": (plain(grams), {}),
    "centralized": (plain(centralized), {}),
    "agc": (plain(agc), {"clipping": 0.3, "least_norm": 0.4}),
    "trusted": (plain(trust_ratio), {}),
    "lookahead": (lookahead, {"k": 5, "slow_rate": 0.3}),
    "averaged": (averaged, {"memory": 0.7}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_path_is_that_of_the_paper(name: str) -> None:
    loop, own = CASES[name]
    tensors = [torch.tensor(x, requires_grad=True) for x in STARTS]
    adamw = {"lr": LR, "beta1": B1, "beta2": B2, "eps": EPS, "weight_decay": DECAY}
    optimizer = Descent(tensors, f"{name}(adamw)", **adamw, **own)
    for slopes in SLOPES:
        for p, g in zip(tensors, slopes, strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
    expected = [loop(x, [row[i] for row in SLOPES]) for i, x in enumerate(STARTS)]
    for p, (x, _) in zip(tensors, expected, strict=True):
        np.testing.assert_allclose(p.detach(), x, rtol=1e-12)
    with optimizer.answer():
        for p, (_, judged) in zip(tensors, expected, strict=True):
            np.testing.assert_allclose(p.detach(), judged, rtol=1e-12)


def test_lamb_is_adam_with_its_trust_ratio() -> None:
    (x, *_), (g, *_) = STARTS, SLOPES[0]
    ours = trusted(rules.adam)(g, x, 0.0, 0.0, t=1, lr=0.1, eps=1e-3)
    lamb = rules.lamb(g, x, 0.0, 0.0, t=1, lr=0.1, eps=1e-3, weight_decay=0.0)
    for mine, theirs in zip(ours, lamb, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_a_gradient_of_zero_and_a_lost_one(name: str) -> None:
    rule = rules.get(f"{name}(adam)")
    x = np.ones((2, 3))
    state = rule.first_state(x, rule.defaults)
    moved, _ = rule.advance(0 * x, x, state, t=1, hyper=rule.defaults)
    np.testing.assert_array_equal(moved, x)
    lost, _ = rule.advance(x * np.nan, x, state, t=1, hyper=rule.defaults)
    assert np.isnan(lost).all()  # nobody would see otherwise that the state is lost
