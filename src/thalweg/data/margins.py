"""Margins: rows of a table of texts that hold no example: units, sums, remarks, a header again."""

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from thalweg.data.numerals import MISSING, most, numerals_of
from thalweg.words import listed

__all__ = ["NUMBER", "joined", "without_margins"]

NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")
"""A cell that is a number without a unit."""

_SUM = (  # as people, Excel and Calc call it in their languages
    r"(?:(?:grand |sub[- ]?|zwischen|sous[- ]|eind|hoved)?(?:total|sum|summe|summa|gesamt|totale|"
    r"totaal|totalt|suma|razem|celkem|součet|итого?|всего|разом|σύνολο|toplam|合計|小計|総計|集計|总计|"
    r"合计|小计|汇总|iš viso|kopā|ergebnis|result)s?|gesamtsumme|totalsumma|"
    r"(?:total |gesamt)(?:ergebnis|result)|total g[eé]n[eé]ral|total geral|totale complessivo|"
    r"suma końcowa|celkový součet|общий итог|genel toplam)"
)
_COUNT = re.compile(  # as SQL's programs count what they print
    r"(?i)\(?\d[\d,.]* (?:rows?|records?|zeilen|lignes|filas)"
    r"(?: (?:selected|affected|returned|fetched|in set))?\)?\.?"
)
_FOOTER = re.compile(rf"(?i)({_SUM}|average|mean|count|overall)\s*:?")
_SUBTOTAL = rf"(?i)^(?:{_SUM}|{_SUM}:? .+|.+ {_SUM}):?$"
_ROWS = 300  # by which the first ones are judged
_LEADING = 3  # columns in one of which a sum is called so
_NAMELESS = r"^(?:[^\pL\pN]*|[∑Σ])$"  # as SAP marks a sum
_RARELY = 0.1  # a gap that fewer rows have shows that another row is none of them
_ROUNDED = 1e-6  # relative error of a sum that was rounded
_HEADERS = 3  # rows of units, of questions and the like that stand below the names
_POWER = r"(?:1|(?:[x×] ?)?10 ?(?:\^|\*{1,2}|E|e)? ?\d+) ?/ ?[^\W\d_]"  # as in 10^9/L and 1/min


def without_margins(
    table: pa.Table, ragged: list[Any], names: list[str], target: str | None
) -> tuple[pa.Table, list[Any], list[str]]:
    """Leave out the rows that hold no example, and write a group's name into all of its rows.

    Args:
        table: of texts, "" in an empty cell.
        ragged: the rows of another length, as PyArrow gives them.
        names: of the columns; those of two rows are joined in it.
        target: one of them, which no name of a group is.

    Returns:
        The table, the other rows of another length, and what was done, in words.

    Example:
        >>> table = pa.table({"0": ["Bern", "Kiel", "Total"], "1": ["3", "4", "7"], "2": [""] * 3})
        >>> table, _, said = without_margins(table, [], ["town", "rooms", "note"], None)
        >>> table["0"].to_pylist(), said
        (['Bern', 'Kiel'], ['1 closing line left out'])
    """
    said = []
    table, ragged, left_out = _without_footer(table, ragged)
    if left_out:
        said.append(f"{left_out} closing line{'s' * (left_out > 1)} left out")
    if table.num_rows:
        same = zip(table.columns, names, strict=False)
        again = functools.reduce(pc.and_, [pc.equal(column, name) for column, name in same])
        if count := pc.sum(again).as_py():
            before, ragged = len(ragged), _without_titles(again.to_numpy(), ragged)
            table = table.filter(pc.invert(again))
            above = f", {before - len(ragged)} lines above," * (len(ragged) < before)
            said.append(f"{count} more header{'s' * (count > 1)} among the rows{above} left out")
    below = 0
    while below < _HEADERS and (units := _units(table, names)):
        both = joined(names, [column[0].as_py().strip() for column in table.columns])
        table, below = table.slice(1), below + 1
        if both:
            names[:] = both
            said.append(f"names of two rows joined: {listed(both, 3)}")
        else:
            said.append(f"the row below the names, {listed(units, 3)}, left out: no values")
    if ends := _sums_at_ends(table):
        table = table.slice(ends[0], table.num_rows - sum(ends))
        said.append("a sum of all rows left out")
    sums = _subtotals(table)
    if sums is not None:
        count = pc.sum(sums).as_py()
        first = next(filter(None, (column.filter(sums)[0].as_py() for column in table.columns)))
        table = table.filter(pc.invert(sums))
        said.append(f"{count} sum{'s' * (count > 1)} among the rows, such as {first}, left out")
    if groups := _groups(table, names, target):
        for i, column in groups.items():
            table = table.set_column(i, table.column_names[i], column)
        named = [names[i] or f"column {i + 1}" for i in groups]
        said.append(f"names of groups filled down in {listed(named, 3)}")
    return table, ragged, said


def _without_footer(table: pa.Table, ragged: list[Any]) -> tuple[pa.Table, list[Any], int]:
    """Leave out last rows that are sums or remarks, and count them."""
    count = table.num_rows + len(ragged)
    ragged, left_out = list(ragged), 0
    while ragged and ragged[-1].number == count and table.num_columns > 2:
        cells = [cell for cell in re.split(r"[,;\t|]", ragged[-1].text) if cell.strip()]
        prose = re.search(r"[^\W\d]{2}[:.)]? ", cells[0]) if cells else None
        if any(map(NUMBER.fullmatch, cells)) or (len(cells) > 1 and not prose):
            break
        ragged.pop()
        count, left_out = count - 1, left_out + 1
    keep = table.num_rows
    while keep > 1 and table.num_columns > 2:
        row = [column[keep - 1].as_py().strip() for column in table.columns]
        filled = [cell for cell in row if cell]
        alone = len(filled) == 1 and not NUMBER.fullmatch(filled[0])
        named = _FOOTER.fullmatch(filled[0]) if filled else None
        if filled and not alone and not named and not _COUNT.fullmatch(" ".join(filled)):
            break
        keep, left_out = keep - 1, left_out + 1
    return table.slice(0, keep), ragged, left_out


def _without_titles(again: np.ndarray[Any, Any], ragged: Sequence[Any]) -> list[Any]:
    """Leave out rows of another length right above a row that is the header again, as of pages."""
    short = {row.number for row in ragged}
    rows = [i for i in range(1, len(again) + len(ragged) + 1) if i not in short]
    titles = set()
    for row in np.array(rows)[again]:
        while (row := row - 1) in short:
            titles.add(row)
    return [row for row in ragged if row.number not in titles]


def _units(table: pa.Table, names: Sequence[str]) -> list[str]:
    """Return the texts of a first row that has units, or names again, where others have numbers.

    It may also be empty there, and have a name where the row above has none.
    """
    rest, above = table.slice(1, _ROWS), []
    for name in table.column_names if rest.num_rows > 1 else []:
        if most(rest[name], r"^[^\pL\pN]{0,3}\pN"):
            above.append(table[name][0].as_py().strip())
            if re.match(r"\W{0,3}\d", above[-1]) and not re.match(_POWER, above[-1]):
                return []  # a row of data, so that no other column need be looked at
    if above and not any(above):
        first = [column[0].as_py().strip() for column in table.columns]
        named = any(below and not name for name, below in zip(names, first, strict=False))
        return [text for text in first if text] if named else []
    texts = [text for text in above if re.search(r"[^\W\d_]|[%°$€£]", text) and text not in MISSING]
    return texts if len(texts) > 1 and 2 * len(texts) >= len(above) else []


def joined(names: Sequence[str], below: Sequence[str]) -> list[str]:
    """Return the names with those below them, where one name stands over several columns.

    It does over columns that have no name, or the same again. Empty if none does.
    """
    groups: list[str] = []
    for i, name in enumerate(names):
        groups.append(name or (groups[i - 1] if i and below[i] else ""))
    if len(set(filter(None, groups))) == len([*filter(None, groups)]):
        return []
    wide = {group for group in groups if groups.count(group) > 1}
    pairs = zip(groups, below, strict=False)
    both = [f"{group} {text}".strip() if group in wide else group or text for group, text in pairs]
    return both if len(set(both)) > len(set(groups)) else []


def _groups(
    table: pa.Table, names: Sequence[str], target: str | None
) -> dict[int, pa.ChunkedArray]:
    """Return the first columns whose values stand in the first row of each group, filled down.

    Such a column has a value in the first row, in half of the rows at most, another one each time,
    and in each row where the column before has one.
    """
    found: dict[int, pa.ChunkedArray] = {}
    before = np.zeros(table.num_rows, dtype=bool)
    for i, column in enumerate(table.columns[:-1]):
        empty = pc.equal(pc.utf8_trim_whitespace(column), "")
        filled = ~empty.to_numpy()
        if not (count := int(filled.sum())):
            continue
        if names[i] == target or count < 2 or 2 * count > len(filled) or not filled[0]:
            break
        values = column.filter(pa.array(filled)).to_pylist()
        begins = before[filled][1:]
        again = [a == b for a, b in itertools.pairwise(values)]
        if (before & ~filled).any() or (again & ~begins).any():
            break
        found[i], before = pc.fill_null_forward(pc.if_else(empty, None, column)), filled
    return found


def _sums_at_ends(table: pa.Table) -> tuple[int, int] | None:
    """Return whether the first and the last row add up all others, as 0 and 1; None if none does.

    Such a row is called a sum, or has no name where all others have one. So may a row with a name
    of its own have, and a gap that no other has, whose every number is the sum of the others'.
    """
    columns = [pc.utf8_trim_whitespace(column) for column in table.columns]
    columns = [column for column in columns if pc.any(pc.not_equal(column, "")).as_py()]
    if table.num_rows < 3 or len(columns) < 2:
        return None
    names = columns[0]
    nameless = pc.match_substring_regex(names, _NAMELESS)
    alone = pc.sum(nameless).as_py() == 1
    found = []
    for row in (0, len(names) - 1):
        called = re.match(_SUBTOTAL, names[row].as_py()) or (alone and nameless[row].as_py())
        adds_up = called and any(_sums(columns[1:], row))
        if not called and _is_apart(columns, row):
            adds_up = {*_sums(columns[1:], row)} == {2}
        found.append(int(bool(adds_up)))
    return (found[0], found[1]) if any(found) else None


def _is_apart(columns: Sequence[pa.ChunkedArray], row: int) -> bool:
    """Return whether a row alone has its name, in the first column, and alone has a gap."""
    gaps = [column for column in columns[1:] if not column[row].as_py()]
    alone = any(pc.sum(pc.equal(column, "")).as_py() == 1 for column in gaps)
    return alone and pc.sum(pc.equal(columns[0], columns[0][row])).as_py() == 1


def _sums(columns: Sequence[pa.ChunkedArray], row: int) -> Iterator[int]:
    """Yield for each column of numbers 0, 1 if a row has the sum of all others, 2 if above all."""
    for text in columns:
        if (style := numerals_of(text)) is None:
            continue
        values = style.parse(text).cast(pa.float64()).to_numpy()
        if np.isnan(values[row]):
            continue
        others = np.delete(values, row)
        total = np.nansum(others)
        is_sum = total and np.isclose(values[row], total, rtol=_ROUNDED, atol=0)
        yield 0 if not is_sum else 2 if values[row] > np.nanmax(others) else 1


def _subtotals(table: pa.Table) -> pa.ChunkedArray | None:
    """Return which rows are sums of others; None if none is.

    One is called so in its first cell that is not empty, and has a gap where hardly another row
    has one, or adds up the rows above: a town may be called Total.
    """
    if table.num_columns <= _LEADING - 1:
        return None
    texts = [pc.utf8_trim_whitespace(column) for column in table.columns[:_LEADING]]
    first = pc.coalesce(*[pc.if_else(pc.equal(text, ""), None, text) for text in texts])
    called = pc.fill_null(pc.match_substring_regex(first, _SUBTOTAL), fill_value=False)
    if not (count := pc.sum(called).as_py()) or 2 * count > table.num_rows:
        return None
    gaps, others = None, table.num_rows - count
    for column in table.columns:
        empty = pc.equal(pc.utf8_trim_whitespace(column), "")
        if pc.sum(pc.and_not(empty, called)).as_py() <= _RARELY * others:
            gaps = empty if gaps is None else pc.or_(gaps, empty)
    added = pa.array(_add_up(table.columns, called.to_numpy()))
    found = pc.and_(called, added if gaps is None else pc.or_(gaps, added))
    return found if found is not None and pc.any(found).as_py() else None


def _add_up(columns: Sequence[pa.ChunkedArray], called: np.ndarray[Any, Any]) -> list[bool]:
    """Return for each row whether it is called a sum, and is that of the rows since the last one.

    All of its numbers are.
    """
    found = called.copy()
    ends = np.flatnonzero(called)
    numbers = False
    for column in columns:
        text = pc.utf8_trim_whitespace(column)
        if (style := numerals_of(text)) is None:
            continue
        numbers = True
        values = np.nan_to_num(style.parse(text).cast(pa.float64()).to_numpy())
        for begin, end in zip([-1, *ends[:-1]], ends, strict=True):
            total = values[begin + 1 : end].sum()
            found[end] &= bool(end - begin > 2 and np.isclose(values[end], total, rtol=_ROUNDED))
    return [bool(each and numbers) for each in found]
