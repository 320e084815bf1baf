"""Spaces: what is searched of each rule, and where."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import thalweg.rule
from thalweg import rules
from thalweg.racing import space
from thalweg.racing.space import Dimension, Point, Space
from thalweg.rule import RANGES, Range, rule
from thalweg.tasks import schedule


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the rules that a test declares."""
    monkeypatch.setattr(thalweg.rule, "_rules", dict(thalweg.rule._rules))


@pytest.mark.parametrize("name", rules.names())
def test_every_rule_searches_legal_values_around_its_defaults(name: str) -> None:
    found = rules.get(name)
    searched = space.of(found)
    assert searched.dimensions[0].name == "lr"
    for dimension in searched.dimensions:
        assert dimension.low <= found.defaults[dimension.name] <= dimension.high
        assert dimension.low in dimension.legal
        assert dimension.high in dimension.legal
    lr = searched.dimensions[0]
    assert math.log10(lr.high / lr.low) == pytest.approx(6)
    for point in searched.sample(64, (0, 0)):
        assert found.resolve(point.hyper) == point.hyper


def test_tuned_are_rate_memories_and_a_decay_that_is_on_and_nothing_else() -> None:
    memories = {"beta", "beta1", "beta2", "beta3", "rho", "gamma"}
    own = {"sophia": {"scale"}}  # of the curvature: which elements are clipped
    for name in rules.names():
        defaults = rules.get(name).defaults
        wanted = {"lr"} | memories & set(defaults) | own.get(name, set())
        wanted |= {"weight_decay"} if defaults.get("weight_decay") else set()
        assert {d.name for d in space.of(rules.get(name)).dimensions} == wanted, name
    assert [d.name for d in space.of(rules.get("asgd")).dimensions] == ["lr"]  # alpha, t0 are fixed


@pytest.mark.parametrize("steps", [1, 45, 680, 10**6])
def test_no_memory_is_longer_than_the_training_but_that_of_the_defaults(steps: int) -> None:
    """Of 1/(1 - beta) steps: beyond the last one it is a mean of all gradients. 10 are tried."""
    for name in ("adamw", "muon", "rmsprop"):
        whole = space.of(rules.get(name))
        for most in whole.dimensions:
            searched = space.of(rules.get(name), steps=steps)
            (own,) = (d for d in searched.dimensions if d.name == most.name)
            high = most.high
            if own.scale == space.ONE_MINUS_LOG:
                longest = max(steps, 10, 1 / (1 - whole.defaults[own.name]))
                high = min(high, 1 - 1 / longest)
            assert own.high == pytest.approx(high, rel=1e-12)
            assert replace(own, high=most.high) == most
    assert space.of(rules.get("sgd"), steps=steps) == space.of(rules.get("sgd"))


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("sgd", 1e-5, 1e1),
        ("adam", 1e-5, 1e1),
        ("adadelta", 1e-3, 1e3),  # its step has the unit of x already: 1 is in the middle
        ("lion", 1e-6, 1.0),  # its step is lr, however small the gradient
        ("rprop", 1e-6, 1.0),
    ],
)
def test_rates_are_searched_in_the_unit_of_the_rule(name: str, low: float, high: float) -> None:
    lr = space.of(rules.get(name)).dimensions[0]
    assert (lr.low, lr.high) == (low, high)


def test_points_spread_evenly_on_their_scales() -> None:
    searched = space.of(rules.get("momentum"))
    points = searched.sample(32, (3, 1))
    # a scrambled Sobol sequence of 2^m points has exactly one in each of 2^m equal intervals
    for dimension in searched.dimensions:
        low, high = dimension.ends
        places = [
            (dimension.coordinate(p.hyper[dimension.name]) - low) / (high - low) for p in points
        ]
        # rounding to three digits moves a point by less than 1 % of an interval of 1/8
        counts, _ = np.histogram(places, bins=8, range=(-0.001, 1.001))
        assert abs(counts - 4).max() <= 1


def test_points_depend_on_the_seed_alone() -> None:
    searched = space.of(rules.get("adam"))
    assert searched.sample(5, (1, 2)) == searched.sample(8, (1, 2))[:5]
    assert searched.sample(5, (1, 2)) != searched.sample(5, (2, 2))


def test_printed_values_are_the_values_that_were_run() -> None:
    for point in space.of(rules.get("adam")).sample(16, (0, 0)):
        assert float(f"{point.hyper['lr']:.3g}") == point.hyper["lr"]
        assert len(repr(point.hyper["beta1"])) < 10


def test_batch_sizes_are_one_more_dimension() -> None:
    points = space.of(rules.get("sgd"), [8, 32, 128, 512]).sample(32, (0, 0))
    counts = {size: sum(p.batch_size == size for p in points) for size in (8, 32, 128, 512)}
    assert counts == dict.fromkeys((8, 32, 128, 512), 8)


def test_schedules_are_one_more_dimension_where_there_is_a_choice() -> None:
    searched = space.of(rules.get("sgd"), [8, 32], schedule.NAMES)
    points = searched.sample(32, (0, 0))
    for size in (8, 32):
        counts = [
            sum((p.batch_size, p.schedule) == (size, s) for p in points) for s in searched.schedules
        ]
        assert counts == [8, 8]
    assert searched.start.schedule == "constant"
    assert searched.around(points[3]).schedules == (points[3].schedule,)
    plain = space.of(rules.get("sgd"), [8, 32])
    assert {p.schedule for p in plain.sample(8, (0, 0))} == {"constant"}


def test_a_schedule_is_what_torch_s_schedulers_do() -> None:
    torch = pytest.importorskip("torch")
    steps = 57
    rise = schedule.rise(steps)
    assert rise == 5
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / (rise + 1), total_iters=rise)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - rise)
    scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, fall], [rise])
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    found = schedule.factor("cosine", steps)(np.arange(steps))
    np.testing.assert_allclose(rates, 0.3 * found, rtol=1e-9, atol=1e-12)
    assert schedule.factor("cosine", 1)(0) == 1
    with pytest.raises(ValueError, match="schedule must be one of constant, cosine, got 'saw'"):
        schedule.factor("saw", 10)


@pytest.mark.usefixtures("registry")
def test_own_rule_is_searched_where_it_declares() -> None:
    @rule(
        "this test",
        ranges={
            "kappa": Range(0.0, 1.0, "[)"),
            "mix": Range(0.0, 2.0, "()"),
            "scale": Range(0.0, ends="()"),
            "off": Range(0.0, ends="[)"),
        },
    )
    def declared(g, x, *, t, lr=1e-9, kappa=0.9, mix=1.0, scale=3.0, off=0.0, free=2.0):  # noqa: ANN001, ANN202
        return x - lr * g

    found = {d.name: (d.low, d.high, d.scale) for d in space.of(declared).dimensions}
    assert found == {
        "lr": (pytest.approx(1e-12), pytest.approx(1e-6), "log"),
        "kappa": (0.0, 0.999, "one_minus_log"),
        "mix": (pytest.approx(0.002), pytest.approx(1.998), "linear"),
        "scale": (pytest.approx(0.03), pytest.approx(300), "log"),
    }
    for point in space.of(declared).sample(64, (0, 0)):
        assert declared.resolve(point.hyper) == point.hyper


def test_box_around_a_default_outside_the_space_is_inside_it() -> None:
    lr = Dimension("lr", 1e-2, 1.0, "log", RANGES["lr"])
    box = Space({"lr": 1e-3}, (lr,), (32,)).around(Point({"lr": 1e-3}, 32))
    assert box.dimensions[0].low == 1e-2


@pytest.mark.usefixtures("registry")
def test_the_length_of_a_training_is_no_part_of_a_setting() -> None:
    """The task knows it; a trial is kept without it."""

    @rule("a rate that falls to 0")
    def falling(g: Any, x: Any, *, t: int, steps: float, lr: float = 0.5) -> Any:
        return x - lr * (1 - t / steps) * g

    found = space.of(falling)
    assert found.defaults == {"lr": 0.5}
    assert [d.name for d in found.dimensions] == ["lr"]
