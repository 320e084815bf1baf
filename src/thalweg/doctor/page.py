"""Page: what the doctor saw and found, as one self-contained file."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray

from thalweg import files, style
from thalweg.doctor.causes import CAUSES
from thalweg.doctor.finding import Report
from thalweg.doctor.signs import Curves
from thalweg.report.page import drawn, template

if TYPE_CHECKING:
    from thalweg.doctor.proof import Proof

__all__ = ["Watched", "check", "write"]

_MARK = b"<!-- a page of thalweg doctor -->"
_COLUMNS = 60  # of a picture of layers


@dataclass(frozen=True)
class Watched:
    """What a page shows.

    Args:
        curves: the losses.
        report: what was found.
        signals: steps and values of other signals, by name.
        layers: names of parameters.
        layer_steps: at which their shares were noted.
        shares: of each step, the norm of each parameter's gradient over that of its weights.
        proof: courses with and without the cures; None: not asked for.
    """

    curves: Curves
    report: Report
    signals: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)
    layers: Sequence[str] = ()
    layer_steps: Sequence[int] = ()
    shares: Sequence[Sequence[float]] = ()
    proof: "Proof | None" = None


def check(path: str | os.PathLike[str]) -> None:
    """Raise FileExistsError where a file that is no page of the doctor's is in the way."""
    files.check_replaceable(path, _MARK)


def write(path: str | os.PathLike[str], watched: Watched) -> Path:
    """Write the page; it needs no font, no script and no request.

    Args:
        path: of the page, such as ``doctor.html``; a page of the doctor's there is replaced.
        watched: what it shows.

    Raises:
        FileExistsError: another file is in its place; it stays.
        OSError: it cannot be written.
    """
    figures = {"timeline": drawn("Losses and signals", partial(_timeline, watched))}
    if len(watched.shares) > 1 and watched.layers:
        figures["layers"] = drawn("Gradients by layer", partial(_layers, watched))
    if watched.proof is not None and watched.proof.cures:
        figures["proof"] = drawn("With and without the cure", partial(_proof, watched.proof))
    page = template(Path(__file__).parent / "page.html").render(
        watched=watched, report=watched.report, causes=CAUSES, figures=figures, mark=_MARK.decode()
    )
    return files.write(path, page.encode(), _MARK)


@style.styled()
def _timeline(watched: Watched, width: float = 7.2) -> Figure:
    """Draw the losses and signals over the steps, with the findings where they begin."""
    curves = watched.curves
    rows = 1 + len(watched.signals)
    picture, panels = style.figure(
        width, 2.6 + 1.1 * len(watched.signals), nrows=rows, sharex=True, squeeze=False,
        height_ratios=[2.2, *[1] * len(watched.signals)],
    )  # fmt: skip
    loss, *others = panels[:, 0]
    loss.plot(*_thin(curves.steps, curves.training), color=style.WINNER, label="training loss")
    if len(curves.validation):
        held = _thin(curves.validation_steps, curves.validation)
        loss.plot(*held, color=style.TIE, linestyle="--", label="validation loss")
    _scale(loss, curves.training, curves.validation)
    loss.legend(loc="upper right", fontsize=8)
    loss.set_ylabel("loss")
    for axes, (name, (steps, values)) in zip(others, watched.signals.items(), strict=True):
        axes.plot(*_thin(steps, values), color=style.INK, linewidth=1)
        axes.set_ylabel(name)
        _scale(axes, np.array(values, float))
    for number, found in enumerate(watched.report.findings, 1):
        if found.onset is not None:
            for axes in panels[:, 0]:
                axes.axvline(found.onset, color=style.INK, linestyle=(0, (1, 2)), linewidth=0.9)
            loss.text(
                found.onset, 1.01, f" {number}", fontsize=9, transform=loss.get_xaxis_transform()
            )
    panels[-1, 0].set_xlabel(curves.unit)
    return picture


def _thin(
    steps: Sequence[float] | NDArray[np.float64], values: Sequence[float] | NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return at most a thousand points; what is not finite is a gap."""
    every = -(-len(values) // 1000) or 1
    shown = np.array(values, float)[::every]
    return np.array(steps, float)[::every], np.where(np.isfinite(shown), shown, np.nan)


def _scale(axes: Axes, *values: NDArray[np.float64]) -> None:
    """Take a logarithmic axis where nothing is negative; a 0 lies below it."""
    together = np.concatenate(values)
    above = together[np.isfinite(together) & (together > 0)]
    if len(above) and not (together < 0).any():
        top = float(above.max())
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(0.7 * max(float(above.min()), 1e-6 * top), 1.5 * top)


@style.styled()
def _layers(watched: Watched, width: float = 7.2) -> Figure:
    """Draw the gradient of each parameter over its weights, the stronger in colour the larger."""
    shares = np.log10(np.maximum(np.array(watched.shares, float), 1e-30)).T
    every = -(-shares.shape[1] // _COLUMNS)
    shares = shares[:, ::every]
    finite = shares[np.isfinite(shares) & (shares > -29)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (-1.0, 0.0)
    low = max(low, high - 6)  # decades
    part = (shares - low) / max(high - low, 1e-12)
    colors = np.tile(to_rgba(style.WINNER), (*shares.shape, 1))
    colors[..., 3] = np.clip(np.nan_to_num(part, nan=0.0, posinf=1.0), 0, 1)
    picture, axes = style.figure(width, 0.9 + 0.2 * len(watched.layers))
    columns, size = shares.shape[1], len(watched.layers)
    for row in range(size):
        axes.bar(range(columns), 0.9, 1.0, row - 0.45, color=colors[row], linewidth=0)
    axes.set_yticks(range(size), [_short(name, width) for name in watched.layers])
    axes.set_ylim(size - 0.5, -0.5)
    axes.set_xlim(-0.5, columns - 0.5)
    places = sorted({0, columns // 2, columns - 1})
    axes.set_xticks(places, [str(watched.layer_steps[::every][place]) for place in places])
    axes.grid(visible=False)
    axes.set_xlabel(f"step; blank {10**low:.1g}, full {10**high:.1g}")
    return picture


def _short(name: str, width: float) -> str:
    most = int(width * 4)
    return name if len(name) <= most else f"…{name[-most:]}"


@style.styled()
def _proof(proof: "Proof", width: float = 7.2) -> Figure:
    """Draw the course as it was and those with a cure that worked, or the best one."""
    picture, axes = style.figure(width, 2.8)
    axes.plot(*_course(proof.onset, proof.losses), color=style.INK, label="as it was")
    shown = [cure for cure in proof.cures if cure.worked][:3] or list(proof.cures[:1])
    looks = ((style.WINNER, "-"), (style.TIE, "--"), (style.MUTED, ":"))
    for cure, (color, line) in zip(shown, looks, strict=False):
        losses = _course(proof.onset, cure.losses)
        axes.plot(*losses, color=color, linestyle=line, label=f"cure of {cure.cause}")
    _scale(axes, *map(np.array, (proof.losses, *(cure.losses for cure in shown))))
    axes.legend(fontsize=8)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    return picture


def _course(onset: int, losses: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return _thin(np.arange(onset, onset + len(losses), dtype=float), losses)
