"""The compiled training of linear models: whole epochs of many lanes in one call.

A block holds LANES lanes side by side, lanes innermost: parameters (d, k), state and
hyperparameters are tables of vectors. Each function below works on one block and on one stretch of
rows; the model's output is z = X w, with d features (the constant one for the intercept among them)
and k outputs.
"""

import numpy as np

from thalweg.kernels.cpu.loss import slopes, softmax_slopes
from thalweg.kernels.cpu.memory import load, offset, pointer, store
from thalweg.kernels.cpu.products import (
    add_gradient,
    add_gradient_of_one,
    outputs,
    outputs_of_one,
)
from thalweg.kernels.cpu.rows import counted
from thalweg.kernels.cpu.simd import (
    SUBNORMALS_ARE_ZERO,
    any_not_finite,
    call,
    compiled_driver,
    float_mode,
    inlined,
    set_float_mode,
    spliced,
)
from thalweg.kernels.cpu.vector import LANES

__all__ = [
    "evaluate_blocks", "shuffle", "shuffle_nearby", "train_blocks",
]  # fmt: skip

_ROWS = 64  # rows that are handled together: their outputs stay in the nearest cache


@spliced
def _evaluate(outputs, loss, X, y, n, d, k, w, rows, ones, z, total, result):
    """Write the mean loss over n rows into result, a row of LANES numbers."""
    for lane in range(LANES):
        result[lane] = 0.0
    for first in range(0, n, _ROWS):
        m = min(_ROWS, n - first)
        outputs(offset(X, first * d), rows, m, d, k, w, z)
        call(loss[0], (loss[1], z, offset(y, first), rows, ones, m, k, total))
        for lane in range(LANES):
            result[lane] += total[lane]  # float64: a float32 sum over many rows loses digits
    for lane in range(LANES):
        result[lane] /= n


@spliced
def _gradient(
    outputs, slopes, add_gradient,
    loss, X, y, rows, batch, scale, d, k, w, g, z, l2, penalized,
):  # fmt: skip
    """Write the gradient of the mean loss over a batch, plus l2 w, into g.

    Return whether an output of the batch's first row is infinite or NaN, because then a parameter
    is.
    """
    broken = False
    for first in range(0, batch, _ROWS):
        m = min(_ROWS, batch - first)
        stretch = offset(rows, first)
        outputs(X, stretch, m, d, k, w, z)
        if first == 0:
            for c in range(k):
                broken = broken or any_not_finite(load(z, c))
        slopes(loss, z, y, stretch, m, k, scale)
        add_gradient(X, stretch, m, d, k, z, g, first == 0, w, l2, penalized)
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
    """Write the mean loss of the blocks from first to last: result has shape (blocks, LANES).

    loss: the address of its ``values`` and its own number, of X's type.
    """
    n, d = X.shape
    k = w.shape[2]
    z = np.empty((_ROWS * k, LANES), X.dtype)
    total = np.empty(LANES, X.dtype)
    rows, ones = counted(_ROWS), np.empty(_ROWS, X.dtype)
    for p in range(_ROWS):
        ones[p] = 1
    size = d * k * LANES
    for b in range(first, last):
        own, sums = offset(pointer(w), b * size), offset(pointer(result), b * LANES)
        if k == 1:
            _evaluate(
                outputs_of_one, loss, pointer(X), pointer(y), n, d, 1, own,
                pointer(rows), pointer(ones), pointer(z), pointer(total), sums,
            )  # fmt: skip
        else:
            _evaluate(
                outputs, loss, pointer(X), pointer(y), n, d, k, own,
                pointer(rows), pointer(ones), pointer(z), pointer(total), sums,
            )  # fmt: skip


@compiled_driver()
def train_blocks(
    passes, slot_count, steady, loss, X, y, l2, penalized,
    order, bounds, t, w, state, hyper, powers, uniform_state, scheduled, schedule,
    diverged, first, last, stop,
):  # fmt: skip
    """Take the steps of order[bounds[s] : bounds[s + 1]] in each block from first to last.

    Shapes, B blocks of L = LANES lanes: w (B, d, k, L); state (B, states, d, k, L); hyper
    (B, hyperparameters, L), powers and uniform_state alike; schedule (steps, B, scheduled, L), the
    values of the hyperparameters whose numbers are in scheduled; diverged (B, L), 0 or the step;
    t: steps taken before; steady: whether the uniform values change with neither t nor a schedule;
    loss: its number and its own number, of X's type.
    A block all of whose lanes have diverged is left alone. Returns at once when stop[0] is set.

    Subnormal numbers count as 0: state that decays for want of a gradient would pass through them,
    or stay there for ever, and processors are slow on them.
    """
    mode = float_mode()
    set_float_mode(mode | SUBNORMALS_ARE_ZERO)
    _train_blocks(
        passes, slot_count, steady, loss, X, y, l2, penalized,
        order, bounds, t, w, state, hyper, powers, uniform_state, scheduled, schedule,
        diverged, first, last, stop,
    )  # fmt: skip
    set_float_mode(mode)


@spliced
def _train_blocks(
    passes, slot_count, steady, loss, X, y, l2, penalized,
    order, bounds, t, w, state, hyper, powers, uniform_state, scheduled, schedule,
    diverged, first, last, stop,
):  # fmt: skip
    k = w.shape[2]
    item = w.itemsize
    size = X.shape[1] * k * LANES
    g = np.empty((X.shape[1] * k, LANES), X.dtype)
    z = np.empty((min(_ROWS, order.size) * k, LANES), X.dtype)
    slots = np.empty((slot_count, LANES), X.dtype)
    addresses = np.empty(2 + state.shape[1], np.intp)
    for b in range(first, last):
        addresses[0] = g.ctypes.data
        addresses[1] = w.ctypes.data + b * size * item
        for i in range(state.shape[1]):
            addresses[2 + i] = state.ctypes.data + (b * state.shape[1] + i) * size * item
        _train_block(
            passes, steady, loss, X, y, l2, penalized,
            pointer(order), bounds, t, k, offset(pointer(w), b * size),
            offset(pointer(hyper), b * hyper.shape[1] * LANES),
            offset(pointer(powers), b * powers.shape[1] * LANES),
            offset(pointer(uniform_state), b * uniform_state.shape[1] * LANES),
            scheduled, pointer(schedule), b, w.shape[0], offset(pointer(diverged), b * LANES), stop,
            pointer(g), pointer(z), pointer(slots), pointer(addresses),
        )  # fmt: skip


@spliced
def _train_block(
    passes, steady, loss, X, y, l2, penalized,
    rows, bounds, t, k, w, hyper, powers, uniform_state, scheduled, schedule, b, blocks,
    diverged, stop, g, z, slots, addresses,
):  # fmt: skip
    d = X.shape[1]
    steps = bounds.size - 1
    if _mark(w, d * k, t, diverged) == 0:
        return
    for s in range(steps):
        if stop[0]:
            return
        for q in range(scheduled.size):
            value = load(schedule, (s * blocks + b) * scheduled.size + q)
            store(hyper, scheduled[q], value)
        fresh = s == 0 or scheduled.size > 0
        if fresh or not steady:
            # Before the gradient, so that their divisions run while it is computed.
            call(passes[0, 0], (float(t + s + 1), fresh, hyper, powers, uniform_state, slots))
        batch = bounds[s + 1] - bounds[s]
        stretch = offset(rows, bounds[s])
        scale = X.dtype.type(1.0 / batch)
        # The constant 1 lets the compiler drop the loops over outputs. Softmax alone has several.
        broken = (
            _gradient(
                outputs_of_one, slopes, add_gradient_of_one,
                loss, pointer(X), pointer(y), stretch, batch, scale, d, 1,
                w, g, z, l2, penalized,
            )
            if k == 1
            else _gradient(
                outputs, softmax_slopes, add_gradient,
                loss, pointer(X), pointer(y), stretch, batch, scale, d, k,
                w, g, z, l2, penalized,
            )
        )  # fmt: skip
        if broken and _mark(w, d * k, t + s, diverged) == 0:
            return
        call(passes[0, 1], (addresses, d * k * LANES, slots))
        for p in range(1, passes.shape[0]):
            call(passes[p, 0], (float(t + s + 1), fresh, hyper, powers, uniform_state, slots))
            call(passes[p, 1], (addresses, d * k * LANES, slots))
    _mark(w, d * k, t + steps, diverged)


@inlined
def _below(random, bound):
    """Return a whole number below a bound, of 32 random bits; its bias is below bound / 2^32."""
    return np.intp((np.uint64(random) * np.uint64(bound)) >> np.uint64(32))


@compiled_driver()
def shuffle(order, random):
    """Write a random permutation into each row of order (Fisher and Yates, inside out).

    random holds 32-bit numbers of the same shape.
    """
    for e in range(order.shape[0]):
        for i in range(order.shape[1]):
            j = _below(random[e, i], i + 1)
            order[e, i] = order[e, j]
            order[e, j] = i


@compiled_driver()
def shuffle_nearby(order, random, block, window):
    """Shuffle blocks of neighbours, and write their rows into order; shuffle these in each window.

    order has shape (n,); random holds as many 32-bit numbers as there are rows and blocks.
    """
    n = order.size
    blocks = np.empty((n + block - 1) // block, np.intp)
    for i in range(blocks.size):
        j = _below(random[n + i], i + 1)
        blocks[i] = blocks[j]
        blocks[j] = i
    end = 0
    for b in blocks:
        for row in range(b * block, min(b * block + block, n)):
            order[end] = row
            end += 1
    for first in range(0, n, window):
        for i in range(first, min(first + window, n)):
            j = first + _below(random[i], i - first + 1)
            order[i], order[j] = order[j], order[i]
