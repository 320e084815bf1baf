"""The style of every picture: safe for the colour-blind, and legible in black and white."""

import html
import io
import math
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from cycler import cycler
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from thalweg import files

__all__ = [
    "FAINT",
    "INK",
    "MARK",
    "MUTED",
    "TIE",
    "WINNER",
    "check",
    "figure",
    "logarithmic",
    "save",
    "styled",
    "svg",
    "tell",
    "tick",
]

MARK = "thalweg, drawn with Matplotlib"
"""What a picture says of who made it; only such pictures are ever replaced."""
_MARKED = {"png": "Software", "svg": "Creator", "pdf": "Creator"}  # where each format says so

# Colours stand for roles, not for series: a picture of twenty rules needs three, not twenty. Each
# differs
# in lightness as well as in hue. In a page they become CSS variables, which follow its theme.
INK = "#1d2129"
MUTED = "#6f7680"
FAINT = "#d4d8dd"
WINNER = "#0067a9"
TIE = "#c25700"
_TIP = "tip: "  # begins what an artist says to a mouse; it travels as the artist's id
_VARIABLES = {INK: "ink", MUTED: "muted", FAINT: "faint", WINNER: "winner", TIE: "tie"}

# Series that are named in a legend: Okabe & Ito's colours, dark ones first, each with its own dash.
# With seven of one and nine of the other no two of 63 look the same.
_COLORS = [WINNER, TIE, "#007a5a", "#a84f86", "#8a6d00", "#3f8fc4", "#6f7680"]
_DASHES: list[Any] = [
    "-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1)),
    (0, (12, 2)), "--", (0, (9, 1.5, 1.2, 1.5, 1.2, 1.5)), (0, (1.2, 3)),
]  # fmt: skip

_SETTINGS: Any = {
    "axes.prop_cycle": cycler(color=9 * _COLORS) + cycler(linestyle=7 * _DASHES),
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.titlecolor": INK,
    "axes.titley": 1.0,  # not "best": that search takes as long as the drawing
    "axes.facecolor": "none",
    "figure.dpi": 100,
    "figure.facecolor": "none",
    "figure.labelsize": 9,
    "font.size": 9,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "savefig.dpi": 200,
    "svg.fonttype": "none",  # text stays text: small, selectable, in the page's own font
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.color": MUTED,
    "ytick.labelsize": 8,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in this style; use it as a context or as a decorator.

    Settings take effect when text and axes are created, so all drawing belongs inside. The caller's
    own settings are restored afterwards.

    Example:
        >>> with styled():
        ...     mpl.rcParams["font.size"]
        9.0
    """
    with mpl.rc_context(_SETTINGS):
        yield


@styled()
def figure(
    width: float = 6.4,
    height: float = 4.0,
    *,
    layout: Literal["constrained"] | None = "constrained",
    **subplots: Any,  # noqa: ANN401 - as matplotlib's own
) -> tuple[Figure, Any]:
    """Return a new figure and its axes, outside pyplot's global state.

    Args:
        width: inches, > 0; 6.4 by default.
        height: inches, > 0; 4.0 by default.
        layout: whether matplotlib finds room for labels ("constrained", the default) or the caller
            gives the margins (None).
        subplots: what ``Figure.subplots`` takes, such as ``nrows`` and ``sharex``.

    Example:
        >>> picture, axes = figure(nrows=2, sharex=True)
        >>> axes.shape
        (2,)
    """
    picture = Figure(figsize=(width, height), layout=layout)
    return picture, picture.subplots(**subplots)


@styled()
def save(picture: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a picture, whole or not at all. The ending (.png, .svg or .pdf) is its format.

    Raises:
        ValueError, FileExistsError: see ``check``.

    Example:
        >>> import tempfile
        >>> save(figure()[0], Path(tempfile.mkdtemp()) / "empty.png").name
        'empty.png'
    """
    kind = check(path)
    content, metadata = io.BytesIO(), {_MARKED[kind]: MARK}
    picture.savefig(content, format=kind, facecolor="white", metadata=metadata)
    return files.write(Path(path), content.getvalue(), MARK.encode())


def check(path: str | os.PathLike[str]) -> str:
    """Return the format that a picture's name asks for by its ending.

    Raises:
        ValueError: the ending is none of .png, .svg and .pdf.
        FileExistsError: there is a file of that name that is not a picture of ours.

    Example:
        >>> check("path.PNG")
        'png'
    """
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in _MARKED:
        raise ValueError(f"a picture's name must end in .{', .'.join(_MARKED)}, got {path}")
    files.check_replaceable(path, MARK.encode())
    return kind


def logarithmic(
    axes: Axes, name: Literal["x", "y"], low: float, high: float, ticks: int = 5
) -> None:
    """Make an axis logarithmic with a few round ticks, in plain digits.

    Args:
        axes: that has it.
        name: which of its axes.
        low: its lower end, > 0.
        high: its upper end, > low.
        ticks: the most of them, where they are powers of ten.
    """
    axes.set(**{f"{name}scale": "log", f"{name}lim": (low, high)})
    axis = axes.xaxis if name == "x" else axes.yaxis
    decades = math.log10(high / low)
    if decades < 0.7:
        axis.set_major_locator(MaxNLocator(4))
    elif decades < 2.5:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1.5 else (1, 3)))
    else:
        axis.set_major_locator(LogLocator(numticks=ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(tick)


def tick(value: float, _: float = 0.0) -> str:
    """Return a tick's label, short at any size.

    Example:
        >>> [tick(value) for value in (0.0, 0.001, -20.0, 1e-6, 1e4)]
        ['0', '0.001', '-20', '1e-6', '1e4']
    """
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:g}"
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def tell(artist: Artist, text: str) -> None:
    """Let a picture in a page say more where a mouse rests on the artist.

    Args:
        artist: an axes or what is drawn in it. The page's style must let what is not filled be
            pointed at: ``.tip path { pointer-events: all }``.
        text: what it says.
    """
    artist.set_gid(_TIP + text)


@styled()
def svg(picture: Figure, label: str) -> str:
    """Return a picture as an ``<svg>`` element whose colours are the page's CSS variables.

    The page declares ``--ink``, ``--muted``, ``--faint``, ``--winner`` and ``--tie``, and the font.
    Coordinates are rounded to a hundredth of a point, and names that nothing refers to are dropped.
    This makes the page a third as long.

    Args:
        picture: drawn in the roles of this module.
        label: what a screen reader says, in plain text; it also makes the element's ids its own.

    Example:
        >>> svg(figure()[0], "an <empty> picture")[:54]
        '<svg role="img" aria-label="an &lt;empty&gt; picture" '
    """
    content = io.StringIO()
    with warnings.catch_warnings(), mpl.rc_context({"svg.hashsalt": label}):  # the same bytes
        warnings.filterwarnings("ignore", "Glyph")  # the page's reader has the font
        # Not savefig: it draws the picture twice.
        FigureCanvasSVG(picture).print_svg(  # type: ignore[no-untyped-call] # matplotlib leaves it untyped
            content, metadata={"Date": None}
        )
    text = content.getvalue()
    box = re.search(r'viewBox="[^"]*"', text)
    assert box, "matplotlib writes a viewBox"
    body = text[text.index("</metadata>") + len("</metadata>") :]
    body = re.sub(f'<g id="{_TIP}([^"]*)">', r'<g class="tip"><title>\1</title>', body)
    for color, name in _VARIABLES.items():
        body = body.replace(color, f"var(--{name})")
    body = re.sub(r"<[^>]*>", _shorten, body)
    used = set(re.findall(r"#([\w-]+)", body))
    body = re.sub(r' id="([^"]*)"', lambda name: name[0] if name[1] in used else "", body)
    return f'<svg role="img" aria-label="{html.escape(label)}" {box[0]}>{body}'


def _shorten(tag: re.Match[str]) -> str:
    """Drop from a tag what has no effect. The text between tags stays as it is."""
    text = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", tag[0])
    return re.sub(r" font-family: [^;\"]*;?| transform=\"rotate\(-0 [^\"]*\"", "", text)
