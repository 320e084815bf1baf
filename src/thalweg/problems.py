"""Problems: objectives that know their gradient, Hessian, minimizer and spectrum.

``quadratic`` builds any quadratic; ``get(name)`` returns a named one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.words import closest

__all__ = ["Problem", "bowl", "get", "names", "quadratic", "rosenbrock", "rotated_bowl",
           "stretched_bowl"]  # fmt: skip

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """An objective f of d variables, in float64.

    Attributes:
        name: what plots and messages call it.
        value: f: x (..., d) -> (...).
        gradient: ∇f: x (..., d) -> (..., d).
        hessian: ∇²f: x (d,) -> (d, d).
        start: where descents begin unless told otherwise, (d,).
        minimizer: the point of the least value, (d,); None where there is no single one.
        minimum: the value there; None where there is no minimizer.
        spectrum: the Hessian's eigenvalues, (d,), ascending; None where they change with x.
        source: where the problem comes from.
    """

    name: str
    value: Callable[[Vector], Vector] = field(repr=False)
    gradient: Callable[[Vector], Vector] = field(repr=False)
    hessian: Callable[[Vector], Vector] = field(repr=False)
    start: Vector
    minimizer: Vector | None
    minimum: float | None
    spectrum: Vector | None
    source: str


def quadratic(
    spectrum_or_matrix: ArrayLike,
    *,
    rotation: ArrayLike | None = None,
    linear: ArrayLike | None = None,
    offset: float = 0.0,
    start: ArrayLike | None = None,
    name: str = "quadratic",
    source: str = "",
) -> Problem:
    """Return f(x) = ½ xᵀQx + cᵀx + b, whose eigen-coordinates evolve separately.

    With every eigenvalue of Q positive, the minimizer is −Q⁻¹c and the minimum b − ½ cᵀQ⁻¹c.
    Otherwise (a saddle, a valley, a hill) the problem has no minimizer.

    Args:
        spectrum_or_matrix: the eigenvalues of Q, (d,), of any sign; or Q itself, (d, d), symmetric.
        rotation: turns the problem about the origin, R Q Rᵀ: in two dimensions an angle in radians,
            counterclockwise; else R itself, (d, d), orthogonal, such as ``scipy.stats.ortho_group``
            draws. None: the eigenvectors of a spectrum are the axes.
        linear: c, (d,); zero by default. It is not turned.
        offset: b, finite; 0 by default.
        start: (d,); ones by default.
        name: what plots and messages call it.
        source: where the problem comes from.

    Raises:
        ValueError: a value is not finite, has the wrong shape, or the matrix is not symmetric.

    Example:
        >>> valley = quadratic([0.2, 4.0], linear=[1.0, 0.0])  # 0.1 x₁² + 2 x₂² + x₁
        >>> float(valley.value(np.array([1.0, 1.0])).round(12))
        3.1
        >>> valley.minimizer.tolist(), valley.minimum
        ([-5.0, 0.0], -2.5)
    """
    Q = np.asarray(spectrum_or_matrix, dtype=np.float64)
    Q = _diagonal(Q) if Q.ndim == 1 else _symmetric(Q)
    d = len(Q)
    if rotation is not None:
        R = _rotation(np.asarray(rotation, dtype=np.float64), d)
        Q = R @ Q @ R.T
        Q = (Q + Q.T) / 2  # rounding must not make the gradient differ from Qx + c
    c = _vector("linear", np.zeros(d) if linear is None else linear, d)
    b = _finite("offset", offset).item()
    spectrum = np.asarray(np.linalg.eigvalsh(Q), dtype=np.float64)
    positive = spectrum[0] > d * np.finfo(np.float64).eps * spectrum[-1]
    minimizer = None
    if positive:
        minimizer = np.asarray(np.linalg.solve(Q, -c) + 0.0, dtype=np.float64)  # no −0
    return Problem(
        name=name,
        value=lambda x: np.sum((x @ Q / 2 + c) * x, axis=-1) + b,
        gradient=lambda x: x @ Q + c,
        hessian=lambda _: Q.copy(),
        start=_vector("start", np.ones(d) if start is None else start, d),
        minimizer=minimizer,
        minimum=None if minimizer is None else b + float(c @ minimizer) / 2,
        spectrum=spectrum,
        source=source,
    )


def _finite(name: str, value: ArrayLike) -> Vector:
    array = np.array(value, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array.tolist()}")
    return array


def _vector(name: str, value: ArrayLike, d: int) -> Vector:
    array = _finite(name, value)
    if array.shape != (d,):
        raise ValueError(f"{name} must have shape ({d},), got {array.shape}")
    return array


def _diagonal(spectrum: Vector) -> Vector:
    if not spectrum.size:
        raise ValueError("spectrum must have one eigenvalue or more, got none")
    return np.diag(_finite("spectrum", spectrum))


def _symmetric(matrix: Vector) -> Vector:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"a matrix must have shape (d, d), got {matrix.shape}")
    _finite("matrix", matrix)
    difference = np.abs(matrix - matrix.T)
    i, j = np.unravel_index(difference.argmax(), matrix.shape)
    if difference[i, j] > 1e-10 * np.abs(matrix).max():
        raise ValueError(
            f"matrix must be symmetric, got {matrix[i, j]} at ({i}, {j}) and {matrix[j, i]} at "
            f"({j}, {i}); xᵀQx is the same with (Q + Q.T) / 2"
        )
    return (matrix + matrix.T) / 2


def _rotation(rotation: Vector, d: int) -> Vector:
    """Return the orthogonal matrix of an angle, or the matrix itself, checked."""
    _finite("rotation", rotation)
    if rotation.ndim == 0 and d == 2:
        cos, sin = np.cos(rotation), np.sin(rotation)
        return np.array([[cos, -sin], [sin, cos]])
    if rotation.shape != (d, d):
        raise ValueError(
            f"rotation must be an orthogonal ({d}, {d}) matrix"
            f"{' or an angle' if d == 2 else ''}, got shape {rotation.shape}"
        )
    error = np.abs(rotation @ rotation.T - np.eye(d)).max()
    if error > 1e-10:
        raise ValueError(f"rotation must be orthogonal, got R Rᵀ that is {error:.2g} off identity")
    return rotation


_START = (-5.0, -2.0)
_D2L = "Zhang, Lipton, Li & Smola 2023, Dive into Deep Learning, "


def bowl() -> Problem:
    """Return x₁² + 2x₂², from (−5, −2).

    Example:
        >>> bowl().spectrum.tolist()
        [2.0, 4.0]
    """
    return quadratic([2.0, 4.0], start=_START, name="bowl", source=_D2L + "section 12.3")


def stretched_bowl() -> Problem:
    """Return 0.1x₁² + 2x₂², from (−5, −2): twenty times steeper across than along.

    Example:
        >>> stretched_bowl().spectrum.tolist()
        [0.2, 4.0]
    """
    return quadratic([0.2, 4.0], start=_START, name="stretched_bowl", source=_D2L + "section 12.6")


def rotated_bowl() -> Problem:
    """Return the stretched bowl turned by 45°: 0.05(x₁ + x₂)² + (x₁ − x₂)², from (−5, −2).

    Example:
        >>> rotated_bowl().value(np.array([1.0, 1.0])).round(12).item()
        0.2
    """
    return quadratic(
        [0.2, 4.0], rotation=np.pi / 4, start=_START, name="rotated_bowl",
        source=_D2L + "section 12.7, without its stretch by √2",
    )  # fmt: skip


def rosenbrock() -> Problem:
    """Return 100(x₂ − x₁²)² + (1 − x₁)², from (−1.2, 1): a curved valley, its minimizer at (1, 1).

    Example:
        >>> rosenbrock().value(np.array([-1.2, 1.0])).round(12).item()
        24.2
    """
    from scipy.optimize import rosen, rosen_der, rosen_hess  # noqa: PLC0415 - 0.2 s to import

    def on_last_axis(function: Callable[[Vector], Any], x: Vector) -> Vector:
        return np.asarray(function(np.moveaxis(x, -1, 0)))

    return Problem(
        name="rosenbrock",
        value=lambda x: on_last_axis(rosen, x),
        gradient=lambda x: np.moveaxis(on_last_axis(rosen_der, x), 0, -1),
        hessian=rosen_hess,
        start=np.array([-1.2, 1.0]),
        minimizer=np.ones(2),
        minimum=0.0,
        spectrum=None,
        source="Rosenbrock 1960",
    )


_PROBLEMS = {make.__name__: make for make in (bowl, stretched_bowl, rotated_bowl, rosenbrock)}


def names() -> tuple[str, ...]:
    """Return the names of the named problems.

    Example:
        >>> names()
        ('bowl', 'stretched_bowl', 'rotated_bowl', 'rosenbrock')
    """
    return tuple(_PROBLEMS)


def get(problem: str | Problem) -> Problem:
    """Return the problem of that name; a Problem is returned as it is.

    Raises:
        ValueError: no problem has that name; the message lists the closest ones.

    Example:
        >>> get("bwl")
        Traceback (most recent call last):
        ...
        ValueError: unknown problem 'bwl'; did you mean bowl?
    """
    if isinstance(problem, Problem):
        return problem
    if problem in _PROBLEMS:
        return _PROBLEMS[problem]()
    hint = closest(problem, _PROBLEMS) or f"problems: {', '.join(_PROBLEMS)}"
    raise ValueError(f"unknown problem {problem!r}; {hint}")
