"""Moments of the columns of X, compiled: one reading of it, and no copy."""

import numpy as np

from thalweg.elementwise import where
from thalweg.kernels.cpu.memory import (
    address,
    fetch,
    get_float32,
    get_float64,
    get_int32,
    get_int64,
    load,
    offset,
    pointer,
    store,
    typed,
    wide,
)
from thalweg.kernels.cpu.simd import compiled_driver, inlined
from thalweg.kernels.cpu.vector import LANES, packed

__all__ = ["dense_moments", "sparse_moments", "sparse_products"]

_NEAR = 1 << 20  # bytes of sums that near caches hold
_AHEAD = 32  # entries by which memory is asked for before it is used
_ROWS = 32  # rows whose sums are added to those in float64 together


_view = wide(4)


@inlined
def _column(indices, large, q):
    return get_int64(indices + 8 * q) if large else np.int64(get_int32(indices + 4 * q))


@compiled_driver()
def sparse_moments(data, indices, indptr, large, weights, sums):
    """Add weight x², the weight of what is not 0, and weight x to the first of sums (d, 4).

    X is read as ``learn_rows`` does. The numbers of a column are read and written together.
    """
    into, last = _view(pointer(sums)), indptr[indptr.size - 1] - 1
    far = sums.size * sums.itemsize > _NEAR
    for row in range(indptr.size - 1):
        weight = weights[row]
        for q in range(indptr[row], indptr[row + 1]):
            x = get_float64(data + 8 * q) if large[0] else np.float64(get_float32(data + 4 * q))
            j = _column(indices, large[1], q)
            if far:
                soon = _column(indices, large[1], min(q + _AHEAD, last))
                fetch(address(offset(pointer(sums), 4 * soon)))
            own = packed((x * x, 1.0 if x != 0 else 0.0, x, 0.0))
            store(into, j, load(into, j) + weight * own)


@compiled_driver()
def sparse_products(data, indices, indptr, wide, weights, sums):
    """Add weight x xᵀ to sums (d, d), of which the upper triangle alone is written.

    X is read as ``learn_rows`` does; the columns of each row rise.
    """
    into, d = pointer(sums), sums.shape[1]
    most = (indptr[1:] - indptr[:-1]).max()
    values, columns = np.empty(most, np.float64), np.empty(most, np.int64)
    for row in range(indptr.size - 1):
        first, count = indptr[row], indptr[row + 1] - indptr[row]
        for i in range(count):
            q = first + i
            values[i] = get_float64(data + 8 * q) if wide[0] else get_float32(data + 4 * q)
            columns[i] = get_int64(indices + 8 * q) if wide[1] else get_int32(indices + 4 * q)
        for i in range(count):
            x, line = weights[row] * values[i], offset(into, d * columns[i])
            for j in range(i, count):
                line[columns[j]] += x * values[j]


@inlined
def _add_row(x, d, shift, weight, near):
    """Add weight (x - shift), weight (x - shift)² and the weight of x != 0 of one row to (3, d)."""
    squares, shares = offset(near, d), offset(near, 2 * d)
    whole = d // LANES
    for i in range(whole):
        value, share = load(x, i), load(shares, i)
        part = value - load(shift, i)
        store(near, i, load(near, i) + weight * part)
        store(squares, i, load(squares, i) + weight * part * part)
        store(shares, i, where(value == 0, share, share + weight))
    for j in range(whole * LANES, d):
        part = x[j] - shift[j]
        near[j] += weight * part
        squares[j] += weight * part * part
        shares[j] += weight if x[j] != 0 else 0.0


@inlined
def _empty(near, sums, count):
    """Add numbers to sums, and leave 0 in their place."""
    for i in range(count):
        sums[i] += near[i]
        near[i] = 0


@compiled_driver()
def dense_moments(X, strides, wide, shift, weights, sums):
    """Add weight (x - shift), weight (x - shift)² and the weight of x != 0 to sums (3, d).

    X is read as ``learn_dense`` does. Of numbers of 32 bits, those of some rows are added in 32
    bits first.
    """
    n, d = weights.size, shift.size
    shift_32, near = shift.astype(np.float32), np.zeros((3, d), np.float32)
    if strides[1] != (8 if wide else 4):  # not row by row: column by column
        for j in range(d):
            here, total, square, share = X + j * strides[1], 0.0, 0.0, 0.0
            for i in range(n):
                x = get_float64(here) if wide else np.float64(get_float32(here))
                total += weights[i] * (x - shift[j])
                square += weights[i] * (x - shift[j]) * (x - shift[j])
                share += weights[i] if x != 0 else 0.0
                here += strides[0]
            sums[0, j], sums[1, j], sums[2, j] = total, square, share
        return
    for first in range(0, n, _ROWS):
        for i in range(first, min(first + _ROWS, n)):
            here = X + i * strides[0]
            if wide:
                _add_row(typed(here, pointer(shift)), d, pointer(shift), weights[i], pointer(sums))
            else:
                _add_row(
                    typed(here, pointer(shift_32)), d, pointer(shift_32), np.float32(weights[i]),
                    pointer(near),
                )  # fmt: skip
        if not wide:
            _empty(pointer(near), pointer(sums), 3 * d)
