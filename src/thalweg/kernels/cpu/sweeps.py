"""The compiled loop of one step of a rule that looks at whole tensors: pass after pass."""

import numba

from thalweg.kernels.cpu.loops import STRIDE, as_left
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

__all__ = ["sweep_parallel", "sweep_serial"]


@inlined
def _read(numbers, kept, wide, cohort):
    """Read the uniform state of each tensor."""
    for i in range(numbers.shape[0]):
        for j in range(1, kept.shape[1]):
            if cohort[i] >= 0 and kept[i, j]:
                at = kept[i, j]
                numbers[i, j - 1, :] = get_float64(at) if wide[i, j] else get_float32(at)


@inlined
def _write(t, numbers, kept, wide, cohort):
    """Write the count of steps and the uniform state of each tensor where the caller keeps them."""
    for i in range(kept.shape[0]):
        for j in range(kept.shape[1]):
            if cohort[i] >= 0 and kept[i, j]:
                value = t[cohort[i]] if j == 0 else numbers[i, j - 1, 0]
                if wide[i, j]:
                    put_float64(kept[i, j], value)
                else:
                    put_float32(kept[i, j], value)


@inlined
def _add_up(found, totals, sums, partial, first, begin, end, cohort):
    """Add up the sums of all blocks of the tensors of a group, and totals over the tensors."""
    for k in range(found.size):
        s = found[k]
        if s >= 0:
            total = 0.0
            for i in range(begin, end):
                if cohort[i] >= 0:
                    one = 0.0
                    for b in range(first[i], first[i + 1]):
                        one += partial[b - first[begin], k]
                    sums[i - begin, s, :] = one
                    total += one
            if totals[s]:
                for i in range(begin, end):
                    sums[i - begin, s, :] = total


@inlined
def _before(
    before, t, fresh, hyper, powers, numbers, sums, slots, first, sizes, arrays, begin, end, cohort
):
    """Do for each tensor of a group what comes before a pass."""
    fresh[:] = True
    for i in range(begin, end):
        c = cohort[i]
        if c >= 0:
            call(
                before,
                (
                    t[c],
                    fresh[c],
                    offset(pointer(hyper), c * hyper.shape[1] * LANES),
                    offset(pointer(powers), c * powers.shape[1] * LANES),
                    offset(pointer(numbers), i * numbers.shape[1] * LANES),
                    offset(pointer(sums), (i - begin) * sums.shape[1] * LANES),
                    offset(pointer(arrays), i * arrays.shape[1]),
                    sizes[i, 0],
                    sizes[i, 1],
                    first[i + 1] - first[i],
                    offset(pointer(slots), (i - begin) * slots.shape[1] * LANES),
                ),
            )
            fresh[c] = False


@inlined
def _apply(
    update, block, t, slots, partial, first, addresses, i, start, extents, seeds, gradients,
    begin, cohort,
):  # fmt: skip
    """Let a pass go over one block of a tensor."""
    addresses[block, 0] = gradients[i] + start[block]
    if seeds.size:
        addresses[block, -1] = seeds[block] + int(t[cohort[i]]) * STRIDE
    call(
        update,
        (
            offset(pointer(addresses), block * addresses.shape[1]),
            extents[block, 0],
            extents[block, 1],
            offset(pointer(slots), (i - begin) * slots.shape[1] * LANES),
            offset(pointer(partial), (block - first[begin]) * partial.shape[1]),
        ),
    )


def _sweep(
    passes, found, totals, t, fresh, hyper, powers, numbers, sums, slots, partial,
    groups, first, sizes, arrays, addresses, tensor, start, extents, seeds,
    gradients, cohort, kept, wide, begins, ends,
):  # fmt: skip
    if begins:
        if not as_left(t, numbers, cohort, kept[:, :1], wide):
            return False
        for c in range(t.size):
            t[c] += 1
    _read(numbers, kept, wide, cohort)
    for group in range(groups.size - 1):
        begin, end = groups[group], groups[group + 1]
        for p in range(passes.shape[0]):
            _before(
                passes[p, 0], t, fresh, hyper, powers, numbers, sums, slots, first, sizes, arrays,
                begin, end, cohort,
            )  # fmt: skip
            update = passes[p, 1]
            if update:
                for block in numba.prange(first[begin], first[end]):
                    i = tensor[block]
                    if cohort[i] >= 0:
                        _apply(
                            update, block, t, slots, partial, first, addresses, i, start, extents,
                            seeds, gradients, begin, cohort,
                        )  # fmt: skip
                _add_up(found[p], totals, sums, partial, first, begin, end, cohort)
    if ends:
        _write(t, numbers, kept, wide, cohort)
    return True


# It holds Python's lock, so that no other thread frees a gradient meanwhile.
sweep_serial = compiled_driver(nogil=False)(_sweep)
sweep_parallel = compiled_driver(parallel=True)(_sweep)
