"""Errors: what failed in a user's own code, and where."""

import inspect
import json
import re
import site
import sys
import sysconfig
import textwrap
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

__all__ = ["TaskError", "blamed", "defined_at", "told", "user_line"]

_HERE = Path(__file__).parent  # thalweg itself
_PACKAGES = {"site-packages", "dist-packages"}
_DEVELOPED = {"easy-install.pth", "conda.pth"}  # they name what is worked on, as setuptools' did
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

    The user's own is what is neither thalweg nor installed nor Python's. Installed is what lies in
    a folder of packages or in one that a .pth file there names, or what the RECORD of a package
    lists. A project that is installed to be edited (``pip install -e``) is the user's own. None if
    there is no such line.

    Args:
        error: with its traceback from where it is caught.

    Example:
        >>> try:
        ...     int("no number")
        ... except ValueError as error:
        ...     print(user_line(error))  # a doctest is in no file
        None
    """
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_file() and not _installed(file.resolve()):
            return f"{_near(file)}:{frame.lineno}"
    return None


def defined_at(function: Callable[..., object]) -> str | None:
    """Return the line where a function or class of the user's own begins, such as "net.py:12".

    None if it is not the user's own.

    Args:
        function: what the user gave.
    """
    own = inspect.unwrap(getattr(function, "func", function))  # of a partial
    try:
        file, line = inspect.getsourcefile(own), inspect.getsourcelines(own)[1]
    except (OSError, TypeError):  # it was typed in, or is none of Python's
        return None
    if file is None or _installed(Path(file).resolve()):
        return None
    return f"{_near(Path(file))}:{line}"


def _near(file: Path) -> Path:
    """Return a file as it is called from here."""
    here = Path.cwd()
    return file.relative_to(here) if file.is_relative_to(here) else file


def _installed(file: Path) -> bool:
    """Return whether a file is thalweg's, Python's or a library's."""
    python = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    folders = [_HERE.resolve(), *python, *_folders_of_packages()]
    among = any(file.is_relative_to(folder) for folder in folders)
    return among or bool(_PACKAGES.intersection(file.parts)) or _recorded(file)


def _folders_of_packages() -> list[Path]:
    """Return the folders that Python looks for packages in, and those that .pth files there name.

    Not those that the user works on or in.
    """
    known = [*site.getsitepackages(), site.getusersitepackages()]
    known += [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    folders = [Path(folder).resolve() for folder in dict.fromkeys(known)]
    named: list[Path] = []
    for file in [file for folder in folders for file in folder.glob("*.pth")]:
        if file.name not in _DEVELOPED:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            named += [file.parent / line.strip() for line in lines if line.strip()]
    edited, here = _edited(), Path.cwd().resolve()
    for place in (place.resolve() for place in named if place.is_dir()):  # else it is Python code
        own = (one.is_relative_to(place) or place.is_relative_to(one) for one in edited)
        if not (here.is_relative_to(place) or any(own)):
            folders.append(place)
    return folders


def _edited() -> list[Path]:
    """Return the folders of projects that are installed to be edited."""
    folders = []
    for package in metadata.distributions():
        origin = json.loads(package.read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable"):
            folders.append(Path(url2pathname(urlsplit(origin["url"]).path)).resolve())
    return folders


def _recorded(file: Path) -> bool:
    """Return whether a package that was put into some folder has a file there in its RECORD."""
    for entry in {Path(entry).resolve() for entry in sys.path}:
        if file.is_relative_to(entry):
            line = f"\n{file.relative_to(entry).as_posix()},"
            packages = metadata.distributions(path=[str(entry)])
            if any(line in f"\n{package.read_text('RECORD') or ''}" for package in packages):
                return True
    return False


@contextmanager
def blamed(what: str | Callable[[], str], advice: str = "") -> Iterator[None]:
    """Turn what the user's code raises into one sentence with its place.

    Args:
        what: where the error has no place in the user's code; or a function that says it then.
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
        place = what if isinstance(what, str) else what()
        raise TaskError(told(error, place) + advice) from error
