"""Every loss of a linear model, one record for each: the page to read first.

``z`` is the model's output, ``y`` the target and ``a`` the loss's own number, if it has one. Of two
classes, y is 0 or 1. A loss of one output is two equations, its value and its derivative in z: they
are called with NumPy arrays, and compiled into every training. Softmax has several outputs that
depend on each other, so it is compiled from ``kernels/cpu/loss.py``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.elementwise import exp, log, maximum, minimum, sign, where

__all__ = ["LOSSES", "Loss", "exp_of_negative", "get"]


@dataclass(frozen=True)
class Loss:
    """What is known of a loss.

    Attributes:
        name: what a user calls it.
        value: (z, y, a) -> the loss of each row.
        slope: (z, y, a) -> its derivative in each output, or a subderivative.
        predict: outputs (..., n, k) -> what they predict, (..., n): the inverse of the link.
        outputs: (y, what) -> k, the number of outputs that these targets need. It raises ValueError
            at a target that is not legal; the message begins with ``what``.
        parameter: the name of its own number; empty if it has none.
        degree: if y, z and a length a are multiplied by a factor, the loss is by this power of it;
            0: the unit of y is not free.
        kinks: (y, a) -> the outputs z at which the derivative of each row jumps, each time by 1;
            the loss is linear between them. None if it does not jump.
        power: of a loss of the mean e^z, a -> by which power of a factor f the loss and a constant
            grow, if y and e^z are multiplied by f; None of other losses.
        constant: (y, f) -> that constant, which is added before; None: 0.
    """

    name: str
    value: Callable[[Any, Any, Any], Any]
    slope: Callable[[Any, Any, Any], Any]
    predict: Callable[[NDArray[Any]], NDArray[Any]]
    outputs: Callable[[NDArray[Any], str], int]
    parameter: str = ""
    degree: int = 0
    kinks: Callable[[Any, float], tuple[Any, ...]] | None = None
    power: Callable[[float], float] | None = None
    constant: Callable[[Any, float], Any] | None = None

    @property
    def number(self) -> int:
        """The number by which compiled functions know it."""
        return list(LOSSES).index(self.name)

    def at(
        self, z: NDArray[np.float64], y: NDArray[Any], parameter: float = 0.0
    ) -> tuple[float, NDArray[np.float64]]:
        """Return the mean loss of the outputs z (n, k), and its slope in each of them."""
        values, slopes = self.rows(z, y, parameter)
        return float(np.mean(values)), slopes / len(y)

    def rows(
        self, z: NDArray[np.float64], y: NDArray[Any], parameter: float = 0.0, width: float = 0.0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the loss of each row of outputs z (n, k), and its slope in each of them.

        Where the derivative jumps, the loss may be smoothed: its mean over z - width to z + width.
        """
        if self.name != "softmax":
            z, y = z[:, 0], y.astype(np.float64)
        value, slope = self.value(z, y, parameter), self.slope(z, y, parameter)
        for kink in self.kinks(y, parameter) if self.kinks and width else ():
            within = maximum(width - abs(z - kink), 0.0)
            value = value + within * within / (4 * width)
            slope = slope - sign(z - kink) * within / (2 * width)
        return value, slope.reshape(len(y), -1)


def exp_of_negative(x: Any) -> Any:  # noqa: ANN401 - arrays, or vectors of lanes
    """Return exp(x) of each element; no x may be above 0.

    Compiled, it is 0 where exp(x) is subnormal: for these, and for NaN, the C library computes one
    lane at a time, ten times as slow.
    """
    return exp(x)


def _squared(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    r = z - y
    return 0.5 * r * r


def _squared_slope(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    return z - y


def _logistic(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    e = exp_of_negative(-abs(z))
    total = 1 + e
    rest = log(total) + (e - (total - 1))  # log(1 + e), with the digits that 1 + e loses
    return where(z > 0, z, 0.0) - y * z + rest


def _logistic_slope(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    e = exp_of_negative(-abs(z))
    return where(z >= 0, 1.0, e) / (1 + e) - y


def _softmax(z: NDArray[np.float64], y: NDArray[np.int64], a: float) -> NDArray[np.float64]:
    from scipy.special import log_softmax  # noqa: PLC0415 - takes a second to load

    loss: NDArray[np.float64] = -log_softmax(z, axis=1)[np.arange(len(y)), y]
    return loss


def _softmax_slope(z: NDArray[np.float64], y: NDArray[np.int64], a: float) -> NDArray[np.float64]:
    from scipy.special import softmax  # noqa: PLC0415

    slope: NDArray[np.float64] = softmax(z, axis=1)
    slope[np.arange(len(y)), y] -= 1
    return slope


def _hinge(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    return maximum(1 - (2 * y - 1) * z, 0.0)


def _hinge_slope(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    s = 2 * y - 1
    return -0.5 * s * (1 + sign(1 - s * z))


def _squared_hinge(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    h = maximum(1 - (2 * y - 1) * z, 0.0)
    return h * h


def _squared_hinge_slope(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    s = 2 * y - 1
    return -2 * s * maximum(1 - s * z, 0.0)


def _modified_huber(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    h = maximum(1 - (2 * y - 1) * z, 0.0)
    return where(h <= 2, h * h, 4 * h - 4)


def _modified_huber_slope(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    s = 2 * y - 1
    return -2 * s * minimum(maximum(1 - s * z, 0.0), 2.0)


def _huber(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    r = abs(z - y)
    return where(r <= a, 0.5 * r * r, a * r - 0.5 * a * a)


def _huber_slope(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    return minimum(maximum(z - y, -a), a)


def _epsilon_insensitive(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    return maximum(abs(z - y) - a, 0.0)


def _epsilon_insensitive_slope(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    r = z - y
    return 0.5 * (sign(r - a) + sign(r + a))


def _quantile(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    r = y - z
    return 0.5 * abs(r) + (a - 0.5) * r


def _quantile_slope(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    return 0.5 * sign(z - y) + (0.5 - a)


def _poisson(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    return exp(z) - y * z


def _poisson_slope(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    return exp(z) - y


def _gamma(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    return z + y * exp(-z)


def _gamma_slope(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    return 1 - y * exp(-z)


def _tweedie(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    return exp((2 - a) * z) / (2 - a) - y * exp((1 - a) * z) / (1 - a)


def _tweedie_slope(z: Any, y: Any, a: float) -> Any:  # noqa: ANN401
    return exp((2 - a) * z) - y * exp((1 - a) * z)


def _margins(y: Any, a: float) -> tuple[Any, ...]:  # noqa: ANN401
    return (2 * y - 1,)


def _both_sides(y: Any, a: float) -> tuple[Any, ...]:  # noqa: ANN401
    return y - a, y + a


def _target(y: Any, a: float) -> tuple[Any, ...]:  # noqa: ANN401
    return (y,)


def _number(z: NDArray[Any]) -> NDArray[Any]:
    return z[..., 0]


def _exponential(z: NDArray[Any]) -> NDArray[Any]:
    mean: NDArray[Any] = np.exp(z[..., 0])
    return mean


def _class_of_two(z: NDArray[Any]) -> NDArray[np.int64]:
    return (z[..., 0] > 0).astype(np.int64)


def _largest(z: NDArray[Any]) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = z.argmax(-1).astype(np.int64)
    return codes


def _any_number(y: NDArray[Any], what: str) -> int:
    return 1


def _zero_or_one(y: NDArray[Any], what: str) -> int:
    _refuse(y, (y != 0) & (y != 1), what, "0 or 1 for a loss of two classes")
    return 1


def _not_negative(y: NDArray[Any], what: str) -> int:
    _refuse(y, y < 0, what, ">= 0 for the poisson and tweedie losses")
    return 1


def _positive(y: NDArray[Any], what: str) -> int:
    _refuse(y, y <= 0, what, "> 0 for the gamma loss")
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
        Loss("squared", _squared, _squared_slope, _number, _any_number, degree=2),
        Loss("logistic", _logistic, _logistic_slope, _class_of_two, _zero_or_one),
        Loss("softmax", _softmax, _softmax_slope, _largest, _codes),
        Loss("hinge", _hinge, _hinge_slope, _class_of_two, _zero_or_one, kinks=_margins),
        Loss("squared_hinge", _squared_hinge, _squared_hinge_slope, _class_of_two, _zero_or_one),
        Loss("modified_huber", _modified_huber, _modified_huber_slope, _class_of_two, _zero_or_one),
        Loss("huber", _huber, _huber_slope, _number, _any_number, "epsilon", 2),
        Loss(
            "epsilon_insensitive",
            _epsilon_insensitive,
            _epsilon_insensitive_slope,
            _number,
            _any_number,
            "epsilon",
            1,
            _both_sides,
        ),
        Loss(
            "quantile",
            _quantile,
            _quantile_slope,
            _number,
            _any_number,
            "quantile",
            1,
            _target,
        ),
        Loss(
            "poisson",
            _poisson,
            _poisson_slope,
            _exponential,
            _not_negative,
            power=lambda _: 1.0,
            constant=lambda y, f: -y * np.log(f),
        ),
        Loss(
            "gamma",
            _gamma,
            _gamma_slope,
            _exponential,
            _positive,
            power=lambda _: 0.0,
            constant=lambda _, f: np.log(f),
        ),
        Loss(
            "tweedie",
            _tweedie,
            _tweedie_slope,
            _exponential,
            _not_negative,
            "power",
            power=lambda a: 2 - a,
        ),
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
