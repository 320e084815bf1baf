"""Tables: columns, missing values and bad rows of a table, ready to be split and encoded."""

import datetime as dt
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.data import dates
from thalweg.data.columns import Column, Style, bad_value, chosen, typed, wrong_value
from thalweg.data.delimited import EmptyError
from thalweg.data.options import Options
from thalweg.words import argument, closest, listed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Prepared", "encodable", "prepared"]

_MIDNIGHT = dt.datetime(1900, 1, 1)  # the day of times without a date  # noqa: DTZ001
_SHOWN = 30  # columns in a message: a table may have thousands


@dataclass(frozen=True)
class Prepared:
    """A table of which every row can be used.

    Attributes:
        X: the columns: bool, integers, float64, datetime64 and categories; NaN where missing.
        y: the target: bool, integers, float64 or texts.
        dropped: rows that were left out, by the reason.
        assumed: how columns were read, in words.
        styles: how the texts of columns were written.
    """

    X: "pd.DataFrame"
    y: NDArray[Any]
    dropped: Counter[str]
    assumed: tuple[str, ...]
    styles: dict[str, Style]


def prepared(table: pa.Table, target: str | None, options: Options, *, comma: bool) -> Prepared:
    """Return the chosen columns and the target, each as what it is.

    Args:
        table: texts or typed columns.
        target: one of them.
        options: what is chosen, and what becomes of missing and bad values.
        comma: numbers that do not tell their decimal mark have a comma.

    Raises:
        ValueError: a column or a value cannot be used; the message names it and has a remedy.
    """
    target = _checked(table, target, options)
    names = chosen(table.column_names, target, options.drop, options.keep)
    found = typed(table, [*names, target], types=options.types, decimal=options.decimal,
                  na=options.na, comma=comma)  # fmt: skip
    *features, answer = found
    if answer.type == "date" and dates.are_times(str(answer.style)):
        since = pc.subtract(answer.data, pa.scalar(_MIDNIGHT, answer.data.type))
        seconds = pc.divide(since.cast(pa.int64()).cast(pa.float64()), 1e6)
        said = "times taken as seconds"
        answer = replace(answer, type="number", data=seconds, assumed=said)
    if answer.type == "date":
        raise ValueError(
            f"target {target!r} is dates; a target is numbers or classes, so make one of it first"
        )
    empty = [c.name for c in features if c.data.null_count == len(c.data) and not len(c.bad)]
    features = [column for column in features if column.name not in empty]
    if not features:
        raise ValueError(f"no column beside the target {target!r} has a value")
    kept, dropped = _rows(table, features, answer, options)
    assumed = _assumed([*found[:-1], answer])
    if empty:
        assumed.append(f"columns without a value left out: {listed(empty, 5)}")
    styles = {column.name: column.style for column in features if column.style is not None}
    return Prepared(_frame(features, kept), _target(answer, kept), dropped, tuple(assumed), styles)


def encodable(
    table: pa.Table,
    kinds: Mapping[str, str],
    options: Options,
    *,
    comma: bool,
    styles: Mapping[str, Style] | None = None,
) -> "pd.DataFrame":
    """Return the columns of new rows as those of a table before were.

    Args:
        table: texts or typed columns.
        kinds: the columns that are needed, each ``"number"``, ``"category"`` or ``"date"``.
        options: how the table before was read.
        comma: as in ``prepared``.
        styles: how their texts were written.

    Raises:
        ValueError: a column or a value is missing that the rows before had, or a value is bad.
    """
    lacking = [name for name in kinds if name not in table.column_names]
    if lacking:
        hint = closest(lacking[0], [name for name in table.column_names if name not in kinds])
        raise ValueError(
            f"it has no column {listed([repr(name) for name in lacking], 5)}, which the model "
            f"needs; {hint and hint + ' '}its columns are: {_listed(table.column_names)}"
        )
    found = typed(table, list(kinds), types=kinds, decimal=options.decimal, na=options.na,
                  comma=comma, styles=styles)  # fmt: skip
    for column in found:
        held = kinds[column.name]
        if held not in ("category", column.type):
            kind = table[column.name].type
            raise ValueError(
                f"column {column.name!r} has the type {kind}, and held {held}s when the model was "
                "trained"
            )
    if any(len(column.bad) for column in found):
        said = wrong_value(found, table)[1]
        raise ValueError(f"{said}, unlike those that the model was trained on; mend it or empty it")
    return _frame(found, np.ones(table.num_rows, dtype=bool))


def _checked(table: pa.Table, target: str | None, options: Options) -> str:
    """Return the target; raise ValueError for names that are not there, or there twice."""
    columns = table.column_names
    if target is None:
        named = argument("target", "COL")
        raise ValueError(f"it needs a target ({named}); its columns are: {_listed(columns)}")
    if target not in columns:
        within = [f"did you mean {name}?" for name in columns if name.endswith(f".{target}")]
        hint = _at_place(target, columns) or next(iter(within), closest(target, columns))
        hint = hint or ("" if columns[:1] == ["column1"] else _among_values(target, table))
        raise ValueError(
            f"it has no column {target!r}; {hint and hint + ' '}its columns are: {_listed(columns)}"
        )
    for name, count in Counter(columns).items():
        if count > 1:
            raise ValueError(f"{count} columns have the name {name!r}; rename one")
    for name in options.types:
        if name not in columns:
            hint = closest(name, columns)
            raise ValueError(
                f"types names no column {name!r}; {hint and hint + ' '}the columns are: "
                f"{_listed(columns)}"
            )
    if not table.num_rows:
        raise ValueError("it has no rows of data")
    return target


def _at_place(target: str, columns: Sequence[str]) -> str:
    """Return a hint where a target is the place of a column that has no name."""
    places = {"first": 1, "last": -1}
    place = places.get(target) or (int(target) if re.fullmatch(r"-?[1-9]\d{0,5}", target) else 0)
    if not 1 <= abs(place) <= len(columns) or columns[0] != "column1":
        return ""
    return f"did you mean {columns[place - (place > 0)]}?"


def _among_values(target: str, table: pa.Table) -> str:
    """Return a hint where a target is a value, as where what is measured has a row of its own."""
    for name in table.column_names:
        column = table[name]
        if pa.types.is_large_string(column.type) or pa.types.is_string(column.type):
            found = pc.sum(pc.equal(pc.utf8_trim_whitespace(column), target)).as_py() or 0
            if found == 1:
                return f"it is a value of {name!r}: turn rows into columns first (pandas: .T);"
            if found:
                return f"it is a value of {name!r}: make columns of them first (pandas: pivot);"
    return ""


def _listed(columns: Sequence[str]) -> str:
    return listed(columns, _SHOWN)


def _rows(
    table: pa.Table, features: Sequence[Column], answer: Column, options: Options
) -> tuple[NDArray[np.bool_], Counter[str]]:
    """Return which rows are used, and how many are not by the reason."""
    bad = np.zeros(table.num_rows, dtype=bool)
    for column in (*features, answer):
        bad[column.bad] = True
    if bad.any() and not options.skip_bad_rows:
        raise ValueError(bad_value([*features, answer], table))
    missing = np.zeros(table.num_rows, dtype=bool)
    if options.missing != "impute":
        for column in (*features, answer):
            gaps = column.data.is_null().to_numpy()
            gaps[column.bad] = False
            if options.missing == "error" and gaps.any():
                raise ValueError(
                    f"column {column.name!r} row {int(gaps.argmax()) + 1}: the value is missing "
                    f"({argument('missing', 'impute')} fills it in, {argument('missing', 'drop')} "
                    "drops and counts such rows)"
                )
            missing |= gaps
    unknown = answer.data.is_null().to_numpy() & ~bad
    kept = ~(bad | missing | unknown)
    dropped = Counter(
        {
            "with a bad value": int(bad.sum()),
            f"without {answer.name}{_words(table[answer.name], unknown)}": int(unknown.sum()),
            "with a missing value": int((missing & ~unknown & ~bad).sum()),
        }
    )
    if not kept.any():
        raise EmptyError(
            f"none of its {len(kept)} rows is left: "
            + ", ".join(f"{count} {why}" for why, count in dropped.items() if count)
        )
    return kept, +dropped


def _words(column: pa.ChunkedArray, unknown: NDArray[np.bool_]) -> str:
    """Return the words of a target that count as missing, for one of them may be meant."""
    if not unknown.any() or pa.types.is_nested(column.type):
        return ""
    texts = column.filter(pa.array(unknown)).cast(pa.large_string())
    words = sorted({each.strip() for each in pc.unique(texts).drop_null().to_pylist()} - {""})
    return f" ({listed(words, 3)} counts as missing)" if words else ""


def _assumed(columns: Sequence[Column]) -> list[str]:
    """Return how columns were read, those of one kind together."""
    found: dict[str, list[str]] = {}
    for column in columns:
        if column.assumed:
            found.setdefault(column.assumed, []).append(column.name)
    return [f"{said} in {listed(names, 5)}" for said, names in found.items()]


def _frame(columns: Sequence[Column], kept: NDArray[np.bool_]) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415 - takes a second to load

    series = {}
    for column in columns:
        values = column.data.filter(pa.array(kept))
        words = column.type in ("words", "category", "text")
        if words:
            values = values.dictionary_encode()
        elif values.null_count and column.type == "number":
            values = values.cast(pa.float64())
        series[column.name] = values.to_pandas()
    return pd.DataFrame(series)


def _target(column: Column, kept: NDArray[np.bool_]) -> NDArray[Any]:
    values = column.data.filter(pa.array(kept))
    if column.type == "number":
        found: NDArray[Any] = values.to_numpy()
        return found
    return np.array(values.to_pylist(), dtype=object)
