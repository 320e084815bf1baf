"""Statistics: epochs to a target, and how forgiving a rule is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Sensitivity", "epochs_to", "middle", "sensitivity"]


def middle(values: Sequence[float | None]) -> float | None:
    """Return the upper median of values. None stands for a target that was never reached.

    Example:
        >>> middle([3, None, 1]), middle([None, 2, None]), middle([4.0])
        (3, None, 4.0)
    """
    ranked = sorted(values, key=lambda value: math.inf if value is None else value)
    return ranked[len(ranked) // 2]


def epochs_to(target: float, curves: NDArray[np.float64]) -> int | None:
    """Return the first epoch by which more than half of the lanes have met the target.

    Args:
        target: loss.
        curves: (epochs + 1, lanes); row 0 is before the first step.

    Returns:
        An epoch; None if at most half of the lanes meet the target. A lane that rises above it
        again has met it.

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
        within_5_percent: share of the evenly spread trials whose loss is within 5 % of the chosen
            one's.
        diverged: share of them that diverged.
        good_lr: lowest and highest rate of all trials within 5 %; None if there are none.
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

    Only the first round counts for the shares, because its trials spread evenly over the declared
    space, and later ones lie around the best. The range of rates is taken from all trials.

    Args:
        losses: final validation losses (trials,), inf for those that are not finite.
        diverged: (trials,).
        rates: lr of each (trials,), NaN for a rule without one.
        chosen: number of the rule's chosen trial. Losses are compared with its loss, not with the
            lowest of all, which may be luck; all have the same seed. No trial is within 5 % of a
            loss that is not finite.
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
