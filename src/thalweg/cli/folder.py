"""``thalweg report``, ``results`` and ``watch``: what a race's folder holds."""

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thalweg.cli.terminal import STDOUT, console, say
from thalweg.live import view

if TYPE_CHECKING:
    from thalweg.report import Record

__all__ = ["report", "results", "show_verdict", "watch"]

_Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a race.")]
_EACH = 0.5  # seconds between two looks at a running race


def report(directory: _Directory) -> None:
    """Write report.html again from a race's results."""
    from thalweg import report as pages  # noqa: PLC0415

    say(f"report: {pages.write(directory)}")


def results(
    directory: _Directory,
    *,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print every evaluation of every training as CSV.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print every training as a line of JSON.")
    ] = False,
) -> None:
    """Print the verdict of a race, or all of its finished trainings."""
    if csv and json:
        raise ValueError("give either --csv or --json")
    if csv or json:
        try:
            _print_trainings(directory, as_csv=csv)
        except OSError as error:
            if error.errno is not None:  # else it has a sentence of its own
                error.filename = error.filename or STDOUT
            raise
        return
    from thalweg import report as pages  # noqa: PLC0415

    show_verdict(pages.read(directory), directory)


def _print_trainings(directory: Path, *, as_csv: bool) -> None:
    from thalweg.racing.export import line, table  # noqa: PLC0415
    from thalweg.racing.store import Records  # noqa: PLC0415

    with Records(directory) as kept:
        if as_csv:
            write = table(sys.stdout)
            for result in kept.results():
                write([result])
            return
        for result in kept.results():
            say(line(result))


def watch(directory: _Directory) -> None:
    """Show how far a running race is, from another terminal. Show its verdict when it has ended.

    Ctrl-C ends this view. The race goes on.
    """
    from rich.live import Live  # noqa: PLC0415

    from thalweg.racing.store import Records, races  # noqa: PLC0415

    over = directory / "results.json"
    with Records(directory) as kept, Live("waiting", console=console(), transient=True) as shown:
        # A file or a pipe gets one picture of now.
        while not over.exists() and races(directory) and sys.stdout.isatty():
            if state := kept.progress():
                shown.update(view(state, lines=console().height))
            time.sleep(_EACH)
        state, begun = kept.progress(), kept.terms() is not None
        trained = begun and kept.timings().keys() == kept.counts().keys()
    if over.exists():
        results(directory)
        return
    going = races(directory)
    if state and (going or not trained):
        console().print(view(state))
    if going:
        return
    again = shlex.join(["thalweg", "race", "--resume", str(directory)])
    if trained:
        every = shlex.join(["thalweg", "results", str(directory), "--csv"])
        say(
            "the race is not running; all trainings are done, but there is no verdict\n"
            f"write the verdict, or see why it cannot be written, with: {again}\n"
            f"print the trainings with: {every}"
        )
    elif begun:
        say(f"the race is not running; continue it with: {again}")
    else:
        say("the race is not running and had not begun; start it again")


def show_verdict(found: "Record", directory: Path | None) -> None:
    """Print the table, the lines to paste and where the page is."""
    from thalweg import report as pages  # noqa: PLC0415

    terminal = console()
    terminal.print(pages.table(found, terminal.width))
    for name, lines in found.code.items():
        say(f"\n# {name}\n{lines}")
    if directory is not None:
        say(f"\nreport: {directory / 'report.html'}")
