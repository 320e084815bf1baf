"""Rates: how fast a rule converges on a quadratic, and up to which lr."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from thalweg import rules
from thalweg.rule import Rule
from thalweg.theory.linearization import Linearization, linearize, positive, positive_number

__all__ = ["converging", "max_lr", "radius", "rate", "worst_radius"]

Array = NDArray[np.float64]


def rate(rule: Rule | str, spectrum: ArrayLike, **hyper: float) -> float:
    """Return the factor per step by which the error on a quadratic shrinks in the long run.

    It is the maximum over λ in the spectrum of ρ(M(λ)), the spectral radius of
    ``iteration_matrix``. For an adaptive rule the spectrum is that of the preconditioned Hessian.
    Below 1 the rule converges.

    Args:
        rule: a Rule, or the name of one.
        spectrum: the Hessian's eigenvalues, each > 0: (d,), or one number.
        hyper: the rule's hyperparameters; its defaults for the rest.

    Raises:
        ValueError: a value is out of range, or the rule is not linear (see ``iteration_matrix``).
        TypeError: the rule has no such hyperparameter.

    Example:
        >>> round(rate("sgd", [0.2, 4.0], lr=0.4), 12)  # max |1 − ηλ|
        0.92
    """
    rule = rules.get(rule)
    map_ = linearize(rule, rule.resolve(hyper))
    return float(worst_radius(map_, positive("spectrum", spectrum)))


def worst_radius(map_: Linearization, spectrum: ArrayLike) -> Array:
    """Return the largest spectral radius over a spectrum, one per grid point (...)."""
    worst = np.zeros(map_.b.shape[:-1])
    for eigenvalue in np.ravel(spectrum):  # one at a time: a fine grid times a spectrum is large
        worst = np.maximum(worst, radius(map_.matrix(eigenvalue)))
    return worst


def radius(matrix: Array) -> Array:
    """Return the spectral radius of each of the matrices (..., n, n)."""
    if matrix.shape[-1] == 1:
        return np.abs(matrix[..., 0, 0])
    if matrix.shape[-1] > 2:
        return np.asarray(np.abs(np.linalg.eigvals(matrix)).max(axis=-1))
    # z = m ± √D, as sums of numbers of one sign: this is more exact at a double root than others.
    a, b, c, d = (matrix[..., i, j] for i in (0, 1) for j in (0, 1))
    m, D = (a + d) / 2, ((a - d) / 2) ** 2 + b * c
    return np.where(D < 0, np.hypot(m, np.sqrt(np.abs(D))), np.abs(m) + np.sqrt(np.abs(D)))


def max_lr(rule: Rule | str, sharpness: float, **hyper: float) -> float:
    """Return the stability limit: the lr at which a descent on f = λx²/2 begins to diverge.

    The least lr with ρ(M) = 1: 2/λ for sgd, (2 + 2β)/λ for momentum, (2 + 2β)/((1 + 2β)λ) for
    nesterov, (2 + 2β₁)/((1 − β₁)λ) for adam, where λ is of the preconditioned Hessian.

    Args:
        rule: a Rule, or the name of one.
        sharpness: λ in [1e-200, 1e200], the largest eigenvalue of the Hessian.
        hyper: the rule's other hyperparameters; its defaults for the rest.

    Returns:
        The limit, to twelve digits or better; inf where no lr up to 10¹²/λ diverges.

    Raises:
        ValueError: a value is out of range, the rule is not linear, or it diverges at every lr.
        TypeError: the rule has no such hyperparameter, or lr is given.

    Example:
        >>> round(max_lr("momentum", 4.0, beta=0.9), 12)
        0.95

    Cohen et al. 2021, "Gradient Descent on Neural Networks Typically Occurs at the Edge of
    Stability", appendix B; for adam Cohen et al. 2022, "Adaptive Gradient Methods at the Edge of
    Stability".
    """
    rule = rules.get(rule)
    if "lr" in hyper:
        raise TypeError(f"max_lr finds lr: do not give it, got lr = {hyper['lr']}")
    fixed = rule.resolve(hyper)
    if "lr" not in fixed:
        raise ValueError(f"rule {rule.name!r} has no lr to limit")
    eigenvalue = positive_number("sharpness", sharpness)
    if not 1e-200 <= eigenvalue <= 1e200:  # beyond it products of lr overflow
        raise ValueError(f"sharpness must be in [1e-200, 1e200], got {eigenvalue:g}; scale f")

    def excess(lr: Any) -> Any:  # noqa: ANN401 - a number or an array, as lr
        return radius(linearize(rule, {**fixed, "lr": lr}).matrix(eigenvalue)) - 1

    # The radius is assumed to cross 1 at most once between points of this grid, 5 % apart.
    lrs = np.geomspace(1e-12, 1e12, 1133) / eigenvalue
    excesses = excess(lrs)
    stable = excesses < 0
    if not stable.any() or (excesses[: np.argmax(stable)] > 1e-9).any():
        raise ValueError(f"rule {rule.name!r} diverges at every lr{_given(fixed)}")
    after = np.argmax(stable) + np.argmin(stable[np.argmax(stable) :])
    if stable[after]:
        return math.inf
    return float(brentq(excess, lrs[after - 1], lrs[after], xtol=1e-300, rtol=1e-15))


def _given(hyper: Mapping[str, float]) -> str:
    others = ", ".join(f"{name} = {value:g}" for name, value in hyper.items() if name != "lr")
    return f" with {others}" if others else ""


def converging(rule: Rule, spectrum: ArrayLike, hyper: Mapping[str, float]) -> Linearization:
    """Return a rule's linear map, or raise ValueError if its rate is not below 1."""
    map_ = linearize(rule, hyper)
    worst = float(worst_radius(map_, spectrum))
    if worst < 1 - 1e-13:  # nearer to 1, powers are mostly rounding errors
        return map_
    raise ValueError(
        f"rule {rule.name!r} must converge, but its rate is {worst:.6g} per step at "
        f"{', '.join(f'{name} = {value:g}' for name, value in hyper.items())}; take an lr well "
        "between 0 and max_lr"
    )
