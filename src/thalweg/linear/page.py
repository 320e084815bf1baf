"""Page: what is known of a fitted linear model, as one self-contained file."""

import os
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from thalweg import files, style
from thalweg.linear.fitted import Fitted
from thalweg.report.page import drawn, template

__all__ = ["MARK", "write"]

MARK = b"<!-- a page of thalweg fit -->"


def write(path: str | os.PathLike[str], fitted: Fitted) -> Path:
    """Write the page; it needs no font, no script and no request.

    Args:
        path: of the page. One that thalweg fit made is replaced.
        fitted: what it shows.

    Raises:
        FileExistsError: another file is in its place; it stays.
        OSError: it cannot be written.
    """
    pictures = {"curve": drawn("Loss against rows seen", partial(_curve, fitted))}
    if fitted.weights:
        pictures["weights"] = drawn("Largest weights", partial(_weights, fitted))
    if fitted.calibration:
        pictures["calibration"] = drawn("Calibration", partial(_calibration, fitted))
    page = template(Path(__file__).parent / "page.html").render(
        fitted=fitted,
        dataset=fitted.dataset,
        saved=fitted.saved,
        features=len(fitted.saved.encoder.features),
        figures=pictures,
        mark=MARK.decode(),
    )
    return files.write(path, page.encode(), MARK)


@style.styled()
def _curve(fitted: Fitted, width: float) -> Figure:
    """Draw the progressive loss over the rows of one pass, of each piece and on average so far."""
    picture, axes = style.figure(width, 2.8)
    counts = np.diff(fitted.rows, prepend=0)
    mean = np.cumsum(counts * fitted.losses) / fitted.rows
    axes.plot(fitted.rows, fitted.losses, ".", color=style.MUTED, label="these rows")
    axes.plot(fitted.rows, mean, color=style.WINNER, linestyle="-", label="all so far")
    axes.set_xlabel("rows seen")
    axes.set_ylabel(f"{fitted.saved.estimator.loss} loss")
    axes.set_xlim(0, None)
    axes.legend(loc="upper right", fontsize=8)
    return picture


@style.styled()
def _weights(fitted: Fitted, width: float) -> Figure:
    """Draw the largest weights as bars, those below 0 in the other colour."""
    most = int(width * 5)
    names = [n if len(n) <= most else f"…{n[-most:]}" for n, _ in fitted.weights]
    values = np.array([value for _, value in fitted.weights])
    picture, axes = style.figure(width, 0.8 + 0.22 * len(values))
    colors = [style.WINNER if value > 0 else style.TIE for value in values]
    axes.barh(range(len(values)), values, 0.7, color=colors)
    axes.set_yticks(range(len(values)), names)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.axvline(0, color=style.MUTED, linewidth=0.7)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("weight per standard deviation")
    return picture


@style.styled()
def _calibration(fitted: Fitted, width: float) -> Figure:
    """Draw what was found over what was predicted; a good model is on the diagonal."""
    picture, axes = style.figure(width, min(width, 3.6))
    predicted, found = np.array([(b.predicted, b.found) for b in fitted.calibration]).T
    low, high = (0.0, 1.0)
    if fitted.dataset.classes is None:
        low, high = min(predicted.min(), found.min()), max(predicted.max(), found.max())
    axes.plot([low, high], [low, high], color=style.MUTED, linestyle="--", linewidth=0.9)
    axes.plot(predicted, found, color=style.WINNER, marker="o", markersize=4)
    axes.set_xlabel("mean prediction" if fitted.dataset.classes is None else "probability said")
    axes.set_ylabel("mean found" if fitted.dataset.classes is None else "share found")
    return picture
