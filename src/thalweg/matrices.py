"""Matrices: what a rule may do with a whole matrix, beside ``a @ b``.

One name each for NumPy arrays and torch tensors. What has more than two dimensions is several
matrices, each of which is treated alone. Optimizers show a tensor of more than two dimensions, such
as the kernel of a convolution, as one matrix: outputs × rest.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from thalweg.elementwise import maximum, where
from thalweg.tensors import tensorwise

__all__ = [
    "T", "columns", "descending", "eigenvectors", "identity", "orthogonalize", "power",
    "products_in", "qr", "rows", "symmetric", "take",
]  # fmt: skip

# Of Newton-Schulz steps a s + b s³ + c s⁵, which bring singular values near 1 (Jordan et al. 2024).
COEFFICIENTS = (3.4445, -4.775, 2.0315)
_STRIP = 128  # rows of a symmetric product that are computed at once
_COLUMNS = 512  # of a matrix that are multiplied at once
_WIDE = 1.25  # columns for each row from which products of rows alone are fewer
_FEW = 3  # steps that can be taken at once where products have few digits
_SINGLE = 4  # bytes of a float32
_product_dtype: ContextVar[Any] = ContextVar("product_dtype", default=None)

Coefficients = tuple[float, float, float]


def _checked(a: Any) -> Any:  # noqa: ANN401 - an array or a tensor
    if np.ndim(a) < 2:
        shape = tuple(np.shape(a))
        raise ValueError(
            f"a rule of matrices steps no tensor of shape {shape}, but those of a torch module: "
            "thalweg.optim.Descent(model, rule, otherwise='adamw') steps its vectors by another"
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
    library = _library(_checked(a))
    if library is np:
        return np.linalg.qr(a)[0]
    reflections, factors = library.geqrf(a)  # R, the rest of linalg.qr, is not copied out of them
    return library.linalg.householder_product(reflections, factors)


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
    if a.ndim == 2:
        return a.index_select(axis, index)
    return a.take_along_dim(index.unsqueeze(-1 if axis == 0 else -2), axis - 2)


@tensorwise
def orthogonalize(
    a: Any,  # noqa: ANN401
    coefficients: Coefficients = COEFFICIENTS,
    iterations: int = 5,
    eps: float = 1e-7,
    *,
    overwrite_a: bool = False,
) -> Any:  # noqa: ANN401
    """Return nearly U Vᵀ of a = U S Vᵀ, by Newton-Schulz steps on the shorter side.

    Args:
        a: the matrix.
        coefficients: of a step.
        iterations: how many steps.
        eps: the least norm by which a is divided first.
        overwrite_a: whether the result is written over a; False by default.

    Returns:
        As ``a``. Its singular values lie in [0.68, 1.21] where those of ``a``, over its norm, were
        not below about 0.01.

    Example:
        >>> orthogonalize(np.diag([3.0, -4.0])).round(2).tolist()
        [[0.72, 0.0], [0.0, -1.12]]

    Source: Jordan et al. 2024, "Muon". They compute in bfloat16; here it is in a's own format, or
    in that of ``products_in``. Each step is y ← p(y yᵀ) y, and several p together are a polynomial
    of the first y yᵀ: of a matrix that is wider than high it is found first, and then multiplies y.
    All steps at once differ from one after the other by less than 1e-3 of the result in float32,
    and by 1e-12 in float64. Of fewer digits, which that would lose, three steps are taken at once.
    """
    tall = rows(a) > columns(a)
    y = T(a) if tall else a
    size = maximum(_library(y).linalg.norm(y, axis=(-2, -1), keepdims=True), eps)
    if overwrite_a:
        y /= size
    else:
        y = y / size
    kept, dtype = y, _product_dtype.get()
    y = y if dtype is None else y.to(dtype)
    iterations = int(iterations)  # as a hyperparameter it is a float
    several = iterations if _fine(y) else _FEW
    most = several if columns(y) > _WIDE * rows(y) else 1
    for taken in range(0, iterations, max(1, most)):
        steps = min(most, iterations - taken)
        _multiply(_factor(_half(y, T(y)), coefficients, steps), y)
    y = y if dtype is None else kept.copy_(y)
    return T(y) if tall else y


@contextmanager
def products_in(dtype: Any) -> Iterator[None]:  # noqa: ANN401 - torch's
    """Let ``orthogonalize`` multiply tensors in a format of torch; None: in their own."""
    token = _product_dtype.set(dtype)
    try:
        yield
    finally:
        _product_dtype.reset(token)


def _fine(a: Any) -> bool:  # noqa: ANN401
    """Return whether products are rounded as those of float32 or better."""
    size = a.dtype.itemsize
    fast = size == _SINGLE and _library(a) is not np
    return size >= _SINGLE and not (
        fast and _library(a).get_float32_matmul_precision() != "highest"
    )


def _factor(s: Any, coefficients: Coefficients, steps: int) -> Any:  # noqa: ANN401
    """Return all that so many Newton-Schulz steps put before y, where s is y yᵀ; s is changed.

    What each puts there is a polynomial of s, so that they commute, and products are symmetric.
    """
    whole = factor = _half(s, s, None, coefficients)
    for step in range(1, steps):
        _half(_half(s, factor, s), factor, s)
        factor = _half(s, s, None if step == 1 else factor, coefficients)
        _half(whole, factor, whole)
    return whole


def _multiply(factor: Any, y: Any) -> None:  # noqa: ANN401
    """Put a factor before y, some columns at once, so that nothing else is as large as y."""
    for begin in range(0, columns(y), _COLUMNS):
        y[..., begin : begin + _COLUMNS] = factor @ y[..., begin : begin + _COLUMNS]


@tensorwise
def symmetric(a: Any, b: Any, weight: Any = 1.0, plus: Any = None) -> Any:  # noqa: ANN401
    """Return a @ b where that is symmetric, such as g @ T(g): large ones are computed by half.

    Args:
        a: the matrix on the left.
        b: the one on the right.
        weight: of the product, where something is added; 1 by default.
        plus: what is added, symmetric too: no sum of its own is needed. None for nothing.

    Example:
        >>> g = np.array([[1.0, 2.0], [3.0, 4.0]])
        >>> symmetric(g, T(g)).tolist()
        [[5.0, 11.0], [11.0, 25.0]]
        >>> symmetric(g, T(g), 2.0, np.eye(2)).tolist()
        [[11.0, 22.0], [22.0, 51.0]]
    """
    if plus is None:
        return _half(_checked(a), b)
    if tuple(np.shape(plus)[-2:]) != (rows(a), rows(a)):  # a state that is yet one number
        return weight * _half(_checked(a), b) + plus
    return _half(_checked(a), b, added=(weight, plus))


def _half(
    a: Any,  # noqa: ANN401
    b: Any,  # noqa: ANN401
    out: Any = None,  # noqa: ANN401
    coefficients: Coefficients | None = None,
    added: tuple[Any, Any] | None = None,
) -> Any:  # noqa: ANN401
    """Return a @ b where that is symmetric, by strips of rows up to the diagonal.

    Args:
        a: the matrix on the left.
        b: the one on the right.
        out: where it is written. That may be a itself: a strip needs no other rows of it.
        coefficients: of 1, a and a @ b: their sum is returned then.
        added: a weight of a @ b, and what is added to it.
    """
    count = rows(a)
    if count < 2 * _STRIP:
        whole = _strip(a, b, slice(0, count), coefficients, added)
        if out is not None:
            out[...] = whole
        return whole if out is None else out
    if out is None:
        shape = (*a.shape[:-1], count)
        out = np.empty(shape, a.dtype) if isinstance(a, np.ndarray) else a.new_empty(shape)
    for begin in range(0, count, _STRIP):
        end = min(begin + _STRIP, count)
        strip = _strip(a, b, slice(begin, end), coefficients, added)
        out[..., begin:end, :end] = strip
        turned = T(strip) if isinstance(a, np.ndarray) else T(strip).contiguous()  # torch is fast
        out[..., :begin, begin:end] = turned[..., :begin, :]
    return out


def _strip(
    a: Any,  # noqa: ANN401
    b: Any,  # noqa: ANN401
    part: slice,
    coefficients: Coefficients | None,
    added: tuple[Any, Any] | None,
) -> Any:  # noqa: ANN401
    """Return some rows of what ``_half`` returns, up to the diagonal."""
    begin, end = part.start, part.stop
    own, others = a[..., part, :], b[..., :end]
    if added is not None:
        weight, plus = added
        return _weighted(own, others, weight, 1.0, plus[..., part, :end])
    if coefficients is None:
        return own @ others
    first, third, fifth = coefficients
    found = _weighted(own, others, fifth, third, own[..., :end])
    places = _library(a).arange(end - begin)
    coarse = round(32 * first) / 32  # a number that bfloat16 has, and then the rest
    for piece in (coarse, first - coarse):
        found[..., places, places + begin] += piece
    return found


def _weighted(own: Any, others: Any, weight: Any, times: float, plus: Any) -> Any:  # noqa: ANN401
    """Return weight · own @ others + times · plus, rounded once where torch does so."""
    if isinstance(own, np.ndarray) or own.ndim > 2 or not isinstance(weight, float):
        found = own @ others
        found *= weight
        found += times * plus
        return found
    return _library(own).addmm(plus, own, others, beta=times, alpha=weight)
