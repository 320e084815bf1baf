"""Problem: an objective that knows its derivatives and its minimizers."""

import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Problem", "Vector", "finite", "vector"]

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """An objective f of d variables, in float64.

    Attributes:
        name: what plots and messages call it.
        value: f: x (..., d) -> (...).
        gradient: ∇f: x (..., d) -> (..., d).
        hessian: ∇²f: x (d,) -> (d, d).
        start: where descents begin unless told otherwise, (d,).
        minimizers: the points of the lowest value, (m, d). Empty if there is none, if they are not
            isolated (a valley), or if they are not known.
        minimum: the value there; None if there are no minimizers.
        spectrum: the Hessian's eigenvalues, (d,), ascending; None where they change with x.
        source: where the problem comes from.
        parts: the f_i of a finite sum f = (1/n) Σ f_i, from which minibatches are drawn; empty
            where the problem is not one.
        domain: the lowest and the highest point of a box that x may not leave, (d,) each; None if x
            is free. Minimizers are those within the box.
    """

    name: str
    value: Callable[[Vector], Vector] = field(repr=False)
    gradient: Callable[[Vector], Vector] = field(repr=False)
    hessian: Callable[[Vector], Vector] = field(repr=False)
    start: Vector
    minimizers: Vector
    minimum: float | None
    spectrum: Vector | None
    source: str
    parts: tuple["Problem", ...] = field(default=(), repr=False)
    domain: tuple[Vector, Vector] | None = None

    @property
    def minimizer(self) -> Vector | None:
        """The point of the lowest value, (d,); None unless there is exactly one."""
        return self.minimizers[0] if len(self.minimizers) == 1 else None

    def project(self, x: Vector) -> Vector:
        """Return the nearest point of the domain; x itself where x is free.

        Example:
            >>> from thalweg.problems import reddi
            >>> reddi().project(np.array([1.5])).tolist()
            [1.0]
        """
        return x if self.domain is None else np.clip(x, *self.domain)


def floats(name: str, value: Any) -> Vector:  # noqa: ANN401 - what a user gave
    """Return the value as a float64 array, or raise ValueError if it is none of numbers."""
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers, got {reprlib.repr(value)}") from None


def finite(name: str, value: Any) -> Vector:  # noqa: ANN401 - what a user gave
    """Return the value as a float64 array, or raise ValueError if not all of it is finite."""
    array = floats(name, value)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array.tolist()}")
    return array


def vector(name: str, value: ArrayLike, d: int) -> Vector:
    """Return the value as d finite float64 numbers, or raise ValueError."""
    array = finite(name, value)
    if array.shape != (d,):
        raise ValueError(f"{name} must have shape ({d},), got {array.shape}")
    return array
