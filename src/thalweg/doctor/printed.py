"""Tables that a training printed among other lines: names, and rows of numbers below them."""

import re
from collections.abc import Iterator

__all__ = ["ruled", "tables"]

_COLOR = re.compile(r"\x1b\[[\d;]*m")
_RULED = {"E": "epoch", "#": "step"}  # as spaCy calls them
_LOSS = re.compile(rb"(?m)loss[^\n,;:=]*$")
_NAME = re.compile(r"[^\W\d][\w ./()%-]*")
_COUNT = re.compile(r"(\d+)(?:/\d+)?")  # 3, or 3/20
_LEAST = 2  # rows that make a table


def ruled(content: bytes) -> list[dict[str, str]]:
    """Return the rows of a table with a rule below each name, as spaCy prints it."""
    lines = _lines(content)
    at = next(
        (n for n, line in enumerate(lines) if re.fullmatch(r" *-{3,}( +-{3,}){2,} *", line)), 0
    )
    if not at:
        return []
    ends = [rule.end() for rule in re.finditer("-+", lines[at])]
    places = list(zip([0, *ends], [*ends[:-1], None], strict=False))
    names = [_RULED.get(name, name) for name in (lines[at - 1][a:b].strip() for a, b in places)]
    rows = (line.split() for line in lines[at + 1 :])
    return [dict(zip(names, row, strict=True)) for row in rows if len(row) == len(names)]


def tables(content: bytes) -> list[dict[str, str]]:
    """Return the rows of all tables that have a loss among their names.

    Tabs, bars or several blanks part the names. Warnings may stand between rows, and the names may
    come again; other names end the table, so that a report below it is no part of it. A file that
    begins with names between tabs or bars is a table itself, and no text with one.
    """
    ends = (found.end() for found in _LOSS.finditer(content.lower()))
    spans = ((content.rfind(b"\n", 0, end) + 1, end) for end in ends)
    headers = (span for span in spans if not re.search(rb"[,;:=]", content[slice(*span)]))
    start, end = next(headers, (0, 0))
    if end == 0 or (not content[:start].strip() and re.search(rb"[\t|]", content[start:end])):
        return []
    rows = list(_rows(_lines(content)))
    return rows if len(rows) >= _LEAST else []


def _lines(content: bytes) -> list[str]:
    return _COLOR.sub("", content.decode("utf-8", "replace")).splitlines()


def _rows(lines: list[str]) -> Iterator[dict[str, str]]:
    names: list[str] = []
    for line in lines:
        cells = _cells(line)
        if len(cells) > 1 and all(map(_NAME.fullmatch, cells)):
            names = cells if any("loss" in name.lower() for name in cells) else []
        elif names and (row := _row(names, cells if len(cells) >= len(names) else line.split())):
            yield row


def _cells(line: str) -> list[str]:
    """Return the cells of a line; between tabs or bars they may be empty."""
    mark = next((mark for mark in "\t|" if mark in line), None)
    if mark is None:
        return re.split(" {2,}", line.strip())
    return [cell.strip() for cell in line.strip(" |").split(mark)]


def _row(names: list[str], cells: list[str]) -> dict[str, str]:
    """Return a row by its names, or none: it begins with a count and has some loss."""
    count = _COUNT.fullmatch(cells[0]) if len(cells) >= len(names) else None
    if not count:
        return {}
    row = dict(zip(names, [count[1], *cells[1:]], strict=False))
    losses = (row[name] for name in names if "loss" in name.lower())
    return row if any(re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?|nan|-?inf", x) for x in losses) else {}
