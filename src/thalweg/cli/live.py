"""The live view of a race: how each rule stands, how far it is, and the time left."""

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from thalweg.words import digits, printable

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from thalweg.racing import Progress

__all__ = ["View", "live", "sparkline", "view"]

_BLOCKS = "▁▂▃▄▅▆▇█"
_BAR = 40  # characters
_LARGEST = 1e300  # that is drawn: differences stay finite


def sparkline(values: Sequence[float | None], width: int = 20) -> str:
    """Return a curve as a line of blocks: the highest value is a full one, the lowest a thin one.

    Args:
        values: of the curve, in order; what is None, not finite or above 1e300 is a gap.
        width: at most so many characters; where there are more values, evenly chosen ones.

    Example:
        >>> sparkline([8.0, 4.0, 2.0, 1.0, 1.0]), sparkline([3.0, float("inf")])
        ('█▄▂▁▁', '▁ ')
    """
    if len(values) > width:
        values = [values[round(i * (len(values) - 1) / (width - 1))] for i in range(width)]
    known = [math.nan if value is None else value for value in values]
    finite = [value for value in known if abs(value) <= _LARGEST]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        _BLOCKS[round((value - low) * scale)] if abs(value) <= _LARGEST else " " for value in known
    )


def view(progress: "Progress", since: float = 0.0) -> "Group":
    """Return what a terminal shows of a race that goes on.

    Args:
        progress: how far it was.
        since: seconds that have passed since then.
    """
    from rich.console import Group  # noqa: PLC0415 - only who shows it waits for it
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    rules = Table(box=None, pad_edge=False, header_style="underline")
    rules.add_column("rule", no_wrap=True)
    for heading in ("trainings", "best loss"):
        rules.add_column(heading, justify="right", no_wrap=True)
    rules.add_column("by epoch", no_wrap=True)
    leader = progress.best.partition(" ")[0]
    for name, standing in progress.standings.items():
        loss = digits(standing.loss, 4)
        cells = (name, str(standing.trainings), loss, sparkline(standing.curve))
        rules.add_row(*map(_text, cells), style="bold" if name == leader else "")
    left = progress.seconds_left
    clock = timedelta(seconds=round(since if left is None else max(0.0, left - since)))
    line = Table.grid(padding=(0, 1))
    line.add_row(
        ProgressBar(progress.total, min(progress.done, progress.total), width=_BAR),
        f"{progress.done / progress.total:.0%}",
        _text(f"{clock} so far" if left is None else f"{clock} left"),
        _text(f"best: {progress.best}" if progress.best else ""),
        _text(progress.doing if progress.done < progress.total else "writing the report"),
    )
    return Group(rules, line)


def _text(words: str) -> "Text":
    """Return words as text, never Rich's markup or a command to the terminal."""
    from rich.text import Text  # noqa: PLC0415

    return Text(printable(words))


class _Ticking:
    """The view of a race, whose clock goes on between two pieces of work."""

    def __init__(self, progress: "Progress") -> None:
        self.progress = progress
        self.told = time.monotonic()

    def __rich__(self) -> "Group":
        return view(self.progress, time.monotonic() - self.told)


class View:
    """The view of a race on a terminal; elsewhere it shows nothing.

    Args:
        shown: what refreshes itself there, None for nothing.
    """

    def __init__(self, shown: "Live | None") -> None:
        self._shown = shown

    def show(self, progress: "Progress") -> None:
        """Show how far a race is."""
        if self._shown:
            self._shown.update(_Ticking(progress))

    def confirm(self, question: str) -> bool:
        """Ask on the terminal, without the view, a question to answer by y or n."""
        if self._shown:
            self._shown.stop()
        answer = typer.confirm(printable(question), err=True)
        if self._shown:
            self._shown.start()
        return answer


@contextmanager
def live(*, quiet: bool) -> Iterator[View]:
    """Show the view of a race on a terminal; elsewhere, and when quiet, nothing."""
    if quiet or not sys.stderr.isatty():
        yield View(None)
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.spinner import Spinner  # noqa: PLC0415

    ready = Spinner("dots", "getting ready")
    with Live(ready, console=Console(stderr=True), transient=True) as shown:
        yield View(shown)
