"""The terminal, for all commands: what is printed on it, its width, and Ctrl-C."""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from thalweg.words import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["INTERRUPTED", "STDOUT", "console", "no_interrupt_lost", "say", "show"]

STDOUT = "standard output"  # the name in messages of an output that has none
INTERRUPTED = 130  # the exit code of a command that Ctrl-C ended


def say(text: str, *, err: bool = False) -> None:
    """Print lines. Nothing in them that came from a file can command the terminal."""
    typer.echo(printable(text), err=err)


def console() -> "Console":
    """Return the terminal to print tables on.

    Elsewhere, as in a pipe, they are as wide as the environment variable COLUMNS says, or 100.
    """
    from rich.console import Console  # noqa: PLC0415

    elsewhere = shutil.get_terminal_size(fallback=(100, 24)).columns
    return Console(width=None if sys.stdout.isatty() else elsewhere, highlight=False)


def show(table: "Table") -> None:
    """Print a table. Words, and columns that do not wrap, are whole: if need be, it is too wide."""
    from rich.cells import cell_len  # noqa: PLC0415

    screen = console()
    for column in table.columns:
        text = "\n".join(map(str, (column.header, *column.cells)))
        whole = text.splitlines() if column.no_wrap else text.split()
        column.min_width = max(map(cell_len, whole))
    gap = table.padding[1]
    least = sum((column.min_width or 0) + gap for column in table.columns)
    screen.width = max(screen.width, least)
    screen.print(table)


@contextmanager
def no_interrupt_lost() -> Iterator[None]:
    """Raise a Ctrl-C again that came where Python cannot raise it, such as in a destructor."""
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
