"""Pictures of curves over steps: schedules, and the weights of a leaky average."""

import math
import textwrap
from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes

from thalweg import schedules, style, theory
from thalweg.checks import count
from thalweg.plots.legend import below, near_one, several
from thalweg.schedules import Hyper

__all__ = ["leaky_weights", "schedule"]

_AGES = 4000  # points that are drawn at most


@style.styled()
def schedule(curves: Hyper | Sequence[Hyper], steps: int, ax: Axes | None = None) -> Axes:
    """Draw schedules: the value that each gives to a hyperparameter at each step.

    Args:
        curves: one, or several in a list: schedules, callables step -> value or numbers.
        steps: the last step drawn, >= 1.
        ax: where to draw; a new figure by default (``ax.figure``).

    Raises:
        ValueError: there is no curve, or ``steps`` is not an integer >= 1.

    Example:
        >>> ax = schedule([schedules.cosine(0.1, steps=100)], 100)
        >>> ax.get_xlabel(), ax.get_legend().get_texts()[0].get_text()
        ('step', 'cosine(initial=0.1, steps=100, final=0.0)')
    """
    steps, curves = count("steps", steps), several("schedule", "curve", curves)
    ax = ax or style.figure(6.4, 3.0 + 0.2 * len(curves))[1]
    at = np.arange(steps + 1)
    for curve in curves:
        label = textwrap.fill(getattr(curve, "__name__", None) or str(curve), 80)
        ax.plot(at, schedules.values(curve, at), drawstyle="steps-post", label=label)
    ax.set(xlabel="step", ylabel="value", xlim=(0, steps))
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    below(ax)
    return ax


@style.styled()
def leaky_weights(
    betas: float | Sequence[float], n: int | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the weights of a leaky average, βⁱ of the newest one for the value i steps before it.

    The newest value has age 1. The large marker is at the effective window 1/(1 − β), where a
    weight is about a third of the newest one's. If the windows have very different lengths, the
    ages are on a log axis.

    Args:
        betas: one memory β, or several in a list, each in [0, 1).
        n: the last age, an integer >= 1; three times the longest window by default.
        ax: where to draw; a new figure by default (``ax.figure``).

    Raises:
        ValueError: there is no beta, or a value is out of range.

    Example:
        >>> ax = leaky_weights([0.9])
        >>> ax.get_legend().get_texts()[0].get_text()
        'beta 0.9, effective window 10 steps'
    """
    betas = several("leaky_weights", "beta", betas)
    windows = [theory.effective_window(beta) for beta in betas]
    n = math.ceil(3 * max(windows)) if n is None else count("n", n)
    ax = ax or style.figure(6.4, 3.0 + 0.2 * len(betas))[1]
    age = np.unique(np.geomspace(1, n, _AGES).round())  # all of them, unless there are many
    for beta, window, marker in zip(betas, windows, cycle("osD^vPX<"), strict=False):
        label = f"beta {near_one(beta)}, effective window {window:.4g} steps"
        weights = beta ** (age - 1)  # of the newest one's
        (line,) = ax.plot(age, weights, label=label, marker=marker, markersize=8, markevery=[])
        ax.plot(
            window, beta ** (window - 1), linestyle="none", color=line.get_color(),
            marker=marker, markersize=8,
        )  # fmt: skip
    ax.set(xlabel="age of the value, steps", ylabel="weight, as a part of the newest one's")
    ax.set(xlim=(1, max(n, 2)), ylim=(0, 1.05))
    if max(windows) > 30 * min(windows):
        ax.set_xscale("log")
    below(ax)
    return ax
