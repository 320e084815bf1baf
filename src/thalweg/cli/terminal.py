"""What the commands share of the terminal: width, progress bar, Ctrl-C."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from thalweg.racing import Progress

__all__ = ["INTERRUPTED", "bar", "console", "no_interrupt_lost"]

INTERRUPTED = 130  # the exit code of a command that Ctrl-C ended


def console() -> "Console":
    """Return the terminal to print tables on; elsewhere they are 100 characters wide."""
    from rich.console import Console  # noqa: PLC0415

    return Console(width=None if sys.stdout.isatty() else 100, highlight=False)


@contextmanager
def bar(*, quiet: bool) -> "Iterator[Callable[[Progress], object]]":
    """Show a progress bar on a terminal; elsewhere, and when quiet, nothing."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich import progress  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Column  # noqa: PLC0415

    with progress.Progress(
        progress.TextColumn("{task.description}", markup=False, table_column=Column(min_width=28)),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[best]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    ) as shown:
        task = shown.add_task("getting ready", total=None, best="")
        yield lambda now: shown.update(
            task,
            completed=now.done,
            total=now.total,
            description=now.doing if now.done < now.total else "writing the report",
            best=f"best: {now.best}" if now.best else "",
        )


@contextmanager
def no_interrupt_lost() -> Iterator[None]:
    """Raise again a Ctrl-C that came where Python cannot raise it, such as in a destructor."""
    before = sys.unraisablehook

    def again(lost: "sys.UnraisableHookArgs") -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        else:
            before(lost)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before
