"""What is shown while work goes on: how a race stands, or in words what is waited for."""

import contextlib
import io
import math
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from thalweg.words import digits, printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
    from rich.live import Live
    from rich.text import Text

    from thalweg.progress import Progress, Standing

__all__ = ["View", "live", "sparkline", "view", "waiting"]

_BLOCKS = "▁▂▃▄▅▆▇█"
_BAR = 20  # characters
_AROUND = 3  # lines of the view beside those of rules
_LARGEST = 1e300  # the largest value that is drawn: differences stay finite


def sparkline(values: Sequence[float | None], width: int = 20) -> str:
    """Return a curve as a line of blocks: a full one for the highest value, thin for the lowest.

    If all values are positive, the heights show their logarithms.

    Args:
        values: of the curve, in order. A value that is None, not finite or above 1e300 leaves a
            gap.
        width: the largest number of characters. Of more values, evenly spaced ones are drawn.

    Example:
        >>> sparkline([8.0, 4.0, 2.0, 1.0, 1.0]), sparkline([3.0, float("inf")])
        ('█▆▃▁▁', '▁ ')
    """
    if len(values) > width:
        values = [values[round(i * (len(values) - 1) / (width - 1))] for i in range(width)]
    known = [
        math.nan if value is None or abs(value) > _LARGEST else float(value) for value in values
    ]
    finite = [value for value in known if math.isfinite(value)]
    if min(finite, default=0.0) > 0:
        known, finite = ([math.log(value) for value in each] for each in (known, finite))
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        _BLOCKS[round((value - low) * scale)] if math.isfinite(value) else " " for value in known
    )


def view(progress: "Progress", since: float = 0.0, lines: int | None = None) -> "Group":
    """Return what a terminal shows of a race that is running, the rule of the lowest loss first.

    Args:
        progress: how far it was, when it last told.
        since: seconds that have passed since then.
        lines: how many lines there are. Rules for which there is no room are counted. None for no
            limit.
    """
    from rich.console import Group  # noqa: PLC0415 - only who shows it waits for it
    from rich.table import Table  # noqa: PLC0415

    rules = Table(box=None, pad_edge=False, header_style="underline")
    rules.add_column("rule", no_wrap=True)
    for heading in ("trainings", "best loss", "its lr"):
        rules.add_column(heading, justify="right", no_wrap=True)
    rules.add_column("by epoch", no_wrap=True)
    ordered = sorted(progress.standings.items(), key=lambda item: _rank(item[1]))
    room = len(ordered) if lines is None else max(1, lines - _AROUND)
    for position, (name, standing) in enumerate(ordered[:room]):
        cells = (
            name, str(standing.trainings), digits(standing.loss, 4), digits(standing.lr),
            sparkline(standing.curve),
        )  # fmt: skip
        rules.add_row(*map(_text, cells), style="" if position or standing.loss is None else "bold")
    left_out = len(ordered) - room
    more = [_text(f"and {left_out} more")] if left_out > 0 else []
    return Group(rules, *more, _footer(progress, since))


def _rank(standing: "Standing") -> float:
    return math.inf if standing.loss is None else standing.loss


def _footer(progress: "Progress", since: float) -> "RenderableType":
    """Return one line: how far the race is, the time left, and what was done last."""
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    left = progress.seconds_left
    clock = timedelta(seconds=round(since if left is None else max(0.0, left - since)))
    line = Table.grid(padding=(0, 1), expand=True)
    for _ in range(3):
        line.add_column(no_wrap=True)
    line.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    line.add_row(
        ProgressBar(progress.total, min(progress.done, progress.total), width=_BAR),
        f"{progress.done / progress.total:.0%}",
        _text(f"{clock} so far" if left is None else f"{clock} left"),
        _text(progress.doing if progress.done < progress.total else "writing the report"),
    )
    return line


def _text(words: str) -> "Text":
    """Return words as plain text: they are neither Rich's markup nor commands to the terminal."""
    from rich.text import Text  # noqa: PLC0415

    return Text(printable(words))


class _Ticking:
    """The view of a race. Its clock goes on between two pieces of work."""

    def __init__(self, progress: "Progress") -> None:
        self.progress = progress
        self.told = time.monotonic()

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        # Room for the ^C that a terminal shows: on a full line it would start another.
        narrower = options.update_width(options.max_width - len("^C"))
        shown = view(self.progress, time.monotonic() - self.told, options.max_height)
        yield from console.render(shown, narrower)


class View:
    """The view of a race on a terminal; elsewhere it shows nothing.

    Args:
        shown: what refreshes itself there; None to show nothing.
    """

    def __init__(self, shown: "Live | None") -> None:
        self._shown = shown

    def show(self, progress: "Progress") -> None:
        """Show how far a race is."""
        if self._shown:
            self._shown.update(_Ticking(progress))

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Hide the view while the user is asked a question."""
        if self._shown:
            self._shown.stop()
        yield
        if self._shown:
            self._shown.start()


class _Notebook(View):
    """The view of a race in a notebook: below the cell that runs it, until it ends."""

    def __init__(self) -> None:
        from IPython.display import HTML, display  # type: ignore # noqa: PLC0415, PGH003 - is there

        self._html = HTML
        self._handle: Any = display(HTML("getting ready"), display_id=True)

    def show(self, progress: "Progress") -> None:
        from rich.console import Console  # noqa: PLC0415

        console = Console(record=True, file=io.StringIO(), width=100, force_jupyter=False)
        console.print(view(progress))
        page = console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
        self._handle.update(self._html(page))

    def clear(self) -> None:
        self._handle.update(self._html(""))


@contextlib.contextmanager
def live(*, shown: bool = True) -> Iterator[View]:
    """Show the view of a race on a terminal or in a notebook, until it ends; elsewhere nothing.

    Args:
        shown: False shows nothing.
    """
    if shown and _in_notebook():
        notebook = _Notebook()
        try:
            yield notebook
        finally:
            notebook.clear()
        return
    if not shown or not sys.stderr.isatty():
        yield View(None)
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.spinner import Spinner  # noqa: PLC0415

    ready = Spinner("dots", "getting ready")
    with Live(ready, console=Console(stderr=True), transient=True) as terminal:
        yield View(terminal)


@contextlib.contextmanager
def waiting(doing: str) -> Iterator[None]:
    """Show on a terminal what is done, until it is; elsewhere nothing.

    Args:
        doing: in words, such as ``"training 500 steps"``.
    """
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.spinner import Spinner  # noqa: PLC0415

    with Live(
        Spinner("dots", doing),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # what is piped goes where it would have gone
    ):
        yield


def _in_notebook() -> bool:
    """Return whether a Jupyter kernel runs this."""
    ipython = sys.modules.get("IPython")
    return getattr(ipython and ipython.get_ipython(), "kernel", None) is not None
