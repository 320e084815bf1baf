"""What passes over dense and over sparse rows share: losses, penalties, and memory asked for."""

import numpy as np

from thalweg.elementwise import sign
from thalweg.kernels.cpu.memory import fetch, load, offset, pointer, store
from thalweg.kernels.cpu.simd import compiled_driver, inlined, product
from thalweg.kernels.cpu.vector import LANES

__all__ = [
    "LINE", "ROWS", "add_lanes", "copy", "counted", "fetch_rows", "finite_lanes", "penalty",
    "weigh",
]  # fmt: skip

ROWS = 64  # rows handled at a time: their outputs stay in the nearest cache
LINE = 64  # bytes that come from memory together


@inlined
def add_lanes(values, lanes, sums):
    """Add a number of each lane to sums."""
    for lane in range(lanes):
        sums[lane] += values[lane]  # float64: a float32 sum over many rows loses digits


@inlined
def counted(n):
    """Return the numbers from 0 to n - 1. It compiles sooner than NumPy's arange."""
    numbers = np.empty(n, np.int64)
    for i in range(n):
        numbers[i] = i
    return numbers


@inlined
def weigh(z, rows, weights, m, k):
    """Multiply the outputs of m rows by the rows' weights."""
    for p in range(m):
        for c in range(k):
            store(z, p * k + c, load(z, p * k + c) * weights[rows[p]])


@inlined
def copy(source, target, first, count):
    """Copy vectors from the same place of another array."""
    for i in range(first, first + count):
        store(target, i, load(source, i))


@compiled_driver()
def finite_lanes(table, strides, shape, result):
    """Write 0 for each lane whose numbers are finite, NaN for others, into result (blocks, LANES).

    The table has vectors of LANES for blocks, columns and outputs, so many vectors apart as the
    three strides say; shape: how many columns and outputs.
    """
    for b in range(result.shape[0]):
        values = offset(pointer(table), b * strides[0] * LANES)
        total = load(values, 0) - load(values, 0)
        for i in range(shape[0]):
            for c in range(shape[1]):
                total = total + load(values, i * strides[1] + c * strides[2]) * 0.0
        store(pointer(result), b, total)


@inlined
def penalty(x, l2, l1, j, strength, absolute):
    """Return the gradient of column j's penalty: of |x|, if it counts, a subgradient, 0 where x is.

    The product is rounded by itself, so that a penalty of |x| that is 0 changes no bit.
    """
    slope = product(l2[j] * load(strength, 0), x)
    return slope + l1[j] * load(strength, 1) * sign(x) if absolute else slope


@inlined
def fetch_rows(first_array, second_array, order, first, last):
    """Ask for what two arrays have of some rows."""
    for p in range(first, last):
        fetch(first_array.ctypes.data + order[p] * first_array.itemsize)
        fetch(second_array.ctypes.data + order[p] * second_array.itemsize)
