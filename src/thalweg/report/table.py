"""Table: what a race found, for a terminal."""

import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from thalweg.report.record import Interval, Record, Row
from thalweg.words import digits, duration, percent, printable, worse

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["budgets", "table", "text"]


def budgets(results: Record) -> str:
    """Return which rule is best after how many trials; "" if that was not compared."""
    known = [step for step in results.by_budget if step.best is not None]
    said = []
    for rule, steps in itertools.groupby(known, key=lambda step: step.best):
        counts = [str(step.trials) for step in steps]
        trials = " or ".join(filter(None, [", ".join(counts[:-1]), counts[-1]]))
        only = "1 trial, its defaults" if counts == ["1"] else f"{trials} trials"
        said.append(f"{rule} with {only}")
    return f"Lowest validation loss: {'; '.join(said)}." if said else ""


def text(results: Record, width: int = 100) -> str:
    """Return the table as plain text."""
    from rich.console import Console  # noqa: PLC0415 - only who prints a table waits for it

    console = Console(width=width, record=True, file=io.StringIO(), highlight=False)
    console.print(table(results, width))
    return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def table(results: Record, width: int = 100) -> "Table":
    """Return the race as a table for a terminal, the verdict above it.

    Args:
        results: the record of ``results.json``.
        width: of the terminal, in characters. If it is small, the less important columns are left
            out. From 40 characters on, no name or number is cut.
    """
    from rich.console import Console  # noqa: PLC0415 - only who prints a table waits for it

    columns = {heading: [cell(row) for row in results.rules] for heading, cell in _CELLS.items()}
    itself = [row.rule for row in results.rules].index(results.winner)
    columns["beat it"][itself] = "–"
    room = Console(width=10_000)
    left_out: list[str] = []
    shown = _table(results, columns, left_out)
    for least in (
        "good lr",
        "untuned",
        "time",
        "batch",
        "beat it",
        "epochs",
        "score",
        "lr",
        "worse by",
    ):
        if room.measure(shown).maximum <= width:
            break
        columns.pop(least)
        left_out.append(_title(results, least))
        shown = _table(results, columns, left_out)
    return shown


def _title(results: Record, heading: str) -> str:
    return results.protocol.metric if heading == "score" else heading


def _table(
    results: Record, columns: Mapping[str, Sequence[str]], left_out: Sequence[str]
) -> "Table":
    from rich.table import Table  # noqa: PLC0415

    explained = " ".join([_SIGNS, *(text for name, text in _NOTES.items() if name in columns)])
    sizes = results.batch_sizes
    gone = f"No room here for: {', '.join(left_out)}." if left_out else ""
    caption = [explained.format(terms=results.protocol), gone, budgets(results)]
    caption += [sizes.advice if sizes else ""]
    shown = Table(
        title=_text(results.sentence + "\n", "bold"),
        title_justify="left",
        caption=_text("\n".join(filter(None, caption))),
        caption_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="underline",
    )
    shown.add_column("rule", no_wrap=True)
    for heading in columns:
        shown.add_column(_text(_title(results, heading)), justify="right", no_wrap=True)
    state = ""
    for row, *cells in zip(results.rules, *columns.values(), strict=True):
        if row.state != state:  # the column by which rows are grouped
            shown.add_row(_text(_GROUPS[row.state], "italic"))
        state, style = row.state, "bold" if row.rule == results.take else ""
        shown.add_row(*map(_text, (results.mark(row.rule), *cells)), style=style)
    return shown


def _interval(of: Interval) -> str:
    typical, low, high = (digits(number, 3, "#") for number in (of.typical, of.low, of.high))
    return f"{typical} [{low}, {high}]" if of.known else f"{typical} [not known]"


def _text(words: str, style: str = "") -> "Text":
    """Return words as plain text: neither Rich's markup nor commands to the terminal."""
    from rich.text import Text  # noqa: PLC0415 - only who prints a table waits for it

    return Text(printable(words), style)


_SIGNS = "★ take this one; = as good as the best."
_GROUPS = {"as good": "as good:", "undecided": "undecided:", "worse": "worse:"}

# The columns of the table, by heading: what they show of a row of results.json.
_CELLS: dict[str, Callable[[Row], str]] = {
    "lr": lambda row: digits(row.hyper.get("lr")),
    "batch": lambda row: str(row.batch_size),
    "test loss [95 %]": lambda row: "diverged" if row.lost else _interval(row.test_loss),
    "worse by": lambda row: "–" if row.lost else worse(row.price.low, row.price.high),
    "beat it": lambda row: percent(row.probability),
    "score": lambda row: digits(row.test_score, 3, "#"),
    "untuned": lambda row: percent(row.defaults.excess, "+"),
    "epochs": lambda row: digits(row.epochs_to_target),
    "time": lambda row: duration(row.seconds_to_target),
    "good lr": lambda row: digits(row.sensitivity.good_lr_decades, 2),
}
_NOTES = {
    "test loss [95 %]": "Test loss: typical over {terms.repeats} repeats, each with new parts, a "
    "new search and new seeds.",
    "worse by": "Worse by: how much higher the loss is than the best rule's; all rows hold at once "
    "with 95 % confidence.",
    "beat it": "Beat it: share of the repeats in which the rule beat the one of the lowest loss.",
    "untuned": "Untuned: how much higher the validation loss is at the defaults.",
    "epochs": "Epochs: to the target, which the data set fixes.",
    "time": "Time: to the same target.",
    "good lr": "Good lr: decades of rates within 5 % of the chosen one.",
}
