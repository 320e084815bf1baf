"""The machinery of a race, on a task whose every number is known."""

import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thalweg.rule
from racing_task import LeastSquares
from thalweg.racing import run
from thalweg.racing.comparison import STATES, compare
from thalweg.racing.protocol import Protocol, Terms
from thalweg.racing.store import Store
from thalweg.racing.trial import PHASES, Trial
from thalweg.racing.verdict import conclude
from thalweg.racing.workers import hired
from thalweg.rule import rule
from thalweg.tasks.task import Lane, Lanes

TERMS = Protocol(
    rules=("sgd", "momentum", "adam"), epochs=5, trials=40, repeats=2, seeds=4, batch_sizes=(8,)
)
Curves = list[tuple[Trial, list[float], list[float]]]


def _run(
    task: LeastSquares,
    terms: Protocol,
    store: Store,
    tell: Callable[[run.Progress], None] | None = None,
    *,
    workers: int = 2,
    on: str | None = None,
) -> run.Course:
    with hired(task, on, workers) as held:
        if store.terms() is None:
            store.begin(
                Terms(2, "", "", {}, terms),
                run.trials_per_rule(task, terms, held),
                None,
                task.lanes,
                workers,
            )
        return run.run(task, terms, store, held, tell=tell)


def _race(
    terms: Protocol = TERMS,
    store: Store | None = None,
    tell: Callable[[run.Progress], None] | None = None,
    *,
    workers: int = 2,
    task: LeastSquares | None = None,
    on: str | None = None,
) -> tuple[dict[str, Any], Curves]:
    task = task or LeastSquares()
    with store or Store(None) as held:
        course = _run(task, terms, held, tell, workers=workers, on=on)
        results = dict(conclude(course, "race again").results)
        curves = [
            (result.trial, result.train_loss.tolist(), result.validation_loss.tolist())
            for name in terms.rules
            for phase in PHASES
            for result in held.of(name, phase)
        ]
    return _timeless(results), curves


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the rules that a test declares."""
    monkeypatch.setattr(thalweg.rule, "_rules", dict(thalweg.rule._rules))


def _timeless(results: dict[str, Any]) -> dict[str, Any]:
    times = ("seconds_to_target", "seconds_per_epoch", "seconds_spread")
    rows = [{k: v for k, v in row.items() if k not in times} for row in results["rules"]]
    return {**results, "rules": rows}


@cache
def usual() -> tuple[dict[str, Any], Curves]:
    """Return the race of the usual terms, which no test may change."""
    return _race(workers=1)


def test_a_race_is_a_function_of_its_seed() -> None:
    once = usual()
    assert _race(workers=3) == once
    assert _race(replace(TERMS, seed=1)) != once


def test_every_rule_has_the_same_budget_and_more_only_where_its_space_was_widened() -> None:
    results, curves = usual()
    for row in results["rules"]:
        assert row["trials"] == 2 * (20 + 10) + 5 * len(row["widened"])
    for repeat in (0, 1):
        own = [trial for trial, *_ in curves if trial.repeat == repeat]
        finals, reruns = TERMS.final_seeds(repeat), TERMS.rerun_seeds(repeat)
        selection = TERMS.selection_seed(repeat)
        assert {trial.seed for trial in own if trial.phase == "final"} == set(finals)
        assert {trial.seed for trial in own if trial.phase == "trial"} == {selection}
        assert {trial.seed for trial in own if trial.phase == "rerun"} == set(reruns)
        assert len({selection, *reruns, *finals}) == 1 + 2 + 4
    assert not {*TERMS.final_seeds(0)} & {*TERMS.final_seeds(1)}


def test_each_repeat_has_its_own_search_on_its_own_parts() -> None:
    _, curves = usual()
    first, second = (
        [t.hyper for t, *_ in curves if (t.rule, t.phase, t.repeat) == ("adam", "trial", repeat)]
        for repeat in (0, 1)
    )
    assert first[0] == second[0]  # the defaults
    assert not any(hyper in second for hyper in first[1:])
    starts = [{train[0] for t, train, _ in curves if t.repeat == repeat} for repeat in (0, 1)]
    assert not starts[0] & starts[1]


def test_no_memory_is_tried_that_is_longer_than_the_training() -> None:
    _, curves = usual()
    steps = TERMS.epochs * LeastSquares().steps(8)
    for name, beta in (("momentum", "beta"), ("adam", "beta1")):
        first = [t for t, *_ in curves if (t.rule, t.phase) == (name, "trial") and t.number < 20]
        memories = [1 / (1 - t.hyper[beta]) for t in first]
        assert steps / 2 < max(memories) < steps


def test_selection_is_by_the_median_of_the_eight_best_when_run_again() -> None:
    results, curves = usual()
    for row in results["rules"]:
        chosen_losses, chosen_hypers = [], []
        for repeat in (0, 1):
            first: list[tuple[float, dict[str, float]]] = []
            again: dict[str, list[float]] = {}
            for trial, _, losses in curves:
                last = losses[-1] if np.isfinite(losses[-1]) else np.inf
                if (trial.rule, trial.repeat) != (row["rule"], repeat):
                    continue
                if trial.phase == "trial":
                    first.append((last, dict(trial.hyper)))
                elif trial.phase == "rerun":
                    again.setdefault(str(trial.hyper), []).append(last)
            sure = [first[0], first[-1]]  # the defaults and the last guess
            first.sort(key=lambda pair: pair[0])
            others = [pair for pair in first if pair not in sure]
            chosen = sorted([*sure, *others[:6]], key=lambda pair: pair[0])
            assert list(again) == [str(hyper) for _, hyper in chosen]
            assert {len(losses) for losses in again.values()} == {2}
            medians = {hyper: np.median(losses) for hyper, losses in again.items()}
            chosen_losses.append(min(medians.values()))
            chosen_hypers.append(min(medians, key=medians.__getitem__))
        assert row["val_loss"] == np.median(chosen_losses)
        assert str(row["hyper"]) in chosen_hypers


def test_a_diverged_run_counts_as_worst_when_a_trial_is_chosen() -> None:
    class Treacherous(LeastSquares):
        """Perfect at some rates on the first seed, and diverging there on the two others."""

        again = frozenset((*TERMS.rerun_seeds(0), *TERMS.rerun_seeds(1)))

        def repeated(self, repeat: int) -> LeastSquares:
            return self if repeat == 0 else Treacherous(repeat=repeat)

        def run(self, asked: Sequence[Lane], **terms: Any) -> Any:
            lanes = super().run(asked, **terms)
            some, seed = np.array([treacherous(t.hyper["lr"]) for t in asked]), asked[0].seed
            first, again = ({TERMS.selection_seed(k) for k in (0, 1)}, self.again)
            lanes.diverged_at[some & (seed in again)] = 1
            lanes.validation_loss[-1, some & (seed in first)] = 0.0
            return lanes

    def treacherous(lr: float) -> bool:
        return 0.2 < lr < 0.6

    results, curves = _race(replace(TERMS, rules=("sgd",)), task=Treacherous())
    again = {trial.hyper["lr"] for trial, *_ in curves if trial.phase == "rerun"}
    assert 0 < sum(map(treacherous, again)) < 16
    assert not treacherous(results["rules"][0]["hyper"]["lr"])


def test_selection_never_sees_the_test_part() -> None:
    task = LeastSquares()
    poisoned = LeastSquares()
    poisoned.X[2][:] = np.nan
    with Store(None) as clean, Store(None) as store:
        found = _run(task, TERMS, clean).found
        assert _run(poisoned, TERMS, store).found == found
        for name in TERMS.rules:  # what the poison reaches is the judgement, once per final
            assert all(np.isnan(r.test_loss) for r in store.of(name, "final", 0))
            assert poisoned.judged.count(name) == 2 * TERMS.seeds


def test_rows_are_what_the_comparison_of_the_repeats_says() -> None:
    results, _ = usual()
    rows = {row["rule"]: row for row in results["rules"]}
    losses = np.array([rows[name]["test_losses"] for name in TERMS.rules])
    expected = compare(losses, rows=20, constant=20.0)
    assert results["winner"] == TERMS.rules[expected.winner]
    for index, name in enumerate(TERMS.rules):
        price, row = rows[name]["price"], rows[name]
        assert (price["low"], price["high"]) == (expected.low[index], expected.high[index])
        assert row["test_loss"]["typical"] == expected.loss[index]
        assert row["could_be_best"] == expected.could_be_best[index]
        assert row["state"] == expected.states(0.05)[index]
    order = [STATES.index(row["state"]) for row in results["rules"]]
    assert order == sorted(order)


@pytest.mark.usefixtures("registry")
def test_a_rule_could_be_best_where_its_twin_could() -> None:
    @rule("Polyak 1964 again")
    def twin_of_momentum(g, x, v, *, t, lr=1e-3, beta=0.9):  # noqa: ANN001, ANN202
        v = beta * v + g
        return x - lr * v, v

    results, _ = _race(replace(TERMS, rules=("momentum", "twin_of_momentum")))
    first, second = results["rules"]
    assert first["test_losses"] == second["test_losses"]
    assert first["price"] == second["price"] == {"low": 0, "typical": 0, "high": 0}
    assert (first["probability"], second["probability"]) == (0.5, 0.5)
    assert results["sentence"].startswith("Any of these 2 rules will do: none is more than 5 %")
    assert results["take"] == "momentum"  # the one that readers know


@pytest.mark.usefixtures("registry")
def test_a_rule_that_always_diverges_comes_last(tmp_path: Path) -> None:
    @rule("made to fail")
    def exploding(g, x, *, t, lr=1e-3):  # noqa: ANN001, ANN202
        return x - lr * 1e300 * g * 1e300

    results, _ = _race(replace(TERMS, rules=("exploding", "sgd")))
    last = results["rules"][1]
    assert results["winner"] == "sgd"
    assert last["diverged"] == 1.0
    assert last["val_loss"] is None
    assert last["test_losses"] == [None, None]
    assert last["test_loss"]["typical"] == pytest.approx(20.0)  # as the best constant output
    assert (last["state"], last["could_be_best"]) == ("worse", False)
    assert results["sentence"].endswith(": exploding diverged in every repeat.")
    assert last["epochs_to_target"] is None
    assert last["probability"] == 0
    with pytest.raises(ValueError, match="no rule ended with a finite test loss"):
        _race(replace(TERMS, rules=("exploding",)))
    out = tmp_path / "race"
    terms: Any = {"epochs": 2, "trials": 4, "seeds": 2, "out": out, "workers": 1}
    with pytest.raises(ValueError, match=rf"thalweg results {out} --csv prints them"):
        thalweg.race("diabetes", rules="exploding", **terms)
    assert (out / "curves.parquet").exists()  # they show what happened


def test_several_batch_sizes_are_searched() -> None:
    terms = replace(TERMS, batch_sizes=(4, 40))
    results, curves = _race(terms)
    assert {trial.batch_size for trial, *_ in curves if trial.round == "round 1"} == {4, 40}
    assert {row["batch_size"] for row in results["rules"]} == {4}  # 50 steps instead of 5


class Mixing(LeastSquares):
    """Trains all rules of a seed together, and notes what it is given."""

    def __init__(self, lanes: int, repeat: int = 0) -> None:
        super().__init__(repeat=repeat)
        self.lanes = lanes
        self.units: list[list[Lane]] = []

    def repeated(self, repeat: int) -> "Mixing":
        other = self if repeat == 0 else type(self)(self.lanes, repeat)
        other.units = self.units
        return other

    def together(self, lane: Lane) -> Hashable:
        return lane.seed

    def run(self, lanes: Sequence[Lane], *, alone: bool = False, **terms: Any) -> Any:
        if not alone:
            self.units.append(list(lanes))
        single = [super(Mixing, self).run([lane], **terms) for lane in lanes]
        curves = (
            np.concatenate([getattr(one, name) for one in single], axis=-1)
            for name in ("train_loss", "validation_loss", "diverged_at")
        )
        return Lanes(*curves, lambda: np.concatenate([one.judge() for one in single], axis=1))


@cache
def one_by_one() -> tuple[dict[str, Any], Curves]:
    task = LeastSquares()
    task.lanes = 1
    return _race(task=task)


@pytest.mark.parametrize(("lanes", "workers"), [(64, 2), (7, 1), (7, 3), (1, 2)])
def test_trials_of_all_rules_are_trained_together_and_the_verdict_is_the_same(
    lanes: int, workers: int
) -> None:
    task = Mixing(lanes)
    assert _race(task=task, workers=workers) == one_by_one()
    trained = [
        (lane.rule.name, lane.seed, lane.batch_size, str(lane.hyper))
        for unit in task.units
        for lane in unit
    ]
    assert len(trained) == len(set(trained))
    assert max(map(len, task.units)) == min(lanes, 3 * 20)  # other repeats have work, too
    sizes = [{lane.rule for lane in unit} for unit in task.units if len(unit) == lanes]
    assert lanes == 1 or max(map(len, sizes), default=3) > 1


class Rounding(Mixing):
    """Computes by the size of a piece and the place in it, and takes its time."""

    exact = False

    def __init__(self, delays: int, repeat: int = 0) -> None:
        super().__init__(lanes=7, repeat=repeat)
        self.random = random.Random(delays)  # noqa: S311 - of delays

    def repeated(self, repeat: int) -> "Rounding":
        other = self if repeat == 0 else Rounding(self.random.randrange(100), repeat)
        other.units = self.units
        return other

    def run(self, asked: Sequence[Lane], **terms: Any) -> Any:
        time.sleep(self.random.choice([0.0, 0.0, 0.005]))
        lanes = super().run(asked, **terms)
        others = 1 + 0.01 * ((np.arange(len(asked)) + 3 * len(asked)) % 7)
        return replace(lanes, validation_loss=lanes.validation_loss * others)


def test_where_lanes_round_by_their_neighbours_no_number_depends_on_which_piece_ended_first(
    tmp_path: Path,
) -> None:
    terms = replace(TERMS, batch_sizes=(4, 40), trials=20)

    def race(delays: int, **given: Any) -> tuple[str, int]:
        task = Rounding(delays)
        _, curves = _race(terms, task=task, **given)
        trained = sum(map(len, task.units))
        return repr(curves), trained  # a text, for NaN is not NaN

    unbroken, trained = race(0, workers=3)
    assert race(1, workers=3) == (unbroken, trained)
    for done in (1, 11):
        told = itertools.count()

        def interrupt(_: run.Progress, told: Any = told, done: int = done) -> None:
            if next(told) == done:
                raise KeyboardInterrupt

        folder = tmp_path / str(done)
        with pytest.raises(KeyboardInterrupt):
            race(2, store=Store(folder), tell=interrupt, workers=3)
        curves, rest = race(3, store=Store(folder), workers=1)
        assert curves == unbroken
        assert rest < trained


def test_no_worker_is_without_work_while_another_has_a_stack() -> None:
    first: list[int] = []
    started, met = itertools.count(), threading.Barrier(4)

    class Meeting(Mixing):
        """Ends no piece before each of four workers has one."""

        def run(self, lanes: Sequence[Lane], *, alone: bool = False, **terms: Any) -> Any:
            if not alone and next(started) < met.parties:
                first.append(len(lanes))
                met.wait(60)
            return super().run(lanes, alone=alone, **terms)

    _race(replace(TERMS, rules=("adam",)), task=Meeting(64), workers=4)
    assert sorted(first) == [5, 5, 10, 20]


def test_progress_ends_where_it_said() -> None:
    told = []
    _race(tell=told.append)
    assert told[-1].done == told[-1].total
    assert [p.done for p in told] == sorted(p.done for p in told)
    assert all(p.standings.keys() == set(TERMS.rules) for p in told)
    assert any(p.doing == "adam: trials 1-16" for p in told)
    assert any(p.doing == "sgd: seed 4" for p in told)
    assert told[-1].doing == "adam: time per epoch"
    name, loss = told[-1].best.split()
    assert name in TERMS.rules
    assert float(loss) > 0


@pytest.mark.parametrize("on", ["threads", "processes"])
def test_epochs_count_before_the_first_training_ends(tmp_path: Path, on: str) -> None:
    seen = tmp_path / "seen"

    class Slow(LeastSquares):
        """Its first trainings wait until who watches has seen the epochs of one of them."""

        def run(self, lanes: Sequence[Lane], *, epochs_ended: Any = None, **terms: Any) -> Any:
            while epochs_ended and not seen.exists():
                epochs_ended(1)
                time.sleep(0.01)
            return super().run(lanes, **terms)

    def watch(progress: run.Progress) -> None:
        told.append(progress)
        if progress.done:
            seen.touch()

    told: list[run.Progress] = []
    _race(task=Slow(), tell=watch, on=on)
    first = next(p for p in told if p.done)
    assert first.doing == "first trainings"
    assert first.seconds_left is not None
    assert first.done <= 2 * 16  # no more than the trainings of two workers
    assert [p.done for p in told] == sorted(p.done for p in told)
    assert told[-1].done == told[-1].total


def test_targets_that_are_trained_count_before_the_first_training() -> None:
    class Aiming(LeastSquares):
        target_epochs = 20

    told: list[run.Progress] = []
    _race(task=Aiming(), tell=told.append)
    assert [(p.done, p.doing) for p in told[:4]] == [
        (0.0, "targets"), (4.0, "target of repeat 1"), (8.0, "target of repeat 2"),
        (8.0, "first trainings"),
    ]  # fmt: skip
    assert told[-1].done == told[-1].total


@pytest.mark.parametrize("stacked", [True, False])
def test_finals_that_share_a_stack_count_as_other_trainings(*, stacked: bool) -> None:
    class Shared(Mixing):
        def together(self, lane: Lane) -> Hashable:
            return lane.shared, None if stacked else lane.seed

    told: list[run.Progress] = []
    _race(tell=told.append, task=Shared(16))
    assert told[-1].done == told[-1].total
    finals = 3 * 4 * (1 if stacked else 8.0)
    assert told[0].total == 2 * (3 * (30 + 2 * 8) + finals) + 3 * 8.0 * 3  # and the timings


@pytest.mark.parametrize("done", [20, 40, 150])
def test_an_interrupted_race_ends_as_an_unbroken_one(tmp_path: Path, done: int) -> None:
    def interrupt(progress: run.Progress) -> None:
        if progress.done > done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _race(store=Store(tmp_path), tell=interrupt)
    kept = sqlite3.connect(tmp_path / "race.sqlite")
    assert kept.execute("SELECT count(*) FROM trials").fetchone()[0] > done / 2
    assert kept.execute("SELECT count(*) FROM evaluations").fetchone()[0] % 6 == 0
    kept.close()
    told = []
    resumed = _race(store=Store(tmp_path), tell=told.append)
    assert resumed == usual()
    assert told[0].done > done  # nothing ran twice
    assert told[-1].done == told[-1].total


def test_an_interrupt_stops_trainings_that_run() -> None:
    class Endless(LeastSquares):
        def run(self, *_args: Any, should_stop: Callable[[], bool], **_kwargs: Any) -> Any:
            started.set()
            while not should_stop():
                pass
            stopped.set()
            raise KeyboardInterrupt

    started, stopped = threading.Event(), threading.Event()

    def press() -> None:
        started.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(KeyboardInterrupt):
        _race(task=Endless())
    assert stopped.wait(5)


def test_an_error_in_a_training_is_raised() -> None:
    class Broken(LeastSquares):
        def run(self, *_args: Any, **_kwargs: Any) -> Any:
            raise ValueError("the task broke")

    with pytest.raises(ValueError, match="the task broke"):
        _race(task=Broken())


_KILLED = """
import os, signal, sys
from pathlib import Path
from racing_task import LeastSquares
from racing.test_run import TERMS, Store, _run

def kill(progress):
    if progress.done > 100:
        os.kill(os.getpid(), signal.SIGKILL)

with Store(Path(sys.argv[1])) as store:
    _run(LeastSquares(), TERMS, store, kill)
"""


def test_a_killed_race_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path)], cwd=Path(__file__).parents[1], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    told = []
    assert _race(store=Store(tmp_path), tell=told.append) == usual()
    assert told[0].done >= 100
