"""Scale: whether numbers are far from mean 0 and deviation 1."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["FAR", "Scale"]

FAR = 5.0  # root mean square of what is not scaled; its reciprocal's square is too small


@dataclass(frozen=True)
class Scale:
    """Mean and size of numbers.

    Args:
        mean: of all of them.
        size: root of the mean square.
        spread: largest deviation of a column over the smallest that is not 0.
    """

    mean: float
    size: float
    spread: float

    @property
    def far(self) -> bool:
        """Whether they are far from mean 0 and scale 1."""
        return self.size > FAR or self.size < 1 / FAR**2 or self.spread > 100

    @classmethod
    def of(cls, rows: Tensor) -> "Scale":
        """Return the scale of rows of numbers, without those that are not finite."""
        rows = rows[rows.isfinite().all(1)]
        if not len(rows):
            return cls(0.0, 1.0, 1.0)
        columns = rows.std(0, correction=0)
        alive = columns[columns > 0]
        spread = float(alive.max() / alive.min()) if len(alive) and rows.shape[1] <= 256 else 1.0
        return cls(float(rows.mean()), float(rows.pow(2).mean().sqrt()), spread)
