"""Formats: what a file is by its content, and its table as it stands there."""

import bz2
import contextlib
import gzip
import io
import lzma
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet

from thalweg.data import delimited, foreign
from thalweg.data.delimited import Dialect
from thalweg.data.named import names
from thalweg.files import absent
from thalweg.words import closest, listed

__all__ = ["LABEL", "PACKED", "STDIN", "Table", "check_is_table", "is_libsvm", "read"]

STDIN = "-"
LABEL = "label"  # what the target of a libsvm file is called; there it has no name
_DENSE = 100_000_000  # numbers that a sparse file may have when it is written out

_ARROW = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")
_FOREIGN = {  # what is no table that can be read here: its first bytes, and what to do
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save it as CSV",
    b"\x89HDF": "an HDF5 file; write it as Parquet with pandas: read_hdf(FILE).to_parquet(NEW)",
    b"ORC": "an ORC file; write it as Parquet with PyArrow",
    b"SQLite format 3": "a SQLite database; export the table as CSV",
    b"$FL": "an SPSS file; save it as CSV or Stata (.dta), or by pandas.read_spss as Parquet",
    b"\x80\x02": "a pickle, which can run code; write it as Parquet with pandas",
    b"\x80\x03": "a pickle, which can run code; write it as Parquet with pandas",
    b"\x80\x04": "a pickle, which can run code; write it as Parquet with pandas",
    b"\x80\x05": "a pickle, which can run code; write it as Parquet with pandas",
    b"MATLAB 7.3": "a MATLAB file of the form of HDF5; save it with -v7",
    b"RDX": "an R workspace; write the table with write.csv",
    b"X\n\0\0\0": "an object of R; write the table with write.csv(readRDS(FILE), row.names=FALSE)",
    b"HEADER RECORD*******LIBV8": "a SAS transport file of version 8; write version 5, or CSV",
    b"Obj\x01": "an Avro file; write it as Parquet",
    b"\x93NUMPY": "a NumPy array; give it to thalweg.race(X, y) in Python",
    b"FEA1": "a Feather file of the first version; write it again with pandas",
    b"%PDF": "a PDF; export the table as CSV",
    b"\x89PNG": "a picture",
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file with git lfs pull",
}
_MARKUP = re.compile(rb"\s*<(!doctype|html|table|\?xml)", re.IGNORECASE)
_OTHERS = (
    (
        re.compile(rb"(?i)\s*((--|/\*|#).*\s+)*(create (table|database)|insert into|drop table)\s"),
        "SQL; read it into a SQLite database and give that, or export the table as CSV",
    ),
    (
        re.compile(rb"\s*[\[(]?\{'[^'\n]*': "),
        "a dict as Python prints it; write it with json.dumps, or as CSV",
    ),
    (re.compile(rb"\s*(---\s+)?- +[\w-]+: .*\n +[\w-]+: "), "YAML; write it as JSON or CSV"),
)
_LIBSVM = re.compile(  # an example without features is only its label
    rb"\s*[-+]?[\d.]+(e[-+]?\d+)?(,[-+]?[\d.]+)*(\s+qid:\d+)?"
    rb"(\s+\d+:[-+]?[\d.]+(e[-+]?\d+)?)*\s*(#.*)?"
)
_SUFFIXES = {".csv", ".tsv", ".data", ".dat", ".parquet", ".xlsx", ".json", ".jsonl", ".feather"}
_HEAD = 1 << 16  # bytes by which a file is told


@dataclass(frozen=True)
class Table:
    """A table as it stands in a file.

    Args:
        columns: texts of a delimited file, typed columns of any other.
        dropped: lines of the wrong length that it does without.
        assumed: what was found out about how it is written, in words.
        comma: its delimiter leaves the comma to decimals.
        target: the target's name, where the format has only one place for it.
    """

    columns: pa.Table
    dropped: int = 0
    assumed: tuple[str, ...] = ()
    comma: bool = False
    target: str | None = None


def read(source: str, dialect: Dialect, *, target: str | None, skip_bad_rows: bool) -> Table:
    """Read a file, a folder of its parts, or standard input.

    Args:
        source: a path, or ``"-"``.
        dialect: of delimited text.
        target: a column that it has; None if that is not known.
        skip_bad_rows: drop lines of the wrong length.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no table that can be read; the message has a remedy.
    """
    if source == STDIN:
        content = sys.stdin.buffer.read()
        return _named("standard input", content, dialect, target, skip=skip_bad_rows)
    path = Path(source).expanduser()
    if not path.exists():
        raise _unknown(source)
    if path.is_dir():
        return _parts(path, dialect, target, skip=skip_bad_rows)
    return _named(str(path), path.read_bytes(), dialect, target, skip=skip_bad_rows)


def _unknown(source: str) -> Exception:
    if Path(source).suffix or "/" in source:
        return absent(source)
    hint = closest(source, names())
    return ValueError(
        f"unknown data set {source!r}; {hint and hint + ' '}give one of {', '.join(names())}, or a "
        "path to a .csv/.parquet/.feather file or the like"
    )


def _parts(folder: Path, dialect: Dialect, target: str | None, *, skip: bool) -> Table:
    """Read the files of a folder, in the order of their names, as one table."""
    paths = sorted(
        path for path in folder.rglob("*")
        if path.is_file() and not any(p[0] in "._" for p in path.relative_to(folder).parts)
        and not path.name.upper().startswith(("README", "LICENSE"))
    )  # fmt: skip
    if not paths:
        raise ValueError(f"{folder} holds no files")
    with paths[0].open("rb") as begin:
        if begin.read(4) == b"PAR1":
            return Table(_flat(_parquet_parts(folder, paths)))
    parts: dict[Path, Table] = {}
    for path in paths:
        with contextlib.suppress(delimited.EmptyError):  # as systems write that write in parts
            parts[path] = _named(str(path), path.read_bytes(), dialect, target, skip=skip)
    if not parts:
        raise ValueError(f"the files in {folder} have no rows of data")
    _check_agree({str(path): table.columns.column_names for path, table in parts.items()})
    tables = list(parts.values())
    order = tables[0].columns.column_names
    try:
        columns = pa.concat_tables(
            [
                _with_folders(table.columns.select(order), path.relative_to(folder))
                for path, table in parts.items()
            ],
            promote_options="permissive",
        )
    except pa.ArrowException as error:
        raise ValueError(f"the parts in {folder} do not agree: {_first(error)}") from None
    return replace(tables[0], columns=columns, dropped=sum(table.dropped for table in tables))


def _with_folders(table: pa.Table, path: Path) -> pa.Table:
    """Return a part with a column for each of its folders such as year=2024."""
    for name, equals, value in (part.partition("=") for part in path.parts[:-1]):
        if equals and name not in table.column_names:
            text = "" if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value)
            column = pa.array([text] * table.num_rows, pa.large_string())
            table = table.append_column(name, column)
    return table


def _parquet_parts(folder: Path, paths: list[Path]) -> pa.Table:
    """Read Parquet files as one table; what a column is in one of them fits all."""

    def dataset(schema: pa.Schema | None) -> Any:  # noqa: ANN401 - pyarrow has no types
        return pyarrow.dataset.dataset(
            paths, schema, "parquet", partitioning="hive", partition_base_dir=str(folder)
        )

    try:
        whole = dataset(None)
        schemas = {part.path: part.physical_schema for part in whole.get_fragments()}
        _check_agree({path: schema.names for path, schema in schemas.items()})
        own = pa.unify_schemas(list(schemas.values()), promote_options="permissive")
        folders = [field for field in whole.schema if field.name not in own.names]
        return dataset(pa.schema([*own, *folders])).to_table()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{folder} cannot be read as Parquet: {_first(error)}") from None


def _check_agree(columns: Mapping[str, list[str]]) -> None:
    """Raise ValueError where parts, by their path, have not the same columns."""
    first, expected = next(iter(columns.items()))
    for path, found in columns.items():
        if set(found) != set(expected):
            raise ValueError(
                f"{path} has the columns {listed(found, 5)} and {first} {listed(expected, 5)}; a "
                "folder must hold the parts of one table and nothing else"
            )


def _named(name: str, content: bytes, dialect: Dialect, target: str | None, *, skip: bool) -> Table:
    """Read what a file holds; messages begin with its name."""
    try:
        return _table(_unpacked(content), dialect, target, skip=skip)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{name} cannot be read: {_first(error)}") from None
    except ValueError as error:
        kind = delimited.EmptyError if isinstance(error, delimited.EmptyError) else ValueError
        raise kind(f"{name}: {error}") from None


def _first(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _zip(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        found = [
            item for item in archive.infolist()
            if not item.is_dir() and not item.filename.startswith("__MACOSX/")
            and not Path(item.filename).name.startswith(".")
        ]  # fmt: skip
        tables = [item for item in found if Path(item.filename).suffix.lower() in _SUFFIXES]
        if len(tables) == 1:  # beside it lie its description and its licence
            found = tables
        if len(found) != 1:
            held = listed([item.filename for item in found], 3)
            raise ValueError(
                f"the archive must hold one file, got {len(found)} ({held}); unpack it and give one"
            )
        return archive.read(found[0])


def _zstandard(content: bytes) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as stream:
        return bytes(stream.read())


PACKED: Mapping[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
    b"PK\x03\x04": _zip,
    b"PK\x05\x06": _zip,
    b"\x28\xb5\x2f\xfd": _zstandard,
}


def _unpacked(content: bytes) -> bytes:
    """Unpack gzip, bzip2, xz, zip and Zstandard by their first bytes, not by a name."""
    if foreign.is_whole(content):
        return content
    for mark, unpack in PACKED.items():
        if content.startswith(mark):
            try:
                return _unpacked(unpack(content))
            except (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile,
                    RuntimeError, NotImplementedError) as error:  # fmt: skip
                raise ValueError(f"it cannot be unpacked: {_first(error)}") from None
    return content


def check_is_table(content: bytes) -> None:
    """Raise ValueError if a file begins as one does that holds no table that is read here."""
    for mark, what in _FOREIGN.items():
        if content.startswith(mark):
            raise ValueError(f"it is {what}")
    if content[257:262] == b"ustar":
        raise ValueError("it is a tar archive; unpack it, and give the file or the folder of parts")
    if foreign.ARFF.search(content[:_HEAD]):
        raise ValueError("it is an ARFF file; write it as CSV with scipy.io.arff and pandas")
    if _MARKUP.match(content):
        raise ValueError("it is a web page or XML, not a table; save the table itself as CSV")
    for form, what in _OTHERS:
        if form.match(content[:_HEAD]):
            raise ValueError(f"it is {what}")
    if foreign.JSON.match(content):
        raise ValueError("it is JSON; write it as CSV or Parquet with pandas")


def _table(content: bytes, dialect: Dialect, target: str | None, *, skip: bool) -> Table:
    known = (*dialect.columns, *([target] if target else []))
    if found := foreign.read(content, known):
        table, said = found
        return Table(table, assumed=(said,))
    if spread := foreign.sheet(content, known):
        content, name = spread
        dialect = replace(dialect, delimiter=",", encoding=None)
        text = delimited.read(content, dialect, target=target, skip_bad_rows=skip)
        return Table(text.table, text.dropped, (*[name] * bool(name), *text.assumed))
    check_is_table(content)
    if content.startswith(_ARROW):
        return Table(_flat(_arrow(content)))
    if is_libsvm(content):
        return _libsvm(content)
    text = delimited.read(content, dialect, target=target, skip_bad_rows=skip)
    return Table(text.table, text.dropped, text.assumed, comma=text.delimiter == ";")


def _arrow(content: bytes) -> pa.Table:
    source = pa.BufferReader(content)
    if content.startswith(b"PAR1"):
        return pyarrow.parquet.ParquetFile(source).read()
    if content.startswith(b"\xff\xff\xff\xff"):
        return pa.ipc.open_stream(source).read_all()
    return pyarrow.feather.read_table(source)


def _flat(table: pa.Table) -> pa.Table:
    """Return the parts of structs as columns such as user.age, as of JSON's objects."""
    while any(pa.types.is_struct(kind) for kind in table.schema.types):
        table = table.flatten()
    return table


def is_libsvm(content: bytes) -> bool:
    """Return whether a text begins as a libsvm file does."""
    lines = (line.strip() for line in content[:_HEAD].split(b"\n")[:20])
    examples = [line for line in lines if line and not line.startswith(b"#")]
    paired = any(re.search(rb"\s\d+:", line) for line in examples)
    return paired and all(_LIBSVM.fullmatch(line) for line in examples)


def _libsvm(content: bytes) -> Table:
    from sklearn.datasets import load_svmlight_file  # noqa: PLC0415 - takes a second to load

    try:
        X, y, *queries = load_svmlight_file(
            io.BytesIO(content), query_id=b" qid:" in content[:_HEAD]
        )
    except ValueError as error:
        raise ValueError(f"it cannot be read as libsvm: {_first(error)}") from None
    rows, columns = X.shape
    if rows * columns > _DENSE:
        raise ValueError(
            f"its {rows} rows of {columns} columns are {rows * columns:,} numbers when written "
            f"out, and at most {_DENSE:,} can be trained on; keep the most frequent columns"
        )
    dense: Any = X.toarray()
    table = {str(j + 1): dense[:, j] for j in range(columns)}
    label = y.astype("int64") if (y == y.astype("int64")).all() else y
    assumed = "format libsvm" + ", qid left out" * bool(queries)
    return Table(pa.table({**table, LABEL: label}), assumed=(assumed,), target=LABEL)
