"""The search on losses that are known in closed form."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from thalweg import rules
from thalweg.racing import space
from thalweg.racing.search import (
    FULL,
    HALVING,
    WIDENINGS,
    Found,
    Round,
    extra,
    full_trainings,
    search,
)
from thalweg.racing.space import Dimension, Point, Space
from thalweg.racing.trial import RERUN
from thalweg.rule import RANGES, Range
from thalweg.tasks import schedule


def _run(
    searched: Space,
    loss: Callable[[Point], float],
    trials: int = 16,
    seed: int = 0,
    rungs: Sequence[float] = FULL,
) -> tuple[Found, list[Round]]:
    steps = search(searched, trials, seed, rungs)
    rounds, answer = [], None
    while True:
        try:
            wanted = steps.send(answer)
        except StopIteration as stop:
            return stop.value, rounds
        rounds.append(wanted)
        answer = [loss(point) for point in wanted.points]


def _distance(lr: float) -> Callable[[Point], float]:
    return lambda point: abs(math.log10(point.hyper["lr"] / lr))


def test_search_has_two_rounds_and_ends_close_to_the_best() -> None:
    found, rounds = _run(space.of(rules.get("sgd")), _distance(0.02))
    lengths = [(label, len(points)) for label, points, _ in rounds]
    assert lengths == [("round 1", 16), ("round 2", 7), ("round 2", 1), ("rerun", 8)]
    assert rounds[0].points[0].hyper == rules.get("sgd").defaults
    assert found.widened == ()
    # 8 even points over 1.5 decades: the closest of them is within 2 * 1.5 / 8
    assert _distance(0.02)(found.point) < 0.2


def _shallow(point: Point) -> float:
    """A valley in which the best few are within 20 % of each other."""
    return 1 + 0.1 * _distance(0.02)(point)


def test_the_next_guess_is_the_mean_of_the_best_four_and_is_run_again() -> None:
    _, rounds = _run(space.of(rules.get("sgd")), _shallow)
    trials = [*rounds[0].points, *rounds[1].points]
    best = sorted(trials, key=_distance(0.02))[:4]
    mean = np.mean([math.log10(point.hyper["lr"]) for point in best])
    (guess,) = rounds[2].points
    assert math.log10(guess.hyper["lr"]) == pytest.approx(mean, abs=0.003)  # three digits
    assert guess in rounds[3].points
    asked = itertools.count(1)
    _, unlucky = _run(
        space.of(rules.get("sgd")), lambda p: 9.0 if next(asked) == 24 else _shallow(p)
    )
    assert unlucky[2].points == [guess]
    assert guess in unlucky[3].points


def test_the_best_alone_is_not_tried_twice() -> None:
    asked = itertools.count()
    _, rounds = _run(space.of(rules.get("sgd")), lambda _: 0.1 if next(asked) == 5 else 1.0)
    (guess,) = rounds[-2].points
    best = rounds[0].points[5]
    assert guess != best
    assert abs(math.log10(guess.hyper["lr"] / best.hyper["lr"])) < 6 / 8  # half a quarter


@pytest.mark.parametrize("sign", [1, -1])
def test_a_trial_far_above_the_best_has_no_part_in_the_mean(sign: int) -> None:
    asked = itertools.count()

    def loss(_: Point) -> float:  # two good ones in the first round, and bad ones after it
        return 2 * sign + {3: -1.0, 7: -0.9}.get(next(asked), 1.0)

    _, rounds = _run(space.of(rules.get("sgd")), loss)
    searched = space.of(rules.get("sgd"))
    near = [rounds[0].points[3], rounds[0].points[7]]
    assert rounds[-2].points == [searched.middle(near)]


def test_a_trial_belongs_to_the_mean_up_to_20_percent_above_the_best() -> None:
    asked = itertools.count()
    _, rounds = _run(
        space.of(rules.get("sgd")), lambda _: {3: 1.0, 7: 1.19, 11: 1.21}.get(next(asked), 3.0)
    )
    searched = space.of(rules.get("sgd"))
    near = [rounds[0].points[3], rounds[0].points[7]]
    assert rounds[-2].points == [searched.middle(near)]


def test_the_mean_is_of_one_batch_size_and_schedule() -> None:
    searched = space.of(rules.get("sgd"), [8, 32], schedule.NAMES)
    wanted = (32, "cosine")
    found, rounds = _run(
        searched, lambda p: _shallow(p) + 0.02 * ((p.batch_size, p.schedule) != wanted), 32
    )
    alike = [p for w in rounds[:2] for p in w.points if (p.batch_size, p.schedule) == wanted]
    best = sorted(alike, key=_distance(0.02))[:4]
    assert rounds[2].points[0] == searched.middle(best)
    assert (found.point.batch_size, found.point.schedule) == wanted


def test_a_trial_that_was_lucky_is_outvoted_when_it_is_run_again() -> None:
    steps = search(space.of(rules.get("sgd")), 16, 0)
    wanted = next(steps)
    points = wanted.points
    lucky = max(points, key=lambda point: point.hyper["lr"] if point.hyper["lr"] < 1 else 0)
    honest = _distance(0.02)
    while wanted.label != RERUN:
        wanted = steps.send([0.0 if p == lucky else honest(p) + 0.1 for p in wanted.points])
    points = wanted.points
    assert lucky == points[0]
    others = [p for p in points if p != lucky]
    assert [honest(p) for p in others] == sorted(honest(p) for p in others)
    with pytest.raises(StopIteration) as stop:
        steps.send([math.inf if p == lucky else honest(p) + 0.2 for p in points])
    found = stop.value.value
    assert found.point == others[0]
    assert found.loss == pytest.approx(honest(found.point) + 0.2)


@pytest.mark.parametrize("lr", [1e-7, 1e3])
def test_space_that_excludes_the_best_is_widened_until_it_does_not(lr: float) -> None:
    found, rounds = _run(space.of(rules.get("sgd")), _distance(lr))
    assert found.widened
    assert sum(label == "widened" for label, _, _ in rounds) == len(found.widened)
    assert found.space.dimensions[0].low < lr < found.space.dimensions[0].high
    assert _distance(lr)(found.point) < 0.3
    assert f"by {extra(16)} extra trials" in found.widened[0]


def test_widening_is_bounded() -> None:
    found, _ = _run(space.of(rules.get("sgd")), lambda point: point.hyper["lr"])
    assert len(found.widened) == WIDENINGS
    assert found.space.dimensions[0].low == pytest.approx(1e-5 * 10 ** (-2 * WIDENINGS))


def test_space_ends_where_the_legal_range_ends() -> None:
    beta = Dimension("beta", 0.0, 0.999, "one_minus_log", RANGES["beta"])
    searched = Space({"beta": 0.9}, (beta,), (32,))
    found, _ = _run(searched, lambda point: point.hyper["beta"])
    assert found.widened == ()
    found, _ = _run(searched, lambda point: -point.hyper["beta"])
    assert found.space.dimensions[0].low == 0.0
    assert 0.999 < found.point.hyper["beta"] < 1


def test_widening_keeps_to_the_legal_range() -> None:
    lr = Dimension("lr", 1e-5, 1e1, "log", Range(0.0, 20.0, "()"))
    found, rounds = _run(Space({"lr": 1e-3}, (lr,), (32,)), lambda point: -point.hyper["lr"])
    assert found.space.dimensions[0].high == 20.0
    assert len(found.widened) == 1
    assert all(point.hyper["lr"] in lr.legal for wanted in rounds for point in wanted.points)


def test_diverged_trials_are_never_the_best() -> None:
    found, _ = _run(
        space.of(rules.get("sgd")),
        lambda p: math.inf if p.hyper["lr"] > 1e-2 else -p.hyper["lr"],
    )
    assert found.point.hyper["lr"] <= 1e-2


def test_all_trials_diverged_leaves_the_defaults() -> None:
    found, _ = _run(space.of(rules.get("sgd")), lambda _: math.inf)
    assert found.number == 0
    assert found.point.hyper == {"lr": 1e-3}


def test_second_round_keeps_the_batch_size_of_the_best() -> None:
    searched = space.of(rules.get("sgd"), [8, 32])
    _, rounds = _run(searched, lambda p: _distance(0.02)(p) + (p.batch_size != 32))
    assert {point.batch_size for point in rounds[0].points} == {8, 32}
    assert {point.batch_size for point in rounds[1].points} == {32}


def test_the_best_of_each_batch_size_and_the_defaults_are_run_again() -> None:
    searched = space.of(rules.get("sgd"), [8, 32, 128])
    found, rounds = _run(searched, lambda p: _distance(0.02)(p) + 5 * (p.batch_size != 32), 32)
    trials = [point for wanted in rounds[:-1] for point in wanted.points]
    again = [trials[number] for number in found.again]
    assert again == rounds[-1].points
    assert len(again) == 8
    assert trials[found.defaults] == searched.start
    assert searched.start in again
    for size in (8, 128):
        best = min((p for p in trials if p.batch_size == size), key=_distance(0.02))
        assert best in again
    assert found.again[found.number] == found.loss == min(found.again.values())


def test_more_batch_sizes_than_finalists_leave_the_best_of_them() -> None:
    sizes = list(range(1, 13))
    found, rounds = _run(space.of(rules.get("sgd"), sizes), lambda p: p.batch_size, 64)
    assert len(found.again) == 8
    # the defaults' is 1, and that of the mean
    assert {point.batch_size for point in rounds[-1].points} == set(range(1, 8))


@pytest.mark.parametrize("trials", [4, 9, 27, 64])
def test_halving_leaves_a_third_on_each_rung_and_chooses_among_full_trainings(trials: int) -> None:
    asked: list[tuple[Point, float]] = []

    def loss(point: Point) -> float:
        asked.append((point, _distance(0.02)(point)))
        return asked[-1][1]

    found, rounds = _run(space.of(rules.get("sgd")), loss, trials, rungs=HALVING)
    first = [wanted for wanted in rounds if wanted.label == "round 1"]
    assert [wanted.share for wanted in first] == list(HALVING)
    for before, after in itertools.pairwise(first):
        best = sorted(before.points, key=_distance(0.02))[: math.ceil(len(before.points) / 3)]
        assert set(map(str, after.points)) <= {*map(str, best), str(before.points[0])}
        assert after.points[0] == space.of(rules.get("sgd")).start
        assert len(after.points) <= len(best) + 1
    numbered = [wanted.share for wanted in rounds[:-1] for _ in wanted.points]
    assert all(numbered[number] == 1 for number in (*found.again, found.defaults))
    spent = sum(w.share * len(w.points) for w in rounds if w.label.startswith("round"))
    assert full_trainings(trials, HALVING) - 1.5 <= spent <= full_trainings(trials, HALVING)


def test_every_batch_size_has_its_own_best_rate_by_scaling_that_of_another() -> None:
    def loss(point: Point) -> float:  # the best rate grows in proportion to the batch size
        return _distance(0.001 * point.batch_size)(point) + 0.1 * (point.batch_size != 32)

    searched = space.of(rules.get("sgd"), [8, 32, 512])
    found, rounds = _run(searched, loss, 16)
    guess, *others = rounds[-2].points
    assert guess.batch_size == 32
    assert [p.batch_size for p in others] == [8, 8, 8, 512, 512, 512]
    for size in (8, 512):
        best = min((p for p in rounds[-1].points if p.batch_size == size), key=loss)
        assert _distance(0.001 * size)(best) < 0.2
    assert found.point.batch_size == 32


def test_a_rule_without_a_rate_is_resized_as_it_is() -> None:
    beta = Dimension("beta", 0.0, 0.999, "one_minus_log", RANGES["beta"])
    searched = Space({"beta": 0.9}, (beta,), (8, 32))
    assert searched.resized(searched.start) == [Point({"beta": 0.9}, 32)]
