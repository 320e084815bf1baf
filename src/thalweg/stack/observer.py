"""Observers: they are told of a training after each step and epoch."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from thalweg.stack.lanes import Stack

__all__ = ["EpochCount", "Interrupt", "Observer"]

_ASKED = 0.05  # seconds between two questions whether to stop


class Observer:
    """An observer of a training: override what you want to see. The training waits for it.

    It may read everything that it is given, and must change nothing. An error that it raises ends
    the training.
    """

    def stepped(
        self, step: int, lanes: Sequence[int], losses: Tensor, gradients: Sequence[Tensor],
        stack: Stack,
    ) -> None:  # fmt: skip
        """Look at a step that was taken.

        Args:
            step: from 1.
            lanes: the number of each lane of the stack; a compiled stack may have one several
                times.
            losses: (lanes,): of the step's minibatch, before the step.
            gradients: (lanes, *shape) each, before clipping; in the order of ``stack.parameters``.
            stack: the modules, with the new parameters.
        """

    def epoch_ended(
        self, epoch: int, lanes: Sequence[int], train_loss: NDArray[Any],
        validation_loss: NDArray[Any], stack: Stack,
    ) -> None:  # fmt: skip
        """Look at an epoch that ended and left lanes.

        Args:
            epoch: from 1.
            lanes: as in ``stepped``.
            train_loss: (lanes,): the mean loss of the epoch's minibatches as they were met.
            validation_loss: (lanes,).
            stack: the modules.
        """


class Interrupt(Observer):
    """Ends a training when it is asked to, after a step and a twentieth of a second at most.

    Args:
        should_stop: returns True to end it in KeyboardInterrupt.
    """

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop
        self._asked = time.monotonic()

    def stepped(self, *_: object) -> None:
        """Ask whether to stop, if the last question is long ago."""
        now = time.monotonic()
        if now - self._asked > _ASKED:
            self._asked = now
            if self._should_stop():
                raise KeyboardInterrupt


class EpochCount(Observer):
    """Tells how many epochs were trained; those of lanes side by side count each.

    Args:
        tell: takes how many ended since it was called last.
    """

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell

    def epoch_ended(self, _: int, lanes: Sequence[int], *__: object) -> None:
        """Count an epoch of each lane, once if it has several seats."""
        self._tell(len(set(lanes)))
