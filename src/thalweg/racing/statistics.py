"""Statistics: medians with intervals, epochs to a target, sensitivity."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Interval",
    "Sensitivity",
    "difference",
    "epochs_to",
    "median_interval",
    "sensitivity",
]

# The standard deviation that the luck of two searches adds to a difference: a part that is there
# without any noise, of the winner's loss, and one of the noise of a pair (benchmarks/verdicts.py).
_SEARCH_ALONE, _SEARCH_NOISE = 0.006, 0.4


_RESAMPLES = 9999
_BOOTSTRAP = 9  # of 6 to 8 values it covers the median in 87 to 93 % of draws; of fewer nothing can
_HUGE = 1e150  # stands for inf among medians, where inf - inf is NaN; its square is finite


@dataclass(frozen=True)
class Interval:
    """A median and its 95 % interval."""

    median: float
    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def median_interval(values: ArrayLike) -> Interval:
    """Return the median and its 95 % interval: the bootstrap's, Student's for fewer than 9 values.

    A value that is not finite counts as larger than all others; few values of which one is such
    have the bootstrap's interval too, for what it is worth. The percentile method (9,999 resamples)
    is used because the bias correction of BCa rests on a jackknife, which fails for the median
    (Efron 1982, section 3.4).

    Args:
        values: (n,), n >= 2.

    Example:
        >>> median_interval([3.0, 1.0, 2.0, 2.0, float("nan")]).median
        2.0
    """
    from scipy.stats import bootstrap, sem, t  # noqa: PLC0415 - takes a second to load

    finite = _finite(values)
    if len(finite) < _BOOTSTRAP and np.abs(finite).max() < _HUGE:
        half = t.ppf(0.975, len(finite) - 1) * sem(finite)
        middle = float(np.median(finite))
        return Interval(middle, float(finite.mean() - half), float(finite.mean() + half))
    found = bootstrap(
        (finite,),
        np.median,
        method="percentile",
        n_resamples=_RESAMPLES,
        random_state=np.random.default_rng(0),  # the same values have the same interval
    ).confidence_interval
    return Interval(*(_restore(v) for v in (np.median(finite), found.low, found.high)))


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, float)
    return np.clip(np.where(np.isnan(array), np.inf, array), -_HUGE, _HUGE)


def _restore(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) > _HUGE / 100 else float(value)


def difference(values: ArrayLike, winner: ArrayLike, rules: int = 2) -> Interval:
    """Return the median and interval of ``values - winner``, paired seed by seed.

    The interval has two kinds of luck in it. That of the seeds is the bootstrap's. That of the
    search is none of theirs: a rule that is searched once more, with other trials, ends with
    another setting. Its standard deviation, hypot(0.6 % of the winner's loss, 0.4 of that of a
    pair), is added to both sides in quadrature. It was chosen so that equal rules tie in races of
    a synthetic task; benchmarks/verdicts.py counts how often they do in other races. A constant
    that a loss carries is part of the winner's loss, so it widens the interval.

    The winner is known only after the race, so any two of the rules might have been compared: the
    interval is widened as Student's would be to hold for all pairs at once (Bonferroni); for two
    rules not at all, for twenty on twenty seeds to 2.1 times its width.

    Args:
        values: a rule's losses (n,), one per seed.
        winner: the winner's, on the same seeds; two diverged runs do not differ.
        rules: of how many the winner is the best, >= 2; 2 by default.

    Example:
        >>> 0.0 in difference([1.0, 2.0, 3.0], [2.0, 1.0, 3.0])
        True
    """
    from scipy.stats import median_abs_deviation, norm, t  # noqa: PLC0415 - takes a second to load

    pairs = _finite(values) - _finite(winner)
    seeds = median_interval(pairs)
    loss = _restore(np.median(_finite(winner)))
    if not (math.isfinite(seeds.median) and math.isfinite(loss)):
        return seeds
    noise = median_abs_deviation(pairs, scale="normal")
    luck = norm.ppf(0.975) * np.hypot(_SEARCH_ALONE * loss, _SEARCH_NOISE * noise)
    one, all_pairs = t.isf([0.025, 0.025 / math.comb(rules, 2)], len(pairs) - 1)
    wider = all_pairs / one
    low = seeds.median - wider * np.hypot(seeds.median - seeds.low, luck)
    high = seeds.median + wider * np.hypot(seeds.high - seeds.median, luck)
    return Interval(seeds.median, _restore(low), _restore(high))


def epochs_to(target: float, curves: NDArray[np.float64]) -> int | None:
    """Return the first epoch by which more than half of the lanes have met the target.

    Args:
        target: loss.
        curves: (epochs + 1, lanes); row 0 is before the first step.

    Returns:
        An epoch; None when half of the lanes or fewer get there. A lane that rises above the
        target again has met it.

    Example:
        >>> epochs_to(1.0, np.array([[3.0, 3.0, 3.0], [2.0, 1.0, 2.0], [0.5, 0.5, 2.0]]))
        2
    """
    reached = curves <= target
    first = np.where(reached.any(axis=0), reached.argmax(axis=0), np.inf)
    epoch = np.sort(first)[len(first) // 2]
    return int(epoch) if np.isfinite(epoch) else None


@dataclass(frozen=True)
class Sensitivity:
    """How forgiving a rule is.

    Attributes:
        within_5_percent: share of the evenly spread trials within 5 % of the chosen one's loss.
        diverged: share of them that diverged.
        good_lr: lowest and highest rate of all trials within 5 %, None where no trial is.
    """

    within_5_percent: float
    diverged: float
    good_lr: tuple[float, float] | None

    @property
    def good_lr_decades(self) -> float:
        """Width of that range in powers of ten."""
        return math.log10(self.good_lr[1] / self.good_lr[0]) if self.good_lr else 0.0


def sensitivity(
    losses: ArrayLike, diverged: Sequence[bool], rates: ArrayLike, chosen: int, spread: int
) -> Sensitivity:
    """Measure how much a rule's loss depends on its setting.

    Shares are of the first round alone, whose trials spread evenly over the declared space: those
    of later rounds crowd around the best. The range of rates is that of all trials.

    Args:
        losses: final validation losses (trials,), inf for those that are not finite.
        diverged: (trials,).
        rates: lr of each (trials,), NaN for a rule without one.
        chosen: number of the rule's chosen trial. It is the measure, not the lowest loss of all,
            which may be one trial's luck; all have the same seed. No trial is within 5 % of a loss
            that is not finite.
        spread: number of trials of the first round, which come first.

    Example:
        >>> found = sensitivity([1.0, 1.04, 2.0, 1.01], [False] * 4, [0.1, 1.0, 10.0, 0.01], 0, 3)
        >>> round(found.within_5_percent, 2), found.good_lr, found.good_lr_decades
        (0.67, (0.01, 1.0), 2.0)
    """
    losses, rates = np.asarray(losses, float), np.asarray(rates, float)
    best = losses[chosen]  # it may be negative
    good = np.isfinite(losses) & np.isfinite(best) & (losses <= best + 0.05 * abs(best))
    known = rates[good & ~np.isnan(rates)]
    found = (float(known.min()), float(known.max())) if len(known) else None
    return Sensitivity(float(good[:spread].mean()), float(np.mean(diverged[:spread])), found)
