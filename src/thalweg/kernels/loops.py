"""The compiled loop of one step over all arrays of a model."""

import numba

from thalweg.kernels.simd import (
    LANES,
    call,
    compiled_driver,
    offset,
    pointer,
    put_float32,
    put_float64,
)

__all__ = ["step_parallel", "step_serial"]


STRIDE = 0x2545F491  # between the seeds of two steps


def _step(
    update, uniforms, t, hyper, powers, state, slots,
    places, tensor, start, length, seeds, gradients, cohort, kept, wide,
):  # fmt: skip
    for c in range(t.size):
        call(
            uniforms,
            (
                t[c],
                True,
                offset(pointer(hyper), c * hyper.shape[1] * LANES),
                pointer(powers),
                offset(pointer(state), c * state.shape[1] * LANES),
                offset(pointer(slots), c * slots.shape[1] * LANES),
            ),
        )
    table = pointer(places)
    shared = pointer(slots)
    for block in numba.prange(places.shape[0]):
        gradient = gradients[tensor[block]]
        if gradient:
            places[block, 0] = gradient + start[block]
            c = cohort[tensor[block]]
            if seeds.size:
                places[block, -1] = seeds[block] + int(t[c]) * STRIDE
            row = offset(table, block * places.shape[1])
            own = offset(shared, c * slots.shape[1] * LANES)
            call(update, (row, length[block], own))
    for i in range(kept.shape[0]):
        mine = cohort[i]
        if mine >= 0:
            for j in range(kept.shape[1]):
                if kept[i, j]:
                    value = t[mine] if j == 0 else state[mine, j - 1, 0]
                    if wide[i, j]:
                        put_float64(kept[i, j], value)
                    else:
                        put_float32(kept[i, j], value)


step_serial = compiled_driver()(_step)
step_parallel = compiled_driver(parallel=True)(_step)
