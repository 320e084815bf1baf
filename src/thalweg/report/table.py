"""Table: what a race found, for a terminal."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from thalweg.report.record import Interval, Record, Row
from thalweg.words import digits, duration, percent, printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["budgets", "table"]


def budgets(results: Record) -> str:
    """Return who is best after how many trials; nothing where that was not compared."""
    known = [step for step in results.by_budget if step.best is not None]
    said = []
    for rule, steps in itertools.groupby(known, key=lambda step: step.best):
        counts = ", ".join(str(step.trials) for step in steps)
        said.append(f"{rule} after {counts} trial{' (its defaults)' if counts == '1' else 's'}")
    return f"Best by validation loss: {'; '.join(said)}." if said else ""


def table(results: Record, width: int = 100) -> "Table":
    """Return the race as a table for a terminal, the verdict above it.

    Args:
        results: the record of ``results.json``.
        width: columns of the terminal; where they are few, the less telling of the table's are left
            out, so that from 40 on no name or number is cut.
    """
    from rich.console import Console  # noqa: PLC0415 - only who prints a table waits for it

    columns = {heading: [cell(row) for row in results.rules] for heading, cell in _CELLS.items()}
    room = Console(width=10_000)
    for least in ("", "good lr", "untuned", "time", "batch", "to best", "epochs", "score", "lr"):
        columns.pop(least, None)
        shown = _table(results, columns)
        if room.measure(shown).maximum <= width:
            break
    return shown


def _table(results: Record, columns: Mapping[str, Sequence[str]]) -> "Table":
    from rich.table import Table  # noqa: PLC0415

    explained = " ".join([_SIGNS, *(text for name, text in _NOTES.items() if name in columns)])
    sizes = results.batch_sizes
    found = [budgets(results), sizes.advice if sizes else ""]
    caption = [explained.format(seeds=results.protocol.seeds), *filter(None, found)]
    shown = Table(
        title=_text(results.sentence + "\n", "bold"),
        title_justify="left",
        caption=_text("\n".join(caption)),
        caption_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="underline",
    )
    shown.add_column("rule", no_wrap=True)
    for heading in columns:
        title = results.protocol.metric if heading == "score" else heading
        shown.add_column(_text(title), justify="right", no_wrap=True)
    for row, *cells in zip(results.rules, *columns.values(), strict=True):
        style = "bold" if row.rule == results.winner else ""
        shown.add_row(*map(_text, (results.mark(row.rule), *cells)), style=style)
    return shown


def _interval(of: Interval) -> str:
    return "{} [{}, {}]".format(*(digits(n, 3, "#") for n in (of.median, of.low, of.high)))


def _text(words: str, style: str = "") -> "Text":
    """Return words as text: never Rich's markup, and nothing that commands the terminal."""
    from rich.text import Text  # noqa: PLC0415 - only who prints a table waits for it

    return Text(printable(words), style)


_SIGNS = "★ winner, = tied with it: the difference may be the luck of seeds and search."

# What a terminal shows of a row of results.json, by heading.
_CELLS: dict[str, Callable[[Row], str]] = {
    "lr": lambda row: digits(row.hyper.get("lr")),
    "batch": lambda row: str(row.batch_size),
    "test loss [95 %]": lambda row: _interval(row.test_loss),
    "to best": lambda row: digits(row.difference.median or None, 2, "+"),
    "score": lambda row: digits(row.test_score, 3, "#"),
    "untuned": lambda row: percent(row.defaults.excess, "+"),
    "epochs": lambda row: digits(row.epochs_to_target),
    "time": lambda row: duration(row.seconds_to_target),
    "good lr": lambda row: digits(row.sensitivity.good_lr_decades, 2),
}
_NOTES = {
    "test loss [95 %]": "Test loss: median over {seeds} fresh seeds and its interval.",
    "to best": "To best: difference to the winner, paired by seed.",
    "untuned": "Untuned: how much higher its defaults' validation loss is.",
    "epochs": "Epochs: to the target, which the data set fixes.",
    "time": "Time: to the same target.",
    "good lr": "Good lr: decades of rates within 5 % of the chosen one.",
}
