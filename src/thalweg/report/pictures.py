"""Pictures of a race: what each rule costs, how the loss fell, what the rate did, the time it took.

Each function takes the record of ``results.json``, and most take the table of ``curves.parquet``
too. It returns a matplotlib figure. The rule to take and those that are as good stand out. Every
rule has its own panel or line, so that a picture of twenty rules is as easy to read as one of a
single rule.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator
from matplotlib.transforms import Transform
from numpy.typing import ArrayLike, NDArray

from thalweg import style
from thalweg.report.record import Record
from thalweg.words import digits, duration, worse

__all__ = ["learning_rates", "loss_curves", "prices", "time_to_target"]

# A diverged loss counts as this: above all that is drawn, and still a number that can be ranked.
_DIVERGED = 1e30

# So many trials of a rule are always all drawn. More could make a page of megabytes.
_MANY = 256

# Where the axis of prices has a mark, if there is room: inches of the picture for each label.
_MARKS = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0, 1000.0)
_LABEL = 0.5

# A loss that is 0 up to rounding is drawn here: a logarithmic axis has no 0.
_LEAST = 1e-8


@style.styled()
def prices(results: Record, width: float = 7.2) -> Figure:
    """Draw how much worse than the best each rule is, with its interval, grouped by state.

    The axis is linear up to 20 % and logarithmic above. The line of a price without an upper end
    goes to the edge.

    Args:
        results: the record of ``results.json``.
        width: inches, > 0; 7.2 by default.
    """
    picture, axes = style.figure(width, 0.9 + 0.22 * len(results.rules))
    top = max(_number(row.price.high, _number(row.price.low)) for row in results.rules)
    top = 1.15 * max(top, 2 * results.margin)
    axes.set_xscale("symlog", linthresh=0.2, linscale=1.5)
    axes.axvline(results.margin, **_TARGET)
    for y, row in enumerate(results.rules):
        color = _color(results, row.rule)
        ends = _number(row.price.low), _number(row.price.high, 2 * top)
        axes.plot(ends, (y, y), color=color, linestyle="-", linewidth=2, solid_capstyle="butt")
        axes.plot(_number(row.price.typical), y, "o", color=color, markersize=5)
        _tell(
            axes, y, f"{row.rule}, worse than the best by: {worse(row.price.low, row.price.high)}"
        )
        if y and row.state != results.rules[y - 1].state:
            axes.axhline(y - 0.5, color=style.MUTED, linestyle="-", linewidth=0.6)
    names = [f"{results.mark(row.rule)}" for row in results.rules]
    axes.set_yticks(range(len(names)), names)
    for label, row in zip(axes.get_yticklabels(), results.rules, strict=True):
        label.set_color(_color(results, row.rule))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(-0.01, top)
    axes.set_xticks(_legible(axes, [mark for mark in _MARKS if mark <= top], width))
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("test loss above that of the best rule")
    return picture


def _legible(axes: Axes, marks: Sequence[float], width: float) -> list[float]:
    """Leave out each mark whose label would overlap the one before."""
    along = axes.xaxis.get_transform().transform
    inch = float(np.diff(along(np.array(axes.get_xlim())))[0]) / width
    kept: list[float] = []
    for mark in marks:
        if not kept or np.diff(along(np.array([kept[-1], mark])))[0] >= _LABEL * inch:
            kept.append(mark)
    return kept


def _tell(axes: Axes, y: int, text: str) -> None:
    """Add the text that a mouse shows over a line of a picture."""
    row = axes.axhspan(y - 0.5, y + 0.5, facecolor="none", edgecolor="none")
    style.tell(row, text)


@style.styled()
def loss_curves(results: Record, curves: pa.Table, width: float = 7.2) -> Figure:
    """Draw the validation loss of each rule's best trial by epoch, re-run on fresh seeds.

    The line is the median over seeds, and the band holds the middle 80 %. The dotted line is the
    target. The thin line in every panel is the rule to take. The axis is logarithmic, unless a loss
    or the target is negative.

    Args:
        results: the record of ``results.json``.
        curves: the table of ``curves.parquet``.
        width: inches, > 0; 7.2 by default; a narrow figure has fewer columns.
    """
    bands = {row.rule: _band(_final_losses(curves, row.rule)) for row in results.rules}
    picture, panels = _panels(results, width)
    target = _number(results.target.validation_loss)
    start = max(band[1, 0] for band in bands.values())
    top = start + 0.1 * abs(start)
    low = np.nanmin([target, *(band[1].min() for band in bands.values())])
    least = min(band.min() for band in bands.values())
    if least < 0:
        low = min(low, least)
    # A diverged curve leaves the panel, but not for heights that no browser can draw.
    bands = {rule: np.minimum(band, top + 1e3 * (top - low)) for rule, band in bands.items()}
    for rule, (axes, color) in panels.items():
        axes.plot(bands[results.take][1], color=style.WINNER, linestyle="-", linewidth=0.7)
        below, median, above = bands[rule]
        axes.fill_between(range(len(median)), below, above, color=color, alpha=0.25, linewidth=0)
        axes.plot(median, color=color, linestyle="-")
        axes.axhline(target, **_TARGET)
        axes.set_xlim(0, max(len(median) - 1, 1))
        losses = ", ".join(f"{epoch}: {digits(loss, 4)}" for epoch, loss in enumerate(median))
        style.tell(axes, f"{rule}, median loss after each epoch: {losses}")
    _scale_losses(axes, low, top, room=0.1)
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True, steps=[1, 2, 5, 10]))
    _explain(picture, "epochs", [
        Line2D([], [], color=style.INK, linestyle="-", label="median"),
        Patch(color=style.INK, alpha=0.25, linewidth=0, label="middle 80 %"),
        Line2D([], [], **_TARGET, label="target"),
        Line2D([], [], color=style.WINNER, linestyle="-", linewidth=0.7, label="★ to take"),
        Line2D([], [], color=style.TIE, linestyle="-", label="= as good"),
    ])  # fmt: skip
    return picture


@style.styled()
def learning_rates(results: Record, curves: pa.Table, width: float = 7.2) -> Figure:
    """Draw the last validation loss of each trial against its learning rate, a panel per rule.

    The shaded rates are those of trials within 5 % of the rule's chosen one. A cross at the top is
    a trial that diverged, a triangle one whose loss is above the scale. Where a rule has more than
    256 trials, those that would cover each other are drawn once. The axis of losses is logarithmic,
    unless one is negative.

    Args:
        results: the record of ``results.json``.
        curves: the table of ``curves.parquet``.
        width: inches, > 0; 7.2 by default; a narrow figure has fewer columns.
    """
    trials = {row.rule: _trial_losses(curves, row.rule) for row in results.rules}
    picture, panels = _panels(results, width)
    losses = np.concatenate([loss for _, loss in trials.values()])
    rates = np.concatenate([lr for lr, _ in trials.values()])
    foot, top = _heights(results, losses.min())
    axes, _ = next(iter(panels.values()))
    _scale_losses(axes, foot, top, room=0.15)
    if np.isfinite(rates).any():  # a rule may have no rate
        style.logarithmic(axes, "x", np.nanmin(rates) / 2, np.nanmax(rates) * 2, ticks=3)
    for rule, (axes, color) in panels.items():
        lr, loss = trials[rule]
        row = results.row(rule)
        low, high = row.sensitivity.good_lr or (None, None)
        if low is not None and high is not None:
            axes.axvspan(low, high, color=style.FAINT, alpha=0.6, linewidth=0)
        shown = loss < top
        inside, edge = axes.transData, axes.get_xaxis_transform()
        for marker, drawn, heights, transform in (
            ("o", shown, np.maximum(loss, foot), inside),
            ("x", loss >= _DIVERGED, np.full(len(loss), 0.96), edge),
            ("^", ~shown & (loss < _DIVERGED), np.full(len(loss), 0.96), edge),
        ):
            points = _apart(np.column_stack([lr, heights])[drawn], transform)
            style_of = {**_TRIAL, "marker": marker}
            axes.plot(*points.T, **style_of, color=color, transform=transform)
        chosen = _number(row.hyper.get("lr"))
        axes.plot(chosen, _off_zero(_number(row.val_loss)), **_BEST, color=color)
    _explain(picture, "learning rate", [
        Line2D([], [], **_TRIAL, color=style.INK, label="trial"),
        Line2D([], [], **_BEST, color=style.INK, label="chosen, on other seeds"),
        Line2D([], [], **{**_TRIAL, "marker": "x"}, color=style.INK, label="diverged"),
        Line2D([], [], **{**_TRIAL, "marker": "^"}, color=style.INK, label="above the scale"),
        Patch(color=style.FAINT, alpha=0.6, linewidth=0, label="within 5 % of chosen"),
    ])  # fmt: skip
    return picture


@style.styled()
def time_to_target(results: Record, width: float = 7.2) -> Figure:
    """Draw the seconds each rule takes to the target, on a log axis, the fastest first.

    The dot is the time of the fastest turn. The line goes to that of the slowest.

    Args:
        results: the record of ``results.json``.
        width: inches, > 0; 7.2 by default.
    """
    rows = sorted(results.rules, key=lambda row: _number(row.seconds_to_target, math.inf))
    picture, axes = style.figure(width, 0.7 + 0.22 * len(rows))
    beside = axes.get_yaxis_transform()
    reached: list[float] = []
    for y, row in enumerate(rows):
        color, seconds, epochs = (
            _color(results, row.rule), row.seconds_to_target, row.epochs_to_target
        )  # fmt: skip
        text = "not reached" if seconds is None else "at the start"
        if seconds:  # a logarithmic axis has no 0
            slowest = seconds * (1 + _number(row.seconds_spread, 0.0))
            axes.plot((seconds, slowest), (y, y), color=color, linestyle="-", linewidth=1.2)
            axes.plot(seconds, y, "o", color=color, markersize=5)
            _tell(axes, y, f"{row.rule}: {duration(seconds)} to {duration(slowest)}")
            reached += seconds, slowest
            text = f"{epochs:.3g} epoch{'' if epochs == 1 else 's'}"
        axes.text(1.02, y, text, color=color, va="center", fontsize=8, transform=beside)
    axes.set_yticks(range(len(rows)), [results.mark(row.rule) for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(_color(results, row.rule))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    if reached:
        style.logarithmic(axes, "x", 0.7 * min(reached), 1.4 * max(reached))
    else:
        axes.set_xticks([])
    axes.set_xlabel("seconds to the target")
    return picture


_TARGET: dict[str, Any] = {"color": style.INK, "linewidth": 0.8, "linestyle": (0, (1, 2))}
_TRIAL: dict[str, Any] = {
    "linestyle": "none", "marker": "o", "markersize": 3, "markeredgewidth": 0.7,
    "markerfacecolor": "none",
}  # fmt: skip
_BEST: dict[str, Any] = {"linestyle": "none", "marker": "*", "markersize": 9, "markeredgewidth": 0}


def _panels(results: Record, width: float) -> tuple[Figure, dict[str, tuple[Axes, str]]]:
    """Return a figure with one titled panel per rule, best first, and the colour of each."""
    rules = [row.rule for row in results.rules]
    rows = math.ceil(len(rules) / max(1, round(width / 1.5)))
    columns = math.ceil(len(rules) / rows)
    panel = min(3.0, 0.8 * width / columns)
    head = 0.5 if width > 5 else 0.9  # room for what _explain writes
    height = rows * panel + head + 0.5
    picture, grid = style.figure(
        width, height, layout=None,
        nrows=rows, ncols=columns, sharex=True, sharey=True, squeeze=False,
    )  # fmt: skip
    # All panels are alike, so fixed margins fit; to search for them takes as long as to draw.
    picture.subplots_adjust(
        left=0.6 / width, right=1 - 0.15 / width, bottom=0.5 / height, top=1 - head / height,
        hspace=0.35, wspace=0.16,
    )  # fmt: skip
    panels = {}
    for index, (rule, axes) in enumerate(zip(rules, grid.flat, strict=False)):
        color = _color(results, rule)
        axes.set_title(results.mark(rule), color=color, fontsize=7.5)
        axes.tick_params(length=0, labelsize=7, labelbottom=index >= len(rules) - columns)
        panels[rule] = (axes, color)
    for axes in grid.flat[len(rules) :]:
        axes.remove()
    return picture, panels


def _explain(picture: Figure, x: str, handles: Sequence[Artist]) -> None:
    """Name the axes that all panels share, and explain above them every sign that is drawn."""
    columns = len(handles) if picture.get_figwidth() > 5 else 2
    picture.legend(handles=handles, loc="upper center", ncols=columns, fontsize=8)
    picture.supxlabel(x)
    picture.supylabel("validation loss")


def _color(results: Record, rule: str) -> str:
    if rule == results.take:
        return style.WINNER
    return style.TIE if results.row(rule).state == "as good" else style.MUTED


def _apart(points: NDArray[np.float64], transform: Transform) -> NDArray[np.float64]:
    """Return the points (n, 2). Of very many, only the first in each square of a marker's size."""
    if len(points) <= _MANY:
        return points
    squares = np.nan_to_num(np.round(transform.transform(points) / _TRIAL["markersize"]))
    return points[np.sort(np.unique(squares, axis=0, return_index=True)[1])]


def _number(value: float | None, otherwise: float = math.nan) -> float:
    return otherwise if value is None else value


def _final_losses(curves: pa.Table, rule: str) -> NDArray[np.float64]:
    """Validation losses of the rule's fresh seeds, of shape (seeds, epochs + 1)."""
    chosen = curves.filter((pc.field("rule") == rule) & (pc.field("phase") == "final"))
    chosen = chosen.sort_by([("seed", "ascending"), ("epoch", "ascending")])
    losses = _ranked(chosen["validation_loss"])
    return losses.reshape(-1, pc.max(chosen["epoch"]).as_py() + 1)


def _trial_losses(curves: pa.Table, rule: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Learning rate and last validation loss of each of the rule's trials."""
    chosen = curves.filter((pc.field("rule") == rule) & (pc.field("phase") == "trial"))
    last = (
        chosen.sort_by([(name, "ascending") for name in ("repeat", "trial", "epoch")])
        .group_by(["repeat", "trial"], use_threads=False)
        .aggregate([("lr", "last"), ("validation_loss", "last")])
    )
    return last["lr_last"].to_numpy(), _ranked(last["validation_loss_last"])


def _ranked(column: pa.ChunkedArray) -> NDArray[np.float64]:
    losses: NDArray[np.float64] = column.to_numpy()
    return _off_zero(np.nan_to_num(losses, nan=_DIVERGED, posinf=_DIVERGED))


def _off_zero(losses: ArrayLike) -> NDArray[np.float64]:
    return np.where(np.abs(losses) < _LEAST, _LEAST, losses)


def _band(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The 10 %, 50 % and 90 % points over seeds, of shape (3, epochs + 1)."""
    return np.quantile(losses, (0.1, 0.5, 0.9), axis=0)


def _heights(results: Record, lowest: float) -> tuple[float, float]:
    """Return the foot and the top of the scale of trials, given the lowest loss of them all.

    A lucky trial far below every chosen one is drawn at the foot, so that it does not flatten the
    others.
    """
    known = [row.val_loss for row in results.rules if row.val_loss is not None]
    constant = _number(results.target.constant)
    lowest = min([lowest, *known])
    if lowest >= 0:
        foot = max(lowest, min(known, default=0) / 3, _LEAST)
        top = 1.3 * constant
        return foot, top if foot < top else 10 * foot
    least = min(known, default=lowest)
    fall = constant - least if constant > least else max(abs(least), abs(lowest))
    return max(lowest, least - fall / 2), least + 1.1 * fall


def _scale_losses(axes: Axes, low: float, top: float, room: float) -> None:
    """Make the axis of losses logarithmic, or linear if the lowest loss is not positive.

    Args:
        axes: any of the panels, which share it.
        low: the lowest loss.
        top: the upper end of the axis.
        room: below the lowest, as a share of it or of the linear axis.
    """
    if low > 0:
        style.logarithmic(axes, "y", (1 - room) * low, top)
        return
    axes.set_ylim(low - room / 2 * (top - low), top)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(style.tick)
