"""Race folders that somebody else made: nothing of them runs, and no file elsewhere is touched."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from thalweg import cli, racing
from thalweg.racing.protocol import Protocol, Terms
from thalweg.racing.store import SCHEMA, Records, Store, races
from thalweg.racing.trial import Result, Trial
from thalweg.racing.writers import writing

EVIL = "\x1b[2J\x1b]0;owned\x07\u202e"


def begun(folder: Path, source: str | None = None) -> Path:
    """Make the folder of a race of a task that has two trainings."""
    terms = Terms(SCHEMA, "", "", {}, Protocol(("adam",), l2=None))
    losses = np.array([2.0, 1.0])
    with Store(folder) as store:
        store.begin(terms, {"adam": 4}, source, 1, 2)
        store.add(
            [
                Result(Trial("adam", "round 1", i, 7, 32, {"lr": 0.1}, 1), 0, losses, losses)
                for i in range(2)
            ]
        )
    return folder


def change(folder: Path, script: str) -> None:
    other = sqlite3.connect(folder / "race.sqlite")
    other.executescript(script)
    other.close()


def said(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Return the one sentence of a command that fails."""
    assert cli.main(list(map(str, words))) in {1, 2}
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    return error


# -- task files ----------------------------------------------------------------------------------


@pytest.fixture
def spy(tmp_path: Path) -> Callable[[Path], Path]:
    """Return a function that writes a task file; being imported it makes a folder "ran"."""

    def write(file: Path) -> Path:
        file.parent.mkdir(exist_ok=True)
        file.write_text(
            f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\ndef task():\n    return 1\n"
        )
        return file

    return write


@pytest.mark.parametrize("where", ["inside", "link inside", "link to inside", "relative", "up"])
def test_a_task_file_that_came_with_the_folder_never_runs(
    where: str,
    tmp_path: Path,
    spy: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "race"
    named = {
        "inside": folder / "train.py",
        "link inside": folder / "link.py",
        "link to inside": tmp_path / "link.py",
        "relative": Path("theirs.py"),
        "up": tmp_path / "other" / ".." / "race" / "train.py",
    }[where]
    begun(folder, f"{named}:task")
    inside, outside = spy(folder / "train.py"), spy(tmp_path / "theirs.py")
    (folder / "link.py").symlink_to(outside)
    (tmp_path / "link.py").symlink_to(inside)
    with pytest.raises(ValueError, match="came with the folder; it is not run"):
        racing.resume(folder, trust=True)
    assert "came with the folder" in said(capsys, "race", "--resume", folder, "--trust")
    assert not (tmp_path / "ran").exists()


def test_another_task_file_runs_only_for_who_trusts_it(
    tmp_path: Path, spy: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = spy(tmp_path / "train.py")
    folder = begun(tmp_path / "race", f"{file}:task")
    with pytest.raises(ValueError, match=r"would run\. Read it; .* thalweg\.resume\(.*, trust=T"):
        racing.resume(folder)
    asked: list[str] = []
    with pytest.raises(ValueError, match="would run"):
        racing.resume(folder, trust=lambda path: bool(asked.append(path)))
    assert asked == [str(file)]
    assert "would run. Read it; if you trust it, give --trust" in said(
        capsys, "race", "--resume", folder
    )
    for command in ("watch", "results", "report"):
        cli.main([command, str(folder)])
    assert not (tmp_path / "ran").exists()
    capsys.readouterr()
    assert "must return a thalweg.TorchTask" in said(capsys, "race", "--resume", folder, "--trust")
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("answer", ["y", "n"])
def test_on_a_terminal_its_user_is_asked(
    answer: str,
    tmp_path: Path,
    spy: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    questions: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        questions.append(question)
        return answer == "y"

    monkeypatch.setattr("typer.confirm", confirm)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    file = spy(tmp_path / f"tr{EVIL}ain.py")
    folder = begun(tmp_path / "race", f"{file}:task")
    assert cli.main(["race", "--resume", str(folder), "--quiet"]) == 2
    assert "Do you trust it?" in questions[0]
    assert EVIL not in questions[0] + capsys.readouterr().err
    assert (tmp_path / "ran").exists() == (answer == "y")


# -- names and numbers that lead elsewhere -------------------------------------------------------


@pytest.mark.parametrize(
    "edit",
    [
        "rule = '../../treasure'",
        "rule = '{treasure}'",
        "rule = ''",
        f"rule = 'adam{EVIL}'",
        "rule = x'61'",
        "number = '/../../../treasure'",
        "number = -1",
        "phase = '../../treasure'",
        "phase = 'final'",
        "round = 'final'",
        "hyper = '{{\"../lr\": 0.1}}'",
        "hyper = '[1]'",
        "hyper = '{{\"lr\": NaN}}'",
        "epochs = 5",
        "epochs = 9223372036854775807",
        "schedule = '../..'",
        "diverged_at = -1",
        "batch_size = 0",
        "test_loss = 'much'",
        "seed = x'ff'",
    ],
)
def test_names_and_numbers_are_what_a_race_writes(
    edit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    folder = begun(tmp_path / "race")
    change(folder, f"UPDATE trials SET {edit} WHERE number = 1".format(treasure=treasure))  # noqa: S608
    with pytest.raises(ValueError, match=r"race\.sqlite is damaged"):
        Store(folder)
    for words in (("results", "--csv"), ("results", "--json")):
        error = said(capsys, words[0], folder, words[1])
        assert "race.sqlite is damaged" in error
        assert "\x1b" not in error
    assert treasure.is_dir()


@pytest.mark.parametrize(
    "script",
    [
        "DROP TABLE timings; CREATE VIEW timings AS SELECT 'adam' rule, 1.0 seconds_per_epoch",
        "CREATE TRIGGER more AFTER INSERT ON trials BEGIN DELETE FROM evaluations; END",
        "CREATE TABLE more (id INTEGER)",
        "DROP TABLE progress",
    ],
)
def test_other_tables_are_no_race(script: str, tmp_path: Path) -> None:
    folder = begun(tmp_path)
    change(folder, script)
    for kind in (Store, Records):
        with pytest.raises(ValueError, match=r"is not a race \(its tables are others\)"):
            kind(folder)


@pytest.mark.parametrize("edit", ["UPDATE race SET source = x'00'", "UPDATE race SET lanes = 'x'",
    "UPDATE race SET terms = '[' || terms", "UPDATE counts SET trials = 9e99",
    "UPDATE counts SET rule = 'lion'",
    "INSERT INTO timings VALUES ('adam', 0, -1.0)"])  # fmt: skip
def test_terms_are_what_a_race_writes(
    edit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = begun(tmp_path / "race")
    change(folder, edit)
    assert cli.main(["race", "--resume", str(folder)]) in {1, 2}
    assert cli.main(["watch", str(folder)]) in {0, 1, 2}
    assert "Traceback" not in capsys.readouterr().err


# -- files elsewhere -----------------------------------------------------------------------------


def test_tensorboard_deletes_its_own_files_alone(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    folder = begun(tmp_path / "race")
    kept = folder / "tensorboard" / "adam" / "trial-0-0" / "notes.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    before = kept.with_name("events.out.tfevents.1")
    before.touch()
    with Store(folder) as store, writing(["tensorboard"], store, {}):
        pass
    assert kept.read_text() == "mine"
    assert not before.exists()


@pytest.mark.parametrize("link", ["tensorboard", "tensorboard/adam", "tensorboard/adam/trial-0-0"])
def test_tensorboard_goes_through_no_link(link: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = begun(tmp_path / "race")
    (folder / link).parent.mkdir(parents=True, exist_ok=True)
    (folder / link).symlink_to(elsewhere)
    with (
        Store(folder) as store,
        pytest.raises(FileExistsError, match="is a link; remove it"),
        writing(["tensorboard"], store, {}),
    ):
        pass
    assert not list(elsewhere.iterdir())


def test_csv_and_checkpoints_go_through_no_link(tmp_path: Path) -> None:
    folder, treasure = begun(tmp_path / "race"), tmp_path / "treasure"
    treasure.write_text("mine")
    (folder / "evaluations.csv").symlink_to(treasure)
    (folder / "checkpoints").symlink_to(tmp_path)
    (tmp_path / "adam.pt").write_text("mine")
    losses = np.array([2.0, 1.0])
    final = Result(Trial("adam", "final", 0, 7, 32, {"lr": 0.1}, 1), 0, losses, losses)
    with Store(folder) as store:
        with writing(["csv"], store, {}):
            pass
        with pytest.raises(FileExistsError, match="is a link"):
            store.add([final], {"adam": b"weights"})
    assert treasure.read_text() == "mine"
    assert (folder / "evaluations.csv").read_text().startswith("rule,")
    assert not (folder / "evaluations.csv").is_symlink()
    assert (tmp_path / "adam.pt").read_text() == "mine"


@pytest.mark.parametrize("name", ["race.sqlite", "race.lock", "race.sqlite-wal", "race.lock-shm"])
def test_sqlite_opens_no_link(name: str, tmp_path: Path) -> None:
    folder = begun(tmp_path / "race")
    target = tmp_path / "target"
    if (folder / name).exists():
        (folder / name).rename(target)
    (folder / name).symlink_to(target)
    before = target.read_bytes() if target.exists() else None
    with pytest.raises(ValueError, match=f"{name} must be a plain file"):
        Store(folder)
    if name.startswith("race.lock"):
        with pytest.raises(ValueError, match=f"{name} must be a plain file"):
            races(folder)
    assert (target.read_bytes() if target.exists() else None) == before


def test_a_journal_that_names_a_file_does_not_delete_it(tmp_path: Path) -> None:
    """SQLite deletes the file that a hot journal names, if it names no database in its turn."""
    treasure = tmp_path / "treasure"
    treasure.write_text("mine")
    folder = begun(tmp_path / "race")
    path, journal = folder / "race.sqlite", folder / "race.sqlite-journal"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA cache_size = 1")  # so that the file changes before the commit
    other.execute("BEGIN IMMEDIATE")
    other.executemany(
        "INSERT INTO counts VALUES (?, 4)", [("a" * 300 + str(i),) for i in range(99)]
    )
    cut_short = path.read_bytes(), journal.read_bytes()
    other.execute("ROLLBACK")
    other.close()
    name = str(treasure).encode()
    end = (2**32 - 1, name, len(name), sum(name), b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7")
    named = (part if isinstance(part, bytes) else part.to_bytes(4, "big") for part in end)
    path.write_bytes(cut_short[0])
    journal.write_bytes(b"".join([cut_short[1], *named]))
    for kind in (Store, Records):
        with pytest.raises(ValueError, match="names another file, which SQLite would delete"):
            kind(folder)
    assert treasure.read_text() == "mine"


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE trials SET rule = 'lion' WHERE number = 1",
        "UPDATE counts SET rule = 'lion'",
        "INSERT INTO timings VALUES ('lion', 0, 1.0)",
    ],
)
def test_a_race_has_no_trainings_of_other_rules(
    edit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "race"
    racing.race("iris", rules=["adam"], epochs=1, trials=4, seeds=2, workers=1, out=folder)
    change(folder, edit)
    error = said(capsys, "race", "--quiet", "--resume", folder)
    assert "is damaged (its trials are not those of its rules)" in error
