"""PLANTS: the planted faults by cause, each with the healthy trainings that it spoils."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from doctor_suite.models import BODIES
from doctor_suite.training import Training, ordinary

__all__ = ["PLANTS", "Plant", "everywhere", "plant"]

Base = Callable[[str, str, int], Training]  # variant, half, seed


class Fault(Protocol):
    """Changes a training."""

    __name__: str

    def __call__(self, training: Training, *, strong: bool) -> None:
        """Plant the fault, strong or mild."""


@dataclass(frozen=True)
class Plant:
    """A fault, and where it is planted.

    Args:
        cause: its slug in the doctor's table.
        name: of the function that plants it.
        variants: the healthy trainings, by name.
        base: makes one of them.
        fault: plants it.
        strengths: those that it has.
    """

    cause: str
    name: str
    variants: tuple[str, ...]
    base: Base
    fault: Fault
    strengths: tuple[str, ...]

    def healthy(self, variant: str, half: str, seed: int) -> Training:
        """Return the training without the fault."""
        return self.base(variant, half, seed)

    def failing(self, variant: str, half: str, seed: int, strength: str) -> Training:
        """Return the same training with the fault."""
        training = self.base(variant, half, seed)
        self.fault(training, strong=strength == "strong")
        return training


PLANTS: list[Plant] = []


def everywhere(kind: str) -> tuple[str, ...]:
    """Return the variants of a kind of target: all three bodies."""
    return tuple(f"{kind} {name}" for name in BODIES)


def usual(variant: str, half: str, seed: int) -> Training:
    """Return the ordinary training that a variant such as ``"classes mlp"`` names."""
    kind, name = variant.split()
    return ordinary(kind, name, half, seed)


def plant(
    cause: str, *variants: str, base: Base = usual, strengths: tuple[str, ...] = ("strong", "mild")
) -> Callable[[Fault], Fault]:
    """Enter a function in PLANTS."""

    def enter(fault: Fault) -> Fault:
        PLANTS.append(Plant(cause, fault.__name__, variants, base, fault, strengths))
        return fault

    return enter
