"""Moments of the columns of X, compiled: one reading of it, and no copy."""

import numpy as np

from thalweg.kernels.cpu.memory import (
    get_float32,
    get_float64,
    get_int32,
    get_int64,
    load,
    offset,
    pointer,
    store,
    typed,
)
from thalweg.kernels.cpu.simd import compiled_driver, inlined
from thalweg.kernels.cpu.vector import LANES

__all__ = ["dense_moments", "sparse_moments"]

_ROWS = 32  # rows whose sums are added to those in float64 together


@compiled_driver()
def sparse_moments(data, indices, indptr, wide, weights, sums):
    """Add weight x² and the weight of what is not 0 to sums (d, 2), as ``learn_sparse`` reads X."""
    for row in range(indptr.size - 1):
        weight = weights[row]
        for q in range(indptr[row], indptr[row + 1]):
            x = get_float64(data + 8 * q) if wide[0] else np.float64(get_float32(data + 4 * q))
            j = get_int64(indices + 8 * q) if wide[1] else np.int64(get_int32(indices + 4 * q))
            pointer(sums)[2 * j] += weight * x * x
            pointer(sums)[2 * j + 1] += weight if x != 0 else 0.0


@inlined
def _add_row(x, d, shift, weight, near):
    """Add weight (x - shift) and weight (x - shift)² of one row; near is (2, d)."""
    squares = offset(near, d)
    whole = d // LANES
    for i in range(whole):
        part = load(x, i) - load(shift, i)
        store(near, i, load(near, i) + weight * part)
        store(squares, i, load(squares, i) + weight * part * part)
    for j in range(whole * LANES, d):
        part = x[j] - shift[j]
        near[j] += weight * part
        squares[j] += weight * part * part


@compiled_driver()
def dense_moments(X, strides, wide, shift, weights, sums):
    """Add weight (x - shift) and weight (x - shift)² to sums (2, d), as ``learn_dense`` reads X.

    Of numbers of 32 bits, those of some rows are added in 32 bits first.
    """
    n, d = weights.size, shift.size
    shift_32, near = shift.astype(np.float32), np.zeros((2, d), np.float32)
    if strides[1] != (8 if wide else 4):  # not row by row: column by column
        for j in range(d):
            here, total, square = X + j * strides[1], 0.0, 0.0
            for i in range(n):
                x = get_float64(here) if wide else np.float64(get_float32(here))
                total += weights[i] * (x - shift[j])
                square += weights[i] * (x - shift[j]) * (x - shift[j])
                here += strides[0]
            sums[0, j], sums[1, j] = total, square
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
            for j in range(d):
                sums[0, j] += near[0, j]
                sums[1, j] += near[1, j]
            near[:] = 0
