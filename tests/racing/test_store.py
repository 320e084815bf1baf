"""What a race's folder holds, who may read it, and the commands that print it."""

import csv
import io
import json
import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from racing.test_run import TERMS, _race, _run
from racing_task import LeastSquares
from thalweg import cli
from thalweg.live import view
from thalweg.progress import Progress
from thalweg.racing import store
from thalweg.racing.protocol import Protocol, Terms
from thalweg.racing.store import SCHEMA, Records, Store, races
from thalweg.racing.trial import Result, Trial
from thalweg.tasks.task import Target

DOCS = Path(__file__).parents[2] / "docs" / "store.md"
CURVE = np.array([2.0, 1.0, np.nan, np.inf])


def _result(number: int = 0, loss: float = 0.5, phase: str = "final", rule: str = "adam") -> Result:
    trial = Trial(rule, phase, number, 7, 32, {"lr": 0.1}, 3)
    judged = (0.25, 0.75) if phase == "final" else (np.nan, np.nan)
    return Result(trial, 0, CURVE, np.array([3.0, 2.0, 1.0, loss]), *judged)


def test_documented_columns_are_those_of_the_file(tmp_path: Path) -> None:
    with Store(tmp_path):
        pass
    text = DOCS.read_text(encoding="utf-8")
    assert f"schema {SCHEMA}" in text
    kept = sqlite3.connect(tmp_path / "race.sqlite")
    for (table,) in kept.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
        assert f"**{table}**" in text
        section = re.split(r"\n\*\*|\n## ", text.split(f"**{table}**")[1])[0]
        for _, column, *_ in kept.execute(f"PRAGMA table_info({table})"):
            if table in {"race", "targets", "trials", "evaluations"} and (table, column) != (
                "race",
                "id",
            ):
                assert column in section, (table, column)
    kept.close()


def test_documented_query_finds_the_best_trials(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add([_result(i, loss, "round 1") for i, loss in enumerate((0.3, 0.1, 0.2))])
    (query,) = re.findall(r"```sql\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    kept = sqlite3.connect(tmp_path / "race.sqlite")
    assert kept.execute(query).fetchall() == [
        ("adam", 1, 0.1, 0.1), ("adam", 2, 0.1, 0.2), ("adam", 0, 0.1, 0.3),
    ]  # fmt: skip
    kept.close()


def test_a_race_can_be_read_while_it_runs_and_nobody_else_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected = store._connected
    monkeypatch.setattr(store, "_connected", lambda *where, **_: connected(*where, timeout=0))
    with Store(tmp_path) as writer:
        writer.add([_result()])
        assert races(tmp_path)
        with Records(tmp_path) as reader:
            assert [result.trial for result in reader.results()] == [_result().trial]
            writer.add([_result(1)])
            assert len(list(reader.results())) == 2
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader._connection.execute("DELETE FROM trials")
        with pytest.raises(BlockingIOError, match=r"another process is racing in .*another folder"):
            Store(tmp_path)
    assert not races(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"race.sqlite", "race.lock"}


def test_reading_does_not_keep_a_race_from_its_end(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.add([_result()])
        reader = Records(tmp_path)
        rows = reader.results()
        next(rows)
    with reader:
        assert list(rows) == []
    with Store(tmp_path) as store:
        assert len(store.of("adam", "final")) == 1


@pytest.mark.parametrize("version", [0, SCHEMA - 1, SCHEMA + 1])
def test_a_file_of_another_schema_is_refused_and_kept(tmp_path: Path, version: int) -> None:
    other = sqlite3.connect(tmp_path / "race.sqlite")
    other.executescript(f"CREATE TABLE trials (rule TEXT); PRAGMA user_version = {version}")
    other.close()
    for kind in (Store, Records):
        with pytest.raises(ValueError, match=rf"must have schema {SCHEMA}, got {version}: ano"):
            kind(tmp_path)
    assert not races(tmp_path)


def test_records_of_no_race(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no race"):
        Records(tmp_path)
    (tmp_path / "race.sqlite").touch()
    with pytest.raises(FileNotFoundError, match="only just beginning"):
        Records(tmp_path)


def test_a_damaged_file_is_named_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store(tmp_path) as store:
        store.add([_result(i) for i in range(200)])
    path = tmp_path / "race.sqlite"
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    said = rf"{path} is damaged \(database disk image is malformed\); restore it, or race into"
    with pytest.raises(ValueError, match=said) as held:  # whoever holds the error holds no file
        Store(tmp_path)
    with pytest.raises(ValueError, match=said), Records(tmp_path) as records:
        list(records.results())
    assert cli.main(["results", str(tmp_path), "--csv"]) == 2
    assert re.search(said, capsys.readouterr().err)
    path.write_bytes(whole)
    with Store(tmp_path) as store:  # nobody holds the lock
        assert held.type is ValueError
        assert len(store.of("adam", "final")) == 200


def test_a_full_disk_is_named_with_the_remedy_and_keeps_what_was_finished(tmp_path: Path) -> None:
    def fill() -> None:
        with Store(tmp_path) as store:
            store.add([_result()])
            pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
            store._connection.execute(f"PRAGMA max_page_count = {pages}")
            store.add([_result(i) for i in range(1, 200)])

    with pytest.raises(OSError, match=r"race.sqlite: database or disk is full; see that .* are ke"):
        fill()
    with Store(tmp_path) as store:
        assert len(store.of("adam", "final")) == 1


def test_the_checkpoint_kept_is_that_of_the_lowest_validation_loss(tmp_path: Path) -> None:
    def kept(rule: str = "adam") -> bytes:
        return (tmp_path / "checkpoints" / f"{rule}.pt").read_bytes()

    with Store(tmp_path) as store:
        store.add([_result(2, np.nan)], {"adam": b"diverged"})
        both = [_result(3, 0.3), _result(4, 0.2), _result(3, 0.1, rule="lion")]
        store.add(both, {"adam": b"good", "lion": b"of another rule"})
        assert kept() == b"good"
        assert kept("lion") == b"of another rule"
        store.add([_result(5, 0.2)], {"adam": b"as good, later in number"})
        assert kept() == b"good"
        store.add([_result(1, 0.2)], {"adam": b"as good, earlier"})
        assert kept() == b"as good, earlier"


@pytest.mark.parametrize(
    ("left", "since", "clock"),
    [(12.0, 5.2, "0:00:07 left"), (12.0, 50.0, "0:00:00 left"), (None, 65.0, "0:01:05 so far")],
)
def test_the_clock_of_the_live_view_goes_on(left: float | None, since: float, clock: str) -> None:
    progress = Progress(1.0, 4.0, "adam: trials 1-16", "adam 0.25", {}, left)
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(view(progress, since))
    assert f" {clock} " in console.export_text()


# -- the commands --------------------------------------------------------------------------------


def _said(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert cli.main(list(map(str, words))) == 0
    out, err = capsys.readouterr()
    assert not err
    return out


def test_results_prints_trainings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(tmp_path) as store:
        store.add([_result(), replace(_result(1), diverged_at=3)])
        lines = _said(capsys, "results", tmp_path, "--json").splitlines()
        rows = list(csv.DictReader(io.StringIO(_said(capsys, "results", tmp_path, "--csv"))))
    found = [json.loads(line) for line in lines]
    assert [line["diverged_at"] for line in found] == [0, 3]
    assert found[0]["train_loss"] == [2.0, 1.0, None, None]
    assert found[0]["hyper"] == {"lr": 0.1}
    assert len(rows) == 8
    assert cli.main(["results", str(tmp_path), "--csv", "--json"]) == 2
    assert "either --csv or --json" in capsys.readouterr().err
    assert cli.main(["results", str(tmp_path)]) == 2
    assert "no race has ended" in capsys.readouterr().err


def test_watch_shows_how_far_a_race_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thalweg.racing.run._SEEN", 0.0)
    seen: list[str] = []

    def look(progress: Progress) -> None:
        if progress.done > 100 and not seen:
            seen.append(_said(capsys, "watch", tmp_path))

    with Store(tmp_path) as store:
        _run(LeastSquares(), TERMS, store, look)
    for word in ("sgd", "momentum", "adam", "trainings", "its lr", "%", "left", "▁"):
        assert word in seen[0]
    assert "the race is not running" not in seen[0]
    shown = _said(capsys, "watch", tmp_path)
    assert "the race is not running; all trainings are done, but there is no verdict\n" in shown
    assert f"with: thalweg race --resume {tmp_path}\n" in shown
    assert f"with: thalweg results {tmp_path} --csv\n" in shown
    assert "writing the report" not in shown


def test_watch_of_a_race_that_was_cut_short_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store(tmp_path) as store:
        store.begin(Terms(SCHEMA, "", "", {}, Protocol(("adam",))), {"adam": 4}, None, 16, 2)
        store.add([_result()])
    shown = _said(capsys, "watch", tmp_path)
    assert shown == f"the race is not running; continue it with: thalweg race --resume {tmp_path}\n"


def test_watch_of_a_race_that_never_began_does_not_advise_to_resume_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store(tmp_path):
        assert "the race is not running" not in _said(capsys, "watch", tmp_path)
    shown = _said(capsys, "watch", tmp_path)
    assert shown == "the race is not running and had not begun; start it again\n"


def test_watch_of_a_race_that_has_ended_is_its_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, _ = _race(store=Store(tmp_path))
    for command in ("watch", "results"):
        shown = " ".join(_said(capsys, command, tmp_path).split())
        assert shown.startswith(results["sentence"])
    assert cli.main(["watch", str(tmp_path / "nowhere")]) == 2
    assert "holds no race" in capsys.readouterr().err


@pytest.mark.parametrize("seen", [0.0, 1e9])  # seconds between what they see
def test_a_race_tells_the_same_to_those_who_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: float
) -> None:
    told: list[Progress] = []
    shown = []
    monkeypatch.setattr("thalweg.racing.run._SEEN", seen)
    monkeypatch.setattr(Store, "tell", lambda *given, do=Store.tell: shown.append(do(*given)))
    with Store(tmp_path) as store:
        _run(LeastSquares(), TERMS, store, told.append)
        state: Any = store.progress()
    assert len(shown) == (len(told) if seen == 0 else 2)  # the first and the last
    assert {name: replace(kept, curve=()) for name, kept in state.standings.items()} == {
        name: replace(standing, curve=()) for name, standing in told[-1].standings.items()
    }
    best = min(standing.loss or np.inf for standing in told[-1].standings.values())
    assert told[-1].best.endswith(f" {best:.4g}")
    assert told[-1].seconds_left == 0


@pytest.mark.parametrize("name", ["data.npz", "report.html", "results.json", "notes.txt"])
def test_a_folder_of_the_users_own_files_is_refused_and_untouched(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=rf"not a race's \({name}\).* a new or empty"):
        Store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"
    with pytest.raises(ValueError, match="is a file; choose a new or empty folder"):
        Store(tmp_path / name)


def test_another_program_s_database_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "race.sqlite").write_text("mine")
    with pytest.raises(ValueError, match=r"race.sqlite is not a race .* another folder"):
        Store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["race.sqlite"]


def test_a_file_that_is_no_race_is_refused(tmp_path: Path) -> None:
    (tmp_path / "race.sqlite").write_text("my notes, " * 200)
    with pytest.raises(ValueError, match=r"is not a race .* choose another folder"):
        Store(tmp_path)
    assert (tmp_path / "race.sqlite").read_text().startswith("my notes")


def test_store_gives_back_the_bits(tmp_path: Path) -> None:
    trial = Trial("adam", "final", 3, 2**31 - 1, 32, {"lr": 0.1 + 0.2, "beta1": 0.9}, 3, "cosine")
    curve = np.array([1.0, np.nan, np.inf, 1 / 3])
    with Store(tmp_path) as store:
        store.add([Result(trial, 7, curve, -curve, np.nan, 0.1)])
    with Store(tmp_path) as store:
        result = store.get(trial)
        assert result.trial == trial
        assert result.diverged_at == 7
        np.testing.assert_array_equal(result.train_loss, curve)
        np.testing.assert_array_equal(result.validation_loss, -curve)
        assert np.isnan(result.test_loss)
        assert result.test_score == 0.1
        with pytest.raises(ValueError, match="choose another folder"):
            store.get(replace(trial, seed=1))


def test_targets_are_given_back_also_those_that_are_no_numbers(tmp_path: Path) -> None:
    given = {0: Target(0.1 + 0.2, np.inf, 1e-300, "a rule"), 2: Target(np.nan, 1.0, np.nan, "")}
    with Store(tmp_path) as store:
        for repeat, target in given.items():
            store.aim(repeat, target)
    with Records(tmp_path) as records:
        assert repr(records.targets()) == repr(given)


def test_a_piece_of_work_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    curve = np.zeros(2)
    trials = [Trial("adam", "round 1", i, 0, 32, {"lr": 0.1}, 1) for i in (0, 1, 1)]
    with Store(tmp_path) as store, pytest.raises(sqlite3.IntegrityError):
        store.add([Result(trial, 0, curve, curve) for trial in trials])
    with Store(tmp_path) as store:
        assert store.of("adam", "trial") == []
