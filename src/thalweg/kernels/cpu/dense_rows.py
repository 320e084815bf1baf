"""Dense rows that are predicted first and learned then, compiled: LANES trainings of one model.

Parameters, their average and the rule's state are tables of vectors of lanes with a row per column
of X, the constant one for the intercept last, and k vectors per row, one for each output. X is read
where it lies, in the order of its rows that is asked for, and scaled as it is read.
"""

import numpy as np

from thalweg.kernels.cpu.memory import (
    fetch,
    get_float32,
    get_float64,
    load,
    offset,
    pointer,
    store,
    typed,
)
from thalweg.kernels.cpu.products import (
    add_gradient,
    add_gradient_of_one,
    outputs,
    outputs_of_one,
)
from thalweg.kernels.cpu.rows import (
    LINE,
    ROWS,
    add_lanes,
    copy,
    counted,
    fetch_rows,
    penalty,
    weigh,
)
from thalweg.kernels.cpu.simd import (
    SUBNORMALS_ARE_ZERO,
    call,
    compiled_driver,
    float_mode,
    inlined,
    set_float_mode,
    spliced,
)
from thalweg.kernels.cpu.vector import LANES

__all__ = ["learn_dense"]

_TILE = 8  # rows whose outputs are computed together


@inlined
def _step(passes, steady, t, fresh, uniforms, slots, arguments):
    for p in range(passes.shape[0]):
        if fresh or not steady or p > 0:
            call(passes[p, 0], (float(t), fresh, *uniforms, slots))
        call(passes[p, 1], (*arguments, slots))


@inlined
def _read_row(X, strides, wide, row, d, scales, target):
    """Write one row of X, scaled, to a row of float32."""
    centre, inverse, centre_32, inverse_32 = scales
    here = X + row * strides[0]
    if strides[1] != (8 if wide else 4):
        for j in range(d):
            value = get_float64(here) if wide else np.float64(get_float32(here))
            target[j] = (value - centre[j]) * inverse[j]
            here += strides[1]
        return
    whole = d // LANES
    if wide:
        x = typed(here, centre)
        for i in range(whole):
            store(target, i, (load(x, i) - load(centre, i)) * load(inverse, i))
        for j in range(whole * LANES, d):
            target[j] = (x[j] - centre[j]) * inverse[j]
    else:
        x = typed(here, centre_32)
        for i in range(whole):
            store(target, i, (load(x, i) - load(centre_32, i)) * load(inverse_32, i))
        for j in range(whole * LANES, d):
            target[j] = (x[j] - centre_32[j]) * inverse_32[j]


@inlined
def _fetch_dense(X, strides, order, first, last, d):
    """Ask for some rows of X."""
    step = max(strides[1], LINE)
    for p in range(first, last):
        here = X + order[p] * strides[0]
        for _ in range((d * strides[1] + step - 1) // step):
            fetch(here)
            here += step


@inlined
def _penalize(g, w, k, l2, l1, strength):
    for j in range(l2.size):
        for c in range(k):
            i = j * k + c
            store(g, i, load(g, i) + penalty(load(w, i), l2, l1, j, strength, l1.size > 0))


@inlined
def _average(w, mean, size, share):
    """Move the average towards the parameters."""
    for i in range(size):
        store(mean, i, load(mean, i) + share * (load(w, i) - load(mean, i)))


@spliced
def _measure(outputs, loss, near, z, kept, mean, rows, m, d, k, one, sums):
    """Add the losses of m rows, whose outputs are z, of the parameters and of their average."""
    target, numbers, weight = rows
    for i in range(2):
        if i == 0:
            copy(z, kept, 0, m * k)
        else:
            outputs(near, numbers, m, d, k, mean, kept)
        call(loss[1], (loss[2], kept, target, numbers, weight, m, k, one))
        add_lanes(one, LANES, offset(sums, i * LANES))


@inlined
def _read(X, strides, wide, scales, order, a, m, d, features, near):
    """Read m rows of X, scaled."""
    for p in range(m):
        _read_row(X, strides, wide, order[a + p], features, scales, offset(near, p * d))


@spliced
def _predict(outputs, X, strides, order, a, m, d, features, k, near, numbers, w, z, asks):
    """Write the outputs of m rows; ask for the rows of X that follow."""
    n = order.size
    for p in range(0, m, _TILE):  # memory is asked for while there is something to compute
        if asks:
            _fetch_dense(X, strides, order, a + m + p, min(a + m + p + _TILE, n), features)
        here = offset(near, p * d)
        outputs(here, numbers, min(_TILE, m - p), d, k, w, offset(z, p * k * LANES))


@spliced
def _descend(add_gradient, loss, near, rows, m, d, k, z, w, g, fresh, scale, none):
    """Add the gradient of m rows, whose outputs are z, to g."""
    target, numbers, weight = rows
    call(loss[0], (loss[2], z, target, numbers, m, k, scale))
    weigh(z, numbers, weight, m, k)
    add_gradient(near, numbers, m, d, k, z, g, fresh, w, none, 0)


@inlined
def _addresses(table, g, whole):
    """Return where each block's arrays lie, ``whole`` bytes each: its gradient's first."""
    blocks, arrays = table.shape[:2]
    addresses = np.empty((blocks, arrays), np.intp)
    for b in range(blocks):
        here = table.ctypes.data + b * arrays * whole
        for i in range(2, arrays):
            addresses[b, i] = here + i * whole
        addresses[b, 0], addresses[b, 1] = g.ctypes.data + b * whole, here  # no rule steps a mean
    return addresses


@inlined
def _tables(b, hyper, powers, uniform):
    """Return where the numbers of a block's rule lie."""
    return (
        offset(pointer(hyper), b * hyper.shape[1] * LANES),
        offset(pointer(powers), b * powers.shape[1] * LANES),
        offset(pointer(uniform), b * uniform.shape[1] * LANES),
    )


@compiled_driver()
def learn_dense(
    several, passes, slot_count, steady, loss, X, strides, wide, centre, inverse, intercept, order,
    y, weights, batch, t, table, hyper, powers, uniform, l2, l1, strength, averaged, sums,
):  # fmt: skip
    """Learn some rows of X in an order, as many at a time as batch says; return all steps taken.

    Shapes, of blocks of L = LANES lanes and k = several outputs, or one if it is None: X: the
    address of (n, d) numbers, which lie strides bytes apart, of 64 bits if wide; centre and inverse
    (d,): x is read as (x - centre) inverse; y and weights (n,);
    table (blocks, 2 + states, columns, k, L): parameters, their average and the state; hyper
    (blocks, hyperparameters, L), powers and uniform alike; l2 and l1 (columns,): penalties of each
    column, or l1 or both of length 0, and strength (blocks, 2, L): each lane's factors of them.
    The average is kept up to date only if averaged. loss: the addresses of its ``slopes`` and
    ``values``, and its own number.
    Before they are learned, the weighted losses of the rows are added to sums (blocks, 2, L), of
    the parameters and of their average, or (0, 2, L).
    """
    mode = float_mode()
    set_float_mode(mode | SUBNORMALS_ARE_ZERO)
    rows = (X, strides, wide, centre, inverse, intercept, order, y, weights)
    # The constant 1 lets the compiler drop the loops over outputs. Softmax alone has several.
    if several is None:
        t = _learn_dense(
            outputs_of_one, add_gradient_of_one, 1, passes, slot_count, steady,
            loss, rows, batch, t, table, hyper, powers, uniform, l2, l1, strength, averaged, sums,
        )  # fmt: skip
    else:
        t = _learn_dense(
            outputs, add_gradient, several, passes, slot_count, steady,
            loss, rows, batch, t, table, hyper, powers, uniform, l2, l1, strength, averaged, sums,
        )  # fmt: skip
    set_float_mode(mode)
    return t


@spliced
def _learn_dense(
    outputs, add_gradient, k, passes, slot_count, steady, loss, rows, batch, t,
    table, hyper, powers, uniform, l2, l1, strength, averaged, sums,
):  # fmt: skip
    X, strides, wide, centre, inverse, intercept, order, y, weights = rows
    kind, n, blocks, d = table.dtype, order.size, table.shape[0], table.shape[2]
    size, most = d * k, min(ROWS, batch)
    centre_32, inverse_32 = centre.astype(kind), inverse.astype(kind)
    near, g = np.empty((most, d), kind), np.empty((blocks * size, LANES), kind)
    z, kept = np.empty((most * k, LANES), kind), np.empty((most * k, LANES), kind)
    one, slots = np.empty(LANES, kind), np.empty((blocks * slot_count, LANES), kind)
    numbers, target, weight = counted(most), np.empty(most, kind), np.empty(most, kind)
    for p in range(most):
        near[p, d - 1] = 1  # of the intercept; else it is overwritten
    addresses = _addresses(table, g, size * LANES * table.itemsize)
    for first in range(0, n, batch):
        last = min(first + batch, n)
        for a in range(first, last, most):
            m = min(most, last - a)
            scales = (pointer(centre), pointer(inverse), pointer(centre_32), pointer(inverse_32))
            for p in range(m):
                target[p], weight[p] = y[order[a + p]], weights[order[a + p]]
            fetch_rows(y, weights, order, a + m, min(a + m + most, n))
            known = (pointer(target), pointer(numbers), pointer(weight))
            _read(X, strides, wide, scales, order, a, m, d, d - intercept, pointer(near))
            for b in range(blocks):
                w = offset(pointer(table), b * table.shape[1] * size * LANES)
                _predict(
                    outputs, X, strides, order, a, m, d, d - intercept, k, pointer(near),
                    pointer(numbers), w, pointer(z), b == 0,
                )  # fmt: skip
                if sums.shape[0]:
                    _measure(
                        outputs, loss, pointer(near), pointer(z), pointer(kept),
                        offset(w, size * LANES), known, m, d, k, pointer(one),
                        offset(pointer(sums), 2 * b * LANES),
                    )  # fmt: skip
                _descend(
                    add_gradient, loss, pointer(near), known, m, d, k, pointer(z), w,
                    offset(pointer(g), b * size * LANES), a == first,
                    kind.type(1.0 / (last - first)), kind.type(0),
                )  # fmt: skip
        t += 1
        for b in range(blocks):
            w = offset(pointer(table), b * table.shape[1] * size * LANES)
            own = offset(pointer(strength), 2 * b * LANES)
            _penalize(offset(pointer(g), b * size * LANES), w, k, l2, l1, own)
            _step(
                passes, steady, t, first == 0, _tables(b, hyper, powers, uniform),
                offset(pointer(slots), b * slot_count * LANES),
                (offset(pointer(addresses), b * addresses.shape[1]), size * LANES),
            )  # fmt: skip
            if averaged:  # by the weights 1, 2, ..., t
                _average(w, offset(w, size * LANES), size, kind.type(2.0 / (t + 1.0)))
    return t
