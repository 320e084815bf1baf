"""Conditioning: how stretched a quadratic is, before and after scaling by its own diagonal."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg import problems

__all__ = ["Conditioning", "Preconditioning", "precondition"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Conditioning:
    """A positive definite matrix seen through its eigenvalues.

    Attributes:
        matrix: (d, d).
        spectrum: its eigenvalues, (d,), ascending.
        discs: Gershgorin's discs, (d, 2): the diagonal element of each row, which is the centre,
            and the sum of the sizes of the row's other elements, which is the radius. Every
            eigenvalue is in a disc.
    """

    matrix: Array = field(repr=False)
    spectrum: Array
    discs: Array

    @property
    def condition_number(self) -> float:
        """κ = λ_max / λ_min. Every rate depends on it."""
        return float(self.spectrum[-1] / self.spectrum[0])

    @property
    def bounds(self) -> tuple[float, float]:
        """The ends of all discs together. No eigenvalue is outside; none is computed for this."""
        centres, radii = self.discs.T
        return float((centres - radii).min()), float((centres + radii).max())


@dataclass(frozen=True)
class Preconditioning:
    """A quadratic before and after it is scaled by its own diagonal."""

    before: Conditioning
    after: Conditioning


def precondition(Q: ArrayLike) -> Preconditioning:
    """Scale a quadratic by its own diagonal D: Q and D^−½ Q D^−½, with condition numbers and discs.

    Gradient descent on the scaled quadratic is descent by D⁻¹∇f on the first. Its condition number
    is at most d times that of the best diagonal scaling (van der Sluis 1969). It may be worse than
    without scaling: compare ``before`` and ``after``.

    Args:
        Q: the Hessian, (d, d), symmetric and positive definite.

    Raises:
        ValueError: Q is not finite, not symmetric, or not positive definite.

    Example:
        >>> found = precondition([[100.0, 5.0], [5.0, 1.0]])
        >>> round(found.before.condition_number, 6), round(found.after.condition_number, 6)
        (134.005871, 3.0)
        >>> found.after.bounds
        (0.5, 1.5)
    """
    before = _conditioning(np.asarray(Q, dtype=np.float64))
    scale = 1 / np.sqrt(np.diag(before.matrix))
    return Preconditioning(before, _conditioning(scale[:, None] * before.matrix * scale))


def _conditioning(Q: Array) -> Conditioning:
    if Q.ndim != 2:
        raise ValueError(f"Q must have shape (d, d), got {Q.shape}")
    quadratic = problems.quadratic(Q)
    spectrum = quadratic.spectrum
    if spectrum is None or spectrum[0] <= 0:
        least = "none" if spectrum is None else f"{spectrum[0]:.6g}"
        raise ValueError(f"Q must be positive definite, got the eigenvalue {least}")
    matrix = quadratic.hessian(quadratic.start)
    centres = np.diag(matrix)
    radii = np.abs(matrix).sum(axis=1) - np.abs(centres)
    return Conditioning(matrix, spectrum, np.column_stack([centres, radii]))
