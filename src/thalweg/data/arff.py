"""ARFF, Weka's format, dense and sparse: as a table of numbers, categories and texts."""

import re
from typing import Any

import pyarrow as pa

from thalweg.data.encoding import decoded

__all__ = ["read"]

_WORD = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s,{}'"%][^\s,{}]*"""
_ATTRIBUTE = re.compile(rf"(?im)^\s*@attribute\s+({_WORD})\s+(.+?)\s*$")
_DATA = re.compile(r"(?im)^\s*@data\b.*$")
_CELL = re.compile(
    r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,\t'"](?:[^,\t]*[^,\s])?|)\s*(?:[,\t]|$)"""
)
_NUMBERS = ("numeric", "real", "integer")


def read(content: bytes) -> pa.Table:
    r"""Return the columns: float64, dictionaries of words, and texts of strings and dates.

    In a sparse row what is not there is 0, and of words the first that the attribute names.

    Raises:
        ValueError: it is not such a file; the message names the row.

    Example:
        >>> header = b"@relation r\n@attribute a numeric\n@attribute b {'x y',z}\n@data\n"
        >>> read(header + b"1,'x y'\n{1 z}").to_pydict()
        {'a': [1.0, 0.0], 'b': ['x y', 'z']}
    """
    text, _ = decoded(content)
    header, *rest = _DATA.split(text, maxsplit=1)
    attributes = [(_bare(name), kind) for name, kind in _ATTRIBUTE.findall(header)]
    if not rest or not attributes:
        raise ValueError("it has no @attribute or no @data")
    kinds = [kind for _, kind in attributes]
    absent = [_absent(kind) for kind in kinds]
    lines = (line.strip() for line in rest[0].splitlines())
    rows = [
        _row(line, number, absent)
        for number, line in enumerate((line for line in lines if line and line[0] != "%"), 1)
    ]
    columns = zip(*rows, strict=True) if rows else [()] * len(kinds)
    arrays = [_column(cells, kind) for cells, kind in zip(columns, kinds, strict=True)]
    return pa.table(arrays, names=[name for name, _ in attributes])


def _bare(word: str) -> str:
    """Return a word without the quotes around it."""
    return re.sub(r"\\(.)", r"\1", word[1:-1]) if word[:1] in ("'", '"') else word


def _absent(kind: str) -> str:
    """Return the value of an attribute that a sparse row leaves out."""
    first = re.search(_WORD, kind) if kind.startswith("{") else None
    return _bare(first[0]) if first else "0"


def _row(line: str, number: int, absent: list[str]) -> list[str | None]:
    """Return the cells of a row, None where one is missing."""
    sparse = line.startswith("{")
    inside = line.strip("{} ") if sparse else line.rstrip(",")
    found, end = [], 0
    while end < len(inside) and (cell := _CELL.match(inside, end)):
        found.append(cell[1])
        end = cell.end()
    if end < len(inside):
        raise ValueError(f"row {number}: a quote in {line[:40]!r} is not closed")
    if not sparse:
        if len(found) != len(absent):
            raise ValueError(f"row {number}: expected {len(absent)} values, got {len(found)}")
        return [None if cell == "?" else _bare(cell) for cell in found]
    row: list[str | None] = list(absent)
    for pair in found:
        place, _, value = pair.partition(" ")
        if not place.isdigit() or int(place) >= len(row):
            raise ValueError(f"row {number}: {pair!r} is no attribute's number and value")
        row[int(place)] = None if value.strip() == "?" else _bare(value.strip())
    return row


def _column(cells: tuple[str | None, ...], kind: str) -> Any:  # noqa: ANN401 - PyArrow has no types
    texts = pa.array(cells, pa.large_string())
    if kind.lower() in _NUMBERS:
        return texts.cast(pa.float64())
    return texts.dictionary_encode() if kind.startswith("{") else texts
