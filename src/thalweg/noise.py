"""Noise: how much of a minibatch's gradient is chance."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["GradientNoise"]


@dataclass(frozen=True)
class GradientNoise:
    """The gradient at one point, and how far the gradients of single examples lie from it.

    Attributes:
        variance: tr Σ, the variance of one example's gradient, summed over its entries.
        signal: |G|², the squared norm of the mean gradient; an unbiased estimate, so it may be
            negative.
    """

    variance: float
    signal: float

    @property
    def scale(self) -> float:
        """The batch size at which a step is as much noise as signal; NaN if no signal is left.

        B = tr Σ / |G|² (McCandlish et al. 2018, equation 2.9).
        """
        return self.variance / self.signal if self.signal > 0 else float("nan")

    @classmethod
    def of_moments(
        cls, mean_square: float, square_of_mean: float, batches: int, batch_size: int = 1
    ) -> "GradientNoise":
        """Estimate both from batches of equal size, without bias.

        With b examples in each of n batches, tr Σ = b n / (n − 1) · (mean |g|² − |mean g|²) and
        |G|² = |mean g|² − tr Σ / (b n): McCandlish et al. 2018, appendix A.1, with all batches
        together as the large one.

        Args:
            mean_square: mean of |g|², the squared norms of the batches' gradients.
            square_of_mean: |mean g|², the squared norm of their mean.
            batches: n, how many there are; with fewer than 2 both estimates are NaN.
            batch_size: b, examples in each; 1 by default.

        Example:
            >>> noise = GradientNoise.of_moments(
            ...     mean_square=1 + 100 / 4, square_of_mean=1 + 100 / 20, batches=5, batch_size=4
            ... )
            >>> noise, noise.scale
            (GradientNoise(variance=100.0, signal=1.0), 100.0)
        """
        if batches < 2:
            return cls(float("nan"), float("nan"))
        examples = batches * batch_size
        variance = (mean_square - square_of_mean) * examples / (batches - 1)
        return cls(variance, square_of_mean - variance / examples)

    @classmethod
    def of(cls, gradients: Iterable[NDArray[np.floating[Any]]], batch_size: int) -> "GradientNoise":
        """Estimate both from the gradients of batches, all of ``batch_size`` examples, (p,) each.

        They are read one by one, and no more than two are held in memory.
        """
        squares: list[float] = []
        total: NDArray[np.float64] | None = None
        for gradient in gradients:
            exact = gradient.astype(np.float64)
            squares.append(float(exact @ exact))
            total = exact if total is None else total + exact
        if total is None:
            return cls(float("nan"), float("nan"))
        mean = total / len(squares)
        return cls.of_moments(float(np.mean(squares)), float(mean @ mean), len(squares), batch_size)
