"""How the commands print findings, and the exit codes that tell of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from thalweg.cli.mistakes import complain
from thalweg.cli.terminal import say

if TYPE_CHECKING:
    from thalweg.doctor import Report
    from thalweg.doctor.proof import Proof

__all__ = ["failing", "show"]

_FOUND, _FAILED = 1, 2


@contextmanager
def failing() -> Iterator[None]:
    """End a command that could not look with code 2: 1 says that it found something."""
    try:
        yield
    except (OSError, ImportError) as error:
        complain(error)
        raise typer.Exit(_FAILED) from None


def show(
    report: "Report", proof: "Proof | None" = None, page: Path | None = None, *,
    unit: str = "step", json: bool = False, verbose: bool = False,
) -> None:  # fmt: skip
    """Print a report and what follows it, and leave with code 1 if it has a problem."""
    if json:
        _print_json(report, proof)
    else:
        from thalweg.doctor.spoken import spoken  # noqa: PLC0415 - no command needs all

        say(spoken(report, unit, verbose=verbose))
        if proof is not None:
            for cure in proof.cures:
                say(f"proof: {cure.cause}: {proof.said(cure)}")
        if page is not None:
            say(f"page: {page}")
    if any(one.severity == "problem" for one in report.findings):
        raise typer.Exit(_FOUND)


def _print_json(report: "Report", proof: "Proof | None") -> None:
    import json  # noqa: PLC0415 - with this option alone
    from dataclasses import asdict  # noqa: PLC0415

    from thalweg.files import plain  # noqa: PLC0415

    told = asdict(report)
    if proof is not None:
        told["cures"] = [
            {name: value for name, value in asdict(cure).items() if name != "losses"}
            for cure in proof.cures
        ]
    say(json.dumps(plain(told), indent=2))
