"""Delimited text: CSV and the like, in any dialect, as a table of texts."""

import contextlib
import csv
import io
import itertools
import re
import reprlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from thalweg.checks import count
from thalweg.data.encoding import decoded
from thalweg.data.margins import NUMBER, joined, without_margins
from thalweg.words import argument, listed

__all__ = ["Dialect", "EmptyError", "Layout", "Text", "layout_of", "read", "skipping"]


def skipping() -> str:
    """Return the remedy for bad rows."""
    return f"{argument('skip_bad_rows', value=True)} drops and counts such rows"


_DELIMITERS = (",", ";", "\t", "|")
_SPACES = " "  # stands for any run of spaces and tabs
_UNIT = "\x1f"  # what such runs become
_COMMENTS = ("#", "%", "//", "!")
_HEAD = 1 << 17  # characters by which the dialect of a file is found
_ROWS = 300  # and rows
_TITLES = 50  # the header is in one of so many rows
_QUOTED = re.compile(r'"(?=[^"]*[,;\t|])(?:[^"]|"")*"')  # a line that is one quoted cell
_NUMBERS = re.compile(r"([-+.\d]+ +){3}")  # in one cell: spaces part them
_RULE = re.compile(r"(?m)^[-+=|: ]*-{3}[-+=|: ]*(?:\n|\Z)")  # as of psql, SAP and in Markdown
_BLOCK = 1 << 26  # bytes that PyArrow parses at a time; a row must fit


class EmptyError(ValueError):
    """A text has no row of data."""


@dataclass(frozen=True)
class Dialect:
    """How a delimited text is written. What is None is found by reading.

    Args:
        delimiter: one character, or a space for any run of spaces and tabs.
        encoding: a name that Python knows.
        comment: what a line begins with that is none of the table's.
        header_row: the line of the column names, counted from 1; 0 if there is none.
        columns: that it has.
    """

    delimiter: str | None = None
    encoding: str | None = None
    comment: str | None = None
    header_row: int | None = None
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        words = {r"\t": "\t", "tab": "\t", "space": " "}
        if self.delimiter is not None:
            object.__setattr__(self, "delimiter", words.get(self.delimiter, self.delimiter))
            if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
                raise ValueError(f"delimiter must be one character, got {self.delimiter!r}")
        if self.comment == "":
            raise ValueError("comment must be what a comment line begins with, such as '#', got ''")
        if self.header_row is not None:
            count("header_row", self.header_row, 0)


@dataclass(frozen=True)
class Text:
    """A table of texts.

    Args:
        table: every column as text; a cell that is empty is "".
        dropped: lines of the wrong length that were left out.
        assumed: what was found about its dialect, in words.
        delimiter: that was found.
    """

    table: pa.Table
    dropped: int
    assumed: tuple[str, ...]
    delimiter: str


@dataclass
class Layout:
    """Where the table is in its text."""

    delimiter: str
    quote: str
    comment: str | None
    names: list[str]
    width: int  # of a row
    start: int  # the line of the first row of data, counted from 0
    assumed: list[str] = field(default_factory=list)


def read(content: bytes, dialect: Dialect, *, target: str | None, skip_bad_rows: bool) -> Text:
    r"""Read every column as text. The columns decide later what is a number.

    Args:
        content: of the file.
        dialect: what is known about it.
        target: a column that it has; None if that is not known.
        skip_bad_rows: drop lines of the wrong length.

    Raises:
        ValueError: it is not such a table. The message names the line and a remedy.

    Example:
        >>> text = read(b"a;b\n1;x\n2;y\n", Dialect(), target=None, skip_bad_rows=False)
        >>> text.table.to_pydict(), text.assumed
        ({'a': ['1', '2'], 'b': ['x', 'y']}, ('delimiter ;',))
    """
    text, encoding = decoded(content, dialect.encoding, target)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.isascii():  # marks that cannot be seen; there are some where files were joined
        text = text.replace("\ufeff", "").replace("\u200b", "")
    if not text.strip():
        raise EmptyError("it is empty")
    text, dialect, doubled = _single(_unwrapped(text), dialect)
    layout = layout_of(text, dialect, target)
    layout.assumed += doubled
    table, ragged = _rows(text, layout, target)
    table, ragged, said = without_margins(table, ragged, layout.names, target)
    layout.assumed += said
    if ragged and not skip_bad_rows:
        raise ValueError(_ragged(text, layout, ragged[0]))
    if encoding not in ("UTF-8", dialect.encoding):
        layout.assumed.insert(0, f"encoding {encoding}")
    if target is not None and layout.names.count(target) > 1:
        raise ValueError(f"two columns have the name {target!r} of the target; rename one")
    if (lacking := layout.width - len(layout.names)) > 1:
        raise ValueError(
            f"line {layout.start}: {layout.width} values stand below {len(layout.names)} names, "
            f"and nobody knows which {lacking} have none; name all columns there, or give "
            f"{argument('header_row', 0)}: they are then called column1, column2, ..."
        )
    table = _titled(table, layout)
    return Text(table, len(ragged), tuple(layout.assumed), layout.delimiter)


def _rows(text: str, layout: Layout, target: str | None) -> tuple[pa.Table, list[Any]]:
    """Return the rows of the right length, and the others."""
    body = _body(text, layout)
    table, ragged = _parsed(body, layout, target)
    apart = ragged or len(layout.names) < layout.width
    if apart and layout.delimiter == _SPACES and (fixed := _fixed(text, layout)):
        body = fixed
        table, ragged = _parsed(body, layout, target)
        layout.assumed.append("columns of fixed width")
    if ragged and (above := _above_another(body, table, ragged)):
        body = above
        table, last = _parsed(body, layout, target)
        below = len(ragged) - len(last)
        layout.assumed.append(f"the last {below} lines left out: of another length, below a blank")
        ragged = last
    if at := _open_quote(table, ragged, layout, body):
        if literal := _literal(body, layout, target):
            return literal, []
        raise ValueError(at)
    return table, ragged


def _titled(table: pa.Table, layout: Layout) -> pa.Table:
    """Return the table with names: a blank one of an empty column is a delimiter that ends lines.

    Raises:
        ValueError: two or more columns have no place in the header.
    """
    full = [bool(pc.any(pc.not_equal(column, "")).as_py()) for column in table.columns]
    if len(layout.names) < layout.width:
        # a delimiter ends every line, or the names of rows have no name, as R writes them
        layout.names = ["", *layout.names] if full[-1] else [*layout.names, ""]
        if full[-1]:
            layout.assumed.append("names of rows in the first column, which has no name")
    names = _unnamed(layout.names)
    if twice := [new for old, new in zip(layout.names, names, strict=True) if old and new != old]:
        layout.assumed.append(f"second columns of a name called {listed(twice, 3)}")
    kept = [i for i, name in enumerate(layout.names) if name or full[i]]
    return table.select(kept).rename_columns([names[i] for i in kept])


def _single(text: str, dialect: Dialect) -> tuple[str, Dialect, list[str]]:
    """Return a text whose lines have as many double colons with one character in their place."""
    first = {line.count("::") for line in text.split("\n", _TITLES)[:_TITLES] if line}
    if dialect.delimiter is not None or len(first) > 1 or 0 in first:
        return text, dialect, []
    return text.replace("::", _UNIT), replace(dialect, delimiter=_UNIT), ["delimiter ::"]


def _unwrapped(text: str) -> str:
    """Return a text without the quotes around each whole line, as of a CSV saved twice."""
    first = text.split("\n", _TITLES)[:_TITLES]
    if not all(_QUOTED.fullmatch(line) for line in first if line):
        return text
    return "\n".join(
        line[1:-1].replace('""', '"') if _QUOTED.fullmatch(line) else line
        for line in text.split("\n")
    )


def layout_of(text: str, dialect: Dialect, target: str | None) -> Layout:
    """Find the delimiter, the quote, comments, titles and the header."""
    head = text[:_HEAD]
    if len(text) > _HEAD and "\n" in head:
        head = head[: head.rindex("\n")]
    lines = head.split("\n")
    assumed = []
    first = 0
    delimiter = dialect.delimiter
    if found := re.fullmatch(r'"?sep=(.)"?', lines[0]):  # Excel's
        first, delimiter = 1, delimiter or found[1]
    comment = dialect.comment or _comment_of(lines[first:], target)
    body = [
        (number, line)
        for number, line in enumerate(lines[first:], first)
        if line.strip() and not (comment and line.startswith(comment))
    ]
    tried = [delimiter] if delimiter else [*_DELIMITERS, _SPACES]
    ways = [_Way.of(body, each, target) for each in tried]
    best = max(ways, key=lambda way: way.rank)
    if best.width < 2 and not (delimiter and best.width):
        raise ValueError(
            "it must begin with a line of two or more column names between commas, semicolons, "
            f"tabs, bars or spaces, got {reprlib.repr(lines[first])}; name another with "
            f"{argument('delimiter')}"
        )
    names, start = _header(best, lines, dialect.header_row, target, comment)
    names, said = _below_groups(best, names, start)
    assumed += said
    if best.delimiter != "," and dialect.delimiter is None:
        shown = {"\t": "tab", " ": "spaces"}.get(best.delimiter, best.delimiter)
        assumed.append(f"delimiter {shown}")
    if best.quote != '"':
        assumed.append(f"quote {best.quote}")
    if comment and dialect.comment is None:
        assumed.append(f"lines that begin with {comment} are comments")
    if names is None:
        names = [f"column{i + 1}" for i in range(best.width)]
        if dialect.header_row is None:
            assumed.append(f"no header, so that columns are called {names[0]} to {names[-1]}")
    elif start > first + 1 and dialect.header_row is None and start - 1 != body[0][0]:
        assumed.append(f"header in line {start}")
    return Layout(
        best.delimiter, best.quote, comment, names, max(best.width, len(names)), start, assumed
    )


def _comment_of(lines: Sequence[str], target: str | None) -> str | None:
    """Return the mark of a comment with which the first line begins, if it does.

    A mark that is a cell by itself is the name of a column, as # is of row numbers; so is a target
    that begins with one.
    """
    first = next((line for line in lines if line.strip()), "")
    found = next((mark for mark in _COMMENTS if first.startswith(mark)), None)
    if found is None or first[len(found) :].startswith(_DELIMITERS):
        return None
    named = target is not None and target.startswith(found) and first.startswith(target)
    return None if named else found


@dataclass(frozen=True)
class _Way:
    """The first rows, read with one delimiter."""

    delimiter: str
    quote: str
    rows: list[tuple[int, list[str]]]  # the line after each, and its cells
    width: int
    rank: tuple[bool, bool, bool, float, int]

    @classmethod
    def of(cls, body: Sequence[tuple[int, str]], delimiter: str, target: str | None) -> "_Way":
        rows, quote = _split(body, delimiter, '"'), '"'
        cells = [cell for _, row in rows for cell in row if cell]
        single = sum(len(cell) > 1 and cell[0] == cell[-1] == "'" for cell in cells)
        if 2 * single > len(cells):
            rows, quote = _split(body, delimiter, "'"), "'"
        counts = Counter(len(row) for _, row in rows)
        width = max(counts, key=lambda count: (counts[count], count), default=0)
        share = counts[width] / len(rows) if width > 1 else 0.0
        titled = target is not None and any(target in row for _, row in rows[:_TITLES])
        spaced = sum(any(map(_NUMBERS.match, row)) for _, row in rows) if delimiter == "\t" else 0
        parted = width > 1 and 2 * spaced <= len(rows)
        rank = (titled and parted, share >= 0.5, delimiter != _SPACES and parted, share, width)
        return cls(delimiter, quote, rows, width, rank)


def _split(
    body: Sequence[tuple[int, str]], delimiter: str, quote: str
) -> list[tuple[int, list[str]]]:
    """Return the first rows: the number of the line after each, and its stripped cells."""
    lines = [_tabbed(line) if delimiter == _SPACES else line for _, line in body]
    delimiter = _UNIT if delimiter == _SPACES else delimiter
    reader = csv.reader(
        (line + "\n" for line in lines), delimiter=delimiter, quotechar=quote,
        skipinitialspace=delimiter != "\t",
        escapechar="\\" if any('\\"' in line for line in lines) else None,
    )  # fmt: skip
    rows: list[tuple[int, list[str]]] = []
    with contextlib.suppress(csv.Error):  # PyArrow judges what follows
        rows.extend(
            (body[reader.line_num - 1][0] + 1, [cell.strip() for cell in row])
            for row in itertools.islice(reader, _ROWS)
        )
    return rows


def _tabbed(text: str) -> str:
    """Replace every run of spaces and tabs outside quotes by one character."""
    text = re.sub(r"(?m)^[ \t]+|[ \t]+$", "", text)
    if '"' in text:
        return re.sub(r'("[^"\n]*")|[ \t]+', lambda found: found[1] or _UNIT, text)
    return re.sub(r"[ \t]+", _UNIT, text)


def _header(
    way: _Way, lines: Sequence[str], given: int | None, target: str | None, comment: str | None
) -> tuple[list[str] | None, int]:
    """Return the column names, None if the file has none, and the line where the data begin."""
    width = way.width
    rows = [(n, row[:width] if not any(row[width:]) else row) for n, row in way.rows]
    if given:
        after, names = next(((n, row) for n, row in rows if n >= given), (0, []))
        if after != given:
            raise ValueError(f"header_row {given} holds no column names")
        return names, after
    wide = [
        (n, row) for n, row in rows[:_TITLES]
        if len(row) in (width, width - 1)
        # in a text of fixed width, names part into fewer words than values with spaces in them
        or (way.delimiter == _SPACES and target in row and _is_title(row, target, rows))
    ]  # fmt: skip
    full = [(n, row) for n, row in wide if 2 * sum(map(bool, row)) > len(row)] or wide
    if given is None:
        for after, row in wide:
            top = row is wide[0][1] and not (target in _numbers(row) and _is_data(row))
            if target in row and (top or _is_title(row, target, rows)):
                return row, after
        after, row = full[0]
        if hidden := _commented(way, lines, row, after, comment):
            return hidden, after - 1
        if len(row) == width - 1 or not _is_data(row):
            return row, after
    first = next((n for n, row in full if len(row) == width), full[0][0])
    return None, first - 1


def _below_groups(
    way: _Way, names: list[str] | None, start: int
) -> tuple[list[str] | None, list[str]]:
    """Return names that come again, such as Q1, joined to those in the row above, and say so."""
    known = [name for name in names or [] if name]
    above = [row for line, row in way.rows if line < start]
    if names is None or len({*known}) == len(known) or [*map(len, above[-1:])] != [len(names)]:
        return names, []
    both = joined(above[-1], names)
    known = [name for name in both if name]
    if not both or len({*known}) < len(known):
        return names, []
    return both, [f"names of two rows joined: {listed(both, 3)}"]


def _is_title(
    row: Sequence[str], target: str | None, rows: Sequence[tuple[int, list[str]]]
) -> bool:
    """Return whether a row below the first that has the target names columns, and is no data."""
    often = sum(target in other for _, other in rows)
    return often == 1 and not _is_data(row)


def _commented(
    way: _Way, lines: Sequence[str], row: list[str], after: int, comment: str | None
) -> list[str] | None:
    """Return the names in a header that is a comment, such as #chrom."""
    before = lines[after - 2] if after > 1 else ""
    if comment is None or not before.startswith(comment) or not _is_data(row):
        return None
    (_, names), *_ = _split([(0, before.removeprefix(comment).lstrip())], way.delimiter, way.quote)
    return names if len(names) == way.width and not _is_data(names) else None


def _is_data(row: Sequence[str]) -> bool:
    """Return whether a row has a number; years and 0, 1, 2, ... may be names."""
    numbers = _numbers(row)
    if not numbers:
        return False
    if all(number.isdigit() for number in numbers) and len(numbers) > 1:
        values = [int(number) for number in numbers]
        steps = set(np.diff(values).tolist())
        in_a_row = len(steps) == 1 and steps <= {1, 5, 10}
        if in_a_row and (values[0] < 2 or 1900 <= values[0] <= 2100):
            return False
    return True


def _numbers(row: Sequence[str]) -> list[str]:
    return [cell for cell in row if NUMBER.fullmatch(cell)]


def _fixed(text: str, layout: Layout) -> str | None:
    """Return the rows of a text whose columns are as wide in every line; None if it is none.

    A blank cell is then no run of spaces. The places that are blank in all lines part the columns,
    of which there must be as many as names.
    """
    lines = [line for line in text.split("\n")[max(layout.start - 1, 0) :] if line.strip()]
    rows = lines[1:] if layout.start else lines
    for seen in (rows, lines):  # a name may be wider than its values, or they all be blank
        spans = [] if "\t" in text else _spans(seen)
        if len(spans) == len(layout.names):
            layout.width = len(spans)
            return "\n".join(_UNIT.join(row[a:b].strip() for a, b in spans) for row in rows)
    return None


def _spans(lines: Sequence[str]) -> list[tuple[int, int]]:
    """Return where the places begin and end that are not blank in all lines."""
    letters = np.array(lines, dtype=np.str_).view("U1").reshape(len(lines), -1)
    filled = ((letters != " ") & (letters != "")).any(axis=0)
    ends = np.flatnonzero(np.diff(filled.astype(np.int8), prepend=0, append=0)).tolist()
    return list(zip(ends[::2], ends[1::2], strict=True))


def _body(text: str, layout: Layout) -> str:
    """Return the rows of data, without comments and as PyArrow reads them."""
    at = 0
    for _ in range(layout.start):
        at = text.find("\n", at) + 1
        if not at:
            return ""
    body = text[at:]
    if _RULE.match(body):
        body = re.sub(_RULE, "", body)
    if layout.comment:
        body = re.sub(rf"(?m)^{re.escape(layout.comment)}.*\n?", "", body)
    if layout.delimiter == _SPACES:
        return _tabbed(body)
    if layout.delimiter != "\t":  # a space may follow a delimiter and precede a quote
        mark, quote = re.escape(layout.delimiter), layout.quote
        body = re.sub(rf"{mark}[ ]+{quote}", layout.delimiter + quote, body)
    return body


def _no_rows(layout: Layout, target: str | None) -> str:
    """Return the sentence about a text without rows, which may have its names in a column."""
    if target is None or layout.names[0] != target or layout.start < 2:
        return "it has no rows of data"
    return (
        f"its last line begins with {target!r}; if the names stand in the first column, turn the "
        "table with pandas: read_csv(FILE, index_col=0, header=None).T.to_csv(NEW, index=False)"
    )


def _parsed(body: str, layout: Layout, target: str | None) -> tuple[pa.Table, list[Any]]:
    """Parse the rows; return those of the right length, and the others."""
    if not body.strip("\n "):
        raise EmptyError(_no_rows(layout, target))
    ragged: list[Any] = []
    comments: list[Any] = []

    def note(row: Any) -> str:  # noqa: ANN401 - pyarrow has no types
        (comments if row.text.lstrip().startswith(_COMMENTS) else ragged).append(row)
        return "skip"

    delimiter = _UNIT if layout.delimiter == _SPACES else layout.delimiter
    names = [str(i) for i in range(layout.width)]
    content = body.encode()
    table = pyarrow.csv.read_csv(
        pa.BufferReader(content),
        # in one thread, else rows have no number
        read_options=pyarrow.csv.ReadOptions(
            use_threads=False, column_names=names, block_size=min(len(content) + 1, _BLOCK)
        ),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=delimiter, quote_char=layout.quote or False, newlines_in_values=True,
            escape_char="\\" if '\\"' in body[:_HEAD] else False, invalid_row_handler=note,
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.large_string()), strings_can_be_null=False
        ),
    )  # fmt: skip
    if comments:
        mark = comments[0].text.lstrip()[0]
        layout.assumed.append(f"{len(comments)} comments that begin with {mark} left out")
    return table, ragged


def _above_another(body: str, table: pa.Table, ragged: Sequence[Any]) -> str | None:
    """Return the rows above a blank line below which all have another length; None if some have.

    There the table ends, and another one begins, as in the files of instruments.
    """
    count = table.num_rows + len(ragged)
    last = [row for i, row in enumerate(reversed(ragged)) if row.number == count - i]
    for row in reversed(last[1:]):  # one row alone may be a damaged one
        first = row.text.split("\n")[0].rstrip("\r")
        if (at := body.rfind(f"\n\n{first}\n")) > 0:
            return body[: at + 1]
    return None


def _literal(body: str, layout: Layout, target: str | None) -> pa.Table | None:
    """Return the rows with quotes as they stand, if tabs alone part all lines rightly."""
    if layout.delimiter != "\t":
        return None
    table, ragged = _parsed(body, replace(layout, quote=""), target)
    if ragged:
        return None
    layout.assumed.append("quotes taken as they stand, for some are open")
    around = [pc.replace_substring_regex(each, '^"([^"]*)"$', r"\1") for each in table.columns]
    return pa.table(around, names=table.column_names)


def _open_quote(table: pa.Table, ragged: Sequence[Any], layout: Layout, body: str) -> str | None:
    """Return the sentence about an open quote: nobody knows how many of the rows in it are bad.

    A value may hold rows if one of its lines has the delimiters of a row, or its ends have
    together. It does if all its lines have, or if what follows a quote follows no closing one.
    """
    ends = ((row.number, row.text.strip().count("\n")) for row in ragged)
    found = [(row, breaks, True) for row, breaks in ends if breaks]
    for column in table.columns:
        for i in np.flatnonzero(pc.count_substring(column, "\n").to_numpy()):
            first, *inner = column[i].as_py().strip("\r\n").split("\n")
            lines = [first + inner.pop(), *inner] if inner else []
            rows = [line.count(layout.delimiter) == table.num_columns - 1 for line in lines]
            if any(rows):
                row = int(i) + 1
                for each in ragged:  # rows that the table does without
                    row += each.number <= row
                found.append((row, len(lines), len(rows) > 1 and all(rows)))
    if not found or (not any(sure for *_, sure in found) and _is_strict(body, layout)):
        return None
    row, breaks, _ = min(found)
    return (
        f"row {row}: a quote that is not closed on its line makes one row of {breaks + 1} lines; "
        "close it, or take the line breaks out of the text"
    )


def _is_strict(body: str, layout: Layout) -> bool:
    """Return whether every quote that opens a value closes it."""
    delimiter = _UNIT if layout.delimiter == _SPACES else layout.delimiter
    reader = csv.reader(
        io.StringIO(body, newline=""), delimiter=delimiter, quotechar=layout.quote, strict=True,
        escapechar="\\" if '\\"' in body[:_HEAD] else None,
    )  # fmt: skip
    try:
        return all(True for _ in reader)
    except csv.Error:
        return False


def _ragged(text: str, layout: Layout, row: Any) -> str:  # noqa: ANN401 - pyarrow has no types
    """Return the sentence about a row of the wrong length, with its line in the file."""
    line = next(
        (number for number, found in enumerate(_lines(text), 1)
         if number > layout.start and found.strip() == row.text.strip().split("\n")[0]),
        row.number + layout.start,
    )  # fmt: skip
    return (
        f"line {line}: expected {layout.width} values as in the header, got "
        f"{row.actual_columns} ({skipping()})"
    )


def _lines(text: str) -> Iterator[str]:
    return (line.rstrip("\n") for line in io.StringIO(text))


def _unnamed(names: Sequence[str]) -> list[str]:
    """Return the names as pandas does: a blank one by its position, a second one with a number."""
    found: list[str] = []
    for i, name in enumerate(names):
        called, times = name or f"Unnamed: {i}", 0
        while called in found:
            times += 1
            called = f"{name}.{times}"
        found.append(called)
    return found
