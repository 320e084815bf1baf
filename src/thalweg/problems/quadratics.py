"""Quadratics: any ½ xᵀQx + cᵀx + b, and the named bowls and saddle."""

import numpy as np
from numpy.typing import ArrayLike

from thalweg.problems.problem import Problem, Vector, finite, floats, vector

__all__ = ["bowl", "quadratic", "rotated_bowl", "saddle", "stretched_bowl"]


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
    Q = floats("spectrum_or_matrix", spectrum_or_matrix)
    Q = _diagonal(Q) if Q.ndim == 1 else _symmetric(Q)
    d = len(Q)
    if rotation is not None:
        R = _rotation(floats("rotation", rotation), d)
        Q = R @ Q @ R.T
        Q = (Q + Q.T) / 2  # rounding must not make the gradient differ from Qx + c
    c = vector("linear", np.zeros(d) if linear is None else linear, d)
    b = finite("offset", offset).item()
    spectrum = np.asarray(np.linalg.eigvalsh(Q), dtype=np.float64)
    positive = spectrum[0] > d * np.finfo(np.float64).eps * spectrum[-1]
    minimizers = np.empty((0, d), dtype=np.float64)
    if positive:
        minimizers = np.array([np.linalg.solve(Q, -c) + 0.0])  # no −0
    return Problem(
        name=name,
        value=lambda x: np.sum((x @ Q / 2 + c) * x, axis=-1) + b,
        gradient=lambda x: x @ Q + c,
        hessian=lambda _: Q.copy(),
        start=vector("start", np.ones(d) if start is None else start, d),
        minimizers=minimizers,
        minimum=b + float(c @ minimizers[0]) / 2 if positive else None,
        spectrum=spectrum,
        source=source,
    )


def _diagonal(spectrum: Vector) -> Vector:
    if not spectrum.size:
        raise ValueError("spectrum must have one eigenvalue or more, got none")
    return np.diag(finite("spectrum", spectrum))


def _symmetric(matrix: Vector) -> Vector:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"a matrix must have shape (d, d), got {matrix.shape}")
    finite("matrix", matrix)
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
    finite("rotation", rotation)
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


def saddle() -> Problem:
    """Return x₁² − x₂², from (−2, 0.01): gradient descent is drawn to the saddle point, then away.

    It has no minimum.

    Example:
        >>> saddle().value(np.array([1.0, 2.0])).item(), saddle().minimum
        (-3.0, None)
    """
    return quadratic(
        [2.0, -2.0], start=[-2.0, 0.01], name="saddle", source=_D2L + "section 12.1"
    )  # fmt: skip
