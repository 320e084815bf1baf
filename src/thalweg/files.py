"""Files are written whole or not at all, and never through a link. JSON has only finite numbers."""

import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from thalweg.words import closest

__all__ = ["absent", "begin", "check_place", "check_replaceable", "folder", "plain", "write"]


def write(path: str | os.PathLike[str], content: bytes, mark: bytes = b"") -> Path:
    """Write a file under another name, then rename it, so that no reader meets half of it.

    Args:
        path: of the file. Its folder must exist.
        content: all of it.
        mark: see ``check_replaceable``.

    Returns:
        The path.

    A link of that name is replaced. The file to which it leads stays as it is.

    Raises:
        OSError: the folder does not exist, is full or may not be written, or a file of that name
            lacks the mark. The old file stays.

    Example:
        >>> import tempfile
        >>> write(Path(tempfile.mkdtemp()) / "a.txt", b"whole").read_text()
        'whole'
    """
    path = Path(path)
    if mark and path.parent.is_dir() and not path.is_dir():  # which the write itself reports
        check_replaceable(path, mark)
    beside = _beside(path)
    try:
        try:
            with beside.open("xb") as file:  # x: never opens what is there already, such as a link
                file.write(content)
            return beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:  # it has a name that nobody gave
        raise OSError(error.errno, error.strerror, str(path)) from None


def absent(path: str | os.PathLike[str], remedy: str = "") -> FileNotFoundError:
    """Return the error of a file that is not there: with the closest name, or else a remedy.

    Args:
        path: of the file.
        remedy: what to do; by default to look at the folder in which relative paths begin.

    Example:
        >>> print(absent("nowhere/train.py", "give the file of your task"))
        there is no file nowhere/train.py; give the file of your task
    """
    path = Path(path)
    folder = path.expanduser().parent
    beside = folder.iterdir() if os.access(folder, os.R_OK | os.X_OK) else []
    near = closest(str(path), (str(path.with_name(other.name)) for other in beside), 0.8)
    begin = "check it" if path.is_absolute() else f"relative paths begin at {Path.cwd()}"
    return FileNotFoundError(f"there is no file {path}; {near or remedy or begin}")


def check_replaceable(path: str | os.PathLike[str], mark: bytes) -> None:
    """Raise an OSError if a file cannot be written there, or if there is one that is not ours.

    Args:
        path: of the file that would be written.
        mark: bytes that every file of ours has.

    Raises:
        FileExistsError: there is a file of that name that lacks the mark.
        OSError: see ``check_place``.
    """
    path = Path(path)
    check_place(path)
    if not os.path.lexists(path):
        return
    if not path.is_file() or mark not in path.read_bytes():
        raise FileExistsError(
            f"{path} is there already, and thalweg did not make it; remove it, or name another file"
        )


def check_place(path: str | os.PathLike[str]) -> None:
    """Raise an OSError if no file can be written there: before the work, not after it.

    Args:
        path: of the file that would be written.

    Raises:
        FileNotFoundError: its folder does not exist.
        IsADirectoryError: it is a folder.
        PermissionError: its folder may not be written to.

    Example:
        >>> check_place("nowhere/page.html")
        Traceback (most recent call last):
        ...
        FileNotFoundError: there is no folder nowhere for page.html; make it, or name another
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it, such as {path / 'NAME'}")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"there is no folder {path.parent} for {path.name}; make it, or name another"
        )
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"the folder {path.parent} may not be written to; name another")


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def begin(path: str | os.PathLike[str]) -> IO[str]:
    """Open a new text file to add lines to. It replaces what is there; see ``write``."""
    path = Path(path)
    beside = _beside(path)
    file = beside.open("x", newline="", encoding="utf-8")
    try:
        beside.replace(path)
    except OSError:
        file.close()
        beside.unlink()
        raise
    return file


def folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder if it does not exist, and return its path. Its parent must exist.

    Raises:
        OSError: it cannot be made, or there is a link or a file of that name.
    """
    path = Path(path)
    if path.is_symlink():
        raise FileExistsError(f"{path} is a link; remove it: nothing is written through a link")
    path.mkdir(exist_ok=True)
    return path


def plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the value as JSON can hold it: a number that is not finite becomes null.

    Example:
        >>> plain({"losses": [0.5, float("inf")]})
        {'losses': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None  # NumPy's as Python's own
    return value
