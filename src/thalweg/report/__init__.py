"""What a race found, for people: one self-contained page, and a table for the terminal."""

import os
from pathlib import Path

from thalweg.report.record import Record, read
from thalweg.report.table import table, text

__all__ = ["Record", "read", "table", "text", "write"]


def write(directory: str | os.PathLike[str]) -> Path:
    """Write report.html into the folder of a race that has ended; see ``page.write``."""
    from thalweg.report import page  # noqa: PLC0415 - only who writes one waits for its pictures

    return page.write(directory)
