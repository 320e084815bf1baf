"""Quadratics against their minimum plus a square, and how descents meet a saddle."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from problems.examples import A_ROTATION
from thalweg.descent import descend
from thalweg.problems import quadratic


def test_gradient_descent_is_drawn_to_the_saddle_then_away() -> None:
    distance = np.linalg.norm(descend("saddle", "sgd", steps=40, lr=0.1).x, axis=1)
    nearest = int(distance.argmin())
    assert 5 < nearest < 20
    assert distance[nearest] < 0.2
    assert distance[-1] > 1


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
