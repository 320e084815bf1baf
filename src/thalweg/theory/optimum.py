"""Optimum: the hyperparameters that converge fastest on quadratics between two curvatures."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from thalweg import catalog, rules
from thalweg.rule import Rule
from thalweg.theory.linearization import linearize, positive_number
from thalweg.theory.rates import worst_radius

__all__ = ["Best", "best", "memories_of"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Best:
    """The fastest hyperparameters, and how fast they are.

    Attributes:
        hyper: lr, the memory if the rate depends on one, those that were given, and weight_decay.
        rate: the factor per step in the long run, for the worst quadratic.
        source: the paper of the closed form; "minimized numerically" where there is none.
    """

    hyper: Mapping[str, float]
    rate: float
    source: str


_NUMERICALLY = "minimized numerically"


def best(rule: Rule | str, mu: float, L: float, **hyper: float) -> Best:
    """Return the lr and the memory (beta, beta1) with the lowest rate on quadratics.

    min over lr and memory of max over λ in [μ, L] of ρ(M(λ)). In closed form for gradient descent,
    the heavy ball and Nesterov's rule, and for every rule whose iteration matrix has the same
    eigenvalues: the averaged form and Adam at lr / (1 − β), RMSProp, NAdam. Numerically otherwise.

    For nesterov this is the optimum for quadratics. For convex functions in general the usual
    choice is another, lr = 1/L and beta = (√κ − 1)/(√κ + 1), which is slower on quadratics.

    A weight_decay that is not given is 0: it pulls to 0, where the minimizer of these quadratics
    happens to lie, so that the fastest lr would be one that lets decay alone do the work.

    Args:
        rule: a Rule, or the name of one.
        mu: the least eigenvalue of the (preconditioned) Hessian, > 0.
        L: the largest, >= mu.
        hyper: hyperparameters to keep as they are given. Those without effect are left out.

    Raises:
        ValueError: a value is out of range, the rule is not linear (see ``iteration_matrix``).
        TypeError: the rule has no such hyperparameter, or no lr to choose.

    Example:
        >>> fastest = best("momentum", 1.0, 9.0)
        >>> fastest.hyper, fastest.rate, fastest.source
        ({'lr': 0.25, 'beta': 0.25}, 0.5, 'Polyak 1964')
    """
    rule = rules.get(rule)
    if "weight_decay" in rule.hyperparameters:
        hyper = {"weight_decay": 0.0, **hyper}
    fixed = rule.resolve(hyper)
    mu, L = positive_number("mu", mu), positive_number("L", L)
    if mu > L:
        raise ValueError(f"mu must be <= L, got mu = {mu:g} and L = {L:g}")
    if "lr" not in fixed or "lr" in hyper:
        raise TypeError(f"best chooses lr: rule {rule.name!r} must have one, and it is not given")
    memories = [name for name in memories_of(rule, fixed) if name not in hyper]
    for reference in map(rules.get, rules.names()):
        known = catalog.of(reference).optimum
        if known is None:
            continue
        lr, memory, rate = known.form(mu, L)
        for average in (False, True):
            scaled = lr / (1 - memory) if average else lr
            found = {"lr": scaled, **dict.fromkeys(memories, memory)}
            if _alike(rule, fixed, memories, reference, average=average):
                return Best({**found, **hyper}, rate, known.source)
    found, rate = _minimize(rule, fixed, memories, np.geomspace(mu, L, 9))
    return Best({**found, **hyper}, rate, _NUMERICALLY)


def memories_of(rule: Rule, hyper: Mapping[str, float]) -> list[str]:
    """Return the hyperparameters in [0, 1) on which the iteration matrix depends: not beta2."""
    unit = [n for n, each in rule.hyperparameters.items() if str(each.range) == "in [0, 1)"]
    maps = {n: [linearize(rule, {**hyper, n: v}).matrix(1.0) for v in (0.25, 0.5)] for n in unit}
    return [name for name, (one, other) in maps.items() if not np.array_equal(one, other)]


def _alike(
    rule: Rule, fixed: Mapping[str, float], memories: list[str], other: Rule, *, average: bool
) -> bool:
    """Return whether a rule's matrices have the eigenvalues of another's at a scaled lr."""
    for lr, memory, eigenvalue in ((0.3, 0.25, 1.0), (0.1, 0.5, 2.0), (0.2, 0.75, 3.0)):
        found = {
            **fixed,
            "lr": lr / (1 - memory) if average else lr,
            **dict.fromkeys(memories, memory),
        }
        expected = {"lr": lr, "beta": memory}
        expected = {n: expected[n] for n in other.hyperparameters}
        ours = linearize(rule, found).matrix(eigenvalue)
        theirs = linearize(other, expected).matrix(eigenvalue)
        if ours.shape != theirs.shape or not np.allclose(np.poly(ours), np.poly(theirs), rtol=1e-9):
            return False
    return True


def _minimize(
    rule: Rule, fixed: Mapping[str, float], memories: list[str], spectrum: Array
) -> tuple[dict[str, float], float]:
    """Return the best lr and memories, and the rate, by search."""

    def at(logs: Array) -> dict[str, float]:  # memories by the logarithm of 1 − memory
        values = np.clip(0.0 - np.expm1(logs), 0.0, 1 - 1e-12)
        return {**fixed, **dict(zip(memories, values.tolist(), strict=True))}

    def least(logs: Array) -> float:
        return _best_lr(rule, at(logs), spectrum)[1]

    logs = np.zeros(len(memories))
    if memories:
        coarse = [np.full(len(memories), -float(i)) for i in range(16)]
        start = min(coarse, key=least)
        options = {"xatol": 1e-10, "fatol": 1e-14, "maxiter": 400 * len(memories)}
        logs = minimize(least, start, method="Nelder-Mead", options=options).x
    hyper = at(logs)
    lr, rate = _best_lr(rule, hyper, spectrum)
    return {"lr": lr, **{name: hyper[name] for name in memories}}, rate


def _best_lr(rule: Rule, hyper: Mapping[str, float], spectrum: Array) -> tuple[float, float]:
    """Return the lr with the lowest rate, found on ever finer grids, and that rate."""
    low, high = np.log(np.array([1e-8, 1e13]) / spectrum[-1])
    points = 513  # to find the valley; then few, since each matrix has its eigenvalues computed
    while high - low > 1e-12 * max(1.0, abs(low)):
        logs = np.linspace(low, high, points)
        rates = worst_radius(linearize(rule, {**hyper, "lr": np.exp(logs)}), spectrum)
        i = int(np.argmin(rates))
        low, high, points = logs[max(i - 1, 0)], logs[min(i + 1, points - 1)], 33
    return math.exp(logs[i]), float(rates[i])
