"""Doctor: why a training fails, what cures it, and the proof."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from thalweg.doctor.finding import Finding, Report

if TYPE_CHECKING:
    from thalweg.doctor.lightning import LightningCallback
    from thalweg.doctor.sharpness import CriticalRate, critical_rate
    from thalweg.doctor.transformers import TrainerCallback

__all__ = [
    "CriticalRate",
    "Finding",
    "LightningCallback",
    "Report",
    "TrainerCallback",
    "critical_rate",
]

# What needs torch, or a library that trains with it, is imported when it is first used.
_MEMBERS = {
    "CriticalRate": "sharpness",
    "LightningCallback": "lightning",
    "TrainerCallback": "transformers",
    "critical_rate": "sharpness",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class or a function
    if name not in _MEMBERS:
        raise AttributeError(f"module 'thalweg.doctor' has no attribute {name!r}")
    return getattr(import_module(f"thalweg.doctor.{_MEMBERS[name]}"), name)


def __dir__() -> list[str]:
    return __all__
