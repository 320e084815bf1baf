"""Every loss of a linear model, one record for each: the page to read first.

``z`` is the model's output and ``y`` the target. A loss of one output is two equations, its value
and its derivative in z: they are called with NumPy arrays, and compiled into every training.
Softmax has several outputs that depend on each other, so it is compiled from
``kernels/cpu/loss.py``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.elementwise import exp, log, where

__all__ = ["LOSSES", "Loss", "exp_of_negative", "get"]


@dataclass(frozen=True)
class Loss:
    """What is known of a loss.

    Attributes:
        name: what a user calls it.
        value: (z, y) -> the loss of each row.
        slope: (z, y) -> its derivative in each output.
        predict: outputs (..., n, k) -> what they predict, (..., n): the inverse of the link.
        outputs: (y, what) -> k, the number of outputs that these targets need. It raises ValueError
            at a target that is not legal; the message begins with ``what``.
    """

    name: str
    value: Callable[[Any, Any], Any]
    slope: Callable[[Any, Any], Any]
    predict: Callable[[NDArray[Any]], NDArray[Any]]
    outputs: Callable[[NDArray[Any], str], int]

    @property
    def number(self) -> int:
        """The number by which compiled functions know it."""
        return list(LOSSES).index(self.name)

    def at(self, z: NDArray[np.float64], y: NDArray[Any]) -> tuple[float, NDArray[np.float64]]:
        """Return the mean loss of the outputs z (n, k), and its slope in each of them."""
        if self.name != "softmax":
            z, y = z[:, 0], y.astype(np.float64)
        slope = self.slope(z, y) / len(y)
        return float(np.mean(self.value(z, y))), slope.reshape(len(y), -1)


def exp_of_negative(x: Any) -> Any:  # noqa: ANN401 - arrays, or vectors of lanes
    """Return exp(x) of each element; no x may be above 0.

    Compiled, it is 0 where exp(x) is subnormal: for these, and for NaN, the C library computes one
    lane at a time, ten times as slow.
    """
    return exp(x)


def _squared(z: Any, y: Any) -> Any:  # noqa: ANN401
    r = z - y
    return 0.5 * r * r


def _squared_slope(z: Any, y: Any) -> Any:  # noqa: ANN401
    return z - y


def _logistic(z: Any, y: Any) -> Any:  # noqa: ANN401
    e = exp_of_negative(-abs(z))
    total = 1 + e
    rest = log(total) + (e - (total - 1))  # log(1 + e), with the digits that 1 + e loses
    return where(z > 0, z, 0.0) - y * z + rest


def _logistic_slope(z: Any, y: Any) -> Any:  # noqa: ANN401
    e = exp_of_negative(-abs(z))
    return where(z >= 0, 1.0, e) / (1 + e) - y


def _softmax(z: NDArray[np.float64], y: NDArray[np.int64]) -> NDArray[np.float64]:
    from scipy.special import log_softmax  # noqa: PLC0415 - takes a second to load

    loss: NDArray[np.float64] = -log_softmax(z, axis=1)[np.arange(len(y)), y]
    return loss


def _softmax_slope(z: NDArray[np.float64], y: NDArray[np.int64]) -> NDArray[np.float64]:
    from scipy.special import softmax  # noqa: PLC0415

    slope: NDArray[np.float64] = softmax(z, axis=1)
    slope[np.arange(len(y)), y] -= 1
    return slope


def _number(z: NDArray[Any]) -> NDArray[Any]:
    return z[..., 0]


def _class_of_two(z: NDArray[Any]) -> NDArray[np.int64]:
    return (z[..., 0] > 0).astype(np.int64)


def _largest(z: NDArray[Any]) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = z.argmax(-1).astype(np.int64)
    return codes


def _any_number(y: NDArray[Any], what: str) -> int:  # noqa: ARG001 - all are legal
    return 1


def _zero_or_one(y: NDArray[Any], what: str) -> int:
    _refuse(y, (y != 0) & (y != 1), what, "0 or 1 for the logistic loss")
    return 1


def _codes(y: NDArray[Any], what: str) -> int:
    codes = y.astype(np.int64)
    wrong = (codes != y) | (codes < 0)
    _refuse(y, wrong, what, "whole numbers from 0 for the softmax loss")
    return int(codes.max()) + 1


def _refuse(y: NDArray[Any], wrong: NDArray[np.bool_], what: str, legal: str) -> None:
    if wrong.any():
        raise ValueError(f"{what}y must be {legal}, got {y[wrong][0]:g} in row {wrong.argmax()}")


LOSSES: Mapping[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("squared", _squared, _squared_slope, _number, _any_number),
        Loss("logistic", _logistic, _logistic_slope, _class_of_two, _zero_or_one),
        Loss("softmax", _softmax, _softmax_slope, _largest, _codes),
    )
}


def get(name: str) -> Loss:
    """Return a loss by its name.

    Raises:
        ValueError: no loss has that name.
    """
    if name not in LOSSES:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {name!r}")
    return LOSSES[name]
