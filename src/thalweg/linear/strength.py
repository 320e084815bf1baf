"""How strong a penalty should be: as rows say that are left out."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse import issparse
from sklearn.utils import gen_batches

from thalweg.linear.columns import Columns
from thalweg.linear.objective import Objective
from thalweg.linear.optimum import optimum

__all__ = ["PARAMETERS", "strength"]

_POWERS = range(-3, 7)  # of 4: 1/64 to 4096
_NEAR = 1e-10  # of an objective: farther from its least, the order of rows would choose
_BETTER = 2e-4  # so much lower, as a share, a loss must be: more than what _NEAR leaves open
_ROWS = 5000  # that are asked, at the most
_SQUARES = 3 * 10**8  # rows times parameters squared, at the most
PARAMETERS = 700  # of more columns there are as many as rows are asked
_FEWEST = 30  # rows that can say something, if there are more
_RANK = 1e-10  # of the largest variance: less is rounding
_BLOCK = 1024  # columns that are copied at a time
_COPIES = 10  # of a row, on average: more are rows that happen to be equal
_SEEN = 200  # different rows that tell whether a column hardly ever has a number twice


def strength(objective: Objective, start: NDArray[np.float64], unit: float) -> float:
    """Return how many times as strong the penalty of w² should be: a power of 4, 4⁻³ to 4⁶.

    It is that by which models predict rows best that they were not trained on. It is searched from
    1 upwards as long as their loss falls by 0.02 % or more, or else downwards. Each loss is
    told by one optimum, of all rows (``Objective.left_out``). Of many rows some are asked: a
    penalty ½ ‖w‖² beside the sum of the losses is what is believed of w beforehand, however many
    rows come. Of more columns than rows as many are asked as rows have components, for the optimum
    lies among these (Hastie & Tibshirani 2004).

    A row is left out with its copies. They are taken for copies where some column hardly ever has a
    number twice in different rows; else of equal rows one is left out.

    Args:
        objective: of a smooth loss, without |w|.
        start: parameters, (columns, outputs).
        unit: the weight of a row that stands for one.
    """
    n, (columns, outputs) = len(objective.y), start.shape
    wide = start.size > PARAMETERS
    most = PARAMETERS // outputs - 1 if wide else min(_ROWS, _SQUARES // start.size**2)
    if most < min(n, _FEWEST):
        return 1.0
    asked, share = _some(objective, min(n, most))
    together = _together(asked, unit / share)
    if wide:
        asked = _narrow(asked)
        columns = asked.X.shape[1] + asked.columns.intercept
        start = np.zeros((columns, outputs))
    found: dict[int, tuple[float, NDArray[np.float64]]] = {}

    def loss(power: int, near: int) -> float:
        if power not in _POWERS:
            return np.inf
        of = replace(asked, l2=asked.l2 * 4.0**power)
        w = optimum(of, found[near][1] if near in found else start, _NEAR)
        found[power] = of.left_out(w, together), w
        return found[power][0]

    best = 0
    loss(0, 0)
    for way in (1, -1):
        while loss(best + way, best) < (1 - _BETTER) * found[best][0]:
            best += way
        if best:
            break
    return 4.0**best


def _some(objective: Objective, count: int) -> tuple[Objective, float]:
    """Return the objective of so many rows, at equal distances, and their share of all weight."""
    n = len(objective.y)
    if count == n:
        return objective, 1.0
    rows = np.arange(count) * n // count
    weights = objective.weights[rows]
    share = float(weights.sum())
    return replace(
        objective,
        X=objective.X[rows],
        y=objective.y[rows],
        weights=weights / share,
        l2=objective.l2 / share,
    ), share


def _together(objective: Objective, unit: float) -> NDArray[np.float64]:
    """Return how much weight is left out with each row, (n,)."""
    X, weights = objective.X, objective.weights
    known: dict[bytes, int] = {}
    which = np.array([known.setdefault(key, len(known)) for key in _keys(X)])
    first = np.unique(which, return_index=True)[1][:_SEEN]
    seen = X[first]
    if issparse(X):  # a column of many different numbers is hardly ever 0
        often = np.bincount(seen.indices, minlength=X.shape[1]) >= len(first) // 2
        seen = seen[:, often].toarray()
    different = max((len(np.unique(column)) for column in seen.T), default=0)
    if 2 * different <= len(first) or len(known) * unit * _COPIES < 1:
        return np.minimum(weights, unit)
    return np.asarray(np.bincount(which, weights)[which])


def _keys(X: Any) -> Iterator[bytes]:  # noqa: ANN401 - an array or a CSR matrix
    """Yield what tells each row from those that differ from it."""
    if not issparse(X):
        yield from (row.tobytes() for row in X)
        return
    for here in map(slice, X.indptr[:-1], X.indptr[1:]):
        yield X.indices[here].tobytes() + X.data[here].tobytes()


def _narrow(objective: Objective) -> Objective:
    """Return the objective in the principal components of its rows, in the units of its penalty."""
    X, columns = objective.X, objective.columns
    n, d = X.shape
    unit = columns.scale * np.sqrt(objective.l2[:d, 0])
    gram = np.zeros((n, n))
    if issparse(X):
        scaled, mean = X.multiply(1 / unit).tocsr(), columns.mean / unit
        along = (scaled @ mean)[:, None]
        gram += (scaled @ scaled.T).toarray() - along - along.T + mean @ mean
    else:
        for part in gen_batches(d, _BLOCK):
            scaled = (X[:, part] - columns.centre[part]) / unit[part]
            gram += scaled @ scaled.T
    squares, vectors = eigh(gram)
    met = squares > _RANK * squares[-1]
    table = vectors[:, met] * np.sqrt(squares[met])
    one = np.ones(table.shape[1])
    square = float(squares.sum() / n)
    own = Columns(0 * one, one, columns.intercept, one, square, one, 0 * one)
    l2 = np.append(one, [0.0] * columns.intercept)[:, None]
    return replace(objective, X=table, columns=own, l2=l2, l1=0 * l2)
