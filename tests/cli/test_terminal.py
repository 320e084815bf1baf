"""The terminal: how wide it is, and interrupts that reach who waits."""

import io
import signal
import sys
import time
from typing import Any

import pytest

from cli.conftest import Told
from thalweg import cli, live, racing
from thalweg.cli import terminal


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


@pytest.mark.parametrize("shown", [True, False])
def test_what_is_waited_for_is_shown_on_a_terminal_alone(
    shown: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors, out = io.StringIO(), io.StringIO()
    errors.isatty = lambda: shown  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", errors)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("TERM", "xterm")
    with live.waiting("training 5 steps"):
        sys.stdout.write("a task's own words\n")
    assert ("training 5 steps" in errors.getvalue()) == shown
    assert out.getvalue() == "a task's own words\n"


def test_a_pipe_is_as_wide_as_columns_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "64")
    assert terminal.console().width == 64
    monkeypatch.setenv("COLUMNS", "")
    assert terminal.console().width == 100
