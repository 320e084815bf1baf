"""Matrices: what a rule may do with a whole matrix, beside ``a @ b``.

One name each for NumPy arrays and torch tensors. What has more than two dimensions is several
matrices, each of which is treated alone. Optimizers show a tensor of more than two dimensions, such
as the kernel of a convolution, as one matrix: outputs × rest.
"""

import sys
from typing import Any

import numpy as np

from thalweg.elementwise import maximum, sqrt
from thalweg.tensors import tensorwise

__all__ = [
    "T", "columns", "descending", "eigenvectors", "identity", "orthogonalize", "power", "qr",
    "rows", "take",
]  # fmt: skip

# Of Newton-Schulz steps a s + b s³ + c s⁵, which bring singular values near 1 (Jordan et al. 2024).
COEFFICIENTS = (3.4445, -4.775, 2.0315)


def _checked(a: Any) -> Any:  # noqa: ANN401 - an array or a tensor
    if np.ndim(a) < 2:
        shape = tuple(np.shape(a))
        raise ValueError(
            f"a rule of matrices cannot step a tensor of shape {shape}: step vectors by another "
            "one, as Descent(model, rule, otherwise='adamw') does"
        )
    return a


def _eigen(a: Any) -> tuple[Any, Any]:  # noqa: ANN401
    """Return eigenvalues and eigenvectors; all NaN where a library finds none, as of NaN."""
    try:
        return tuple(_library(_checked(a)).linalg.eigh(a))
    except (np.linalg.LinAlgError, RuntimeError):  # torch's error is one of the second kind
        lost = a * float("nan")
        return lost[..., 0], lost


def _library(a: Any) -> Any:  # noqa: ANN401 - torch or NumPy
    return np if isinstance(a, np.ndarray) else sys.modules["torch"]


@tensorwise
def T(a: Any) -> Any:  # noqa: ANN401, N802 - as it is written
    """Return the transpose."""
    return _checked(a).swapaxes(-1, -2)


@tensorwise
def rows(a: Any) -> int:  # noqa: ANN401
    """Return how many rows a matrix has."""
    return int(_checked(a).shape[-2])


@tensorwise
def columns(a: Any) -> int:  # noqa: ANN401
    """Return how many columns a matrix has."""
    return int(_checked(a).shape[-1])


@tensorwise
def identity(a: Any) -> Any:  # noqa: ANN401
    """Return the identity of as many rows as a matrix has, in its format."""
    library = _library(_checked(a))
    device = {} if library is np else {"device": a.device}
    return library.eye(rows(a), dtype=a.dtype, **device)


@tensorwise
def qr(a: Any) -> Any:  # noqa: ANN401
    """Return the orthogonal factor Q of a = QR."""
    return _library(_checked(a)).linalg.qr(a)[0]


@tensorwise
def eigenvectors(a: Any) -> Any:  # noqa: ANN401
    """Return the eigenvectors of a symmetric matrix as columns, that of the largest value first."""
    found = _eigen(a)[1]
    return np.ascontiguousarray(found[..., ::-1]) if isinstance(a, np.ndarray) else found.flip(-1)


@tensorwise
def power(a: Any, p: float) -> Any:  # noqa: ANN401
    """Return a symmetric matrix to a power; eigenvalues that rounding took below 0 count as 0.

    Example:
        >>> power(np.diag([4.0, 9.0]), -0.5).round(6).tolist()
        [[0.5, 0.0], [0.0, 0.333333]]
    """
    values, vectors = _eigen(a)
    return vectors * (maximum(values, 0.0) ** p)[..., None, :] @ T(vectors)


@tensorwise
def descending(a: Any) -> Any:  # noqa: ANN401
    """Return the indices that put vectors in order, the largest element first."""
    if isinstance(a, np.ndarray):
        return np.argsort(-a, axis=-1, kind="stable")
    return (-a).argsort(dim=-1, stable=True)


@tensorwise
def take(a: Any, index: Any, axis: int) -> Any:  # noqa: ANN401
    """Return a matrix with its rows (axis 0) or columns (axis 1) in the order of the indices.

    Example:
        >>> take(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1, 0]), 0).tolist()
        [[3.0, 4.0], [1.0, 2.0]]
    """
    if isinstance(_checked(a), np.ndarray):
        return np.take_along_axis(a, np.expand_dims(index, -1 if axis == 0 else -2), axis - 2)
    return a.take_along_dim(index.unsqueeze(-1 if axis == 0 else -2), axis - 2)


@tensorwise
def orthogonalize(
    a: Any,  # noqa: ANN401
    coefficients: tuple[float, float, float] = COEFFICIENTS,
    iterations: int = 5,
    eps: float = 1e-7,
) -> Any:  # noqa: ANN401
    """Return nearly U Vᵀ of a = U S Vᵀ, by Newton-Schulz steps on the shorter side.

    Args:
        a: the matrix.
        coefficients: of a step.
        iterations: how many steps.
        eps: the least norm by which a is divided first.

    Returns:
        As ``a``. Its singular values lie in [0.68, 1.21] where those of ``a``, over its norm, were
        not below about 0.01.

    Example:
        >>> orthogonalize(np.diag([3.0, -4.0])).round(2).tolist()
        [[0.72, 0.0], [0.0, -1.12]]

    Source: Jordan et al. 2024, "Muon". They compute in bfloat16; here it is in a's own format.
    """
    first, third, fifth = coefficients
    tall = rows(a) > columns(a)
    y = T(a) if tall else a
    y = y / maximum(sqrt((y * y).sum((-2, -1), keepdims=True)), eps)
    for _ in range(iterations):
        s = y @ T(y)
        y = first * y + (third * s + fifth * (s @ s)) @ y
    return T(y) if tall else y
