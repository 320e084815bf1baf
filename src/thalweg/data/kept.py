"""Kept: what the folder of a race has of its data, so that the race can be resumed."""

import contextlib
import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from thalweg import data, files
from thalweg.data.dataset import Dataset
from thalweg.data.options import Options

__all__ = ["fingerprint", "kind_word", "restore", "save"]

_NAMED, _ARRAYS, _FRAME = "data.json", "data.npz", "data.parquet"
_REMEDY = "restore it, or repeat the command that began the race, with its data"


def fingerprint(dataset: Dataset) -> str:
    """Return a hash of the values of a data set and of how they are encoded.

    Example:
        >>> from thalweg.data import load
        >>> fingerprint(load("iris")) == fingerprint(load("iris"))
        True
    """
    digest = hashlib.sha256(repr(dataset.X.shape).encode())
    arrays = [dataset.X, dataset.y]
    if not isinstance(dataset.X, np.ndarray):
        from pandas.util import hash_pandas_object  # noqa: PLC0415 - only frames need it

        columns = {name: str(dataset.X[name].dtype) for name in dataset.X.columns}
        digest.update(json.dumps([columns, dict(dataset.options.types)]).encode())
        arrays[0] = hash_pandas_object(dataset.X, index=False).to_numpy()
    for array in arrays:
        digest.update(str(array.dtype).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def kind_word(dataset: Dataset) -> str:
    """The kind in the words of ``data.load``, where a guess from the target might differ."""
    return "regression" if dataset.kind == "regression" else "classification"


def save(dataset: Dataset, directory: Path) -> None:
    """Keep where a data set comes from and its hash; the data themselves if no file has them."""
    path = Path(dataset.loaded).expanduser()
    record = None
    if dataset.loaded in data.names():
        record = _File(dataset.loaded)
    elif dataset.loaded and (path.is_file() or path.is_dir()):
        record = _File(
            dataset.loaded, str(path.resolve()), _hash(path), dataset.target, kind_word(dataset),
            dataset.options.given,
        )  # fmt: skip
    if record is not None:
        files.write(directory / _NAMED, msgspec.json.format(msgspec.json.encode(record)))
        return
    labels = msgspec.json.encode(
        {k: v for k, v in vars(dataset).items() if k not in ("X", "y", "styles")}
    )
    buffer = io.BytesIO()
    if isinstance(dataset.X, np.ndarray):
        single = dataset.X.astype(np.float32)
        X = single if np.array_equal(single, dataset.X) else dataset.X  # only where enough
        np.savez_compressed(buffer, X=X, y=dataset.y, names=np.array(labels.decode()))
        files.write(directory / _ARRAYS, buffer.getvalue())
        return
    import pyarrow as pa  # noqa: PLC0415 - only frames need it
    import pyarrow.parquet as pq  # noqa: PLC0415

    table = pa.Table.from_pandas(dataset.X, preserve_index=False)
    table = table.append_column(_target_name(table.column_names), pa.array(dataset.y))
    metadata = {**(table.schema.metadata or {}), b"thalweg": labels}
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
    files.write(directory / _FRAME, buffer.getvalue())


def _target_name(taken: list[str]) -> str:
    name = "y"
    while name in taken:
        name += "y"
    return name


def _hash(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of a folder's files."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for inner in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{inner.relative_to(path)}\0{_hash(inner)}".encode())
    return digest.hexdigest()


def restore(directory: Path) -> Dataset:
    """Return the data set of a race.

    Raises:
        FileNotFoundError: it is gone.
        ValueError: it has changed, or what is kept of it is damaged.
    """
    for name, read in _READERS.items():
        path = directory / name
        if not path.is_file():
            continue
        try:
            return read(path)
        except _ChangedError:
            raise
        except Exception as error:  # zip, zlib, JSON and NumPy raise what they like of bytes
            raise ValueError(f"{path} is damaged ({error}); {_REMEDY}") from error
    raise FileNotFoundError(f"{directory / _NAMED} does not exist; {_REMEDY}")


class _ChangedError(ValueError):
    """The file that a race was about is not what it was."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """What is kept of data that ``load`` gives again: a name, or a file and how it was read."""

    loaded: str
    path: str | None = None
    sha256: str | None = None
    target: str | None = None
    kind: str | None = None
    options: dict[str, Any] = {}


def _again(path: Path) -> Dataset:
    """Load a named set, or a file if it is what it was."""
    kept = msgspec.json.decode(path.read_bytes(), type=_File)
    if kept.path is None:
        if kept.loaded not in data.names():
            raise ValueError(f"there is no data set {kept.loaded!r}")
        return data.load(kept.loaded)
    source = Path(kept.path)
    if not (source.is_absolute() and (source.is_file() or source.is_dir())):
        raise _ChangedError(f"{source}, with which the race began, does not exist; put it back")
    if _hash(source) != kept.sha256:
        raise _ChangedError(
            f"{source} has changed since the race began; put it back as it was, or race it anew "
            "in another folder"
        )
    loaded = data.load(source, target=kept.target, kind=kept.kind, **kept.options)
    return replace(loaded, source=kept.loaded, loaded=kept.loaded)


def _arrays(path: Path) -> Dataset:
    with path.open("rb") as file, contextlib.closing(np.load(file)) as arrays:
        labels = _labels(str(arrays["names"]).encode())
        return _checked(Dataset(X=arrays["X"].astype(np.float64), y=arrays["y"], **labels))


def _frame(path: Path) -> Dataset:
    import pyarrow.parquet as pq  # noqa: PLC0415 - only frames need it

    table = pq.read_table(path)
    labels = _labels(table.schema.metadata[b"thalweg"])
    *columns, target = table.column_names
    X = table.select(columns).to_pandas()
    return _checked(Dataset(X=X, y=table[target].to_numpy(), **labels))


_READERS = {_NAMED: _again, _ARRAYS: _arrays, _FRAME: _frame}


class _Labels(msgspec.Struct):
    """What a data set has beside its values."""

    name: str
    features: tuple[str, ...]
    target: str
    classes: tuple[str, ...] | None
    source: str
    loaded: str
    dropped: Annotated[int, msgspec.Meta(ge=0)]
    options: Options
    notes: tuple[str, ...]


def _labels(content: bytes) -> dict[str, Any]:
    return msgspec.structs.asdict(msgspec.json.decode(content, type=_Labels))


def _checked(dataset: Dataset) -> Dataset:
    X, y, classes = dataset.X, dataset.y, dataset.classes
    if X.shape != (len(y), len(dataset.features)):
        raise ValueError("its features do not fit its target")
    if not (np.isfinite(y).all() and (not isinstance(X, np.ndarray) or np.isfinite(X).all())):
        raise ValueError("it holds numbers that are not finite")
    codes = classes is not None and y.dtype == np.int64 and 0 <= y.min() <= y.max() < len(classes)
    if not (codes if classes is not None else y.dtype == np.float64):
        raise ValueError("its target is neither numbers nor classes")
    return dataset
