"""Named problems against their published formulas, values and minimizers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from problems.examples import points
from thalweg import problems


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
