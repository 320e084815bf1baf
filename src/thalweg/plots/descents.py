"""Pictures of descents: the paths that rules take, over the contours of their problem."""

import io
import os
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image

from thalweg import files, style
from thalweg.checks import count
from thalweg.descent import Trace
from thalweg.plots.legend import below, label_of, several
from thalweg.problems import Problem

__all__ = ["animate", "paths"]

Array = NDArray[np.float64]

_MARKERS = "osD^vPX<"  # eight shapes and seven colours: no two of 56 paths look the same
_LEVELS = 14
_MARK: dict[str, Any] = {"linestyle": "none", "color": style.INK, "zorder": 5}
_START = _MARK | {"label": "start", "marker": "o", "markersize": 11, "markerfacecolor": "none"}
_MINIMIZER = _MARK | {"label": "minimizer", "marker": "+", "markersize": 13, "markeredgewidth": 2}
_END: dict[str, Any] = {"markersize": 9, "markeredgecolor": "white", "zorder": 4}
_FRAMES = 120  # frames of an animation: one for each step, or for several


@style.styled()
def paths(traces: Trace | Sequence[Trace], ax: Axes | None = None) -> Axes:
    """Draw the paths of descents over the contours of their problem, or along its curve.

    A ring is a start, a large marker an end, and a cross a minimizer. Small markers are points of
    the path; up to 40 steps all of them are shown. The picture shows starts and minimizers, the
    parts of paths near them, and detours from which a path comes back. If a path leaves the picture
    for good, an arrow at the edge marks its end.

    The height of the contours above the minimum doubles from one to the next. Without a minimizer
    they are evenly spaced.

    Args:
        traces: one, or several in a list, all on one problem of one variable or two.
        ax: where to draw; a new figure by default (``ax.figure``).

    Returns:
        The axes drawn on; those of two variables have one scale, so that gradients stand at right
        angles to contours. The legend stands below; a constrained layout makes room for it.

    Raises:
        ValueError: there is no trace, the problem has more than two variables, or the traces are
            of different problems.

    Example:
        >>> from thalweg.descent import descend
        >>> ax = paths([descend("bowl", "momentum", lr=0.1, beta=0.5)])
        >>> ax.get_xlabel(), ax.get_legend().get_texts()[0].get_text()
        ('x₁', 'momentum  lr 0.1, beta 0.5  →  f = 4.8e-06')
    """
    return _draw(several("paths", "trace", traces), ax)[0]


@style.styled()
def animate(
    traces: Trace | Sequence[Trace], path: str | os.PathLike[str], *, frames_per_second: int = 10
) -> Path:
    """Write the picture of ``paths`` as a GIF that grows step by step and stops at its end.

    Args:
        traces: as ``paths`` takes them.
        path: the file. Its name must end in .gif. It is written whole or not at all.
        frames_per_second: 1 to 50; 10 by default. With more than 120 steps each frame shows
            several.

    Returns:
        The path.

    Raises:
        ValueError: ``paths`` refuses the traces, or an argument is out of range.
        FileExistsError: there is a file of that name that is not a picture of ours.

    Example:
        >>> import tempfile
        >>> from thalweg.descent import descend
        >>> trace = descend("bowl", "sgd", lr=0.4, steps=2)
        >>> animate([trace], Path(tempfile.mkdtemp()) / "bowl.gif").name
        'bowl.gif'
    """
    path = Path(path)
    if path.suffix.lower() != ".gif":
        raise ValueError(f"an animation's name must end in .gif, got {path}")
    frames_per_second = count("frames_per_second", frames_per_second, 1, 50)
    ax, lines, ends = _draw(several("animate", "trace", traces), None)
    whole = [np.column_stack(line.get_data()) for line in lines]
    heads = [ax.plot([], [], **_look_of(line) | _END)[0] for line in lines]
    last = max(len(points) for points in whole) - 1
    title = ax.get_title("left")

    def show(step: int) -> Image.Image:
        for line, head, points in zip(lines, heads, whole, strict=True):
            line.set_data(points[: step + 1].T)
            head.set_data(points[min(step, len(points) - 1)][:, None])
            head.set_visible(step < last)
        for end in ends:
            end.set_visible(step == last)
        ax.set_title(f"{title}, step {step}")
        return _seen(picture)

    steps = sorted({*np.linspace(0, last, min(last, _FRAMES) + 1).astype(int).tolist()})
    picture = ax.figure.canvas.figure
    picture.draw_without_rendering()
    picture.set_layout_engine("none")  # nothing changes any more
    first, *rest = map(show, steps)
    times = [1000 // frames_per_second] * len(steps)  # in milliseconds
    times[-1] *= 1 + round(1.5 * frames_per_second)
    made = io.BytesIO()
    first.save(made, "GIF", save_all=True, append_images=rest, duration=times, loop=0)
    content = made.getvalue().removesuffix(b";")  # which ends a GIF, a comment before it
    mark = style.MARK.encode()
    return files.write(path, content + b"!\xfe%c%b\0;" % (len(mark), mark), mark)


def _seen(picture: Figure) -> Image.Image:
    """Return what a figure looks like, 100 dots an inch."""
    dots = io.BytesIO()
    picture.savefig(dots, format="png", dpi=100, facecolor="white")
    return Image.open(dots).convert("RGB")


def _draw(traces: Sequence[Trace], ax: Axes | None) -> tuple[Axes, list[Line2D], list[Artist]]:
    """Return the axes, the line of each path, and the marks of their ends."""
    problem = _problem_of(traces)
    ax = ax or style.figure(6.4, 4.0 + 0.2 * len(traces))[1]
    cycles = zip(traces, cycle(mpl.rcParams["axes.prop_cycle"]), cycle(_MARKERS), strict=False)
    looks = [
        look | {"marker": marker, "label": label_of(trace), "markersize": 4}
        for trace, look, marker in cycles
    ]
    marks = [_START] + [_MINIMIZER] * bool(len(problem.minimizers))
    ax.set(title=problem.name)
    ax.grid(visible=False)
    below(ax, [Line2D([], [], **look) for look in looks + marks])
    low, high = _window(problem, traces)
    fill = _draw_contours if problem.start.size == 2 else _draw_curve
    low, high = fill(ax, problem, low, high)
    lines, ends = [], []
    for trace, look in zip(traces, looks, strict=True):
        line, end = _draw_path(ax, trace, low, high, look)
        lines.append(line)
        ends += end
    for look, points in (
        (_START, np.array([trace.x[0] for trace in traces])),
        (_MINIMIZER, problem.minimizers),
    ):
        for point in _places(problem, points):
            ax.plot(*point, **look)
    return ax, lines, ends


def _places(problem: Problem, x: Array) -> Array:
    """Return the coordinates of points in the picture, (n, 2): (x₁, x₂), or (x, f(x))."""
    if problem.start.size == 2:
        return x
    with np.errstate(all="ignore"):  # a diverged path has overflowed
        return np.column_stack([x, problem.value(x)])


def _draw_curve(ax: Axes, problem: Problem, low: Array, high: Array) -> tuple[Array, Array]:
    """Draw f over its one variable; return the corners of the picture."""
    x = np.linspace(low, high, 801)
    points = _places(problem, x)
    ax.plot(*points.T, color=style.MUTED, linestyle="-", linewidth=0.8, zorder=1)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.array([0.0, 0.08 * (high[1] - low[1]) or 0.5])
    low, high = low - margin, high + margin
    ax.set(xlabel="x", ylabel="f(x)", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    return low, high


def _fill(ax: Axes, low: Array, high: Array) -> tuple[Array, Array]:
    """Widen the window to the shape of the axes, so that both axes have the same scale."""
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
    problem = traces[0].problem
    d = problem.start.size
    if d > 2:
        raise ValueError(f"paths draws problems of one or two variables, {problem.name!r} has {d}")
    for trace in traces[1:]:
        with np.errstate(all="ignore"):  # a diverged path has overflowed
            same = trace.x.shape[1] == d and np.allclose(
                problem.value(trace.x), trace.f, equal_nan=True
            )
        if not same:
            raise ValueError(
                f"all traces must be of one problem, got {problem.name!r} and another, "
                f"{trace.problem.name!r}"
            )
    return problem


def _window(problem: Problem, traces: Sequence[Trace]) -> tuple[Array, Array]:
    """Return the corners: starts, minimizers, and the points not far from them, with a margin.

    A detour from which a path comes back may go twice as far.
    """
    aims = problem.minimizers
    if not len(aims):  # instead, where each path is flattest: there may be a saddle
        aims = np.array([trace.x[np.nanargmin(trace.gradient_norm)] for trace in traces])
    anchors = np.vstack([*(trace.x[0] for trace in traces), *aims])
    reach = max(float(np.ptp(anchors, axis=0).max()), 1.0)
    low, high = anchors.min(axis=0), anchors.max(axis=0)
    shown = [anchors]
    for trace in traces:
        beyond = np.maximum(low - trace.x, trace.x - high).max(axis=1)
        back = 1 + int(np.flatnonzero(beyond <= reach)[-1])
        shown.append(trace.x[:back][beyond[:back] <= 2 * reach])
    points = np.vstack(shown)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.08 * float((high - low).max()) or 0.5  # a path may never leave its start
    return low - margin, high + margin


def _draw_contours(ax: Axes, problem: Problem, low: Array, high: Array) -> tuple[Array, Array]:
    """Draw the contours of f over its two variables; return the corners of the picture."""
    ax.set(xlabel="x₁", ylabel="x₂")
    ax.yaxis.set_offset_position("right")  # a factor of all ticks: the title stands on the left
    low, high = _fill(ax, low, high)
    grid = np.stack(np.meshgrid(*(np.linspace(a, b, 201) for a, b in zip(low, high, strict=True))))
    f = problem.value(np.moveaxis(grid, 0, -1))
    levels = np.linspace(f.min(), f.max(), _LEVELS + 2)[1:-1]
    if problem.minimum is not None:
        height = f.max() - problem.minimum
        levels = problem.minimum + height * 2.0 ** -np.arange(_LEVELS, 0, -1)
    ax.contour(*grid, f, levels=levels, colors=style.MUTED, linewidths=0.4, linestyles="-")
    return low, high


def _draw_path(
    ax: Axes, trace: Trace, low: Array, high: Array, look: dict[str, Any]
) -> tuple[Line2D, list[Artist]]:
    """Return the line drawn and the mark of its end: a marker, an arrow at the edge, or none."""
    x = _places(trace.problem, trace.x)
    x = x[np.isfinite(x).all(axis=1)]
    last = int(np.flatnonzero(((x >= low) & (x <= high)).all(axis=1))[-1])
    x = x[: last + 2]
    (line,) = ax.plot(*x.T, markevery=max(1, len(x) // 40), **look)
    if trace.problem.start.size == 1:
        line.set_linewidth(0.8)  # the lines are chords of the curve: only the points matter
    if last == len(x) - 1:
        if trace.diverged_at:  # the next point is infinite: the path has no end to mark
            return line, []
        return line, list(ax.plot(*x[-1], **look | _END))
    step = x[-1] - x[-2]
    edges = np.where(step > 0, high, low) - x[-2]
    share = min(e / s for e, s in zip(edges, step, strict=True) if s)
    arrow = {"arrowstyle": "-|>", "color": look["color"], "mutation_scale": 18, "shrinkB": 0}
    return line, [ax.annotate("", xy=x[-2] + share * step, xytext=x[-2], arrowprops=arrow)]


def _look_of(line: Line2D) -> dict[str, Any]:
    return {"color": line.get_color(), "marker": line.get_marker(), "linestyle": "none"}
