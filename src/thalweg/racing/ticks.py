"""Ticks: epochs that workers have trained, in pieces of work that have not ended."""

import os
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Self

__all__ = ["Ticker", "Ticks"]

_RECORD = struct.Struct("=qQ")  # a piece's number, and epochs; 16 bytes never straddle two pages
_OFTEN = 0.2  # seconds between two records of a piece: those that end sooner leave none


class Ticker:
    """What a worker tells of a piece's epochs: it appends records to a file of this machine.

    A worker on another machine has no such file, and tells nothing.

    Args:
        path: of the file.
        number: of the piece.
    """

    def __init__(self, path: str, number: int) -> None:
        self._path, self._number = path, number
        self._owed, self._last = 0, time.monotonic()

    def __call__(self, epochs: int) -> None:
        """Tell that so many epochs were trained; those of lanes side by side count each."""
        self._owed += epochs
        now = time.monotonic()
        if now - self._last < _OFTEN:
            return
        with suppress(OSError):
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(file, _RECORD.pack(self._number, self._owed))
            finally:
                os.close(file)
        self._owed, self._last = 0, now


class Ticks:
    """The file of a race, to which its workers append what they have trained.

    Example:
        >>> with Ticks() as ticks:
        ...     ticker = ticks.ticker(7)
        ...     time.sleep(0.2)
        ...     ticker(16)
        ...     ticks.read()
        Counter({7: 16})
    """

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="thalweg-ticks-")  # noqa: SIM115 - see __exit__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def ticker(self, number: int) -> Ticker:
        """Return what tells of the piece of this number; it can be sent to another process."""
        return Ticker(self._file.name, number)

    def read(self) -> Mapping[int, int]:
        """Return the epochs that were told since this was called last, by piece."""
        found: Counter[int] = Counter()
        for number, epochs in _RECORD.iter_unpack(self._file.read()):
            found[number] += epochs
        return found
