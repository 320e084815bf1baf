"""Bounds of the risk against descents and minimizers."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from thalweg import schedules, theory


@pytest.mark.parametrize("schedule", [0.05, schedules.inverse_sqrt(0.7), schedules.step(1.0, 20)])
def test_risk_is_below_its_bound_where_it_is_tight_and_elsewhere(schedule: Any) -> None:
    # f = L|x|, from a distance r of its minimizer: Lipschitz everywhere, and no smoother.
    L, r, steps = 2.0, 3.0, 200
    rates = schedules.values(schedule, np.arange(steps))
    x, points = r, []
    for lr in rates.tolist():
        points.append(x)
        x -= lr * L * np.sign(x)
    average = float(rates @ np.array(points) / rates.sum())
    bound = theory.risk_bound(schedule, steps, radius=r, lipschitz=L)
    assert L * abs(average) <= bound
    by_hand = (r**2 + L**2 * sum(lr**2 for lr in rates)) / (2 * sum(rates))
    assert bound == pytest.approx(by_hand, rel=1e-12)


def test_the_bound_is_reached() -> None:
    # One step from r: f(x_1) − f* = Lr, and the bound is Lr at the best rate, r/L.
    assert theory.horizon_lr(1, radius=3.0, lipschitz=2.0) == 1.5
    assert theory.risk_bound(1.5, 1, radius=3.0, lipschitz=2.0) == 6.0


@pytest.mark.parametrize(("steps", "radius", "lipschitz"), [(1, 1.0, 1.0), (1000, 3.0, 0.2)])
def test_the_rate_for_a_horizon_minimizes_the_bound(
    steps: int, radius: float, lipschitz: float
) -> None:
    def bound(log: float) -> float:
        return theory.risk_bound(math.exp(log), steps, radius, lipschitz)

    best = minimize_scalar(bound, bounds=(-20, 20), method="bounded", options={"xatol": 1e-10})
    lr = theory.horizon_lr(steps, radius, lipschitz)
    assert lr == pytest.approx(math.exp(best.x), rel=1e-6)
    least = theory.risk_bound(lr, steps, radius, lipschitz)
    assert least == pytest.approx(radius * lipschitz / math.sqrt(steps), rel=1e-12)


def test_an_unknown_horizon_costs_a_logarithm() -> None:
    # Σ 1/t = log T + γ + O(1/T), Σ 1/√t = 2√T + ζ(1/2) + O(1/√T).
    for steps in (1000, 10_000, 1_000_000):
        bound = theory.risk_bound(schedules.inverse_sqrt(1.0), steps, radius=1.0, lipschitz=1.0)
        expected = (1 + math.log(steps) + 0.5772) / (4 * math.sqrt(steps) - 2 * 1.4604)
        assert bound == pytest.approx(expected, rel=1e-3)


def test_strong_convexity_takes_the_root_away() -> None:
    # f = |x|·(L − μr)/1 + μx²/2 has gradients of at most L on [−r, r].
    mu, r, steps = 0.5, 2.0, 300
    L = 1.0 + mu * r
    x, points = r, []
    for t in range(1, steps + 1):
        points.append(x)
        x -= (np.sign(x) + mu * x) / (mu * t)
        x = min(max(x, -r), r)
    average = abs(float(np.mean(points)))
    bound = theory.strong_risk_bound(steps, mu, L)
    assert average + mu * average**2 / 2 <= bound
    harmonic = sum(1 / t for t in range(1, steps + 1))
    assert bound == pytest.approx(L**2 * harmonic / (2 * mu * steps), rel=1e-12)
    long = theory.strong_risk_bound(10**9, mu, L)
    assert long == pytest.approx(L**2 * (math.log(1e9) + 0.5772156649) / (2 * mu * 1e9), rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.1, 0, 1.0, 1.0), "steps must be an integer >= 1, got 0"),
        ((0.1, 2.5, 1.0, 1.0), "steps must be an integer >= 1, got 2.5"),
        ((-0.1, 5, 1.0, 1.0), "lr must be finite and >= 0, got -0.1 at step 0"),
        (
            (schedules.linear(0.1, 4, final=-0.1), 9, 1.0, 1.0),
            "lr must be finite and >= 0, got -0.05 at step 3",
        ),
        ((0.0, 5, 1.0, 1.0), "lr must be > 0 at one step or more, got 0 at each"),
        ((0.1, 5, -1.0, 1.0), "radius must be > 0, got -1.0"),
        ((0.1, 5, 1.0, 0.0), "lipschitz must be > 0, got 0.0"),
    ],
)
def test_what_has_no_bound_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match="must be") as refusal:
        theory.risk_bound(*arguments)
    assert str(refusal.value) == message
