"""Every problem against SciPy's finite differences, its minimizers and its published values."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import Bounds, minimize
from scipy.optimize._numdiff import approx_derivative
from scipy.stats import ortho_group

from thalweg import problems
from thalweg.descent import descend
from thalweg.problems import Problem, finite_sum, noisy_sum, quadratic

A_ROTATION = ortho_group.rvs(4, random_state=np.random.default_rng(1))
A_MATRIX = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, -0.5], [0.0, -0.5, 1.0]])
PROBLEMS = {name: problems.get(name) for name in problems.names()} | {
    "spectrum": quadratic([1.0, 0.5, 0.25], linear=[1.0, -2.0, 3.0], offset=4.0),
    "rotated": quadratic([1.0, 10.0, 100.0, 1000.0], rotation=A_ROTATION, linear=[1, 2, 3, 4]),
    "matrix": quadratic(A_MATRIX, linear=[0.5, 0.0, -1.0], offset=-2.0),
    "turned saddle": quadratic([-1.0, 2.0], rotation=0.3, linear=[1.0, 1.0]),
    "valley": quadratic([0.0, 2.0]),
    "line": quadratic([3.0], linear=[6.0]),
    "rosenbrock in 5": problems.rosenbrock(5),
    "sum": finite_sum([problems.beale(), problems.himmelblau(), problems.bowl()]),
    "sum of quadratics": finite_sum(
        [quadratic(A_MATRIX, linear=[1, 2, 3], offset=1), quadratic([2, 1, 0])]
    ),
    "noisy rosenbrock": noisy_sum(problems.rosenbrock(), 5, noise=0.5),
    "a part of noisy rosenbrock": noisy_sum(problems.rosenbrock(), 5).parts[0],
    "a part of sigmoid_fit": problems.sigmoid_fit().parts[0],
}
# Their minimizers are not known to them, though they may exist.
UNKNOWING = ("sum", "a part of noisy rosenbrock", "a part of sigmoid_fit")
every_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


def points(problem: Problem) -> Any:
    return problem.start + np.random.default_rng(2).normal(size=(8, problem.start.size))


@every_problem
def test_gradient_and_hessian_are_the_derivatives(problem: Problem) -> None:
    for x in points(problem):
        for function, derivative in [
            (problem.value, problem.gradient),
            (problem.gradient, problem.hessian),
        ]:
            expected = approx_derivative(function, x, method="3-point")
            np.testing.assert_allclose(
                np.ravel(derivative(x)), np.ravel(expected), rtol=1e-6, atol=1e-6
            )


@every_problem
def test_value_and_gradient_take_many_points_at_once(problem: Problem) -> None:
    x = points(problem)
    together = x.reshape(2, 4, -1)
    values = [problem.value(each) for each in x]
    assert all(np.ndim(value) == 0 for value in values)
    np.testing.assert_allclose(problem.value(together).ravel(), values, rtol=1e-14)
    gradients = [problem.gradient(each) for each in x]
    np.testing.assert_allclose(
        problem.gradient(together).reshape(x.shape), gradients, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_minimizers_are_where_scipy_finds_them(name: str) -> None:
    problem = PROBLEMS[name]
    if not problem.minimizers.size:
        assert problem.minimizers.shape == (0, problem.start.size)
        assert problem.minimizer is problem.minimum is None
        assert name in UNKNOWING or (problem.spectrum is not None and problem.spectrum[0] <= 0)
        return
    for minimizer in problem.minimizers:
        found = minimize(
            problem.value, problem.project(minimizer + 0.05), jac=problem.gradient,
            bounds=None if problem.domain is None else Bounds(*problem.domain),
            method="L-BFGS-B", options={"gtol": 1e-10, "ftol": 0, "maxiter": 10_000},
        )  # fmt: skip
        np.testing.assert_allclose(minimizer, found.x, atol=1e-8)
        assert problem.minimum == pytest.approx(found.fun, abs=1e-12)
        assert problem.minimum == pytest.approx(problem.value(minimizer), abs=1e-12)
        step = problem.project(minimizer - problem.gradient(minimizer)) - minimizer
        np.testing.assert_allclose(step, 0, atol=1e-11)
    elsewhere = problem.project(problem.start + np.random.default_rng(3).normal(0, 4, (999, 1)))
    assert (problem.value(elsewhere) >= problem.minimum).all()


def test_a_minimizer_is_one_only_where_there_is_one() -> None:
    for name in ("himmelblau", "ripples", "saddle"):
        assert problems.get(name).minimizer is None
    for name in ("bowl", "beale", "reddi"):
        problem = problems.get(name)
        np.testing.assert_array_equal(problem.minimizer, problem.minimizers[0])


@every_problem
def test_the_spectrum_is_the_hessians(problem: Problem) -> None:
    if problem.spectrum is None:
        at_start, elsewhere = (problem.hessian(x) for x in (problem.start, problem.start + 1))
        assert not np.allclose(at_start, elsewhere)
    else:
        expected = np.sort(np.linalg.eigvals(problem.hessian(problem.start)).real)
        np.testing.assert_allclose(problem.spectrum, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("bowl", lambda x, y: x**2 + 2 * y**2),
        ("stretched_bowl", lambda x, y: 0.1 * x**2 + 2 * y**2),
        # The stretched bowl over the axes (1, 1)/√2 and (1, −1)/√2.
        ("rotated_bowl", lambda x, y: 0.1 * (x + y) ** 2 / 2 + 2 * (x - y) ** 2 / 2),
        ("noisy_bowl", lambda x, y: x**2 + 2 * y**2),
        ("saddle", lambda x, y: x**2 - y**2),
        ("rosenbrock", lambda x, y: 100 * (y - x**2) ** 2 + (1 - x) ** 2),
        (
            "beale",
            lambda x, y: (
                (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2
            ),
        ),
        ("himmelblau", lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2),
        ("ripples", lambda x: x**2 * (1 + np.sin(x))),
        (
            "sigmoid_fit",
            lambda w, b: sum(
                (1 / (1 + np.exp(-w * u - b)) - 1 / (1 + np.exp(-2 * u - 1))) ** 2 / 18
                for u in (-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2)
            ),
        ),
        ("reddi", lambda x: (1010 - 10 * 100) / 101 * x),
    ],
)
def test_named_problems_are_their_formulas(name: str, formula: Callable[..., Any]) -> None:
    problem = problems.get(name)
    assert problem.name == name
    assert problem.source
    x = points(problem)
    np.testing.assert_allclose(problem.value(x), formula(*x.T), rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "point", "value"),
    [
        ("bowl", [-5, -2], 33.0),
        ("stretched_bowl", [-5, -2], 10.5),
        # Moré, Garbow & Hillstrom 1981, problems 1 and 5: the values at their starts.
        ("rosenbrock", [-1.2, 1], 24.2),
        ("beale", [1, 1], 14.203125),
        # Himmelblau 1972: its value at the origin, and at its local maximum.
        ("himmelblau", [0, 0], 170.0),
        ("himmelblau", [-0.270845, -0.923039], 181.617),
    ],
)
def test_values_are_the_published_ones(name: str, point: list[float], value: float) -> None:
    problem = problems.get(name)
    assert problem.value(np.array(point)) == pytest.approx(value, rel=3e-6)
    if value != 181.617:
        assert problem.start.tolist() == point


def test_himmelblaus_minimizers_are_the_published_ones() -> None:
    expected = [[3, 2], [-2.805118, 3.131312], [-3.779310, -3.283186], [3.584428, -1.848126]]
    found = problems.himmelblau().minimizers
    np.testing.assert_allclose(found, sorted(expected), atol=5.1e-7)


@pytest.mark.parametrize(
    ("name", "n"),
    [("sum", 3), ("sum of quadratics", 2), ("noisy rosenbrock", 5), ("noisy_bowl", 100),
     ("sigmoid_fit", 9), ("reddi", 101)],
)  # fmt: skip
def test_a_sum_is_the_mean_of_its_parts(name: str, n: int) -> None:
    problem = PROBLEMS[name]
    assert len(problem.parts) == n
    for x in points(problem):
        for of in ("value", "gradient", "hessian"):
            parts = [getattr(part, of)(x) for part in problem.parts]
            np.testing.assert_allclose(
                getattr(problem, of)(x), np.mean(parts, axis=0), rtol=1e-10, atol=1e-12
            )


def test_gradients_of_a_noisy_sum_scatter_as_they_were_told() -> None:
    problem = noisy_sum(problems.rosenbrock(3), 40, noise=0.3, seed=5)
    x = np.array([0.5, -1.0, 2.0])
    scatter = np.array([part.gradient(x) for part in problem.parts]) - problem.gradient(x)
    np.testing.assert_allclose(scatter.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scatter.T @ scatter / 40, 0.09 * np.eye(3), atol=1e-12)
    same, other = (noisy_sum(problem, 40, noise=0.3, seed=seed) for seed in (5, 6))
    at_start = [each.parts[0].gradient(x) for each in (problem, same, other)]
    assert np.array_equal(at_start[0], at_start[1])
    assert not np.allclose(at_start[0], at_start[2])


def test_the_sigmoid_fit_has_a_plateau_and_an_end() -> None:
    trace = descend("sigmoid_fit", "sgd", steps=3000, lr=4.0)
    assert trace.f[0] > 0.25
    np.testing.assert_allclose(trace.f[100:1000], 0.142, rtol=0.01)
    assert trace.f[-1] < 1e-4


def test_gradient_descent_is_drawn_to_the_saddle_then_away() -> None:
    distance = np.linalg.norm(descend("saddle", "sgd", steps=40, lr=0.1).x, axis=1)
    nearest = int(distance.argmin())
    assert 5 < nearest < 20
    assert distance[nearest] < 0.2
    assert distance[-1] > 1


def test_a_domain_is_where_points_are_projected() -> None:
    reddi = problems.reddi()
    x = np.array([[-1.5], [0.5], [2.0]])
    assert reddi.project(x).tolist() == [[-1.0], [0.5], [1.0]]
    free = problems.bowl()
    assert free.project(free.start) is free.start


def test_a_turn_moves_the_axes_counterclockwise() -> None:
    turned = quadratic([1.0, 9.0], rotation=np.pi / 6)
    flat, steep = np.array([np.cos(np.pi / 6), 0.5]), np.array([-0.5, np.cos(np.pi / 6)])
    np.testing.assert_allclose(turned.gradient(flat), 1.0 * flat, rtol=1e-14)
    np.testing.assert_allclose(turned.gradient(steep), 9.0 * steep, rtol=1e-14)


@given(
    arrays(np.float64, 3, elements=st.floats(0.01, 100)),
    arrays(np.float64, 3, elements=st.floats(-100, 100)),
    arrays(np.float64, 3, elements=st.floats(-10, 10)),
)
def test_a_quadratic_is_its_minimum_plus_a_square(spectrum: Any, linear: Any, x: Any) -> None:
    rotation = A_ROTATION[:3, :3]
    rotation = np.linalg.qr(rotation).Q
    problem = quadratic(spectrum, rotation=rotation, linear=linear, offset=1.0)
    assert problem.minimizer is not None
    assert problem.minimum is not None
    away = rotation.T @ (x - problem.minimizer)
    square = 0.5 * spectrum @ away**2
    expected = problem.minimum + square
    scale = 1 + abs(problem.minimum) + square
    assert problem.value(x) == pytest.approx(expected, abs=1e-12 * scale * 100)


SYMMETRY = (
    "matrix must be symmetric, got 2.0 at (0, 1) and 2.5 at (1, 0); "
    "xᵀQx is the same with (Q + Q.T) / 2"
)


def test_what_a_caller_changes_does_not_change_the_problem() -> None:
    matrix, linear = A_MATRIX.copy(), np.ones(3)
    problem = quadratic(matrix, linear=linear)
    before = problem.value(problem.start)
    matrix[:] = linear[:] = 7.0
    problem.hessian(problem.start)[:] = 7.0
    assert problem.value(problem.start) == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: quadratic([]), "spectrum must have one eigenvalue or more, got none"),
        (lambda: quadratic([1.0, np.nan]), "spectrum must be finite, got [1.0, nan]"),
        (lambda: quadratic(np.ones((2, 3))), "a matrix must have shape (d, d), got (2, 3)"),
        (lambda: quadratic(3.0), "a matrix must have shape (d, d), got ()"),
        (
            lambda: quadratic([[1.0, 2.0], [2.5, 1.0]]),
            SYMMETRY,
        ),
        (
            lambda: quadratic([[1.0, np.inf], [np.inf, 1.0]]),
            "matrix must be finite, got [[1.0, inf], [inf, 1.0]]",
        ),
        (lambda: quadratic([1.0, 2.0], linear=[1.0]), "linear must have shape (2,), got (1,)"),
        (lambda: quadratic([1.0, 2.0], start=0.0), "start must have shape (2,), got ()"),
        (lambda: quadratic([1.0], start=[np.nan]), "start must be finite, got [nan]"),
        (lambda: quadratic([1.0], offset=np.inf), "offset must be finite, got inf"),
        (
            lambda: quadratic([1.0, 2.0, 3.0], rotation=0.5),
            "rotation must be an orthogonal (3, 3) matrix, got shape ()",
        ),
        (
            lambda: quadratic([1.0, 2.0], rotation=np.eye(3)),
            "rotation must be an orthogonal (2, 2) matrix or an angle, got shape (3, 3)",
        ),
        (
            lambda: quadratic([1.0, 2.0], rotation=[[1.0, 1.0], [0.0, 1.0]]),
            "rotation must be orthogonal, got R Rᵀ that is 1 off identity",
        ),
        (
            lambda: problems.get("rosenbrok"),
            "unknown problem 'rosenbrok'; did you mean rosenbrock?",
        ),
        (
            lambda: problems.get("zzz"),
            "unknown problem 'zzz'; problems: " + ", ".join(problems.names()),
        ),
        (lambda: problems.rosenbrock(1), "d must be an integer >= 2, got 1"),
        (
            lambda: finite_sum([]),
            "parts must be one or more, of as many variables each, got []",
        ),
        (
            lambda: finite_sum([quadratic([1.0]), quadratic([1.0, 2.0])]),
            "parts must be one or more, of as many variables each, got [1, 2]",
        ),
        (lambda: problems.noisy_bowl(2), "n must be an integer >= 3, got 2"),
        (lambda: problems.noisy_bowl(noise=-1.0), "noise must be >= 0, got -1.0"),
    ],
)
def test_what_makes_no_problem_is_refused(make: Callable[[], Problem], message: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the whole message is compared
        make()
    assert str(refusal.value) == message


def test_a_problem_is_returned_as_it_is() -> None:
    problem = quadratic([1.0])
    assert problems.get(problem) is problem
