"""How the commands print findings: the first in three lines, the rest below."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from thalweg.cli.terminal import console, say
from thalweg.words import digits, percent, printable

if TYPE_CHECKING:
    from thalweg.doctor import Finding, Report

__all__ = ["failing", "show"]

_FOUND, _FAILED = 1, 2


@contextmanager
def failing() -> Iterator[None]:
    """End a command that could not look with code 2: 1 says that it found something."""
    try:
        yield
    except (OSError, ImportError) as error:
        say(f"error: {error}", err=True)
        raise typer.Exit(_FAILED) from None


def show(
    report: "Report", *, unit: str = "step", json: bool = False, verbose: bool = False
) -> None:
    """Print a report, and leave with code 1 if it has a problem."""
    if json:
        _print_json(report)
    elif not report.findings:
        say(f"nothing found; looked at: {', '.join(report.looked_at)}")
    else:
        first, *rest = report.findings
        say(_what(first, unit))
        say(f"why:  {_why(first)}")
        say(f"cure: {_cure(first.cause)}")
        if rest:
            _table(rest, unit)
    if not json:
        _print_the_rest(report, verbose=verbose)
    if any(one.severity == "problem" for one in report.findings):
        raise typer.Exit(_FOUND)


def _print_json(report: "Report") -> None:
    import json  # noqa: PLC0415 - with this option alone
    from dataclasses import asdict  # noqa: PLC0415

    from thalweg.files import plain  # noqa: PLC0415

    say(json.dumps(plain(asdict(report)), indent=2))


def _print_the_rest(report: "Report", *, verbose: bool) -> None:
    for name, why in report.skipped.items():
        say(f"not looked at: {name}: {why}")
    if verbose:
        for name, why in report.ruled_out.items():
            say(f"ruled out: {name}: {why}")


def _what(found: "Finding", unit: str) -> str:
    return f"{found.severity}: {found.cause}{_onset(found, unit, ' from ')}. {found.sentence}"


def _onset(found: "Finding", unit: str, before: str = "") -> str:
    return "" if found.onset is None else f"{before}{unit} {found.onset}"


def _why(found: "Finding") -> str:
    measured = ", ".join(
        f"{name} {value if isinstance(value, str) else digits(value)}"
        for name, value in found.evidence.items()
    )
    line = f"the line: {found.threshold} ({found.source})"
    return f"{measured}; {line}" if measured else line


def _cure(cause: str) -> str:
    from thalweg.doctor.causes import CAUSES  # noqa: PLC0415 - no command needs all

    return CAUSES[cause].cure


def _table(findings: list["Finding"], unit: str) -> None:
    from rich import box  # noqa: PLC0415 - takes its time
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, title="also found", title_justify="left")
    for name in ("cause", "", "from", "sure"):
        table.add_column(name, no_wrap=True)
    table.add_column("what")
    for one in findings:
        cells = (one.cause, one.severity, _onset(one, unit), percent(one.sure), one.sentence)
        table.add_row(*map(printable, cells))
    console().print(table)
    sys.stdout.flush()
