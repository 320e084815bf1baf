"""Curved problems: the classic test functions of optimization, whose Hessian changes with x."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from thalweg.checks import count
from thalweg.problems.problem import Problem, Vector

__all__ = ["beale", "himmelblau", "ripples", "rosenbrock", "squares"]


def rosenbrock(d: int = 2) -> Problem:
    """Return Σ 100(xᵢ₊₁ − xᵢ²)² + (1 − xᵢ)²: a curved valley, its minimizer at (1, …, 1).

    The start is (−1.2, 1, −1.2, 1, …). From d = 4 on there is a second local minimum, near
    (−1, 1, …, 1).

    Args:
        d: number of variables, >= 2; 2 by default.

    Raises:
        ValueError: d is less than 2.

    Example:
        >>> rosenbrock().value(np.array([-1.2, 1.0])).round(12).item()
        24.2
    """
    from scipy.optimize import rosen, rosen_der, rosen_hess  # noqa: PLC0415 - 0.2 s to import

    d = count("d", d, 2)

    def on_last_axis(function: Callable[[Vector], Any], x: Vector) -> Vector:
        return np.asarray(function(np.moveaxis(x, -1, 0)))

    return Problem(
        name="rosenbrock",
        value=lambda x: on_last_axis(rosen, x),
        gradient=lambda x: np.moveaxis(on_last_axis(rosen_der, x), 0, -1),
        hessian=rosen_hess,
        start=np.resize([-1.2, 1.0], d),
        minimizers=np.ones((1, d)),
        minimum=0.0,
        spectrum=None,
        source="Rosenbrock 1960",
    )


def squares(
    residuals: Callable[[Vector], Vector],
    jacobian: Callable[[Vector], Vector],
    curvatures: Callable[[Vector], Vector],
    *,
    name: str,
    start: ArrayLike,
    minimizers: ArrayLike = (),
    source: str,
) -> Problem:
    """Return f(x) = Σ rᵢ(x)², with ∇f = 2Jᵀr and ∇²f = 2(JᵀJ + Σ rᵢ∇²rᵢ).

    Args:
        residuals: r: x (..., d) -> (..., m).
        jacobian: J: x (..., d) -> (..., m, d).
        curvatures: the ∇²rᵢ: x (d,) -> (m, d, d).
        name: what plots and messages call it.
        start: (d,).
        minimizers: where every residual vanishes, (m, d); none by default.
        source: where the problem comes from.
    """

    def hessian(x: Vector) -> Vector:
        r, J = residuals(x), jacobian(x)
        return np.asarray(2 * (J.T @ J + np.tensordot(r, curvatures(x), 1)))

    start = np.array(start, dtype=np.float64)
    known = np.array(minimizers, dtype=np.float64).reshape(-1, start.size)
    return Problem(
        name=name,
        value=lambda x: np.sum(residuals(x) ** 2, axis=-1),
        gradient=lambda x: 2 * np.einsum("...m,...md->...d", residuals(x), jacobian(x)),
        hessian=hessian,
        start=start,
        minimizers=known,
        minimum=0.0 if known.size else None,
        spectrum=None,
        source=source,
    )


def beale() -> Problem:
    """Return Σ (yᵢ − x₁(1 − x₂ⁱ))², y = (1.5, 2.25, 2.625), from (1, 1): flat, with sharp corners.

    Its minimizer is (3, 0.5).

    Example:
        >>> beale().value(beale().start).item()
        14.203125
    """
    y, i = np.array([1.5, 2.25, 2.625]), np.array([1, 2, 3])

    def jacobian(x: Vector) -> Vector:
        x1, x2 = x[..., :1], x[..., 1:]
        return np.stack([x2**i - 1, x1 * i * x2 ** (i - 1)], axis=-1)

    def curvatures(x: Vector) -> Vector:
        mixed = i * x[1] ** (i - 1)
        square = x[0] * i * (i - 1) * x[1] ** np.maximum(i - 2, 0)
        return np.array([[0 * mixed, mixed], [mixed, square]]).transpose(2, 0, 1)

    return squares(
        lambda x: y - x[..., :1] * (1 - x[..., 1:] ** i),
        jacobian,
        curvatures,
        name="beale",
        start=[1.0, 1.0],
        minimizers=[[3.0, 0.5]],
        source="Beale 1958; Moré, Garbow & Hillstrom 1981, problem 5",
    )


def himmelblau() -> Problem:
    """Return (x₁² + x₂ − 11)² + (x₁ + x₂² − 7)², from the origin: four minimizers, all of value 0.

    Both squares vanish where x₂ = 11 − x₁² and x₁⁴ − 22x₁² + x₁ + 114 = 0.

    Example:
        >>> himmelblau().minimizers.round(3).tolist()
        [[-3.779, -3.283], [-2.805, 3.131], [3.0, 2.0], [3.584, -1.848]]
    """
    roots = np.sort(np.roots([1, 0, -22, 1, 114]).real)

    def residuals(x: Vector) -> Vector:
        x1, x2 = x[..., 0], x[..., 1]
        return np.stack([x1**2 + x2 - 11, x1 + x2**2 - 7], axis=-1)

    def jacobian(x: Vector) -> Vector:
        x1, x2 = x[..., 0], x[..., 1]
        ones = np.ones_like(x1)
        return np.stack([2 * x1, ones, ones, 2 * x2], axis=-1).reshape(*x1.shape, 2, 2)

    return squares(
        residuals,
        jacobian,
        lambda _: np.array([np.diag([2.0, 0.0]), np.diag([0.0, 2.0])]),
        name="himmelblau",
        start=[0.0, 0.0],
        minimizers=np.stack([roots, 11 - roots**2], axis=-1),
        source="Himmelblau 1972",
    )


def ripples() -> Problem:
    """Return x²(1 + sin x), from 7: never negative, and 0 at 0 and at every 2πk − π/2.

    ``minimizers`` has those between −12 and 12; the ridges between them grow with x².

    Example:
        >>> ripples().minimizers.ravel().round(3).tolist()
        [-7.854, -1.571, 0.0, 4.712, 10.996]
    """
    troughs = 2 * np.pi * np.arange(-1, 3) - np.pi / 2
    return Problem(
        name="ripples",
        value=lambda x: (x**2 * (1 + np.sin(x)))[..., 0],
        gradient=lambda x: 2 * x * (1 + np.sin(x)) + x**2 * np.cos(x),
        hessian=lambda x: np.diag(2 * (1 + np.sin(x)) + 4 * x * np.cos(x) - x**2 * np.sin(x)),
        start=np.array([7.0]),
        minimizers=np.sort(np.append(troughs, 0.0))[:, None],
        minimum=0.0,
        spectrum=None,
        source="folklore",
    )
