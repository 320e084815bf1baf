"""Errors: what failed in a user's own code, and where."""

import re
import sysconfig
import textwrap
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["TaskError", "blamed", "told", "user_line"]

_HERE = Path(__file__).parent  # thalweg itself
_LONGEST = 400  # characters of a message that are told: some of torch's are pages


class TaskError(ValueError):
    """The user's own code, or what it asks of the machine, failed: a sentence with the place."""


def told(error: BaseException, otherwise: str = "") -> str:
    r"""Return what failed in the user's own code, where and why, in one line.

    Args:
        error: with its traceback from where it is caught.
        otherwise: the place of an error that passed no line of the user's own; "" for none.

    Example:
        >>> told(ValueError("two things:\n no rows\n no columns"), "net.py")
        'net.py: ValueError: two things: no rows; no columns'
    """
    place = user_line(error) or otherwise
    message = re.sub(r"(?<!:)\s*\n\s*", "; ", str(error).strip())
    message = textwrap.shorten(message, _LONGEST, placeholder=" ...")
    return ": ".join(filter(None, (place, type(error).__name__, message)))


def user_line(error: BaseException) -> str | None:
    """Return the innermost line of the user's own code that an error passed, such as "net.py:12".

    The user's own is what is neither thalweg nor installed nor Python's. None if there is none.

    Args:
        error: with its traceback from where it is caught.

    Example:
        >>> try:
        ...     int("no number")
        ... except ValueError as error:
        ...     print(user_line(error))  # a doctest is in no file
        None
    """
    installed = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    others = [_HERE, *map(Path, installed)]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file, here = Path(frame.filename), Path.cwd()
        if file.is_file() and not any(file.is_relative_to(folder) for folder in others):
            near = file.relative_to(here) if file.is_relative_to(here) else file
            return f"{near}:{frame.lineno}"
    return None


@contextmanager
def blamed(what: str, advice: str = "") -> Iterator[None]:
    """Turn what the user's code raises into one sentence with its place.

    Args:
        what: where the error has no place in the user's code.
        advice: what to do, if that is known.

    Raises:
        TaskError: in place of any other error.
    """
    try:
        yield
    except TaskError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or "allocate" in str(error):
            advice = "; take a smaller batch_size"
        raise TaskError(told(error, what) + advice) from error
