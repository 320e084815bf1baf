"""Problems: derivatives, minimizers and spectra against differences and SciPy."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import Bounds, minimize
from scipy.optimize._numdiff import approx_derivative

from problems.examples import A_MATRIX, PROBLEMS, points
from thalweg import problems
from thalweg.problems import Problem, finite_sum, quadratic

# Their minimizers are not known to them, though they may exist.
UNKNOWING = ("sum", "a part of noisy rosenbrock", "a part of sigmoid_fit")
every_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


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


def test_a_domain_is_where_points_are_projected() -> None:
    reddi = problems.reddi()
    x = np.array([[-1.5], [0.5], [2.0]])
    assert reddi.project(x).tolist() == [[-1.0], [0.5], [1.0]]
    free = problems.bowl()
    assert free.project(free.start) is free.start


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
        (lambda: quadratic("ab"), "spectrum_or_matrix must be numbers, got 'ab'"),
        (lambda: quadratic([1.0], offset="b"), "offset must be numbers, got 'b'"),
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
