"""Steps: how many of them a descent on a quadratic needs to reach an accuracy and stay there."""

import math
import sys
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import block_diag

from thalweg import rules
from thalweg.checks import Range, number
from thalweg.rule import Rule
from thalweg.theory.linearization import positive
from thalweg.theory.rates import converging

__all__ = ["steps_to"]

Array = NDArray[np.float64]
Values = Any  # a number or an array of them

_LEAST = sys.float_info.min  # its root replaces the distance of two equal roots
_MOST_WALKED = 2**22  # steps to halve an error, followed one by one: some seconds
_MOST_TOPS = 2**18  # half waves that are looked at together


def steps_to(rule: Rule | str, spectrum: ArrayLike, accuracy: float, **hyper: float) -> int:
    """Return after how many steps every eigen-coordinate is within an accuracy and stays there.

    The least k with |x_i(j)| <= accuracy · |x_i(0)| for every j >= k and every eigenvalue λ_i,
    where x_i(j) = eᵀ M(λ_i)ʲ e · x_i(0): the states start at zero. The first steps matter: there
    momentum may be far above its rate, so the answer is not log(accuracy) / log(rate). For an
    adaptive rule the preconditioner is held constant and bias corrections are gone.

    With one state or none, x_i(j) is known in closed form, and the count is exact up to the
    rounding of the hyperparameters. Where two eigenvalues of M meet, as at ``best``, their last
    digit changes it by a share of about 10⁻⁸ √κ. With more states the steps are followed one by
    one.

    Args:
        rule: a Rule, or the name of one.
        spectrum: the Hessian's eigenvalues, each > 0: (d,), or one number.
        accuracy: in (0, 1): the share of the first error that is left.
        hyper: the rule's hyperparameters; its defaults for the rest.

    Raises:
        ValueError: a value is out of range, the rule is not linear, it does not converge, or it has
            more than one state and takes too many steps to follow.
        TypeError: the rule has no such hyperparameter.

    Example:
        >>> steps_to("sgd", [0.2, 4.0], 1e-6, lr=0.4)  # 0.92^166 < 1e-6 < 0.92^165
        166
    """
    rule, eigenvalues = rules.get(rule), np.unique(positive("spectrum", spectrum))
    accuracy = number("accuracy", accuracy, Range(0.0, 1.0))
    map_ = converging(rule, eigenvalues, rule.resolve(hyper))
    if len(map_.states) > 2:
        return 1 + max(_last_walked(rule, each, accuracy) for each in map_.matrix(eigenvalues))
    # M − I holds the digits of ηλ that 1 − ηλ rounds away.
    changes = replace(map_, A=map_.A - np.eye(len(map_.states))).matrix(eigenvalues)
    level = accuracy * (1 + 1e-13)  # rounding must not decide a tie, such as 0.5²⁰ and 0.5²⁰
    return 1 + max(_last_above(change, level) for change in changes)


def _last_above(change: Array, level: float) -> int:
    """Return the last step k at which |eᵀ (I + change)ᵏ e| > level, for a matrix (2, 2) or (1, 1).

    With the eigenvalues c ± r of M it is ((c + r)ᵏ + (c − r)ᵏ)/2 + h ((c + r)ᵏ − (c − r)ᵏ)/2, where
    h = (M_xx − c)/r. Where they meet, a tiny r instead of 0 gives the limit to the last digit.
    """
    if len(change) == 1:
        change = block_diag(-1.0, change)  # a state that is always 0
    if np.trace(change) < -2:
        change = -2 * np.eye(2) - change  # of −M, whose powers have the same size
    (a, b), (c, d) = change.tolist()
    mean, square, determinant = (a + d) / 2, ((d - a) / 2) ** 2 + b * c, a * d - b * c
    root = math.sqrt(max(abs(square), _LEAST))
    h = (d - a) / 2 / root
    if square < 0:
        small = 2 * mean + determinant  # |c ± r|² − 1
        decay = math.log1p(small) / 2 if small > -0.5 else math.log(math.hypot(1 + mean, root))
        return _last_of_waves(_slowest(decay), math.atan2(root, 1 + mean), h, level)
    small = determinant / (mean - root)  # c + r − 1, without a difference of like numbers
    larger = 1 + small if small > -0.5 else 1 + mean + root
    decay = _slowest(math.log1p(small) if small > -0.5 else math.log(larger))
    gap = 2 * root / larger  # 1 minus the ratio of the eigenvalues, which may be negative
    less = math.log1p(-gap) if gap < 0.5 else math.log(max(abs(1 - gap), _LEAST))
    if gap <= 1:
        return _last_of_powers(decay, less, (1.0, (h - 1) / 2), (0, 1), level)
    even = _last_of_powers(decay, less, (1.0, (h - 1) / 2), (0, 2), level)
    return max(even, _last_of_powers(decay, less, (h, (1 - h) / 2), (1, 2), level))


def _slowest(decay: float) -> float:
    """Return the logarithm of a rate, as far from 0 as ``converging`` requires."""
    return min(decay, -1e-13)


def _last_of_waves(decay: float, turn: float, h: float, level: float) -> int:
    """Return the last k at which |e^(decay·k) (cos(turn·k) + h sin(turn·k))| > level."""

    def size(k: Values) -> Values:
        return np.abs(np.exp(decay * k) * (np.cos(turn * k) + h * np.sin(turn * k)))

    first = math.atan2(decay + turn * h, turn - decay * h) / turn  # where a wave is highest
    outside = (math.log(level / math.hypot(1, h)) / decay - first) * turn / math.pi
    last, many, found = math.ceil(outside), 64, -1
    while found < 0:  # at step 0 the size is 1
        tops = first + math.pi / turn * np.arange(last - many, last + 1)
        found = _last_from(tops, size, level)
        last, many = last - many, min(2 * many, _MOST_TOPS)
    return found


def _last_of_powers(
    decay: float, less: float, factors: tuple[float, float], steps: tuple[int, int], level: float
) -> int:
    """Return the last k at which |e^(decay·k) (start + part (1 − e^(less·k)))| > level.

    ``factors`` are start and part; ``steps`` the first k and how far it is from each to the next.
    """
    (start, part), (least, stride) = factors, steps

    def size(i: Values) -> Values:
        k = least + stride * i
        return np.abs(np.exp(decay * k) * (start - part * np.expm1(less * k)))

    top = 0.0
    if part and less:  # the derivative may be 0 once
        at_top = (decay * start - less * part) / ((decay + less) * part)  # e^(less·k) − 1
        top = math.log1p(at_top) / less if -1 < at_top < 0 else 0.0
    return least + stride * _last_from(np.array([0.0, (top - least) / stride]), size, level)


def _last_from(tops: Values, size: Callable[[Values], Values], level: float) -> int:
    """Return the last integer >= 0 at which a size is above a level; −1 if there is none.

    Between two zeros the size has one top and falls on both sides of it. The integers beside the
    top tell whether the size is above the level there at all.
    """
    beside = np.maximum(np.floor(tops)[:, None] + [0.0, 1.0], 0.0)
    above = beside[size(beside) > level]
    if not above.size:
        return -1
    last, reach = int(above.max()), 1
    while size(last + reach) > level:
        reach *= 2
    return last + bisect_left(range(1, reach), -level, key=lambda k: -float(size(last + k)))


def _last_walked(rule: Rule, matrix: Array, accuracy: float) -> int:
    """Return the last step k at which |eᵀ Mᵏ e| > accuracy, for a matrix of any size.

    ‖Mʳ‖ <= 1/2 for some r. Once the rows eᵀ Mᵏ have been small for r steps, they remain small.
    """
    power, r = matrix, 1
    while np.linalg.norm(power, 2) > 0.5:
        power, r = power @ power, 2 * r
        if r > _MOST_WALKED:
            raise ValueError(
                f"rule {rule.name!r} takes more than {_MOST_WALKED:,} steps to halve an error, and "
                "with more than one state they are counted one by one; log(accuracy) / log(rate) "
                "is near"
            )
    rows, power = np.eye(len(matrix))[-1:], matrix
    while len(rows) < 4096:
        rows, power = np.vstack([rows, rows @ power]), power @ power
    k = last = last_row = 0
    while k <= last_row + r:
        x = np.flatnonzero(np.abs(rows[:, -1]) > accuracy)
        row = np.flatnonzero(np.linalg.norm(rows, axis=1) > accuracy)
        last = k + int(x[-1]) if x.size else last
        last_row = k + int(row[-1]) if row.size else last_row
        rows, k = rows @ power, k + len(rows)
    return last
