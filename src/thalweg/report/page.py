"""Page: what a race found as one self-contained file."""

import base64
import functools
import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jinja2
import markupsafe
from matplotlib.figure import Figure

from thalweg import files, style
from thalweg.report import curves, pictures, record
from thalweg.report.record import Record
from thalweg.report.table import budgets
from thalweg.words import digits, duration, memory, percent, printable, worse

__all__ = ["drawn", "template", "write"]

# The width of the figures in inches: on a desk, and on a phone.
_WIDTHS = {"wide": 7.2, "narrow": 3.7}


def write(directory: str | os.PathLike[str]) -> Path:
    """Write report.html into a race folder, from its results.json and curves.parquet.

    The page is complete in itself: it needs no font and makes no request. Its one script sorts the
    table. It follows the reader's light or dark theme and fits a phone.

    Args:
        directory: the folder of a race that has ended.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: results.json or curves.parquet does not exist.
        ValueError: one of them is not what a race writes.
    """
    directory = Path(directory)
    results = record.read(directory)
    losses = curves.read(directory, results)
    drawings = {
        "Loss by epoch": partial(pictures.loss_curves, results, losses),
        "Loss by learning rate": partial(pictures.learning_rates, results, losses),
        "Time to the target": partial(pictures.time_to_target, results),
    }
    figures = {title: drawn(title, draw) for title, draw in drawings.items()}
    prices = drawn("Against the best", partial(pictures.prices, results))
    script = (Path(__file__).parent / "sort.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = template(Path(__file__).parent / "page.html").render(
        **vars(results),
        script=markupsafe.Markup(script),  # noqa: S704 - ours
        digest=f"sha256-{digest}",
        figures=figures,
        prices=prices,
        budgets=budgets(results),
        rounds=_rounds(results),
    )
    return files.write(directory / "report.html", page.encode())


@functools.cache
def template(path: Path) -> jinja2.Template:
    """Return the template of a page; it may include what lies in this folder, such as its look."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([path.parent, Path(__file__).parent]),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "digits": digits,
        "duration": duration,
        "memory": memory,
        "percent": percent,
        "worse": worse,
    }
    return environment.get_template(path.name)


def drawn(title: str, draw: Callable[[float], Figure]) -> dict[str, markupsafe.Markup]:
    """Return a picture in each of its widths."""
    return {
        name: markupsafe.Markup(style.svg(draw(width), f"{title}, {name}"))  # noqa: S704 - escaped there
        for name, width in _WIDTHS.items()
    }


def _shown(value: object) -> object:
    """Return what the page shows of a value: text without characters that cannot be seen."""
    safe = isinstance(value, markupsafe.Markup)
    return printable(value) if isinstance(value, str) and not safe else value


def _rounds(results: Record) -> str:
    """Return how many trials each rule had: with a budget in time a slow rule has fewer."""
    counts = results.protocol.trials_per_rule
    slow, fast = (pick(counts, key=counts.__getitem__) for pick in (min, max))
    same, trials, more = "The same", str(counts[fast]), str(results.protocol.second_round)
    if counts[slow] < counts[fast]:
        same, more = "The same time", "half as many"
        trials = f"{counts[slow]} ({slow}) to {counts[fast]} ({fast})"
    return (
        f"{same} for every rule: {trials} trials spread over its search space, one of them its "
        f"defaults, then {more} around the best"
    )
