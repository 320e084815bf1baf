"""Suspects: columns that predict nothing, or too much, with the option that leaves them out."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thalweg.words import argument, listed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["suspects"]

_INDEX = re.compile(r"Unnamed: \d+|__index_level_\d+__|index|level_\d+", re.IGNORECASE)
_ID = re.compile(
    r"(?i:(.*[_\W])?(id|uuid|guid|key|code|number|num|nr|no|ref|reference|serial|ticket|account|"
    r"invoice|isbn|ean|sku|iban|ssn|phone)[_\W]*)|.+(ID|Id|No|Nr)"
)
_ROWS = 10_000  # that are looked at for leaks
_LEAST = 30  # rows below which chance alone tells the target
_LEAK = 0.9999  # a correlation above which a column tells a number
_SHOWN = 5

_WHY = {
    "constant": ("has one value in every row", "have one value in every row"),
    "index": ("only counts the rows", "only count the rows"),
    "id": ("is another one in every row, as a name is", "are others in every row, as names are"),
    "leak": (
        "tells the target all alone; if it is not known before the target is, leave it out",
        "each tell the target all alone; if not known before the target is, leave them out",
    ),
}


def suspects(X: "pd.DataFrame", y: NDArray[Any], *, classes: bool) -> list[str]:
    """Return a sentence about each kind of suspicious column.

    Args:
        X: the columns.
        y: numbers, or codes of classes.
        classes: whether they are codes.

    Example:
        >>> import pandas as pd
        >>> X = pd.DataFrame({"Unnamed: 0": range(12), "size": [1.5, 2.5, 0.5] * 4})
        >>> suspects(X, np.arange(12) % 5, classes=True)
        ["column 'Unnamed: 0' only counts the rows; drop=['Unnamed: 0'] leaves it out"]
    """
    found: dict[str, list[str]] = {}
    for name in X.columns:
        if why := _why(name, X[name], y, classes=classes):
            found.setdefault(why, []).append(name)
    return [_sentence(why, found[why]) for why in _WHY if why in found]


def _sentence(why: str, names: list[str]) -> str:
    some = listed([repr(name) for name in names], _SHOWN)
    one, several = _WHY[why]
    drop = argument("drop", names[:_SHOWN])
    if len(names) == 1:
        end = f" with {drop}" if why == "leak" else f"; {drop} leaves it out"
        return f"column {some} {one}{end}"
    end = f" with {drop}" if why == "leak" else f"; {drop} leaves them out"
    return f"columns {some} {several}{end}"


def _why(name: str, column: "pd.Series[Any]", y: NDArray[Any], *, classes: bool) -> str | None:
    distinct = column.nunique()
    if distinct == 1 and not column.isna().any():
        return "constant"
    every = distinct == len(column)
    integers = column.dtype.kind in "iu" or (every and _are_whole(column))
    if integers and every and (_INDEX.fullmatch(name) or _in_step(column.to_numpy())):
        return "index"
    if every and (column.dtype.name == "category" or (integers and _ID.fullmatch(name))):
        return "id"
    return "leak" if _tells(column, y, classes=classes) else None


def _are_whole(column: "pd.Series[Any]") -> bool:
    """Return whether floats are integers, as where a row without a name once was."""
    return column.dtype.kind == "f" and bool((column % 1 == 0).all())


def _in_step(values: NDArray[Any]) -> bool:
    """Return whether integers go up by 1 from row to row."""
    return bool((np.diff(values[:_ROWS]) == 1).all())


def _tells(column: "pd.Series[Any]", y: NDArray[Any], *, classes: bool) -> bool:
    """Return whether a column fixes the target: each value its own, or in one order or line."""
    rows = np.unique(np.linspace(0, len(y) - 1, _ROWS).astype(int))
    column, y = column.iloc[rows], y[rows]
    known = column.notna().to_numpy()
    column, y = column[known], y[known]
    if len(y) < _LEAST or 2 * len(y) < len(rows):
        return False
    words = column.dtype.name == "category"
    x = column.cat.codes.to_numpy() if words else column.to_numpy().astype(np.float64)
    order = np.lexsort((y, x))
    x, y = x[order], y[order]
    same_x, same_y = np.diff(x) == 0, np.diff(y) == 0
    if not same_y[same_x].all():  # one value, two targets
        return False
    if words:
        return bool(2 * same_x.sum() >= len(x))
    if classes:
        return bool(len(y) - same_y.sum() == len(np.unique(y)))
    steps = np.diff(y)[~same_x]
    with np.errstate(all="ignore"):  # of numbers near the ends of float64
        line = abs(np.corrcoef(x / abs(x).max(), y / abs(y).max())[0, 1])
    return bool((steps >= 0).all() or (steps <= 0).all() or line > _LEAK)
