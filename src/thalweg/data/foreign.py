"""Foreign formats: what pandas, SciPy, NumPy, PyArrow and SQLite read, as a table or as CSV."""

import contextlib
import importlib.util
import io
import json
import re
import sqlite3
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.data import arff
from thalweg.data.encoding import decoded
from thalweg.words import listed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ARFF", "JSON", "is_whole", "read", "sheet"]

_ENGINES = {  # what pandas reads a spreadsheet with, by a part of it, and its package
    "xl/workbook.xml": ("openpyxl", "openpyxl"),
    "xl/workbook.bin": ("pyxlsb", "pyxlsb"),
    "content.xml": ("odf", "odfpy"),
}
_OLD_EXCEL = b"\xd0\xcf\x11\xe0"
_HEAD = 1 << 16  # bytes by which a file is told
_LINES = 20  # by which lines of key=value are told
_MERGED = re.compile(b"<mergeCell ")
_UNCOMPUTED = re.compile(rb"</f>(?:<v ?/>|<v></v>)?</c>")
_SAVED = "which Excel or LibreOffice computes as it opens and saves the file"
_TITLES = 50  # rows of a sheet in which the column names are sought
JSON = re.compile(rb"\s*(\{\s*\"|\[\s*[\[{]|\[\"[^\n]*\]\s*\n\s*\[)")
_PAIR = re.compile(r'([A-Za-z_][\w.-]*)=("[^"]*"|[^\s"]*)')
_ONE = rb'[A-Za-z_][\w.-]*=(?:"[^"\n]*"|[^\s"]*)[,;]?'
_PAIRS = re.compile(  # behind a time and a level, as in logs, or alone
    rb'[ \t]*(?P<before>(?:[^\s="]+[ \t]+){0,8})%s(?:[ \t]+%s)+[ \t\r]*' % (_ONE, _ONE)
)
ARFF = re.compile(rb"(?im)^\s*@relation\b")


def is_whole(content: bytes) -> bool:
    """Return whether a zip archive is one file to its reader: a workbook, or NumPy's arrays."""
    return _engine(content) is not None or _is_npz(content)


def sheet(content: bytes, known: Sequence[str]) -> tuple[bytes, str] | None:
    """Return a sheet of a spreadsheet as CSV, and its name if there are more.

    It is the longest of those that have the known columns, or else of all.

    Args:
        content: of a file.
        known: names of columns that it has.

    Returns:
        None if it is no spreadsheet.

    Raises:
        ValueError: there is no package that reads it, or it is broken.
    """
    engine = _engine(content)
    if engine is None:
        return None
    import pandas as pd  # noqa: PLC0415 - takes a second to load

    module, package = engine
    if importlib.util.find_spec(module) is None:
        raise ValueError(
            f"it is a spreadsheet, which {package} reads: pip install {package}, or save it as CSV"
        )
    try:
        merged, formulas = _marks(content)
        how = {"read_only": False} if merged else None  # else openpyxl passes them over
        with pd.ExcelFile(io.BytesIO(content), engine=module, engine_kwargs=how) as file:
            frames: dict[str, Any] = pd.read_excel(
                file, None, header=None, dtype=object, na_filter=False
            )
            filled_down = {
                name for name, frame in frames.items()
                if merged and _fill_merged(frame, file.book[name].merged_cells.ranges)
            }  # fmt: skip
    except Exception as error:  # noqa: BLE001 - a library raises what it likes of bytes
        raise ValueError(f"it cannot be read as a spreadsheet: {error}; save it as CSV") from None
    filled = {name: frame for name, frame in frames.items() if frame.shape[0] > 1}
    if not filled:
        raise ValueError("none of its sheets has rows of data")
    tops = {name: set(frame.iloc[:_TITLES].to_numpy().ravel()) for name, frame in filled.items()}
    has = [name for name, top in tops.items() if known and top.issuperset(known)]
    name = max(has or filled, key=lambda n: len(filled[n]))
    said = [f"sheet {name} of {listed(list(frames), 3)}"] * (len(frames) > 1)
    said += ["merged cells filled down"] * (name in filled_down)
    said += [f"formulas without values, {_SAVED}"] * formulas
    return filled[name].to_csv(index=False, header=False).encode(), "; ".join(said)


def _marks(content: bytes) -> tuple[bool, bool]:
    """Return whether cells of a workbook of Excel's are merged, and formulas have no values."""
    names = [name for name in _inside(content) if re.fullmatch(r"xl/worksheets/[^/]+\.xml", name)]
    if not names:
        return False, False
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sheets = [archive.read(name) for name in names]
    return tuple(any(map(mark.search, sheets)) for mark in (_MERGED, _UNCOMPUTED))  # type: ignore[return-value] # two of them


def _fill_merged(frame: "pd.DataFrame", ranges: Any) -> bool:  # noqa: ANN401 - openpyxl's
    """Write what cells that are merged from top to bottom hold into each of them, if some are."""
    tall = [place for place in ranges if place.max_row > place.min_row]
    for place in tall:
        rows, column = slice(place.min_row - 1, place.max_row), place.min_col - 1
        frame.iloc[rows, column] = frame.iloc[place.min_row - 1, column]
    return bool(tall)


def read(content: bytes, known: Sequence[str]) -> tuple[pa.Table, str] | None:
    """Return the columns of a file, and what was assumed; None if the format is another.

    Args:
        content: of a file.
        known: names of columns that it has.

    Raises:
        ValueError: it is broken, or holds no table.
    """
    for mark, (what, reader) in _READERS.items():
        if content.startswith(mark):
            return _tried(what, reader, content, known)
    if JSON.match(content):
        return _tried("JSON", _json, content, known)
    if ARFF.search(content[:_HEAD]):
        return _tried("ARFF", lambda held, _: (arff.read(held), ""), content, known)
    lines = content[:_HEAD].split(b"\n")[:_LINES]
    if lines[0].strip() and all(_PAIRS.fullmatch(line) for line in lines if line.strip()):
        return _tried("key=value", _pairs, content, known)
    return _tried("NumPy", _archive, content, known) if _is_npz(content) else None


def _tried(
    what: str, reader: "_Reader", content: bytes, known: Sequence[str]
) -> tuple[pa.Table, str]:
    try:
        found, more = reader(content, known)
    except _HoldsNoTableError as error:
        raise ValueError(f"it is a file of {what} that {error}") from None
    except Exception as error:  # noqa: BLE001 - a library raises what it likes of bytes
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"it cannot be read as {what}: {first}; write it as CSV") from None
    table = found if isinstance(found, pa.Table) else _columns(found)
    return table, f"format {what}{more}"


class _HoldsNoTableError(ValueError):
    """A file is whole, but what it holds is no table."""


def _inside(content: bytes) -> list[str]:
    if not content.startswith(b"PK"):
        return []
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return []


def _is_npz(content: bytes) -> bool:
    names = _inside(content)
    return bool(names) and all(name.endswith(".npy") for name in names)


def _engine(content: bytes) -> tuple[str, str] | None:
    if content.startswith(_OLD_EXCEL):
        return "xlrd", "xlrd"
    names = set(_inside(content))
    return next((engine for part, engine in _ENGINES.items() if part in names), None)


def _columns(frame: "pd.DataFrame") -> pa.Table:
    """Return a frame as a table; a column of texts and numbers becomes one of texts."""
    columns = {}
    for name, column in frame.items():
        try:
            found = pa.array(column, from_pandas=True)
        except (pa.ArrowException, TypeError):
            found = pa.array([None if _lacks(v) else str(v) for v in column], pa.string())
        columns[str(name)] = found
    return pa.table(columns)


def _lacks(value: object) -> bool:
    return value is None or value != value  # noqa: PLR0124 - NaN


def _json(content: bytes, known: Sequence[str]) -> "_Read":
    """Read a list of objects or of rows, columns by their names, or an object on each line."""
    import pandas as pd  # noqa: PLC0415 - takes a second to load

    text = content.decode("utf-8-sig")
    place = ""
    try:
        held = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        held = [*_one_after_the_other(text)]
    if isinstance(held, dict) and {"columns", "data"} <= held.keys():  # as pandas splits a frame
        held = [held["columns"], *held["data"]]
    inner = _lists(held) if isinstance(held, dict) else _beside(held)
    if len(inner) == 1:
        [(name, held)] = inner.items()
        place = f", rows in {name}"
    held = _unnamed(held, known)
    if (
        isinstance(held, dict)
        and held
        and not any(isinstance(v, (dict, list)) for v in held.values())
    ):
        held = [held]  # one row, as of a service that is asked for a prediction
    if _are(dict, held):
        return pd.json_normalize(held), place
    if _are(list, held):
        first, *rows = held
        named = all(isinstance(name, str) for name in first)
        names = first if named else _numbered(len(first), "column")
        return pd.DataFrame(rows if named else held, columns=names), place
    if isinstance(held, dict) and (_are(list, [*held.values()]) or _are(dict, [*held.values()])):
        return pd.DataFrame(held), place
    raise _HoldsNoTableError("holds no list of records; write its table as CSV")


def _beside(held: Any) -> dict[str, Any]:  # noqa: ANN401 - what JSON holds
    """Return the lists of rows in a list of objects, such as of its page, by their place."""
    if not isinstance(held, list) or not any(isinstance(each, dict) for each in held):
        return {}
    return {f"item {i}": v for i, v in enumerate(held, 1) if _are(dict, v) or _are(list, v)}


def _one_after_the_other(text: str) -> Iterator[Any]:
    """Yield values of JSON that stand on a line each, or on several."""
    decoder, at = json.JSONDecoder(), 0
    text = text.strip()
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value
        at = len(text) - len(text[at:].lstrip())


def _lists(held: Mapping[str, Any]) -> dict[str, Any]:
    """Return the lists of objects or of rows in an object by name, or those in objects in it."""
    found = {name: value for name, value in held.items() if _are(dict, value) or _are(list, value)}
    if not found:
        for name, value in held.items():
            inner = _lists(value) if isinstance(value, dict) else {}
            found |= {f"{name}.{more}": rows for more, rows in inner.items()}
    return found


def _pairs(content: bytes, _: Sequence[str]) -> "_Read":
    """Read lines of key=value, as programs log; a line without a key has a gap there."""
    text = decoded(content)[0]
    rows = [
        {key: value.rstrip(",;").strip('"') for key, value in _PAIR.findall(line)}
        for line in text.splitlines()
    ]
    names = dict.fromkeys(name for row in rows for name in row)
    first = _PAIRS.match(content)
    said = ", what stands before the first key left out" if first and first["before"] else ""
    table = {name: pa.array([row.get(name) for row in rows if row]) for name in names}
    return pa.table(table), said


def _unnamed(held: Any, known: Sequence[str]) -> Any:  # noqa: ANN401 - what JSON holds
    """Return records without the names of an object that has each by its own, or what is held."""
    if not isinstance(held, dict) or not _are(dict, [*held.values()]):
        return held
    records = [*held.values()]
    return records if known and {*known} <= {*records[0]} - {*held} else held


def _are(kind: type, values: object) -> bool:
    """Return whether something is a list of this kind, such as of rows."""
    return isinstance(values, list) and bool(values) and all(isinstance(v, kind) for v in values)


def _numbered(count: int, name: str) -> list[str]:
    return [f"{name}{i + 1}" for i in range(count)]


def _sas(content: bytes, _: Sequence[str]) -> "_Read":
    import pandas as pd  # noqa: PLC0415 - takes a second to load

    form: Any = "xport" if content.startswith(b"HEADER") else "sas7bdat"
    return pd.read_sas(io.BytesIO(content), format=form, encoding="cp1252"), ""


def _stata(content: bytes, _: Sequence[str]) -> "_Read":
    import pandas as pd  # noqa: PLC0415 - takes a second to load

    return pd.read_stata(io.BytesIO(content)), ""


def _orc(content: bytes, _: Sequence[str]) -> "_Read":
    from pyarrow import orc  # noqa: PLC0415 - not on every system

    return orc.ORCFile(pa.BufferReader(content)).read(), ""


def _sqlite(content: bytes, known: Sequence[str]) -> "_Read":
    """Read the one table, or the one that has the known columns."""
    import pandas as pd  # noqa: PLC0415 - takes a second to load

    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(content)
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = [name for (name,) in found if not name.startswith("sqlite_")]
        quoted = {name: name.replace('"', '""') for name in tables}
        selects = {name: f'SELECT * FROM "{quoted[name]}"' for name in tables}  # noqa: S608 - quoted
        columns = {n: [c[0] for c in connection.execute(selects[n]).description] for n in tables}
        has = [name for name in tables if {*known} <= {*columns[name]}] or tables
        if len(has) != 1:
            raise _HoldsNoTableError(f"has the tables {listed(tables, 5)}; export one as CSV")
        return pd.read_sql_query(selects[has[0]], connection), f", table {has[0]}"


def _array(content: bytes, _: Sequence[str]) -> "_Read":
    array = np.load(io.BytesIO(content))
    if array.dtype.names:
        return pa.table({name: array[name] for name in array.dtype.names}), ""
    return _of_arrays({"column": array}, ())


def _archive(content: bytes, known: Sequence[str]) -> "_Read":
    with np.load(io.BytesIO(content)) as arrays:
        if "format" in arrays and "shape" in arrays:
            raise _HoldsNoTableError(
                "holds a sparse matrix without a target; in Python, thalweg.race(X.toarray(), y) "
                "takes it"
            )
        return _of_arrays(dict(arrays), known)


def _matlab(content: bytes, known: Sequence[str]) -> "_Read":
    from scipy.io import loadmat  # noqa: PLC0415 - only such files need it

    held = loadmat(io.BytesIO(content))
    return _of_arrays({k: v for k, v in held.items() if not k.startswith("__")}, known)


def _of_arrays(arrays: Mapping[str, NDArray[Any]], known: Sequence[str]) -> "_Read":
    """Return the columns of arrays with one length, X as X1, X2, ...; y of one column as y.

    It is the length of the array that has a known column's name, else of the longest.
    """
    columns: dict[str, NDArray[Any]] = {}
    lengths = {name: len(array) for name, array in arrays.items() if array.ndim}
    rows = next((lengths[name] for name in known if lengths.get(name, 0) > 1), None)
    rows = max(lengths.values(), default=0) if rows is None else rows
    others = []
    for name, array in arrays.items():
        if array.ndim not in (1, 2) or len(array) != rows or array.dtype.kind not in "biufUM":
            others += [name] * (array.size > 1)  # a part of other rows, a parameter or a picture
            continue
        flat = array.reshape(rows, -1)
        one = flat.shape[1] == 1
        columns |= zip([name] if one else _numbered(flat.shape[1], name), flat.T, strict=True)
    if not columns:
        shapes = [f"{name} {array.shape}" for name, array in arrays.items()]
        raise _HoldsNoTableError(
            f"holds no columns ({listed(shapes, 5)}); in Python, thalweg.race(X, y) takes arrays"
        )
    said = f", without {listed(others, 5)}, not of {rows} rows of numbers" if others else ""
    return pa.table({n: np.ascontiguousarray(column) for n, column in columns.items()}), said


_Read = tuple[Any, str]  # a pandas frame or a table, and what more is said of it
_Reader = Callable[[bytes, Sequence[str]], _Read]
_READERS: Mapping[bytes, tuple[str, _Reader]] = {
    b"ORC": ("ORC", _orc),
    b"SQLite format 3": ("SQLite", _sqlite),
    b"<stata_dta>": ("Stata", _stata),
    **dict.fromkeys((b"r\x01\x01", b"r\x02\x01", b"s\x01\x01", b"s\x02\x01"), ("Stata", _stata)),
    b"HEADER RECORD*******LIBRARY": ("SAS", _sas),
    b"\0" * 12 + b"\xc2\xea\x81\x60": ("SAS", _sas),
    b"\x93NUMPY": ("NumPy", _array),
    b"MATLAB 5.0": ("MATLAB", _matlab),
}
