"""Comparison with the best: which rules could be best, and what each of them costs.

A race repeats its whole experiment on several splits of the data, each time with a new search and
new seeds. The best rule is not known. So each rule in turn is taken for the best, and the others
are compared with it. A statement is made only if it holds whichever of the possible best rules is
the best.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["AS_GOOD", "HUGE", "OVERLAP", "STATES", "UNDECIDED", "WORSE", "Comparison", "compare"]

STATES = AS_GOOD, UNDECIDED, WORSE = "as good", "undecided", "worse"

OVERLAP = 0.1  # of the variance of one repeat, all repeats share this: they share rows

HUGE = 1e100  # a training with this loss or a higher one, or with none, has diverged

_LEVEL = 0.95
_LARGE = 1e6  # degrees of freedom that are as good as infinitely many
_DRAWS = 10_000  # of the largest of several t statistics

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What the repeats of a race say of its rules, each array in the order of the rules.

    A price is how much higher a rule's typical loss is than that of the best, as a share of it.

    Attributes:
        winner: index of the rule of the lowest typical loss.
        loss: typical loss: the geometric mean over repeats; the mean if a loss is not positive.
        loss_low: lower end of its interval, 95 % for all rules at once.
        loss_high: upper end.
        price: over the winner, >= 0.
        low: least price over the best rule, >= 0; 95 % for all rules at once, with ``high``.
        high: highest price.
        could_be_best: whether the rule may be the best one.
        probability: share of the repeats in which its loss was below the winner's; 0.5 for itself.
        lost: whether it diverged in every repeat. It is then neither the winner nor could be best.
    """

    winner: int
    loss: Array
    loss_low: Array
    loss_high: Array
    price: Array
    low: Array
    high: Array
    could_be_best: NDArray[np.bool_]
    probability: Array
    lost: NDArray[np.bool_]
    _gap: Array = field(repr=False)  # to the rival that says most, on the scale of comparison
    _half: Array = field(repr=False)  # half the width of the interval of that gap
    _free: Array = field(repr=False)  # the degrees of freedom of that width
    _repeats: int = field(repr=False)

    def states(self, margin: float) -> list[str]:
        """Return the state of each rule.

        "as good": its price is at most ``margin``. "worse": its price is above 0 and not known to
        be within the margin, or it is lost. "undecided": neither is known.
        """
        pairs = zip((self.high <= margin) & ~self.lost, (self.low > 0) | self.lost, strict=True)
        return [AS_GOOD if good else WORSE if worse else UNDECIDED for good, worse in pairs]

    def repeats_needed(self, margin: float) -> Array:
        """Return about how many repeats would decide each rule; inf if more than 1000.

        More of them narrow an interval twice: the mean is known better, and its spread, too.
        """
        from scipy.special import stdtrit  # noqa: PLC0415 - takes a second to load

        goal = np.maximum(math.log1p(margin) - self._gap, self._gap)
        numbers = np.append(self._repeats, np.arange(2, 1001))
        free = np.outer(self._free / (self._repeats - 1), numbers - 1)
        widths = stdtrit(free, (1 + _LEVEL) / 2) * np.sqrt(1 / numbers + OVERLAP)
        enough = self._half[:, None] * widths[:, 1:] / widths[:, :1] <= goal[:, None]
        return np.where(enough.any(axis=1), numbers[1:][enough.argmax(axis=1)], np.inf)


def compare(losses: ArrayLike, *, rows: int, constant: float) -> Comparison:
    """Compare every rule with the best, whichever rule that is.

    One row more is counted among the test rows, on which every rule has the loss of the best
    constant output. So no loss is 0, and a few rows that all rules predict well do not make one
    rule a thousand times better than another. Let x be the logarithm of these losses, d the mean
    of x_i − x_j over R repeats, and s its standard deviation in one repeat. Then rule i costs
    d ± c·s·√(1/R + 0.1) more than rule j. c is the 95 % point of the largest |t| of all rules
    against j, with the correlation that the repeats show. A few repeats tell little of s, and all
    rules together tell what is usual: s is drawn towards that (``_moderated``).

    A rule could be best if no interval says that another one is better. The price of a rule runs
    from the least lower end to the highest upper end over all rules that could be best (Edwards &
    Hsu 1983). So all prices hold at once, with 95 %, and the best rule is among those that could
    be.

    0.1 is the variance that the repeats share because they share rows; benchmarks/repeat.py
    measured 0.08. Nadeau & Bengio 2003 put 1/3 there, the ratio of test to training rows.

    If a loss is not positive, x is the loss itself, divided by the size of the lowest mean.

    Args:
        losses: mean test losses, (rules, repeats), two repeats or more; those of a rule at least
            did not all diverge. A training that diverged counts as the best constant output:
            whoever has it is no better off.
        rows: of the test part, >= 1.
        constant: loss of the best constant output, finite.

    Returns:
        What is known of each rule.

    Raises:
        ValueError: there are fewer than two repeats.

    Example:
        >>> two = [[1.0, 2.0, 4.0, 3.0], [2.0, 4.1, 8.0, 5.9]]
        >>> found = compare(two, rows=10**6, constant=20.0)
        >>> found.winner, found.could_be_best.tolist(), found.price.round(2).tolist()
        (0, [True, False], [0.0, 1.0])

    Edwards & Hsu 1983, "Multiple Comparisons with the Best Treatment".
    """
    losses = np.asarray(losses, dtype=np.float64)
    if losses.ndim != 2 or losses.shape[1] < 2:
        raise ValueError(f"losses must have two repeats or more, got shape {losses.shape}")
    ended = np.abs(losses) < HUGE
    lost = ~ended.any(axis=1)
    losses = np.where(ended, losses, constant)
    losses = (rows * losses + constant) / (rows + 1)
    positive = bool((losses > 0).all())
    scale = 1.0 if positive else float(np.abs(losses.mean(axis=1)).min()) or 1.0
    x = np.log(losses) if positive else losses / scale
    typical, (rules, repeats) = x.mean(axis=1), x.shape
    spread = math.sqrt(1 / repeats + OVERLAP)
    gap = typical[:, None] - typical
    half, free = np.zeros((rules, rules)), np.ones(rules)  # of rule i against rule j
    for j in range(rules):
        others = np.arange(rules) != j
        widths, free[j] = _half_widths(x[others] - x[j])
        half[others, j] = widths * spread
    lowest = np.array([(gap[:, j] + half[:, j] >= 0)[~lost].all() for j in range(rules)])
    best = lowest & ~lost
    low = np.where(best, 0.0, np.maximum((gap - half)[:, best].min(axis=1), 0.0))
    rival = np.where(best & ~np.eye(rules, dtype=bool), gap + half, -np.inf)
    high = np.maximum(rival.max(axis=1), 0.0)
    winner = int(np.where(lost, np.inf, typical).argmin())
    says_most = np.where(np.arange(rules) == winner, rival.argmax(axis=1), winner)
    own = _half_widths(x)[0] * spread
    price, value = (np.expm1, np.exp) if positive else (np.asarray, lambda at: scale * at)
    below = (x < x[winner]).mean(axis=1) + (x == x[winner]).mean(axis=1) / 2
    each = np.arange(rules)
    return Comparison(
        winner, value(typical), value(typical - own), value(typical + own),
        price(np.maximum(gap[:, winner], 0.0)), price(low), price(high), best, below, lost,
        gap[each, says_most], half[each, says_most], free[says_most], repeats,
    )  # fmt: skip


def _half_widths(x: Array) -> tuple[Array, float]:
    """Return c·s of several means over repeats, and the degrees of freedom of s.

    All intervals of these half widths hold at once, with 95 %.

    Args:
        x: (means, repeats).
    """
    variances, free = _moderated(x.var(axis=1, ddof=1), x.shape[1] - 1)
    return _largest_t(x, free) * np.sqrt(variances), free


def _moderated(variances: Array, free: int) -> tuple[Array, float]:
    """Return variances drawn towards each other, and their degrees of freedom.

    True variances are taken to scatter as s₀² d₀/χ²(d₀) does; d₀ and s₀ follow from the mean and
    the variance of the logarithms. The variance to expect is then (d₀ s₀² + d s²)/(d₀ + d), with
    d₀ + d degrees of freedom (Smyth 2004, "Linear models and empirical Bayes methods").
    Deviations: d₀ is at most d, for the variances of a race are not independent, and a variance of
    0, of rules that are the same, stays 0.

    Args:
        variances: (means,), >= 0.
        free: d, the degrees of freedom of each, >= 1.
    """
    from scipy.optimize import brentq  # noqa: PLC0415 - takes a second to load
    from scipy.special import digamma, polygamma  # noqa: PLC0415 - the same

    known = variances > 0
    if known.sum() < 2:
        return variances, free
    logarithms = np.log(variances[known]) - digamma(free / 2) + math.log(free / 2)
    scatter = logarithms.var(ddof=1) - polygamma(1, free / 2)
    half = _LARGE
    if scatter > polygamma(1, _LARGE):
        half = brentq(lambda half: polygamma(1, half) - scatter, 1e-9, _LARGE)
    usual = math.exp(logarithms.mean() + digamma(half) - math.log(half))
    prior = min(2 * half, free)
    moderated = (prior * usual + free * variances) / (prior + free)
    return np.where(known, moderated, 0.0), prior + free


def _largest_t(x: Array, free: float) -> float:
    """Return the 95 % point of the largest |t| of several means over repeats, correlated as x is.

    Args:
        x: (means, repeats).
        free: degrees of freedom.
    """
    rest = x - x.mean(axis=1, keepdims=True)
    size = np.linalg.norm(rest, axis=1, keepdims=True)
    unit = np.divide(rest, size, out=np.zeros_like(rest), where=size > 0)
    random = np.random.default_rng(0)  # a fixed seed: the same losses have the same intervals
    t = np.abs(unit @ random.standard_normal((x.shape[1], _DRAWS))).max(axis=0, initial=0.0)
    return float(np.quantile(t / np.sqrt(random.chisquare(free, _DRAWS) / free), _LEVEL))
