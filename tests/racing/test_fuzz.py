"""A little of tests/fuzz_folder.py: whatever stands in a race's folder, commands end well."""

from pathlib import Path

import pytest

import fuzz_folder
from thalweg import style
from thalweg.report import pictures


def test_commands_end_in_a_sentence_whatever_the_folder_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fuzz_folder.make(tmp_path / "whole")
    for draw in ("loss_curves", "learning_rates", "time_to_target"):  # they take most of the time
        monkeypatch.setattr(pictures, draw, lambda *_: None)
    monkeypatch.setattr(style, "svg", lambda *_: "")
    assert list(fuzz_folder.run(15, 1, whole, tmp_path)) == []
