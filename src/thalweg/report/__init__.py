"""What a race found, for people: one self-contained page, and a table for the terminal."""

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg import files
from thalweg.words import digits, mark, percent

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["read", "table", "write"]

_SCHEMA = 1  # of results.json; it changes when a name there changes its meaning

# The width of a page's figures in inches: for a desk, and for a phone.
_WIDTHS = {"wide": 7.2, "narrow": 3.7}


def read(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the record of a race folder's ``results.json``.

    Raises:
        FileNotFoundError: there is none; the race has not ended, or never began there.
        ValueError: the file is not what a race writes.
    """
    path = Path(directory) / "results.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist: no race has ended in {str(directory)!r} "
            "(continue one with thalweg race --resume DIR)"
        )
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema = results["schema"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path} is not the results of a race; repeat the race or restore the file"
        ) from None
    if schema != _SCHEMA:
        raise ValueError(
            f"{path} must have schema {_SCHEMA}, got {schema}: another version of thalweg wrote it"
        )
    return results


def write(directory: str | os.PathLike[str]) -> Path:
    """Write report.html into a race folder, from its results.json and curves.parquet.

    The page needs nothing but itself: no script, no font, no request. It follows the reader's
    light or dark theme and fits a phone.

    Args:
        directory: the folder of a race that has ended.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: results.json or curves.parquet does not exist.
        ValueError: one of them is not what a race writes.
    """
    import jinja2  # noqa: PLC0415 - as the figures: only who writes a page waits for it
    import markupsafe  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    from thalweg import race_plots, style  # noqa: PLC0415

    directory = Path(directory)
    results, curves = read(directory), pq.read_table(directory / "curves.parquet")
    drawings = {
        "Loss by epoch": partial(race_plots.loss_curves, results, curves),
        "Loss by learning rate": partial(race_plots.learning_rates, results, curves),
        "Time to the target": partial(race_plots.time_to_target, results),
    }
    figures = {
        title: {
            name: markupsafe.Markup(style.svg(draw(width), f"{title}, {name}"))  # noqa: S704 - escaped there
            for name, width in _WIDTHS.items()
        }
        for title, draw in drawings.items()
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"digits": digits, "percent": percent}
    page = environment.get_template("page.html").render(**results, figures=figures)
    return files.write(directory / "report.html", page.encode())


def table(results: Mapping[str, Any]) -> "Table":
    """Return the race as a table for a terminal of 100 columns, the verdict above it.

    Args:
        results: the record of ``results.json``.
    """
    from rich.table import Table  # noqa: PLC0415 - only who prints a table waits for it
    from rich.text import Text  # noqa: PLC0415 - names are text, never Rich's markup

    protocol = results["protocol"]
    shown = Table(
        title=Text(results["sentence"] + "\n", style="bold"),
        title_justify="left",
        caption=Text(
            f"★ winner, = tied with it. Test loss: median over {protocol['seeds']} seeds [95 % "
            "interval]; to best: difference to the winner, paired by seed. Epochs, seconds: to the "
            "target, which the data set fixes. Good lr: decades of rates within 5 % of the best."
        ),
        caption_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="underline",
    )
    shown.add_column("rule", no_wrap=True)
    for heading in (
        "lr", "batch", "test loss [95 %]", "to best", protocol["metric"], "epochs", "seconds",
        "good lr",
    ):  # fmt: skip
        shown.add_column(Text(heading), justify="right", no_wrap=True)
    for row in results["rules"]:
        loss = row["test_loss"]
        shown.add_row(
            Text(mark(results, row["rule"])),
            digits(row["hyper"].get("lr")),
            str(row["batch_size"]),
            Text(
                "{} [{}, {}]".format(*(digits(loss[k], 3, "#") for k in ("median", "low", "high")))
            ),
            "" if row["rule"] == results["winner"] else digits(row["difference"]["median"], 2, "+"),
            digits(row["test_score"]),
            digits(row["epochs_to_target"]),
            digits(row["seconds_to_target"], 2),
            digits(row["sensitivity"]["good_lr_decades"], 2),
            style="bold" if row["rule"] == results["winner"] else "",
        )
    return shown
