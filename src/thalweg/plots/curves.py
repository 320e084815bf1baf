"""Pictures of curves over steps: schedules, and the weights of a leaky average."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes

from thalweg import schedules, style
from thalweg.plots.legend import below

__all__ = ["schedule"]


@style.styled()
def schedule(
    curves: Sequence[float | Callable[[int], float]], steps: int, ax: Axes | None = None
) -> Axes:
    """Draw schedules: the value that each gives to a hyperparameter at each step.

    Args:
        curves: one or more schedules, callables step -> value or numbers.
        steps: the last step drawn, >= 1.
        ax: where to draw; a new figure by default (``ax.figure``).

    Raises:
        ValueError: ``steps`` is < 1.

    Example:
        >>> ax = schedule([schedules.cosine(0.1, steps=100)], 100)
        >>> ax.get_xlabel(), ax.get_legend().get_texts()[0].get_text()
        ('step', 'cosine(initial=0.1, steps=100, final=0.0)')
    """
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    ax = ax or style.figure(6.4, 3.0 + 0.2 * len(curves))[1]
    at = np.arange(steps + 1)
    for curve in curves:
        label = getattr(curve, "__name__", None) or str(curve)
        ax.plot(at, schedules.values(curve, at), drawstyle="steps-post", label=label)
    ax.set(xlabel="step", ylabel="value", xlim=(0, steps))
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    below(ax)
    return ax
