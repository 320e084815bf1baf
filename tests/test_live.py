"""The live view: what a terminal and a notebook show of a race that goes on."""

import io
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import thalweg
from thalweg.live import _Ticking, live, sparkline, view
from thalweg.progress import Progress, Standing


def shown(progress: Progress, width: int = 80, **how: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(view(progress, **how))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_curves_are_drawn_by_their_logarithms() -> None:
    halving = sparkline([2.0**-k for k in range(8)])
    assert halving == "█▇▆▅▄▃▂▁"
    assert sparkline([1.0, 0.0, -1.0]) == "█▅▁"  # linear: the logarithm has no such values
    assert sparkline([4.0, None, float("nan"), 1.0]) == "█  ▁"


def test_rules_are_sorted_by_their_loss_each_with_its_rate() -> None:
    standings = {
        "none": Standing(),
        "worse": Standing(3, 0.5, (1.0, 0.5), 0.25),
        "better": Standing(4, 0.125, (1.0, 0.125), 1e-3),
    }
    lines = shown(Progress(1, 4, "better: trials 1-4", "better 0.125", standings))
    assert [line.split()[:4] for line in lines[1:3]] == [
        ["better", "4", "0.125", "0.001"],
        ["worse", "3", "0.5", "0.25"],
    ]
    assert lines[3].split() == ["none", "0", "–", "–"]


@pytest.mark.parametrize("width", [50, 80])
def test_the_last_line_is_one_line_and_a_short_screen_counts_what_it_leaves_out(width: int) -> None:
    standings = {f"rule{i}": Standing(1, 1.0 + i) for i in range(25)}
    progress = Progress(1, 4, "3 rules: 48 re-runs of something long " * 3, "", standings, 75.0)
    lines = shown(progress, width, lines=10)
    assert len(lines) == 10
    assert lines[-3].startswith("rule6")
    assert lines[-2] == "and 18 more"
    assert " 25% 0:01:15 left 3" in lines[-1]
    assert len(shown(progress, width)) == 27


def test_the_last_line_has_room_for_the_signs_of_ctrl_c() -> None:
    """A terminal writes ^C at the cursor; a line more, and a part of the view would stay there."""
    progress = Progress(1, 4, "something long " * 9, "", {"adam": Standing()}, 75.0)
    console = Console(file=io.StringIO(), width=80)
    *_, last = console.render_lines(_Ticking(progress), pad=False)
    assert 70 < sum(part.cell_length for part in last) <= 78


def test_a_notebook_shows_the_race_and_is_left_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[str] = []
    handle = SimpleNamespace(update=pages.append)
    display = SimpleNamespace(HTML=str, display=lambda page, **_: pages.append(page) or handle)
    kernel = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: kernel))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    terms: Any = {"rules": ["sgd"], "epochs": 1, "trials": 4, "repeats": 2}
    thalweg.race("iris", **terms)
    assert len(pages) > 2
    assert "sgd" in pages[1]
    assert pages[-1] == ""
    del pages[:]
    thalweg.race("iris", progress=False, **terms)
    assert not pages


def test_elsewhere_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with live() as silent:
        silent.show(Progress(1, 4, "sgd: trial 1", "", {}))
    assert capsys.readouterr() == ("", "")
