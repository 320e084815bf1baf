"""Suspects: columns that predict nothing, or too much, with the option that leaves them out."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from thalweg.words import argument, listed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["kinships", "spellings", "stand_ins", "suspects"]

_INDEX = re.compile(r"Unnamed: \d+|__index_level_\d+__|index|level_\d+", re.IGNORECASE)
_ID = re.compile(
    r"(?i:(.*[_\W])?(id|uuid|guid|key|code|number|num|nr|no|ref|reference|serial|ticket|account|"
    r"invoice|isbn|ean|sku|iban|ssn|phone)[_\W]*)|.+(ID|Id|No|Nr)"
)
_ROWS = 10_000  # that are looked at for leaks
_LEAST = 30  # rows below which chance alone tells the target
_LEAK = 0.9999  # a correlation above which a column tells a number
_NEAR = 0.999  # above which it tells nearly all
_MANY = 10  # other numbers beside which the only negative one may be none
_ALIKE = 0.5  # share of the target's variance that neighbours, or rows of one group, have in common
_GROUP = re.compile(
    r"(?i)(.*[_\W])?(subject|patient|person|participant|user|customer|client|household|speaker|"
    r"animal|session|cow|mouse|student|employee|machine|engine|unit|well|store)s?[_\W]*"
    r"(id|nr|no|number|key|code)?[_\W]*"
)
_BETWEEN = re.compile(r"[\s_]+|(?<=[^\W\d])-(?=[^\W\d])|[.,;:!?]+$")  # what words differ in
_YES = {
    "y": "yes",
    "n": "no",
    "true": "yes",
    "false": "no",
    "t": "yes",
    "f": "no",
    "1": "yes",
    "0": "no",
}
_SHOWN = 5
_NINES = re.compile(r"-9|-?9{2,7}(\.9{1,2})?")
_FULL = {-(2.0**15), 2.0**15 - 1, 2.0**16 - 1, -(2.0**31), 2.0**31 - 1, 2.0**32 - 1}
_HUGE = 1e20  # no measurement: 9.9e37 of instruments, 1e20 of climate models, 3.4e38 of pictures

_WHY = {
    "constant": ("has one value in every row", "have one value in every row"),
    "index": ("only counts the rows", "only count the rows"),
    "id": ("is another one in every row, as a name is", "are others in every row, as names are"),
    "near": (
        "tells nearly all of the target; if it is not known before the target is, leave it out",
        "each tell nearly all of the target; if not known before the target is, leave them out",
    ),
    "leak": (
        "tells the target all alone; if it is not known before the target is, leave it out",
        "each tell the target all alone; if not known before the target is, leave them out",
    ),
}


_LEAKS = ("leak", "near")


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
    rows = np.unique(np.linspace(0, len(y) - 1, _ROWS).astype(int))
    some = y[rows]
    for name, column in X.items():
        if why := _why(str(name), column, rows, some, classes=classes):
            found.setdefault(why, []).append(str(name))
    return [_sentence(why, found[why]) for why in _WHY if why in found]


def kinships(X: "pd.DataFrame", y: NDArray[Any], *, classes: bool) -> list[str]:
    """Return a sentence if rows near in time, or of one subject, have alike targets.

    The parts are drawn at random, so that such rows are in training and in the test part.

    Example:
        >>> import pandas as pd
        >>> X = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=40)})
        >>> kinships(X, np.arange(40.0), classes=False)[0].partition(", but")[0]
        "rows stand in the order of 'day' and neighbours have alike targets"
    """
    if len(y) < _LEAST:
        return []
    targets = np.eye(y.max() + 1)[y] if classes else y.astype(np.float64)[:, None]
    spread = ((targets - targets.mean(axis=0)) ** 2).mean() * 2
    drawn = "but the parts are drawn at random: expect a higher loss on"
    for name, column in X.items():
        ordered = column.is_monotonic_increasing or column.is_monotonic_decreasing
        if column.dtype.kind == "M" and ordered and column.nunique() > 2:
            apart = (np.diff(targets, axis=0) ** 2).mean()
            if apart < (1 - _ALIKE) * spread:
                order = f"rows stand in the order of {name!r} and neighbours have alike targets"
                return [f"{order}, {drawn} later rows"]
        if not _GROUP.fullmatch(str(name)) or 2 * column.nunique() > len(y):
            continue
        codes = np.unique(column.astype(str), return_inverse=True)[1]
        counts = np.bincount(codes)[:, None]
        means = np.stack([np.bincount(codes, each) for each in targets.T], axis=1) / counts
        within = ((targets - means[codes]) ** 2).sum(axis=0).mean() / (len(y) - len(counts))
        if len(counts) > 2 and 2 * within < (1 - _ALIKE) * spread:
            return [f"rows of one {name!r} have alike targets, {drawn} new ones"]
    return []


def stand_ins(columns: "Mapping[str, NDArray[Any] | pd.Series[Any]]") -> list[str]:
    """Return a sentence about each number that may stand for a missing value, such as -999.

    It is farther from all other values than they are from each other: nines or the greatest number
    of 16 or 32 bits, twice or more, or one beyond all measurements. So may the only negative
    number, if it is whole and there twice, among many others.

    Args:
        columns: by name; those that hold no numbers are passed over.

    Example:
        >>> print(*stand_ins({"size": np.array([1.5, 2.5, -999, 0.5, -999])}))
        the number -999 in column 'size' may be a missing value (2 cells); na=['-999'] counts it so
    """
    found: dict[float, list[str]] = {}
    rows = 0
    for name, column in columns.items():
        values = np.asarray(column)
        if values.dtype.kind not in "iuf":
            continue
        values = values[np.isfinite(values)].astype(np.float64)
        for mark in {values.min(initial=0), values.max(initial=0)}:
            if _stands_in(float(mark), values):
                found.setdefault(float(mark), []).append(name)
                rows += int((values == mark).sum())
    if not found:
        return []
    names = list(dict.fromkeys(name for each in found.values() for name in each))
    marks = [f"{mark:.10g}" for mark in found]
    who = f"column{'s' * (len(names) > 1)} {listed([repr(name) for name in names], _SHOWN)}"
    mean, so = ("be a missing value", "it") if len(found) == 1 else ("be missing values", "them")
    number = f"number{'s' * (len(found) > 1)} {listed(marks, _SHOWN)}"
    na = argument("na", marks)
    return [
        f"the {number} in {who} may {mean} ({rows} cell{'s' * (rows > 1)}); {na} counts {so} so"
    ]


def _stands_in(mark: float, values: NDArray[np.float64]) -> bool:
    others = values[values != mark]
    twice = len(values) - len(others) >= 2
    if not len(others) or not (twice or abs(mark) >= _HUGE):
        return False
    if mark < 0 <= others.min() and mark % 1 == 0 and len(np.unique(others)) > _MANY:
        return True
    if not (_NINES.fullmatch(f"{mark:.10g}") or mark in _FULL or abs(mark) >= _HUGE):
        return False
    with np.errstate(over="ignore"):  # of numbers near the ends of float64
        spread = float(np.ptp(others))
        return bool(0 < spread < np.abs(others - mark).min())


def spellings(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a sentence about words that differ in capitals, blanks and points alone.

    Args:
        columns: the different words of each, by name.

    Example:
        >>> spellings({"town": ["Kiel", "KIEL", "Bern"]})
        ["'town' has Kiel and KIEL as different words; write them alike if they mean the same"]
    """
    found = []
    for name, words in columns.items():
        alike: dict[str, list[str]] = {}
        short = {word.casefold() for word in words} <= {*_YES, *_YES.values()}
        for word in words:
            plain = _BETWEEN.sub(" ", word.casefold()).strip()
            plain = _YES.get(plain, plain) if short else plain
            alike.setdefault(plain, []).append(word)
        pairs = [" and ".join(same) for same in alike.values() if len(same) > 1]
        if pairs:
            found.append(
                f"{name!r} has {listed(pairs, 3)} as different words; write them alike if they "
                "mean the same"
            )
    return found


def _sentence(why: str, names: list[str]) -> str:
    some = listed([repr(name) for name in names], _SHOWN)
    one, several = _WHY[why]
    drop = argument("drop", names[:_SHOWN])
    if len(names) == 1:
        end = f" with {drop}" if why in _LEAKS else f"; {drop} leaves it out"
        return f"column {some} {one}{end}"
    end = f" with {drop}" if why in _LEAKS else f"; {drop} leaves them out"
    return f"columns {some} {several}{end}"


def _why(
    name: str, column: "pd.Series[Any]", rows: NDArray[Any], y: NDArray[Any], *, classes: bool
) -> str | None:
    """Return what is suspicious about a column; y is the target in some rows."""
    distinct = column.nunique()
    if distinct == 1 and not column.isna().any():
        return "constant"
    every = distinct == len(column)
    integers = column.dtype.kind in "iu" or (every and _are_whole(column))
    if integers and every and (_INDEX.fullmatch(name) or _in_step(column.to_numpy())):
        return "index"
    if every and (column.dtype.name == "category" or (integers and _ID.fullmatch(name))):
        return "id"
    return _tells(column, rows, y, classes=classes)


def _are_whole(column: "pd.Series[Any]") -> bool:
    """Return whether floats are integers, as where a row without a name once was."""
    return column.dtype.kind == "f" and bool((column.to_numpy() % 1 == 0).all())


def _in_step(values: NDArray[Any]) -> bool:
    """Return whether integers go up by 1 from row to row."""
    return bool((np.diff(values[:_ROWS]) == 1).all())


def _tells(
    column: "pd.Series[Any]", rows: NDArray[Any], y: NDArray[Any], *, classes: bool
) -> str | None:
    """Return "leak" if a column fixes the target: each value its own, or in one order or line.

    It is "near" if it lies near one line.
    """
    words = column.dtype.name == "category"
    values = (column.cat.codes if words else column).to_numpy()[rows]
    known = values >= 0 if words else ~np.isnan(values)
    x, y = values[known].astype(np.float64), y[known]
    if len(y) < _LEAST or 2 * len(y) < len(rows):
        return None
    order = np.lexsort((y, x))
    x, y = x[order], y[order]
    same_x, same_y = np.diff(x) == 0, np.diff(y) == 0
    one = bool(same_y[same_x].all())  # and not one value, two targets
    if words:
        return "leak" if one and 2 * same_x.sum() >= len(x) else None
    if classes:
        return "leak" if one and len(y) - same_y.sum() == len(np.unique(y)) else None
    steps = np.diff(y)[~same_x]
    with np.errstate(all="ignore"):  # of numbers near the ends of float64
        line = abs(np.corrcoef(x / abs(x).max(), y / abs(y).max())[0, 1])
    if one and ((steps >= 0).all() or (steps <= 0).all() or line > _LEAK):
        return "leak"
    return "near" if line > _NEAR else None
