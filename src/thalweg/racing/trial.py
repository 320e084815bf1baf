"""Trial: one training that a race asks for, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from thalweg.rule import Rule
from thalweg.tasks.task import Lane

__all__ = ["FINAL", "PHASES", "RERUN", "TIMING", "Result", "Trial"]

FINAL, RERUN = "final", "rerun"
PHASES = ("trial", RERUN, FINAL)
TIMING = "timing"  # a training that is timed, as a user would run it; no store keeps it


@dataclass(frozen=True)
class Trial:
    """One training that a race asks for.

    Args:
        rule: name.
        round: ``"round 1"``, ``"widened"``, ``"round 2"``, ``"rerun"``, ``"final"`` or
            ``"timing"``.
        number: counted from 0 in the rule's trials, re-runs or finals of this repeat.
        seed: of initial point and minibatches.
        batch_size: examples per step.
        hyper: every hyperparameter.
        epochs: length of the training.
        schedule: of the rate: ``"constant"``, or ``"cosine"``: a linear warm-up over the first
            10 % of the steps, then half a cosine to 0.
        repeat: of the experiment, from 0; each has its own parts, search and seeds.
    """

    rule: str
    round: str
    number: int
    seed: int
    batch_size: int
    hyper: Mapping[str, float]
    epochs: int
    schedule: str = "constant"
    repeat: int = 0

    @property
    def phase(self) -> str:
        """The purpose: ``"trial"`` of a setting, ``"rerun"`` of a good one, or ``"final"``."""
        return self.round if self.round in {RERUN, FINAL} else "trial"

    def lane(self, rules: Mapping[str, Rule]) -> Lane:
        """Return the lane that the task trains, with the rule of this name."""
        rule = rules[self.rule]
        return Lane(
            rule,
            self.hyper,
            self.seed,
            self.batch_size,
            self.epochs,
            self.schedule,
            shared=self.phase == "trial",  # others are run on several seeds
        )


@dataclass(frozen=True, eq=False)
class Result:
    """A finished training.

    Attributes:
        trial: what was asked for.
        diverged_at: the step at which it became non-finite, 0 for never.
        train_loss: (epochs + 1,); row 0 is before the first step.
        validation_loss: (epochs + 1,).
        test_loss: of a final; NaN for other trainings.
        test_score: of a final; NaN for other trainings.
    """

    trial: Trial
    diverged_at: int
    train_loss: NDArray[np.float64] = field(repr=False)
    validation_loss: NDArray[np.float64] = field(repr=False)
    test_loss: float = np.nan
    test_score: float = np.nan

    @property
    def loss(self) -> float:
        """The validation loss at the end, by which trials are selected; inf if not finite."""
        last = float(self.validation_loss[-1])
        return last if self.diverged_at == 0 and np.isfinite(last) else np.inf

    @property
    def diverged(self) -> bool:
        """Whether its loss ended non-finite, or higher than it began."""
        return not self.loss <= self.validation_loss[0]
