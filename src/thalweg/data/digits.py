"""Digits: columns of texts that all are plain numbers, found and read many at a time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from thalweg.data.numerals import EITHER, INTEGER, MISSING, PLAIN, Numerals

__all__ = ["missing_texts", "plain_columns"]

_CELLS = 1 << 20  # that are looked at together
_FIRST = 20  # rows by which columns of other texts are told
_DOUBTED = r"^(0\d+|(19|20)\d{6})$"  # may be a code, or a date


def missing_texts(na: Sequence[str]) -> pa.Array:
    """Return the texts that stand for a missing value, with those that the user names."""
    return pa.array([*MISSING, *(word for mark in na for word in (mark, *mark.split(",")))])


def plain_columns(
    columns: Mapping[str, pa.ChunkedArray], na: Sequence[str]
) -> dict[str, tuple[pa.ChunkedArray, Numerals]]:
    """Return the values and the style of columns in which all texts are plain numbers or missing.

    It finds what ``numerals_of`` and ``Numerals.parse`` do, by a few calls for thousands of them.
    Columns that leave something open are left to them: 1.234 may be a thousand and more, 007 a code
    and 20240229 a date.

    Args:
        columns: of texts, of one length and type.
        na: texts that stand for missing values.

    Example:
        >>> texts = {"a": ["1", "-2"], "b": ["0.5", "NA"], "c": ["red", "7"]}
        >>> found = plain_columns({n: pa.chunked_array([t]) for n, t in texts.items()}, na=())
        >>> {name: values.to_pylist() for name, (values, _) in found.items()}
        {'a': [1, -2], 'b': [0.5, None]}
    """
    rows = len(next(iter(columns.values()), ()))
    if not rows:
        return {}
    first = _texts([column.slice(0, _FIRST) for column in columns.values()], na)
    likely = _each(_is(first, PLAIN), len(columns), missing=True).all(axis=1)
    names = [name for name, plain in zip(columns, likely, strict=True) if plain]
    found: dict[str, tuple[pa.ChunkedArray, Numerals]] = {}
    step = max(_CELLS // rows, 1)
    for i in range(0, len(names), step):
        found |= _numbers({name: columns[name] for name in names[i : i + step]}, na)
    return found


def _numbers(
    columns: Mapping[str, pa.ChunkedArray], na: Sequence[str]
) -> dict[str, tuple[pa.ChunkedArray, Numerals]]:
    """Return those of some columns that are numbers beyond doubt."""
    count, text = len(columns), _texts(list(columns.values()), na)
    plain, whole = _is(text, PLAIN), _is(text, INTEGER)
    point = _each(pc.match_substring(text, "."), count, missing=False)
    either = _each(_is(text, EITHER), count, missing=False)
    doubted = _each(_is(text, _DOUBTED), count, missing=False).any(axis=1)
    floats = pc.if_else(plain, text, None).cast(pa.float64())
    integers = pc.if_else(whole, text, None).cast(pa.int64())
    finite = _each(pc.is_finite(floats), count, missing=True).all(axis=1)
    given = _each(pc.is_valid(text), count, missing=False).any(axis=1)
    shown = (point & ~either).any(axis=1)
    sure = given & finite & ~doubted & (shown | ~point.any(axis=1))
    sure &= _each(plain, count, missing=True).all(axis=1)
    all_whole = _each(whole, count, missing=True).all(axis=1)
    rows, names = len(text) // count, list(columns)
    found = {}
    for i in np.flatnonzero(sure):
        values = (integers if all_whole[i] else floats).slice(i * rows, rows)
        found[names[i]] = pa.chunked_array([values]), Numerals(shown=bool(shown[i]))
    return found


def _texts(columns: Sequence[pa.ChunkedArray], na: Sequence[str]) -> pa.Array:
    """Return the stripped texts of one column after the other, null where one is missing."""
    whole = pa.concat_arrays([chunk for column in columns for chunk in column.chunks])
    text = pc.utf8_trim_whitespace(whole)
    return pc.if_else(pc.is_in(text, value_set=missing_texts(na).cast(text.type)), None, text)


def _is(text: pa.Array, pattern: str) -> pa.Array:
    return pc.match_substring_regex(text, pattern)


def _each(cells: pa.Array, columns: int, *, missing: bool) -> Any:  # noqa: ANN401 - a matrix of bool
    """Return the cells by column and row."""
    filled = pc.fill_null(cells, fill_value=missing)
    return filled.to_numpy(zero_copy_only=False).reshape(columns, -1)
