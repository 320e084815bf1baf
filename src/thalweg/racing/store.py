"""Store: every finished training of a race in one SQLite file, safe against a kill."""

import contextlib
import hashlib
import io
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from thalweg import files
from thalweg.data import Dataset

__all__ = [
    "FINAL",
    "RERUN",
    "TABLES",
    "Result",
    "Store",
    "Trial",
    "fingerprint",
    "load_data",
    "save_data",
]

SCHEMA = 2

_TRAINING = """
  rule TEXT, number INTEGER, round TEXT NOT NULL, seed INTEGER NOT NULL,
  batch_size INTEGER NOT NULL, hyper TEXT NOT NULL, epochs INTEGER NOT NULL,
  schedule TEXT NOT NULL, diverged_at INTEGER NOT NULL,
  train_loss BLOB NOT NULL, validation_loss BLOB NOT NULL"""

_TABLES = f"""
CREATE TABLE IF NOT EXISTS race (id INTEGER PRIMARY KEY CHECK (id = 1), terms TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS counts (rule TEXT PRIMARY KEY, trials INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS trials ({_TRAINING}, PRIMARY KEY (rule, number));
CREATE TABLE IF NOT EXISTS reruns ({_TRAINING}, PRIMARY KEY (rule, number));
CREATE TABLE IF NOT EXISTS finals (
  {_TRAINING}, test_loss REAL, test_score REAL, PRIMARY KEY (rule, number));
CREATE TABLE IF NOT EXISTS timings (rule TEXT PRIMARY KEY, seconds_per_epoch REAL NOT NULL);
"""

FINAL, RERUN = "final", "rerun"
TABLES = ("trials", "reruns", "finals")


@dataclass(frozen=True)
class Trial:
    """One training that a race asks for.

    Args:
        rule: name.
        round: ``"round 1"``, ``"widened"``, ``"round 2"``, ``"rerun"`` or ``"final"``.
        number: counted from 0 in the rule's trials, in its re-runs, or in its finals.
        seed: of initial point and minibatches.
        batch_size: examples per step.
        hyper: every hyperparameter.
        epochs: length of the training.
        schedule: of the rate: ``"constant"``, or ``"cosine"``: a linear warm-up over the first
            10 % of the steps, then half a cosine to 0.
    """

    rule: str
    round: str
    number: int
    seed: int
    batch_size: int
    hyper: Mapping[str, float]
    epochs: int
    schedule: str = "constant"

    @property
    def table(self) -> str:
        """The table that holds it."""
        return f"{self.phase}s"

    @property
    def phase(self) -> str:
        """What it is for: ``"trial"`` of a setting, ``"rerun"`` of a good one, or ``"final"``."""
        return self.round if self.round in {RERUN, FINAL} else "trial"

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from all others of a race."""
        return self.table, self.rule, self.number


@dataclass(frozen=True, eq=False)
class Result:
    """A finished training.

    Attributes:
        trial: what was asked for.
        diverged_at: the step at which it became non-finite, 0 for never.
        train_loss: (epochs + 1,); row 0 is before the first step.
        validation_loss: (epochs + 1,).
        test_loss: of a final, else NaN.
        test_score: of a final, else NaN.
    """

    trial: Trial
    diverged_at: int
    train_loss: NDArray[np.float64] = field(repr=False)
    validation_loss: NDArray[np.float64] = field(repr=False)
    test_loss: float = np.nan
    test_score: float = np.nan

    @property
    def loss(self) -> float:
        """The validation loss at the end, by which trials are selected; inf if not finite."""
        last = float(self.validation_loss[-1])
        return last if self.diverged_at == 0 and np.isfinite(last) else np.inf

    @property
    def diverged(self) -> bool:
        """Whether it ended non-finite or above where it began."""
        return not self.loss <= self.validation_loss[0]


class Store:
    """The results of one race: in memory, or in a folder that no other process uses meanwhile.

    A context manager; leaving it lets go of the folder.

    Args:
        directory: the folder, made where missing; None keeps the results in memory.

    Raises:
        BlockingIOError: another process races in this folder.
        ValueError: the folder's race.sqlite is something else.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
        path = ":memory:" if directory is None else str(directory / "race.sqlite")
        self._connection = sqlite3.connect(path, timeout=0)
        try:
            # Exclusive: the lock is the operating system's and ends with the process, however it
            # ends. WAL and NORMAL: a commit outlives the process without waiting for the disk.
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.executescript(_TABLES)
        except sqlite3.OperationalError as error:
            self._connection.close()
            if "locked" not in str(error):
                raise
            raise BlockingIOError(
                f"another process is racing in {directory}; wait for it, or choose another --out"
            ) from None
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise ValueError(f"{path} is not a race ({error}); choose another --out") from None
        self._results = {result.trial.key: result for result in self._read()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def terms(self) -> dict[str, Any] | None:
        """Return the terms that this race began with, None if it did not begin yet."""
        row = self._connection.execute("SELECT terms FROM race").fetchone()
        return json.loads(row[0]) if row else None

    def begin(self, terms: Mapping[str, Any], counts: Mapping[str, int]) -> None:
        """Keep the terms of a new race, and the number of first-round trials of each rule."""
        with self._connection:
            self._connection.execute("INSERT INTO race VALUES (1, ?)", (json.dumps(terms),))
            self._connection.executemany("INSERT INTO counts VALUES (?, ?)", counts.items())

    def counts(self) -> dict[str, int]:
        """Return the number of first-round trials decided for each rule."""
        return dict(self._connection.execute("SELECT rule, trials FROM counts"))

    def timings(self) -> dict[str, float]:
        """Return the seconds per epoch of each rule that was timed."""
        return dict(self._connection.execute("SELECT rule, seconds_per_epoch FROM timings"))

    def time(self, rule: str, seconds_per_epoch: float) -> None:
        """Keep a timing."""
        with self._connection:
            self._connection.execute("INSERT INTO timings VALUES (?, ?)", (rule, seconds_per_epoch))

    def add(self, results: Sequence[Result]) -> None:
        """Keep finished trainings, all or none of them."""
        with self._connection:
            for result in results:
                row = _row(result)
                marks = ", ".join("?" * len(row))
                self._connection.execute(
                    f"INSERT INTO {result.trial.table} VALUES ({marks})",  # noqa: S608 - constants
                    row,
                )
        self._results.update((result.trial.key, result) for result in results)

    def get(self, trial: Trial) -> Result | None:
        """Return the result of a training, None if it is not finished.

        Raises:
            ValueError: the store has another training in its place.
        """
        result = self._results.get(trial.key)
        if result and result.trial != trial:
            raise ValueError(
                f"{self.directory} holds {result.trial} where this thalweg would run {trial}; "
                "choose another --out"
            )
        return result

    def of(self, rule: str, table: str) -> list[Result]:
        """Return the results of a rule in one of ``TABLES``, by number."""
        found = [r for r in self._results.values() if r.trial.key[:2] == (table, rule)]
        return sorted(found, key=lambda result: result.trial.number)

    def _read(self) -> Iterator[Result]:
        for table in TABLES:
            rows = self._connection.execute(f"SELECT * FROM {table}")  # noqa: S608 - constants
            for rule, number, label, seed, size, hyper, epochs, schedule, at, *rest in rows:
                trial = Trial(rule, label, number, seed, size, json.loads(hyper), epochs, schedule)
                train_loss, validation_loss = (np.frombuffer(blob, np.float64) for blob in rest[:2])
                judged = [np.nan if value is None else value for value in rest[2:]]  # SQL's NaN
                yield Result(trial, at, train_loss, validation_loss, *judged)


def _row(result: Result) -> list[Any]:
    trial = result.trial
    row = [
        trial.rule,
        trial.number,
        trial.round,
        trial.seed,
        trial.batch_size,
        json.dumps(dict(trial.hyper)),
        trial.epochs,
        trial.schedule,
        result.diverged_at,
        result.train_loss.tobytes(),
        result.validation_loss.tobytes(),
    ]
    return row if trial.round != FINAL else [*row, result.test_loss, result.test_score]


def fingerprint(dataset: Dataset) -> str:
    """Return a hash of the numbers of a data set.

    Example:
        >>> from thalweg.data import load
        >>> fingerprint(load("iris")) == fingerprint(load("iris"))
        True
    """
    digest = hashlib.sha256(repr(dataset.X.shape).encode())
    for array in (dataset.X, dataset.y):
        digest.update(str(array.dtype).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def save_data(dataset: Dataset, directory: Path) -> None:
    """Keep a data set beside its race, which can then be resumed wherever the data came from."""
    buffer = io.BytesIO()
    names = {key: value for key, value in vars(dataset).items() if key not in ("X", "y")}
    np.savez(buffer, X=dataset.X, y=dataset.y, names=np.array(json.dumps(names)))
    files.write(directory / "data.npz", buffer.getvalue())


def load_data(directory: Path) -> Dataset:
    """Return the data set of a race.

    Raises:
        FileNotFoundError: it is gone.
    """
    with contextlib.closing(np.load(directory / "data.npz")) as arrays:
        names = json.loads(str(arrays["names"]))
        names["features"] = tuple(names["features"])
        names["classes"] = tuple(names["classes"]) if names["classes"] is not None else None
        return Dataset(X=arrays["X"], y=arrays["y"], **names)
