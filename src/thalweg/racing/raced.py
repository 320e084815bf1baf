"""Raced: the task and the rules of a race, for its workers."""

from collections.abc import Sequence
from dataclasses import dataclass

from thalweg.racing.protocol import Rules
from thalweg.racing.trial import Trial
from thalweg.tasks.task import Lane, Task

__all__ = ["Raced"]


@dataclass(frozen=True, eq=False)
class Raced:
    """What workers work on.

    Attributes:
        task: what is trained.
        rules: of the race, by name.
    """

    task: Task
    rules: Rules

    def lanes(self, trials: Sequence[Trial]) -> list[Lane]:
        """Return the trainings that trials ask for."""
        return [trial.lane(self.rules) for trial in trials]
