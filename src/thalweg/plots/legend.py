"""What pictures share: legends below them, where they cover nothing, labels, and what is drawn."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes

from thalweg.descent import Trace

__all__ = ["below", "digits", "label_of", "near_one", "several"]


def several(picture: str, what: str, given: Any) -> list[Any]:  # noqa: ANN401 - one or some
    """Return what a picture draws as a list: one alone may be given without one.

    Raises:
        ValueError: there is none.

    Example:
        >>> several("leaky_weights", "beta", 0.9), several("leaky_weights", "beta", (0.9, 0.99))
        ([0.9], [0.9, 0.99])
    """
    found = list(given) if isinstance(given, Iterable) else [given]
    if not found:
        raise ValueError(f"{picture} needs one {what} or more, got none")
    return found


def below(ax: Axes, handles: Sequence[Artist] | None = None) -> None:
    """Put the legend below the x label; a constrained layout makes room for it."""
    ax.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        borderaxespad=4,  # font sizes, not shares of the axes: layouts can make room for it
        handlelength=3.5,
    )


def label_of(trace: Trace, *, end: bool = True) -> str:
    """Return a label: the rule, the rate, other values that are not defaults, and how it ended.

    Example:
        >>> from thalweg.descent import descend
        >>> label_of(descend("bowl", "momentum", lr=0.1, beta=0.5))
        'momentum  lr 0.1, beta 0.5  →  f = 4.8e-06'
    """
    default = trace.rule.defaults
    hyper = ", ".join(
        f"{name} {_number(value)}"
        for name, value in trace.hyper.items()
        if name == "lr" or value != default[name]
    )
    said = f"{trace.rule.name}  {hyper}".rstrip()
    if not end:
        return said
    if trace.end == "diverged":
        return f"{said}  →  diverged at step {trace.diverged_at}"
    when = f" at step {len(trace.f) - 1}" if trace.end == "converged" else ""
    return f"{said}  →  f = {trace.f[-1]:.2g}{when}"


def digits(value: float) -> int:
    """Return how many digits show how far a number is from 1: four or more."""
    return max(4, 2 - math.floor(math.log10(max(abs(1 - value), 1e-15))))


def near_one(value: float) -> str:
    """Return a rate or a memory with enough digits to tell it from 1.

    Example:
        >>> near_one(0.634512), near_one(0.99998845)
        ('0.6345', '0.9999885')
    """
    return f"{value:.{digits(value)}g}"


def _number(value: Any) -> str:  # noqa: ANN401 - a number or any schedule
    if isinstance(value, (int, float)):
        return f"{value:g}"
    return str(getattr(value, "__name__", type(value).__name__))  # its numbers would not fit
