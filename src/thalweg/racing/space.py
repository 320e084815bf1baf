"""Space: where a rule's hyperparameters are searched, declared once by name.

The search tunes the rate, the memories (beta, beta1, beta2, beta3, rho, gamma) and a weight decay
that is on by default. All others (eps, step_min, ...) stay at their defaults, where nearly everyone
leaves them. So a rule with many hyperparameters does not need more trials.
"""

import functools
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from thalweg import catalog
from thalweg.checks import Hyperparameter, Range
from thalweg.rule import STEPS, Rule
from thalweg.tasks.schedule import CONSTANT

__all__ = ["Dimension", "Point", "Space", "of"]

LOG, ONE_MINUS_LOG, LINEAR = "log", "one_minus_log", "linear"

# Where a hyperparameter of that name is searched, whatever the rule: six decades of rates, and
# memories from 0 to 10^3 (of gradients) or 10^4 steps (of their squares); a third one to
# 10^5.
_BY_NAME: dict[str, tuple[float, float, str]] = {
    "lr": (1e-5, 1e1, LOG),
    "beta": (0.0, 0.999, ONE_MINUS_LOG),
    "beta1": (0.0, 0.999, ONE_MINUS_LOG),
    "beta2": (0.0, 0.9999, ONE_MINUS_LOG),
    "beta3": (0.0, 0.99999, ONE_MINUS_LOG),
    "rho": (0.0, 0.9999, ONE_MINUS_LOG),
    "gamma": (0.0, 0.9999, ONE_MINUS_LOG),
    "weight_decay": (1e-4, 1.0, LOG),
}

_FIXED = {
    "eps", "momentum_decay", "lambd", "alpha", "t0",
    "eta_minus", "eta_plus", "step_min", "step_max", "slow_weight", "warmup",
    "trust", "decay", "eps1", "eps2", "clip", "d0", "distance0", "every",
    "k", "slow_rate", "least_norm",
}  # fmt: skip

EDGE = 0.05  # the outer share of an interval, at either end, that counts as its edge
SHRINK = 0.25  # the width of the box around the best, as a share of the space
_LEAST_MEMORY = 10  # steps: up to so many are searched in every training
_POWERS = (0.0, 0.5, 1.0)  # powers of the ratio of two batch sizes by which a rate is scaled
_WIDER = {LOG: 2.0, ONE_MINUS_LOG: 1.0, LINEAR: 0.0}  # decades that are added to an interval


@dataclass(frozen=True)
class Dimension:
    """A tuned hyperparameter: its interval and the scale on which trials spread evenly.

    Args:
        name: the hyperparameter.
        low: lower end.
        high: upper end.
        scale: ``"log"`` (even in log x), ``"one_minus_log"`` (even in log(1 - x)) or ``"linear"``.
        legal: the values that the rule allows.

    Example:
        >>> beta = Dimension("beta", 0.0, 0.999, "one_minus_log", Range(0.0, 1.0, "[)"))
        >>> round(beta.coordinate(0.99), 9), beta.value(1.0)
        (2.0, 0.9)
    """

    name: str
    low: float
    high: float
    scale: str
    legal: Range

    def coordinate(self, value: float) -> float:
        """Return the coordinate of a value on the scale, in decades if the scale is logarithmic."""
        if self.scale == LOG:
            return math.log10(value)
        return -math.log10(1 - value) if self.scale == ONE_MINUS_LOG else value

    def value(self, coordinate: float) -> float:
        """Return the value at a coordinate, rounded to three digits: it is run as it is printed."""
        if self.scale == LOG:
            exact = 10**coordinate
            rounded = float(f"{exact:.3g}")
        elif self.scale == ONE_MINUS_LOG:
            exact = 1 - 10**-coordinate
            rounded = round(1 - float(f"{10**-coordinate:.3g}"), 12)
        else:
            exact, rounded = coordinate, float(f"{coordinate:.3g}")
        return rounded if rounded in self.legal else exact

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the interval, as coordinates."""
        return self.coordinate(self.low), self.coordinate(self.high)

    def around(self, value: float) -> "Dimension":
        """Return the interval of a quarter of the width around the value, cut at the ends."""
        low, high = self.ends
        centre = min(max(self.coordinate(value), low), high)
        half = SHRINK * (high - low) / 2
        return replace(
            self,
            low=self.value(max(low, centre - half)),
            high=self.value(min(high, centre + half)),
        )

    def beyond(self, value: float) -> "Dimension | None":
        """Return the interval beyond the edge at which the value lies, if it is legal there."""
        low, high = self.ends
        near = EDGE * (high - low)
        if self.coordinate(value) < low + near and self.low > self.legal.low:
            wider = replace(self, low=self._legal(low - _WIDER[self.scale]), high=self.low)
        elif self.coordinate(value) > high - near:
            wider = replace(self, low=self.high, high=self._legal(high + _WIDER[self.scale]))
        else:
            return None
        return wider if wider.low < wider.high else None

    def _legal(self, coordinate: float) -> float:
        return min(max(self.value(coordinate), self.legal.low), self.legal.high)


@dataclass(frozen=True)
class Point:
    """One setting: every hyperparameter of a rule, the batch size and the rate's schedule."""

    hyper: Mapping[str, float]
    batch_size: int
    schedule: str = CONSTANT


@dataclass(frozen=True)
class Space:
    """All settings of a rule among which a race searches.

    Args:
        defaults: every hyperparameter's default; those without a dimension keep it.
        dimensions: the tuned ones.
        batch_sizes: the batch sizes to choose from. If there are several, they are a dimension too.
        schedules: of the rate, to choose from. If there are several, they are a dimension too.
    """

    defaults: Mapping[str, float]
    dimensions: tuple[Dimension, ...]
    batch_sizes: tuple[int, ...]
    schedules: tuple[str, ...] = (CONSTANT,)

    @property
    def start(self) -> Point:
        """What is tried first: the defaults at the first batch size, without a schedule."""
        return Point(self.defaults, self.batch_sizes[0], self.schedules[0])

    def sample(self, count: int, seed: Sequence[int]) -> list[Point]:
        """Draw so many points, evenly spread: the first of a scrambled Sobol sequence."""
        columns = len(self.dimensions) + 1 + (len(self.schedules) > 1)
        sobol = _sobol()(columns, scramble=True, seed=np.random.default_rng(seed))
        unit = sobol.random_base2(math.ceil(math.log2(max(count, 1))))[:count]
        return [self._point(row) for row in unit.tolist()]

    def _point(self, row: Sequence[float]) -> Point:
        hyper = dict(self.defaults)
        for dimension, u in zip(self.dimensions, row, strict=False):
            low, high = dimension.ends
            hyper[dimension.name] = dimension.value(low + u * (high - low))
        size, *schedule = row[len(self.dimensions) :]
        return Point(
            hyper,
            self.batch_sizes[int(size * len(self.batch_sizes))],
            self.schedules[int(schedule[0] * len(self.schedules)) if schedule else 0],
        )

    def around(self, best: Point) -> "Space":
        """Return the box around a point: a quarter of each interval, and its other choices."""
        return replace(
            self,
            dimensions=tuple(d.around(best.hyper[d.name]) for d in self.dimensions),
            batch_sizes=(best.batch_size,),
            schedules=(best.schedule,),
        )

    def middle(self, points: Sequence[Point]) -> Point:
        """Return the mean of points on their scales, with the choices of the first one.

        Example:
            >>> from thalweg import rules
            >>> points = [Point({"lr": lr}, 32) for lr in (0.001, 0.1)]
            >>> of(rules.get("sgd")).middle(points).hyper
            {'lr': 0.01}
        """
        hyper = dict(points[0].hyper)
        for d in self.dimensions:
            coordinates = [d.coordinate(point.hyper[d.name]) for point in points]
            hyper[d.name] = d.value(float(np.mean(coordinates)))
        return replace(points[0], hyper=hyper)

    def central(self, points: Sequence[Point]) -> Point:
        """Return the point nearest to all others: the medoid, in units of the intervals' widths.

        Only points with the most usual batch size and schedule are considered.

        Example:
            >>> from thalweg import rules
            >>> points = [Point({"lr": lr}, 32) for lr in (0.001, 0.01, 10.0)]
            >>> of(rules.get("sgd")).central(points).hyper
            {'lr': 0.01}
        """
        choices = [(point.batch_size, point.schedule) for point in points]
        usual = max(choices, key=choices.count)
        alike = [point for point, choice in zip(points, choices, strict=True) if choice == usual]
        coordinates = np.array(
            [
                [d.coordinate(point.hyper[d.name]) / np.ptp(d.ends) for d in self.dimensions]
                for point in alike
            ]
        ).reshape(len(alike), -1)
        apart = np.abs(coordinates[:, None] - coordinates).sum(axis=(1, 2))
        return alike[int(apart.argmin())]

    def resized(self, point: Point) -> list[Point]:
        """Return a point at every other batch size, with its rate scaled in three usual ways.

        The rate stays, or grows with the root of the batch size, or in proportion (Goyal et al.
        2017, section 2.1).

        Example:
            >>> from thalweg import rules
            >>> found = of(rules.get("sgd"), [8, 32]).resized(Point({"lr": 0.1}, 8))
            >>> [(p.hyper["lr"], p.batch_size) for p in found]
            [(0.1, 32), (0.2, 32), (0.4, 32)]
        """
        found = []
        for size in self.batch_sizes:
            if size != point.batch_size:
                at_size = replace(point, batch_size=size)
                rate = next((d for d in self.dimensions if d.name == "lr"), None)
                if rate is None:
                    found.append(at_size)
                    continue
                for power in _POWERS:
                    lr = point.hyper["lr"] * (size / point.batch_size) ** power
                    hyper = {**point.hyper, "lr": rate.value(rate.coordinate(lr))}
                    found.append(replace(at_size, hyper=hyper))
        return found

    def beyond(self, best: Point) -> "Dimension | None":
        """Return the first interval beyond an edge of this space at which the point lies."""
        found = (d.beyond(best.hyper[d.name]) for d in self.dimensions)
        return next((dimension for dimension in found if dimension), None)

    def put(self, dimension: Dimension) -> "Space":
        """Return the space with another dimension instead of the one of the same name."""
        dimensions = tuple(dimension if d.name == dimension.name else d for d in self.dimensions)
        return replace(self, dimensions=dimensions)

    def widened(self, by: Dimension) -> "Space":
        """Return the space with an interval added to the dimension of the same name."""
        old = next(d for d in self.dimensions if d.name == by.name)
        return self.put(replace(old, low=min(old.low, by.low), high=max(old.high, by.high)))


@functools.cache
def _sobol() -> Any:  # noqa: ANN401 - SciPy is untyped
    """Return SciPy's class, after it has read its tables.

    Another thread reads them, because Ctrl-C reaches the main thread alone: within SciPy's compiled
    code it would be lost, and the tables would stay half empty.
    """
    from scipy.stats import qmc  # noqa: PLC0415 - takes a second to load

    reader = threading.Thread(target=qmc.Sobol, args=(2,))
    reader.start()
    reader.join()
    return qmc.Sobol


def of(
    rule: Rule,
    batch_sizes: Sequence[int] = (32,),
    schedules: Sequence[str] = (CONSTANT,),
    steps: float = math.inf,
) -> Space:
    """Return the search space of a rule, of thalweg or of the user.

    A hyperparameter of a known name is searched in the same range for every rule. Another one is
    searched over the range that ``@rule(..., ranges=...)`` declares: all of a bounded range (evenly
    in log(1 - x) if it is [0, 1)), or two decades on either side of the default if the range is
    positive without an upper end. It keeps its default if no range is declared, or if the default
    is 0.

    What is searched evenly in log(1 - x) is a memory of 1/(1 - x) steps. A longer one than the
    training is no other than all of it, so that the interval ends there; at the default if that is
    higher, and never below 10 steps.

    Args:
        rule: the rule.
        batch_sizes: the batch sizes to choose from.
        schedules: of the rate, to choose from. A rule without a rate has the first one only.
        steps: of a training at most, >= 1; inf by default.

    Example:
        >>> from thalweg import rules
        >>> [(d.name, d.low, d.high) for d in of(rules.get("momentum")).dimensions]
        [('lr', 1e-05, 10.0), ('beta', 0.0, 0.999)]
        >>> of(rules.get("momentum"), steps=50).dimensions[1].high
        0.98
    """
    known = {h.name: h.default for h in rule.hyperparameters.values() if h is not STEPS}
    searched = [rule.hyperparameters[name] for name in known if name not in _FIXED]
    dimensions = tuple(d for hyper in searched if (d := _dimension(rule, hyper, steps)))
    if "lr" not in rule.hyperparameters:
        schedules = schedules[:1]
    return Space(known, dimensions, tuple(batch_sizes), tuple(schedules))


def _dimension(rule: Rule, hyper: Hyperparameter, steps: float) -> Dimension | None:
    legal = hyper.range
    if hyper.name == "lr":
        low, high, scale = _rates(rule, hyper.default)
    elif hyper.name == "weight_decay" and hyper.default == 0:
        return None
    elif hyper.name in _BY_NAME:
        low, high, scale = _BY_NAME[hyper.name]
    elif (legal.low, legal.high, legal.ends) == (0.0, 1.0, "[)"):
        low, high, scale = 0.0, 0.999, ONE_MINUS_LOG
    elif math.isfinite(legal.low) and math.isfinite(legal.high):
        inset = 1e-3 * (legal.high - legal.low)  # an open end is not a legal value
        low, high, scale = legal.low + inset, legal.high - inset, LINEAR
    elif legal.low >= 0 and hyper.default > 0:
        low, high, scale = hyper.default / 100, hyper.default * 100, LOG
    else:
        return None
    if scale == ONE_MINUS_LOG:
        high = min(high, max(hyper.default, 1 - 1 / max(steps, _LEAST_MEMORY)))
    return Dimension(hyper.name, max(low, legal.low), min(high, legal.high), scale, legal)


def _rates(rule: Rule, default: float) -> tuple[float, float, str]:
    """Return six decades of rates; around the default if it is far from that of most rules."""
    low, high, scale = _BY_NAME["lr"]
    if known := catalog.of(rule).rates:
        low, high = known
    elif not 10 * low <= default <= high / 10:
        low, high = default * 1e-3, default * 1e3
    return low, high, scale
