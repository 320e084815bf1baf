"""Sparse rows that are predicted first and learned then, compiled for each rule and loss.

``generate.py`` writes the driver: the rule's equation and the loss's are compiled into the loops
below, so that a column is read once and written once in a step. A call by address for each row
would cost as much as the step itself.
"""

import numpy as np

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
    float_mode,
    inlined,
    product,
    set_float_mode,
    spliced,
)

__all__ = ["in_batches", "learn_rows", "singly"]

_FIRST = np.int64(0)  # row; for a 0 that is written into a call Numba compiles a copy of its own
_AHEAD = 8  # rows by which memory is asked for before it is read
_NEAR = 1 << 21  # bytes of a table that near caches hold, so that nobody needs to ask for it


@inlined
def _column(indices, wide, q):
    return get_int64(indices + 8 * q) if wide else np.int64(get_int32(indices + 4 * q))


@inlined
def _fetch_entries(X, i):
    """Ask for the entries of a row that is read soon.

    How often depends on how many they are, not on where lines begin: rows are about as long as
    their neighbours, so that the processor foresees it.
    """
    data, indices, first, last = X[0], X[1], X[2][i], X[2][i + 1]
    item, index = 8 if X[3][0] else 4, 8 if X[3][1] else 4
    for q in range(first, last, LINE // 8):
        fetch(data + q * item)
        fetch(indices + q * index)
    fetch(data + last * item - 1)
    fetch(indices + last * index - 1)


@inlined
def _fetch_column(table, width, k, lanes, averaged, j):
    """Ask for a column, but for u where it is not used."""
    here, line = offset(table, j * width * lanes), LINE // 4
    for number in range(0, (2 if averaged else 1) * k * lanes, line):
        fetch(address(offset(here, number)))
    for number in range(2 * k * lanes, width * lanes, line):
        fetch(address(offset(here, number)))


@inlined
def _read(X, row, constant, xs, at, e, k, lanes, table, width, far, averaged):
    """Write the scaled entries of a row and their columns, from place e on; return the next.

    It also asks for the columns of a table that is far.
    """
    data, indices, indptr, wide, inverse, intercept = X
    for q in range(indptr[row], indptr[row + 1]):
        j = _column(indices, wide[1], q)
        x = np.float32(get_float64(data + 8 * q)) if wide[0] else get_float32(data + 4 * q)
        at[e], xs[e] = j, x * inverse[j]
        if far:
            _fetch_column(table, width, k, lanes, averaged, j)
        e += 1
    if intercept:
        at[e], xs[e] = constant, 1
        e += 1
    return e


@inlined
def _output(table, width, xs, at, first, last, k, averaged, nothing):
    """Return the output of entries first to last, and what the average's differs by, or 0."""
    total = other = load(nothing, 0)
    if averaged:
        for e in range(first, last):
            i = at[e] * width
            total = total + xs[e] * load(table, i)
            other = other + xs[e] * load(table, i + k)
    else:
        for e in range(first, last):
            total = total + xs[e] * load(table, at[e] * width)
    return total, other


@inlined
def _predict(
    table, width, k, lanes, xs, at, first, last, inverse_weight, averaged, nothing, z, mean
):
    """Write the outputs of entries first to last, and those of the average."""
    for c in range(k):
        total, other = _output(
            offset(table, c * lanes), width, xs, at, first, last, k, averaged, nothing
        )
        store(z, c, total)
        if averaged:
            store(mean, c, total - inverse_weight * other)


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
def _move(advance, values, k, g, i, table, penalties, j, so_far):
    """Let the rule move one vector of column j, and keep what the average needs of it."""
    l2, l1, strength, penalized, absolute, averaged = penalties
    before = load(table, i)
    if penalized:
        g = g + penalty(before, l2, l1, j, strength, absolute)
    x = advance(g, before, table, i, k, values)
    store(table, i, x)
    if averaged:
        store(table, i + k, load(table, i + k) + so_far * (x - before))


@inlined
def _move_row(advance, values, k, xs, at, first, last, z, table, width, penalties, so_far):
    """Step by one row, in which each entry is a column of its own."""
    for e in range(first, last):
        for c in range(k):
            g = product(load(z, c), xs[e])  # rounded for any number of lanes
            _move(advance, values, k, g, at[e] * width + c, table, penalties, at[e], so_far)


@inlined
def _move_columns(advance, values, k, g, touched, count, table, width, penalties, so_far):
    """Step by the gradient of some columns."""
    for i in range(count):
        for c in range(k):
            j = touched[i]
            _move(
                advance, values, k, load(g, i * k + c), j * width + c, table, penalties, j, so_far
            )


@inlined
def _read_rows(
    X, last, order, begin, first, end, xs, at, ends, k, lanes, table, width, far, averaged
):
    """Read some rows of a block that begins somewhere in the order, and ask for later ones."""
    for p in range(first, end):
        _fetch_entries(X, order[min(begin + p + _AHEAD, order.size - 1)])
        ends[p + 1] = _read(
            X, order[begin + p], last, xs, at, ends[p], k, lanes, table, width, far, averaged
        )


@spliced
def learn_rows(
    k, lanes, view, uniforms, taken, advance, steps, slopes, values, sizes, parameter, X, rows,
    batch, t, table, mark, slot, hyper, uniform, penalties, averaged, sums,
):  # fmt: skip
    """Learn some rows of X in an order, as many at a time as batch says; return all steps taken.

    X is in CSR form without duplicates, and is read where it lies. Shapes, of L = lanes and k
    outputs: X: the addresses of its data and indices, numbers of 64 bits where the two wide say so,
    else of 32; indptr; inverse (columns,): x is read as x inverse, 1 of the constant; whether there
    is a constant, which is added to each row as the last column. rows: their order, then y and
    weights (n,). table (columns, 2 + states, k, L): parameters, u and the state, where the average
    is w - 2 u / (t (t + 1)). mark and slot (columns,), for the function's own use, mark 0 at first.
    hyper (hyperparameters, L), uniform alike. penalties: l2 and l1 (columns,), or l1 or
    both of length 0, and strength (2, L): each lane's factors of them. u is kept up to date only if
    it is averaged. Before they are learned, the weighted losses of the rows are added to sums
    (2, L), of the parameters and of their average, or (0, L).

    The functions are ``wide`` for these lanes, those that ``generate.py`` writes for a rule, and
    ``in_batches`` with a loss's slopes, or ``singly`` with its slope; sizes: the rule's numbers of
    slots, powers and arrays, and whether it is steady.
    """
    mode = float_mode()
    set_float_mode(mode | SUBNORMALS_ARE_ZERO)
    order, y, weights = rows
    l2, l1, strength = penalties
    kind, block = table.dtype, max(ROWS // batch, 1) * batch
    numbers, ends = counted(block), np.empty(block + 1, np.int64)
    target, weight = np.empty(block, kind), np.empty(block, kind)
    outputs = np.empty((3 * block * k, lanes), kind)
    one, nothing = np.empty(lanes, kind), np.empty(lanes, kind)
    store(view(pointer(nothing)), 0, 0.0)
    ends[0] = 0
    slots, powers = np.empty((sizes[0], lanes), kind), np.empty((sizes[1], lanes))
    xs, at = np.empty(0, kind), np.empty(0, np.int32)
    g, touched = np.empty((0, lanes), kind), np.empty(0, np.int32)
    for begin in range(0, order.size, block):
        r = min(block, order.size - begin)
        total = _entries(X[2], X[5], order, begin, begin + r)
        if total > xs.size:
            xs, at = np.empty(2 * total, kind), np.empty(2 * total, np.int32)
            if batch > 1:
                g, touched = np.empty((2 * total * k, lanes), kind), np.empty(2 * total, np.int32)
        fetch_rows(X[2], y, order, begin + r, min(begin + 2 * r, order.size))
        fetch_rows(X[2], weights, order, begin + r, min(begin + 2 * r, order.size))
        for p in range(r):
            target[p], weight[p] = y[order[begin + p]], weights[order[begin + p]]
        z = view(pointer(outputs))
        kept, mean = offset(z, block * k * lanes), offset(z, 2 * block * k * lanes)
        t = steps(
            k, lanes, uniforms, taken, advance, slopes, sizes[3], parameter, r, batch, t,
            begin, (X[0], X[1], pointer(X[2]), X[3], pointer(X[4]), X[5]), X[4].size - 1, order,
            view(pointer(table)), sizes[2] * k, table.size * table.itemsize > _NEAR,
            averaged, (pointer(xs), pointer(at), pointer(ends)), (z, kept, mean, sums.size > 0),
            (pointer(target), pointer(numbers), pointer(weight)),
            (pointer(mark), pointer(slot), pointer(touched), view(pointer(g))),
            (
                view(pointer(hyper)), view(pointer(powers)), view(pointer(uniform)),
                view(pointer(slots)),
            ),
            (
                pointer(l2), pointer(l1), view(pointer(strength)), l2.size > 0, l1.size > 0,
                averaged,
            ),
            view(pointer(nothing)),
        )  # fmt: skip
        for i in range(sums.shape[0]):
            losses = values(
                parameter, mean if i else kept, pointer(target), pointer(numbers), pointer(weight),
                r, k,
            )  # fmt: skip
            store(view(pointer(one)), 0, losses)
            add_lanes(pointer(one), lanes, offset(pointer(sums), i * lanes))
    set_float_mode(mode)
    return t


@inlined
def _entries(indptr, intercept, order, first, last):
    """Return how many entries some rows have."""
    total = 0
    for p in range(first, last):
        total += indptr[order[p] + 1] - indptr[order[p]] + intercept
    return total


@inlined
def in_batches(
    k, lanes, uniforms, taken, advance, slopes, steady, parameter, r, batch, t, begin, X, constant,
    order, w, width, far, averaged, entries, outputs, rows, scratch, rule, penalties, nothing,
):  # fmt: skip
    """Take the steps of r rows that begin somewhere in the order; return all steps taken.

    The rows of the next step are read while this one's slopes are computed, which it waits for.
    """
    xs, at, ends = entries
    z, kept, mean, measured = outputs
    target, numbers, weight = rows
    mark, slot, touched, g = scratch
    hyper, powers, uniform, slots = rule
    m = min(batch, r)
    _read_rows(
        X, constant, order, begin, _FIRST, m, xs, at, ends, k, lanes, w, width, far, averaged
    )
    for first in range(0, r, batch):
        m = min(batch, r - first)
        so_far = 0.5 * t * (t + 1.0)
        inverse_weight = np.float32(1.0 / max(so_far, 1.0))
        t += 1
        for p in range(first, first + m):
            place = p * k * lanes
            _predict(
                w, width, k, lanes, xs, at, ends[p], ends[p + 1], inverse_weight, measured,
                nothing, offset(z, place), offset(mean, place),
            )  # fmt: skip
        own = offset(z, first * k * lanes)
        if measured:
            copy(z, kept, first * k, m * k)
        scale = np.float32(1.0 / m)
        slopes(parameter, own, offset(target, first), numbers, m, k, scale)
        weigh(own, numbers, offset(weight, first), m, k)
        soon = min(first + m + batch, r)
        _read_rows(
            X, constant, order, begin, first + m, soon, xs, at, ends, k, lanes, w, width, far,
            averaged,
        )  # fmt: skip
        fresh = begin + first == 0
        if fresh or not steady:
            uniforms(float(t), fresh, hyper, powers, uniform, slots)
        after = np.float32(so_far)
        if batch == 1:
            _move_row(
                advance, taken(slots), k, xs, at, ends[first], ends[first + 1], own, w, width,
                penalties, after,
            )  # fmt: skip
        else:
            count = _differentiate(
                k, xs, at, offset(ends, first), m, own, t, mark, slot, touched, g
            )
            _move_columns(advance, taken(slots), k, g, touched, count, w, width, penalties, after)
    return t


@inlined
def singly(
    k, lanes, uniforms, taken, advance, slope, steady, parameter, r, batch, t, begin, X, constant,
    order, w, width, far, averaged, entries, outputs, rows, scratch, rule, penalties, nothing,
):  # fmt: skip
    """As ``in_batches`` of one row and one output, whose slope never leaves the registers.

    A driver of its own, for both together would be compiled where one is asked for.
    """
    xs, at, ends = entries
    _, kept, mean, measured = outputs
    target, _, weight = rows
    hyper, powers, uniform, slots = rule
    _read_rows(
        X,
        constant,
        order,
        begin,
        _FIRST,
        _FIRST + 1,
        xs,
        at,
        ends,
        1,
        lanes,
        w,
        width,
        far,
        averaged,
    )
    for p in range(r):
        so_far = 0.5 * t * (t + 1.0)
        t += 1
        z, other = _output(w, width, xs, at, ends[p], ends[p + 1], 1, measured, nothing)
        if measured:
            store(kept, p, z)
            store(mean, p, z - np.float32(1.0 / max(so_far, 1.0)) * other)
        r_p = slope(z, target[p], parameter) * weight[p]
        _read_rows(
            X, constant, order, begin, p + 1, min(p + 2, r), xs, at, ends, 1, lanes, w, width, far,
            averaged,
        )  # fmt: skip
        fresh = begin + p == 0
        if fresh or not steady:
            uniforms(float(t), fresh, hyper, powers, uniform, slots)
        values, after = taken(slots), np.float32(so_far)
        for e in range(ends[p], ends[p + 1]):
            g = product(r_p, xs[e])  # rounded for any number of lanes
            _move(advance, values, 1, g, at[e] * width, w, penalties, at[e], after)
    return t
