"""Store: every finished training of a race in one SQLite file, safe against a kill."""

import contextlib
import hashlib
import io
import json
import sqlite3
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from thalweg import files
from thalweg.data import Dataset
from thalweg.words import listed

__all__ = [
    "FINAL",
    "PHASES",
    "RERUN",
    "SCHEMA",
    "TIMING",
    "Records",
    "Result",
    "Store",
    "Trial",
    "fingerprint",
    "load_data",
    "races",
    "save_data",
]

SCHEMA = 2  # docs/store.md says what each table holds; the number is the file's user_version

_TABLES = f"""
BEGIN;
CREATE TABLE race (
  id INTEGER PRIMARY KEY CHECK (id = 1), terms TEXT NOT NULL, source TEXT, lanes INTEGER NOT NULL);
CREATE TABLE counts (rule TEXT PRIMARY KEY, trials INTEGER NOT NULL);
CREATE TABLE trials (
  id INTEGER PRIMARY KEY, rule TEXT NOT NULL, phase TEXT NOT NULL, number INTEGER NOT NULL,
  round TEXT NOT NULL, seed INTEGER NOT NULL, batch_size INTEGER NOT NULL, hyper TEXT NOT NULL,
  epochs INTEGER NOT NULL, schedule TEXT NOT NULL, diverged_at INTEGER NOT NULL,
  test_loss REAL, test_score REAL, UNIQUE (rule, phase, number));
CREATE TABLE evaluations (
  trial INTEGER NOT NULL REFERENCES trials (id), epoch INTEGER NOT NULL,
  train_loss REAL, validation_loss REAL, PRIMARY KEY (trial, epoch)) WITHOUT ROWID;
CREATE TABLE timings (rule TEXT PRIMARY KEY, seconds_per_epoch REAL NOT NULL);
CREATE TABLE progress (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL);
PRAGMA user_version = {SCHEMA};
COMMIT;
"""

FINAL, RERUN = "final", "rerun"
PHASES = ("trial", RERUN, FINAL)
TIMING = "timing"  # a training for its seconds, as a user would run it; no store keeps it


@dataclass(frozen=True)
class Trial:
    """One training that a race asks for.

    Args:
        rule: name.
        round: ``"round 1"``, ``"widened"``, ``"round 2"``, ``"rerun"``, ``"final"`` or
            ``"timing"``.
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
    def phase(self) -> str:
        """What it is for: ``"trial"`` of a setting, ``"rerun"`` of a good one, or ``"final"``."""
        return self.round if self.round in {RERUN, FINAL} else "trial"


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


class Records:
    """What a race's file holds; it may be read while the race runs.

    A context manager; leaving it closes the file. An error of SQLite that leaves it names the
    file and the remedy.

    Args:
        directory: the folder of the race.

    Raises:
        FileNotFoundError: the folder holds no race.
        ValueError: its race.sqlite is something else, or damaged.
        OSError: the disk is full or fails.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / "race.sqlite"
        if not path.exists():
            raise FileNotFoundError(f"{directory} holds no race: there is no race.sqlite in it")
        self.directory: Path | None = directory
        self._connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        if not self._check():
            self._connection.close()
            raise FileNotFoundError(f"{directory} holds a race that is only just beginning")

    def _check(self) -> bool:
        """Return whether the file has its tables; raise ValueError if it is something else."""
        try:
            (schema,) = self._connection.execute("PRAGMA user_version").fetchone()
            tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise ValueError(
                f"{self.directory}/race.sqlite is not a race ({error}); choose another --out"
            ) from None
        if tables and schema != SCHEMA:
            self._connection.close()
            raise ValueError(
                f"{self.directory}/race.sqlite must have schema {SCHEMA}, got {schema}: another "
                "version of thalweg wrote it; choose another --out"
            )
        return bool(tables)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: object, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()
        if isinstance(error, sqlite3.Error) and self.directory is not None:
            raise _sentence(error, self.directory / "race.sqlite") from error

    def _one(self, query: str) -> Any:  # noqa: ANN401 - what a column holds
        row = self._connection.execute(query).fetchone()
        return row[0] if row else None

    def terms(self) -> dict[str, Any] | None:
        """Return the terms that this race began with, None if it did not begin yet."""
        text = self._one("SELECT terms FROM race")
        return json.loads(text) if text else None

    def source(self) -> str | None:
        """Return the task file and function that were given, None where it was not one."""
        source: str | None = self._one("SELECT source FROM race")
        return source

    def lanes(self) -> int:
        """Return how many trials a piece of work of this race has at most."""
        return int(self._one("SELECT lanes FROM race"))

    def counts(self) -> dict[str, int]:
        """Return the number of first-round trials decided for each rule."""
        return dict(self._connection.execute("SELECT rule, trials FROM counts"))

    def timings(self) -> dict[str, float]:
        """Return the seconds per epoch of each rule that was timed."""
        return dict(self._connection.execute("SELECT rule, seconds_per_epoch FROM timings"))

    def progress(self) -> dict[str, Any] | None:
        """Return what the race last told of its progress."""
        text = self._one("SELECT state FROM progress")
        return json.loads(text) if text else None

    def results(self) -> Iterator[Result]:
        """Yield every finished training, in the order in which they finished."""
        for (
            key,
            rule,
            number,
            *trial,
            hyper,
            epochs,
            schedule,
            at,
            loss,
            score,
        ) in self._connection.execute(
            "SELECT id, rule, number, round, seed, batch_size, hyper, epochs, schedule, "
            "diverged_at, test_loss, test_score FROM trials ORDER BY id"
        ):
            label, seed, size = trial
            curves = self._connection.execute(
                "SELECT train_loss, validation_loss FROM evaluations WHERE trial = ? "
                "ORDER BY epoch",
                (key,),
            ).fetchall()
            losses = np.array(curves, float)  # SQL's NULL is NaN
            yield Result(
                Trial(rule, label, number, seed, size, json.loads(hyper), epochs, schedule),
                at,
                losses[:, 0],
                losses[:, 1],
                *(np.nan if value is None else value for value in (loss, score)),
            )


class Store(Records):
    """The results of one race: in memory, or in a folder where no other process races meanwhile.

    A context manager; leaving it lets go of the folder.

    Args:
        directory: the folder, made where missing; None keeps the results in memory.

    Raises:
        BlockingIOError: another process races in this folder.
        ValueError: the folder holds files but no race, or its race.sqlite is something else or
            damaged; nothing in it was touched.
        OSError: the folder cannot be written, its disk is full or fails.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        if directory is not None:
            _refuse_foreign(directory)
        self._lock = None if directory is None else _locked(directory)
        path = ":memory:" if directory is None else str(directory / "race.sqlite")
        self._results: dict[tuple[str, str], dict[int, Result]] = {}
        try:
            with contextlib.ExitStack() as undo:
                undo.callback(self._unlock)
                self._connection = undo.enter_context(contextlib.closing(sqlite3.connect(path)))
                begun = self._check()
                # WAL: others read meanwhile. NORMAL: a commit outlives the process without waiting
                # for the disk.
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
                if not begun:
                    self._connection.executescript(_TABLES)
                self._index(self.results())
                undo.pop_all()
        except sqlite3.Error as error:
            raise _sentence(error, Path(path)) from error

    def __exit__(
        self, kind: object, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(sqlite3.Error):  # somebody watches, or the disk is full
            self._connection.execute("PRAGMA journal_mode = DELETE")  # one file, that is all
        self._unlock()
        super().__exit__(kind, error, traceback)

    def _unlock(self) -> None:
        if self._lock:
            self._lock.close()

    def begin(
        self, terms: Mapping[str, Any], counts: Mapping[str, int], source: str | None, lanes: int
    ) -> None:
        """Keep the terms of a new race, and the number of first-round trials of each rule."""
        with self._connection:
            row = (json.dumps(terms), source, lanes)
            self._connection.execute("INSERT INTO race VALUES (1, ?, ?, ?)", row)
            self._connection.executemany("INSERT INTO counts VALUES (?, ?)", counts.items())

    def time(self, rule: str, seconds_per_epoch: float) -> None:
        """Keep a timing."""
        with self._connection:
            self._connection.execute("INSERT INTO timings VALUES (?, ?)", (rule, seconds_per_epoch))

    def tell(self, state: Mapping[str, Any]) -> None:
        """Keep how far the race is, for those who watch it."""
        with self._connection:
            text = (json.dumps(state),)
            self._connection.execute("INSERT OR REPLACE INTO progress VALUES (1, ?)", text)

    def add(
        self, results: Sequence[Result], checkpoints: Mapping[str, bytes] | None = None
    ) -> None:
        """Keep finished trainings, all or none of them.

        Args:
            results: of the trainings.
            checkpoints: by rule, of the one with the lowest validation loss; it takes the place of
                the rule's if its loss is lower than those of all finals before.
        """
        for rule, checkpoint in (checkpoints or {}).items():
            self._keep([result for result in results if result.trial.rule == rule], checkpoint)
        with self._connection:
            for result in results:
                row = _row(result)
                marks = ", ".join("?" * len(row))
                key = self._connection.execute(
                    f"INSERT INTO trials VALUES (NULL, {marks})",  # noqa: S608 - question marks
                    row,
                ).lastrowid
                curves = zip(
                    result.train_loss.tolist(), result.validation_loss.tolist(), strict=True
                )
                self._connection.executemany(
                    "INSERT INTO evaluations VALUES (?, ?, ?, ?)",
                    [(key, epoch, *losses) for epoch, losses in enumerate(curves)],
                )
        self._index(results)

    def _index(self, results: Iterable[Result]) -> None:
        for result in results:
            trial = result.trial
            self._results.setdefault((trial.phase, trial.rule), {})[trial.number] = result

    def _keep(self, results: Sequence[Result], checkpoint: bytes) -> None:
        assert self.directory

        def place(result: Result) -> tuple[float, int]:
            return result.loss, result.trial.number

        best = min(results, key=place)
        if all(place(best) < place(other) for other in self.of(best.trial.rule, FINAL)):
            folder = self.directory / "checkpoints"
            folder.mkdir(exist_ok=True)
            files.write(folder / f"{best.trial.rule}.pt", checkpoint)

    def get(self, trial: Trial) -> Result | None:
        """Return the result of a training, None if it is not finished.

        Raises:
            ValueError: the store has another training in its place.
        """
        result = self._results.get((trial.phase, trial.rule), {}).get(trial.number)
        if result and result.trial != trial:
            raise ValueError(
                f"{self.directory} holds {result.trial} where this thalweg would run {trial}; "
                "choose another --out"
            )
        return result

    def of(self, rule: str, phase: str) -> list[Result]:
        """Return the results of a rule in one of ``PHASES``, by number."""
        found = self._results.get((phase, rule), {})
        return [found[number] for number in sorted(found)]


def _refuse_foreign(directory: Path) -> None:
    """Raise ValueError for a folder that is neither new, nor empty, nor a race's own."""
    if (directory / "race.sqlite").exists():
        with contextlib.suppress(FileNotFoundError), Records(directory):  # one that just begins
            return
    elif directory.is_dir():
        if held := sorted({path.name for path in directory.iterdir()} - {"race.lock"}):
            raise ValueError(
                f"{directory} holds files that are not a race's ({listed(held, 3)}); nothing was "
                "written there: choose a new or empty folder with --out"
            )
    elif directory.exists():
        raise ValueError(f"{directory} is a file; choose a new or empty folder with --out")


def _locked(directory: Path) -> sqlite3.Connection:
    """Take the lock of a folder: the operating system's, it ends with the process, however it ends.

    It is on a file of its own, so that the race's can be read meanwhile.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "race.lock"
    try:
        lock = sqlite3.connect(path, timeout=1)  # who looks takes it for a moment
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if "locked" not in str(error):
            raise _sentence(error, path) from error
        lock.close()
        raise BlockingIOError(
            f"another process is racing in {directory}; wait for it, or choose another --out"
        ) from None
    return lock


def _sentence(error: sqlite3.Error, path: Path) -> Exception:
    """Return the error that names the file and the remedy."""
    if isinstance(error, sqlite3.OperationalError):
        return OSError(
            f"{path}: {error}; see that the folder can be written and its disk has room, then "
            "repeat the command: trainings that were finished are kept"
        )
    return ValueError(f"{path} is damaged ({error}); restore it, or race with another --out")


def races(directory: Path) -> bool:
    """Return whether a process is racing in a folder that holds a race."""
    lock = sqlite3.connect(directory / "race.lock", timeout=0)
    try:
        lock.execute("SELECT * FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        return "locked" in str(error)
    finally:
        lock.close()
    return False


def _row(result: Result) -> list[Any]:
    trial = result.trial
    return [
        trial.rule,
        trial.phase,
        trial.number,
        trial.round,
        trial.seed,
        trial.batch_size,
        json.dumps(dict(trial.hyper)),
        trial.epochs,
        trial.schedule,
        result.diverged_at,
        result.test_loss,
        result.test_score,
    ]


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
        ValueError: it is damaged.
    """
    path = directory / "data.npz"
    remedy = "restore it, or repeat the command that began the race, with its data"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; {remedy}")
    try:
        with path.open("rb") as file, contextlib.closing(np.load(file)) as arrays:
            names = json.loads(str(arrays["names"]))
            X, y = arrays["X"], arrays["y"]
    except (zipfile.BadZipFile, EOFError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); {remedy}") from error
    names["features"] = tuple(names["features"])
    names["classes"] = tuple(names["classes"]) if names["classes"] is not None else None
    return Dataset(X=X, y=y, **names)
