"""Noise: how far above the minimum gradient noise keeps a descent."""

import numpy as np
from scipy.linalg import solve_discrete_lyapunov

from thalweg import rules
from thalweg.checks import NOT_NEGATIVE, number
from thalweg.rule import Rule
from thalweg.theory.linearization import positive_number
from thalweg.theory.rates import converging

__all__ = ["noise_floor"]


def noise_floor(rule: Rule | str, eigenvalue: float, variance: float, **hyper: float) -> float:
    """Return the mean of f = λx²/2 in the long run, when gradients carry independent noise.

    E f = λ/2 · Σ_xx, where Σ = MΣMᵀ + σ² b bᵀ is the stationary covariance of (states, x), M the
    ``iteration_matrix`` and b what a gradient of 1 adds in one step (discrete Lyapunov equation).
    For sgd this is ησ²/(2(2 − ηλ)). The floors of d coordinates add up.

    For an adaptive rule, whose preconditioner P is held constant, λ is an eigenvalue of P^−½HP^−½
    and σ²
    the variance of P^−½ noise.

    Args:
        rule: a Rule, or the name of one.
        eigenvalue: λ > 0, the curvature along one eigenvector.
        variance: σ² >= 0 of the gradient's noise along it.
        hyper: the rule's hyperparameters; its defaults for the rest.

    Raises:
        ValueError: a value is out of range, the rule is not linear, or it does not converge.
        TypeError: the rule has no such hyperparameter.

    Example:
        >>> round(noise_floor("sgd", 2.0, 0.01, lr=0.5), 12)  # 0.5 · 0.01 / (2 · (2 − 1))
        0.0025
    """
    rule, curvature = rules.get(rule), positive_number("eigenvalue", eigenvalue)
    variance = number("variance", variance, NOT_NEGATIVE)
    map_ = converging(rule, curvature, rule.resolve(hyper))
    covariance = solve_discrete_lyapunov(map_.matrix(curvature), np.outer(map_.b, map_.b))
    return float(curvature / 2 * variance * covariance[-1, -1])
