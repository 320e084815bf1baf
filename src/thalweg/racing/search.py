"""Search: two rounds of trials in a space, widened at its edges, then the best ones again."""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from thalweg.racing.space import Point, Space
from thalweg.racing.trial import RERUN

__all__ = [
    "FINALISTS",
    "FULL",
    "HALVING",
    "WIDENED",
    "Found",
    "Round",
    "extra",
    "finalists",
    "full_trainings",
    "resizings",
    "search",
    "second_round",
]

WIDENED = "widened"  # the label of trials past an edge
FINALISTS = 8  # so many are run again at most: they fill a register with lanes
LEAST = 5  # and at least: the defaults, the last mean, and the best of three batch sizes
MIDDLE = 4  # the next guess is their mean: it depends less on luck than the best one alone
NEAR = 0.2  # a trial whose loss is further above the lowest is not in the mean
WIDENINGS = 4  # so many of a rule at most: its optimum may lie at infinity

FULL = (1.0,)
HALVING = (1 / 9, 1 / 3, 1.0)
"""Rungs: the share of a full training's epochs that each trains those that are left."""

_GO_ON = 3  # one in so many goes on to the next rung, which is as many times longer


class Round(NamedTuple):
    """A round: what its trials are for, their points, and their share of a full training."""

    label: str
    points: list[Point]
    share: float = 1.0


def second_round(trials: int) -> int:
    """Return how many trials the second round has, after so many in the first."""
    return trials // 2


def _left(trials: int, rungs: Sequence[float]) -> list[int]:
    """Return how many trials of a round are left on each rung."""
    return [math.ceil(trials / _GO_ON**i) for i in range(len(rungs))]


def full_trainings(trials: int, rungs: Sequence[float] = FULL) -> float:
    """Return what both rounds cost at most, in full trainings, with so many trials in the first.

    Example:
        >>> full_trainings(64), round(full_trainings(64, HALVING), 1)
        (96.0, 35.9)
    """
    rounds = (trials, second_round(trials) - 1)
    spent = (s * n for count in rounds for s, n in zip(rungs, _left(count, rungs), strict=True))
    return sum(spent) + 1 + sum(rungs[1:])  # the mean; and the defaults, which always go on


def resizings(space: Space) -> int:
    """Return how many full trainings at other batch sizes are added to both rounds."""
    return len(space.resized(space.start))


def finalists(trials: int, rungs: Sequence[float] = FULL) -> int:
    """Return how many of the best trials are run again, after so many in the first round.

    They are half as many, at least five and at most eight. So they cost hardly more than the
    trials themselves, and the best of some batch sizes have room.

    Example:
        >>> [finalists(trials) for trials in (4, 8, 12, 16, 64)]
        [5, 5, 6, 8, 8]
    """
    rounds = (trials, second_round(trials) - 1)
    full = 1 + sum(_left(count, rungs)[-1] for count in rounds)
    return min(FINALISTS, max(LEAST, trials // 2), full)


def extra(trials: int) -> int:
    """Return the number of trials that a widening adds."""
    return max(trials // 4, 4)


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        number: of the chosen trial, which had the lowest loss when it was run again; of equal ones,
            the one whose first loss was lower.
        point: its setting.
        loss: its loss when it was run again.
        space: the space, as it was widened.
        widened: a sentence per widening.
        again: the trials that were run again, in order, and their losses.
        defaults: number of the full trial of the rule's defaults, which is among them.
    """

    number: int
    point: Point
    loss: float
    space: Space
    widened: tuple[str, ...]
    again: Mapping[int, float]
    defaults: int


class _Search:
    def __init__(self, space: Space, trials: int, seed: int, rungs: Sequence[float]) -> None:
        self.start = space.start
        self.space = space
        self.trials = trials
        self.seed = seed
        self.rungs = rungs
        self.points: list[Point] = []
        self.losses: list[float] = []
        self.full: list[int] = []  # numbers of the trials on the last rung
        self.widened: list[str] = []
        self.draws = 0

    def draw(self, space: Space, count: int) -> list[Point]:
        self.draws += 1  # every draw has its own scramble
        return space.sample(count, (self.seed, self.draws))

    def rung(
        self, label: str, points: list[Point], share: float = 1.0
    ) -> Generator[Round, Sequence[float], Sequence[float]]:
        losses = yield Round(label, points, share)
        if share == 1:
            self.full.extend(range(len(self.points), len(self.points) + len(points)))
        self.points.extend(points)
        self.losses.extend(losses)
        return losses

    def round(self, label: str, points: list[Point]) -> Generator[Round, Sequence[float], None]:
        """Train a round. The best go on from rung to rung, and the defaults always go on."""
        for share, left in zip(self.rungs, [*_left(len(points), self.rungs)[1:], 0], strict=True):
            losses = yield from self.rung(label, points, share)
            best = sorted(range(len(points)), key=losses.__getitem__)[:left]
            points = [p for i, p in enumerate(points) if i in best or p == self.start]

    @property
    def ranked(self) -> list[int]:
        """The full trials, the lowest loss first."""
        return sorted(self.full, key=self.losses.__getitem__)

    @property
    def best(self) -> Point:
        return self.points[self.ranked[0]]

    @property
    def middle(self) -> Point:
        """The mean of the best few of nearly equal loss that share batch size and schedule."""
        best, least = self.best, self.losses[self.ranked[0]]
        if not math.isfinite(least):
            return best
        near = [self.points[n] for n in self.ranked if self.losses[n] - least <= NEAR * abs(least)]
        choices = best.batch_size, best.schedule
        alike = [point for point in near if (point.batch_size, point.schedule) == choices]
        return self.space.middle(alike[:MIDDLE])

    def widen(self) -> Generator[Round, Sequence[float], None]:
        while len(self.widened) < WIDENINGS and (beyond := self.space.beyond(self.best)):
            self.space = self.space.widened(beyond)
            points = self.draw(self.space.around(self.best).put(beyond), extra(self.trials))
            now = next(d for d in self.space.dimensions if d.name == beyond.name)
            self.widened.append(
                f"{now.name} widened to {now.low:g}..{now.high:g} by {len(points)} extra trials"
            )
            yield from self.rung(WIDENED, points)

    def finalists(self, *sure: int) -> list[int]:
        """Return the best trials; among them the sure ones and the best of each batch size."""
        ranked = self.ranked
        sizes = {self.points[number].batch_size: number for number in reversed(ranked)}
        wanted = [*sure, *sorted(sizes.values(), key=ranked.index), *ranked]
        chosen = list(dict.fromkeys(wanted))[: finalists(self.trials, self.rungs)]
        return [number for number in ranked if number in chosen]

    def run(self) -> Generator[Round, Sequence[float], Found]:
        yield from self.round("round 1", [self.start, *self.draw(self.space, self.trials - 1)])
        yield from self.widen()
        around = self.draw(self.space.around(self.middle), second_round(self.trials) - 1)
        yield from self.round("round 2", around)
        yield from self.widen()
        middle = len(self.points)
        guess = self.middle
        resized = self.space.resized(guess)
        if guess in self.points:  # it is the best itself, and would be no news
            (guess,) = self.draw(self.space.around(guess), 1)
        yield from self.rung("round 2", [guess, *resized])
        defaults = next(n for n in self.full if self.points[n] == self.start)
        chosen = self.finalists(defaults, middle)
        losses = yield Round(RERUN, [self.points[number] for number in chosen])
        again = dict(zip(chosen, losses, strict=True))
        number = min(chosen, key=again.__getitem__)
        return Found(
            number=number,
            point=self.points[number],
            loss=again[number],
            space=self.space,
            widened=tuple(self.widened),
            again=again,
            defaults=defaults,
        )


def search(
    space: Space, trials: int, seed: int, rungs: Sequence[float] = FULL
) -> Generator[Round, Sequence[float], Found]:
    """Search a space: yield rounds of points, take their losses, return what was found.

    Round 1 is the rule's defaults and a scrambled Sobol sequence over the space. Round 2 has half
    as many trials: a Sobol sequence over a quarter of each interval, around the mean of the best
    four, and at last the mean of the best four then. A trial is in such a mean if its loss is
    within 20 % of the lowest. Where there are several batch sizes, the last mean is also tried at
    all others, at three rates each, beyond the count. If the best lies in the outer 5 % of an
    interval after a round, and the interval may legally go on, the space is widened there: rates by
    two decades, memories by one. A quarter of the trials more are then drawn in the new part. This
    happens four times at most. A low loss may be luck, most of all at rates so large that the loss
    jumps. So at last up to eight trials are run again, and these losses alone choose: the defaults,
    the last mean, the best of each batch size, and the best of all others.

    With rungs (successive halving: Jamieson & Talwalkar 2016) each round begins with short
    trainings. The best third of a rung goes on to the next, where trainings are three times as long
    and begin anew.
    Deviation: the defaults always go on, and trials that widen a space are full trainings.

    Args:
        space: where.
        trials: in round 1, >= 4.
        seed: of the points; the same for all rules, so that their rates are the same.
        rungs: ``FULL`` or ``HALVING``.

    Yields:
        A round. Send back the losses of its points, inf for one that diverged. Losses of ``RERUN``
        must come from other seeds than before.

    Example:
        >>> from thalweg import rules
        >>> from thalweg.racing import space
        >>> steps = search(space.of(rules.get("sgd")), trials=8, seed=0)
        >>> first = next(steps)
        >>> first.label, len(first.points), first.points[0].hyper
        ('round 1', 8, {'lr': 0.001})
        >>> steps.send([abs(point.hyper["lr"] - 0.1) for point in first.points]).label
        'round 2'
    """
    return _Search(space, trials, seed, rungs).run()
