"""Files are written whole or not at all."""

import os
from pathlib import Path

__all__ = ["write"]


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
        beside.write_bytes(content)
        return beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
