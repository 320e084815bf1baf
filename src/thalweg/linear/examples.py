"""The data of a linear model in the form that its kernels read."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg.data.dataset import real
from thalweg.losses import get

__all__ = ["Examples", "initial_parameters"]


@dataclass(frozen=True)
class Examples:
    """Checked data: X with a column of ones where there is an intercept, targets as numbers.

    Attributes:
        X: (n, d), C-contiguous, of the training's dtype.
        y: (n,), of the same dtype; class codes for the logistic and softmax losses.
        loss: its name.
        outputs: k, the model's outputs per row.
        intercept: whether the last column is the constant one.
    """

    X: NDArray[Any]
    y: NDArray[Any]
    loss: str
    outputs: int
    intercept: bool

    @classmethod
    def of(
        cls,
        X: ArrayLike,
        y: ArrayLike,
        *,
        loss: str,
        intercept: bool,
        dtype: np.dtype[Any],
        what: str = "",
    ) -> "Examples":
        """Check data and lay them out.

        Args:
            X: shape (n, d), finite numbers.
            y: shape (n,).
            loss: decides what y may hold.
            intercept: whether to append the constant column.
            dtype: float32 or float64.
            what: put before X and y in messages: "" or "validation ".

        Raises:
            ValueError: the data do not fit each other or the loss.
        """
        known = get(loss)
        if known.parameter:
            raise ValueError(f"loss {loss!r} needs {known.parameter}, which LinearRegressor takes")
        data, target = real(f"{what}X", X), real(f"{what}y", y)
        if data.ndim != 2 or 0 in data.shape:
            raise ValueError(f"{what}X must have shape (rows, features), got {data.shape}")
        if target.shape != (len(data),):
            raise ValueError(f"{what}y must have shape ({len(data)},) like X, got {target.shape}")
        features = data.shape[1]
        table = np.ones((len(data), features + int(intercept)), dtype)
        with np.errstate(over="ignore"):  # what does not fit the dtype is refused below
            table[:, :features] = data
            numbers = np.ascontiguousarray(target, dtype)
        for name, array in (("X", table), ("y", numbers)):
            if not np.isfinite(array).all():
                where = np.argwhere(~np.isfinite(array))[0].tolist()
                raise ValueError(f"{what}{name} must be finite as {dtype}; {name}{where} is not")
        return cls(table, numbers, loss, known.outputs(numbers, what), intercept)

    def check_like(self, train: "Examples", what: str) -> None:
        """Raise ValueError unless these examples fit a model of those."""
        if self.X.shape[1] != train.X.shape[1]:
            features = train.X.shape[1] - train.intercept
            raise ValueError(
                f"{what}X must have {features} features like X, "
                f"got {self.X.shape[1] - self.intercept}"
            )
        if self.outputs > train.outputs:
            raise ValueError(
                f"{what}y must hold class codes below {train.outputs}, got {self.outputs - 1}"
            )


def initial_parameters(
    initial: str | ArrayLike, examples: Examples, seed: np.random.SeedSequence
) -> NDArray[np.float64]:
    """Return the initial parameters, shape (d, k)."""
    shape = (examples.X.shape[1], examples.outputs)
    if isinstance(initial, str):
        if initial == "zeros":
            return np.zeros(shape)
        if initial == "uniform":
            bound = 1 / np.sqrt(max(shape[0] - examples.intercept, 1))
            return np.random.default_rng(seed).uniform(-bound, bound, shape)
        raise ValueError(f"initial must be 'zeros', 'uniform' or an array, got {initial!r}")
    given = np.asarray(initial, np.float64)
    if given.shape != shape:
        raise ValueError(f"initial must have shape {shape}, got {given.shape}")
    return given
