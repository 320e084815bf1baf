"""The unit in which a loss of a linear model is trained."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.losses import Loss

__all__ = ["Unit", "first_outputs", "first_squares"]

_RARE = 1e-3  # a class is not taken for rarer at first: the rows may be sorted
_ENOUGH = 4096  # rows that tell how large slopes are


@dataclass(frozen=True)
class Unit:
    """The unit in which a loss is trained, so that no rate depends on that of y."""

    shift: float
    scale: float
    degree: int  # of the loss in the unit; 0: the unit is that of y alone, and z the log of a mean
    of_loss: float  # what a loss in this unit is multiplied by

    @classmethod
    def of(
        cls,
        loss: Loss,
        y: NDArray[Any],
        weights: NDArray[np.float64],
        parameter: float,
        *,
        intercept: bool,
    ) -> "Unit":
        """Return the unit for these targets: their standard deviation, or the mean of a mean's.

        Only an intercept can give back what is subtracted from y, or from the logarithm of a mean:
        without one it is the root mean square, or 1.
        """
        if loss.power is not None:
            mean = (float(np.average(y, weights=weights)) or 1.0) if intercept else 1.0
            return cls(0.0, mean, 0, mean ** loss.power(parameter))
        if not loss.degree:
            return cls(0.0, 1.0, 0, 1.0)
        mean = float(np.average(y, weights=weights))
        mean *= intercept
        apart = y - mean
        size = float(abs(apart).max()) or 1.0  # squares may be too large or small for a number
        deviation = size * float(np.sqrt(np.average((apart / size) ** 2, weights=weights)))
        varies = deviation > 1e-14 * abs(mean)
        if varies and not 1e-140 < deviation < 1e140:
            raise ValueError(
                "y must have a standard deviation between 1e-140 and 1e140, got "
                f"{deviation:g}: multiply it by a power of 10"
            )
        scale = deviation if varies else 1.0
        return cls(mean, scale, loss.degree, scale**loss.degree)

    def targets(self, loss: Loss, y: NDArray[Any]) -> NDArray[Any]:
        """Return targets in this unit; labels are left as they are."""
        if loss.name == "softmax":
            return y
        same = self.shift == 0 and self.scale == 1  # of two classes
        return y.astype(np.float64) if same else (y - self.shift) / self.scale

    def constants(self, loss: Loss, targets: NDArray[Any]) -> NDArray[np.float64] | None:
        """Return what the losses of such targets lack, in this unit, of those in the unit of y."""
        if loss.constant is None:
            return None
        each: NDArray[np.float64] = np.zeros(len(targets)) + loss.constant(targets, self.scale)
        return each

    @property
    def of_outputs(self) -> float:
        """What an output in this unit is multiplied by."""
        return self.scale if self.degree else 1.0

    @property
    def start(self) -> float:
        """What is added to an output."""
        return self.shift if self.degree else float(np.log(self.scale))

    def penalties(self, alpha: float, l1_ratio: float, *, own: bool) -> tuple[float, float]:
        """Return the weights of w²/2 and |w| where the loss is in this unit.

        Args:
            alpha: weight of the penalty.
            l1_ratio: the share of |w| in it.
            own: whether alpha is for parameters in this unit, else for those in the unit of y.
        """
        u = self.of_outputs
        if own:
            return alpha * (1 - l1_ratio), alpha * l1_ratio
        return alpha * (1 - l1_ratio) * u * u / self.of_loss, alpha * l1_ratio * u / self.of_loss

    def parameter(self, loss: Loss, given: float) -> float:
        """Return a loss's own number in this unit."""
        return given / self.of_outputs if loss.parameter == "epsilon" else given


def first_outputs(
    loss: Loss, y: NDArray[Any], weights: NDArray[np.float64], outputs: int
) -> NDArray[np.float64]:
    """Return the outputs (k,) of a constant that a training starts from, in its unit.

    Those of classes are the logarithms of their shares; else 0, for y is shifted itself.
    """
    if loss.name not in {"logistic", "softmax"}:
        return np.zeros(outputs)
    if outputs == 1:
        second = float(weights @ y)
        counts = np.array([weights.sum() - second, second])
    else:
        counts = np.bincount(y, weights, outputs)
    logs = np.log(np.maximum(counts / max(counts.sum(), 1e-300), _RARE))
    return np.asarray(logs[1:] - logs[0] if outputs == 1 else logs - logs.mean())


def first_squares(
    loss: Loss,
    first: NDArray[np.float64],
    unit: Unit,
    *,
    y: NDArray[Any],
    weights: NDArray[np.float64],
    parameter: float,
) -> NDArray[np.float64]:
    """Return the mean squares (k,) of the slopes of rows where a training starts.

    Args:
        loss: the loss.
        first: outputs of a constant.
        unit: of the training.
        y: targets, in their own unit; some thousand of them are looked at.
        weights: of the rows.
        parameter: the loss's own number in the unit of the training.
    """
    some = slice(None, None, max(1, len(y) // _ENOUGH))
    targets: NDArray[Any] = unit.targets(loss, y[some])
    squares: NDArray[np.float64] = weights[some] ** 2
    count = len(squares)
    if not loss.degree and loss.power is None:  # labels, which are few
        squares = np.asarray(np.bincount(targets.astype(np.int64), squares), np.float64)
        targets = np.arange(len(squares))
    slopes = loss.rows(np.tile(first, (len(targets), 1)), targets, parameter)[1]
    return np.asarray(squares @ slopes**2 / count)
