"""The compiled loop of one step over all arrays of a model."""

import numba

from thalweg.kernels.simd import call, compiled_driver, offset, pointer

__all__ = ["step_parallel", "step_serial"]


def _step(
    update, uniforms, t, hyper, powers, state, slots,
    places, tensor, start, length, gradients,
):  # fmt: skip
    call(uniforms, (t, True, pointer(hyper), pointer(powers), pointer(state), pointer(slots)))
    table = pointer(places)
    shared = pointer(slots)
    for block in numba.prange(places.shape[0]):
        places[block, 0] = gradients[tensor[block]] + start[block]
        row = offset(table, block * places.shape[1])
        call(update, (row, length[block], shared))


step_serial = compiled_driver()(_step)
step_parallel = compiled_driver(parallel=True)(_step)
