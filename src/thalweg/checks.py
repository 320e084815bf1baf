"""Checks of numbers that a user gave: whole ones and ranges. All their messages are here."""

import math
import operator
from dataclasses import dataclass
from typing import Any

__all__ = ["NOT_NEGATIVE", "POSITIVE", "Hyperparameter", "Range", "count", "number"]


@dataclass(frozen=True)
class Range:
    """The legal values of a hyperparameter: an interval with open or closed ends.

    Args:
        low: the lower end.
        high: the upper end.
        ends: ``"[]"``, ``"[)"``, ``"(]"`` or ``"()"``: whether each end belongs to the interval.

    Example:
        >>> str(Range(0.0, 1.0, "[)")), 1.0 in Range(0.0, 1.0, "[)")
        ('in [0, 1)', False)
    """

    low: float = -math.inf
    high: float = math.inf
    ends: str = "()"

    def __contains__(self, value: float) -> bool:
        above = value >= self.low if self.ends[0] == "[" else value > self.low
        below = value <= self.high if self.ends[1] == "]" else value < self.high
        return above and below

    def __str__(self) -> str:
        if math.isinf(self.low) and math.isinf(self.high):
            return "finite"
        if math.isinf(self.high):
            return f"{'>=' if self.ends[0] == '[' else '>'} {self.low:g}"
        return f"in {self.ends[0]}{self.low:g}, {self.high:g}{self.ends[1]}"


POSITIVE = Range(0.0)
NOT_NEGATIVE = Range(0.0, ends="[)")


@dataclass(frozen=True)
class Hyperparameter:
    """A keyword of a rule: its name, its default and its legal range."""

    name: str
    default: float
    range: Range

    def __str__(self) -> str:
        default = "must be given" if math.isnan(self.default) else f"{self.default:g}"
        return f"{self.name} {default} ({self.range})"

    def check(self, value: float) -> float:
        """Return the value as a Python float; raises as ``number``.

        A default that is NaN is none: the value must be given.
        """
        if math.isnan(self.default) and value is self.default:
            raise ValueError(f"{self.name} must be given, {self.range}: it has no default")
        return number(self.name, value, self.range)

    def check_scheduled(self, value: float) -> float:
        """Check a value of a schedule: it may also be an open low end (a rate of 0)."""
        closed = Range(self.range.low, self.range.high, "[" + self.range.ends[1])
        return number(self.name, value, closed)


def number(name: str, value: Any, within: Range = Range()) -> float:  # noqa: ANN401 - what a user gave; frozen
    """Return a finite number as Python's own float.

    Args:
        name: what the user calls it.
        value: what was given: anything that float() takes, but neither text nor a bool.
        within: the range in which it must lie.

    Raises:
        TypeError: it is not a number.
        ValueError: it is not finite, or outside the range.

    Example:
        >>> number("lr", -0.1, POSITIVE)
        Traceback (most recent call last):
        ...
        ValueError: lr must be > 0, got -0.1
    """
    if _is_flag(value) or isinstance(value, str):  # float() would take them
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        plain = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None
    if not math.isfinite(plain):
        raise ValueError(f"{name} must be finite, got {value}")
    if plain not in within:
        raise ValueError(f"{name} must be {within}, got {value}")
    return plain


def count(
    name: str,
    value: Any,  # noqa: ANN401
    least: int = 1,
    most: int | None = None,
    why: str = "",
) -> int:
    """Return a whole number as Python's own int.

    Args:
        name: what the user calls it.
        value: what was given: an int of Python, NumPy or torch. True is refused.
        least: the smallest one allowed.
        most: the largest one allowed; None for no limit.
        why: what the largest one is, such as "the rows of X".

    Raises:
        ValueError: it is not a whole number, or it is too small or too large.

    Example:
        >>> import numpy as np
        >>> count("epochs", np.int64(2))
        2
        >>> count("steps", 2.5)
        Traceback (most recent call last):
        ...
        ValueError: steps must be an integer >= 1, got 2.5
    """
    try:
        whole = operator.index(value)
    except TypeError:
        whole = least - 1
    if _is_flag(value) or whole < least or (most is not None and whole > most):
        bound = f">= {least}" if most is None else f"in [{least}, {most}]"
        bound += f", {why}" if why else ""
        raise ValueError(f"{name} must be an integer {bound}, got {value!r}")
    return whole


def _is_flag(value: Any) -> bool:  # noqa: ANN401
    """Return whether a value is True or False, as Python, NumPy or torch have it."""
    return isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")
