"""Every problem against SciPy's finite differences, its minimizer and its published values."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from scipy.optimize._numdiff import approx_derivative
from scipy.stats import ortho_group

from thalweg import problems
from thalweg.problems import Problem, quadratic

A_ROTATION = ortho_group.rvs(4, random_state=np.random.default_rng(1))
A_MATRIX = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, -0.5], [0.0, -0.5, 1.0]])
PROBLEMS = {name: problems.get(name) for name in problems.names()} | {
    "spectrum": quadratic([1.0, 0.5, 0.25], linear=[1.0, -2.0, 3.0], offset=4.0),
    "rotated": quadratic([1.0, 10.0, 100.0, 1000.0], rotation=A_ROTATION, linear=[1, 2, 3, 4]),
    "matrix": quadratic(A_MATRIX, linear=[0.5, 0.0, -1.0], offset=-2.0),
    "saddle": quadratic([-1.0, 2.0], rotation=0.3, linear=[1.0, 1.0]),
    "valley": quadratic([0.0, 2.0]),
    "line": quadratic([3.0], linear=[6.0]),
}
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


@every_problem
def test_the_minimizer_is_where_scipy_finds_it(problem: Problem) -> None:
    if problem.minimizer is None:
        assert problem.minimum is None
        assert problem.spectrum is not None
        assert problem.spectrum[0] <= 0
        return
    found = minimize(
        problem.value, problem.start, jac=problem.gradient, hess=problem.hessian,
        method="trust-exact", options={"gtol": 1e-9},
    )  # fmt: skip
    np.testing.assert_allclose(problem.minimizer, found.x, atol=1e-8)
    assert problem.minimum == pytest.approx(found.fun, abs=1e-12)
    assert problem.minimum == pytest.approx(problem.value(problem.minimizer), abs=1e-12)
    np.testing.assert_allclose(problem.gradient(problem.minimizer), 0, atol=1e-12)


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
        ("rosenbrock", lambda x, y: 100 * (y - x**2) ** 2 + (1 - x) ** 2),
    ],
)
def test_named_problems_are_their_formulas(name: str, formula: Callable[..., Any]) -> None:
    problem = problems.get(name)
    assert problem.name == name
    assert problem.source
    x = points(problem)
    np.testing.assert_allclose(problem.value(x), formula(*x.T), rtol=1e-12)
    expected = [-1.2, 1.0] if name == "rosenbrock" else [-5.0, -2.0]
    assert problem.start.tolist() == expected


def test_rosenbrock_has_its_published_value_at_its_published_start() -> None:
    problem = problems.get("rosenbrock")  # Moré, Garbow & Hillstrom 1981, problem 1
    assert problem.value(problem.start) == pytest.approx(24.2, rel=1e-14)


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
            "unknown problem 'zzz'; problems: bowl, stretched_bowl, rotated_bowl, rosenbrock",
        ),
    ],
)
def test_what_makes_no_problem_is_refused(make: Callable[[], Problem], message: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the whole message is compared
        make()
    assert str(refusal.value) == message


def test_a_problem_is_returned_as_it_is() -> None:
    problem = quadratic([1.0])
    assert problems.get(problem) is problem
