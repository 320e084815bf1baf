"""Kernels: a rule's equation, compiled to run at the speed of memory.

What compiles for the CPU is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thalweg.kernels.cpu.kernel import source
    from thalweg.kernels.cpu.step import Step

__all__ = ["Step", "source"]

_MEMBERS = {"Step": "thalweg.kernels.cpu.step", "source": "thalweg.kernels.cpu.kernel"}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class or a function
    if name not in _MEMBERS:
        raise AttributeError(f"module 'thalweg.kernels' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MEMBERS[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
