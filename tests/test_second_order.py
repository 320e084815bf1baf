"""Second-order methods against linear algebra, closed forms, SciPy's minimize, their theorems."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import ortho_group

from thalweg import problems, rules, second_order
from thalweg.descent import descend
from thalweg.problems import Problem
from thalweg.rule import SECOND_ORDER
from thalweg.second_order import METHODS


def random_quadratic(d: int, condition: float, seed: int) -> Problem:
    random = np.random.default_rng(seed)
    spectrum = np.geomspace(1, condition, d)
    R = ortho_group.rvs(d, random_state=random) if d > 1 else np.ones((1, 1))
    return problems.quadratic(
        spectrum, rotation=R, linear=random.normal(size=d), start=random.normal(size=d) * 5
    )


@given(st.integers(1, 20), st.floats(1, 1e6), st.integers(0, 99))
def test_newton_lands_in_one_step_on_a_quadratic(d: int, condition: float, seed: int) -> None:
    problem = random_quadratic(d, condition, seed)
    trace = descend(problem, "newton", steps=1)
    distance = np.linalg.norm(problem.start - problem.minimizer)
    np.testing.assert_allclose(trace.x[1], problem.minimizer, atol=1e-13 * condition * distance)
    assert trace.state["indefinite"] == 0


def test_a_shorter_newton_step_shrinks_the_error_by_one_minus_it() -> None:
    problem = random_quadratic(6, 1e3, seed=1)
    trace = descend(problem, "newton", steps=30, lr=0.3)
    expected = (problem.start - problem.minimizer) * 0.7 ** np.arange(31)[:, None]
    np.testing.assert_allclose(trace.x - problem.minimizer, expected, atol=1e-11)


def test_damping_slows_each_eigen_coordinate_by_its_own_factor() -> None:
    problem = problems.quadratic([0.2, 4.0], rotation=0.7)
    trace = descend(problem, "newton", [3.0, -1.0], steps=8, damping=1.5)
    R = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    factors = np.array([1.5 / 1.7, 1.5 / 5.5])
    expected = (R.T @ [3.0, -1.0]) * factors ** np.arange(9)[:, None]
    np.testing.assert_allclose(trace.x @ R, expected, atol=1e-13)


def test_newton_is_newton_where_the_hessian_is_positive() -> None:
    problem = problems.get("rosenbrock")
    x = np.array([1.2, 1.3])
    trace = descend(problem, "newton", x, steps=7)
    for point in trace.x:
        np.testing.assert_allclose(point, x, rtol=1e-10)
        x = x - np.linalg.solve(problem.hessian(x), problem.gradient(x))
    assert trace.state["indefinite"] == 0
    assert trace.f[-1] < 1e-20


def test_newton_leaves_a_saddle_and_counts_where_it_was_indefinite() -> None:
    # |H| = 2I on x₁² − x₂²: x₁ is 0 after a step, and x₂ doubles at each.
    trace = descend("saddle", "newton", steps=5)
    np.testing.assert_allclose(trace.x[1:, 0], 0, atol=1e-15)
    np.testing.assert_allclose(trace.x[:, 1], 0.01 * 2.0 ** np.arange(6), rtol=1e-14)
    assert trace.state["indefinite"] == 5
    # Himmelblau's function is concave at its start and convex where it ends.
    trace = descend("himmelblau", "newton", [0.5, -0.5], steps=30, tolerance=1e-10)
    negative = [np.linalg.eigvalsh(trace.problem.hessian(x))[0] < 0 for x in trace.x[:-1]]
    assert trace.end == "converged"
    assert np.abs(trace.problem.minimizers - trace.x[-1]).max(axis=1).min() < 1e-10
    assert 0 < trace.state["indefinite"] == sum(negative) < len(trace.f) - 1


@pytest.mark.parametrize("method", ["newton", "diagonal_newton"])
def test_where_there_is_no_curvature_there_is_no_step_but_by_damping(method: str) -> None:
    valley = problems.quadratic([0.0, 2.0], linear=[3.0, 0.0])
    still, damped = (descend(valley, method, steps=1, damping=d).x[1] for d in (0.0, 0.5))
    np.testing.assert_allclose(still, [1.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(damped, [1.0 - 3.0 / 0.5, 1.0 - 2.0 / 2.5], rtol=1e-14)


def test_diagonal_newton_preconditions_by_the_diagonal() -> None:
    problem = random_quadratic(5, 20.0, seed=2)
    trace = descend(problem, "diagonal_newton", steps=12, lr=0.4)
    Q = problem.hessian(problem.start)
    shrink = np.eye(5) - 0.4 * np.diag(1 / np.diag(Q)) @ Q
    for t in (1, 5, 12):
        expected = np.linalg.matrix_power(shrink, t) @ (problem.start - problem.minimizer)
        np.testing.assert_allclose(trace.x[t] - problem.minimizer, expected, atol=1e-12)


def test_diagonal_newton_descends_where_the_diagonal_is_negative() -> None:
    trace = descend("saddle", "diagonal_newton", steps=3)
    np.testing.assert_allclose(trace.x[:, 1], [0.01, 0.02, 0.04, 0.08], rtol=1e-14)


@pytest.mark.parametrize("d", [1, 2, 3, 5, 10, 20])
@pytest.mark.parametrize("method", ["bfgs", "lbfgs"])
def test_an_exact_search_ends_on_a_quadratic_after_d_steps(method: str, d: int) -> None:
    hyper = {"memory": 20.0} if method == "lbfgs" else {}
    for seed in range(10):
        problem = random_quadratic(d, 50.0, seed)
        trace = descend(problem, method, steps=d + 1, curvature=1e-4, **hyper)
        assert trace.gradient_norm[-1] < 1e-7 * trace.gradient_norm[0]
        first, g = trace.x[1] - trace.x[0], problem.gradient(trace.x[0])
        assert first @ g == pytest.approx(-np.linalg.norm(first) * np.linalg.norm(g), rel=1e-12)
        if d > 1:
            assert trace.gradient_norm[d // 2] > 1e-4 * trace.gradient_norm[0]


def test_bfgs_keeps_the_secant_condition_and_a_positive_matrix() -> None:
    for steps in range(2, 25):
        trace = descend("rosenbrock", "bfgs", steps=steps)
        s = trace.x[-2] - trace.x[-3]
        y = trace.problem.gradient(trace.x[-2]) - trace.problem.gradient(trace.x[-3])
        B = trace.state["inverse"]
        np.testing.assert_allclose(B @ y, s, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(B, B.T, rtol=1e-10)
        assert np.linalg.eigvalsh(B)[0] > 0


@pytest.mark.parametrize("method", ["bfgs", "lbfgs"])
@pytest.mark.parametrize("curvature", [0.9, 0.1])
@pytest.mark.parametrize("name", ["rosenbrock", "beale", "himmelblau"])
def test_every_step_keeps_the_strong_wolfe_conditions(
    method: str, curvature: float, name: str
) -> None:
    trace = descend(name, method, steps=40, tolerance=1e-6, curvature=curvature)
    assert trace.end == "converged"
    for x, after in itertools.pairwise(trace.x):
        step = after - x
        slope, later = (trace.problem.gradient(at) @ step for at in (x, after))
        assert slope < 0
        assert trace.problem.value(after) <= trace.problem.value(x) + 1e-4 * slope
        assert abs(later) <= curvature * abs(slope)


@pytest.mark.parametrize(("method", "theirs"), [("bfgs", "BFGS"), ("lbfgs", "L-BFGS-B")])
@pytest.mark.parametrize("name", ["rosenbrock", "beale", "himmelblau"])
def test_the_minimum_is_scipys_in_about_as_many_steps(method: str, theirs: str, name: str) -> None:
    problem = problems.get(name)
    trace = descend(problem, method, steps=200, tolerance=1e-8)
    found = minimize(
        problem.value, problem.start, jac=problem.gradient, method=theirs, options={"gtol": 1e-8}
    )
    assert trace.end == "converged"
    np.testing.assert_allclose(trace.x[-1], found.x, atol=1e-5)
    assert abs(trace.f[-1] - found.fun) < 1e-10
    assert len(trace.f) - 1 < 1.5 * found.nit + 3


def test_lbfgs_finds_scipys_minimum_of_rosenbrock_in_100_dimensions() -> None:
    problem = problems.rosenbrock(100)
    trace = descend(problem, "lbfgs", steps=1000, tolerance=1e-8)
    found = minimize(
        problem.value, problem.start, jac=problem.gradient, method="L-BFGS-B",
        options={"maxiter": 1000, "maxfun": 10_000, "ftol": 0, "gtol": 1e-8},
    )  # fmt: skip
    assert trace.end == "converged"
    np.testing.assert_allclose(trace.x[-1], found.x, atol=1e-8)
    assert trace.f[-1] <= found.fun + 1e-15
    assert len(trace.f) - 1 < 1.2 * found.nit
    assert len(trace.state["pairs"]) == 10


def test_two_loops_multiply_by_the_matrix_that_the_pairs_stand_for() -> None:
    random = np.random.default_rng(4)
    H = random_quadratic(6, 9.0, seed=4).hessian(np.zeros(6))
    pairs = [(s, H @ s) for s in random.normal(size=(4, 6))]
    s, y = pairs[-1]
    B = (s @ y) / (y @ y) * np.eye(6)
    for s, y in pairs:
        W = np.eye(6) - np.outer(s, y) / (s @ y)
        B = W @ B @ W.T + np.outer(s, s) / (s @ y)
    g = random.normal(size=6)
    np.testing.assert_allclose(second_order._two_loops(g, pairs), B @ g, rtol=1e-12)


@pytest.mark.parametrize("method", ["bfgs", "lbfgs"])
def test_a_far_minimizer_is_reached_in_one_search(method: str) -> None:
    trace = descend(problems.quadratic([1.0]), method, [1e9], steps=3, curvature=1e-4)
    assert abs(trace.x[1, 0]) < 1e-3 * 1e9
    assert abs(trace.x[3, 0]) < 1e-3


@pytest.mark.parametrize("method", ["bfgs", "lbfgs"])
def test_a_pair_of_negative_curvature_is_left_out_and_a_failed_search_forgets(method: str) -> None:
    problem = problems.bowl()
    rule, x = second_order.get(method, problem), np.array([1.0, 1.0])
    g = problem.gradient(x)
    name = rule.uniform_state[0]
    known: Any = {"bfgs": np.eye(2) / 3, "lbfgs": ((x, 3 * x),)}[method]
    state = {"x_last": x + 1, "g_last": g - 1, name: known}  # sᵀy = −2
    after, kept = rule.advance(g, x, state, t=2, hyper=rule.defaults)
    assert problem.value(after) < problem.value(x)
    np.testing.assert_array_equal(kept[name], known)
    after, kept = rule.advance(-g, x, state, t=2, hyper=rule.defaults)  # uphill
    np.testing.assert_array_equal(after, x)
    assert not np.size(kept[name]) or kept[name] == 0.0


@pytest.mark.parametrize("method", ["bfgs", "lbfgs"])
def test_where_a_search_finds_nothing_x_stays_and_memory_is_lost(method: str) -> None:
    # Along −g a line falls for ever; no step is long enough for its slope to change.
    slope = problems.quadratic([0.0, 0.0], linear=[1.0, 2.0])
    trace = descend(slope, method, steps=5)
    assert trace.x.tolist() == [[1.0, 1.0]] * 6
    assert trace.end == "finished"
    rest = descend("bowl", method, [0.0, 0.0], steps=5)
    assert rest.x.tolist() == [[0.0, 0.0]] * 6
    memory = {"bfgs": "inverse", "lbfgs": "pairs"}[method]
    for resting in (trace, rest):
        assert not np.size(resting.state[memory]) or resting.state[memory] == 0.0
    noisy = descend("bowl", method, steps=60, noise=3.0)
    assert noisy.end == "finished"
    assert (np.diff(noisy.f) <= 0).all()  # the search sees exact values


@pytest.mark.parametrize("method", second_order.METHODS)
def test_no_method_warns_when_it_diverges(method: str) -> None:
    for start, hyper in [([1e50, 1e50], {}), ([1e76, 1e76], {}), ([-1.2, 1.0], {"lr": 1e300})]:
        if hyper and "newton" not in method:
            continue
        trace = descend("rosenbrock", method, start, steps=50, **hyper)
        rows = np.column_stack([trace.x, trace.f, trace.gradient_norm])
        last = trace.diverged_at or 51
        assert np.isfinite(rows[:last]).all()
        assert np.isnan(rows[last + 1 :]).all()
        assert trace.end == ("diverged" if trace.diverged_at else "finished")
    descend("saddle", method, steps=2000)  # unbounded below


def test_every_method_is_found_by_name_and_made_for_its_problem() -> None:
    problem = problems.bowl()
    for name in second_order.METHODS:
        rule = second_order.get(name, problem)
        assert rule.name == name
        assert rule.source
        assert second_order.get(rule, problem) is rule
        assert name not in rules.names()
        assert descend(problem, rule).x.tolist() == descend(problem, name).x.tolist()
    assert second_order.get("adam", problem) is rules.get("adam")


@pytest.mark.parametrize(
    ("method", "hyper", "message"),
    [
        ("newton", {"lr": 0.0}, "lr must be > 0, got 0.0"),
        ("newton", {"damping": -1.0}, "damping must be >= 0, got -1.0"),
        ("bfgs", {"curvature": 1.0}, "curvature must be in (0, 1), got 1.0"),
        ("lbfgs", {"memory": 0.0}, "memory must be >= 1, got 0.0"),
        ("lbfgs", {"memory": 2.5}, "memory must be a whole number >= 1, got 2.5"),
        ("newtn", {}, "unknown rule 'newtn'; did you mean newton?"),
    ],
)
def test_what_no_method_takes_is_refused(method: str, hyper: Any, message: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the whole message is compared
        descend("bowl", method, **hyper)
    assert str(refusal.value) == message


def test_a_hyperparameter_of_another_method_is_refused() -> None:
    with pytest.raises(TypeError) as refusal:
        descend("bowl", "bfgs", lr=0.1)
    assert str(refusal.value) == "rule 'bfgs' has no hyperparameter 'lr'; it has: curvature"


def test_an_unknown_name_is_answered_with_rules_and_methods() -> None:
    with pytest.raises(ValueError, match="newton, diagonal_newton, bfgs, lbfgs"):
        descend("bowl", "zzz")


def test_the_names_of_methods_are_those_that_rules_may_not_have() -> None:
    assert tuple(METHODS) == SECOND_ORDER
    assert all(make.__name__ == name for name, make in METHODS.items())
