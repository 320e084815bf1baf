"""The live view of a race: how each rule stands, how far it is, and the time left."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from thalweg.words import digits

if TYPE_CHECKING:
    from rich.console import Group

    from thalweg.racing import Progress

__all__ = ["live", "sparkline", "view"]

_BLOCKS = "▁▂▃▄▅▆▇█"
_BAR = 40  # characters


def sparkline(values: Sequence[float], width: int = 20) -> str:
    """Return a curve as a line of blocks: the highest value is a full one, the lowest a thin one.

    Args:
        values: of the curve, in order.
        width: at most so many characters; where there are more values, evenly chosen ones.

    Example:
        >>> sparkline([8.0, 4.0, 2.0, 1.0, 1.0]), sparkline([3.0, float("inf")])
        ('█▄▂▁▁', '▁ ')
    """
    if len(values) > width:
        values = [values[round(i * (len(values) - 1) / (width - 1))] for i in range(width)]
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        _BLOCKS[round((value - low) * scale)] if math.isfinite(value) else " " for value in values
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
    from rich.text import Text  # noqa: PLC0415

    rules = Table(box=None, pad_edge=False, header_style="underline")
    rules.add_column("rule", no_wrap=True)
    for heading in ("trainings", "best loss"):
        rules.add_column(heading, justify="right", no_wrap=True)
    rules.add_column("by epoch", no_wrap=True)
    leader = progress.best.partition(" ")[0]
    for name, standing in progress.standings.items():
        loss = digits(standing.loss, 4)
        cells = (name, str(standing.trainings), loss, sparkline(standing.curve))
        rules.add_row(*map(Text, cells), style="bold" if name == leader else "")
    left = progress.seconds_left
    clock = timedelta(seconds=round(since if left is None else max(0.0, left - since)))
    line = Table.grid(padding=(0, 1))
    line.add_row(
        ProgressBar(progress.total, min(progress.done, progress.total), width=_BAR),
        f"{progress.done / progress.total:.0%}",
        Text(f"{clock} so far" if left is None else f"{clock} left"),
        Text(f"best: {progress.best}" if progress.best else ""),
        Text(progress.doing if progress.done < progress.total else "writing the report"),
    )
    return Group(rules, line)


class _Ticking:
    """The view of a race, whose clock goes on between two pieces of work."""

    def __init__(self, progress: "Progress") -> None:
        self.progress = progress
        self.told = time.monotonic()

    def __rich__(self) -> "Group":
        return view(self.progress, time.monotonic() - self.told)


@contextmanager
def live(*, quiet: bool) -> "Iterator[Callable[[Progress], object]]":
    """Show the view of a race on a terminal; elsewhere, and when quiet, nothing."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.spinner import Spinner  # noqa: PLC0415

    ready = Spinner("dots", "getting ready")
    with Live(ready, console=Console(stderr=True), transient=True) as shown:
        yield lambda progress: shown.update(_Ticking(progress))
