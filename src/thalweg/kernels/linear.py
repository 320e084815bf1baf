"""The compiled training of linear models: whole epochs of many lanes in one call.

A block holds LANES lanes side by side, lanes innermost: parameters (d, k), state and
hyperparameters are tables of vectors. Each function below works on one block and on one stretch of
rows; the model's output is z = X w, with d features (the constant one for the intercept among them)
and k outputs.
"""

import numpy as np

from thalweg.elementwise import exp, log, maximum
from thalweg.kernels.simd import (
    LANES,
    SUBNORMALS_ARE_ZERO,
    any_not_finite,
    call,
    compiled_driver,
    float_mode,
    inlined,
    load,
    offset,
    pointer,
    set_float_mode,
    store,
)  # fmt: skip

__all__ = ["LOSSES", "evaluate_blocks", "shuffle", "train_blocks"]

LOSSES = {"squared": 0, "logistic": 1, "softmax": 2}

_ROWS = 64  # rows handled at a time: their outputs stay in the nearest cache


@inlined
def _outputs(X, base, m, d, k, w, z):
    """z[p, c] = sum_j X[p, j] w[j, c], in tiles of 4 x 2: eight sums keep the multipliers busy."""
    for p in range(0, m - 3, 4):
        a0 = base[p]
        a1 = base[p + 1]
        a2 = base[p + 2]
        a3 = base[p + 3]
        for c in range(0, k - 1, 2):
            w0 = load(w, c)
            w1 = load(w, c + 1)
            z00 = X[a0] * w0
            z01 = X[a0] * w1
            z10 = X[a1] * w0
            z11 = X[a1] * w1
            z20 = X[a2] * w0
            z21 = X[a2] * w1
            z30 = X[a3] * w0
            z31 = X[a3] * w1
            for j in range(1, d):
                w0 = load(w, j * k + c)
                w1 = load(w, j * k + c + 1)
                z00 = z00 + X[a0 + j] * w0
                z01 = z01 + X[a0 + j] * w1
                z10 = z10 + X[a1 + j] * w0
                z11 = z11 + X[a1 + j] * w1
                z20 = z20 + X[a2 + j] * w0
                z21 = z21 + X[a2 + j] * w1
                z30 = z30 + X[a3 + j] * w0
                z31 = z31 + X[a3 + j] * w1
            store(z, p * k + c, z00)
            store(z, p * k + c + 1, z01)
            store(z, (p + 1) * k + c, z10)
            store(z, (p + 1) * k + c + 1, z11)
            store(z, (p + 2) * k + c, z20)
            store(z, (p + 2) * k + c + 1, z21)
            store(z, (p + 3) * k + c, z30)
            store(z, (p + 3) * k + c + 1, z31)
        if k % 2:
            w0 = load(w, k - 1)
            z00 = X[a0] * w0
            z10 = X[a1] * w0
            z20 = X[a2] * w0
            z30 = X[a3] * w0
            for j in range(1, d):
                w0 = load(w, j * k + k - 1)
                z00 = z00 + X[a0 + j] * w0
                z10 = z10 + X[a1 + j] * w0
                z20 = z20 + X[a2 + j] * w0
                z30 = z30 + X[a3 + j] * w0
            store(z, p * k + k - 1, z00)
            store(z, (p + 1) * k + k - 1, z10)
            store(z, (p + 2) * k + k - 1, z20)
            store(z, (p + 3) * k + k - 1, z30)
    for p in range(m - m % 4, m):
        a0 = base[p]
        for c in range(k):
            z00 = X[a0] * load(w, c)
            for j in range(1, d):
                z00 = z00 + X[a0 + j] * load(w, j * k + c)
            store(z, p * k + c, z00)


@inlined
def _so_far(fresh, g, i, w, l2):
    """Return the gradient before a stretch of rows: the penalty's before the first."""
    return l2 * load(w, i) if fresh else load(g, i)


@inlined
def _add_gradient(X, base, m, d, k, r, g, fresh, w, l2, penalized):
    """g[j, c] += sum_p X[p, j] r[p, c], in the same tiles."""
    for j in range(0, d - 3, 4):
        l20 = l2 if j < penalized else l2 - l2
        l21 = l2 if j + 1 < penalized else l2 - l2
        l22 = l2 if j + 2 < penalized else l2 - l2
        l23 = l2 if j + 3 < penalized else l2 - l2
        for c in range(0, k - 1, 2):
            g00 = _so_far(fresh, g, j * k + c, w, l20)
            g01 = _so_far(fresh, g, j * k + c + 1, w, l20)
            g10 = _so_far(fresh, g, (j + 1) * k + c, w, l21)
            g11 = _so_far(fresh, g, (j + 1) * k + c + 1, w, l21)
            g20 = _so_far(fresh, g, (j + 2) * k + c, w, l22)
            g21 = _so_far(fresh, g, (j + 2) * k + c + 1, w, l22)
            g30 = _so_far(fresh, g, (j + 3) * k + c, w, l23)
            g31 = _so_far(fresh, g, (j + 3) * k + c + 1, w, l23)
            for p in range(m):
                a = base[p] + j
                r0 = load(r, p * k + c)
                r1 = load(r, p * k + c + 1)
                g00 = g00 + X[a] * r0
                g01 = g01 + X[a] * r1
                g10 = g10 + X[a + 1] * r0
                g11 = g11 + X[a + 1] * r1
                g20 = g20 + X[a + 2] * r0
                g21 = g21 + X[a + 2] * r1
                g30 = g30 + X[a + 3] * r0
                g31 = g31 + X[a + 3] * r1
            store(g, j * k + c, g00)
            store(g, j * k + c + 1, g01)
            store(g, (j + 1) * k + c, g10)
            store(g, (j + 1) * k + c + 1, g11)
            store(g, (j + 2) * k + c, g20)
            store(g, (j + 2) * k + c + 1, g21)
            store(g, (j + 3) * k + c, g30)
            store(g, (j + 3) * k + c + 1, g31)
        if k % 2:
            g00 = _so_far(fresh, g, j * k + k - 1, w, l20)
            g10 = _so_far(fresh, g, (j + 1) * k + k - 1, w, l21)
            g20 = _so_far(fresh, g, (j + 2) * k + k - 1, w, l22)
            g30 = _so_far(fresh, g, (j + 3) * k + k - 1, w, l23)
            for p in range(m):
                a = base[p] + j
                r0 = load(r, p * k + k - 1)
                g00 = g00 + X[a] * r0
                g10 = g10 + X[a + 1] * r0
                g20 = g20 + X[a + 2] * r0
                g30 = g30 + X[a + 3] * r0
            store(g, j * k + k - 1, g00)
            store(g, (j + 1) * k + k - 1, g10)
            store(g, (j + 2) * k + k - 1, g20)
            store(g, (j + 3) * k + k - 1, g30)
    for j in range(d - d % 4, d):
        l20 = l2 if j < penalized else l2 - l2
        for c in range(k):
            g00 = _so_far(fresh, g, j * k + c, w, l20)
            for p in range(m):
                g00 = g00 + X[base[p] + j] * load(r, p * k + c)
            store(g, j * k + c, g00)


@inlined
def _exponentials(z, first, k):
    """Replace one row of outputs by exp(z - max z); return max z and their sum."""
    top = load(z, first)
    for c in range(1, k):
        top = maximum(top, load(z, first + c))
    total = top - top
    for c in range(k):
        e = exp(load(z, first + c) - top)
        total = total + e
        store(z, first + c, e)
    return top, total


@inlined
def _residuals(loss, z, y, rows, m, k, scale):
    """Replace outputs by the derivative of the loss in them, times scale (1 / batch size)."""
    for p in range(m):
        target = y[rows[p]]
        if loss == 0:
            store(z, p, (load(z, p) - target) * scale)
        elif loss == 1:
            store(z, p, (1 / (1 + exp(-load(z, p))) - target) * scale)
        else:
            _, total = _exponentials(z, p * k, k)
            share = scale / total
            for c in range(k):
                store(z, p * k + c, load(z, p * k + c) * share)
            hit = p * k + int(target)
            store(z, hit, load(z, hit) - scale)


@inlined
def _losses(loss, z, y, first, m, k):
    """Return the sum of the losses of m rows from first on."""
    total = load(z, 0) - load(z, 0)
    for p in range(m):
        target = y[first + p]
        if loss == 0:
            r = load(z, p) - target
            total = total + 0.5 * r * r
        elif loss == 1:
            a = load(z, p)
            total = total + (maximum(a, 0) - target * a + log(1 + exp(-abs(a))))
        else:
            hit = load(z, p * k + int(target))
            top, sum_ = _exponentials(z, p * k, k)
            total = total + (top - hit + log(sum_))
    return total


@inlined
def _evaluate(loss, X, y, n, d, k, w, base, z, total, result):
    """Write the mean loss over n rows into result, a row of LANES numbers."""
    for lane in range(LANES):
        result[lane] = 0.0
    for first in range(0, n, _ROWS):
        m = min(_ROWS, n - first)
        for p in range(m):
            base[p] = (first + p) * d
        _outputs(X, base, m, d, k, w, z)
        store(total, 0, _losses(loss, z, y, first, m, k))
        for lane in range(LANES):
            result[lane] += total[lane]  # float64: a float32 sum over many rows loses digits
    for lane in range(LANES):
        result[lane] /= n


@inlined
def _gradient(loss, X, y, rows, batch, scale, d, k, w, g, base, z, l2, penalized):
    """Write the gradient of the mean loss over a batch, plus l2 w, into g.

    Return whether an output of the batch's first row is infinite or NaN: then so is a parameter.
    """
    broken = False
    for first in range(0, batch, _ROWS):
        m = min(_ROWS, batch - first)
        stretch = offset(rows, first)
        for p in range(m):
            base[p] = stretch[p] * d
        _outputs(X, base, m, d, k, w, z)
        if first == 0:
            for c in range(k):
                broken = broken or any_not_finite(load(z, c))
        _residuals(loss, z, y, stretch, m, k, scale)
        _add_gradient(X, base, m, d, k, z, g, first == 0, w, l2, penalized)
    return broken


@inlined
def _mark(w, size, t, diverged):
    """Note the step after which each lane's parameters became infinite or NaN."""
    alive = 0
    for lane in range(LANES):
        if diverged[lane] == 0:
            total = 0.0
            for i in range(size):
                total += w[i * LANES + lane] * 0.0
            if total == 0.0:
                alive += 1
            else:
                diverged[lane] = max(t, 1)
    return alive


@compiled_driver()
def evaluate_blocks(loss, X, y, w, first, last, result):
    """Write the mean loss of the blocks from first to last: result has shape (blocks, LANES)."""
    n, d = X.shape
    k = w.shape[2]
    z = np.empty((_ROWS * k, LANES), X.dtype)
    total = np.empty(LANES, X.dtype)
    base = np.empty(_ROWS, np.intp)
    size = d * k * LANES
    for b in range(first, last):
        _evaluate(
            loss, pointer(X), pointer(y), n, d, k, offset(pointer(w), b * size),
            pointer(base), pointer(z), pointer(total), offset(pointer(result), b * LANES),
        )  # fmt: skip


@compiled_driver()
def train_blocks(
    update, uniforms, slot_count, steady, loss, X, y, l2, penalized,
    order, bounds, t, w, state, hyper, powers, uniform_state, scheduled, schedule,
    diverged, first, last, stop,
):  # fmt: skip
    """Take the steps of order[bounds[s] : bounds[s + 1]] in each block from first to last.

    Shapes, B blocks of L = LANES lanes: w (B, d, k, L); state (B, states, d, k, L); hyper
    (B, hyperparameters, L), powers and uniform_state alike; schedule (steps, B, scheduled, L), the
    values of the hyperparameters whose numbers are in scheduled; diverged (B, L), 0 or the step;
    t: steps taken before; steady: whether the uniform values change with neither t nor a schedule.
    A block all of whose lanes have diverged is left alone. Returns at once
    when stop[0] is set.

    Subnormal numbers count as 0: state that decays for want of a gradient would pass through them,
    or stay there for ever, and processors are slow on them.
    """
    mode = float_mode()
    set_float_mode(mode | SUBNORMALS_ARE_ZERO)
    _train_blocks(
        update, uniforms, slot_count, steady, loss, X, y, l2, penalized,
        order, bounds, t, w, state, hyper, powers, uniform_state, scheduled, schedule,
        diverged, first, last, stop,
    )  # fmt: skip
    set_float_mode(mode)


@inlined
def _train_blocks(
    update, uniforms, slot_count, steady, loss, X, y, l2, penalized,
    order, bounds, t, w, state, hyper, powers, uniform_state, scheduled, schedule,
    diverged, first, last, stop,
):  # fmt: skip
    d = X.shape[1]
    k = w.shape[2]
    size = d * k * LANES
    item = w.itemsize
    g_ = np.empty((d * k, LANES), X.dtype)
    z_ = np.empty((min(_ROWS, order.size) * k, LANES), X.dtype)
    slots_ = np.empty((slot_count, LANES), X.dtype)
    base_ = np.empty(_ROWS, np.intp)
    places_ = np.empty(2 + state.shape[1], np.intp)
    g, z, slots = pointer(g_), pointer(z_), pointer(slots_)
    base, places, rows = pointer(base_), pointer(places_), pointer(order)
    Xp, yp = pointer(X), pointer(y)
    places[0] = g_.ctypes.data
    for b in range(first, last):
        here = offset(pointer(w), b * size)
        lanes = offset(pointer(diverged), b * LANES)
        hyper_b = offset(pointer(hyper), b * hyper.shape[1] * LANES)
        powers_b = offset(pointer(powers), b * powers.shape[1] * LANES)
        uniform_b = offset(pointer(uniform_state), b * uniform_state.shape[1] * LANES)
        places[1] = w.ctypes.data + b * size * item
        for i in range(state.shape[1]):
            places[2 + i] = state.ctypes.data + (b * state.shape[1] + i) * size * item
        if _mark(here, d * k, t, lanes) == 0:
            continue
        for s in range(bounds.size - 1):
            if stop[0]:
                return
            for q in range(scheduled.size):
                row = (s * w.shape[0] + b) * scheduled.size + q
                store(hyper_b, scheduled[q], load(pointer(schedule), row))
            fresh = s == 0 or scheduled.size > 0
            if fresh or not steady:
                # Ahead of the gradient, so that their divisions run while it is computed.
                call(uniforms, (float(t + s + 1), fresh, hyper_b, powers_b, uniform_b, slots))
            batch = bounds[s + 1] - bounds[s]
            stretch = offset(rows, bounds[s])
            scale = w.dtype.type(1.0 / batch)
            # The constant 1 lets the compiler drop the loops over outputs.
            broken = (
                _gradient(
                    loss, Xp, yp, stretch, batch, scale, d, 1, here, g, base, z, l2, penalized
                )
                if k == 1
                else _gradient(
                    loss, Xp, yp, stretch, batch, scale, d, k, here, g, base, z, l2, penalized
                )
            )
            if broken and _mark(here, d * k, t + s, lanes) == 0:
                break
            call(update, (places, d * k * LANES, slots))
        _mark(here, d * k, t + bounds.size - 1, lanes)


@compiled_driver()
def shuffle(order, random):
    """Write a random permutation into each row of order (Fisher and Yates, inside out).

    random holds 32-bit numbers of the same shape; an index below n is one of them times n, over
    2^32: its bias is below n / 2^32.
    """
    for e in range(order.shape[0]):
        for i in range(order.shape[1]):
            j = np.intp((np.uint64(random[e, i]) * np.uint64(i + 1)) >> np.uint64(32))
            order[e, i] = order[e, j]
            order[e, j] = i
