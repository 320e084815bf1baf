"""Matrices: what a rule may do with a whole matrix, beside ``a @ b``.

One name each for NumPy arrays and torch tensors. What has more than two dimensions is several
matrices, each of which is treated alone. Optimizers show a tensor of more than two dimensions, such
as the kernel of a convolution, as one matrix: outputs × rest.
"""

import sys
from typing import Any

import numpy as np

from thalweg.elementwise import maximum, sqrt, where
from thalweg.tensors import tensorwise

__all__ = [
    "T", "columns", "descending", "eigenvectors", "identity", "orthogonalize", "power", "qr",
    "rows", "symmetric", "take",
]  # fmt: skip

# Of Newton-Schulz steps a s + b s³ + c s⁵, which bring singular values near 1 (Jordan et al. 2024).
COEFFICIENTS = (3.4445, -4.775, 2.0315)
_STRIP = 128  # columns of a symmetric product that are computed at once
_WIDE = 1.25  # columns for each row from which products of rows alone are fewer
_SINGLE = 4  # bytes of a float32


def _checked(a: Any) -> Any:  # noqa: ANN401 - an array or a tensor
    if np.ndim(a) < 2:
        shape = tuple(np.shape(a))
        raise ValueError(
            f"a rule of matrices cannot step a tensor of shape {shape}: step vectors by another "
            "one, as Descent(model, rule, otherwise='adamw') does"
        )
    return a


def _eigen(a: Any) -> tuple[Any, Any]:  # noqa: ANN401
    """Return eigenvalues and eigenvectors; NaN where there are none, of that matrix alone."""
    lost = (_checked(a) * 0).sum((-2, -1))  # 0, or NaN if an element is not finite
    library = _library(a)
    try:
        found = library.linalg.eigh(where(lost[..., None, None] == 0, a, library.zeros_like(a)))
    except (np.linalg.LinAlgError, RuntimeError):  # torch's error is one of the second kind
        found = a[..., 0], a
        lost = lost * float("nan")
    return found[0] + lost[..., None], found[1] + lost[..., None, None]


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

    Source: Jordan et al. 2024, "Muon". They compute in bfloat16; here it is in a's own format. Each
    step is y ← p(y yᵀ) y, and all p together are a polynomial of the first y yᵀ: of a matrix that
    is wider than high it is found first, and then multiplies y. That differs from one step after
    the other by less than 1e-3 of the result in float32, and by 1e-12 in float64.
    """
    tall = rows(a) > columns(a)
    y = T(a) if tall else a
    y = y / maximum(sqrt((y * y).sum((-2, -1), keepdims=True)), eps)
    if iterations and columns(y) > _WIDE * rows(y) and _fine(y):
        y = _all_factors(symmetric(y, T(y)), coefficients, iterations) @ y
        return T(y) if tall else y
    for _ in range(iterations):
        y = _factor(symmetric(y, T(y)), coefficients) @ y
    return T(y) if tall else y


def _fine(a: Any) -> bool:  # noqa: ANN401
    """Return whether products are rounded as those of float32 or better."""
    size = a.dtype.itemsize
    fast = size == _SINGLE and _library(a) is not np
    return size >= _SINGLE and not (
        fast and _library(a).get_float32_matmul_precision() != "highest"
    )


def _factor(s: Any, coefficients: tuple[float, float, float]) -> Any:  # noqa: ANN401
    """Return p(s), what a Newton-Schulz step puts before y where s is y yᵀ."""
    first, third, fifth = coefficients
    found = symmetric(s, s)
    found *= fifth
    found += third * s
    diagonal = list(range(rows(s)))
    found[..., diagonal, diagonal] += first
    return found


def _all_factors(s: Any, coefficients: tuple[float, float, float], iterations: int) -> Any:  # noqa: ANN401
    """Return the product of all that the steps put before y, where s is the first y yᵀ."""
    whole = _factor(s, coefficients)
    factor = whole
    for _ in range(iterations - 1):
        s = symmetric(symmetric(factor, s), factor)
        factor = _factor(s, coefficients)
        whole = symmetric(whole, factor)
    return whole


@tensorwise
def symmetric(a: Any, b: Any) -> Any:  # noqa: ANN401
    """Return a @ b where that is symmetric, such as g @ T(g): large ones are computed by half.

    Example:
        >>> g = np.array([[1.0, 2.0], [3.0, 4.0]])
        >>> symmetric(g, T(g)).tolist()
        [[5.0, 11.0], [11.0, 25.0]]
    """
    count = rows(a)
    if count < 2 * _STRIP:
        return a @ b
    shape = (*a.shape[:-1], count)
    found = np.empty(shape, a.dtype) if isinstance(a, np.ndarray) else a.new_empty(shape)
    for begin in range(0, count, _STRIP):
        end = begin + _STRIP
        below = a[..., begin:, :] @ b[..., begin:end]
        found[..., begin:, begin:end] = below
        found[..., begin:end, end:] = T(below)[..., _STRIP:]
    return found
