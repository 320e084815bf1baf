"""Store: every finished training of a race, in one SQLite file that survives a kill."""

import contextlib
import functools
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal, Self

import msgspec
import numpy as np
from msgspec import Meta, ValidationError

from thalweg import files
from thalweg.progress import Progress
from thalweg.racing.protocol import MAX_TRIALS, Terms
from thalweg.racing.trial import FINAL, Result, Trial
from thalweg.tasks.task import Target
from thalweg.words import listed

__all__ = [
    "SCHEMA",
    "Records",
    "Store",
    "races",
]

SCHEMA = 5  # docs/store.md says what each table holds; the number is the file's user_version

_TABLES = f"""
BEGIN;
CREATE TABLE race (
  id INTEGER PRIMARY KEY CHECK (id = 1), terms TEXT NOT NULL, source TEXT, lanes INTEGER NOT NULL,
  workers INTEGER NOT NULL);
CREATE TABLE counts (rule TEXT PRIMARY KEY, trials INTEGER NOT NULL);
CREATE TABLE targets (
  repeat INTEGER PRIMARY KEY, validation_loss REAL, constant REAL, reference REAL,
  rule TEXT NOT NULL);
CREATE TABLE trials (
  id INTEGER PRIMARY KEY, rule TEXT NOT NULL, phase TEXT NOT NULL, repeat INTEGER NOT NULL,
  number INTEGER NOT NULL, round TEXT NOT NULL, seed INTEGER NOT NULL,
  batch_size INTEGER NOT NULL, hyper TEXT NOT NULL,
  epochs INTEGER NOT NULL, schedule TEXT NOT NULL, diverged_at INTEGER NOT NULL,
  test_loss REAL, test_score REAL, UNIQUE (rule, phase, repeat, number));
CREATE TABLE evaluations (
  trial INTEGER NOT NULL REFERENCES trials (id), epoch INTEGER NOT NULL,
  train_loss REAL, validation_loss REAL, PRIMARY KEY (trial, epoch)) WITHOUT ROWID;
CREATE TABLE timings (
  rule TEXT NOT NULL, turn INTEGER NOT NULL, seconds_per_epoch REAL NOT NULL,
  PRIMARY KEY (rule, turn));
CREATE TABLE progress (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL);
PRAGMA user_version = {SCHEMA};
COMMIT;
"""

_Count = Annotated[int, Meta(ge=0)]
_Positive = Annotated[int, Meta(ge=1)]


class _Row(msgspec.Struct):
    """What a row of the table of trials must be: a file may come from anybody."""

    id: int
    rule: str
    phase: Literal["trial", "rerun", "final"]
    repeat: _Count
    number: _Count
    round: str
    seed: _Count
    batch_size: _Positive
    hyper: str
    epochs: _Positive
    schedule: str
    diverged_at: _Count
    test_loss: float | None
    test_score: float | None


_ROW = ", ".join(_Row.__struct_fields__)


class Records:
    """What the file of a race holds. It can be read while the race runs.

    A context manager: leaving it closes the file. Its errors name the file and the remedy, also
    those of SQLite.

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
        self._connection = _connected(path)
        if not self._check():
            self._connection.close()
            raise FileNotFoundError(
                f"{directory} holds a race that is only just beginning, or never began"
            )

    def _check(self) -> bool:
        """Return whether the file has its tables; raise ValueError if it is something else."""
        try:
            (schema,) = self._connection.execute("PRAGMA user_version").fetchone()
            tables = _tables(self._connection)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise ValueError(
                f"{self.directory}/race.sqlite is not a race ({error}); choose another folder"
            ) from None
        if tables and schema != SCHEMA:
            self._connection.close()
            raise ValueError(
                f"{self.directory}/race.sqlite must have schema {SCHEMA}, got {schema}: another "
                "version of thalweg wrote it; choose another folder"
            )
        if tables and tables != _own_tables():  # a view or a trigger could run anything
            self._connection.close()
            raise ValueError(
                f"{self.directory}/race.sqlite is not a race (its tables are others); choose "
                "another folder"
            )
        return bool(tables)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: object, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()
        if isinstance(error, _ERRORS) and self.directory is not None:
            raise _sentence(error, self.directory / "race.sqlite") from error

    def _one(self, query: str) -> Any:  # noqa: ANN401 - what a column holds
        row = self._connection.execute(query).fetchone()
        return row[0] if row else None

    def terms(self) -> Terms | None:
        """Return the terms that this race began with; None if it has not begun."""
        text = self._one("SELECT terms FROM race")
        return None if text is None else msgspec.json.decode(_text(text), type=Terms)

    def source(self) -> str | None:
        """Return the task file and function that were given; None if the task came otherwise."""
        return msgspec.convert(self._one("SELECT source FROM race"), str | None)

    def lanes(self) -> int:
        """Return how many trials a piece of work of this race has at most."""
        return msgspec.convert(self._one("SELECT lanes FROM race"), _Positive)

    def workers(self) -> int:
        """Return for how many workers this race makes pieces of work at the same time."""
        return msgspec.convert(self._one("SELECT workers FROM race"), _Positive)

    def counts(self) -> dict[str, int]:
        """Return how many first-round trials each rule has."""
        found = dict(self._connection.execute("SELECT rule, trials FROM counts"))
        return msgspec.convert(found, dict[str, Annotated[int, Meta(ge=1, le=MAX_TRIALS)]])

    def targets(self) -> dict[int, Target]:
        """Return the targets of the repeats for which they are known."""
        rows = msgspec.convert(
            self._connection.execute("SELECT * FROM targets").fetchall(),
            list[tuple[_Count, float | None, float | None, float | None, str]],
        )
        found = {}
        for repeat, *losses, rule in rows:
            loss, constant, reference = np.array(losses, float).tolist()  # SQL's NULL is NaN
            found[repeat] = Target(loss, constant, reference, rule)
        return found

    def timings(self) -> dict[str, list[float]]:
        """Return the seconds per epoch of each rule, for each turn in which it was measured."""
        query = "SELECT rule, seconds_per_epoch FROM timings ORDER BY turn"
        rows = msgspec.convert(
            self._connection.execute(query).fetchall(),
            list[tuple[str, Annotated[float, Meta(gt=0)]]],
        )
        found: dict[str, list[float]] = {}
        for rule, taken in rows:
            found.setdefault(rule, []).append(taken)
        return found

    def progress(self) -> Progress | None:
        """Return what the race last told of its progress."""
        text = self._one("SELECT state FROM progress")
        return None if text is None else msgspec.json.decode(_text(text), type=Progress)

    def results(self) -> Iterator[Result]:
        """Yield every finished training, in the order in which they finished."""
        for values in self._connection.execute(f"SELECT {_ROW} FROM trials ORDER BY id"):  # noqa: S608 - our names
            found = dict(zip(_Row.__struct_fields__, values, strict=True))
            yield self._result(msgspec.convert(found, _Row))

    def _result(self, row: _Row) -> Result:
        trial = Trial(
            row.rule,
            row.round,
            row.number,
            row.seed,
            row.batch_size,
            msgspec.json.decode(row.hyper, type=dict[str, float]),
            row.epochs,
            row.schedule,
            row.repeat,
        )
        # Names of files, in commands and in pictures; that of a rule may have wrappers.
        names = (*trial.rule.rstrip(")").split("("), trial.schedule, *trial.hyper)
        if not all(name.isidentifier() for name in names) or trial.phase != row.phase:
            raise ValidationError(f"training {row.id} is none of a race")
        curves = self._connection.execute(
            "SELECT epoch, train_loss, validation_loss FROM evaluations WHERE trial = ? "
            "ORDER BY epoch",
            (row.id,),
        ).fetchall()
        points = msgspec.convert(curves, list[tuple[int, float | None, float | None]])
        if [epoch for epoch, *_ in points] != list(range(len(points))) or (
            len(points) != row.epochs + 1
        ):
            raise ValidationError(f"training {row.id} does not have the losses of its epochs")
        losses = np.array([both for _, *both in points], float)  # SQL's NULL is NaN
        judged = (np.nan if value is None else value for value in (row.test_loss, row.test_score))
        return Result(trial, row.diverged_at, losses[:, 0], losses[:, 1], *judged)


class Store(Records):
    """The results of one race: in memory, or in a folder where no other process races meanwhile.

    A context manager: leaving it lets go of the folder.

    Args:
        directory: the folder, which is made if it is missing. None keeps the results in memory.

    Raises:
        BlockingIOError: another process races in this folder.
        ValueError: the folder holds files but no race, or its race.sqlite is something else or
            damaged. Nothing in it was touched.
        OSError: the folder cannot be written, its disk is full or fails.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        if directory is not None:
            _refuse_foreign(directory)
        self._lock = None if directory is None else _locked(directory)
        path = ":memory:" if directory is None else str(directory / "race.sqlite")
        self._results: dict[tuple[str, str], dict[tuple[int, int], Result]] = {}
        try:
            with contextlib.ExitStack() as undo:
                undo.callback(self._unlock)
                self._connection = undo.enter_context(
                    contextlib.closing(_connected(Path(path), "rwc"))
                )
                begun = self._check()
                # WAL: others read meanwhile. NORMAL: a commit outlives the process without waiting
                # for the disk.
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
                if not begun:
                    self._connection.executescript(_TABLES)
                self._index(self.results())
                undo.pop_all()
        except _ERRORS as error:
            raise _sentence(error, Path(path)) from error

    def __exit__(
        self, kind: object, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(sqlite3.Error):  # somebody is reading it, or the disk is full
            self._connection.execute("PRAGMA journal_mode = DELETE")  # then the race is one file
        self._unlock()
        super().__exit__(kind, error, traceback)

    def _unlock(self) -> None:
        if self._lock:
            self._lock.close()

    def begin(
        self,
        terms: Terms,
        counts: Mapping[str, int],
        source: str | None,
        lanes: int,
        workers: int,
    ) -> None:
        """Keep the terms of a new race, and the number of first-round trials of each rule."""
        with self._connection:
            row = (_json(terms), source, lanes, workers)
            self._connection.execute("INSERT INTO race VALUES (1, ?, ?, ?, ?)", row)
            self._connection.executemany("INSERT INTO counts VALUES (?, ?)", counts.items())

    def aim(self, repeat: int, target: Target) -> None:
        """Keep the target of a repeat."""
        with self._connection:
            row = (repeat, *astuple(target))
            self._connection.execute("INSERT INTO targets VALUES (?, ?, ?, ?, ?)", row)

    def time(self, rule: str, turn: int, seconds_per_epoch: float) -> None:
        """Keep a timing."""
        with self._connection:
            row = (rule, turn, seconds_per_epoch)
            self._connection.execute("INSERT INTO timings VALUES (?, ?, ?)", row)

    def tell(self, progress: Progress) -> None:
        """Keep how far the race is, for those who watch it."""
        with self._connection:
            text = (_json(progress),)
            self._connection.execute("INSERT OR REPLACE INTO progress VALUES (1, ?)", text)

    def add(
        self, results: Sequence[Result], checkpoints: Mapping[str, bytes] | None = None
    ) -> None:
        """Keep finished trainings, all or none of them.

        Args:
            results: of the trainings.
            checkpoints: for each rule, of the training with the lowest validation loss. It replaces
                the rule's checkpoint if its loss is lower than that of every earlier final.
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
            found = self._results.setdefault((trial.phase, trial.rule), {})
            found[trial.repeat, trial.number] = result

    def _keep(self, results: Sequence[Result], checkpoint: bytes) -> None:
        assert self.directory

        def rank(result: Result) -> tuple[float, int, int]:
            return result.loss, result.trial.repeat, result.trial.number

        best = min(results, key=rank)
        if all(rank(best) < rank(other) for other in self.of(best.trial.rule, FINAL)):
            folder = files.folder(self.directory / "checkpoints")
            files.write(folder / f"{best.trial.rule}.pt", checkpoint)

    def get(self, trial: Trial) -> Result | None:
        """Return the result of a training, None if it is not finished.

        Raises:
            ValueError: the store has another training of that number.
        """
        found = self._results.get((trial.phase, trial.rule), {})
        result = found.get((trial.repeat, trial.number))
        if result and result.trial != trial:
            raise ValueError(
                f"{self.directory} holds {result.trial} where this thalweg would run {trial}; "
                "choose another folder"
            )
        return result

    def of(self, rule: str, phase: str, repeat: int | None = None) -> list[Result]:
        """Return the results of a rule in one of ``PHASES``, in order, of one repeat or of all."""
        found = self._results.get((phase, rule), {})
        return [found[key] for key in sorted(found) if repeat in {None, key[0]}]


def _refuse_foreign(directory: Path) -> None:
    """Raise ValueError unless a folder is new, empty, or that of a race."""
    if (directory / "race.sqlite").exists():
        with contextlib.suppress(FileNotFoundError), Records(directory):  # one that has just begun
            return
    elif directory.is_dir():
        if held := sorted({path.name for path in directory.iterdir()} - {"race.lock"}):
            raise ValueError(
                f"{directory} holds files that are not a race's ({listed(held, 3)}); nothing was "
                "written there: choose a new or empty folder"
            )
    elif directory.exists():
        raise ValueError(f"{directory} is a file; choose a new or empty folder")


def _locked(directory: Path) -> sqlite3.Connection:
    """Take the lock of a folder. The operating system ends it with the process, however that ends.

    The lock is on a file of its own, so that the race's file can be read meanwhile.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "race.lock"
    try:
        lock = _connected(path, "rwc", timeout=1)  # ``races`` takes it for a moment
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if "locked" not in str(error):
            raise _sentence(error, path) from error
        lock.close()
        raise BlockingIOError(
            f"another process is racing in {directory}; wait for it, or choose another folder"
        ) from None
    return lock


def _connected(path: Path, mode: str = "ro", timeout: float = 5.0) -> sqlite3.Connection:
    """Open a database that anybody may have written. Mode "rwc" makes a file that is missing.

    Raises:
        ValueError: opening it would touch a file elsewhere.
    """
    if path.name == ":memory:":
        return sqlite3.connect(path)
    for end in ("", "-journal", "-wal", "-shm"):
        file = path.with_name(path.name + end)
        if file.is_symlink() or (file.exists() and not file.is_file()):
            raise ValueError(f"{file} must be a plain file; restore it, or choose another folder")
    journal = path.with_name(path.name + "-journal")
    if journal.exists() and journal.read_bytes().endswith(_NAMES_ANOTHER):
        raise ValueError(f"{journal} names another file, which SQLite would delete; remove it")
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=timeout
    )
    connection.text_factory = functools.partial(str, encoding="utf-8", errors="replace")
    return connection


# The end of a rollback journal that names another journal: that of a race never does.
# SQLite deletes that file after the rollback if it knows no database in it, whatever it is.
_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")


def _tables(connection: sqlite3.Connection) -> set[tuple[Any, ...]]:
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


def _own_tables() -> set[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_TABLES)
        return _tables(connection)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _text(value: object) -> str:
    return msgspec.convert(value, str)


_ERRORS = (sqlite3.Error, msgspec.DecodeError)


def _sentence(error: Exception, path: Path) -> Exception:
    """Return the error that names the file and the remedy."""
    if isinstance(error, sqlite3.OperationalError):
        return OSError(
            f"{path}: {error}; see that the folder can be written and its disk has room, then "
            "repeat the command: trainings that were finished are kept"
        )
    return ValueError(f"{path} is damaged ({error}); restore it, or race into another folder")


def races(directory: Path) -> bool:
    """Return whether a process is racing in a folder that holds a race."""
    path = directory / "race.lock"
    if not path.exists():
        return False
    lock = _connected(path, timeout=0)
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
        trial.repeat,
        trial.number,
        trial.round,
        trial.seed,
        trial.batch_size,
        _json(trial.hyper),
        trial.epochs,
        trial.schedule,
        result.diverged_at,
        result.test_loss,
        result.test_score,
    ]
