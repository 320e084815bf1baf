"""Limits and radii against closed forms, and against what descents do."""

# ruff: noqa: ANN001, ANN202 - the rules declared here are equations, as in thalweg.rules
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from thalweg import descend, problems, rules, theory
from thalweg.rule import rule
from thalweg.theory import rates
from theory.literature import LIMITS, SETTLED, each_beta, memory_of, users_rules

NOT_LINEAR = {
    "lion", "rprop", "schedule_free_sgd", "schedule_free_adamw", "lars", "lamb", "adafactor",
    "prodigy", "dadapt_adam", "dowg", "muon", "normuon", *rules.names("asking"),
}  # fmt: skip


@pytest.mark.parametrize("name", [n for n in rules.names() if n not in NOT_LINEAR])
@each_beta
def test_stability_limits_are_those_of_the_literature(name: str, beta: float) -> None:
    hyper = SETTLED.get(name, {}) | dict.fromkeys(memory_of(name), beta)
    expected = eval(LIMITS[name], {"b": beta})  # noqa: S307 - the formulas above
    for eigenvalue in (1e-200, 40.0, 1e200):
        limit = theory.max_lr(name, eigenvalue, **hyper)
        assert limit == pytest.approx(expected / eigenvalue, rel=1e-11)


def test_the_table_of_limits_has_every_linear_rule() -> None:
    assert {*LIMITS, *NOT_LINEAR} == set(rules.names())


def test_weight_decay_lowers_the_limit_as_its_characteristic_polynomial_has_it() -> None:
    # z = −1 in z² − (1 + β − ηw − η(1−β)λ) z + β(1 − ηw): E4 with w = 0.
    for beta, decay, eigenvalue in ((0.9, 0.5, 2.0), (0.5, 10.0, 0.01), (0.0, 0.1, 1.0)):
        expected = (2 + 2 * beta) / ((1 - beta) * eigenvalue + (1 + beta) * decay)
        limit = theory.max_lr("adamw", eigenvalue, beta1=beta, weight_decay=decay)
        assert limit == pytest.approx(expected, rel=1e-11)


def test_limits_of_users_rules_are_where_their_matrix_has_a_root_on_the_unit_circle() -> None:
    mine = users_rules()
    for each in mine.values():
        limit = theory.max_lr(each, 2.0)
        sizes = [
            np.abs(np.linalg.eigvals(theory.iteration_matrix(each, 2.0, lr=limit * part))).max()
            for part in (0.01, 0.5, 0.999, 1.0, 1.001)
        ]
        assert max(sizes[:3]) < 1 < sizes[4]
        assert sizes[3] == pytest.approx(1, abs=1e-10)


def test_a_rule_without_limit_says_so() -> None:
    @rule("an implicit step for λ = 1")
    def implicit(g, x, *, t, lr=0.1):
        return x - lr / (1 + lr) * g

    @rule("ascent")
    def ascent(g, x, *, t, lr=0.1):
        return x + lr * g

    assert theory.max_lr(implicit, 1.0) == math.inf
    with pytest.raises(ValueError, match=r"^rule 'ascent' diverges at every lr$"):
        theory.max_lr(ascent, 1.0)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_radius_is_the_largest_eigenvalue(n: int) -> None:
    matrices = np.random.default_rng(n).normal(size=(6, 50, n, n))
    expected = np.abs(np.linalg.eigvals(matrices)).max(axis=-1)
    np.testing.assert_allclose(rates.radius(matrices), expected, rtol=1e-12)


def test_the_radius_is_exact_at_a_double_root() -> None:
    # General methods are off by 1e-8 here: the companion matrix of (z − 0.9)².
    assert rates.radius(np.array([[1.8, -0.81], [1.0, 0.0]])) == pytest.approx(0.9, abs=2e-8)
    assert rates.radius(np.array([[0.9, 1.0], [0.0, 0.9]])) == 0.9


def test_a_rule_that_diverges_at_small_rates_has_no_limit() -> None:
    @rule("this test")
    def growing(g, x, *, t, lr=1e-3):
        return 1.1 * x - lr * g

    with pytest.raises(ValueError, match="'growing' diverges at every lr"):
        theory.max_lr(growing, 1.0)


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


@settings(max_examples=80, deadline=None, derandomize=True)
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
