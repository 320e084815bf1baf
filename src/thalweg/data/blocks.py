"""Blocks: a table or rows that come in parts, from files larger than memory or from anywhere."""

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from thalweg.data import delimited, formats
from thalweg.data.dataset import as_arrow
from thalweg.data.delimited import Dialect
from thalweg.data.numerals import MISSING
from thalweg.files import absent

__all__ = ["Blocks", "first_of", "shards"]

_ROWS = 1 << 14  # of a block of a Parquet file
_BYTES = 1 << 22  # of a block of text
_HEAD = 1 << 20  # bytes of a text by which its dialect and types are found


class Blocks(Protocol):
    """Something that is read in blocks, from any place between two of them on.

    Attributes:
        name: what a message calls it, and by which it is known again.
    """

    name: str

    def read(self, at: int) -> Iterator[tuple[int, Any]]:
        """Yield blocks from a place on, each with the place after it.

        Args:
            at: 0, or a place that came with a block.

        A block is an Arrow table, or rows (X, y) or (X, y, sample_weight).
        """


def shards(source: Any, *, dialect: Dialect | None = None) -> list[Blocks]:  # noqa: ANN401
    """Return what a source consists of.

    Args:
        source: a path of a Parquet, Arrow, CSV or libsvm file or of a folder of such files; a list
            of paths; or blocks: an iterable of frames, Arrow tables, record batches or (X, y) or
            (X, y, sample_weight), or a function that returns one, so that it can be read again.
        dialect: of delimited text.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is none of these.

    Example:
        >>> blocks = shards([([[1.0]], [0]), ([[2.0]], [1])])[0]
        >>> list(blocks.read(1))
        [(2, ([[2.0]], [1]))]
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source).expanduser()
        if not path.exists():
            raise absent(source)
        hidden = (".", "_")
        parts = [p for p in path.rglob("*") if p.is_file() and not p.name.startswith(hidden)]
        if path.is_dir() and not parts:
            raise ValueError(f"the folder {source} has no file")
        found = [_file(part, dialect or Dialect()) for part in sorted(parts) or [path]]
        _agree([shard for shard in found if isinstance(shard, _Libsvm)])
        return found
    if (
        isinstance(source, Sequence)
        and source
        and all(isinstance(s, (str, os.PathLike)) for s in source)
    ):
        found = [shard for each in source for shard in shards(each, dialect=dialect)]
        _agree([shard for shard in found if isinstance(shard, _Libsvm)])
        return found
    if not isinstance(source, Iterable) and not callable(source):
        raise TypeError(
            "source must be a path, a list of paths or an iterable of blocks, got "
            f"{type(source).__name__}"
        )
    return [_Given(source)]


def first_of(blocks: Blocks) -> Any:  # noqa: ANN401 - see Blocks
    """Return the first block, which is read again later; None if there is none."""
    if isinstance(blocks, _Given) and isinstance(blocks.source, Iterator):
        first = next(blocks.source, None)
        blocks.source = chain([] if first is None else [first], blocks.source)
        return _as_table(first)
    return next((block for _, block in blocks.read(0)), None)


def _file(path: Path, dialect: Dialect) -> Blocks:
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            head = stream.read(_HEAD)
        if head.startswith(b"PAR1"):
            return _Parquet(path)
        if head.startswith(b"ARROW1"):
            return _Arrow(path)
        if formats.is_libsvm(head):
            return _Libsvm(path)
        _check_text(head)
        return _Csv.of(path, head, dialect)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise ValueError(f"{path}: {str(error).splitlines()[0]}") from None


def _check_text(head: bytes) -> None:
    if head.startswith(tuple(formats.PACKED)):
        raise ValueError("it is packed in a way that cannot be streamed; unpack it, or gzip it")
    formats.check_is_table(head)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say which file is broken, where PyArrow does not."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is broken: {str(error).splitlines()[0]}") from None


def _name(path: Path) -> str:
    """Return a file's path, size and time: another file of that name is not the same."""
    facts = path.stat()
    return f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns}"


@dataclass
class _Given:
    source: Any
    name: str = "blocks"
    spent: bool = False

    def read(self, at: int) -> Iterator[tuple[int, Any]]:
        if isinstance(self.source, Iterator):
            if self.spent:
                raise ValueError(
                    "source can be read once alone: give a function that returns such an iterator"
                )
            self.spent = True
        blocks = iter(self.source() if callable(self.source) else self.source)
        for place, block in enumerate(islice(blocks, at, None), at + 1):
            yield place, _as_table(block)


def _as_table(block: Any) -> Any:  # noqa: ANN401
    if isinstance(block, pa.RecordBatch):
        return pa.Table.from_batches([block])
    frame = hasattr(block, "__arrow_c_stream__") and not isinstance(block, pa.Table)
    return as_arrow(block) if frame else block


@dataclass
class _Parquet:
    path: Path
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = _name(self.path)

    def read(self, at: int) -> Iterator[tuple[int, pa.Table]]:
        with _reading(self.path), pa.parquet.ParquetFile(self.path) as file:
            start = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if at < start + rows:
                    place = start
                    for batch in file.iter_batches(_ROWS, row_groups=[group]):
                        place += batch.num_rows
                        if place > at:
                            yield place, pa.Table.from_batches([batch])
                start += rows


@dataclass
class _Arrow:
    path: Path
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = _name(self.path)

    def read(self, at: int) -> Iterator[tuple[int, pa.Table]]:
        with (
            _reading(self.path),
            pa.memory_map(str(self.path)) as memory,
            pa.ipc.open_file(memory) as file,
        ):
            for i in range(at, file.num_record_batches):
                yield i + 1, pa.Table.from_batches([file.get_batch(i)])


def _lines(path: Path, at: int) -> Iterator[tuple[int, bytes]]:
    """Yield whole lines of a text, some megabytes at a time, each with the place after it."""
    with _reading(path), pa.input_stream(str(path), compression="detect") as stream:
        left = at
        while left and (skipped := len(stream.read(min(left, _BYTES)))):
            left -= skipped
        rest, place = b"", at
        # A block ends where it would if reading had begun at its own place.
        while content := stream.read(_BYTES - len(rest) % _BYTES):
            whole, newline, rest = (rest + content).rpartition(b"\n")
            if newline:
                place += len(whole) + 1
                yield place, whole + newline
        if rest:
            yield place + len(rest), rest


@dataclass
class _Libsvm:
    """Rows of a libsvm file. The whole file is read once before, for its number of columns."""

    path: Path
    name: str = field(init=False)
    columns: int = 0
    from_one: bool = True

    def __post_init__(self) -> None:
        self.name = _name(self.path)
        for _, content in _lines(self.path, 0):
            X, _ = _svmlight(content, self.path)
            self.columns = max(self.columns, X.shape[1])
            self.from_one &= not X.nnz or int(X.indices.min()) > 0

    def read(self, at: int) -> Iterator[tuple[int, Any]]:
        for place, content in _lines(self.path, at):
            X, y = _svmlight(content, self.path, self.columns)
            yield place, (X[:, 1:] if self.from_one else X, y)


def _agree(files: Sequence["_Libsvm"]) -> None:
    """Let libsvm files have the same columns: one of them may lack the last."""
    for each in files:
        each.columns = max(other.columns for other in files)
        each.from_one = all(other.from_one for other in files)


def _svmlight(content: bytes, path: Path, columns: int | None = None) -> tuple[Any, Any]:
    from sklearn.datasets import load_svmlight_file  # noqa: PLC0415 - takes a second to load

    try:
        X, y = load_svmlight_file(io.BytesIO(content), n_features=columns, zero_based=True)[:2]
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path} cannot be read as libsvm: {error}") from None
    return X, y


def _wider(kind: pa.DataType) -> pa.DataType:
    """Return the type that all values of a column have whose first ones have this."""
    whole_or_empty = pa.types.is_integer(kind) or pa.types.is_null(kind)
    return pa.float64() if whole_or_empty else kind


@dataclass
class _Csv:
    """A delimited text whose dialect and types its first lines have shown."""

    path: Path
    name: str
    start: int
    columns: list[str]
    parse: Any
    types: dict[str, Any]

    @classmethod
    def of(cls, path: Path, head: bytes, dialect: Dialect) -> "_Csv":
        whole = head[: head.rindex(b"\n") + 1] if b"\n" in head and len(head) == _HEAD else head
        text = whole.decode(dialect.encoding or "utf-8-sig")
        layout = delimited.layout_of(text.replace("\r\n", "\n"), dialect, None)
        if layout.delimiter == " ":
            raise ValueError("columns between spaces cannot be streamed; write commas between them")
        lines = whole.splitlines(keepends=True)
        start = sum(map(len, lines[: layout.start]))
        parse = {"delimiter": layout.delimiter, "quote_char": layout.quote}
        own = cls(path, _name(path), start, layout.names, parse, {})
        first = own._table(whole[start:])
        own.types = {field.name: _wider(field.type) for field in first.schema}
        return own

    def _table(self, content: bytes) -> pa.Table:
        """Parse whole lines; a value between quotes that has a line's end is not one."""
        return pa.csv.read_csv(
            pa.BufferReader(content),
            read_options=pa.csv.ReadOptions(column_names=self.columns, use_threads=False),
            parse_options=pa.csv.ParseOptions(**self.parse),
            convert_options=pa.csv.ConvertOptions(
                column_types=self.types,
                null_values=["", *MISSING],
                strings_can_be_null=True,
            ),
        )

    def read(self, at: int) -> Iterator[tuple[int, pa.Table]]:
        before = max(at, self.start)
        for place, content in _lines(self.path, before):
            try:
                yield place, self._table(content)
            except pa.ArrowInvalid as error:
                raise ValueError(
                    f"{self.path}, in the lines after byte {before}: {error}; the first lines say "
                    "what a column holds, and all others must hold the same"
                ) from None
            before = place
