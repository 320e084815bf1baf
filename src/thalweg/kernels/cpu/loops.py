"""The compiled loop of one step over all arrays of a model."""

import numba
import numpy as np

from thalweg.kernels.cpu.memory import (
    get_float32,
    get_float64,
    offset,
    pointer,
    put_float32,
    put_float64,
)
from thalweg.kernels.cpu.simd import call, compiled_driver, inlined
from thalweg.kernels.cpu.vector import LANES

__all__ = ["STRIDE", "as_left", "read_scalars", "step_parallel", "step_serial"]


STRIDE = 0x2545F491  # between the seeds of two steps


@inlined
def _is(address, wide, value):
    """Return whether that value is there, as float64 or float32; NaN equals NaN."""
    if value != value:  # noqa: PLR0124 - so is NaN alone
        found = get_float64(address) if wide else float(get_float32(address))
        return found != found  # noqa: PLR0124
    return get_float64(address) == value if wide else get_float32(address) == np.float32(value)


@inlined
def as_left(t, state, cohort, kept, wide):
    """Return whether each array's count and uniform state are what the last step left."""
    for i in range(kept.shape[0]):
        c = cohort[i]
        for j in range(kept.shape[1]):
            if c >= 0 and kept[i, j]:
                value = t[c] if j == 0 else state[c, j - 1, 0]
                if not _is(kept[i, j], wide[i, j], value):
                    return False
    return True


@inlined
def _leave(t, state, cohort, kept, wide):
    """Write each array's count and uniform state where the caller keeps them."""
    for i in range(kept.shape[0]):
        c = cohort[i]
        for j in range(kept.shape[1]):
            if c >= 0 and kept[i, j]:
                value = t[c] if j == 0 else state[c, j - 1, 0]
                if wide[i, j]:
                    put_float64(kept[i, j], value)
                else:
                    put_float32(kept[i, j], value)
                    if j > 0:  # a training that continues from kept values must not differ
                        state[c, j - 1, :] = np.float32(value)


@compiled_driver()
def read_scalars(addresses, wide, values):
    """Read the numbers at all addresses that are not 0."""
    for i in range(addresses.shape[0]):
        for j in range(addresses.shape[1]):
            if addresses[i, j]:
                here = addresses[i, j]
                values[i, j] = get_float64(here) if wide[i, j] else get_float32(here)


def _step(
    passes, t, hyper, powers, state, slots,
    addresses, tensor, start, length, seeds, gradients, cohort, kept, wide,
):  # fmt: skip
    if not as_left(t, state, cohort, kept, wide):
        return False
    for c in range(t.size):
        t[c] += 1
    table = pointer(addresses)
    shared = pointer(slots)
    for p in range(passes.shape[0]):
        for c in range(t.size):
            call(
                passes[p, 0],
                (
                    t[c],
                    True,
                    offset(pointer(hyper), c * hyper.shape[1] * LANES),
                    pointer(powers),
                    offset(pointer(state), c * state.shape[1] * LANES),
                    offset(shared, c * slots.shape[1] * LANES),
                ),
            )
        update = passes[p, 1]
        for block in numba.prange(addresses.shape[0]):
            gradient = gradients[tensor[block]]
            if gradient:
                addresses[block, 0] = gradient + start[block]
                c = cohort[tensor[block]]
                if seeds.size:
                    addresses[block, -1] = seeds[block] + int(t[c]) * STRIDE
                row = offset(table, block * addresses.shape[1])
                own = offset(shared, c * slots.shape[1] * LANES)
                call(update, (row, length[block], own))
    _leave(t, state, cohort, kept, wide)
    return True


# It holds Python's lock, so that no other thread frees a gradient meanwhile.
step_serial = compiled_driver(nogil=False)(_step)
step_parallel = compiled_driver(parallel=True)(_step)
