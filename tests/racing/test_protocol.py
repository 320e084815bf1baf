"""The terms of a race and its budget, on a task whose every number is known."""

import json
import time
from collections.abc import Hashable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from racing.test_run import TERMS, Mixing, _race
from thalweg import rules
from thalweg.racing import run
from thalweg.racing.protocol import MAX_TRIALS, MIN_TRIALS, Budget, Protocol, Speed, Terms, rules_of
from thalweg.racing.search import FULL, HALVING, full_trainings
from thalweg.racing.store import Store
from thalweg.racing.trial import Result
from thalweg.racing.workers import hired
from thalweg.tasks.task import Lane


def test_budget_in_epochs_pays_for_both_rounds_and_the_finals() -> None:
    terms = replace(TERMS, trials=None, budget="560epochs")
    results, _ = _race(terms)
    # 560 / 5 epochs / 2 repeats = 56 trainings: 4 finals, 2 * 8 re-runs, 24 + 12 trials; widenings
    # come on top
    assert results["protocol"]["trials"] == 24
    assert results["protocol"]["second_round"] == 12
    assert results["protocol"]["trials_per_rule"] == dict.fromkeys(TERMS.rules, 24)


def test_other_batch_sizes_are_part_of_the_budget_and_of_the_work() -> None:
    terms = replace(TERMS, batch_sizes=(4, 8, 40), trials=None, budget="840epochs")
    told: list[run.Progress] = []
    results, curves = _race(terms, tell=told.append)
    # 840 / 5 epochs / 2 repeats = 84 trainings: 4 finals, 2 * 8 re-runs, 2 * 3 at other sizes,
    # 39 + 19 trials
    assert results["protocol"]["trials"] == 39
    for name in TERMS.rules:
        own = [trial for trial, *_ in curves if trial.rule == name and trial.round != "widened"]
        assert sum(trial.epochs for trial in own) == 840
    widened = sum(trial.round == "widened" for trial, *_ in curves)
    assert told[-1].total == told[0].total + widened


def test_a_slow_rule_s_fewer_trials_are_said() -> None:
    counts = {"sgd": 20, "momentum": 4, "adam": 12}
    store = Store(None)
    store.begin(Terms(2, "", "", {}, TERMS), counts, None, 16, 2)
    results, _ = _race(store=store)
    terms = results["protocol"]
    assert (terms["trials"], terms["second_round"], terms["trials_per_rule"]) == (4, 2, counts)
    assert "5 to 8 trials are run again on 2 other seeds" in terms["selection"]
    for row in results["rules"]:
        count = counts[row["rule"]]
        more = max(count // 4, 4) * len(row["widened"])
        assert row["trials"] == 2 * (count + count // 2) + more
    assert "8 trials are run again" in _race()[0]["protocol"]["selection"]


def test_halving_trains_most_for_a_ninth_and_the_best_third_for_longer() -> None:
    terms = Protocol(
        rules=("sgd",), trials=18, repeats=2, epochs=18, seeds=2, batch_sizes=(8,), halving=True
    )
    told = []
    _, curves = _race(terms, tell=told.append)
    trials = [
        (trial, losses[-1])
        for trial, _, losses in curves
        if (trial.phase, trial.repeat) == ("trial", 0)
    ]
    assert all(len(losses) == trial.epochs + 1 for trial, _, losses in curves)
    assert [trial.epochs for trial, _ in trials[:9]] == [2] * 9
    rung = [trial for trial, _ in trials[9:] if trial.epochs == 6 and trial.round == "round 1"]
    best = sorted(trials[:9], key=lambda pair: pair[1])[:3]
    chosen = {trial.hyper["lr"] for trial, _ in best} | {trials[0][0].hyper["lr"]}
    assert {trial.hyper["lr"] for trial in rung} == chosen
    assert {trial.epochs for trial, *_ in curves if trial.phase != "trial"} == {18}
    assert told[-1].done == told[-1].total


def test_halving_buys_more_trials_for_the_same_budget() -> None:
    terms = replace(TERMS, rules=("sgd",), epochs=9, trials=None, budget="1712epochs")
    plain, halved = (
        Budget(1712.0, "epochs").trials(replace(terms, halving=halving), [Speed()], workers=1)[0]
        for halving in (False, True)
    )
    # 856 epochs a repeat, 4 finals and 16 re-runs of 9 epochs: 676 are left, 75 full trainings
    assert plain == 50  # and 25 in round 2
    assert 2.5 * plain < halved <= 3 * plain
    for count, rungs in ((plain, FULL), (halved, HALVING)):
        assert full_trainings(count, rungs) <= 75.1 < full_trainings(count + 1, rungs)


@pytest.mark.parametrize("budget", ["100000h", "9" * 400 + "epochs"])
def test_no_budget_buys_more_trials_than_a_race_can_hold(budget: str) -> None:
    terms = Protocol(rules=("sgd", "adam"), epochs=2, seeds=2, budget=budget)
    speeds = [Speed(), Speed(among=1e-3, final=1e-3, alone=1e-3)]
    assert Budget.parse(budget).trials(terms, speeds, workers=2) == [MAX_TRIALS] * 2


def test_few_trials_pay_for_as_few_re_runs() -> None:
    terms = Protocol(
        rules=("sgd",), epochs=5, repeats=2, seeds=4, batch_sizes=(8,), budget="200epochs"
    )
    # 20 trainings a repeat: 4 finals, 4 + 2 trials, of which 5 are run again on 2 seeds
    assert Budget(200.0, "epochs").trials(terms, [Speed()], workers=1) == [4]
    with pytest.raises(ValueError, match=r"budget must be >= 200epochs"):
        Budget(199.0, "epochs").trials(terms, [Speed()], workers=1)
    _, curves = _race(terms)
    assert sum(trial.epochs for trial, *_ in curves if trial.round != "widened") == 200


def test_budget_in_time_has_the_time_in_it_that_keeping_results_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Free(Mixing):
        def run(self, lanes: Sequence[Lane], **_: Any) -> Any:
            pass

    def slow(results: Sequence[Result], *_: object) -> None:
        time.sleep(0.005 * len(results))

    monkeypatch.setattr(Store, "add", lambda _, results: slow(results))
    terms = Protocol(
        rules=("sgd", "adam"), epochs=5, repeats=2, seeds=2, batch_sizes=(8,), budget="8s"
    )
    task = Free(16)
    with hired(task, None, 2) as workers:
        counts = run.trials_per_rule(task, terms, workers)
    for count in counts.values():  # in 2 s each, twice: 2 finals, both rounds and 2 * 8 re-runs
        assert count > MIN_TRIALS
        assert 0.005 * (2 + 1.5 * count + 16) <= 2


def test_budget_in_time_gives_a_slow_rule_fewer_trials() -> None:
    terms = Protocol(rules=("sgd", "adam"), epochs=10, repeats=2, seeds=6)
    fast = Speed(among=1e-3, final=2e-3, alone=5e-3)
    slow = Speed(among=2e-3, final=4e-3, alone=1e-2)
    # 2 threads for 3.86 s, half a second of it gone: 1.68 s for each rule and repeat, of which 6
    # finals take 0.12 and 0.24 s, 16 re-runs 0.16 and 0.32 s, and the timing of 32 epochs, once for
    # both repeats, 0.16 and 0.32 s of both threads
    found = Budget(3.86, "s").trials(terms, [fast, slow], workers=2, spent=0.5)
    assert found == [83, 26]
    alone = replace(fast, alone=1.0)  # two epochs, and a second
    terms = replace(terms, rules=("sgd",))
    assert Budget(5.8521, "s").trials(terms, [alone], workers=2) == [171]


def test_budget_in_time_leaves_the_slowest_rule_the_fewest_trials() -> None:
    terms = Protocol(rules=("sgd", "adam"), epochs=10, repeats=2, seeds=6)
    speeds = [Speed(among=among, final=2e-3, alone=1e-4) for among in (1e-3, 1e-2)]
    assert Budget(5.674, "s").trials(terms, speeds, workers=2) == [170, 11]
    with pytest.raises(ValueError, match=r"budget must be >= 3s for 2 rules, .* got 1s"):
        Budget(1.0, "s").trials(terms, speeds, workers=2)


def test_budget_too_small_names_the_smallest_that_works() -> None:
    terms = replace(TERMS, trials=None, budget="10epochs")
    with pytest.raises(ValueError, match=r"budget must be >= 200epochs .* got 10epochs"):
        _race(terms)
    assert _race(replace(terms, budget="200epochs"))[0]["protocol"]["trials"] == 4


@pytest.mark.parametrize("stacked", [True, False])
def test_finals_that_share_a_stack_cost_what_its_lanes_cost(*, stacked: bool) -> None:
    class Priced(Mixing):
        def together(self, lane: Lane) -> Hashable:
            return None if stacked else lane.seed

        def run(self, *_: Any, alone: bool = False, **__: Any) -> Any:
            time.sleep(0.03 if alone else 0.01)  # of one; of all sixteen

    task = Priced(16)
    with hired(task, None, 2) as workers:
        speed = run._speed(task, replace(TERMS, epochs=1), "sgd", workers)
    assert speed.alone >= 0.03
    assert 0.01 / 16 <= speed.among < speed.alone / 4
    assert speed.final == (speed.among if stacked else speed.alone)


def test_budget_in_time_is_decided_once(tmp_path: Path) -> None:
    terms = replace(TERMS, trials=None, budget="1s")

    def interrupt(_: run.Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _race(terms, Store(tmp_path), interrupt)
    with Store(tmp_path) as store:
        counts = store.counts()
    assert min(counts.values()) >= 4
    results, _ = _race(terms, Store(tmp_path))
    assert results["protocol"]["trials_per_rule"] == counts


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"rules": ()}, "rules must name at least one rule, got none"),
        ({"rules": ("sgd", "sgd")}, "rules must name each one once, got 'sgd' twice"),
        ({"batch_sizes": ()}, "batch_size must be a number or a sequence of them, got none"),
        ({"batch_sizes": (8, 8)}, "batch_size must name each one once, got 8 twice"),
        ({"epochs": 0}, "epochs must be an integer >= 1, got 0"),
        ({"trials": 3}, "trials must be an integer in [4, 1024], got 3"),
        ({"trials": 1025}, "trials must be an integer in [4, 1024], got 1025"),
        (
            {"budget": "60s"},
            "give either trials=40 or budget='60s': a budget says how many trials there are",
        ),
        ({"seeds": 0}, "seeds must be an integer in [1, 1000], got 0"),
        ({"repeats": 1}, "repeats must be an integer in [2, 1000], got 1"),
        ({"repeats": 100_000}, "repeats must be an integer in [2, 1000], got 100000"),
        ({"l2": -1.0}, "l2 must be >= 0, got -1.0"),
        ({"l2": float("nan")}, "l2 must be finite, got nan"),
        ({"l2": "0.1"}, "l2 must be a number, got '0.1'"),
        ({"epochs": 8, "halving": True}, "epochs with halving must be an integer >= 9, got 8"),
        ({"margin": 5}, "margin must be in [0, 1), got 5"),
        ({"margin": "5%"}, "margin must be a number, got '5%'"),
        ({"seed": -1}, "seed must be an integer in [0, 4294967295], got -1"),
        ({"budget": "soon"}, "budget must look like 60s, 5min, 1h or 2000epochs, got 'soon'"),
        ({"budget": "0s"}, "budget must look like 60s, 5min, 1h or 2000epochs, got '0s'"),
        ({"budget": 60}, "budget must look like 60s, 5min, 1h or 2000epochs, got 60"),
    ],
)
def test_terms_out_of_bounds(terms: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        replace(TERMS, **terms)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["epochs", "trials", "repeats", "seeds", "seed"])
@pytest.mark.parametrize("value", [4.5, True, "8", np.float64(5.0), np.True_])
def test_terms_that_are_not_whole(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be an integer .*, got ") as caught:
        replace(TERMS, **{name: value})
    assert str(caught.value).endswith(repr(value))


def test_terms_of_numpy_are_kept_as_python_s_own() -> None:
    own = Protocol(("sgd",), epochs=10, trials=4, seeds=3, seed=1, halving=True, l2=0.5)
    given = {k: np.int64(getattr(own, k)) for k in ("epochs", "trials", "seeds", "seed")}
    terms = Protocol(("sgd",), **given, halving=np.True_, l2=np.float32(0.5))
    assert json.dumps(asdict(terms)) == json.dumps(asdict(own))


def test_batch_larger_than_the_training_part() -> None:
    with pytest.raises(ValueError, match=r"batch_size must be an integer in \[1, 7\], .* got 8"):
        TERMS.check_batch_sizes(7)
    with pytest.raises(ValueError, match=r"batch_size must be an integer .* got True"):
        replace(TERMS, batch_sizes=(True,)).check_batch_sizes(7)


def test_rules_by_name_object_or_all() -> None:
    assert rules_of("all") == tuple(map(rules.get, rules.names()))
    assert len(rules_of(None)) == 20
    further = {*rules_of("all")} - {*rules_of(None)}
    assert further == {
        rules.nadamw, rules.laprop, rules.adopt, rules.adan, rules.ademamix,
        rules.schedule_free_sgd, rules.schedule_free_adamw,
        *map(rules.get, rules.names("sums", "matrices", "asking")),
    }  # fmt: skip
    assert rules_of("sgd") == (rules.sgd,)
    assert rules_of([rules.adam, "sgd"]) == (rules.adam, rules.sgd)
    with pytest.raises(ValueError, match="unknown rule 'adma'; did you mean"):
        rules_of(["adma"])
    for wrong in ([3], 3):
        with pytest.raises(TypeError, match="rules must be names or rules, got 3"):
            rules_of(wrong)  # type: ignore[arg-type] # that is the question
