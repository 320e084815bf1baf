"""Training on a stream: windows of its rows are read ahead, shuffled, and learned once."""

import copy
import hashlib
import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import issparse
from scipy.sparse import vstack as sparse_vstack

from thalweg import files
from thalweg.data.blocks import Blocks, first_of, shards
from thalweg.data.hashed import Hashed

__all__ = ["Place", "Stream", "fit_stream"]

_MARK = b"thalweg's checkpoint of a stream\n"
_NUMBERS = 1 << 23  # of a window: 64 MiB

Rows = tuple[Any, NDArray[Any], NDArray[np.float64] | None]


@dataclass(frozen=True)
class Stream:
    """What is read, and how.

    Args:
        shards: what is read, one after another.
        encoding: of tables; None: rows come as numbers.
        window: rows that are shuffled together.
        seed: of their order.
    """

    shards: Sequence[Blocks]
    encoding: Hashed | None
    window: int
    seed: int

    def windows(self, begin: "Place") -> Iterator[tuple["Place", Rows]]:
        """Yield windows from a place on, each with the place after it."""
        number = begin.windows
        for shard in range(begin.shard, len(self.shards)):
            at = begin.at if shard == begin.shard else 0
            held: list[Any] = []
            rows = 0
            for at, block in self.shards[shard].read(at):  # noqa: B020 - it goes on from there
                held.append(block if isinstance(block, pa.Table) else _part(block))
                rows += _length(held[-1])
                if rows >= self.window or rows * _width(held[-1]) >= _NUMBERS:
                    number += 1
                    yield Place(shard, at, number), self._shuffled(held, number)
                    held, rows = [], 0
            if rows:
                number += 1
                yield Place(shard, at, number), self._shuffled(held, number)

    def _shuffled(self, blocks: Sequence[Any], number: int) -> Rows:
        X, y, weights = self._joined(blocks)
        order = np.random.default_rng([self.seed, number]).permutation(X.shape[0])
        return X[order], y[order], None if weights is None else weights[order]

    def _joined(self, blocks: Sequence[Any]) -> Rows:
        if isinstance(blocks[0], pa.Table):
            assert self.encoding is not None, "fit_stream makes one for tables"
            table = pa.concat_tables(blocks, promote_options="permissive")
            table = table.filter(table[self.encoding.target].is_valid())
            return self.encoding.transform(table), *self.encoding.answers(table)
        first = blocks[0][0]
        for X, *_ in blocks:
            if X.shape[1:] != first.shape[1:] or issparse(X) != issparse(first):
                raise ValueError(
                    "blocks must have the same columns, dense or sparse, got X of shapes "
                    f"{first.shape} and {X.shape}, {type(first).__name__} and {type(X).__name__}"
                )
        X = (
            sparse_vstack([part[0] for part in blocks], format="csr")
            if issparse(first)
            else np.concatenate([part[0] for part in blocks])
        )
        y = np.concatenate([part[1] for part in blocks])
        if any(part[2] is None for part in blocks):
            return X, y, None
        return X, y, np.concatenate([part[2] for part in blocks])


@dataclass(frozen=True, order=True)
class Place:
    """Where a stream is: a shard, the place in it, and how many windows there were."""

    shard: int = 0
    at: int = 0
    windows: int = 0


@dataclass
class _Checkpoint:
    """A training that stopped between two windows."""

    of: str
    state: dict[str, Any]
    places: list[Place]
    done: bool


@dataclass
class _Keeper:
    """Writes checkpoints of an estimator, and takes it up again."""

    path: Path | None
    every: float
    of: str
    written: float = field(default_factory=time.monotonic)

    def load(self) -> _Checkpoint | None:
        """Return what was written before.

        Raises:
            FileExistsError: the file is not a checkpoint of ours.
            ValueError: it is of another training.
        """
        if self.path is None or not os.path.lexists(self.path):
            return None
        files.check_replaceable(self.path, _MARK)
        found: _Checkpoint = pickle.loads(self.path.read_bytes()[len(_MARK) :])  # noqa: S301 - ours
        if found.of != self.of:
            raise ValueError(
                f"checkpoint {self.path} is of another training: settings, source or how it is "
                "read have changed; remove it, or name another file"
            )
        return found

    def save(self, estimator: Any, places: list[Place], *, done: bool) -> None:
        """Write a checkpoint, if the last was written long enough ago."""
        if self.path is None or not (done or time.monotonic() >= self.written + self.every):
            return
        content = pickle.dumps(_Checkpoint(self.of, vars(estimator), places, done))
        files.write(self.path, _MARK + content, _MARK)
        self.written = time.monotonic()


def fit_stream(  # noqa: PLR0917 - the method has them by name
    estimator: Any,
    source: Any,
    first: dict[str, Any],
    encoding: Hashed | None,
    window: int,
    checkpoint: str | os.PathLike[str] | None,
    checkpoint_every: float,
    n_jobs: int | None,
    interval: int,
    on_window: Callable[[Any], None] | None,
) -> None:
    """Train an estimator; see ``Linear.fit_stream``.

    Args:
        estimator: what is trained.
        source: what is read.
        first: more arguments of the first ``partial_fit``.
        encoding: of tables, not yet fitted; None: the source must have rows of numbers.
        window: rows.
        checkpoint: a file.
        checkpoint_every: seconds.
        n_jobs: workers.
        interval: rows that each learns between two averages.
        on_window: is called with the estimator after each window.
    """
    parts = shards(source)
    keeper = _Keeper(
        None if checkpoint is None else Path(checkpoint),
        checkpoint_every,
        _fingerprint(estimator, parts, first, encoding, window),
    )
    places: list[Place] = []
    if found := keeper.load():
        vars(estimator).update(found.state)
        if found.done:
            return
        places, encoding = found.places, getattr(estimator, "encoding_", None)
    else:
        estimator._forget()  # noqa: SLF001 - a part of the estimator
        _look(estimator, parts[0], encoding)
    random = estimator.random_state
    seed = random if isinstance(random, (int, np.integer)) else 0
    workers = _count(n_jobs)
    streams = [Stream(parts[i::workers], encoding, window, int(seed) + i) for i in range(workers)]
    streams = [stream for stream in streams if stream.shards]
    places = places or [Place()] * len(streams)

    def learned(places: list[Place]) -> None:
        keeper.save(estimator, places, done=False)
        if on_window is not None:
            on_window(estimator)

    for _ in range(estimator._passes, estimator.max_iter):  # noqa: SLF001 - a part of the estimator
        if len(streams) == 1:
            for place in _advance(estimator, streams[0], places[0], first):
                places = [place]
                learned(places)
        else:
            for places in _in_parallel(estimator, streams, places, first, interval):  # noqa: B020
                learned(places)
        places = [Place(windows=place.windows) for place in places]
        estimator._passes += 1  # noqa: SLF001 - the same
    estimator.n_iter_ = estimator._passes  # noqa: SLF001 - the same
    keeper.save(estimator, places, done=True)


def _look(estimator: Any, blocks: Blocks, encoding: Hashed | None) -> None:
    """Look at the first block: fit the encoding to it if it is a table."""
    block = first_of(blocks)
    if block is None:
        raise ValueError(f"source has no rows: {blocks.name}")
    if not isinstance(block, pa.Table):
        if encoding is not None:
            raise ValueError("target is for tables, and the source has rows (X, y)")
        return
    if encoding is None:
        columns = ", ".join(block.column_names)
        raise ValueError(f"target must name the column to predict, one of {columns}")
    estimator.encoding_ = encoding.fit(block)


def _count(n_jobs: int | None) -> int:
    from joblib import effective_n_jobs  # noqa: PLC0415 - slow to load

    return int(effective_n_jobs(n_jobs))


def _fingerprint(
    estimator: Any,
    parts: Sequence[Blocks],
    first: dict[str, Any],
    encoding: Hashed | None,
    window: int,
) -> str:
    settings = {name: repr(value) for name, value in sorted(estimator.get_params().items())}
    asked = {} if encoding is None else {k: repr(v) for k, v in sorted(vars(encoding).items())}
    names = [part.name for part in parts]
    text = repr((type(estimator).__name__, settings, asked, repr(first), window, names))
    return hashlib.sha256(text.encode()).hexdigest()


def _advance(
    estimator: Any,
    stream: Stream,
    begin: Place,
    first: dict[str, Any],
    rows: float = np.inf,
) -> Iterator[Place]:
    """Let an estimator learn windows until it has so many rows; yield the place after each."""
    for place, (X, y, weights) in _ahead(stream.windows(begin)):
        estimator._learn_window(X, y, weights, first)  # noqa: SLF001 - a part of the estimator
        rows -= X.shape[0]
        yield place
        if rows <= 0:
            return


def _ahead(windows: Iterator[Any]) -> Iterator[Any]:
    """Yield what an iterator does, while a thread already makes the next."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, windows, None)
        while (window := coming.result()) is not None:
            coming = pool.submit(next, windows, None)
            yield window


def _in_parallel(
    estimator: Any,
    streams: Sequence[Stream],
    places: Sequence[Place],
    first: dict[str, Any],
    interval: int,
) -> Iterator[list[Place]]:
    """Let workers learn an interval each from the same start, average, and yield their places."""
    from joblib import Parallel, delayed  # noqa: PLC0415 - slow to load

    places = list(places)
    if not hasattr(estimator, "coef_"):  # all scale columns as one window asks for
        places[0] = next(_advance(estimator, streams[0], places[0], first))
    going = set(range(len(streams)))
    with Parallel(n_jobs=len(streams)) as parallel:
        while going:
            found = parallel(
                delayed(_interval)(estimator, streams[i], places[i], first, interval)
                for i in sorted(going)
            )
            if moved := [(each, rows) for each, _, rows in found if rows]:
                estimator._average(moved)  # noqa: SLF001
            for i, (_, place, rows) in zip(sorted(going), found, strict=True):
                places[i] = place
                if rows < interval:
                    going.remove(i)
            yield places


def _interval(
    estimator: Any,
    stream: Stream,
    begin: Place,
    first: dict[str, Any],
    rows: int,
) -> tuple[Any, Place, int]:
    """Return the estimator after an interval, the place after it, and the rows learned."""
    own = copy.deepcopy(estimator)  # where workers are threads
    place = begin
    for place in _advance(own, stream, begin, first, rows):  # noqa: B007 - the last is kept
        pass
    return own, place, own.rows_seen_ - estimator.rows_seen_


def _part(block: Any) -> Rows:
    """Return rows of a block, their targets and their weights, if there are some."""
    if not isinstance(block, (tuple, list)) or len(block) not in {2, 3}:
        size = f" of {len(block)}" if isinstance(block, tuple) else ""
        raise ValueError(
            "a block must be (X, y), (X, y, sample_weight), a frame, an Arrow table or a record "
            f"batch, got {type(block).__name__}{size}"
        )
    X, *rest = block
    X = X if issparse(X) else np.asarray(X)
    y, weights = (None if each is None else np.asarray(each) for each in (*rest, None)[:2])
    for name, given in (("y", y), ("sample_weight", weights)):
        if given is not None and given.shape[:1] != X.shape[:1]:
            raise ValueError(
                f"{name} of a block must be as long as its X, of shape {X.shape}, got {given.shape}"
            )
    if y is None:
        raise ValueError("y of a block must be given, got None")
    return X, y, weights


def _length(block: Any) -> int:
    return int(block.num_rows) if isinstance(block, pa.Table) else int(block[0].shape[0])


def _width(block: Any) -> int:
    if isinstance(block, pa.Table):
        return int(block.num_columns)
    X = block[0]
    return int(X.nnz / max(X.shape[0], 1)) + 1 if issparse(X) else int(np.shape(X)[1])
