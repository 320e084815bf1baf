"""Rows that are predicted first and learned then, compiled: LANES trainings of one linear model.

Parameters, their average and the rule's state are tables of vectors of lanes with a row per column
of X, the constant one for the intercept last, and k vectors per row, one for each output. On sparse
data a step gathers the rows of the columns that it meets, steps them as if there were no others,
and puts them back.
"""

import numpy as np

from thalweg.elementwise import sign
from thalweg.kernels.cpu.linear import add_gradient, add_gradient_of_one, outputs, outputs_of_one
from thalweg.kernels.cpu.loss import slopes, values
from thalweg.kernels.cpu.memory import load, offset, pointer, store
from thalweg.kernels.cpu.simd import (
    SUBNORMALS_ARE_ZERO,
    call,
    compiled_driver,
    float_mode,
    inlined,
    set_float_mode,
)
from thalweg.kernels.cpu.vector import LANES

__all__ = ["learn_dense", "learn_sparse"]

_ROWS = 64  # rows handled at a time: their outputs stay in the nearest cache


@inlined
def _add_losses(loss, z, y, rows, weights, m, k, one, sums):
    """Add the weighted losses of m rows to sums, a row of LANES numbers; z is lost."""
    for p in range(m):
        store(one, 0, values(loss, offset(z, p * k * LANES), offset(y, p), rows, 1, k))
        for lane in range(LANES):
            sums[lane] += weights[p] * one[lane]  # float64


@inlined
def _weigh(z, weights, m, k):
    for p in range(m):
        for c in range(k):
            store(z, p * k + c, load(z, p * k + c) * weights[p])


@inlined
def _copy(source, first, target, count):
    for i in range(count):
        store(target, i, load(source, first + i))


@inlined
def _penalize(g, w, i, l2, l1):
    """Add the gradient of the penalty: of |w|, a subgradient, 0 where w is."""
    v = load(w, i)
    store(g, i, load(g, i) + l2 * v + l1 * sign(v))


@inlined
def _step(passes, steady, t, fresh, hyper, powers, uniform, slots, addresses, count):
    for p in range(passes.shape[0]):
        if fresh or not steady or p > 0:
            call(passes[p, 0], (float(t), fresh, hyper, powers, uniform, slots))
        call(passes[p, 1], (addresses, count, slots))


@compiled_driver()
def learn_dense(
    passes, slot_count, steady, loss, X, y, weights, batch, t, table,
    hyper, powers, uniform, l2, l1, sums,
):  # fmt: skip
    """Learn the rows of X, as many at a time as batch says; return the steps taken in all.

    Shapes, of L = LANES lanes: X (n, d); y and weights (n,); table (2 + states, d, k, L):
    parameters, their average and the state; hyper (hyperparameters, L), powers and uniform alike;
    l2 and l1 (d,): penalties of each column, or of length 0. Before they are learned, the weighted
    losses of the rows are added to sums (2, L), of the parameters and of their average.
    """
    mode = float_mode()
    set_float_mode(mode | SUBNORMALS_ARE_ZERO)
    if table.shape[2] == 1:
        t = _learn_dense(
            outputs_of_one, add_gradient_of_one, 1,
            passes, slot_count, steady, loss, X, y, weights, batch, t, table,
            hyper, powers, uniform, l2, l1, sums,
        )  # fmt: skip
    else:
        t = _learn_dense(
            outputs, add_gradient, table.shape[2],
            passes, slot_count, steady, loss, X, y, weights, batch, t, table,
            hyper, powers, uniform, l2, l1, sums,
        )  # fmt: skip
    set_float_mode(mode)
    return t


@inlined
def _learn_dense(
    outputs, add_gradient, k,
    passes, slot_count, steady, loss, X, y, weights, batch, t, table,
    hyper, powers, uniform, l2, l1, sums,
):  # fmt: skip
    n, d = X.shape
    size = d * k
    g = np.empty((size, LANES), X.dtype)
    z, kept = np.empty((_ROWS * k, LANES), X.dtype), np.empty((_ROWS * k, LANES), X.dtype)
    one = np.empty(LANES, X.dtype)
    slots = np.empty((slot_count, LANES), X.dtype)
    rows = np.arange(_ROWS)
    addresses = np.empty(1 + table.shape[0], np.intp)
    addresses[0], addresses[1] = g.ctypes.data, table.ctypes.data
    for i in range(2, table.shape[0]):
        addresses[i] = table.ctypes.data + i * size * LANES * table.itemsize
    none = X.dtype.type(0)
    for first in range(0, n, batch):
        last = min(first + batch, n)
        scale = X.dtype.type(1.0 / (last - first))
        w, mean = pointer(table), offset(pointer(table), size * LANES)
        for a in range(first, last, _ROWS):
            m = min(_ROWS, last - a)
            data, target = offset(pointer(X), a * d), offset(pointer(y), a)
            weight = offset(pointer(weights), a)
            outputs(data, pointer(rows), m, d, k, w, pointer(z))
            if sums.size:
                _copy(pointer(z), 0, pointer(kept), m * k)
                _add_losses(
                    loss, pointer(kept), target, pointer(rows), weight, m, k, pointer(one),
                    pointer(sums),
                )  # fmt: skip
                outputs(data, pointer(rows), m, d, k, mean, pointer(kept))
                _add_losses(
                    loss, pointer(kept), target, pointer(rows), weight, m, k, pointer(one),
                    offset(pointer(sums), LANES),
                )  # fmt: skip
            slopes(loss, pointer(z), target, pointer(rows), m, k, scale)
            _weigh(pointer(z), weight, m, k)
            add_gradient(
                data, pointer(rows), m, d, k, pointer(z), pointer(g), a == first, w, none, 0
            )
        if l2.size:
            for j in range(d):
                for c in range(k):
                    _penalize(pointer(g), w, j * k + c, l2[j], l1[j])
        t += 1
        _step(
            passes, steady, t, first == 0, pointer(hyper), pointer(powers), pointer(uniform),
            pointer(slots), pointer(addresses), size * LANES,
        )  # fmt: skip
        share = X.dtype.type(2.0 / (t + 1.0))  # of weights 1, 2, ..., t
        for i in range(size):
            new = load(w, i)
            store(mean, i, load(mean, i) + share * (new - load(mean, i)))
    return t


@compiled_driver()
def learn_sparse(
    passes, slot_count, steady, loss, data, indices, indptr, intercept, y, weights, batch, t, table,
    mark, slot, hyper, powers, uniform, l2, l1, sums,
):  # fmt: skip
    """As ``learn_dense``, of rows in CSR form without duplicates, which have the constant added.

    Shapes: table (d, 2 + states, k, L): parameters, u and the state, where the average is
    w - 2 u / (t (t + 1)); mark and slot (d,), numbers for the function's own use, mark 0 at first.
    """
    mode = float_mode()
    set_float_mode(mode | SUBNORMALS_ARE_ZERO)
    rows = (data, indices, indptr, intercept, table.shape[0] - 1)
    # The constant 1 lets the compiler drop the loops over outputs.
    if table.shape[2] == 1:
        t = _learn_sparse(
            1, passes, slot_count, steady, loss, rows, y, weights, batch, t, table, mark, slot,
            hyper, powers, uniform, l2, l1, sums,
        )  # fmt: skip
    else:
        t = _learn_sparse(
            table.shape[2], passes, slot_count, steady, loss, rows, y, weights, batch, t, table,
            mark, slot, hyper, powers, uniform, l2, l1, sums,
        )  # fmt: skip
    set_float_mode(mode)
    return t


@inlined
def _entry(rows, p, q):
    """Return column and value of entry q of row p; the constant comes after the row's own."""
    data, indices, indptr, _, constant = rows
    if q < indptr[p + 1]:
        return indices[q], data[q]
    return constant, data.dtype.type(1)


@inlined
def _gather(rows, first, last, t, table, arrays, k, size, mark, slot, touched, near):
    """Copy what belongs to the columns of some rows to one place; return how many there are.

    Of a single row slot is not needed: entry i is column i there.
    """
    indptr, intercept = rows[2], rows[3]
    count = 0
    for p in range(first, last):
        for q in range(indptr[p], indptr[p + 1] + intercept):
            j, _ = _entry(rows, p, q)
            if last == first + 1 or mark[j] != t:
                mark[j], slot[j], touched[count] = t, count, j
                for a in range(arrays):
                    for c in range(k):
                        part = load(table, (j * arrays + a) * k + c)
                        store(near, a * size + count * k + c, part)
                count += 1
    return count


@inlined
def _place(rows, p, q, single, slot):
    """Return where entry q of row p was gathered to."""
    return q - rows[2][p] if single else slot[_entry(rows, p, q)[0]]


@inlined
def _predict(rows, first, last, k, size, slot, near, nothing, inverse, averaged, z, mean):
    """Write the outputs of some rows, and those of the average if it is measured."""
    indptr, intercept = rows[2], rows[3]
    for p in range(first, last):
        for c in range(k):
            total, other = load(nothing, 0), load(nothing, 0)
            for q in range(indptr[p], indptr[p + 1] + intercept):
                i = _place(rows, p, q, last == first + 1, slot) * k + c
                x, w = _entry(rows, p, q)[1], load(near, i)
                total = total + x * w
                if averaged:
                    other = other + x * (w - inverse * load(near, size + i))
            store(z, (p - first) * k + c, total)
            store(mean, (p - first) * k + c, other)


@inlined
def _differentiate(rows, first, last, k, count, slot, z, g):
    """Write the gradient of the gathered columns."""
    indptr, intercept = rows[2], rows[3]
    single = last == first + 1
    if not single:
        for i in range(count * k):
            store(g, i, 0.0)
    for p in range(first, last):
        for q in range(indptr[p], indptr[p + 1] + intercept):
            i, x = _place(rows, p, q, single, slot), _entry(rows, p, q)[1]
            for c in range(k):
                part = x * load(z, (p - first) * k + c)
                store(g, i * k + c, part if single else part + load(g, i * k + c))


@inlined
def _put_back(count, touched, table, arrays, k, size, near, so_far):
    """Write the gathered columns back, and add to u what they moved."""
    for i in range(count):
        j = touched[i]
        for c in range(k):
            at = j * arrays * k + c
            old, new = load(table, at), load(near, i * k + c)
            store(table, at, new)
            store(table, at + k, load(near, size + i * k + c) + so_far * (new - old))
            for a in range(2, arrays):
                store(table, at + a * k, load(near, a * size + i * k + c))


@inlined
def _learn_sparse(
    k, passes, slot_count, steady, loss, rows, y, weights, batch, t, table, mark, slot,
    hyper, powers, uniform, l2, l1, sums,
):  # fmt: skip
    indptr, arrays, kind = rows[2], table.shape[1], table.dtype
    n, most = indptr.size - 1, 0
    for first in range(0, n, batch):
        most = max(most, indptr[min(first + batch, n)] - indptr[first] + 1)
    size = most * k
    near, g = np.empty((arrays * size, LANES), kind), np.empty((size, LANES), kind)
    z, kept = np.empty((batch * k, LANES), kind), np.empty((batch * k, LANES), kind)
    one, nothing = np.empty(LANES, kind), np.zeros(LANES, kind)
    slots, touched = np.empty((slot_count, LANES), kind), np.empty(most, np.intp)
    zero = np.zeros(1, np.intp)
    addresses = np.empty(1 + arrays, np.intp)
    addresses[0], addresses[1] = g.ctypes.data, near.ctypes.data
    for i in range(2, arrays):
        addresses[i] = near.ctypes.data + i * size * LANES * near.itemsize
    for first in range(0, n, batch):
        last = min(first + batch, n)
        m = last - first
        done = 0.5 * t * (t + 1.0)
        t += 1
        count = _gather(
            rows,
            first,
            last,
            t,
            pointer(table),
            arrays,
            k,
            size,
            mark,
            slot,
            touched,
            pointer(near),
        )
        _predict(
            rows, first, last, k, size, slot, pointer(near), pointer(nothing),
            kind.type(1.0 / max(done, 1.0)), sums.size > 0, pointer(z), pointer(kept),
        )  # fmt: skip
        target, weight = offset(pointer(y), first), offset(pointer(weights), first)
        if sums.size:
            _add_losses(
                loss, pointer(kept), target, pointer(zero), weight, m, k, pointer(one),
                offset(pointer(sums), LANES),
            )  # fmt: skip
            _copy(pointer(z), 0, pointer(kept), m * k)
            _add_losses(
                loss, pointer(kept), target, pointer(zero), weight, m, k, pointer(one),
                pointer(sums),
            )  # fmt: skip
        for p in range(m):
            at = offset(pointer(z), p * k * LANES)
            slopes(loss, at, offset(target, p), pointer(zero), 1, k, kind.type(1.0 / m))
        _weigh(pointer(z), weight, m, k)
        _differentiate(rows, first, last, k, count, slot, pointer(z), pointer(g))
        if l2.size:
            for i in range(count):
                j = touched[i]
                for c in range(k):
                    _penalize(pointer(g), pointer(near), i * k + c, l2[j], l1[j])
        _step(
            passes, steady, t, first == 0, pointer(hyper), pointer(powers), pointer(uniform),
            pointer(slots), pointer(addresses), count * k * LANES,
        )  # fmt: skip
        _put_back(count, touched, pointer(table), arrays, k, size, pointer(near), kind.type(done))
    return t
