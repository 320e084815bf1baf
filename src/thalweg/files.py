"""Files are written whole or not at all, and JSON has no number that is not finite."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["plain", "write"]


def write(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file beside its place and rename it there, so that no reader meets half of it.

    Args:
        path: where the file goes; its folder exists.
        content: all of it.

    Returns:
        The path.

    Raises:
        OSError: the folder does not exist, is full or may not be written; the old file stays.

    Example:
        >>> import tempfile
        >>> write(Path(tempfile.mkdtemp()) / "a.txt", b"whole").read_text()
        'whole'
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            beside.write_bytes(content)
            return beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:  # it has a name that nobody gave
        raise OSError(error.errno, error.strerror, str(path)) from None


def plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the value as JSON has it: a number that is not finite is null.

    Example:
        >>> plain({"losses": [0.5, float("inf")]})
        {'losses': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
