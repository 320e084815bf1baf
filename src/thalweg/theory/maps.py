"""Maps: the rate on a grid of two hyperparameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg import rules
from thalweg.rule import Rule
from thalweg.theory.linearization import linearize, positive
from thalweg.theory.rates import worst_radius

__all__ = ["RateMap", "rate_map"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RateMap:
    """The rate at every point of a grid; it converges where the rate is below 1.

    Attributes:
        over: the two hyperparameters and their values, (n1,) and (n2,).
        rate: the factor per step in the long run, (n1, n2).
    """

    over: Mapping[str, Array]
    rate: Array = field(repr=False)

    @property
    def best(self) -> dict[str, float]:
        """The hyperparameters with the lowest rate on the grid, ``rate.min()``."""
        indices = np.unravel_index(self.rate.argmin(), self.rate.shape)
        return {n: float(v[i]) for (n, v), i in zip(self.over.items(), indices, strict=True)}


def rate_map(
    rule: Rule | str, spectrum: ArrayLike, over: Mapping[str, ArrayLike], **hyper: float
) -> RateMap:
    """Return ``rate`` at every point of a grid over two hyperparameters.

    The rule is called with whole grids of hyperparameters, not once for each point.

    Args:
        rule: a Rule, or the name of one.
        spectrum: the (preconditioned) Hessian's eigenvalues, each > 0: (d,), or one number.
        over: two names, each with its values, such as ``{"lr": np.geomspace(0.01, 1, 200),
            "beta": np.linspace(0, 0.99, 100)}``.
        hyper: the other hyperparameters; the rule's defaults for the rest.

    Raises:
        ValueError: a value is out of range, or the rule is not linear (see ``iteration_matrix``).
        TypeError: the rule has no such hyperparameter, or a name is in both ``over`` and ``hyper``.

    Example:
        >>> lrs, betas = np.linspace(0.05, 0.5, 10), np.linspace(0, 0.75, 4)
        >>> found = rate_map("momentum", [1.0, 9.0], over={"lr": lrs, "beta": betas})
        >>> found.rate.shape, found.best, found.rate.min().round(12).item()
        ((10, 4), {'lr': 0.25, 'beta': 0.25}, 0.5)
    """
    rule = rules.get(rule)
    if len(over) != 2:
        raise ValueError(f"over must have two hyperparameters, got {', '.join(over) or 'none'}")
    if twice := [name for name in over if name in hyper]:
        raise TypeError(f"{twice[0]} is in over already: do not give it a value as well")
    rule.check_names(over)
    axes = {name: _axis(rule, name, values) for name, values in over.items()}
    grid = dict(zip(axes, np.meshgrid(*axes.values(), indexing="ij", sparse=True), strict=True))
    map_ = linearize(rule, {**rule.resolve(hyper), **grid})
    return RateMap(axes, worst_radius(map_, positive("spectrum", spectrum)))


def _axis(rule: Rule, name: str, values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"over must give {name} an array of values (n,), got shape {array.shape}")
    return np.array([rule.hyperparameters[name].check(value) for value in array.tolist()])
