"""Pictures of descents: the paths that rules take, over the contours of their problem."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from thalweg import style
from thalweg.descent import Trace
from thalweg.problems import Problem

__all__ = ["paths"]

Array = NDArray[np.float64]

_MARKERS = "osD^vPX<"  # eight shapes and seven colours: no two of 56 paths look the same
_LEVELS = 14
_MARK: dict[str, Any] = {"linestyle": "none", "color": style.INK, "zorder": 5}
_START = _MARK | {"label": "start", "marker": "o", "markersize": 11, "markerfacecolor": "none"}
_MINIMIZER = _MARK | {"label": "minimizer", "marker": "+", "markersize": 13, "markeredgewidth": 2}


@style.styled()
def paths(traces: Sequence[Trace], ax: Axes | None = None) -> Axes:
    """Draw the paths of descents over the contours of their problem of two variables.

    A ring is a start, a large marker an end, the cross the minimizer; small markers are points of
    the path, each one of them up to 40 steps. The picture holds starts and minimizer and as much of
    the paths as lies near them; where a path leaves it for good, an arrow at the edge is its end.
    The height of the contours over the minimum doubles from each one to the next; without a
    minimizer they are evenly spaced.

    Args:
        traces: one or more, all on the same problem of two variables.
        ax: where to draw; a new figure by default (``ax.figure``).

    Returns:
        The axes drawn on, both of one scale, so that gradients stand at right angles to contours.
        The legend stands below them; a constrained layout makes room for it.

    Raises:
        ValueError: there is no trace, the problem does not have two variables, or the traces are
            of different problems.

    Example:
        >>> from thalweg.descent import descend
        >>> ax = paths([descend("bowl", "momentum", lr=0.1, beta=0.5)])
        >>> ax.get_xlabel(), ax.get_legend().get_texts()[0].get_text()
        ('x₁', 'momentum  lr 0.1, beta 0.5  →  f = 4.8e-06')
    """
    problem = _problem_of(traces)
    if ax is None:
        _, ax = style.figure(6.4, 4.0 + 0.2 * len(traces))
    cycles = zip(traces, cycle(mpl.rcParams["axes.prop_cycle"]), cycle(_MARKERS), strict=False)
    looks = [
        look | {"marker": marker, "label": _label(trace), "markersize": 4}
        for trace, look, marker in cycles
    ]
    minimizer = [] if problem.minimizer is None else [problem.minimizer]
    marks = [_START] + [_MINIMIZER for _ in minimizer]
    ax.set(title=problem.name, xlabel="x₁", ylabel="x₂")
    ax.grid(visible=False)
    ax.legend(
        handles=[Line2D([], [], **look) for look in looks + marks],
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        borderaxespad=4,  # font sizes, not shares of the axes: layouts can make room for it
        handlelength=3.5,
    )
    low, high = _fill(ax, *_window(problem, traces))
    _draw_contours(ax, problem, low, high)
    for trace, look in zip(traces, looks, strict=True):
        _draw_path(ax, trace, low, high, look)
    for point, look in [
        *((trace.x[0], _START) for trace in traces),
        *zip(minimizer, marks[1:], strict=True),
    ]:
        ax.plot(*point, **look)
    return ax


def _fill(ax: Axes, low: Array, high: Array) -> tuple[Array, Array]:
    """Widen the window to the shape of the axes, so that both axes have one scale."""
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    ax.figure.canvas.figure.draw_without_rendering()  # so that the layout makes room for the legend
    box = ax.get_window_extent()
    shape = np.array([box.width, box.height])
    center, half = (low + high) / 2, (high - low) / 2
    half = shape * (half / shape).max()
    low, high = center - half, center + half
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    ax.set_aspect("equal")
    return low, high


def _problem_of(traces: Sequence[Trace]) -> Problem:
    if not traces:
        raise ValueError("paths needs one trace or more, got none")
    problem = traces[0].problem
    if problem.start.size != 2:
        raise ValueError(
            f"paths draws problems of two variables, {problem.name!r} has {problem.start.size}"
        )
    for trace in traces[1:]:
        with np.errstate(all="ignore"):  # a diverged path has overflowed
            same = trace.x.shape[1] == 2 and np.allclose(
                problem.value(trace.x), trace.f, equal_nan=True
            )
        if not same:
            raise ValueError(
                f"all traces must be of one problem, got {problem.name!r} and another, "
                f"{trace.problem.name!r}"
            )
    return problem


def _window(problem: Problem, traces: Sequence[Trace]) -> tuple[Array, Array]:
    """Return the corners: starts, minimizer, and the points not far from them, with a margin."""
    anchors = np.array([trace.x[0] for trace in traces])
    if problem.minimizer is not None:
        anchors = np.vstack([anchors, problem.minimizer])
    reach = max(float(np.ptp(anchors, axis=0).max()), 1.0)
    points = np.vstack([anchors, *(trace.x for trace in traces)])
    near = (points >= anchors.min(axis=0) - reach) & (points <= anchors.max(axis=0) + reach)
    points = points[near.all(axis=1)]
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.08 * float((high - low).max()) or 0.5  # a path may never leave its start
    return low - margin, high + margin


def _draw_contours(ax: Axes, problem: Problem, low: Array, high: Array) -> None:
    grid = np.stack(np.meshgrid(*(np.linspace(a, b, 201) for a, b in zip(low, high, strict=True))))
    f = problem.value(np.moveaxis(grid, 0, -1))
    levels = np.linspace(f.min(), f.max(), _LEVELS + 2)[1:-1]
    if problem.minimum is not None:
        height = f.max() - problem.minimum
        levels = problem.minimum + height * 2.0 ** -np.arange(_LEVELS, 0, -1)
    ax.contour(*grid, f, levels=levels, colors=style.MUTED, linewidths=0.4, linestyles="-")


def _draw_path(ax: Axes, trace: Trace, low: Array, high: Array, look: dict[str, Any]) -> None:
    x = trace.x[np.isfinite(trace.x).all(axis=1)]
    last = int(np.flatnonzero(((x >= low) & (x <= high)).all(axis=1))[-1])
    x = x[: last + 2]
    ax.plot(*x.T, markevery=max(1, len(x) // 40), **look)
    if last == len(x) - 1:
        if not trace.diverged_at:  # else the next point is infinite: the path has no end to mark
            ax.plot(*x[-1], **look | {"markersize": 9, "markeredgecolor": "white", "zorder": 4})
        return
    step = x[-1] - x[-2]
    edges = np.where(step > 0, high, low) - x[-2]
    share = min(e / s for e, s in zip(edges, step, strict=True) if s)
    arrow = {"arrowstyle": "-|>", "color": look["color"], "mutation_scale": 18, "shrinkB": 0}
    ax.annotate("", xy=x[-2] + share * step, xytext=x[-2], arrowprops=arrow)


def _label(trace: Trace) -> str:
    """Return the rule, the rate and what is not a default, and how it ended."""
    default = trace.rule.defaults
    hyper = ", ".join(
        f"{name} {_number(value)}"
        for name, value in trace.hyper.items()
        if name == "lr" or value != default[name]
    )
    step = trace.diverged_at
    end = f"diverged at step {step}" if step else f"f = {trace.f[-1]:.2g}"
    return f"{trace.rule.name}  {hyper}  →  {end}"


def _number(value: Any) -> str:  # noqa: ANN401 - a number or any schedule
    if isinstance(value, (int, float)):
        return f"{value:g}"
    return str(getattr(value, "__name__", type(value).__name__))  # its numbers would not fit
