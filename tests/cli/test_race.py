"""The command line, in this process; the race itself has its own tests."""

import io
import os
import runpy
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import race_folder
from thalweg import cli, racing, report, rules, second_order
from thalweg.racing.protocol import Protocol, Terms
from thalweg.racing.store import Store
from thalweg.racing.trial import Result, Trial

Told = dict[str, Any]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Told:
    """Replace the race by one that is over at once, and return what it was told."""
    told: Told = {}
    monkeypatch.chdir(tmp_path)

    def finish(directory: Path, on_progress: Callable[[racing.Progress], None]) -> racing.Verdict:
        standings = {
            "adam": racing.Standing(16, 0.1, (2.0, 1.0, 0.1), 0.01),
            "lion": racing.Standing(8, 0.0931, (1.0, 0.5), 0.0002),
            "sgd": racing.Standing(),
        }
        on_progress(racing.Progress(3, 10, "adam: trials 1-16", "lion 0.0931", standings, 75.0))
        results, curves = race_folder.make(("sgd", "adam"), trials=8, seeds=4)
        race_folder.write(directory, results, curves)
        return racing.Verdict(report.Record.of(results), directory)

    def race(dataset: Any, *, on_progress: Any, **terms: Any) -> racing.Verdict:
        told.update(terms, dataset=dataset)
        return finish(terms["out"], on_progress)

    def resume(directory: Path, *, on_progress: Any, **how: Any) -> racing.Verdict:
        told.update(how, directory=directory)
        return finish(directory, on_progress)

    monkeypatch.setattr(racing, "race", race)
    monkeypatch.setattr(racing, "resume", resume)
    return told


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
    words += " --on dask --csv"
    assert cli.main(words.split()) == 0
    assert told.pop("dataset").name == "iris"
    assert told.pop("on_data")
    assert told == {
        "rules": ["sgd", "adam"], "batch_size": [32, 128], "epochs": 3, "trials": 5, "seeds": 6,
        "repeats": 7, "budget": "60s", "halving": True, "l2": 0.5, "seed": 7, "out": Path("here"),
        "workers": 2, "on": "dask", "writers": ["csv"], "progress": False,
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
    assert cli.main(["race", "--resume", "there", "--workers", "2", "--trust"]) == 0
    assert told.pop("trust")("/of/theirs.py") is True
    assert told.pop("on_data")
    assert told == {
        "directory": Path("there"),
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


def test_interrupt_that_is_lost_in_a_destructor_comes_again(
    told: Told, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Busy:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def race(_: Any, **_terms: Any) -> racing.Verdict:
        Busy()
        time.sleep(60)
        raise AssertionError

    monkeypatch.setattr(racing, "race", race)
    hook = sys.unraisablehook
    assert cli.main(["race", "iris"]) == 130
    assert capsys.readouterr().err == "interrupted before the race began; nothing was kept\n"
    assert sys.unraisablehook is hook
    assert not told


def test_interrupt_ends_a_real_race(tmp_path: Path) -> None:
    command = "-m thalweg.cli race digits --rules sgd,adam --epochs 500 --trials 512 --out kept"
    with subprocess.Popen(
        [sys.executable, *command.split()], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        while not cli.race._begun(tmp_path / "kept"):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
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
        ("race iris --trials 8 --budget 60s", "give either trials or a budget"),
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
        ("trace sgd --start=1,2,3", "x0 must have shape (2,)"),
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
    code = 1 if "no.csv" in words else 2
    assert message in refused(capsys, *words.split(), code=code)
    assert not list(tmp_path.iterdir())


def test_what_fails_is_a_sentence_too(
    told: Told, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (sqlite3.OperationalError("disk is full"), BlockingIOError("another process")):

        def fail(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr(racing, "race", fail)
        assert refused(capsys, "race", "iris", code=1) == str(error)
    assert "does not exist" in refused(capsys, "report", "nowhere", code=1)
    Path("results.json").write_text("[", encoding="utf-8")
    assert "is not the results of a race" in refused(capsys, "report", ".")
    Path("file").touch()
    assert refused(capsys, "trace", "sgd", "--out", "file/a.png", code=1).startswith("file/")
    assert not told


def _printed_into(stdout: int, directory: Path, trainings: int) -> tuple[int, str]:
    """Return the exit code and the words on stderr of a command that prints trainings."""
    curve = np.zeros(50)
    trials = [Trial("sgd", "round 1", i, 0, 32, {"lr": 0.1}, 49) for i in range(trainings)]
    with Store(directory) as store:
        store.add([Result(trial, 0, curve, curve) for trial in trials])
    ended = subprocess.run(
        [sys.executable, "-m", "thalweg.cli", "results", str(directory), "--csv"],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"},
    )
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("trainings", [1, 100])  # less than Python's buffer holds, and more
def test_a_reader_that_goes_hears_no_complaint(tmp_path: Path, trainings: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert _printed_into(writer, tmp_path, trainings) == (1, "")
    finally:
        os.close(writer)


@pytest.mark.parametrize("trainings", [1, 100])
def test_a_full_disk_is_a_sentence(tmp_path: Path, trainings: int) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        code, err = _printed_into(full.fileno(), tmp_path, trainings)
    assert (code, err) == (1, "error: standard output: No space left on device\n")


def test_a_bug_shows_its_traceback(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: Any, **__: Any) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(racing, "race", bug)
    with pytest.raises(TypeError, match="a bug"):
        cli.main(["race", "iris"])
    assert not told


def test_trace_prints_the_end_and_draws_the_path(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "path.png"
    words = f"trace momentum --problem bowl --lr 0.6 --beta 0.5 --out {picture}"
    assert cli.main(words.split()) == 0
    x, v = [-5.0, -2.0], [0.0, 0.0]  # the equations of the heavy ball on x₁² + 2x₂²
    for _ in range(20):
        for i, curvature in enumerate((2.0, 4.0)):
            v[i] = 0.5 * v[i] + curvature * x[i]
            x[i] -= 0.6 * v[i]
    out = capsys.readouterr().out
    assert f"x = ({x[0]:.6g}, {x[1]:.6g}), f = {x[0] ** 2 + 2 * x[1] ** 2:.6g} (from 33)" in out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_trace_gives_each_rule_its_own_hyperparameters(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "path.svg"
    words = f"trace --lr=0.1 sgd,momentum --beta 0.5 --start -1,2 --steps 3 --out {picture}"
    assert cli.main(words.split()) == 0
    out = capsys.readouterr().out
    assert "sgd (lr 0.1) on bowl, 3 steps" in out
    assert "momentum (lr 0.1, beta 0.5) on bowl, 3 steps" in out
    assert "(from 9)" in out


def test_trace_says_when_it_diverges(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "path.png"
    assert cli.main(["trace", "sgd", "--lr", "0.6", "--out", str(out)]) == 0
    assert "; f grew" in capsys.readouterr().out
    assert cli.main(["trace", "sgd", "--lr", "1e200", "--out", str(out)]) == 0
    assert "diverged, not finite from step" in capsys.readouterr().out


def test_kernel_prints_the_generated_source(capsys: pytest.CaptureFixture[str]) -> None:
    from thalweg import kernels  # noqa: PLC0415 - the oracle

    assert cli.main(["kernel", "adam"]) == 0
    assert capsys.readouterr().out.strip() == kernels.source("adam").strip()
    assert cli.main(["kernel", "adam", "--triton"]) == 0
    out = capsys.readouterr().out
    assert "@triton.jit" in out
    assert "tl.sqrt_rn(v_hat)" in out


def test_interrupt_of_any_command_is_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from thalweg import kernels  # noqa: PLC0415 - to be interrupted

    def interrupted(_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(kernels, "source", interrupted)
    assert cli.main(["kernel", "adam"]) == 130
    assert not "".join(capsys.readouterr()).strip()


def test_rules_lists_every_rule_with_its_ranges(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rules"]) == 0
    out = capsys.readouterr().out
    listed = [line.split()[0] for line in out.splitlines()[1:] if line[0] != " "]
    assert listed == [*rules.names(), *second_order.METHODS]
    assert "beta2 0.999 (in [0, 1))" in out
    told = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert " linear " in told["momentum"]
    assert " preconditioned " in told["adam"]
    assert " - " in told["lion"]


def test_report_writes_the_page_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    race_folder.write(tmp_path, *race_folder.make(("sgd", "adam"), trials=8, seeds=4))
    assert cli.main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"report: {tmp_path / 'report.html'}\n"
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_version_and_bare_command(capsys: pytest.CaptureFixture[str]) -> None:
    import thalweg  # noqa: PLC0415 - the oracle

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"thalweg {thalweg.__version__}\n"
    assert cli.main([]) == 0
    assert "Usage: thalweg" in capsys.readouterr().out


def test_the_module_is_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["thalweg", "--version"])
    for name in ("thalweg", "thalweg.cli"):
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(name, run_name="__main__")
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith("thalweg ")


@pytest.mark.parametrize(("typed", "found"), [("ra", ["race", "rates"]), ("kern", ["kernel"])])
def test_a_shell_completes_commands(
    typed: str,
    found: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("_THALWEG_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"thalweg {typed}")
    monkeypatch.setenv("COMP_CWORD", "1")
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 0
    assert capsys.readouterr().out.split() == found


def test_a_trace_that_stops_on_its_way_says_what_is_left(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    terms = "trace", "bfgs", "--problem", "rosenbrock", "--out", str(tmp_path / "trace.png")
    said = {}
    for steps in (20, 40):
        assert cli.main([*terms, "--steps", str(steps)]) == 0
        said[steps] = capsys.readouterr().out
    # f fell from 24.2 to 0.597, and the least value is 0
    assert "; 2 % of the way down is left: more --steps go on\n" in said[20]
    assert "is left" not in said[40]
