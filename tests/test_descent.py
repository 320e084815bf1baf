"""Descents against closed forms: powers of 1 − ηλ, powers of the heavy ball's matrix, Newton's."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import ortho_group

from thalweg import problems, rules, schedules
from thalweg.descent import descend


def test_gradient_descent_shrinks_each_eigen_coordinate_by_its_own_factor() -> None:
    spectrum = 2.0 ** -np.arange(6)
    R = ortho_group.rvs(6, random_state=np.random.default_rng(1))
    problem = problems.quadratic(spectrum, rotation=R, linear=np.arange(6.0), offset=3.0)
    trace = descend(problem, "sgd", np.full(6, 2.0), steps=50, lr=1.5)
    t = np.arange(51)[:, None]
    start = R.T @ (np.full(6, 2.0) - problem.minimizer)
    expected = start * (1 - 1.5 * spectrum) ** t
    np.testing.assert_allclose((trace.x - problem.minimizer) @ R, expected, atol=1e-11)
    np.testing.assert_allclose(trace.f, problem.minimum + (expected**2 @ spectrum) / 2, rtol=1e-12)
    norms = np.linalg.norm(expected * spectrum, axis=1)
    np.testing.assert_allclose(trace.gradient_norm, norms, atol=1e-11)
    assert trace.diverged_at == 0


@pytest.mark.parametrize(("lr", "beta"), [(0.6, 0.5), (0.1, 0.9), (0.3, 0.25)])
def test_the_heavy_ball_is_a_power_of_its_matrix(lr: float, beta: float) -> None:
    trace = descend("stretched_bowl", "momentum", steps=30, lr=lr, beta=beta)
    for axis, eigenvalue in enumerate([0.2, 4.0]):
        # (v, x) after a step: MISSION E2's matrix.
        matrix = np.array([[beta, eigenvalue], [-lr * beta, 1 - lr * eigenvalue]])
        for t in (1, 2, 7, 30):
            _, x = np.linalg.matrix_power(matrix, t) @ [0.0, trace.x[0, axis]]
            assert trace.x[t, axis] == pytest.approx(x, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("spectrum", [(2.0, 4.0), (0.2, 4.0)])
def test_the_bowls_are_descended_as_by_hand(spectrum: tuple[float, float]) -> None:
    x, y = -5.0, -2.0
    trace = descend(problems.quadratic(spectrum), "sgd", (x, y), lr=0.1)
    for point in trace.x:
        np.testing.assert_allclose(point, [x, y], rtol=1e-13)
        x, y = x - 0.1 * spectrum[0] * x, y - 0.1 * spectrum[1] * y
    assert trace.x.shape == (21, 2)
    assert trace.f.shape == trace.gradient_norm.shape == (21,)


@pytest.mark.parametrize(
    ("problem", "rule", "hyper", "end"),
    [
        # What the bowls' source prints as the end of 20 steps, to six decimals.
        ("stretched_bowl", "sgd", {"lr": 0.4}, (-0.943467, -0.000073)),
        ("stretched_bowl", "sgd", {"lr": 0.6}, (-0.387814, -1673.365109)),
        ("stretched_bowl", "momentum", {"lr": 0.6, "beta": 0.5}, (0.007188, 0.002553)),
        ("stretched_bowl", "momentum", {"lr": 0.6, "beta": 0.25}, (-0.126340, -0.186632)),
        ("stretched_bowl", "adagrad", {"lr": 0.4}, (-2.382563, -0.158591)),
        ("stretched_bowl", "adagrad", {"lr": 2.0}, (-0.002295, 0.0)),
    ],
)
def test_the_bowls_end_where_their_source_prints(
    problem: str, rule: str, hyper: dict[str, float], end: tuple[float, float]
) -> None:
    # Its adagrad has eps = 1e-6 under the root: no more than one in the last digit.
    np.testing.assert_allclose(descend(problem, rule, **hyper).x[-1], end, atol=1.01e-6)


@pytest.mark.parametrize("name", rules.names())
def test_every_rule_takes_the_steps_of_its_own_equation(name: str) -> None:
    rule = rules.get(name)
    trace = descend("bowl", rule, steps=15)
    # The same path, one coordinate at a time, in floats.
    for axis, eigenvalue in enumerate([2.0, 4.0]):
        x = [-5.0, -2.0][axis]
        state: list[Any] = [rule.start_of(s, rule.defaults) for s in rule.state]
        extra = {s: rule.start_of(s, rule.defaults) for s in rule.uniform_state}
        for t in range(1, 16):
            result = rule(eigenvalue * x, x, *state, t=t, **extra, **rule.defaults)
            x, *new = result if state or extra else (result,)
            state, last = new[: len(state)], new[len(state) :]
            extra = dict(zip(extra, last, strict=True))
            assert trace.x[t, axis] == pytest.approx(x, rel=1e-12)
    assert trace.hyper == rule.defaults
    assert trace.rule is rule


def test_a_hyperparameter_may_be_a_schedule() -> None:
    schedule = schedules.inverse_time(0.25)
    trace = descend("bowl", "sgd", lr=schedule)
    factors = np.cumprod([1 - 0.25 / (t + 1) * 2.0 for t in range(20)])
    np.testing.assert_allclose(trace.x[1:, 0], -5.0 * factors, rtol=1e-12)
    assert trace.hyper["lr"] is schedule
    by_hand = descend("bowl", "sgd", lr=lambda t: 0.25 / (t + 1))
    np.testing.assert_allclose(by_hand.x, trace.x, rtol=1e-14)
    beta = descend("bowl", "momentum", lr=0.1, beta=lambda t: 0.0)  # noqa: ARG005
    np.testing.assert_allclose(beta.x, descend("bowl", "sgd", lr=0.1).x, rtol=1e-14)


def test_a_rate_may_fall_to_rest() -> None:
    trace = descend("bowl", "adam", steps=9, lr=schedules.linear(0.5, steps=4))
    assert np.abs(np.diff(trace.x[:5], axis=0)).min() > 0
    np.testing.assert_array_equal(trace.x[5:], trace.x[[4] * 5])


def test_noise_is_gaussian_of_the_given_deviation_and_seeded() -> None:
    still = problems.quadratic(np.zeros(500), start=np.zeros(500))
    trace = descend(still, "sgd", steps=400, lr=1.0, noise=0.3, seed=7)
    drawn = -np.diff(trace.x, axis=0).ravel()  # 200,000 of them
    assert abs(drawn.mean()) < 4 * 0.3 / math.sqrt(drawn.size)
    assert drawn.std() == pytest.approx(0.3, rel=4 / math.sqrt(2 * drawn.size))
    kurtosis = np.mean(drawn**4) / drawn.var() ** 2
    assert kurtosis == pytest.approx(3.0, abs=4 * math.sqrt(24 / drawn.size))
    again = descend(still, "sgd", steps=400, lr=1.0, noise=0.3, seed=7)
    np.testing.assert_array_equal(again.x, trace.x)
    other = descend(still, "sgd", steps=400, lr=1.0, noise=0.3, seed=8)
    assert not np.allclose(other.x, trace.x)


def test_values_and_gradient_norms_are_exact_under_noise() -> None:
    problem = problems.get("rosenbrock")
    trace = descend(problem, "adam", lr=0.1, noise=5.0)
    np.testing.assert_allclose(trace.f, problem.value(trace.x), rtol=1e-13)
    norms = np.linalg.norm(problem.gradient(trace.x), axis=1)
    np.testing.assert_allclose(trace.gradient_norm, norms, rtol=1e-13)


def test_gradient_noise_leaves_the_floor_that_theory_predicts() -> None:
    # E f -> ησ²/(2(2 − ηλ)) per coordinate (MISSION E7), here over 400 coordinates.
    lr, eigenvalue, noise = 0.5, 2.0, 0.1
    problem = problems.quadratic(np.full(400, eigenvalue))
    trace = descend(problem, "sgd", steps=600, lr=lr, noise=noise)
    floor = 400 * lr * noise**2 / (2 * (2 - lr * eigenvalue))
    assert trace.f[100:].mean() == pytest.approx(floor, rel=0.02)


def test_a_diverging_descent_ends_quietly_at_its_step() -> None:
    # |1 − ηλ| = 9: f = 2·2²·9^(2t) passes 1.8e308 at t = 161.
    trace = descend("bowl", "sgd", steps=400, lr=2.5)
    assert trace.diverged_at == 1 + math.floor((math.log(1.797e308 / 8)) / (2 * math.log(9)))
    assert np.isfinite(trace.f[: trace.diverged_at]).all()
    assert np.isnan(trace.f[trace.diverged_at + 1 :]).all()
    assert np.isnan(trace.x[trace.diverged_at + 1 :]).all()
    assert trace.x.shape == (401, 2)


@pytest.mark.parametrize("name", rules.names())
def test_no_rule_warns_when_it_diverges(name: str) -> None:
    trace = descend("rosenbrock", name, [1e50, 1e50], steps=50, lr=1e50)
    rows = np.column_stack([trace.x, trace.f, trace.gradient_norm])
    last = trace.diverged_at or 51
    assert np.isfinite(rows[:last]).all()
    assert not np.isfinite(rows[last : last + 1]).all(axis=1).any()
    assert np.isnan(rows[last + 1 :]).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("bwl", "sgd"), ValueError, "unknown problem 'bwl'; did you mean bowl?"),
        (("bowl", "adm"), ValueError, "unknown rule 'adm'; did you mean adam, radam, nadam?"),
        (
            ("bowl", "sgd", [1.0]),
            ValueError,
            "x0 must have shape (2,), as problem 'bowl' has, got (1,)",
        ),
        (
            ("bowl", "sgd", [np.inf, 0.0]),
            ValueError,
            "x0 and f(x0) must be finite, got f([inf, 0.0]) = nan",
        ),
        (
            ("bowl", "sgd", [1e200, 0.0]),
            ValueError,
            "x0 and f(x0) must be finite, got f([1e+200, 0.0]) = inf",
        ),
        (("bowl", "sgd", None, {"steps": 0}), ValueError, "steps must be >= 1, got 0"),
        (("bowl", "sgd", None, {"noise": -1}), ValueError, "noise must be >= 0, got -1"),
        (("bowl", "sgd", None, {"lr": -0.1}), ValueError, "lr must be > 0, got -0.1"),
        (("bowl", "sgd", None, {"lr": 0}), ValueError, "lr must be > 0, got 0"),
        (
            ("bowl", "sgd", None, {"lr": schedules.linear(0.5, 4, final=-0.5)}),
            ValueError,
            "lr must be >= 0, got -0.25 from its schedule at step 3",
        ),
        (
            ("bowl", "momentum", None, {"beta": lambda t: t / 4}),
            ValueError,
            "beta must be in [0, 1), got 1.0 from its schedule at step 4",
        ),
        (
            ("bowl", "sgd", None, {"beta": 0.9}),
            TypeError,
            "rule 'sgd' has no hyperparameter 'beta'; it has: lr",
        ),
        (("bowl", "sgd", None, {"lr": "fast"}), TypeError, "lr must be a number, got 'fast'"),
    ],
)
def test_what_cannot_be_descended_is_refused(
    arguments: Any, error: type[Exception], message: str
) -> None:
    *positional, keywords = arguments if isinstance(arguments[-1], dict) else (*arguments, {})
    with pytest.raises(error) as refusal:
        descend(*positional, **keywords)
    assert str(refusal.value) == message
