"""Spoken: what a doctor found, as a few lines in the terminal."""

from rich.console import Console

from thalweg.doctor.causes import CAUSES
from thalweg.doctor.finding import Report

__all__ = ["say", "spoken"]


def spoken(report: Report) -> str:
    """Return what was found, three lines for each finding: what, why, and what to do.

    Example:
        >>> print(spoken(Report((), ("the loop",))))
        thalweg: nothing found; looked at: the loop
    """
    if not report.findings:
        return f"thalweg: nothing found; looked at: {', '.join(report.looked_at)}"
    lines = []
    for finding in report:
        known = CAUSES.get(finding.cause)
        lines += [f"thalweg: {finding.severity}: {finding.cause}", f"  {finding.sentence}"]
        lines += [f"  {known.cure}"] if known is not None else []
    return "\n".join(lines)


def say(report: Report) -> None:
    """Print what was found."""
    Console().print(spoken(report), markup=False, highlight=False, soft_wrap=True)
