"""Columns: the type of each, which ones are used, and which values are bad."""

import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from thalweg.data import dates
from thalweg.data.compounds import COMPOUNDS, compounds, spelled_out
from thalweg.data.delimited import skipping
from thalweg.data.digits import missing_texts, plain_columns
from thalweg.data.numerals import NO_NUMBER, PLAIN, Numerals, most, numerals_of
from thalweg.words import argument, closest, listed

__all__ = ["Column", "Style", "bad_value", "chosen", "typed", "wrong_value"]

Style = Numerals | str  # of numbers, or the format of dates

_SHOWN = 30  # columns in a message: a table may have thousands
_BOOLEAN = r"^(?i:true|false)$"
_NUMBERED = r"^[^\pL\pN]*\pN"
_BOUND = r"^(?:[<>]=?|[≤≥~≈]|(?:c|ca|circa)\b\.?) ?"  # a limit of what can be measured
_ESTIMATED = (
    r"(?i: ?\((?:est|estimate|estimated|prov|provisional|prelim|preliminary|approx|revised)\.?\))"
)
_MARKED = rf"(?: ?[*†‡§^]+| ?\[[^\]\d]{{0,5}}\d{{0,3}}\]|{_ESTIMATED})$"  # a footnote
_NOTE = rf"{_MARKED}| ?\([a-z]\)$| [bceinpruz]{{1,3}}$"  # or a flag
_JSON = r"^(\{.*:.*\}|\[.*,.*\])$"
_FEW = 40  # words below which each becomes a feature
_MARKS = 5  # bad texts that a message names


@dataclass(frozen=True)
class Column:
    """A column and what it is.

    Args:
        name: of the column.
        type: ``"number"``, ``"date"``, ``"words"``, or ``"category"`` or ``"text"`` if the user
            said so. The number of different words decides how they are encoded.
        data: numbers (bool, int64, uint64 or float64), timestamps or texts; null where missing.
        bad: the rows whose text is not a value of that type.
        assumed: how it was read, in words; "" if that is obvious.
        style: how its texts are written: numbers, or dates in this format; None of other columns.
    """

    name: str
    type: str
    data: pa.ChunkedArray
    bad: np.ndarray[Any, np.dtype[np.int64]] = field(
        default_factory=lambda: np.zeros(0, np.int64), repr=False
    )
    assumed: str = ""
    style: Style | None = None


def chosen(
    columns: Sequence[str], target: str, drop: Sequence[str], keep: Sequence[str]
) -> list[str]:
    """Return the names of the columns that predict the target.

    Args:
        columns: all there are.
        target: one of them.
        drop: what is left out.
        keep: all that is used, if it is not empty.

    Raises:
        ValueError: a name is unknown, or nothing is left.

    Example:
        >>> chosen(["id", "size", "price"], "price", drop=["id"], keep=[])
        ['size']
    """
    drop, keep = _parted(drop, columns), _parted(keep, columns)
    for option, given in (("drop", drop), ("keep", keep)):
        for name in given:
            if name not in columns:
                hint = closest(name, columns)
                raise ValueError(
                    f"{option} names no column {name!r}; {hint and hint + ' '}the columns are: "
                    f"{listed(columns, _SHOWN)}"
                )
    if target in drop:
        raise ValueError(f"drop names the target {target!r}, which is needed")
    left = [
        name for name in columns
        if name not in (target, *drop) and (not keep or name in keep)
    ]  # fmt: skip
    if not left:
        raise ValueError(f"there is no column beside the target {target!r}")
    return left


def _parted(given: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Split names at commas, but not the name of a column that has a comma itself."""
    words = (([text] if text in columns else text.split(",")) for text in given)
    return [word if word in columns else word.strip() for each in words for word in each]


def typed(
    table: pa.Table,
    names: Sequence[str],
    *,
    types: Mapping[str, str],
    decimal: str | None,
    na: Sequence[str],
    comma: bool,
    styles: Mapping[str, Style] | None = None,
) -> list[Column]:
    """Return the columns with their types. A bad value is null, and its row is listed.

    Args:
        table: has them.
        names: of the columns.
        types: that the user gave, by name.
        decimal: the decimal mark of texts, if it is known.
        na: texts that stand for missing values.
        comma: whether the decimal mark is a comma where a column does not show it.
        styles: how columns were written in a table before, which settles what can be read in two
            ways.

    Raises:
        ValueError: a column has a type that cannot be used.
    """
    before = styles or {}
    _check_types({name: table[name].type for name in names})
    plain = _plain(table, names, types=types, decimal=decimal, na=na, before=before)
    texts = {
        name: _text(table[name], na)
        for name in names
        if name not in plain and _is_text(table[name].type)
    }
    rewritten = {}
    for name, text in texts.items():
        if types.get(name, "number") != "number":
            continue
        if spelled := spelled_out(text, before.get(name)):
            texts[name], rewritten[name] = spelled
    numerals = {
        name: _numerals(text, decimal, before.get(name))
        for name, text in texts.items()
        if types.get(name, "number") == "number"
    }
    styles_of_plain = [style for _, style in plain.values()]
    shown = {s.decimal for s in (*numerals.values(), *styles_of_plain) if s and s.shown}
    found = []
    for name in names:
        if name in plain:
            values, bare = plain[name]
            found.append(_without(Column(name, "number", values, style=bare), na))
            continue
        if name not in texts:
            found.append(_without(_of_values(name, table[name], types.get(name)), na))
            continue
        style = numerals.get(name)
        if style and style.open and "." not in shown and decimal is None:
            commas = "," in shown or (style.open == "," and comma)
            style = numerals_of(texts[name], ",") if commas else style
        column = _of_text(name, texts[name], types.get(name), style, before.get(name))
        if name in rewritten and column.type == "number":
            said = f"{rewritten[name]}, {column.assumed}" if column.assumed else rewritten[name]
            column = replace(column, assumed=said)
        found.append(_without(column, na))
    return found


def _plain(
    table: pa.Table,
    names: Sequence[str],
    *,
    types: Mapping[str, str],
    decimal: str | None,
    na: Sequence[str],
    before: Mapping[str, Style],
) -> dict[str, tuple[pa.ChunkedArray, Numerals]]:
    """Return the columns of a delimited text that are plain numbers and may be such here."""
    bare = (None, Numerals(), Numerals(shown=True))
    likely = {
        name: table[name]
        for name in names
        if table[name].type == pa.large_string()
        and types.get(name, "number") == "number"
        and before.get(name) in bare
    }
    return plain_columns(likely, na) if decimal != "," else {}


def _without(column: Column, na: Sequence[str]) -> Column:
    """Return a column without the numbers that stand for missing ones, such as -999."""
    marks = [float(mark) for text in na for mark in text.split(",") if re.fullmatch(PLAIN, mark)]
    if column.type != "number" or not marks or pa.types.is_boolean(column.data.type):
        return column
    lacking = pc.is_in(column.data.cast(pa.float64(), safe=False), value_set=pa.array(marks))
    return replace(column, data=pc.if_else(lacking, None, column.data))


_READ = (
    pa.types.is_null, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating,
    pa.types.is_decimal, pa.types.is_timestamp, pa.types.is_date, pa.types.is_time,
    pa.types.is_duration,
)  # fmt: skip


def _check_types(types: Mapping[str, pa.DataType]) -> None:
    """Raise ValueError if columns hold neither numbers, texts nor dates."""
    held = {
        name: kind.value_type if pa.types.is_dictionary(kind) else kind
        for name, kind in types.items()
    }
    bad = [
        n for n, kind in held.items() if not _is_text(kind) and not any(of(kind) for of in _READ)
    ]
    if bad:
        all_of_them = "it" if len(bad) == 1 else f"all {len(bad)} such"
        raise ValueError(
            f"column {bad[0]!r} has the type {types[bad[0]]}, of which no number can be made; "
            f"leave {all_of_them} out with {argument('drop', bad)}"
        )


def _is_text(kind: pa.DataType) -> bool:
    return kind in (pa.string(), pa.large_string(), pa.string_view())


def _text(column: pa.ChunkedArray, na: Sequence[str]) -> pa.ChunkedArray:
    """Return stripped texts, null where one stands for a missing value."""
    text = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
    missing = missing_texts(na).cast(pa.large_string())
    return pc.if_else(pc.is_in(text, value_set=missing), None, text)


def _numerals(text: pa.ChunkedArray, decimal: str | None, before: Style | None) -> Numerals | None:
    """Return how numbers are written, also where most have a footnote."""
    found = numerals_of(text, decimal, before)
    if found is None and most(text, _MARKED):
        return numerals_of(pc.replace_substring_regex(text, _MARKED, ""), decimal, before)
    return found


def _of_text(
    name: str,
    text: pa.ChunkedArray,
    asked: str | None,
    style: Numerals | None,
    before: Style | None = None,
) -> Column:
    """Return the type of a column of texts: numbers, booleans, dates or words."""
    if asked in ("category", "text"):
        return Column(name, asked, text)
    if known := _of_parts(name, text, asked, style, before):
        return known
    if asked is None and style and dates.are_whole(text):
        asked, style = "date", None
    codes = asked is None and style is not None and _are_codes(text)
    if asked == "number" or (style and not codes):
        return _of_numbers(name, text, style or Numerals())
    if asked == "date" or (asked is None and dates.may_be(text)):
        values, form, said = dates.read(text, before if isinstance(before, str) else None)
        known = len(values) - values.null_count
        if asked == "date" or 2 * known > len(text) - text.null_count:
            return Column(name, "date", values, _bad(text, values), said, form)
    said = "words, though they begin with numbers," if most(text, _NUMBERED) else ""
    said = "lists or objects of JSON, taken as words," if most(text, _JSON) else said
    said = "codes with leading zeros, taken as words," if codes else said
    return Column(name, "words", text, assumed=said)


def _of_parts(
    name: str,
    text: pa.ChunkedArray,
    asked: str | None,
    style: Numerals | None,
    before: Style | None,
) -> Column | None:
    """Return the numbers of booleans, durations and the like, None where a column is none."""
    if asked in (None, "number") and pc.all(pc.match_substring_regex(text, _BOOLEAN)).as_py():
        return Column(name, "number", pc.equal(pc.utf8_lower(text), "true"))
    lengths = dates.DURATIONS
    if asked is None or before == lengths:
        seconds = dates.durations(text, sure=before == lengths)
        if seconds is not None:
            return Column(name, "number", seconds, _bad(text, seconds), lengths, lengths)
    sided = style is not None and style.unit in (*"NSEW",)
    if (asked is None and (style is None or sided)) or before in COMPOUNDS:
        found = compounds(text, before)
        if found is not None:
            return Column(name, "number", found[0], _bad(text, found[0]), found[1], found[1])
    return None


def _of_numbers(name: str, text: pa.ChunkedArray, style: Numerals) -> Column:
    """Return the numbers of texts in a style; of a bound such as <5 the number."""
    if style.unit:  # alone, it stands for a missing number
        alone = rf"^(?i:null|nan|none|n/?a|[-–—])? ?{re.escape(style.unit)}$"
        text = pc.if_else(pc.match_substring_regex(text, alone), None, text)
    values = style.parse(text)
    odd = pc.and_(pc.is_valid(values), pc.invert(pc.match_substring_regex(text, PLAIN)))
    said = [str(style)] if pc.any(odd).as_py() else []
    if not said and pc.any(pc.match_substring_regex(text, r"^0\d+$")).as_py():
        said.append("leading zeros left out")
    for pattern, place in ((_BOUND, "before"), (_NOTE, "behind")):
        marked = pc.and_(pc.is_null(values), pc.match_substring_regex(text, pattern))
        if pc.any(marked).as_py():
            bare = pc.if_else(marked, pc.replace_substring_regex(text, pattern, ""), None)
            read = style.parse(bare).cast(pa.float64())
            if len(marks := text.filter(pc.and_(marked, pc.is_valid(read))).unique()):
                values = pc.coalesce(values.cast(pa.float64()), read)
                signs = {m[0].strip() for t in marks.to_pylist() if (m := re.search(pattern, t))}
                said.append(f"{listed(sorted(signs), 5)} {place} a number left out")
    return Column(name, "number", values, _bad(text, values), ", ".join(said), style.settled())


def _are_codes(text: pa.ChunkedArray) -> bool:
    """Return whether digits are codes, as of post: padded with zeros to one length, and repeated.

    Four digits may be times of day, unless they are few.
    """
    if not pc.any(pc.match_substring_regex(text, r"^0\d{3,}$")).as_py():
        return False
    lengths = pc.unique(pc.utf8_length(text)).drop_null().to_pylist()
    digits = pc.all(pc.match_substring_regex(text, r"^\d+$")).as_py()
    distinct = pc.count_distinct(text).as_py()
    repeated = distinct < len(text) - text.null_count
    return bool(digits and repeated and len(lengths) == 1 and (lengths[0] > 4 or distinct < _FEW))


def _bad(text: pa.ChunkedArray, values: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the rows whose text is neither missing nor a value."""
    if not values.null_count:
        return np.zeros(0, np.int64)
    missing = pc.fill_null(pc.match_substring_regex(text, NO_NUMBER), fill_value=True)
    bad = pc.and_(pc.is_null(values), pc.invert(missing))
    return np.flatnonzero(bad.to_numpy())


def _of_values(name: str, column: pa.ChunkedArray, asked: str | None) -> Column:
    """Return the type of a column of values, by its type in the file."""
    if pa.types.is_null(column.type):
        column = column.cast(pa.float64())
    kind = column.type
    if pa.types.is_dictionary(kind):  # its writer meant categories
        if asked is None:
            return Column(name, "words", column.cast(pa.large_string()))
        column, kind = column.cast(kind.value_type), kind.value_type
    integers = pa.types.is_integer(kind)
    if asked in ("category", "text") or (asked == "date" and integers):
        return _of_text(name, column.cast(pa.large_string()), asked, None)
    if pa.types.is_boolean(kind) or integers:
        return Column(name, "number", column)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        column = column.cast(pa.float64(), safe=False)
        column = pc.if_else(pc.is_nan(column), None, column)  # pandas's missing one
        infinite = pc.fill_null(pc.is_inf(column), fill_value=False)
        values = pc.if_else(infinite, None, column)
        return Column(name, "number", values, np.flatnonzero(infinite.to_numpy()))
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return Column(name, "date", _microseconds(column))
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]  # a time or a duration
    whole = column.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    return Column(name, "number", pc.divide(whole.cast(pa.float64()), float(per_second)))


def _microseconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    zone = getattr(column.type, "tz", None)
    naive = column.cast(pa.timestamp(column.type.unit)) if zone else column
    return naive.cast(pa.timestamp("us"), safe=False)


def bad_value(columns: Sequence[Column], table: pa.Table) -> str:
    """Return the sentence about the first bad value, by row and then by column."""
    column, said = wrong_value(columns, table)
    value = table[column.name][int(column.bad[0])].as_py()
    mark = ""
    if not isinstance(value, float):
        bad = table[column.name].take(pa.array(column.bad))
        marks = _marks(bad, str(value).strip())
        if (more := pc.count_distinct(bad).as_py() - len(marks)) > 0:
            said += f", nor {'are' if more > 1 else 'is'} {more} more of its texts"
        plain = all(len(mark) < 20 and mark.isprintable() for mark in marks)
        missing = argument("na", marks if plain else "TEXT")
        kept = argument("types", {column.name: "category"})
        counted = "them" if len(marks) > 1 else "it"
        unit = _other_unit(column, str(value).strip())
        mark = f"write all of them in {unit}, " * bool(unit)
        mark += f"{missing} counts {counted} as missing, {kept} takes texts as they are, "
    if others := [repr(c.name) for c in columns if len(c.bad) and c is not column]:
        said += f"; {listed(others, 3)} {'have' if len(others) > 1 else 'has'} such values too"
    return f"{said} ({mark}{skipping()})"


def _other_unit(column: Column, text: str) -> str:
    """Return the unit of a column if a bad number in it has another one or none, else ""."""
    style = column.style
    if not isinstance(style, Numerals):
        return ""
    bare = Numerals(style.decimal).number(text) is not None
    return style.unit if bare or style.has_other_unit(text) else ""


def wrong_value(columns: Sequence[Column], table: pa.Table) -> tuple[Column, str]:
    """Return the column of the first bad value, and what is wrong with it."""
    row, name = min((int(column.bad[0]), i) for i, column in enumerate(columns) if len(column.bad))
    column = columns[name]
    value = table[column.name][row].as_py()
    if isinstance(value, float):
        what = f"{value} is not finite"
    else:
        shown = str(value).strip()
        word = "date" if column.type == "date" else "number"
        endless = word == "number" and "inf" in shown.lower()
        what = f"{reprlib.repr(shown)} is not {'finite' if endless else f'a {word}'}"  # may be long
        if unit := _other_unit(column, shown):
            what = f"{shown!r} is not in {unit}"
    return column, f"column {column.name!r} row {row + 1}: {what}"


def _marks(bad: pa.ChunkedArray, shown: str) -> list[str]:
    """Return the texts of bad values if they are few; otherwise the one that is shown."""
    found = [str(value).strip() for value in bad.unique().slice(0, _SHOWN).to_pylist()]
    few = len(found) <= _MARKS and not any("," in mark for mark in found)
    return [shown, *(mark for mark in found if mark != shown)] if few else [shown]
