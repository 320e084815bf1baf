"""Pictures of the loss of a descent, on a log axis, and of the loss that theory predicts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from thalweg import style, theory
from thalweg.descent import Trace
from thalweg.plots.legend import below, label_of, near_one, several
from thalweg.problems import Problem
from thalweg.second_order import METHODS
from thalweg.theory.linearization import adaptive

__all__ = ["components", "loss"]

Array = NDArray[np.float64]

_PREDICTED: dict[str, Any] = {"color": style.INK, "linestyle": "-", "linewidth": 0.6}
_MOST = 5  # lines of components
_FOOT = 1e-16  # a share of the first value; below it there are only rounding errors
_TOP = 1e4  # a share too: a diverging descent must not flatten the others


@style.styled()
def loss(traces: Trace | Sequence[Trace], ax: Axes | None = None) -> Axes:
    """Draw f − minimum at each step on a log axis, and the line that theory predicts.

    The thin line starts where the descent does and falls by rate² per step, because f is quadratic
    in the error. A descent on a quadratic, by a linear rule with constant hyperparameters, becomes
    parallel to its line. At the best hyperparameters of momentum two eigenvalues meet and f falls
    as step² · rate^(2·step), so it becomes parallel slowly. Other descents have no line. If the
    descents have very different lengths, the steps are on a log axis from 10 on.

    Args:
        traces: one, or several in a list, on problems whose minimum is known.
        ax: where to draw; a new figure by default (``ax.figure``).

    Raises:
        ValueError: there is no trace, a minimum is not known, or a descent starts at it.

    Example:
        >>> from thalweg.descent import descend
        >>> ax = loss(descend("bowl", "sgd", lr=0.3))
        >>> ax.get_legend().get_texts()[0].get_text()
        'sgd  lr 0.3  →  f = 3e-15, predicted rate 0.4'
    """
    traces = several("loss", "trace", traces)
    ax = ax or style.figure(6.4, 3.6 + 0.2 * len(traces))[1]
    heights = [trace.f - _minimum(trace.problem) for trace in traces]
    if not all(height[0] > 0 for height in heights):
        raise ValueError("loss needs descents that do not start at the minimum")
    curves = zip(heights, map(_predicted_rate, traces), map(label_of, traces), strict=True)
    _draw(ax, list(curves), 2)
    names = ", ".join(dict.fromkeys(trace.problem.name for trace in traces))
    ax.set(title=names, ylabel="f − minimum")
    return ax


@style.styled()
def components(trace: Trace, ax: Axes | None = None) -> Axes:
    """Draw how each eigen-coordinate of the error falls, on a log axis, as a share of its first.

    On a quadratic the coordinates x_i along the Hessian's eigenvectors evolve separately. The thin
    lines are ρ(λ_i)^t, with the spectral radius of the iteration matrix at that eigenvalue. Of more
    than five eigenvalues five are drawn: the first, the last and three between.

    Args:
        trace: of a rule on a quadratic with a minimizer.
        ax: where to draw; a new figure by default (``ax.figure``).

    Raises:
        ValueError: the problem is not such a quadratic, or the descent starts at the minimizer.

    Example:
        >>> from thalweg.descent import descend
        >>> ax = components(descend("stretched_bowl", "sgd", lr=0.4))
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['λ = 0.2, predicted rate 0.92', 'λ = 4, predicted rate 0.6', 'predicted']
    """
    problem = trace.problem
    if problem.minimizer is None or problem.spectrum is None:
        raise ValueError(
            f"components needs a quadratic with a minimizer, problem {problem.name!r} is none"
        )
    spectrum, vectors = np.linalg.eigh(problem.hessian(problem.minimizer))
    with np.errstate(all="ignore"):  # a diverged path has overflowed
        coordinates = np.abs((trace.x - problem.minimizer) @ vectors)
    moved = np.flatnonzero(coordinates[0] > _FOOT * np.abs(trace.x[0]).max())
    if not moved.size:
        raise ValueError("components needs a descent that does not start at the minimizer")
    shown = moved[np.unique(np.linspace(0, len(moved) - 1, _MOST).round().astype(int))]
    ax = ax or style.figure(6.4, 3.6 + 0.2 * len(shown))[1]
    curves = [
        (coordinates[:, i] / coordinates[0, i], _predicted_rate(trace, spectrum[i]),
         f"λ = {spectrum[i]:.4g}")
        for i in shown
    ]  # fmt: skip
    _draw(ax, curves, 1)
    several = f", {len(shown)} of {len(spectrum)} eigenvalues" * (len(shown) < len(spectrum))
    ax.set(
        title=f"{label_of(trace, end=False)} on {problem.name}{several}",
        ylabel="eigen-coordinate over its first value",
    )
    return ax


def _minimum(problem: Problem) -> float:
    if problem.minimum is None:
        raise ValueError(f"loss needs a known minimum, problem {problem.name!r} has none")
    return problem.minimum


def _predicted_rate(trace: Trace, eigenvalue: float | None = None) -> float | None:
    """Return the rate that theory predicts for a descent; None if it predicts none."""
    spectrum = trace.problem.spectrum
    hyper = {name: value for name, value in trace.hyper.items() if not callable(value)}
    if spectrum is None or spectrum[0] <= 0 or len(hyper) < len(trace.hyper):
        return None
    if trace.rule.name in METHODS:
        return None
    try:
        if adaptive(trace.rule):
            return None
        return theory.rate(trace.rule, spectrum if eigenvalue is None else eigenvalue, **hyper)
    except ValueError:  # the rule is not linear, or its step changes with time, as that of asgd
        return None


def _draw(ax: Axes, curves: Sequence[tuple[Array, float | None, str]], power: int) -> None:
    """Draw curves by step, each with its predicted line, first · rate^(power·step), if it has one.

    The axis goes from rounding errors to a thousand times the first value at most.
    """
    lines, predicted = [], []
    for values, rate, label in curves:
        step = np.arange(len(values))
        told = label if rate is None else f"{label}, predicted rate {near_one(rate)}"
        seen = _seen(values)
        alone = int(np.isfinite(seen).sum()) == 1  # one point is not a line
        lines += ax.plot(step, seen, label=told, marker="o" if alone else None, clip_on=not alone)
        if rate is not None:
            with np.errstate(over="ignore", under="ignore"):
                line = values[0] * rate ** (power * step.astype(np.float64))
            predicted += ax.plot(step, _seen(line), label="predicted", **_PREDICTED)
    ends = [np.flatnonzero(np.isfinite(line.get_ydata()))[-1] for line in lines]
    ax.set(yscale="log", xlim=(0, max(1, *ends)), xlabel="step")
    if max(ends) > 30 * min(ends):
        ax.set_xscale("symlog", linthresh=10, linscale=0.3)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    first = [values[0] for values, _, _ in curves]
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, 0.3 * _FOOT * min(first)), min(high, 0.1 * _TOP * max(first)))
    below(ax, [*lines, *predicted[:1]])


def _seen(values: Array) -> Array:
    """Return the values that fit on the axis, and the first one outside where they leave it.

    Values that are not finite do not fit.
    """
    low, high = _FOOT * values[0], _TOP * values[0]
    outside = ~((values > low) & (values < high))
    again = outside & np.append(False, outside[:-1])
    return np.where(np.isfinite(values) & ~again, np.clip(values, low, high), np.nan)
