"""Meter: how far a race is, from the trainings that ended and from those that have begun."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from thalweg.progress import Progress, Standing
from thalweg.racing.protocol import Protocol
from thalweg.racing.search import WIDENED
from thalweg.racing.ticks import Ticker, Ticks
from thalweg.racing.trial import FINAL, Result, Trial

__all__ = ["ALONE", "Meter"]

ALONE = 8.0  # how many trainings among others a training alone costs; for the progress bar only


@dataclass
class _Begun:
    """Work that has begun and not ended."""

    epoch: float  # what an epoch of it counts as
    most: float
    done: float = 0.0


@dataclass
class Meter:
    """Adds up work, in full trainings. Work that was not foreseen is added to the total.

    Args:
        tell: is told how far the race is.
        ticks: by which workers tell of work that has not ended.
        protocol: of the race.
        final: how many trainings a final counts as.
        total: all work that is known.
    """

    tell: Callable[[Progress], None]
    ticks: Ticks
    protocol: Protocol
    final: float
    total: float
    done: float = 0.0
    new: float = 0.0  # what was done since the start
    begun: dict[int, _Begun] = field(default_factory=dict)
    doing: str = "first trainings"
    start: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.standings = {name: Standing() for name in self.protocol.rules}

    def foresee(self, trials: Iterable[Trial]) -> None:
        """Add trials of widened spaces to the total."""
        self.total += sum(trial.round == WIDENED for trial in trials)

    def work(self, trial: Trial) -> float:
        """Return what a training counts as."""
        return self.final if trial.round == FINAL else trial.epochs / self.protocol.epochs

    def begin(self, number: int, epochs: int, most: float) -> Ticker:
        """Return what tells of work that begins, whose epochs together count so much at most."""
        self.begun[number] = _Begun(most / epochs if epochs else 0.0, most)
        return self.ticks.ticker(number)

    def look(self) -> None:
        """Tell of what was trained in work that has not ended."""
        told = self.ticks.read()
        for number, epochs in told.items():
            if begun := self.begun.get(number):
                # A worker that is lost has told of epochs that another one trains again.
                begun.done = min(begun.done + epochs * begun.epoch, begun.most)
        if told:
            self.show()

    def end(self, number: int, work: float = 0.0) -> None:
        """Let work that began end; it counts so much, beside the results that it has."""
        self.begun.pop(number, None)
        self.done += work
        self.new += work

    def count(self, results: Sequence[Result], *, new: bool) -> None:
        """Count trainings that ended; ``new`` if they ended since the race began or went on."""
        for result in results:
            work = self.work(result.trial)
            self.done += work
            self.new += work * new
            self.standings[result.trial.rule] = _after(self.standings[result.trial.rule], result)

    def show(self, doing: str | None = None) -> None:
        """Tell how far the race is, and what finished last, if something did."""
        self.doing = doing or self.doing
        begun = sum(each.done for each in self.begun.values())
        done, new = self.done + begun, self.new + begun
        finite = [(s.loss, rule) for rule, s in self.standings.items() if s.loss is not None]
        best = "{1} {0:.4g}".format(*min(finite)) if finite else ""
        left = (time.monotonic() - self.start) * (self.total - done) / new if new else None
        self.tell(Progress(done, self.total, self.doing, best, dict(self.standings), left))


def _after(standing: Standing, result: Result) -> Standing:
    """Return how a rule stands after one more training."""
    trainings = standing.trainings + 1
    if result.loss < (math.inf if standing.loss is None else standing.loss):
        curve = tuple(result.validation_loss.tolist())
        return Standing(trainings, result.loss, curve, result.trial.hyper.get("lr"))
    return replace(standing, trainings=trainings)
