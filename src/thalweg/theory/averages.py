"""Averages: how a leaky average weighs the past."""

import numpy as np
from numpy.typing import NDArray

from thalweg.checks import count, number
from thalweg.rule import RANGES

__all__ = ["effective_window", "leaky_weights"]


def _beta(beta: float) -> float:
    return number("beta", beta, RANGES["beta"])


def leaky_weights(beta: float, n: int) -> NDArray[np.float64]:
    """Return the weights of the last n values in a leaky average: (1 − β) βⁱ for the value i ago.

    This average is m ← βm + (1 − β)g. The weights of v ← βv + g in ``momentum`` are 1/(1 − β) times
    as large. The weights add up to 1 − βⁿ; Adam's bias correction divides by that.

    Args:
        beta: the memory β, in [0, 1).
        n: how many weights, an integer >= 1.

    Returns:
        (n,), the newest first.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> leaky_weights(0.5, 4).tolist(), leaky_weights(0.5, 4).sum().item() == 1 - 0.5**4
        ([0.5, 0.25, 0.125, 0.0625], True)
    """
    ages = np.arange(count("n", n))
    return np.asarray((1 - _beta(beta)) * _beta(beta) ** ages, dtype=np.float64)


def effective_window(beta: float) -> float:
    """Return 1/(1 − β): the number of equal weights of the newest value's size that add up to 1.

    It is also the mean age of the values, if the newest has age 1.

    Args:
        beta: the memory β, in [0, 1).

    Raises:
        ValueError: beta is out of range.

    Example:
        >>> effective_window(0.75)
        4.0
    """
    return 1 / (1 - _beta(beta))
