"""Rows that are predicted first and learned then, compiled: LANES trainings of one linear model.

Parameters, their average and the rule's state are tables of vectors of lanes with a row per column
of X, the constant one for the intercept last, and k vectors per row, one for each output. X is read
where it lies, in the order of its rows that is asked for, and scaled as it is read.
"""

import numpy as np

from thalweg.elementwise import sign
from thalweg.kernels.cpu.linear import add_gradient, add_gradient_of_one, outputs, outputs_of_one
from thalweg.kernels.cpu.loss import slopes, values
from thalweg.kernels.cpu.memory import (
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

__all__ = ["learn_dense", "learn_sparse"]

_ROWS = 64  # rows handled at a time: their outputs stay in the nearest cache
_AHEAD = 8  # rows by which memory is asked for before it is read
_NEAR = 1 << 18  # bytes of a table that stays in a near cache, so that nobody needs to ask for it
_TILE = 8  # rows whose outputs are computed together
_LINE = 64  # bytes that come from memory together


@inlined
def _add_losses(loss, z, y, rows, weights, m, k, one, sums):
    """Add the weighted losses of m rows to sums, a row of LANES numbers; z is lost."""
    store(one, 0, values(loss, z, y, rows, weights, m, k))
    for lane in range(LANES):
        sums[lane] += one[lane]  # float64: a float32 sum over many rows loses digits


@inlined
def _weigh(z, rows, weights, m, k):
    for p in range(m):
        for c in range(k):
            store(z, p * k + c, load(z, p * k + c) * weights[rows[p]])


@inlined
def _copy(source, target, first, count):
    for i in range(count):
        store(target, first + i, load(source, i))


@inlined
def _penalize(g, i, w, at, k, l2, l1, strength):
    """Add the gradient of a column's penalty: of |w|, a subgradient, 0 where w is."""
    square, straight = load(strength, 0), load(strength, 1)
    for c in range(k):
        v = load(w, at + c)
        store(g, i + c, load(g, i + c) + l2 * square * v + l1 * straight * sign(v))


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
def _fetch_rows(first_array, second_array, order, first, last):
    """Ask for what two arrays have of some rows."""
    for p in range(first, last):
        fetch(first_array.ctypes.data + order[p] * first_array.itemsize)
        fetch(second_array.ctypes.data + order[p] * second_array.itemsize)


@inlined
def _fetch_dense(X, strides, order, first, last, d):
    """Ask for some rows of X."""
    step = max(strides[1], _LINE)
    for p in range(first, last):
        here = X + order[p] * strides[0]
        for _ in range((d * strides[1] + step - 1) // step):
            fetch(here)
            here += step


@compiled_driver()
def learn_dense(
    several, passes, slot_count, steady, loss, X, strides, wide, centre, inverse, intercept, order,
    y, weights, batch, t, table, hyper, powers, uniform, l2, l1, strength, sums,
):  # fmt: skip
    """Learn some rows of X in an order, as many at a time as batch says; return all steps taken.

    Shapes, of L = LANES lanes and k = several outputs, or one if it is None: X: the address of
    (n, d) numbers, which lie strides bytes apart, of 64 bits if wide; centre and inverse (d,): x is
    read as (x - centre) inverse; y and weights (n,);
    table (2 + states, columns, k, L): parameters, their average and the state; hyper
    (hyperparameters, L), powers and uniform alike; l2 and l1 (columns,): penalties of each column,
    or of length 0, and strength (2, L): each lane's factors of them. Before they are learned, the
    weighted losses of the rows are added to sums (2, L), of the parameters and of their average.
    """
    mode = float_mode()
    set_float_mode(mode | SUBNORMALS_ARE_ZERO)
    rows = (X, strides, wide, centre, inverse, intercept, order, y, weights)
    # The constant 1 lets the compiler drop the loops over outputs.
    if several is None:
        t = _learn_dense(
            outputs_of_one, add_gradient_of_one, 1, passes, slot_count, steady, loss, rows, batch,
            t, table, hyper, powers, uniform, l2, l1, strength, sums,
        )  # fmt: skip
    else:
        t = _learn_dense(
            outputs, add_gradient, several, passes, slot_count, steady, loss, rows, batch,
            t, table, hyper, powers, uniform, l2, l1, strength, sums,
        )  # fmt: skip
    set_float_mode(mode)
    return t


@spliced
def _learn_dense(
    outputs, add_gradient, k, passes, slot_count, steady, loss, rows, batch, t, table, hyper,
    powers, uniform, l2, l1, strength, sums,
):  # fmt: skip
    X, strides, wide, centre, inverse, intercept, order, y, weights = rows
    kind, n, d = table.dtype, order.size, table.shape[1]
    size, most = d * k, min(_ROWS, batch)
    centre_32, inverse_32 = centre.astype(kind), inverse.astype(kind)
    near, g = np.ones((most, d), kind), np.empty((size, LANES), kind)
    z, kept = np.empty((most * k, LANES), kind), np.empty((most * k, LANES), kind)
    one, slots = np.empty(LANES, kind), np.empty((slot_count, LANES), kind)
    numbers, target, weight = np.arange(most), np.empty(most, kind), np.empty(most, kind)
    addresses = np.empty(1 + table.shape[0], np.intp)
    addresses[0], addresses[1] = g.ctypes.data, table.ctypes.data
    for i in range(2, table.shape[0]):
        addresses[i] = table.ctypes.data + i * size * LANES * table.itemsize
    for first in range(0, n, batch):
        last = min(first + batch, n)
        scale = kind.type(1.0 / (last - first))
        w, mean = pointer(table), offset(pointer(table), size * LANES)
        for a in range(first, last, most):
            m = min(most, last - a)
            scales = (pointer(centre), pointer(inverse), pointer(centre_32), pointer(inverse_32))
            for p in range(m):
                i, own = order[a + p], offset(pointer(near), p * d)
                _read_row(X, strides, wide, i, d - intercept, scales, own)
                target[p], weight[p] = y[i], weights[i]
            _fetch_rows(y, weights, order, a + m, min(a + m + most, n))
            for p in range(0, m, _TILE):  # memory is asked for while there is something to compute
                _fetch_dense(X, strides, order, a + m + p, min(a + m + p + _TILE, n), d - intercept)
                outputs(
                    offset(pointer(near), p * d), pointer(numbers), min(_TILE, m - p), d, k, w,
                    offset(pointer(z), p * k * LANES),
                )  # fmt: skip
            for i in range(sums.shape[0]):
                if i == 0:
                    _copy(pointer(z), pointer(kept), 0, m * k)
                else:
                    outputs(pointer(near), pointer(numbers), m, d, k, mean, pointer(kept))
                _add_losses(
                    loss, pointer(kept), pointer(target), pointer(numbers), pointer(weight), m, k,
                    pointer(one), offset(pointer(sums), i * LANES),
                )  # fmt: skip
            slopes(loss, pointer(z), pointer(target), pointer(numbers), m, k, scale)
            _weigh(pointer(z), pointer(numbers), pointer(weight), m, k)
            add_gradient(
                pointer(near), pointer(numbers), m, d, k, pointer(z), pointer(g), a == first, w,
                kind.type(0), 0,
            )  # fmt: skip
        for j in range(l2.size):
            _penalize(pointer(g), j * k, w, j * k, k, l2[j], l1[j], pointer(strength))
        t += 1
        _step(
            passes, steady, t, first == 0, (pointer(hyper), pointer(powers), pointer(uniform)),
            pointer(slots), (pointer(addresses), size * LANES),
        )  # fmt: skip
        share = kind.type(2.0 / (t + 1.0))  # of weights 1, 2, ..., t
        for i in range(size):
            new = load(w, i)
            store(mean, i, load(mean, i) + share * (new - load(mean, i)))
    return t


@compiled_driver()
def learn_sparse(
    several, passes, slot_count, steady, loss, data, indices, indptr, wide, inverse, intercept,
    order, y, weights, batch, t, table, mark, slot, hyper, powers, uniform, l2, l1, strength, sums,
):  # fmt: skip
    """As ``learn_dense``, of rows in CSR form without duplicates, which have the constant added.

    Shapes: data and indices: addresses, of numbers of 64 bits where the two wide say so, else 32;
    inverse (columns,): x is read as x inverse, 1 of the constant; table (columns, 2 + states, k,
    L): parameters, u and the state, where the average is w - 2 u / (t (t + 1)); mark and slot
    (columns,), numbers for the function's own use, mark 0 at first. Of a step, the passes are
    scattered kernels.
    """
    mode = float_mode()
    set_float_mode(mode | SUBNORMALS_ARE_ZERO)
    rows = (data, indices, indptr, wide, inverse, intercept, order, y, weights)
    if several is None:
        t = _learn_sparse(
            1, passes, slot_count, steady, loss, rows, batch, t, table, mark, slot, hyper, powers,
            uniform, l2, l1, strength, sums,
        )  # fmt: skip
    else:
        t = _learn_sparse(
            several, passes, slot_count, steady, loss, rows, batch, t, table, mark, slot,
            hyper, powers, uniform, l2, l1, strength, sums,
        )  # fmt: skip
    set_float_mode(mode)
    return t


@inlined
def _column(indices, wide, q):
    return get_int64(indices + 8 * q) if wide else np.int64(get_int32(indices + 4 * q))


@inlined
def _fetch_entries(rows, i):
    """Ask for the entries of a row that is read soon."""
    data, indices, indptr, wide = rows[0], rows[1], rows[2], rows[3]
    for at, item in ((data, 8 if wide[0] else 4), (indices, 8 if wide[1] else 4)):
        for here in range((at + indptr[i] * item) & -_LINE, at + indptr[i + 1] * item, _LINE):
            fetch(here)


@inlined
def _read(rows, row, constant, xs, at, e):
    """Write the scaled entries of a row and their columns, from place e on; return the next."""
    data, indices, indptr, wide, inverse, intercept = rows
    for q in range(indptr[row], indptr[row + 1]):
        j = _column(indices, wide[1], q)
        x = np.float32(get_float64(data + 8 * q)) if wide[0] else get_float32(data + 4 * q)
        at[e], xs[e] = j, x * inverse[j]
        e += 1
    if intercept:
        at[e], xs[e] = constant, 1
        e += 1
    return e


@inlined
def _predict(table, width, k, xs, at, first, last, inverse_weight, averaged, nothing, z, mean, p):
    """Write the outputs of entries first to last as row p, and those of the average."""
    for c in range(k):
        total, other = load(nothing, 0), load(nothing, 0)
        if averaged:
            for e in range(first, last):
                i = at[e] * width + c
                total = total + xs[e] * load(table, i)
                other = other + xs[e] * load(table, i + k)
            store(mean, p * k + c, total - inverse_weight * other)
        else:
            for e in range(first, last):
                total = total + xs[e] * load(table, at[e] * width + c)
        store(z, p * k + c, total)


@inlined
def _differentiate_row(k, xs, z, count, g):
    """Write the gradient of one row, in which each entry is a column of its own."""
    for e in range(count):
        for c in range(k):
            store(g, e * k + c, xs[e] * load(z, c))


@inlined
def _differentiate(k, xs, at, ends, m, z, t, mark, slot, touched, g):
    """Write the gradient of m rows in each column that they touch; return how many there are."""
    count = 0
    for p in range(m):
        for e in range(ends[p], ends[p + 1]):
            j = at[e]
            if mark[j] != t:
                mark[j], slot[j], touched[count] = t, count, j
                for c in range(k):
                    store(g, count * k + c, 0.0)
                count += 1
            for c in range(k):
                i = slot[j] * k + c
                store(g, i, load(g, i) + xs[e] * load(z, p * k + c))
    return count


@inlined
def _fetch_columns(table, width, at, first, last):
    """Ask for the columns of some entries."""
    for e in range(first, last):
        place = table + at[e] * width
        for line in range(0, width, _LINE):
            fetch(place + line)


@inlined
def _entries(indptr, intercept, order, first, last):
    """Return how many entries some rows have."""
    total = 0
    for p in range(first, last):
        total += indptr[order[p] + 1] - indptr[order[p]] + intercept
    return total


@spliced
def _learn_sparse(
    k, passes, slot_count, steady, loss, rows, batch, t, table, mark, slot, hyper, powers, uniform,
    l2, l1, strength, sums,
):  # fmt: skip
    data, indices, indptr, wide, inverse, intercept, order, y, weights = rows
    kind, n, width = table.dtype, order.size, table.shape[1] * k
    line = width * LANES * table.itemsize
    far = 1 if table.size * table.itemsize > _NEAR else 0
    block = max(_ROWS // batch, 1) * batch
    numbers, ends = np.arange(block), np.zeros(block + 1, np.int64)
    z, kept = np.empty((block * k, LANES), kind), np.empty((block * k, LANES), kind)
    mean = np.empty((block * k, LANES), kind)
    target, weight = np.empty(block, kind), np.empty(block, kind)
    one, nothing = np.empty(LANES, kind), np.zeros(LANES, kind)
    slots = np.empty((slot_count, LANES), kind)
    room, g = 0, np.empty((0, LANES), kind)
    xs, at, touched = np.empty(0, kind), np.empty(0, np.int32), np.empty(0, np.int32)
    for begin in range(0, n, block):
        r = min(block, n - begin)
        total = _entries(indptr, intercept, order, begin, begin + r)
        _fetch_rows(indptr, y, order, begin + r, min(begin + r + block, n))
        _fetch_rows(indptr, weights, order, begin + r, min(begin + r + block, n))
        if total > room:
            room = 2 * total
            xs, at = np.empty(room, kind), np.empty(room, np.int32)
            touched, g = np.empty(room, np.int32), np.empty((room * k, LANES), kind)
        there = (data, indices, pointer(indptr), wide, pointer(inverse), intercept)
        for p in range(r):
            i = order[begin + p]
            _fetch_entries(there, order[min(begin + p + _AHEAD, n - 1)])
            ends[p + 1] = _read(there, i, inverse.size - 1, pointer(xs), pointer(at), ends[p])
            target[p], weight[p] = y[i], weights[i]
        for first in range(0, r, batch):
            m = min(batch, r - first)
            so_far = 0.5 * t * (t + 1.0)
            t += 1
            own, here = offset(pointer(z), first * k * LANES), offset(pointer(ends), first)
            for p in range(first, first + m):
                soon = min(p + 2, r)
                _fetch_columns(
                    table.ctypes.data, line, pointer(at), ends[soon], ends[min(soon + far, r)]
                )
                _predict(
                    pointer(table), width, k, pointer(xs), pointer(at), ends[p], ends[p + 1],
                    kind.type(1.0 / max(so_far, 1.0)), sums.size > 0, pointer(nothing), pointer(z),
                    pointer(mean), p,
                )  # fmt: skip
            if sums.size:
                _copy(own, pointer(kept), first * k, m * k)
            slopes(
                loss, own, offset(pointer(target), first), pointer(numbers), m, k,
                kind.type(1.0 / m),
            )  # fmt: skip
            _weigh(own, pointer(numbers), offset(pointer(weight), first), m, k)
            if m == 1:
                count, met = ends[first + 1] - ends[first], offset(pointer(at), ends[first])
                _differentiate_row(k, offset(pointer(xs), ends[first]), own, count, pointer(g))
            else:
                met = pointer(touched)
                count = _differentiate(
                    k, pointer(xs), pointer(at), here, m, own, t, pointer(mark), pointer(slot),
                    met, pointer(g),
                )  # fmt: skip
            for i in range(count if l2.size else 0):
                j = met[i]
                _penalize(
                    pointer(g), i * k, pointer(table), j * width, k, l2[j], l1[j], pointer(strength)
                )
            _step(
                passes, steady, t, begin + first == 0,
                (pointer(hyper), pointer(powers), pointer(uniform)), pointer(slots),
                (pointer(table), met, count, k, pointer(g), kind.type(so_far)),
            )  # fmt: skip
        for i in range(sums.shape[0]):
            _add_losses(
                loss, pointer(mean if i else kept), pointer(target), pointer(numbers),
                pointer(weight), r, k, pointer(one), offset(pointer(sums), i * LANES),
            )  # fmt: skip
    return t
