"""How names and numbers read in messages, tables, pages and pictures."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["closest", "digits", "duration", "listed", "mark", "percent"]


def closest(name: str, known: Iterable[str]) -> str:
    """Return the question whether one of the known names was meant; nothing where none is close.

    Example:
        >>> closest("adma", ["sgd", "adam"]), closest("adma", ["sgd"])
        ('did you mean adam?', '')
    """
    close = difflib.get_close_matches(name, list(known), n=3)
    return f"did you mean {', '.join(close)}?" if close else ""


def listed(names: Sequence[str], most: int) -> str:
    """Return names with commas between; past so many, how many more there are (never just one).

    Example:
        >>> listed(["adam", "lion", "sgd", "yogi"], 2), listed(["adam", "lion", "sgd"], 2)
        ('adam, lion and 2 more', 'adam, lion, sgd')
    """
    if len(names) <= most + 1:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def mark(results: Mapping[str, Any], rule: str) -> str:
    """Return a rule's name, after ★ for the winner and = for a tie: what colour says, in print too.

    Example:
        >>> mark({"winner": "adam", "ties": ["nadam"]}, "nadam")
        '= nadam'
    """
    sign = "★ " if rule == results["winner"] else "= " if rule in results["ties"] else ""
    return sign + rule


def digits(value: float | None, significant: int = 3, flags: str = "") -> str:
    """Return a number in a few significant digits; a dash where there is none or it is not finite.

    Args:
        value: the number.
        significant: how many digits, 3 by default.
        flags: "+" to write the sign of positive numbers too, "#" to keep trailing zeros.

    Example:
        >>> digits(0.0123456), digits(None), digits(0.5, flags="+"), digits(0.12, flags="#")
        ('0.0123', '–', '+0.5', '0.120')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:{flags}.{significant}g}".removesuffix(".")


def duration(seconds: float | None) -> str:
    """Return a time in two digits, in microseconds, milliseconds or seconds.

    Example:
        >>> duration(0.00051), duration(0.0213), duration(75.4), duration(None)
        ('510 µs', '21 ms', '75 s', '–')
    """
    if seconds is None or not math.isfinite(seconds):
        return "–"
    unit, size = ("s", 1.0) if seconds >= 1 else ("ms", 1e-3) if seconds >= 1e-3 else ("µs", 1e-6)
    value = seconds / size
    return f"{value:.0f} {unit}" if value >= 9.5 else f"{value:.1f} {unit}"


def percent(share: float | None) -> str:
    """Return a share of 1 as a whole percentage; a dash where there is none.

    Example:
        >>> percent(0.255)
        '26 %'
    """
    return "–" if share is None else f"{share:.0%}".replace("%", " %")
