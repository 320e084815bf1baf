"""A race that is told what it was asked for, and trains nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import race_folder
from thalweg import racing, report

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
