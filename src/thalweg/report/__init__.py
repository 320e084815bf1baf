"""What a race found, for people: one self-contained page, and a table for the terminal."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg import files
from thalweg.words import budgets, digits, duration, mark, memory, percent

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["read", "table", "write"]

SCHEMA = 2  # of results.json; it changes when a name there changes its meaning

_KEYS = {  # of results.json that a page or a table reads
    "version", "command", "seed", "data", "protocol", "target", "winner", "ties", "sentence",
    "code", "by_budget", "batch_sizes", "rules",
}  # fmt: skip

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
            f"{path} does not exist: no race has ended there; continue one with thalweg race "
            f"--resume {directory}, or print its trainings with thalweg results {directory} --csv"
        )
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema = results["schema"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path} is not the results of a race; repeat the race or restore the file"
        ) from None
    if schema != SCHEMA:
        raise ValueError(
            f"{path} must have schema {SCHEMA}, got {schema}: another version of thalweg wrote it"
        )
    if missing := _KEYS - results.keys():
        raise ValueError(
            f"{path} is not the results of a race, for it has no {', '.join(sorted(missing))}; "
            "repeat the race or restore the file"
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

    from thalweg import race_plots, style  # noqa: PLC0415

    directory = Path(directory)
    results, curves = read(directory), _curves(directory)
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
    environment.filters |= {
        "digits": digits,
        "duration": duration,
        "memory": memory,
        "percent": percent,
    }
    page = environment.get_template("page.html").render(
        **results, figures=figures, budgets=budgets(results), rounds=_rounds(results["protocol"])
    )
    return files.write(directory / "report.html", page.encode())


def _curves(directory: Path) -> Any:  # noqa: ANN401 - pyarrow has no types
    import pyarrow as pa  # noqa: PLC0415 - as the figures
    import pyarrow.parquet as pq  # noqa: PLC0415

    path = directory / "curves.parquet"
    remedy = f"write it again from the kept trainings with thalweg race --resume {directory}"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; {remedy}")
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}); {remedy}") from None


def _rounds(protocol: Mapping[str, Any]) -> str:
    """Return what each rule's search was given: under a budget in time a slow one tries less."""
    counts = protocol["trials_per_rule"]
    slow, fast = (pick(counts, key=counts.__getitem__) for pick in (min, max))
    same, trials, more = "The same", str(counts[fast]), str(protocol["second_round"])
    if counts[slow] < counts[fast]:
        same, more = "The same time", "half as many"
        trials = f"{counts[slow]} ({slow}) to {counts[fast]} ({fast})"
    return (
        f"{same} for every rule: {trials} trials spread over its search space, one of them its "
        f"defaults, then {more} around the best"
    )


def table(results: Mapping[str, Any], width: int = 100) -> "Table":
    """Return the race as a table for a terminal, the verdict above it.

    Args:
        results: the record of ``results.json``.
        width: columns of the terminal; where they are few, the less telling of the table's are left
            out, so that from 40 on no name or number is cut.
    """
    from rich.console import Console  # noqa: PLC0415 - only who prints a table waits for it

    columns = {heading: [cell(row) for row in results["rules"]] for heading, cell in _CELLS.items()}
    room = Console(width=10_000)
    for least in ("", "good lr", "untuned", "time", "batch", "to best", "epochs", "score", "lr"):
        columns.pop(least, None)
        shown = _table(results, columns)
        if room.measure(shown).maximum <= width:
            break
    return shown


def _table(results: Mapping[str, Any], columns: Mapping[str, Sequence[str]]) -> "Table":
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415 - names are text, never Rich's markup

    explained = " ".join([_SIGNS, *(text for name, text in _NOTES.items() if name in columns)])
    sizes = results["batch_sizes"]
    found = [budgets(results), sizes["advice"] if sizes else ""]
    caption = [explained.format(seeds=results["protocol"]["seeds"]), *filter(None, found)]
    shown = Table(
        title=Text(results["sentence"] + "\n", style="bold"),
        title_justify="left",
        caption=Text("\n".join(caption)),
        caption_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="underline",
    )
    shown.add_column("rule", no_wrap=True)
    for heading in columns:
        title = results["protocol"]["metric"] if heading == "score" else heading
        shown.add_column(Text(title), justify="right", no_wrap=True)
    for row, *cells in zip(results["rules"], *columns.values(), strict=True):
        style = "bold" if row["rule"] == results["winner"] else ""
        shown.add_row(Text(mark(results, row["rule"])), *map(Text, cells), style=style)
    return shown


def _interval(of: Mapping[str, float | None]) -> str:
    return "{} [{}, {}]".format(*(digits(of[k], 3, "#") for k in ("median", "low", "high")))


_SIGNS = "★ winner, = tied with it: the difference may be the luck of seeds and search."

# What a terminal shows of a row of results.json, by heading.
_CELLS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "lr": lambda row: digits(row["hyper"].get("lr")),
    "batch": lambda row: str(row["batch_size"]),
    "test loss [95 %]": lambda row: _interval(row["test_loss"]),
    "to best": lambda row: digits(row["difference"]["median"] or None, 2, "+"),
    "score": lambda row: digits(row["test_score"], 3, "#"),
    "untuned": lambda row: percent(row["defaults"]["excess"], "+"),
    "epochs": lambda row: digits(row["epochs_to_target"]),
    "time": lambda row: duration(row["seconds_to_target"]),
    "good lr": lambda row: digits(row["sensitivity"]["good_lr_decades"], 2),
}
_NOTES = {
    "test loss [95 %]": "Test loss: median over {seeds} fresh seeds and its interval.",
    "to best": "To best: difference to the winner, paired by seed.",
    "untuned": "Untuned: how much higher its defaults' validation loss is.",
    "epochs": "Epochs: to the target, which the data set fixes.",
    "time": "Time: to the same target.",
    "good lr": "Good lr: decades of rates within 5 % of the chosen one.",
}
