"""Errors: what failed in a user's own code, and where."""

import inspect
import json
import re
import site
import sys
import sysconfig
import textwrap
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

__all__ = [
    "TaskError", "blamed", "defined_at", "given_to_loss", "given_to_model", "needed", "told",
    "user_line",
]  # fmt: skip

_HERE = Path(__file__).parent  # thalweg itself
_PACKAGES = {"site-packages", "dist-packages"}
_DEVELOPED = {"easy-install.pth", "conda.pth"}  # they name what is worked on, as setuptools' did
_MIXED = re.compile(  # what torch says where types of numbers differ
    r"(?i)have the same dtype|expected scalar type|expected .*scalar types|"
    r"input type .* should be the same|found dtype|not implemented for '(Long|Byte|Int)'"
)
_NO_CLASS = -100  # what torch's losses pass over
_LONGEST = 400  # characters of a message that are shown: some messages of torch are pages long


class TaskError(ValueError):
    """The user's own code failed, or what it asks of the machine: a sentence that says where."""


def told(error: BaseException, otherwise: str = "") -> str:
    r"""Return one line that says where the user's own code failed, and why.

    Args:
        error: with its traceback from where it is caught.
        otherwise: where the error is said to be if no line of the user's own is in its traceback;
            "" for nowhere.

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

    A file is the user's own if it belongs neither to thalweg nor to an installed package nor to
    Python. Installed files lie in a folder of packages, or in a folder that a .pth file there
    names, or the RECORD of a package lists them. A project that is installed with ``pip install
    -e`` is the user's own. None if there is no such line.

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
    except (OSError, TypeError):  # it was typed into Python, or is not written in Python
        return None
    if file is None or _installed(Path(file).resolve()):
        return None
    return f"{_near(Path(file))}:{line}"


def _near(file: Path) -> Path:
    """Return the name of a file, seen from the current folder."""
    here = Path.cwd()
    return file.relative_to(here) if file.is_relative_to(here) else file


def _installed(file: Path) -> bool:
    """Return whether a file is thalweg's, Python's or a library's."""
    python = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    folders = [_HERE.resolve(), *python, *_folders_of_packages()]
    among = any(file.is_relative_to(folder) for folder in folders)
    return among or bool(_PACKAGES.intersection(file.parts)) or _recorded(file)


def _folders_of_packages() -> list[Path]:
    """Return the folders in which Python looks for packages, and those that .pth files there name.

    Folders of projects that are being edited, and the current folder, are left out.
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
    for place in (place.resolve() for place in named if place.is_dir()):  # others are Python code
        own = (one.is_relative_to(place) or place.is_relative_to(one) for one in edited)
        if not (here.is_relative_to(place) or any(own)):
            folders.append(place)
    return folders


def _edited() -> list[Path]:
    """Return the folders of projects that were installed with ``pip install -e``."""
    folders = []
    for package in metadata.distributions():
        origin = json.loads(package.read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable"):
            folders.append(Path(url2pathname(urlsplit(origin["url"]).path)).resolve())
    return folders


def _recorded(file: Path) -> bool:
    """Return whether the RECORD of a package lists the file, wherever the package lies."""
    for entry in {Path(entry).resolve() for entry in sys.path}:
        if file.is_relative_to(entry):
            line = f"\n{file.relative_to(entry).as_posix()},"
            packages = metadata.distributions(path=[str(entry)])
            if any(line in f"\n{package.read_text('RECORD') or ''}" for package in packages):
                return True
    return False


def needed(function: Callable[..., object]) -> list[str]:
    """Return the arguments that a function cannot do without.

    Args:
        function: what the user gave.

    Example:
        >>> needed(lambda size, *more, depth=2: None)
        ['size']
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # it is not written in Python
        return []
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in several]


def given_to_model(inputs: object) -> str:
    """Return the half of a sentence that says what a model was called with."""
    return f"; the model is called as model(inputs), here with {_form(inputs)}"


def given_to_loss(outputs: object, targets: object) -> str:
    """Return the half of a sentence that says what a loss was called with.

    Example:
        >>> given_to_loss([0.5], None)
        '; the loss is called as loss(outputs, targets), here with list and NoneType'
    """
    given = " and ".join(_form(value) for value in (outputs, targets))
    called = f"; the loss is called as loss(outputs, targets), here with {given}"
    return called + (_tensor_of(outputs) or _as_classes(outputs, targets))


def _tensor_of(outputs: object) -> str:
    """Return how to give the loss a tensor where a model returns several, in a tuple or by name."""
    if hasattr(outputs, "logits"):
        part = "outputs.logits"
    elif isinstance(outputs, Mapping) and outputs:
        part = f"outputs[{next(iter(outputs))!r}]"
    elif isinstance(outputs, (tuple, list)) and outputs and hasattr(outputs[0], "dtype"):
        part = "outputs[0]"
    else:
        return ""
    return f"; give the loss the tensor that it needs: lambda outputs, targets: f({part}, targets)"


def _as_classes(outputs: Any, targets: Any) -> str:  # noqa: ANN401 - what the user's code gives
    """Return what to do about targets that look like classes and cannot be those of the outputs."""
    places = getattr(targets, "ndim", 0)
    if not places or 0 in targets.shape or getattr(outputs, "ndim", 0) != places + 1:
        return ""
    if "float" in str(targets.dtype):
        return "; where targets are classes, give them as integers: targets.long()"
    if places == 1 and outputs.shape[1] == 1:  # one score for two classes, or a number
        return "; give the targets the outputs' shape and type: targets[:, None].float()"
    last, least, most = outputs.shape[1] - 1, int(targets.min()), int(targets.max())
    if most > last or (least < 0 and least != _NO_CLASS):
        return f"; number the classes from 0 to {last}: here they go from {least} to {most}"
    return ""


def no_loss(value: object) -> str:
    """Return the class of what was returned in place of a loss, and what to do.

    Example:
        >>> no_loss({"loss": 0.5})
        "dict; return the loss alone, its entry 'loss'"
    """
    kind = type(value).__name__
    if value is None:
        return f"{kind}; end it with return"
    if isinstance(value, (int, float)):
        return f"{kind}; return the tensor, without .item(), backward() and an optimizer's step"
    if isinstance(value, Mapping) and "loss" in value:
        return f"{kind}; return the loss alone, its entry 'loss'"
    return f"{kind}; return the loss alone, outputs.loss" if hasattr(value, "loss") else kind


def _form(value: object) -> str:
    """Return the type of numbers and the shape of a tensor, and of other values the class."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None:
        return type(value).__name__
    return f"{str(dtype).removeprefix('torch.')} {list(shape)}"


@contextmanager
def blamed(what: str | Callable[[], str], advice: str | Callable[[], str] = "") -> Iterator[None]:
    """Turn what the user's code raises into one sentence that says where.

    Args:
        what: what the sentence names if no line of the user's code is in the traceback, or a
            function that returns it.
        advice: what to do, if that is known, or a function that returns it.

    Raises:
        TaskError: instead of any other error.
    """
    try:
        yield
    except TaskError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or "allocate" in str(error):
            advice = "; take a smaller batch_size"
        place = what if isinstance(what, str) else what()
        advice = advice if isinstance(advice, str) else advice()
        if _MIXED.search(str(error)) and ".float()" not in advice:
            advice += "; give numbers of one type: .float(), as weights are, or .long() for indices"
        raise TaskError(told(error, place) + advice) from error
