"""Pictures of a training: its losses and signals, its layers, and what a cure changes."""

import base64
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from numpy.typing import ArrayLike, NDArray

from thalweg import style
from thalweg.doctor.watched import Watched
from thalweg.words import digits

if TYPE_CHECKING:
    from torch import Tensor

    from thalweg.doctor.proof import Proof

__all__ = ["image", "layers", "proof", "timeline"]

Floats = NDArray[np.float64]

_POINTS = 1000  # of a line
_FEW = 30  # points, each of which is marked
_COLUMNS = 60  # of a picture of layers
_ROWS = 32
_DECADES = 6  # that its shades tell apart
_SHADES = 8
_SIDE = 5  # pixels, of what is taken for an image
_ONSET: dict[str, Any] = {"color": style.INK, "linestyle": (0, (1, 2)), "linewidth": 0.9}


_SECOND: dict[str, Any] = {
    "color": style.TIE, "linestyle": "--", "linewidth": 1, "markersize": 3,
}  # fmt: skip
_POINT: dict[str, Any] = {
    "color": style.INK, "linestyle": "none", "marker": ".", "markersize": 3, "markeredgewidth": 0,
}  # fmt: skip


@style.styled()
def timeline(watched: Watched, width: float = 7.2) -> Figure:
    """Draw the losses and signals over the steps, with the findings where they begin.

    Args:
        watched: what was seen.
        width: inches, > 0; 7.2 by default.
    """
    panels = [_losses]
    panels += [_norms] if len(watched.norms[0]) else []
    panels += [_rates] if len(watched.rates) else []
    panels += [_updates, _cosines, _weights] if watched.notes else []
    picture, grid = style.figure(
        width, 2.4 + 1.15 * len(panels), nrows=len(panels), sharex=True, squeeze=False,
        height_ratios=[2.4, *[1] * (len(panels) - 1)],
    )  # fmt: skip
    for draw, axes in zip(panels, grid[:, 0], strict=True):
        draw(watched, axes)
    loss = grid[0, 0]
    for number, found in enumerate(watched.report.findings, 1):
        if found.onset is not None:
            for axes in grid[:, 0]:
                axes.axvline(found.onset, **_ONSET)
            place = (found.onset, 1.01)
            loss.text(*place, f" {number}", fontsize=9, transform=loss.get_xaxis_transform())
    grid[-1, 0].set_xlabel(watched.curves.unit)
    picture.align_ylabels()
    return picture


def _losses(watched: Watched, axes: Axes) -> None:
    curves = watched.curves
    axes.plot(*_thin(curves.steps, curves.training), color=style.WINNER, label="training loss")
    if len(curves.validation):
        held = _thin(curves.validation_steps, curves.validation)
        few = "o" if len(held[0]) < _FEW else ""
        axes.plot(*held, **_SECOND, marker=few, label="validation loss")
    _scale(axes, curves.training, curves.validation)
    axes.set_ylabel("loss")
    _name_lines(axes)


def _norms(watched: Watched, axes: Axes) -> None:
    axes.plot(*_thin(*watched.norms), color=style.INK, linewidth=1)
    axes.set_ylabel("gradient\nnorm")
    _scale(axes, watched.norms[1])


def _rates(watched: Watched, axes: Axes) -> None:
    steps = np.arange(len(watched.rates))
    axes.plot(*_thin(steps, watched.rates), color=style.INK, linewidth=1, label="rate")
    known = [(d.step, d.critical.limit) for d in watched.dynamics if d.critical]
    known = [(step, limit) for step, limit in known if math.isfinite(limit)]
    if known:
        axes.plot(*zip(*known, strict=True), **_SECOND, marker="o", label="its limit")
        _name_lines(axes)
    axes.set_ylabel("rate")
    _scale(axes, watched.rates, [limit for _, limit in known])


def _updates(watched: Watched, axes: Axes) -> None:
    notes = [note for note in watched.notes if note.updates]
    steps = [note.step for note in notes]
    with np.errstate(all="ignore"):
        shares = np.array([note.updates for note in notes], float).reshape(len(notes), -1)
        shares[~(shares > 0) | ~np.isfinite(shares)] = np.nan
        known = ~np.isnan(shares).all(1)
        ends = np.full((3, len(notes)), np.nan)
        ends[:, known] = np.nanquantile(shares[known], (0.0, 0.5, 1.0), axis=1)
    low, middle, high = (_thin(steps, each)[1] for each in ends)
    shown = _thin(steps, ends[1])[0]
    axes.fill_between(shown, low, high, color=style.WINNER, alpha=0.2, linewidth=0)
    axes.plot(shown, middle, color=style.WINNER, linewidth=1)
    axes.set_ylabel("update /\nweight")
    _scale(axes, ends.ravel())


def _cosines(watched: Watched, axes: Axes) -> None:
    steps = [note.step for note in watched.notes]
    cosines = [note.cosine for note in watched.notes]
    axes.axhline(0, color=style.MUTED, linewidth=0.6)
    axes.plot(*_thin(steps, cosines), **_POINT)
    axes.set_ylim(-1.05, 1.05)
    axes.set_yticks([-1, 0, 1])
    axes.set_ylabel("cosine")


def _weights(watched: Watched, axes: Axes) -> None:
    steps = [note.step for note in watched.notes]
    weights = [note.weights for note in watched.notes]
    axes.plot(*_thin(steps, weights), color=style.INK, linewidth=1)
    axes.set_ylabel("weight\nnorm")
    _scale(axes, weights)


def _name_lines(axes: Axes) -> None:
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.97), ncols=2, fontsize=8, borderpad=0)


def _thin(steps: ArrayLike, values: ArrayLike) -> tuple[Floats, Floats]:
    """Return at most a thousand points; what is not finite is a gap."""
    shown = np.asarray(values, float)
    every = -(-len(shown) // _POINTS) or 1
    shown = shown[::every]
    return np.asarray(steps, float)[::every], np.where(np.isfinite(shown), shown, np.nan)


def _scale(axes: Axes, *values: ArrayLike) -> None:
    """Take a logarithmic axis where nothing is negative; a 0 lies below it."""
    together = np.concatenate([np.asarray(one, float).ravel() for one in values])
    above = together[np.isfinite(together) & (together > 0)]
    if len(above) and not (together < 0).any():
        top = float(above.max())
        low = max(float(above.min()), 1e-6 * top)
        room = max(1.02, (top / low) ** 0.08)
        style.logarithmic(axes, "y", low / room, top * room, ticks=4)


@style.styled()
def layers(watched: Watched, width: float = 7.2) -> Figure:
    """Draw gradients and updates of each parameter over its weights, the darker the larger.

    Args:
        watched: what was seen.
        width: inches, > 0; 7.2 by default; in a narrow figure the two stand below each other.
    """
    chosen = _chosen(watched)
    names = [watched.layers[i] for i in chosen]
    wide = width > 5
    height = 0.9 + 0.19 * len(names)
    picture, grid = style.figure(
        width, height if wide else 2 * height, squeeze=False,
        nrows=1 if wide else 2, ncols=2 if wide else 1, sharey=wide,
    )  # fmt: skip
    moved = [note for note in watched.notes if note.updates]
    for axes, what, notes in zip(
        grid.flat, ("gradient / weight", "update / weight"), (watched.notes, moved), strict=True
    ):
        shares = [note.gradients if "gradient" in what else note.updates for note in notes]
        table = np.array(shares, float)[:, chosen].T
        _shade(axes, table, [note.step for note in notes], names)
        axes.set_title(what)
        first = axes is grid.flat[0] or not wide
        axes.set_yticks(range(len(names)), [_short(name, width) for name in names])
        axes.tick_params(length=0, labelleft=first)
        axes.grid(visible=False)
    return picture


def _chosen(watched: Watched) -> list[int]:
    """Return which parameters are drawn: of very many an even choice."""
    every = range(len(watched.layers))
    return list(every[:: -(-len(every) // _ROWS) or 1])


def _shade(axes: Axes, shares: Floats, steps: Sequence[int], names: Sequence[str]) -> None:
    """Draw a row of cells for each parameter, in shades of one colour."""
    with np.errstate(divide="ignore", invalid="ignore"):
        decades = np.log10(shares[:, :: -(-shares.shape[1] // _COLUMNS)])
    at = np.asarray(steps)[:: -(-shares.shape[1] // _COLUMNS)]
    known = decades[np.isfinite(decades)]
    high = float(known.max()) if len(known) else 0.0
    low = max(float(known.min()) if len(known) else -1.0, high - _DECADES)
    part = np.nan_to_num((decades - low) / max(high - low, 1e-9), nan=0, neginf=0, posinf=1)
    shade = np.ceil(np.clip(part, 0, 1) * _SHADES).astype(int)
    for level in range(1, _SHADES + 1):
        boxes = [box for row, shown in enumerate(shade) for box in _runs(shown == level, row)]
        if boxes:
            cells = PathPatch(Path.make_compound_path(*boxes), linewidth=0)
            cells.set(facecolor=style.WINNER, alpha=level / _SHADES)
            axes.add_patch(cells)
    for row, name in enumerate(names):
        own = shares[row]
        line = axes.axhspan(row - 0.5, row + 0.5, facecolor="none", edgecolor="none")
        style.tell(line, f"{name}: {digits(own[0])} at first, {digits(own[-1])} at the end")
    axes.set(xlim=(-0.5, len(at) - 0.5), ylim=(len(names) - 0.5, -0.5))
    places = sorted({0, len(at) // 2, len(at) - 1})
    axes.set_xticks(places, [str(at[place]) for place in places])
    axes.set_xlabel(f"step; blank {10**low:.1g}, full {10**high:.1g}")


def _runs(cells: NDArray[np.bool_], row: int) -> list[Path]:
    """Return a rectangle for each run of cells."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], cells, [False]]).astype(int)))
    corners = zip(edges[::2] - 0.5, edges[1::2] - 0.5, strict=True)
    return [
        Path([(a, row - 0.45), (b, row - 0.45), (b, row + 0.45), (a, row + 0.45), (a, row - 0.45)],
             closed=True)
        for a, b in corners
    ]  # fmt: skip


def _short(name: str, width: float) -> str:
    most = 24 if width > 5 else 14
    return name if len(name) <= most else f"…{name[1 - most :]}"


@style.styled()
def proof(proof: "Proof", width: float = 7.2) -> Figure:
    """Draw the course as it was, and the best with a cure that worked, or the best one.

    Args:
        proof: the courses.
        width: inches, > 0; 7.2 by default.
    """
    picture, axes = style.figure(width, 2.8)
    axes.plot(*_course(proof.onset, proof.losses), color=style.INK, label="as it was")
    shown = [cure for cure in proof.cures if cure.worked and cure.losses][:3]
    shown = shown or [cure for cure in proof.cures if cure.losses][:1]
    looks = ((style.WINNER, "-"), (style.TIE, "--"), (style.MUTED, ":"))
    for cure, (color, line) in zip(shown, looks, strict=False):
        label = f"cure of {cure.cause.replace('_', ' ')}"
        axes.plot(*_course(proof.onset, cure.losses), color=color, linestyle=line, label=label)
    _scale(axes, proof.losses, *(cure.losses for cure in shown))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2 if width > 5 else 1, fontsize=8)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    return picture


def _course(onset: int, losses: Sequence[float]) -> tuple[Floats, Floats]:
    return _thin(np.arange(onset, onset + len(losses), dtype=float), losses)


def image(x: "Tensor | None") -> str | None:
    """Return an example as the address of a picture that is in the page; None if it is no image.

    Args:
        x: height times width, or with one or three channels before or behind them.
    """
    if x is None:
        return None
    pixels = np.nan_to_num(x.detach().cpu().double().numpy())
    if pixels.ndim == 3 and pixels.shape[0] in {1, 3}:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    colored = pixels.ndim == 3 and pixels.shape[-1] == 3
    if not (colored or pixels.ndim == 2) or min(pixels.shape[:2]) < _SIDE:
        return None
    low, high = pixels.min(), pixels.max()
    content = io.BytesIO()
    imsave(content, (pixels - low) / max(high - low, 1e-300), cmap="gray", vmin=0, vmax=1)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
