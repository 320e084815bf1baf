"""thalweg race: options, what it prints, and how it ends."""

import io
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Told
from thalweg import cli, racing
from thalweg.racing.protocol import Protocol, Terms
from thalweg.racing.store import Store, races


def refused(capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> str:
    """Return the sentence on stderr of a command that must be refused."""
    assert cli.main(words) == code
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    return err.removeprefix("error: ").strip()


def test_a_shell_completes_commands_and_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_THALWEG_COMPLETE", "complete_bash")  # as bash asks
    for typed, expected in (
        ("thalweg ra", ["race", "rates"]),
        ("thalweg race --mi", ["--missing"]),
    ):
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
        with pytest.raises(SystemExit, match="0"):
            cli.main([])
        assert capsys.readouterr().out.split() == expected


def test_race_passes_its_options_on(told: Told) -> None:
    words = "race iris --rules sgd,adam --batch-size 32,128 --epochs 3 --trials 5 --seeds 6"
    words += " --repeats 7 --budget 60s --halving --l2 0.5 --seed 7 --out here --workers 2"
    words += " --on dask --csv --margin 0.1"
    assert cli.main(words.split()) == 0
    assert told.pop("dataset").name == "iris"
    assert told.pop("on_data")
    assert told == {
        "rules": ["sgd", "adam"], "batch_size": [32, 128], "epochs": 3, "trials": 5, "seeds": 6,
        "repeats": 7, "budget": "60s", "halving": True, "l2": 0.5, "seed": 7, "out": Path("here"),
        "workers": 2, "on": "dask", "writers": ["csv"], "progress": False,
        "margin": 0.1,
    }  # fmt: skip


def test_race_defaults_are_those_of_the_function(told: Told) -> None:
    import inspect  # noqa: PLC0415 - the oracle

    from thalweg.racing.race import race  # noqa: PLC0415 - the real one

    assert cli.main(["race", "iris"]) == 0
    declared = inspect.signature(race).parameters
    for name in (
        "batch_size",
        "epochs",
        "trials",
        "repeats",
        "seeds",
        "budget",
        "l2",
        "seed",
        "margin",
        "workers",
        "on",
        "halving",
        "rules",
    ):
        assert told[name] == declared[name].default, name
    assert told["out"] == Path("thalweg-race-iris")


def test_race_prints_the_verdict_the_code_and_where_the_report_is(
    told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["race", "iris"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(("Take adam, lr", "Take sgd, lr"))
    assert "# torch\n" in out
    assert "# thalweg\n" in out
    assert out.rstrip().endswith(f"report: {told['out'] / 'report.html'}")
    assert "\x1b" not in out
    assert not err


def test_quiet_prints_nothing(told: Told, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["race", "iris", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert told


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def reconfigure(self, **_: object) -> None:
        pass


@pytest.mark.parametrize("quiet", [False, True])
def test_live_view_shows_work_and_best_on_a_terminal(
    told: Told, monkeypatch: pytest.MonkeyPatch, *, quiet: bool
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["race", "iris"] + ["--quiet"] * quiet) == 0
    shown = screen.getvalue()
    for part in ("adam: trials 1-16", "0.0002", "█▆▁", "30% 0:01:15 left"):
        assert (part in shown) is not quiet
    if not quiet:
        assert shown.index("lion") < shown.index("adam") < shown.index("sgd")
    assert told


def test_resume_continues_on_the_races_own_terms(
    told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        cli.main(["race", "--resume", "there", "--workers", "2", "--trust", "--margin", "0.1"]) == 0
    )
    assert told.pop("trust") is True
    assert told.pop("on_data")
    assert told == {
        "directory": Path("there"),
        "margin": 0.1,
        "workers": 2,
        "on": None,
        "writers": [],
        "progress": False,
    }
    capsys.readouterr()
    message = refused(capsys, "race", "--resume", "there", "--epochs", "3")
    assert message == "--epochs cannot be given with --resume: the race has its own"
    assert refused(capsys, "race", "iris", "--resume", "there").startswith("DATA cannot be given")


def test_resume_does_not_advise_what_has_just_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    racing.race(Path("iris"), rules=["sgd"], epochs=1, trials=4, seeds=2, out=tmp_path)
    for before, after, said in (
        ('"version":"', '"version":"0.', "(version changed); put back what it began with, or ch"),
        ('["sgd"]', '["signum"]', "a race of the rule 'signum', which is not declared here; decla"),
    ):
        with sqlite3.connect(tmp_path / "race.sqlite") as kept:
            kept.execute("UPDATE race SET terms = replace(terms, ?, ?)", (before, after))
        kept.close()
        found = refused(capsys, "race", "--resume", str(tmp_path))
        assert said in found
        assert "--resume" not in found


@pytest.mark.parametrize("kept", ["nothing", "no terms", "a race"])
def test_interrupt_says_what_was_kept_and_how_to_go_on(
    told: Told,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kept: str,
) -> None:
    def interrupted(_: Any, *, out: Path, on_progress: Any, **__: Any) -> None:
        if kept != "nothing":
            with Store(out) as store:
                if kept == "a race":
                    store.begin(Terms(2, "", "", {}, Protocol(("adam",))), {"adam": 4}, None, 1, 2)
                    on_progress(racing.Progress(30, 120, "adam: trials 1-16", ""))
        raise KeyboardInterrupt

    monkeypatch.setattr(racing, "race", interrupted)
    assert cli.main(["race", "iris", "--out", "a folder"]) == 130
    out, err = capsys.readouterr()
    assert not out
    if kept == "a race":
        assert "interrupted with 25% done; every finished training is kept in a folder" in err
        assert err.endswith("continue with: thalweg race --resume 'a folder'\n")
    else:
        assert err == "interrupted before the race began; nothing was kept\n"
    assert not told


def test_interrupt_ends_a_real_race(tmp_path: Path) -> None:
    command = "-m thalweg.cli race digits --rules sgd,adam --epochs 500 --trials 512 --out kept"
    with subprocess.Popen(
        [sys.executable, *command.split()], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        while not cli.race._begun(tmp_path / "kept"):
            assert process.poll() is None
            time.sleep(0.02)
        held = races(tmp_path / "kept")  # nobody else may write
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert held
    assert process.returncode == 130
    assert err.endswith("continue with: thalweg race --resume kept\n")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("race", "DATA is missing: name a data set or a file"),
        ("race digts", "digits"),
        ("race no.csv", "no.csv"),
        ("race iris --batch-size 32,many", "--batch-size must be whole numbers such as 32"),
        ("race iris --epochs many", "--epochs"),
        ("race iris --epoch 3", "--epochs"),
        ("race iris --trials 8 --budget 60s", "give either --trials 8 or --budget 60s: a budget"),
        ("race iris --trials 2000", "--trials must be an integer in [4, 1024], got 2000"),
        ("rase", "race"),
        ("kernel adma", "unknown rule 'adma'; did you mean adamax, adan, adam?"),
        ("kernel", "RULE"),
        ("trace", "RULE"),
        ("trace sgd adam", "give one RULE, or several separated by commas, got 'sgd adam'"),
        ("trace adma", "did you mean adamax, adan, adam?"),
        ("trace sgd --lr -0.1", "lr must be > 0, got -0.1"),
        ("trace sgd --lr fast", "lr must be a number, got 'fast'"),
        ("trace sgd --lr", "--lr needs a value, such as --lr 0.5"),
        ("trace sgd --step 3", "--step is neither an option"),
        ("trace momentum --betaa 3", "nor a hyperparameter of momentum, which has: lr, beta"),
        ("trace sgd --problem bwl", "unknown problem 'bwl'; did you mean bowl?"),
        ("trace sgd --start=1,b", "start must be numbers such as -5,-2, got '1,b'"),
        ("trace sgd --start=1,2,3", "--start must have shape (2,)"),
        ("trace sgd --steps 0.5", "--steps"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    words: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, *words.split())
    assert not list(tmp_path.iterdir())


def test_what_fails_is_a_sentence_too(
    told: Told, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (sqlite3.OperationalError("disk is full"), BlockingIOError("another process")):

        def fail(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr(racing, "race", fail)
        assert refused(capsys, "race", "iris", code=1) == str(error)
    assert "nowhere holds no race" in refused(capsys, "report", "nowhere")
    assert "nowhere holds no race" in refused(capsys, "results", "nowhere", "--csv")
    Path("results.json").write_text("[", encoding="utf-8")
    assert "is not the results of a race" in refused(capsys, "report", ".")
    Path("file").touch()
    said = refused(capsys, "trace", "sgd", "--out", "file/a.png")
    assert said.startswith("there is no folder file for a.png")
    assert not told


def test_a_trace_that_stops_on_its_way_says_what_is_left(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    terms = "trace", "bfgs", "--problem", "rosenbrock", "--out", str(tmp_path / "trace.png")
    said = {}
    for steps in (20, 40):
        assert cli.main([*terms, "--steps", str(steps)]) == 0
        said[steps] = capsys.readouterr().out
    # f fell from 24.2 to 0.597, and the least value is 0
    assert "; 2 % of the way down is left: raise --steps to go on\n" in said[20]
    assert "is left" not in said[40]
