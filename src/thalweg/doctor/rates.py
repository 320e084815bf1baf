"""Rates: other rates that are tried on copies, of all groups of the optimizer and of one."""

from collections.abc import Iterator
from functools import partial

from thalweg.doctor.subject import Copy, Subject
from thalweg.doctor.treatment import Treatment
from thalweg.doctor.treatments import scaled_rate
from thalweg.words import digits

__all__ = ["evened", "higher_rates", "rates", "warmed"]

_APART = 10.0  # times: groups whose rates are so far apart may be meant to learn alike


def rates() -> Iterator[tuple[float, Treatment]]:
    """Yield factors of the rate, and treatments with them."""
    for factor in (0.1, 0.01, 0.001):
        words = f"the rate divided by {round(1 / factor)}"
        yield factor, Treatment("lr_too_high", 4, words, "", partial(scaled_rate, factor=factor))
    for factor in (10.0, 100.0, 1000.0):
        yield factor, _raised(factor)


def higher_rates() -> Iterator[tuple[float, Treatment]]:
    """Yield further factors of the rate, for where the largest of ``rates`` helps most."""
    for factor in (1e4, 1e5, 1e6):
        yield factor, _raised(factor)


def _raised(factor: float) -> Treatment:
    words = f"{factor:,.0f} times the rate"
    return Treatment("lr_too_low", 4, words, "", partial(scaled_rate, factor=factor))


def evened(subject: Subject) -> Iterator[Treatment]:
    """Yield the largest and the least rate for all groups, where those of groups are far apart."""
    groups = subject.optimizer.param_groups
    trained = [group for group in groups if any(p.requires_grad for p in group["params"])]
    given = [float(group.get("lr", 0.0)) for group in trained]
    low, high = min(given, default=0.0), max(given, default=0.0)
    if not 0 < _APART * low <= high:
        return
    sign = f"Groups of the optimizer have rates from {digits(low)} to {digits(high)}."
    for cause, rate in (("lr_too_low", high), ("lr_too_high", low)):
        words = f"the rate {digits(rate)} for all groups"
        yield Treatment(cause, 4, words, sign, partial(_even, rate=rate))


def _even(twin: Copy, rate: float) -> None:
    for group in twin.optimizer.param_groups:
        group["lr"] = rate


def warmed(subject: Subject) -> Iterator[Treatment]:
    """Yield the rate that a schedule goes up to, where it begins far below it.

    A copy has the rate of its first step. Where the warm-up is longer than the training, so has
    all of it, nearly.
    """
    groups = subject.copy().optimizer.param_groups
    given = [(float(g.get("lr", 0.0)), float(g.get("initial_lr", 0.0))) for g in groups]
    far = max((high / low for low, high in given if low > 0), default=1.0)
    if far >= _APART:
        sign = f"The schedule begins at {digits(1 / far)} times the rate that it was made with."
        words = "that rate from the first step on"
        yield Treatment("lr_too_low", 4, words, sign, _at_full_rate)


def _at_full_rate(twin: Copy) -> None:
    for group in twin.optimizer.param_groups:
        group["lr"] = group.get("initial_lr", group["lr"])
