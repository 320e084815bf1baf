"""Source: the Python file that makes a task, and how it is named."""

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from thalweg.errors import TaskError, needed, told, user_line
from thalweg.files import absent
from thalweg.tasks.forms import raced
from thalweg.words import closest, listed

if TYPE_CHECKING:
    from thalweg.stack import TorchTask

__all__ = [
    "absolute_source",
    "imported",
    "is_task_file",
    "is_torch_task",
    "load_task",
    "no_task",
    "returned",
    "task_file",
]

_TASK_FILE = re.compile(r"(.+\.py)(?::(\w+))?")


def is_task_file(text: str) -> bool:
    """Return whether the text names a Python file, or a function in one.

    Example:
        >>> [is_task_file(text) for text in ("train.py", "nets/train.py:small", "digits")]
        [True, True, False]
    """
    return _TASK_FILE.fullmatch(text) is not None


def no_task(text: str) -> str:
    """Return the sentence about a text that names no function in a Python file."""
    notebook, dot, _ = text.partition(".ipynb")
    remedy = f"; jupyter nbconvert --to script {notebook}.ipynb makes a file of it" if dot else ""
    return f"a task must be FILE.py:function, got {text!r}{remedy}"


def absolute_source(text: str) -> str:
    """Return the file and function by an absolute path, which is found from any folder."""
    match = _TASK_FILE.fullmatch(text)
    assert match
    return f"{Path(match[1]).resolve()}:{match[2] or 'task'}"


def task_file(text: str) -> Path:
    """Return the file of a task that a race's folder names.

    Raises:
        ValueError: the text names no file.
    """
    match = _TASK_FILE.fullmatch(text)
    if match is None or "\0" in text:
        raise ValueError(no_task(text))
    return Path(match[1])


def is_torch_task(value: object) -> bool:
    """Return whether the value is a TorchTask, without loading torch for it."""
    stack = sys.modules.get("thalweg.stack")
    return stack is not None and isinstance(value, stack.TorchTask)


def load_task(text: str) -> "TorchTask":
    """Return the task that a function in a Python file makes, or whose parts it returns.

    Raises:
        TaskError: as ``returned``, or the function makes no task.
    """
    function, place = _function(text)
    made = _made(function, place)
    from thalweg.stack import TorchTask  # noqa: PLC0415 - loads torch

    again = partial(_run, function, place.rpartition(":")[0])
    task = made if isinstance(made, TorchTask) else raced(made, again, place)
    if task is None:
        raise TaskError(
            f"{place} must return a thalweg.TorchTask, got {type(made).__name__}; {_instead(made)}"
        )
    if type(task) is not TorchTask:  # what a class of the user's own does is done
        return TorchTask(**{field.name: getattr(task, field.name) for field in fields(TorchTask)})
    return task


def _instead(task: object) -> str:
    """Return what to do where a function returns something other than a TorchTask."""
    if task is None:
        return "end it with return"
    if isinstance(task, (dict, tuple)):
        return "or return a dict with model, loss_fn and loader"
    if inspect.isgenerator(task):
        return "write return in place of yield"
    return "write return thalweg.TorchTask(model=Net, loss=loss, train=(X, y))"


def returned(text: str) -> tuple[object, str]:
    """Return what a function in a Python file returns, and the file and function.

    Args:
        text: ``"train.py:function"``; the function is ``task`` by default, and may be a TorchTask
            in its place. Modules beside the file can be imported in it.

    Raises:
        FileNotFoundError: there is no such file.
        TaskError: it cannot be imported or has no such function, or the function fails.
    """
    function, place = _function(text)
    return _made(function, place), place


def _function(text: str) -> tuple[Any, str]:
    """Return a function in a Python file, or the TorchTask in its place, and what it is called."""
    match = _TASK_FILE.fullmatch(text)
    assert match
    file, name = Path(match[1]), match[2] or "task"
    if not file.is_file():
        raise absent(file, "give the Python file of your task")
    module = imported(file)
    function = getattr(module, name, None)
    if is_torch_task(function):
        return function, f"{file}:{name}"
    if not callable(function):
        own = [n for n, held in vars(module).items() if _is_own(held, module)]
        has = f"it has {listed(own, 5)}; " if own else ""
        hint = closest(name, own) or f"{has}write one that returns a TorchTask"
        raise TaskError(f"{file} has no function {name!r}; {hint}")
    if lacking := needed(function):
        raise TaskError(
            f"{file}:{name} is called without arguments, and needs {listed(lacking, 5)}; give a "
            "default, or write a function that calls it"
        )
    return function, f"{file}:{name}"


def _made(function: Any, place: str) -> object:  # noqa: ANN401 - of the user's
    """Return what a function returns, or the TorchTask in its place."""
    if is_torch_task(function):
        return function
    file, _, name = place.rpartition(":")
    try:
        return _run(function, file)
    except SystemExit as error:
        raise TaskError(
            f"{user_line(error) or file} ends the program; {name} must return a thalweg.TorchTask"
        ) from error
    except Exception as error:
        raise TaskError(_told(error, place)) from error


def _run(function: Callable[[], object], file: str) -> object:
    """Call a function as if its file were run without arguments."""
    with _script(Path(file)):
        return function()


@contextmanager
def _script(file: Path) -> Iterator[None]:
    """Give code the words of a command line without arguments: thalweg's are not its own."""
    before, sys.argv = sys.argv, [str(file)]
    try:
        yield
    finally:
        sys.argv = before


def _is_own(held: object, module: ModuleType) -> bool:
    return inspect.isfunction(held) and held.__module__ == module.__name__


def _told(error: Exception, place: str) -> str:
    """Return what failed in a task's file, and where; if a package is missing, what to do."""
    said = told(error, place)
    if "attempted relative import" in said:
        return f"{said}; leave out the dot, for files beside it can be imported by their names"
    if not isinstance(error, ModuleNotFoundError) or "pip" in said:
        return said
    if (error.name or "").split(".")[0] == "torch":
        return f"{said}; pip install 'thalweg[torch]'"
    return f"{said}; install it for the Python that runs thalweg, {sys.executable}"


def imported(file: Path) -> ModuleType:
    """Import a file by its path; worker processes get its classes by value.

    It sees no arguments of the command line. In a package it may import relatively.
    """
    import cloudpickle  # noqa: PLC0415 - only needed here

    place = file.resolve()
    root = next(folder for folder in place.parents if not (folder / "__init__.py").exists())
    name = ".".join(place.relative_to(root).with_suffix("").parts)
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path[:0] = dict.fromkeys([str(place.parent), str(root)])
    try:
        with _script(file):
            spec.loader.exec_module(module)
    except SyntaxError as error:
        own = error.filename == spec.origin
        raise TaskError(f"{file if own else error.filename}:{error.lineno}: {error.msg}") from error
    except SystemExit as error:  # the file parses arguments, or calls sys.exit
        raise TaskError(
            f"{user_line(error) or file} ends the program as the file is imported; what runs it as "
            'a program belongs under if __name__ == "__main__":'
        ) from error
    except Exception as error:
        raise TaskError(_told(error, str(file))) from error
    cloudpickle.register_pickle_by_value(module)
    return module
