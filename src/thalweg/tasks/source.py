"""Source: the Python file that makes a task, and how it is named."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from thalweg.errors import TaskError, told, user_line
from thalweg.files import absent

if TYPE_CHECKING:
    from thalweg.stack import TorchTask

__all__ = [
    "absolute_source",
    "imported",
    "is_task_file",
    "is_torch_task",
    "load_task",
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
        raise ValueError(f"a task must be FILE.py:function, got {text!r}")
    return Path(match[1])


def is_torch_task(value: object) -> bool:
    """Return whether the value is a TorchTask, without loading torch for it."""
    stack = sys.modules.get("thalweg.stack")
    return stack is not None and isinstance(value, stack.TorchTask)


def load_task(text: str) -> "TorchTask":
    """Return the task that a function in a Python file makes; see ``returned``.

    Raises:
        TaskError: as ``returned``, or the function makes no task.
    """
    task, place = returned(text)
    from thalweg.stack import TorchTask  # noqa: PLC0415 - loads torch

    if not isinstance(task, TorchTask):
        raise TaskError(f"{place} must return a thalweg.TorchTask, got {task!r}")
    return task


def returned(text: str) -> tuple[object, str]:
    """Return what a function in a Python file returns, and the file and function.

    Args:
        text: ``"train.py:function"``; the function is ``task`` by default. Modules beside the file
            can be imported in it.

    Raises:
        FileNotFoundError: there is no such file.
        TaskError: it cannot be imported or has no such function, or the function fails.
    """
    match = _TASK_FILE.fullmatch(text)
    assert match
    file, name = Path(match[1]), match[2] or "task"
    if not file.is_file():
        raise absent(file, "give the Python file of your task")
    function = getattr(imported(file), name, None)
    if not callable(function):
        raise TaskError(f"{file} has no function {name!r}; write one that returns a TorchTask")
    try:
        return function(), f"{file}:{name}"
    except SystemExit as error:
        raise TaskError(
            f"{user_line(error) or file} ends the program; {name} must return a thalweg.TorchTask"
        ) from error
    except Exception as error:
        raise TaskError(_told(error, f"{file}:{name}")) from error


def _told(error: Exception, place: str) -> str:
    """Return what failed in a task's file, and where; if PyTorch is missing, how to install it."""
    said = told(error, place)
    missing = isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == "torch"
    return f"{said}; pip install 'thalweg[torch]'" if missing and "pip" not in said else said


def imported(file: Path) -> ModuleType:
    """Import a file by its path; worker processes get its classes by value."""
    import cloudpickle  # noqa: PLC0415 - only needed here

    spec = importlib.util.spec_from_file_location(file.stem, file.resolve())
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    sys.path.insert(0, str(file.resolve().parent))
    try:
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
