"""One training of an estimator: a loss in its unit, and the lanes that learn it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.linear.columns import Columns
from thalweg.linear.objective import Objective
from thalweg.linear.progressive import Progressive
from thalweg.linear.unit import Unit
from thalweg.losses import Loss

__all__ = ["Choice", "Problem", "Rows"]

Choice = tuple[int, int]  # 0 or 1 for the average, and the lane


@dataclass(frozen=True)
class Rows:
    """Rows, the targets of each training on them, and the rows' weights."""

    X: Any
    targets: list[NDArray[Any]]
    weights: NDArray[np.float64]

    def some(self, which: NDArray[Any]) -> "Rows":
        """Return these rows of all."""
        return Rows(self.X[which], [y[which] for y in self.targets], self.weights[which])


@dataclass(frozen=True)
class Problem:
    """One training of a model.

    Attributes:
        loss: the loss.
        unit: in which it is trained.
        parameter: its own number, in that unit.
        training: all lanes.
        rates: of the lanes.
        penalties: the weights of w²/2 and |w|.
        lanes: those that are this model's: eight rates, or one of them.
    """

    loss: Loss
    unit: Unit
    parameter: float
    training: Progressive
    rates: NDArray[np.float64]
    penalties: tuple[float, float]
    lanes: Sequence[int]

    def progressive(self, choice: Choice) -> float:
        """Return the progressive loss of a lane or its average, in the unit of y."""
        return float(self.unit.of_loss * self.training.losses[choice])

    def validated(
        self, columns: Columns, X: Any, y: NDArray[Any], weights: NDArray[np.float64]  # noqa: ANN401
    ) -> dict[Choice, float]:  # fmt: skip
        """Return the loss of each lane and its average on other rows; infinite if diverged."""
        target, losses = self.unit.targets(self.loss, y), {}
        constants = self.unit.constants(self.loss, target)
        for choice in product(range(2), self.lanes):
            coef, intercept = columns.original(self.training.parameters(*choice))
            with np.errstate(all="ignore"):  # of lanes that diverged
                values = self.loss.rows(X @ coef.T + intercept, target, self.parameter)[0]
                if constants is not None:
                    values = values + constants
                mean = float(np.average(values, weights=weights))
            losses[choice] = self.unit.of_loss * mean if np.isfinite(mean) else np.inf
        return losses

    def weights(self, columns: Columns, *, own: bool) -> NDArray[np.float64]:
        """Return the weights of w²/2 and |w| for each parameter of an output, (2, columns, 1).

        Args:
            columns: how X is scaled.
            own: whether a column is penalized in its own unit, else in that of X.
        """
        factor, (l2, l1) = columns.penalized(own=own), self.penalties
        each = np.array([l2 * factor**2, l1 * factor])
        return np.pad(each, ((0, 0), (0, int(columns.intercept))))[:, :, None]

    def objective(
        self, columns: Columns, X: Any, y: NDArray[Any], weights: NDArray[np.float64], *, own: bool  # noqa: ANN401
    ) -> Objective:  # fmt: skip
        """Return what is minimized on rows X with targets y, in their own unit, and weights."""
        target, share = self.unit.targets(self.loss, y), weights / weights.sum()
        penalties = self.weights(columns, own=own)
        return Objective(X, columns, target, share, self.loss, self.parameter, *penalties)
