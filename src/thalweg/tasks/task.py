"""Task: model, data and loss, which can be trained in lanes."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from thalweg.rule import Rule

__all__ = ["NEW_START", "Checkpoint", "Lane", "Lanes", "Target", "Task", "seed_of"]

Checkpoint = Mapping[str, Any]
"""What a later training can start from: tensors, numbers, strings and containers of them."""


NEW_START = "a new starting point"  # what each seed gives a training, if the model starts at random


@dataclass(frozen=True)
class Lane:
    """One training: a rule, its setting, and what fixes where it starts.

    Args:
        rule: the rule.
        hyper: every hyperparameter of it.
        seed: of the initial point and the minibatches.
        batch_size: examples per step.
        epochs: length of the training.
        schedule: of the rate: ``"constant"``, or ``"cosine"``: a linear warm-up over the first
            10 % of the steps, then half a cosine to 0.
        shared: whether all lanes of a seed use the same minibatches. False if each lane draws its
            own, so that lanes of different seeds can be trained together.
    """

    rule: Rule
    hyper: Mapping[str, float]
    seed: int
    batch_size: int
    epochs: int
    schedule: str = "constant"
    shared: bool = True


def _no_checkpoint(_: int) -> None:
    return None


@dataclass(frozen=True, eq=False)
class Lanes:
    """The results of a training in lanes.

    Attributes:
        train_loss: (epochs + 1, lanes); row 0 is before the first step.
        validation_loss: the same on the validation part.
        diverged_at: (lanes,): the step, from 1, at which a lane became non-finite; 0 for never.
        judge: returns losses and scores of the final parameters on the test part, (lanes,) each.
            A function, so that nothing sees the test part before it is called.
        checkpoint: returns what a lane ended with, None if the task has no checkpoints.
    """

    train_loss: NDArray[np.float64]
    validation_loss: NDArray[np.float64]
    diverged_at: NDArray[np.int64]
    judge: Callable[[], tuple[NDArray[np.float64], NDArray[np.float64]]] = field(repr=False)
    checkpoint: Callable[[int], Checkpoint | None] = field(default=_no_checkpoint, repr=False)


@dataclass(frozen=True)
class Target:
    """The validation loss to reach. The data and the model fix it, not the rules that race.

    Attributes:
        validation_loss: the target.
        constant: loss of the best constant predictor.
        reference: lowest loss that an optimizer outside the race met.
        rule: a sentence that says how the target follows from these.
    """

    validation_loss: float
    constant: float
    reference: float
    rule: str


def _nobody(_: int) -> None:
    """Be told of epochs, and do nothing."""


class Task(Protocol):
    """What a race needs of a task.

    Attributes:
        name: what reports call it.
        parts: number of examples in "train", "validation" and "test".
        data: what results say of the data: "name", "source", "kind", "rows".
        lanes: so many are trained together at most.
        schedules: of the rate, that the task can train with. The first is the default.
        processes: whether trainings at the same time need a process each. False if threads are
            enough.
        exact: whether a lane computes the same, to the last bit, whatever else is trained with it.
        drawn: whether the test part is drawn from the examples. False if the user gave it.
        said: lines that its user should read before the race.
    """

    name: str
    parts: Mapping[str, int]
    data: Mapping[str, Any]
    lanes: int
    schedules: tuple[str, ...]
    processes: bool
    exact: bool
    drawn: bool
    said: Sequence[str]

    @property
    def target_epochs(self) -> int:
        """How many epochs ``target`` trains; those of lanes side by side count each."""

    def repeated(self, repeat: int) -> "Task":
        """Return the task on the parts of a repeat: what can be drawn is drawn anew.

        Repeat 0 is the task itself.
        """

    @property
    def facts(self) -> Mapping[str, Any]:
        """What results say of the training: "loss", "metric", "model", "dtype", "l2", "start"."""

    def together(self, lane: Lane) -> Hashable:
        """Return what lanes have in common that can be trained together."""

    def run(
        self,
        lanes: Sequence[Lane],
        *,
        should_stop: Callable[[], bool],
        epochs_ended: Callable[[int], None] = _nobody,
        alone: bool = False,
    ) -> Lanes:
        """Train lanes on one thread; ``together`` must be equal for all of them.

        A lane's seed alone fixes its initial point and the order of its minibatches. What a lane
        computes does not depend on the other lanes, except for rounding if the task is not exact.

        Args:
            lanes: what to train.
            should_stop: is asked now and then.
            epochs_ended: is told how many epochs were trained since it was told last; those of
                lanes side by side count each.
            alone: whether each is trained as a user would, and not beside the others.

        Raises:
            KeyboardInterrupt: ``should_stop()`` returned True.
        """

    def target(self, epochs_ended: Callable[[int], None] = _nobody) -> Target:
        """Fix the target; ``epochs_ended`` as in ``run``."""

    def steps(self, batch_size: int, rule: Rule | None = None) -> int:
        """Return how many steps an epoch has, of a rule: by its gradients, if it asks for more."""

    def measure(self, batch_size: int) -> Mapping[str, float]:
        """Measure what a step of Adam costs at a batch size, and how noisy gradients are.

        Returns:
            "seconds_per_step" and "bytes" of one training alone, and "noise_scale" in examples, at
            the parameters after one epoch of Adam; NaN if the gradient is lost in its noise.
        """

    def code(
        self, rule: Rule, hyper: Mapping[str, float], *, batch_size: int, epochs: int, schedule: str
    ) -> dict[str, str]:
        """Return code that trains with these settings, by library."""

    def fingerprint(self) -> str:
        """Return a hash of everything in the task on which its numbers depend."""


def seed_of(seed: int, repeat: int) -> int:
    """Return the seed by which a repeat draws its parts; for the first one, the race's own.

    Example:
        >>> seed_of(7, 0), seed_of(7, 1) == seed_of(8, 1)
        (7, False)
    """
    return int(np.random.SeedSequence((seed, repeat)).generate_state(1)[0]) if repeat else seed
