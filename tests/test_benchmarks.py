"""What the benchmarks make of noise: none of it is published as a difference."""

import doctest
import functools
import importlib
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from thalweg.doctor.causes import CAUSES

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    module: Any = importlib.import_module("measure")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    return module


def clocks(rng: np.random.Generator, noise: float, **seconds: float) -> dict[str, Any]:
    """Return timers of contestants, all of which share the machine's slow and fast moments."""
    moments = iter(np.exp(np.cumsum(rng.normal(0, 0.02, 100_000))).tolist())

    def once(own: float) -> float:
        return float(own * next(moments) * rng.lognormal(0, noise))

    return {name: functools.partial(once, own) for name, own in seconds.items()}


def test_the_interval_of_a_median_holds_it_in_95_of_100_cases(measure: Any) -> None:
    rng = np.random.default_rng(0)
    for rounds in (6, 15):
        found = [measure.ratio(rng.lognormal(0.3, 0.5, rounds).tolist()) for _ in range(200)]
        assert np.mean([r.low <= np.exp(0.3) <= r.high for r in found]) > 0.93
        assert all(r.low <= r.median <= r.high for r in found)


def test_what_its_functions_say_is_true(measure: Any) -> None:
    assert doctest.testmod(measure) == (0, 6)


def test_fewer_rounds_than_have_an_interval_are_refused(measure: Any) -> None:
    with pytest.raises(SystemExit, match="rounds must be >= 6, got 5"):
        measure.ratio([1.0] * 5)


def test_neighbours_cancel_the_moments_of_the_machine(measure: Any) -> None:
    """The machine becomes many times slower and faster meanwhile; the ratio does not notice."""
    found = measure.in_turn(
        clocks(np.random.default_rng(0), 0.01, thalweg=1.0, torch=1.3, other=0.5), 200
    )
    seconds = np.array(found.seconds["thalweg"])
    assert seconds.max() > 1.5 * seconds.min()
    ratio = found.ratio("torch")
    assert ratio.low <= 1.3 <= ratio.high
    assert ratio.high / ratio.low < 1.01
    assert found.ratio("torch", over="other").median == pytest.approx(2.6, rel=0.01)
    assert found.fastest(["torch", "other"]) == "other"
    assert measure.told(ratio, found.control) == "different"


def test_equals_are_seldom_called_different(measure: Any) -> None:
    told = []
    for seed in range(100):
        timers = clocks(np.random.default_rng(seed), 0.02, thalweg=1.0, torch=1.0)
        found = measure.in_turn(timers, 15)
        told.append(measure.told(found.ratio("torch"), found.control))
    assert told.count("different") <= 0.05 * len(told)
    assert told.count("equal") > 0.9 * len(told)


def test_noise_larger_than_the_effect_tells_nothing_and_is_not_written(
    measure: Any, tmp_path: Path
) -> None:
    timers = clocks(np.random.default_rng(2), 2.0, thalweg=1.0, torch=1.2)
    found = measure.in_turn(timers, 6, longer=3)
    assert len(found.seconds["torch"]) == 24  # it looked again, three times as long
    row = {"rule": "adam", "size": 10_000} | found.row("torch")
    assert "tells nothing" in measure.in_words(found.ratio("torch"), found.control)
    with pytest.raises(SystemExit) as stopped:
        measure.save_timed("step", [row])
    assert "step.json is not written: 1 of 1 results tell nothing" in str(stopped.value)
    assert "adam, 10000" in str(stopped.value)
    assert not list(tmp_path.iterdir())


def test_a_clear_difference_of_unclear_size_tells_nothing(measure: Any) -> None:
    timers = clocks(np.random.default_rng(0), 0.01, thalweg=1.0)
    ticks = np.random.default_rng(0).choice([2.0, 1683.0], 15).tolist()
    found = measure.in_turn({**timers, "torch": ticks.pop}, 15)
    assert found.ratio("torch").low > found.control.reach
    assert measure.told(found.ratio("torch"), found.control) == "nothing"


def test_thalweg_alone_is_refused_where_it_differs_from_itself(measure: Any) -> None:
    calm = measure.in_turn(clocks(np.random.default_rng(0), 0.01, thalweg=1.0), 15)
    wild = measure.in_turn(clocks(np.random.default_rng(0), 1.0, thalweg=1.0), 15)
    assert measure.refusal([calm.row(None)], 0.0) is None
    assert "tell nothing" in measure.refusal([wild.row(None)], 0.0)


def test_a_clear_result_is_written(
    measure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure.others, "share", lambda: 0.0)
    found = measure.in_turn(clocks(np.random.default_rng(0), 0.01, thalweg=1.0, torch=2.0), 15)
    measure.save_timed("step", [found.row("torch"), {"bytes_per_lane": 8}])
    (row, _) = json.loads((tmp_path / "step.json").read_text(encoding="utf-8"))["rows"]
    assert row["ratio"] == pytest.approx(2, rel=0.02)


def test_a_busy_machine_is_refused_however_clear_the_ratio(
    measure: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure.others, "share", lambda: 0.37)
    with pytest.raises(SystemExit, match="other processes had 37% of the machine"):
        measure.save_timed("step", [])
    assert not list(tmp_path.iterdir())


def test_processes_of_ones_own_are_no_others(measure: Any) -> None:
    """What a child works is counted as this process's, while it runs and when it has ended."""
    spin = "import time\nwhile time.process_time() < {}: pass"

    def own() -> float:
        return float(measure._spent()[2])

    before = own()
    subprocess.run([sys.executable, "-c", spin.format(0.3)], check=True)
    assert own() - before >= 0.25  # it is counted in ticks
    before = own()
    with subprocess.Popen([sys.executable, "-c", spin.format(60)]) as child:
        while own() - before < 0.25:
            time.sleep(0.05)
        child.kill()


def test_a_quick_run_is_repeated_and_a_slow_one_is_not(
    measure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    clock = SimpleNamespace(perf_counter=lambda: now[0], sleep=sleep)
    monkeypatch.setattr(measure, "time", clock)
    for seconds, calls in ((0.06, 1), (0.001, 50), (0.0001, 500)):
        timer = measure.timer(functools.partial(sleep, seconds), clock=clock.perf_counter)
        before = now[0]
        assert timer() == pytest.approx(seconds)
        assert now[0] - before == pytest.approx(0.02 + calls * seconds, rel=0.05)


def test_the_doctor_is_asked_about_causes_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    entries: Any = importlib.import_module("doctor_suite.entries")
    planted = {plant.cause for plant in entries.PLANTS}
    assert planted <= CAUSES.keys()
    assert len(planted) >= 40
    assert not set(entries.SEEDS["calibration"]) & set(entries.SEEDS["judging"])


def test_what_learns_does_not_count_as_a_planted_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate that is far too low counts; the same training with its own rate does not."""
    monkeypatch.syspath_prepend(str(FOLDER))
    entries: Any = importlib.import_module("doctor_suite.entries")
    (entry,) = itertools.islice(entries.planted(["calibration"], range(1), {"lr_too_low"}), 1)
    case, learned = entry.make()
    rate = case["optimizer"].param_groups[0]["lr"]
    importlib.import_module("doctor_suite.training").run(case)
    assert entry.counts(learned())
    for group in case["optimizer"].param_groups:
        group["lr"] = rate * {"strong": 1000, "mild": 50}[entry.strength]
    importlib.import_module("doctor_suite.training").run(case)
    assert not entry.counts(learned())


def test_what_learns_nothing_does_not_count_as_cured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    entries: Any = importlib.import_module("doctor_suite.entries")
    (entry,) = itertools.islice(entries.references(["calibration"], range(1), {"lr_too_low"}), 1)
    case, learned = entry.make()
    assert not entry.counts(learned())
    importlib.import_module("doctor_suite.training").run(case)
    assert entry.counts(learned())


@pytest.mark.parametrize(
    ("gap", "noise", "word"),
    [(0.05, 0.02, "muon better"), (-0.05, 0.02, "adamw better"), (0.0, 0.01, "as good"),
     (0.03, 0.1, "undecided")],
)  # fmt: skip
def test_a_race_of_two_says_who_is_better_that_neither_is_or_that_it_cannot_tell(
    gap: float, noise: float, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    modern: Any = importlib.import_module("modern")
    monkeypatch.setattr(modern, "DRAWS", 5)
    rng = np.random.default_rng(0)
    races = []
    for _ in range(6):
        rows, luck = rng.normal(0, 0.1, 8), rng.normal(gap, noise, 8)
        losses = np.exp([rows + luck - luck.mean() + gap, rows]).tolist()
        races.append({"rules": ["adamw", "muon"], "losses": losses, "rows": 150, "constant": 3.0})
    found = modern.agreed("text", races)
    assert found[word] == found["races"] == 6
    assert found["adamw above muon"] == pytest.approx(np.expm1(gap))
    assert found["luck of a repeat"] == pytest.approx(noise, rel=0.3)
    assert (found["drawn"]["10"] > 0.9) == (word == "muon better")
