"""Predictions beside what real descents do: rates, limits, Adam's edge, noise floors, risk."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import ortho_group

from thalweg import descend, problems, rules, schedules, theory

LINEAR = ("sgd", "momentum", "averaged_momentum", "nesterov", "asgd")


def hyper_of(rule: str, beta: float) -> dict[str, float]:
    if rule == "asgd":
        return {"lambd": 0.0}
    return {"beta": beta} if "beta" in rules.get(rule).hyperparameters else {}


def measured_rate(x: np.ndarray) -> float | None:
    """Return the factor per step of one coordinate's path, fitted where it is above its rounding.

    Two modes are fitted to the windows (x_k, x_k+1) by dynamic mode decomposition, and one where
    the second has died away. None where there are too few steps to tell.
    """
    alive = 1 + int(np.flatnonzero(np.abs(x) > 1e-6 * np.abs(x[0]))[-1])
    tail = x[alive // 3 : alive]
    if len(tail) < 8:
        return None
    before, after = np.array([tail[:-2], tail[1:-1]]), np.array([tail[1:-1], tail[2:]])
    U, s, Vt = np.linalg.svd(before, full_matrices=False)
    modes = 1 + int(s[1] > 1e-11 * s[0])
    fitted = U[:, :modes].T @ after @ Vt[:modes].T / s[:modes]
    return float(np.abs(np.linalg.eigvals(fitted)).max())


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.sampled_from(LINEAR),
    st.integers(1, 20),
    st.floats(0, 6),
    st.floats(0.05, 0.999),
    st.sampled_from([0.0, 0.3, 0.7, 0.9, 0.97]),
    st.integers(0, 2**32 - 1),
)
def test_rates_are_those_that_descents_have(  # noqa: PLR0917 - drawn by position
    rule: str, d: int, decades: float, part: float, beta: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    spectrum = 10 ** np.append(0, random.uniform(-decades, 0, d - 1))
    R = ortho_group.rvs(d, random_state=random) if d > 1 else np.eye(1)
    hyper = hyper_of(rule, beta)
    hyper["lr"] = part * theory.max_lr(rule, spectrum.max(), **hyper)
    predicted = theory.rate(rule, spectrum, **hyper)
    assume(predicted > 0.35)  # a descent that arrives at once has no rate to measure
    problem = problems.quadratic(spectrum, rotation=R, start=R @ np.ones(d))
    trace = descend(problem, rule, steps=400, **hyper)
    measured = [measured_rate(x) for x in (trace.x @ R).T]
    for eigenvalue, found in zip(spectrum, measured, strict=True):
        if found is not None:
            expected = -math.log(theory.rate(rule, eigenvalue, **hyper))
            assert -math.log(found) == pytest.approx(expected, rel=0.01)
    slowest = max(found for found in measured if found is not None)
    assert -math.log(slowest) == pytest.approx(-math.log(predicted), rel=0.01)


@pytest.mark.parametrize("rule", LINEAR)
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.99])
def test_a_descent_diverges_exactly_beyond_the_limit(rule: str, beta: float) -> None:
    hyper = hyper_of(rule, beta)
    spectrum = [0.5, 3.0]
    limit = theory.max_lr(rule, 3.0, **hyper)
    below, above = (
        np.abs(descend(problems.quadratic(spectrum), rule, steps=4000, lr=lr, **hyper).x[:, 1])
        for lr in (0.999 * limit, 1.001 * limit)
    )
    assert below[-50:].max() < 0.9 * below[2000:2050].max()
    assert above[-50:].max() > 1.1 * above[2000:2050].max()


def preconditioners() -> dict[str, Callable[[dict[str, Any], int, dict[str, float]], Any]]:
    """Return P of each rule, by hand, from its state after step t."""
    return {
        "adam": lambda s, t, h: np.sqrt(s["v"] / (1 - h["beta2"] ** t)) + h["eps"],
        "adabelief": lambda s, t, h: np.sqrt(s["s"] / (1 - h["beta2"] ** t)) + h["eps"],
    }


@pytest.mark.parametrize(
    ("rule", "hyper"),
    [
        ("adam", {"lr": 0.01}),
        ("adam", {"lr": 0.02, "beta2": 0.995}),
        ("adam", {"lr": 0.01, "beta1": 0.95}),
        ("adabelief", {"lr": 0.01}),
    ],
)
@pytest.mark.parametrize("spectrum", [[1.0], [100.0, 3.0, 1.0]])
def test_full_batch_adam_goes_unstable_at_the_predicted_sharpness(
    rule: str, hyper: dict[str, float], spectrum: list[float]
) -> None:
    # From step 1 on: while x falls, so does P, and λ/P rises until the steep coordinate swings.
    each = rules.get(rule)
    values = each.resolve(hyper)
    curvature = np.array(spectrum)
    x = np.ones(len(spectrum))
    state = each.first_state(x, values)
    steep, sharpness = np.empty((2, 20_000))
    for t in range(20_000):
        x, state = each.advance(curvature * x, x, state, t=t + 1, hyper=values)
        steep[t] = abs(x[0])
        sharpness[t] = (curvature / preconditioners()[rule](state, t + 1, values)).max()
    envelope = steep.reshape(-1, 20).max(axis=1)
    onset = 20 * int(envelope.argmin())
    assert envelope[-1] > 100 * envelope.min()  # it did go unstable
    memory = {name: value for name, value in hyper.items() if name != "lr"}
    # max_lr(λ) = c/λ: the sharpness at which lr is the limit.
    predicted = theory.max_lr(rule, 1.0, **memory) / hyper["lr"]
    assert sharpness[onset] == pytest.approx(predicted, rel=0.05)
    assert sharpness[200 : onset - 500].max() < predicted


def floors(rule: str, spectrum: list[float], hyper: dict[str, float]) -> tuple[float, float, float]:
    """Return the mean of f in a long run of 400 paths, its standard error, and the prediction."""
    paths, burn, noise = 400, 300, 0.3
    problem = problems.quadratic(np.repeat(spectrum, paths), start=np.zeros(paths * len(spectrum)))
    trace = descend(problem, rule, steps=700, noise=noise, seed=5, **hyper)
    f = problem.spectrum / 2 * trace.x[burn:] ** 2  # type: ignore[operator] # of a quadratic
    means = f.mean(axis=0).reshape(len(spectrum), paths).sum(axis=0)  # independent, one per path
    expected = sum(theory.noise_floor(rule, each, noise**2, **hyper) for each in spectrum)
    return float(means.mean()), float(means.std(ddof=1) / math.sqrt(paths)), expected


@pytest.mark.parametrize(
    ("rule", "hyper"),
    [
        ("sgd", {"lr": 0.5}),
        ("sgd", {"lr": 0.95}),
        ("momentum", {"lr": 0.1, "beta": 0.8}),
        ("averaged_momentum", {"lr": 0.9, "beta": 0.6}),
        ("nesterov", {"lr": 0.2, "beta": 0.7}),
        ("asgd", {"lr": 0.3, "lambd": 0.0}),
    ],
)
def test_noise_floors_are_those_of_a_long_run(rule: str, hyper: dict[str, float]) -> None:
    measured, error, predicted = floors(rule, [0.5, 2.0], hyper)
    assert abs(measured - predicted) < 3 * error
    assert error < 0.02 * predicted


def test_noise_floors_are_those_of_the_literature() -> None:
    for lr, λ, beta, variance in ((0.5, 2.0, 0.5, 0.01), (0.01, 0.3, 0.9, 4.0), (1.0, 1.0, 0.0, 1)):  # noqa: PLC2401
        gradient_descent = lr * variance / (2 * (2 - lr * λ))
        assert theory.noise_floor("sgd", λ, variance, lr=lr) == pytest.approx(
            gradient_descent, rel=1e-10
        )
        # Σ_xx of the heavy ball: ησ²(1 + β) / (λ(1 − β)(2(1 + β) − ηλ)).
        ball = lr * variance * (1 + beta) / (2 * (1 - beta) * (2 * (1 + beta) - lr * λ))
        found = theory.noise_floor("momentum", λ, variance, lr=lr, beta=beta)
        assert found == pytest.approx(ball, rel=1e-10)
        same = theory.noise_floor("adam", λ, variance, lr=lr / (1 - beta), beta1=beta)
        assert same == pytest.approx(ball, rel=1e-10)
    assert theory.noise_floor("sgd", 1.0, 0.0, lr=0.5) == 0


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
