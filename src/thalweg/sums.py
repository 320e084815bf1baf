"""Sums: what a rule may ask of a whole tensor, of its rows or columns, or of the whole model.

One name each for floats, NumPy arrays and torch tensors. The last two dimensions of an array are
its rows and columns. A vector is a matrix of one column, and a number one of one element; what has
more dimensions is several matrices of that form. Optimizers show a tensor of more than two
dimensions, such as the kernel of a convolution, as one matrix: outputs × rest.
"""

from typing import Any

import numpy as np

from thalweg.elementwise import sqrt
from thalweg.tensors import Tensors, each

__all__ = ["mean", "norm", "rms", "total", "tsum"]

_LAST_TWO = 2


def total(a: Any) -> Any:  # noqa: ANN401 - a float, an array or a tensor, or all of a model
    """Return the sum over every element of every tensor of the model."""
    return sum(map(tsum, a)) if isinstance(a, Tensors) else tsum(a)


def tsum(a: Any) -> Any:  # noqa: ANN401
    """Return the sum over every element of a tensor.

    Example:
        >>> tsum(np.array([[1.0, 2.0], [3.0, 4.0]])).item()
        10.0
    """
    return each(lambda a: a.sum() if np.ndim(a) or hasattr(a, "sum") else a, a)


def norm(a: Any) -> Any:  # noqa: ANN401
    """Return the Euclidean norm of a tensor: the root of the sum of its squares.

    Example:
        >>> norm(np.array([3.0, 4.0])), norm(-2.0)
        (5.0, 2.0)
    """
    return sqrt(tsum(a * a))


def rms(a: Any) -> Any:  # noqa: ANN401
    """Return the root mean square of a tensor's elements."""
    return sqrt(mean(a * a))


def mean(a: Any, axis: int | None = None) -> Any:  # noqa: ANN401
    """Return the mean of a tensor's elements; of each column (axis 0), or of each row (axis 1).

    Means of rows and columns keep their dimension, so that they meet the tensor again.

    Raises:
        ValueError: the axis is another one.

    Example:
        >>> a = np.array([[1.0, 2.0], [3.0, 4.0]])
        >>> mean(a).item(), mean(a, 0).tolist(), mean(a, 1).tolist()
        (2.5, [[2.0, 3.0]], [[1.5], [3.5]])
        >>> mean(np.array([1.0, 3.0]), 0).tolist(), mean(np.array([1.0, 3.0]), 1).tolist()
        ([2.0], [1.0, 3.0])
    """
    if axis not in {None, 0, 1}:
        raise ValueError(
            f"axis must be 0 for a mean of each column, 1 for one of each row, got {axis!r}"
        )
    return each(lambda a: _mean(a, axis), a)


def _mean(a: Any, axis: int | None) -> Any:  # noqa: ANN401
    if not hasattr(a, "mean"):
        return a
    if axis is None:
        return a.mean()
    if a.ndim < _LAST_TWO:  # a column
        return a if axis == 1 or not a.ndim else a.mean(0, keepdims=True)
    return a.mean(axis - 2, keepdims=True)
