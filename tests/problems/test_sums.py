"""Sums against the mean of their parts."""

import numpy as np
import pytest

from problems.examples import PROBLEMS, points
from thalweg import problems
from thalweg.descent import descend
from thalweg.problems import noisy_sum


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
