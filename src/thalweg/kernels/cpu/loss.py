"""The losses, compiled into the drivers that train and evaluate linear models.

A loss of one output is two equations of ``thalweg.losses``, on vectors of lanes. Softmax is written
here, because its outputs depend on each other.
"""

import functools

from thalweg.elementwise import log, maximum
from thalweg.kernels.cpu.memory import load, store
from thalweg.kernels.cpu.simd import inlined
from thalweg.losses import LOSSES, exp_of_negative

__all__ = ["of", "slopes", "softmax_slopes"]


@inlined
def _exponentials(z, first, k):
    """Replace one row of outputs by exp(z - max z); return max z and their sum."""
    top = load(z, first)
    for c in range(1, k):
        top = maximum(top, load(z, first + c))
    total = top - top
    for c in range(k):
        e = exp_of_negative(load(z, first + c) - top)
        total = total + e
        store(z, first + c, e)
    return top, total


@inlined
def _softmax_slopes(a, z, y, rows, m, k, scale):
    for p in range(m):
        _, total = _exponentials(z, p * k, k)
        share = scale / total
        for c in range(k):
            store(z, p * k + c, load(z, p * k + c) * share)
        hit = p * k + int(y[rows[p]])
        store(z, hit, load(z, hit) - scale)


@inlined
def _softmax_values(a, z, y, rows, weights, m, k):
    sum_ = load(z, 0) - load(z, 0)
    for p in range(m):
        hit = load(z, p * k + int(y[rows[p]]))
        top, total = _exponentials(z, p * k, k)
        sum_ = sum_ + (top - hit + log(total)) * weights[rows[p]]
    return sum_


@functools.cache
def of(name, *, single=False):
    """Return the two functions of a loss by its name, ``slopes`` and ``values`` of it alone.

    Instead of the loss they take its own number. single: of one output its slope, not slopes.
    """
    if name == "softmax":
        return _softmax_slopes, _softmax_values
    slope, value = inlined(LOSSES[name].slope), inlined(LOSSES[name].value)

    @inlined
    def slopes(a, z, y, rows, m, k, scale):
        for p in range(m):
            store(z, p, slope(load(z, p), y[rows[p]], a) * scale)

    @inlined
    def values(a, z, y, rows, weights, m, k):
        sum_ = load(z, 0) - load(z, 0)
        for p in range(m):
            sum_ = sum_ + value(load(z, p), y[rows[p]], a) * weights[rows[p]]
        return sum_

    return slope if single else slopes, values


# ``loss`` is the number of a loss and its own number, of the type of z.
# A line that names {number} stands for one line per loss of one output. A call through a pointer in
# their place costs a step of one row a sixth.
_SLOPES = """
def slopes(loss, z, y, rows, m, k, scale):
    if loss[0] == {number}: return slopes_{number}(loss[1], z, y, rows, m, k, scale)
    return _softmax_slopes(loss[1], z, y, rows, m, k, scale)
"""


def _written(template):
    """Write the function out."""
    names, single = dict(globals()), [n for n in LOSSES if n != "softmax"]
    for loss in single:
        names[f"slopes_{LOSSES[loss].number}"], _ = of(loss)
    lines = [
        line.replace("{number}", str(LOSSES[loss].number))
        for line in template.splitlines()
        for loss in (single if "{number}" in line else single[:1])
    ]
    exec("\n".join(lines), names)  # noqa: S102 - the template above
    return inlined(names["slopes"])


slopes = _written(_SLOPES)  # replaces outputs by derivatives in them, times scale


@inlined
def softmax_slopes(loss, z, y, rows, m, k, scale):
    """As ``slopes`` of several outputs, which softmax alone has."""
    _softmax_slopes(loss[1], z, y, rows, m, k, scale)
