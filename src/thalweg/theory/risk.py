"""Risk: what (stochastic) gradient descent guarantees for every convex objective."""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import digamma

from thalweg import schedules
from thalweg.checks import POSITIVE, count, number

__all__ = ["horizon_lr", "risk_bound", "strong_risk_bound"]


def risk_bound(
    schedule: float | Callable[[int], float], steps: int, radius: float, lipschitz: float
) -> float:
    """Return a bound of f(x̄) − f*, where x̄ is the average of the points and f is convex.

    E f(x̄) − f* <= (r² + L² Σ ηₜ²) / (2 Σ ηₜ), where x̄ = Σ ηₜ xₜ / Σ ηₜ averages the points at which
    the ``steps`` gradients were taken. If the horizon T is not known, a rate of c/√t gives O(log
    T/√T). If it is known, ``horizon_lr`` is the best constant rate.

    Args:
        schedule: ηₜ: a number, a schedule, or any callable step -> rate, each >= 0.
        steps: T, an integer >= 1.
        radius: r > 0, the largest distance of the first point from a minimizer.
        lipschitz: L > 0, a bound of the root mean square of a (stochastic) gradient, everywhere.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> round(risk_bound(0.1, steps=100, radius=1.0, lipschitz=1.0), 12)
        0.1

    Nemirovski, Juditsky, Lan & Shapiro 2009, section 2.2.
    """
    lrs = schedules.values(schedule, np.arange(count("steps", steps)))
    wrong = ~(np.isfinite(lrs) & (lrs >= 0))
    if wrong.any():
        step = int(np.argmax(wrong))
        raise ValueError(f"lr must be finite and >= 0, got {lrs[step]:g} at step {step}")
    r, L = number("radius", radius, POSITIVE), number("lipschitz", lipschitz, POSITIVE)
    if not lrs.any():
        raise ValueError("lr must be > 0 at one step or more, got 0 at each")
    return float((r**2 + L**2 * (lrs @ lrs)) / (2 * lrs.sum()))


def horizon_lr(steps: int, radius: float, lipschitz: float) -> float:
    """Return the constant rate with the lowest ``risk_bound`` for a known horizon: η = r/(L√T).

    The bound is then rL/√T.

    Args:
        steps: T, an integer >= 1.
        radius: r > 0, as in ``risk_bound``.
        lipschitz: L > 0, as in ``risk_bound``.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> horizon_lr(100, radius=1.0, lipschitz=2.0)
        0.05
        >>> round(risk_bound(0.05, 100, radius=1.0, lipschitz=2.0), 12)
        0.2

    Nemirovski, Juditsky, Lan & Shapiro 2009, section 2.2.
    """
    r, L = number("radius", radius, POSITIVE), number("lipschitz", lipschitz, POSITIVE)
    return r / (L * math.sqrt(count("steps", steps)))


def strong_risk_bound(steps: int, mu: float, lipschitz: float) -> float:
    """Return the bound for a μ-strongly convex f at the rate ηₜ = 1/(μt), t counted from 1.

    E f(x̄) − f* <= L²/(2μT) · Σ 1/t, where x̄ is the plain mean of the points at which the T
    gradients were taken: O(log T/T). It does not depend on the distance to the minimizer. The rate
    is ``schedules.inverse_time(1 / mu)``.

    Args:
        steps: T, an integer >= 1.
        mu: μ > 0: f(x) − μ|x|²/2 is convex.
        lipschitz: L > 0, a bound of the root mean square of a gradient at the points.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> round(strong_risk_bound(2, mu=0.5, lipschitz=1.0), 12)  # (1 + 1/2) / (2 · 0.5 · 2)
        0.75

    Hazan, Agarwal & Kale 2007, theorem 1.
    """
    T = count("steps", steps)
    harmonic = float(digamma(T + 1)) + np.euler_gamma
    return (
        number("lipschitz", lipschitz, POSITIVE) ** 2
        * harmonic
        / (2 * number("mu", mu, POSITIVE) * T)
    )
