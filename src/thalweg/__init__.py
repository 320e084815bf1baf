"""Thalweg: write each optimizer once as its paper's equation; run it, predict it, race it.

Everything here is imported when it is first used: ``import thalweg`` costs nothing but itself.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import version

    from thalweg import (
        data,
        doctor,
        kernels,
        linear,
        optim,
        plots,
        problems,
        rules,
        schedules,
        theory,
    )
    from thalweg.descent import descend
    from thalweg.doctor.doctor import Doctor
    from thalweg.doctor.examination import check
    from thalweg.racing.race import race, resume
    from thalweg.stack.task import TorchTask

    __version__ = version("thalweg")

__all__ = [
    "Doctor",
    "TorchTask",
    "__version__",
    "check",
    "data",
    "descend",
    "doctor",
    "kernels",
    "linear",
    "optim",
    "plots",
    "problems",
    "race",
    "resume",
    "rules",
    "schedules",
    "theory",
]

_MEMBERS = {
    "Doctor": "thalweg.doctor.doctor",
    "check": "thalweg.doctor.examination",
    "descend": "thalweg.descent",
    "race": "thalweg.racing",
    "resume": "thalweg.racing",
    "TorchTask": "thalweg.stack",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module, a function or the version
    if name == "__version__":
        value: Any = import_module("importlib.metadata").version("thalweg")
    elif name in _MEMBERS:
        value = getattr(import_module(_MEMBERS[name]), name)
    elif name in __all__:
        value = import_module(f"thalweg.{name}")
    else:
        raise AttributeError(f"module 'thalweg' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
