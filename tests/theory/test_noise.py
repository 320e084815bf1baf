"""Noise floors against long runs and the literature."""

import math

import numpy as np
import pytest

from thalweg import descend, problems, theory


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
