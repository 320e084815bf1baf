"""How the commands print findings, and the exit codes that tell of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from thalweg.cli.terminal import say

if TYPE_CHECKING:
    from thalweg.doctor import Report

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
    else:
        from thalweg.doctor.spoken import spoken  # noqa: PLC0415 - no command needs all

        say(spoken(report, unit, verbose=verbose))
    if any(one.severity == "problem" for one in report.findings):
        raise typer.Exit(_FOUND)


def _print_json(report: "Report") -> None:
    import json  # noqa: PLC0415 - with this option alone
    from dataclasses import asdict  # noqa: PLC0415

    from thalweg.files import plain  # noqa: PLC0415

    say(json.dumps(plain(asdict(report)), indent=2))
