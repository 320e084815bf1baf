"""Files in: CSV, Parquet and Feather to a data set, every bad value named or counted."""

import csv
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset
from numpy.typing import NDArray

from thalweg.data.dataset import MAX_VALUES, Dataset
from thalweg.data.named import names
from thalweg.words import closest, listed

__all__ = ["load"]

_FORMATS = {".csv": "CSV", ".parquet": "Parquet", ".feather": "Feather"}
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_INTEGER = r"^-?\d{1,18}$"  # 18 digits always fit into 64 bits
_MEANT = r"^[+-]?(\d[\d,]*\.?\d*|\.\d+)([eE][+-]?\d+)?$"  # also 1,5 and 1,500.00: to be refused
_BOOLEAN = r"^(true|True|TRUE|false|False|FALSE)$"
_REMEDY = "(use --skip-bad-rows to drop such rows and count them)"
_SHOWN = 30  # columns in a message: a table may have thousands


def load(path: Path, *, target: str | None, skip_bad_rows: bool, kind: str | None) -> Dataset:
    """Read a file; ``thalweg.data.load`` says how."""
    table, ragged = _read(path, skip_bad_rows=skip_bad_rows)
    columns = table.column_names
    if table.num_rows == 0:
        raise ValueError(f"{path} has no rows of data")
    if target is None:
        raise ValueError(
            f"{path} needs a target (--target COL); its columns are: {listed(columns, _SHOWN)}"
        )
    if target not in columns:
        hint = closest(target, columns)
        raise ValueError(
            f"{path} has no column {target!r}; {hint and hint + ' '}"
            f"its columns are: {listed(columns, _SHOWN)}"
        )
    if len(columns) == 1:
        raise ValueError(f"{path} has no column beside the target {target!r}")
    typed, dropped = _good_rows(table, skip_bad_rows=skip_bad_rows)
    blocks = [_features(name, typed[name]) for name in columns if name != target]
    return Dataset.from_arrays(
        np.concatenate([block for _, block in blocks], axis=1),
        typed[target].to_numpy(),
        name=path.stem,
        kind=kind,
        features=tuple(name for names, _ in blocks for name in names),
        target=target,
        source=str(path),
        dropped=dropped + ragged,
    )


def _read(path: Path, *, skip_bad_rows: bool) -> tuple[pa.Table, int]:
    """Return the table as it stands in the file and how many ragged lines it does without."""
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None and not path.exists():
        hint = closest(str(path), names())
        raise ValueError(
            f"unknown data set {str(path)!r}; {hint and hint + ' '}give one of "
            f"{', '.join(names())}, or a path to a .csv/.parquet/.feather file"
        )
    if kind is None:
        raise ValueError(f"cannot read {path}: its name must end in .csv, .parquet or .feather")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        if kind == "CSV":
            table, ragged = _read_csv(path, skip_bad_rows=skip_bad_rows)
        else:
            table, ragged = pyarrow.dataset.dataset(path, format=kind.lower()).to_table(), 0
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        encoding = " in UTF-8" if kind == "CSV" else ""
        raise ValueError(f"{path} cannot be read as {kind}{encoding}: {reason}") from None
    _check_names(path, table.column_names)
    return table, ragged


def _read_csv(path: Path, *, skip_bad_rows: bool) -> tuple[pa.Table, int]:
    """Read every column as text, so that this module decides what is a number."""
    header, delimiter = _header(path)
    _check_names(path, header)
    ragged = []

    def note(row: Any) -> str:  # noqa: ANN401 - pyarrow has no types
        ragged.append(row)
        return "skip"

    read = pyarrow.csv.read_csv(
        path,
        read_options=pyarrow.csv.ReadOptions(use_threads=False),  # else rows have no number
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.large_string()), strings_can_be_null=True
        ),
    )
    table = read.rename_columns([name.strip() for name in header])
    _check_quotes(table, ragged, delimiter)
    if ragged and not skip_bad_rows:
        raise ValueError(
            f"row {ragged[0].number - 1}: expected {len(header)} values as in the header, got "
            f"{ragged[0].actual_columns} {_REMEDY}"
        )
    return table, len(ragged)


def _check_quotes(table: pa.Table, ragged: Sequence[Any], delimiter: str) -> None:
    """Refuse an open quote: whole rows are in its value, and how many are bad cannot be said.

    A value holds rows if one of its lines has the delimiters of a row, or its ends have together.
    """
    found = [(row.number - 1, row.text.strip().count("\n")) for row in ragged]
    for column in table.columns:
        for i in np.flatnonzero(pc.count_substring(column, "\n").fill_null(0).to_numpy()):
            first, *inner = column[i].as_py().strip("\r\n").split("\n")
            lines = [first + inner.pop(), *inner] if inner else []
            if any(line.count(delimiter) == table.num_columns - 1 for line in lines):
                row = int(i) + 1
                for each in ragged:  # rows that the table does without
                    row += each.number - 1 <= row
                found.append((row, len(lines)))
    row, breaks = min((each for each in found if each[1]), default=(0, 0))
    if breaks:
        raise ValueError(
            f"row {row}: a quote that is not closed on its line makes one row of {breaks + 1} "
            "lines; close it, or take the line breaks out of the text"
        )


def _header(path: Path) -> tuple[list[str], str]:
    """Return the column names and the delimiter, the first of ``,`` ``;`` tab that parts them."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        for delimiter in ",;\t":
            file.seek(0)
            header = next(csv.reader(file, delimiter=delimiter), [])
            if len(header) > 1 and next(file, None) is None:
                raise ValueError(f"{path} has no rows of data")
            if len(header) > 1:
                return header, delimiter
    raise ValueError(
        f"{path} must begin with a line of two or more column names between commas, semicolons or "
        f"tabs, got {reprlib.repr(''.join(header))}"
    )


def _check_names(path: Path, columns: Sequence[str]) -> None:
    stripped = [name.strip() for name in columns]
    for i, name in enumerate(stripped):
        if not name:
            raise ValueError(
                f"{path}: column {i + 1} has no name; name it, or leave it out if it only counts "
                "the rows"
            )
        if name in stripped[:i]:
            raise ValueError(f"{path}: two columns have the name {name!r}; rename one")


def _good_rows(table: pa.Table, *, skip_bad_rows: bool) -> tuple[pa.Table, int]:
    """Return the typed table without its bad rows and their number, or name the first of them."""
    typed = pa.table({name: _typed(name, table[name]) for name in table.column_names})
    bad = np.zeros(typed.num_rows, dtype=bool)
    for name in typed.column_names:
        bad |= _bad(typed[name])
    if not bad.any():
        return typed, 0
    if skip_bad_rows:
        return typed.filter(pa.array(~bad)), int(bad.sum())
    row = int(bad.argmax())
    name = next(name for name in typed.column_names if _bad(typed[name].slice(row, 1))[0])
    value = table[name][row].as_py()
    if str(value).strip() in ("None", "nan", ""):
        what = "the value is missing"
    elif typed[name][row].as_py() is None:
        what = f"{reprlib.repr(value)} is not a number"  # an open quote makes it long
    else:
        what = f"{value} is not finite"
    raise ValueError(f"column {name!r} row {row + 1}: {what} {_REMEDY}")


def _bad(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    finite = pa.types.is_floating(column.type)
    good = pc.is_finite(column) if finite else column.is_valid()
    bad: NDArray[np.bool_] = ~pc.fill_null(good, fill_value=False).to_numpy()
    return bad


def _typed(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the column as booleans, integers, float64 or text; what does not fit becomes null."""
    kind = column.type
    categorical = pa.types.is_dictionary(kind)  # its writer said so
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()
    if categorical or text:
        column = _text(column)
    if column.null_count == len(column):
        raise ValueError(f"column {name!r} has no values; leave it out")
    if text:
        return _parsed(column)
    if categorical or pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return column
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64(), safe=False)
    raise ValueError(
        f"column {name!r} has the type {kind}; make it numbers or text, or leave it out"
    )


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    text = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
    return pc.if_else(pc.equal(text, ""), None, text)


def _parsed(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return booleans if all values are, numbers if more than half are meant so, else the text."""

    def matches(pattern: str) -> tuple[pa.ChunkedArray, int]:
        found = pc.match_substring_regex(text, pattern)
        return found, pc.sum(found).as_py() or 0

    present = len(text) - text.null_count
    if matches(_BOOLEAN)[1] == present:
        return pc.equal(pc.utf8_lower(text), "true")
    if 2 * matches(_MEANT)[1] <= present:
        return text
    is_number, numbers = matches(_NUMBER)
    integers = matches(_INTEGER)[1] == numbers
    return pc.if_else(is_number, text, None).cast(pa.int64() if integers else pa.float64())


def _features(name: str, column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.float64]]:
    """Return the names and the values (n, k) of a column's features: k = 1 but for text."""
    if not pa.types.is_large_string(column.type):
        return [name], column.cast(pa.float64(), safe=False).to_numpy()[:, None]
    values = sorted(pc.unique(column).to_pylist())
    if len(values) > MAX_VALUES:
        raise ValueError(
            f"column {name!r} has {len(values)} distinct texts and at most {MAX_VALUES} can be "
            "categories; group its values or leave it out"
        )
    codes = pc.index_in(column, value_set=pa.array(values, pa.large_string())).to_numpy()
    return [f"{name}={value}" for value in values], np.eye(len(values))[codes]
