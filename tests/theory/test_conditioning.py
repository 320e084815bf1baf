"""Conditioning against the eigenvalues of NumPy."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group, random_correlation

from thalweg import descend, problems, theory


def random_matrix(d: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    R = ortho_group.rvs(d, random_state=random) if d > 1 else np.eye(1)
    Q = R * 10 ** random.uniform(-3, 3, d) @ R.T
    return (Q + Q.T) / 2


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_scaling_by_the_diagonal(d: int, seed: int) -> None:
    Q = random_matrix(d, seed)
    found = theory.precondition(Q)
    D = np.diag(Q)
    scaled = np.diag(D**-0.5) @ Q @ np.diag(D**-0.5)
    np.testing.assert_allclose(found.before.matrix, Q, rtol=1e-12)
    np.testing.assert_allclose(found.after.matrix, scaled, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.diag(found.after.matrix), 1, rtol=1e-12)
    for each, matrix in ((found.before, Q), (found.after, scaled)):
        spectrum = np.linalg.eigvalsh(matrix)
        np.testing.assert_allclose(each.spectrum, spectrum, rtol=1e-9, atol=1e-9 * spectrum[-1])
        assert each.condition_number == each.spectrum[-1] / each.spectrum[0]
        for eigenvalue in each.spectrum:  # Gershgorin's theorem
            distance = np.abs(eigenvalue - each.discs[:, 0]) - each.discs[:, 1]
            assert distance.min() <= 1e-9 * spectrum[-1]
        low, high = each.bounds
        assert low <= each.spectrum[0] * (1 + 1e-9)
        assert high >= each.spectrum[-1] * (1 - 1e-9)
    # van der Sluis 1969: no diagonal scaling is more than d times better.
    assert found.after.condition_number <= d * found.before.condition_number * (1 + 1e-6)


def test_discs_are_those_drawn_by_hand() -> None:
    found = theory.precondition([[4.0, 1.0, -0.5], [1.0, 1.0, 0.0], [-0.5, 0.0, 0.25]])
    assert found.before.discs.tolist() == [[4.0, 1.5], [1.0, 1.0], [0.25, 0.5]]
    assert found.before.bounds == (-0.25, 5.5)
    assert found.after.discs.tolist() == [[1.0, 1.0], [1.0, 0.5], [1.0, 0.5]]
    assert found.after.bounds == (0.0, 2.0)


def test_a_diagonal_that_hides_a_round_bowl_is_undone() -> None:
    # D^½ C D^½ of a correlation matrix C: scaling leaves C itself.
    C = random_correlation.rvs([0.5, 0.8, 1.7], random_state=np.random.default_rng(3))
    D = np.array([1e4, 1.0, 1e-4])
    found = theory.precondition(np.sqrt(np.outer(D, D)) * C)
    np.testing.assert_allclose(found.after.matrix, C, rtol=1e-10, atol=1e-10)
    assert found.before.condition_number > 1e6
    assert found.after.condition_number == pytest.approx(1.7 / 0.5, rel=1e-6)


def test_descent_on_the_scaled_quadratic_is_preconditioned_descent() -> None:
    Q = random_matrix(3, 7)
    scaled = theory.precondition(Q).after
    x0 = np.array([1.0, -2.0, 0.5])
    own = descend(problems.quadratic(Q), "diagonal_newton", x0, steps=10, lr=0.3)
    root = np.sqrt(np.diag(Q))
    there = descend(problems.quadratic(scaled.matrix), "sgd", root * x0, steps=10, lr=0.3)
    np.testing.assert_allclose(there.x / root, own.x, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.leaky_weights(1.0, 5), "beta must be in [0, 1), got 1.0"),
        (lambda: theory.leaky_weights(0.5, 0), "n must be an integer >= 1, got 0"),
        (lambda: theory.effective_window(-0.1), "beta must be in [0, 1), got -0.1"),
        (
            lambda: theory.precondition([[1.0, 2.0], [0.0, 1.0]]),
            (
                "matrix must be symmetric, got 2.0 at (0, 1) and 0.0 at (1, 0); "
                "xᵀQx is the same with (Q + Q.T) / 2"
            ),
        ),
        (
            lambda: theory.precondition([[1.0, 2.0], [2.0, 1.0]]),
            "Q must be positive definite, got the eigenvalue -1",
        ),
        (lambda: theory.precondition([1.0, 2.0]), "Q must have shape (d, d), got (2,)"),
        (lambda: theory.precondition([[math.nan]]), "matrix must be finite, got [[nan]]"),
    ],
)
def test_what_is_out_of_range_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match="must") as refusal:
        call()
    assert str(refusal.value) == message


def test_a_least_eigenvalue_of_0_is_not_positive() -> None:
    with pytest.raises(ValueError, match="must be positive definite, got the eigenvalue 0"):
        theory.precondition(np.diag([2.0, 0.0]))
