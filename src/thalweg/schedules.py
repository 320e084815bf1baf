"""Schedules: the value of a hyperparameter at each step.

A schedule is any callable ``step -> value``. ``step`` (in the formulas: t) is the number of steps
already taken: 0 for the first step, so step t of a rule, counted from 1, uses ``schedule(t - 1)``.
The schedules of this module also take an array of steps at once, and compare by value. They refuse
an argument out of its range with a ValueError or TypeError that names argument, bound and value.
Any hyperparameter may be
scheduled, not only the rate; beyond its last step a schedule keeps its last value.
"""
# ruff: noqa: N801 - schedules are called like functions, as rules are

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from thalweg.checks import Range, count, number

__all__ = [
    "Schedule", "constant", "cosine", "exponential", "inverse_sqrt", "inverse_time", "linear",
    "one_cycle", "piecewise_constant", "polynomial", "step", "values", "warm_restarts", "warmup",
    "warmup_stable_decay",
]  # fmt: skip

Steps = NDArray[np.int64]
Values = NDArray[np.float64]
Hyper = float | Callable[[int], float]
"""What a hyperparameter is given as: a number, or a schedule."""

# An argument's name means the same in every schedule, so its range is declared once.
_FINITE = Range()
_NUMBERS = {
    "value": _FINITE,
    "initial": _FINITE,
    "final": _FINITE,
    "peak": _FINITE,
    "decay": Range(0.0, ends="[)"),
    "power": Range(0.0, ends="[)"),
    "factor": Range(0.0),
    "rise": Range(0.0, 1.0, "[)"),
    "initial_divisor": Range(1.0, ends="[)"),
    "final_divisor": Range(1.0, ends="[)"),
}
_COUNTS = {
    "steps": 1,
    "every": 1,
    "period": 1,
    "growth": 1,
    "warmup_steps": 0,
    "stable_steps": 0,
    "decay_steps": 1,
}


class Schedule(ABC):
    """A schedule of this module: its arguments are checked, and it takes one step or an array.

    Call it with ``step``: an integer >= 0 (it returns a float), or an array of them (it returns a
    float64 array of the same shape).

    Raises:
        ValueError: a step is not an integer >= 0.

    Example:
        >>> halved = step(0.8, every=2, factor=0.5)
        >>> halved(2), halved(np.arange(6)).tolist()
        (0.4, [0.8, 0.8, 0.4, 0.4, 0.2, 0.2])
    """

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type] # every subclass is a dataclass
            value = getattr(self, field.name)
            if field.name in _NUMBERS:
                number(field.name, value, _NUMBERS[field.name])
            elif field.name in _COUNTS:
                count(field.name, value, _COUNTS[field.name])
            elif field.name == "schedule" and not callable(value):
                number("a schedule that is not callable", value)

    @overload
    def __call__(self, step: int) -> float: ...
    @overload
    def __call__(self, step: Steps) -> Values: ...
    def __call__(self, step: int | Steps) -> float | Values:
        """Return the value at a step, or the values at an array of steps."""
        steps = np.asarray(step)
        if steps.dtype.kind not in "iu" or (steps < 0).any():
            raise ValueError(f"step must be an integer >= 0, got {step!r}")
        result = self._at(steps.ravel().astype(np.float64)).reshape(steps.shape)
        return float(result) if steps.ndim == 0 else result

    @abstractmethod
    def _at(self, t: Values) -> Values:
        """Return the values at steps t, a flat array of whole numbers."""


def values(hyper: Hyper, steps: Steps) -> Values:
    """Evaluate a hyperparameter, a number or a schedule, at each of the steps.

    Args:
        hyper: a number, a schedule of this module, or any callable step -> value.
        steps: int64 (n,), each the number of steps already taken, >= 0.

    Returns:
        float64 (n,).

    Raises:
        TypeError: ``hyper``, or what it returns, is not a number.

    Example:
        >>> values(lambda t: 1 / (t + 1), np.arange(3)).tolist()
        [1.0, 0.5, 0.3333333333333333]
    """
    if isinstance(hyper, Schedule):
        return hyper(steps)
    if callable(hyper):
        found = [(k, hyper(k)) for k in steps.tolist()]
        return np.array([_number(v, f"schedule {hyper!r} at step {k}") for k, v in found])
    return np.full(steps.shape, _number(hyper, "a hyperparameter that is not a schedule"))


def _number(value: Any, what: str) -> float:  # noqa: ANN401 - what a user gave
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{what} must be a number, got {value!r}") from None


@dataclass(frozen=True)
class constant(Schedule):
    """The same value at every step: η(t) = value.

    Args:
        value: any finite number.

    Example:
        >>> constant(0.1)(1000)
        0.1
    """

    value: float

    def _at(self, t: Values) -> Values:
        return self.value + 0.0 * t


@dataclass(frozen=True)
class piecewise_constant(Schedule):
    """Constant between boundaries: η(t) = values[i], where i = number of boundaries <= t.

    Args:
        values: finite numbers, one more than there are boundaries.
        boundaries: the steps at which the next value begins; integers >= 1 that increase.

    Example:
        >>> piecewise_constant([1.0, 0.1, 0.01], [2, 3])(np.arange(5)).tolist()
        [1.0, 1.0, 0.1, 0.01, 0.01]
    """

    values: Sequence[float]
    boundaries: Sequence[int]

    def __post_init__(self) -> None:
        # Tuples, so that schedules stay comparable and hashable whatever they were given.
        object.__setattr__(self, "values", tuple(self.values))
        object.__setattr__(self, "boundaries", tuple(self.boundaries))
        for value in self.values:
            number("values", value)
        for boundary in self.boundaries:
            count("boundaries", boundary)
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                f"values must be one more than boundaries, got {len(self.values)} values and "
                f"{len(self.boundaries)} boundaries"
            )
        if any(b <= a for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise ValueError(f"boundaries must increase, got {list(self.boundaries)}")

    def _at(self, t: Values) -> Values:
        result = self.values[0] + 0.0 * t
        for boundary, value in zip(self.boundaries, self.values[1:], strict=True):
            result = np.where(t >= boundary, value, result)
        return result


@dataclass(frozen=True)
class exponential(Schedule):
    """The same factor at every step: η(t) = initial · e^(−decay·t).

    Args:
        initial: η(0), any finite number.
        decay: λ per step, >= 0; torch's ``ExponentialLR`` has gamma = e^(−decay).

    Example:
        >>> round(exponential(0.8, decay=np.log(2))(3), 12)
        0.1
    """

    initial: float
    decay: float

    def _at(self, t: Values) -> Values:
        return self.initial * np.exp(-self.decay * t)


@dataclass(frozen=True)
class polynomial(Schedule):
    """A power of time: η(t) = initial · (decay·t + 1)^(−power).

    With power = 1/2, the default, gradient descent on a convex objective reaches its O(1/√t) bound
    without knowing when it will stop (Zinkevich 2003).

    Args:
        initial: η(0), any finite number.
        decay: β per step, >= 0; 1 by default.
        power: α, >= 0; 1/2 by default.

    Example:
        >>> polynomial(0.8)(3), polynomial(0.8, decay=0.5, power=2.0)(2)
        (0.4, 0.2)
    """

    initial: float
    decay: float = 1.0
    power: float = 0.5

    def _at(self, t: Values) -> Values:
        return self.initial * (self.decay * t + 1) ** -self.power


def inverse_time(initial: float, decay: float = 1.0) -> polynomial:
    """Inverse time: η(t) = initial / (decay·t + 1); ``polynomial`` of power 1.

    The decay that Robbins & Monro 1951 ask for: the sum of the rates diverges, and the sum of their
    squares does not.

    Args:
        initial: η(0), any finite number.
        decay: per step, >= 0; 1 by default.

    Example:
        >>> inverse_time(0.8)(3)
        0.2
    """
    return polynomial(initial, decay, power=1.0)


def inverse_sqrt(initial: float) -> polynomial:
    """One over the root of the step counted from 1: η(t) = initial / √(t + 1).

    Args:
        initial: η(0), any finite number.

    Example:
        >>> inverse_sqrt(0.8)(3)
        0.4
    """
    return polynomial(initial)


@dataclass(frozen=True)
class step(Schedule):
    """A fall every so many steps: η(t) = initial · factor^⌊t / every⌋.

    torch's ``StepLR``.

    Args:
        initial: η(0), any finite number.
        every: steps between two falls, an integer >= 1.
        factor: > 0; 0.1 by default.

    Example:
        >>> step(0.8, every=10, factor=0.5)(25)
        0.2
    """

    initial: float
    every: int
    factor: float = 0.1

    def _at(self, t: Values) -> Values:
        return self.initial * self.factor ** (t // self.every)


@dataclass(frozen=True)
class linear(Schedule):
    """A straight line: η(t) = initial + (final − initial) · min(t / steps, 1).

    Args:
        initial: η(0), any finite number.
        steps: the step at which it reaches ``final``, an integer >= 1.
        final: any finite number; 0 by default.

    Example:
        >>> linear(0.8, steps=4)(np.arange(6)).round(12).tolist()
        [0.8, 0.6, 0.4, 0.2, 0.0, 0.0]
    """

    initial: float
    steps: int
    final: float = 0.0

    def _at(self, t: Values) -> Values:
        return np.interp(t, [0, self.steps], [self.initial, self.final])


def _half_wave(start: float, end: float, share: Values) -> Values:
    """Return the cosine that goes from start to end as the share goes from 0 to 1."""
    return end + (start - end) * (1 + np.cos(np.pi * share)) / 2


@dataclass(frozen=True)
class cosine(Schedule):
    """Half a wave: η(t) = final + (initial − final) · (1 + cos(π · min(t / steps, 1))) / 2.

    Loshchilov & Hutter 2017, equation 5. Deviation: torch's ``CosineAnnealingLR`` rises again
    after its T_max; this one stays at ``final``.

    Args:
        initial: η(0), any finite number.
        steps: the step at which it reaches ``final``, an integer >= 1.
        final: any finite number; 0 by default.

    Example:
        >>> cosine(0.8, steps=4)(np.arange(0, 8, 2)).round(12).tolist()
        [0.8, 0.4, 0.0, 0.0]
    """

    initial: float
    steps: int
    final: float = 0.0

    def _at(self, t: Values) -> Values:
        return _half_wave(self.initial, self.final, np.minimum(t / self.steps, 1.0))


@dataclass(frozen=True)
class one_cycle(Schedule):
    """It rises along half a wave, then falls along another, far below the start.

    With a = peak / initial_divisor, r = max(rise·steps − 1, 0) and w(p, q, u) =
    q + (p − q)(1 + cos πu)/2: η(t) = w(a, peak, t/r) for t < r, then
    w(peak, a / final_divisor, min((t − r)/(steps − 1 − r), 1)).

    Smith & Topin 2018, with the defaults and the phases of torch's ``OneCycleLR``. Deviations: a
    rise of one step or less starts at the peak, where torch divides by zero or is shifted; a cycle
    of a single step stays at the peak, where torch takes that step at its last value.

    Args:
        peak: the highest value, any finite number.
        steps: of the whole cycle, an integer >= 1; the last value is reached at step ``steps`` − 1.
        rise: share of the steps spent rising, in [0, 1); 0.3 by default.
        initial_divisor: peak over first value, >= 1; 25 by default.
        final_divisor: first over last value, >= 1; 10,000 by default.

    Example:
        >>> one_cycle(1.0, steps=10)(np.arange(10)).round(3).tolist()
        [0.04, 0.52, 1.0, 0.95, 0.812, 0.611, 0.389, 0.188, 0.05, 0.0]
    """

    peak: float
    steps: int
    rise: float = 0.3
    initial_divisor: float = 25.0
    final_divisor: float = 1e4

    def _at(self, t: Values) -> Values:
        top = np.maximum(self.rise * self.steps - 1, 0.0)
        initial = self.peak / self.initial_divisor
        up = _half_wave(initial, self.peak, np.interp(t, [0, top], [0.0, 1.0]))
        # A single step has no way down: at the lowest value it would hardly move.
        share = np.interp(t, [top, self.steps - 1], [0.0, 1.0 * (self.steps > 1)])
        return np.where(t < top, up, _half_wave(self.peak, initial / self.final_divisor, share))


@dataclass(frozen=True)
class warmup_stable_decay(Schedule):
    """It rises along a line, stays on a plateau, and falls along a line.

    η(t) = peak·(t + 1)/(warmup_steps + 1) for t < warmup_steps, then peak for stable_steps, then
    from peak to final within decay_steps. Hu et al. 2024, with a linear decay.

    Args:
        peak: the plateau, any finite number.
        warmup_steps: an integer >= 0.
        stable_steps: an integer >= 0.
        decay_steps: an integer >= 1.
        final: any finite number; 0 by default.

    Example:
        >>> schedule = warmup_stable_decay(0.6, warmup_steps=2, stable_steps=1, decay_steps=3)
        >>> schedule(np.arange(8)).round(12).tolist()
        [0.2, 0.4, 0.6, 0.6, 0.4, 0.2, 0.0, 0.0]
    """

    peak: float
    warmup_steps: int
    stable_steps: int
    decay_steps: int
    final: float = 0.0

    def _at(self, t: Values) -> Values:
        knots = np.cumsum([-1, self.warmup_steps + 1, self.stable_steps, self.decay_steps])
        return np.interp(t, knots, [0.0, self.peak, self.peak, self.final])


@dataclass(frozen=True)
class warm_restarts(Schedule):
    """``cosine`` again and again: each period is ``growth`` times as long as the one before.

    η(t) = final + (initial − final) · (1 + cos(π·u/T)) / 2, where period i has length
    T = period·growth^i and u counts the steps since it began. SGDR, Loshchilov & Hutter 2017,
    equation 5; torch's ``CosineAnnealingWarmRestarts``.

    Args:
        initial: the value at each restart, any finite number.
        period: steps of the first period, an integer >= 1.
        growth: of the period, an integer >= 1; 1 by default.
        final: what each period falls towards, any finite number; 0 by default.

    Example:
        >>> warm_restarts(0.8, period=2, growth=2)(np.arange(7)).round(12).tolist()
        [0.8, 0.4, 0.8, 0.682842712475, 0.4, 0.117157287525, 0.8]
    """

    initial: float
    period: int
    growth: int = 1
    final: float = 0.0

    def _at(self, t: Values) -> Values:
        ratio = np.maximum(self.growth, 2) + 0.0  # a float: powers of integers overflow

        def start(i: Any) -> Any:  # noqa: ANN401 - an array
            return self.period * (ratio**i - 1) / (ratio - 1)

        i = np.floor(np.log(t / self.period * (ratio - 1) + 1) / np.log(ratio))
        i = i + (t >= start(i + 1)) - (t < start(i))  # the logarithm may be wrong by one
        growing = (t - start(i)) / (self.period * ratio**i)
        share = np.where(self.growth > 1, growing, (t % self.period) / self.period)
        return _half_wave(self.initial, self.final, share)


@dataclass(frozen=True)
class warmup(Schedule):
    """A linear rise before any schedule. The first step is not zero, and no value comes twice.

    η(t) = schedule(0) · (t + 1)/(steps + 1) for t < steps, then schedule(t − steps). Goyal et al.
    2017, section 2.2.

    Args:
        schedule: what follows: a number, a schedule or any callable step -> value.
        steps: of the rise, an integer >= 1.

    Example:
        >>> warmup(cosine(0.8, steps=4), steps=3)(np.arange(0, 8)).round(3).tolist()
        [0.2, 0.4, 0.6, 0.8, 0.683, 0.4, 0.117, 0.0]
    """

    schedule: float | Callable[[int], float]
    steps: int

    def _at(self, t: Values) -> Values:
        later = values(self.schedule, np.maximum(t - self.steps, 0).astype(np.int64))
        return later * self._share(t)

    def _share(self, t: Values) -> Values:
        return np.minimum((t + 1) / (self.steps + 1), 1.0)
