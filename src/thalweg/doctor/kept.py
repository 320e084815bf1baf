"""Kept: copies of a training along its way, from which experiments begin."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from thalweg.doctor.loaders import size_of
from thalweg.doctor.subject import copied

__all__ = ["Kept", "KeptCopies"]

_MOST = 9  # copies, the one of the start among them
_BYTES = 16_000_000  # of all of them but the first and the last


@dataclass(frozen=True)
class Kept:
    """A copy of a training as it was before a step.

    Args:
        step: how many steps had been taken.
        model: a copy of the module.
        optimizer: a copy of the optimizer, of that module.
        random: torch's random state then.
    """

    step: int
    model: nn.Module
    optimizer: Optimizer
    random: Tensor

    @classmethod
    def of(cls, step: int, model: nn.Module, optimizer: Optimizer) -> "Kept":
        """Copy a training as it is."""
        twin, its_optimizer, _ = copied(model, optimizer, None)
        return cls(step, twin, its_optimizer, torch.get_rng_state())

    @property
    def pair(self) -> tuple[nn.Module, Optimizer]:
        """Module and optimizer."""
        return self.model, self.optimizer


class KeptCopies:
    """The start, the last copy, and between them as many as fit, evenly spread.

    Args:
        model: the user's module.
        optimizer: the user's.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self._size = 3 * sum(map(size_of, model.parameters()))  # with two moments
        self.all = [Kept.of(0, model, optimizer)]

    @property
    def start(self) -> Kept:
        """The copy of the start."""
        return self.all[0]

    @property
    def last(self) -> Kept:
        """The newest copy."""
        return self.all[-1]

    def add(self, step: int, model: nn.Module, optimizer: Optimizer) -> None:
        """Keep a copy of a training as it is."""
        most = max(2, min(_MOST, 2 + _BYTES // max(1, self._size)))
        if len(self.all) == most > 2:
            steps = [one.step for one in self.all]
            inner = range(1, most - 1)
            del self.all[min(inner, key=lambda i: steps[i + 1] - steps[i - 1])]
        elif len(self.all) == most:
            del self.all[1]
        self.all.append(Kept.of(step, model, optimizer))
