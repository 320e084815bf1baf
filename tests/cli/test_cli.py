"""What holds for every command: versions, interrupts, full disks and readers that go."""

import contextlib
import io
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

from cli.conftest import Told
from thalweg import cli, problems, racing, schedules
from thalweg.racing.store import Store
from thalweg.racing.trial import Result, Trial
from thalweg.second_order import METHODS


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


def test_an_output_that_is_closed_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.main(["schedule", "cosine"]) == 0
    assert not capsys.readouterr().err


def test_a_bug_shows_its_traceback(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: Any, **__: Any) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(racing, "race", bug)
    with pytest.raises(TypeError, match="a bug"):
        cli.main(["race", "iris"])
    assert not told


def test_interrupt_of_any_command_is_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from thalweg import kernels  # noqa: PLC0415 - to be interrupted

    def interrupted(_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(kernels, "source", interrupted)
    assert cli.main(["kernel", "adam"]) == 130
    assert not "".join(capsys.readouterr()).strip()


def test_words_go_where_a_program_wants_them() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as said:  # as in a notebook, it is no file
        assert cli.main(["rules"]) == 0
    assert "adam" in said.getvalue()


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


def help_of(command: str) -> str:
    app: Any = typer.main.get_command(cli.app)
    return " ".join(parameter.help for parameter in app.commands[command].params)


def test_help_keeps_no_end_of_a_line_of_a_docstring() -> None:
    app: Any = typer.main.get_command(cli.app)
    for command in app.commands.values():
        assert command.help
        assert all("\n" not in lines for lines in command.help.split("\n\n"))


def test_help_names_what_there_is() -> None:
    known = {name for name in schedules.__all__ if name not in {"Schedule", "values", "warmup"}}
    assert known == {*re.findall(r"\w+", help_of("schedule"))} & {*schedules.__all__} - {"warmup"}
    words = {*re.findall(r"\w+", help_of("trace"))}
    assert words >= {*problems.names(), *METHODS}
