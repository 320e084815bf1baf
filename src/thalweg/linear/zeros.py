"""Which parameters of a stream are 0: those that |w| holds there, as its rows say so far."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from thalweg.linear.objective import Objective

__all__ = ["Zeros"]

Floats = NDArray[np.float64]


class Zeros:
    """The mean gradient of the smooth part of an objective over the rows of a stream.

    A step on one row moves a parameter that should be 0 away from it, and the penalty of |w| moves
    it back: at no time are many of them 0. What tells them is the gradient over many rows, as in
    dual averaging (Xiao 2010). Each window adds its own, at the parameters after it; at least the
    last half of the rows counts. A parameter is 0 where a proximal step by that gradient, of the
    length 1 over the second derivative, ends at 0. Others stay as they are.

    Args:
        l1: (columns, 1), weights of |w|.
    """

    def __init__(self, l1: Floats) -> None:
        self._l1 = l1
        self.sums: list[Floats | float] = [0.0, 0.0]  # of what counts, and since it was halved
        self.weights = [0.0, 0.0]

    def add(self, objective: Objective, w: Floats, weight: float) -> None:
        """Learn what some rows of such a weight say at the parameters w, (columns, outputs)."""
        gradient, curvature = objective.smooth(w)[1], objective.diagonal(w)
        here = np.stack([gradient, np.broadcast_to(curvature, gradient.shape)])
        if self.weights[1] >= self.weights[0]:
            self.sums, self.weights = [self.sums[1], 0.0], [self.weights[1], 0.0]
        self.sums[1] = self.sums[1] + weight * here
        self.weights[1] += weight

    def applied(self, w: Floats) -> Floats:
        """Return w with its zeros."""
        if not (total := sum(self.weights)):
            return w
        gradient, curvature = np.asarray(sum(self.sums)) / total
        held = (self._l1 > 0) & (abs(curvature * w - gradient) <= self._l1)
        return np.where(held, 0.0, w)

    def average(self, others: Sequence[Self], shares: Floats) -> None:
        """Become the mean of what others know that went on from the same rows."""
        pairs = list(zip(shares, others, strict=True))
        self.sums = [sum(s * other.sums[i] for s, other in pairs) for i in range(2)]
        self.weights = [float(sum(s * other.weights[i] for s, other in pairs)) for i in range(2)]
