"""Search: two rounds of trials in a space, widened at its edges, then the best ones again."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from thalweg.racing.space import Point, Space
from thalweg.racing.store import RERUN

__all__ = [
    "FINALISTS",
    "WIDENED",
    "Found",
    "Round",
    "extra",
    "finalists",
    "search",
    "second_round",
]

WIDENED = "widened"  # the label of trials past an edge
FINALISTS = 8  # at most so many are run again: as many lanes as fill a register
WIDENINGS = 4  # at most so many per rule: an optimum may lie at infinity

Round = tuple[str, list[Point]]
"""What the trials are for, and their points."""


def second_round(trials: int) -> int:
    """Return the number of trials around the best after that many in the first round."""
    return trials // 2


def finalists(trials: int) -> int:
    """Return how many of the best trials are run again, after that many in the first round."""
    return min(FINALISTS, trials + second_round(trials))


def extra(trials: int) -> int:
    """Return the number of trials that a widening adds."""
    return max(trials // 4, 4)


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        number: of the chosen trial: the lowest loss when run again, the lower before of equal ones.
        point: its setting.
        loss: its loss when it was run again.
        space: the space with its widenings.
        widened: a sentence per widening.
    """

    number: int
    point: Point
    loss: float
    space: Space
    widened: tuple[str, ...]


class _Search:
    def __init__(self, space: Space, trials: int, seed: int) -> None:
        self.space = space
        self.trials = trials
        self.seed = seed
        self.points: list[Point] = []
        self.losses: list[float] = []
        self.widened: list[str] = []
        self.draws = 0

    def draw(self, space: Space, count: int) -> list[Point]:
        self.draws += 1  # every draw has its own scramble
        return space.sample(count, (self.seed, self.draws))

    def round(self, label: str, points: list[Point]) -> Generator[Round, Sequence[float], None]:
        self.losses.extend((yield label, points))
        self.points.extend(points)

    @property
    def number(self) -> int:
        return int(np.argmin(self.losses))

    @property
    def best(self) -> Point:
        return self.points[self.number]

    def widen(self) -> Generator[Round, Sequence[float], None]:
        while len(self.widened) < WIDENINGS and (beyond := self.space.beyond(self.best)):
            self.space = self.space.widened(beyond)
            points = self.draw(self.space.around(self.best).put(beyond), extra(self.trials))
            now = next(d for d in self.space.dimensions if d.name == beyond.name)
            self.widened.append(
                f"{now.name} widened to {now.low:g}..{now.high:g} by {len(points)} extra trials"
            )
            yield from self.round(WIDENED, points)

    def run(self) -> Generator[Round, Sequence[float], Found]:
        start = Point(self.space.defaults, self.space.batch_sizes[0])
        yield from self.round("round 1", [start, *self.draw(self.space, self.trials - 1)])
        yield from self.widen()
        around = self.draw(self.space.around(self.best), second_round(self.trials))
        yield from self.round("round 2", around)
        yield from self.widen()
        chosen = np.argsort(self.losses, kind="stable")[: finalists(self.trials)].tolist()
        again = yield RERUN, [self.points[number] for number in chosen]
        loss, number = min(zip(again, chosen, strict=True), key=lambda pair: pair[0])
        return Found(number, self.points[number], loss, self.space, tuple(self.widened))


def search(space: Space, trials: int, seed: int) -> Generator[Round, Sequence[float], Found]:
    """Search a space: yield rounds of points, take their losses, return what was found.

    Round 1 is the rule's defaults and a scrambled Sobol sequence over the space; round 2, half as
    many trials, is one over a quarter of each interval around the best. After either, while the
    best lies in the outer 5 % of an interval that may legally go on, the space is widened there
    (rates by two decades, memories by one) and a quarter of the trials more are drawn in the new
    part: at most four times. A low loss may be luck, most of all at a rate so large that the loss
    leaps about; so at last the eight best are run again, and those losses alone choose among them.

    Args:
        space: where.
        trials: in round 1, >= 4.
        seed: of the points; the same for all rules, so that their rates are the same.

    Yields:
        A label and points; send back their losses, inf for a diverged one. Those of ``RERUN`` must
        come from other seeds than before.

    Example:
        >>> from thalweg import rules
        >>> from thalweg.racing import space
        >>> steps = search(space.of(rules.get("sgd")), trials=8, seed=0)
        >>> label, points = next(steps)
        >>> label, len(points), points[0].hyper
        ('round 1', 8, {'lr': 0.001})
        >>> steps.send([abs(point.hyper["lr"] - 0.1) for point in points])[0]
        'round 2'
    """
    return _Search(space, trials, seed).run()
