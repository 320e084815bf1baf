"""Spoken: what a doctor found, as lines for a terminal."""

from collections.abc import Iterator

from thalweg.doctor.causes import CAUSES
from thalweg.doctor.finding import Finding, Report
from thalweg.words import digits, percent, printable

__all__ = ["say", "spoken"]


def spoken(report: Report, unit: str = "step", *, verbose: bool = False) -> str:
    """Return the first finding in three lines, what, why and what to do, and the rest below.

    Args:
        report: what was found.
        unit: what steps count.
        verbose: whether to say what was ruled out.

    Example:
        >>> print(spoken(Report((), ("the loop",))))
        nothing found; looked at: the loop
    """
    return "\n".join(_lines(report, unit, verbose=verbose))


def say(report: Report) -> None:
    """Print what was found, beside what others print."""
    print(f"thalweg: {printable(spoken(report))}")  # noqa: T201 - it is asked for


def _lines(report: Report, unit: str, *, verbose: bool) -> Iterator[str]:
    if not report.findings:
        yield f"nothing found; looked at: {', '.join(report.looked_at)}"
    for number, found in enumerate(report):
        if number == 0:
            yield _what(found, unit)
            yield f"why:  {_why(found)}"
            yield f"cure: {CAUSES[found.cause].cure}"
        else:
            yield f"also, {percent(found.sure)} sure: {_what(found, unit)}"
    for name, why in report.skipped.items():
        yield f"not looked at: {name}: {why}"
    if verbose:
        for name, why in report.ruled_out.items():
            yield f"ruled out: {name}: {why}"


def _what(found: Finding, unit: str) -> str:
    onset = "" if found.onset is None else f" from {unit} {found.onset}"
    return f"{found.severity}: {found.cause}{onset}. {found.sentence}"


def _why(found: Finding) -> str:
    measured = ", ".join(
        f"{name} {value if isinstance(value, str) else digits(value)}"
        for name, value in found.evidence.items()
    )
    line = f"the line: {found.threshold} ({found.source})"
    return f"{measured}; {line}" if measured else line
