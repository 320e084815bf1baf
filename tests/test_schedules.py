"""Every schedule against torch's scheduler of the same shape, or its closed form."""

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from thalweg import schedules

STEPS = np.arange(60)


def torch_rates(
    initial: float, scheduler: Callable[[torch.optim.Optimizer], Any], steps: int = len(STEPS)
) -> list[float]:
    """Return the rate that torch uses at each of the first steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=initial)
    schedule, rates = scheduler(optimizer), []
    for step in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step + 1 < steps:  # or a cycle's scheduler raises
            schedule.step()
    return rates


TORCH = {
    "step": (
        schedules.step(0.3, every=7, factor=0.5),
        lambda o: lr_scheduler.StepLR(o, 7, gamma=0.5),
        60,
    ),
    "exponential": (
        schedules.exponential(0.3, decay=0.05),
        lambda o: lr_scheduler.ExponentialLR(o, math.exp(-0.05)),
        60,
    ),
    "piecewise_constant": (
        schedules.piecewise_constant([0.3, 0.03, 0.003], [10, 45]),
        lambda o: lr_scheduler.MultiStepLR(o, [10, 45], gamma=0.1),
        60,
    ),
    "linear": (
        schedules.linear(0.3, steps=40, final=0.06),
        lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, total_iters=40),
        60,
    ),
    "cosine, to its end": (
        schedules.cosine(0.3, steps=40, final=0.01),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 40, eta_min=0.01),
        41,
    ),
    "warm_restarts": (
        schedules.warm_restarts(0.3, period=9, final=0.01),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 9, eta_min=0.01),
        60,
    ),
    "warm_restarts, growing": (
        schedules.warm_restarts(0.3, period=3, growth=3),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3, 3),
        60,
    ),
    "warmup": (
        schedules.warmup(schedules.cosine(0.3, steps=50), steps=9),
        lambda o: lr_scheduler.SequentialLR(
            o,
            [
                lr_scheduler.LinearLR(o, 0.1, 1.0, total_iters=9),
                lr_scheduler.CosineAnnealingLR(o, 50),
            ],
            [9],
        ),
        60,
    ),
}


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")  # SequentialLR's own call
def test_schedule_agrees_with_torch(name: str) -> None:
    schedule, scheduler, steps = TORCH[name]
    expected = torch_rates(0.3, scheduler)[:steps]
    np.testing.assert_allclose(schedule(STEPS[:steps]), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("steps", "rise", "first", "last"), [(61, 0.3, 25, 1e4), (62, 0.5, 2, 10), (70, 0.9, 5, 1)]
)
def test_one_cycle_agrees_with_torch(steps: int, rise: float, first: float, last: float) -> None:
    schedule = schedules.one_cycle(0.3, steps, rise=rise, initial_divisor=first, final_divisor=last)
    expected = torch_rates(
        0.3,
        lambda o: lr_scheduler.OneCycleLR(
            o, 0.3, steps, pct_start=rise, div_factor=first, final_div_factor=last,
            cycle_momentum=False,
        ),
    )  # fmt: skip
    np.testing.assert_allclose(schedule(STEPS), expected, rtol=1e-12)


@pytest.mark.parametrize("rise", [0.0, 0.1])
def test_one_cycle_without_a_rise_starts_at_the_peak(rise: float) -> None:
    schedule = schedules.one_cycle(0.4, 10, rise=rise, initial_divisor=2, final_divisor=2)
    assert schedule(0) == 0.4
    assert schedule(9) == schedule(1000) == pytest.approx(0.1, rel=1e-15)


def test_a_cycle_of_one_step_is_its_peak() -> None:
    for rise in (0.0, 0.3, 0.9):
        assert schedules.one_cycle(0.4, 1, rise=rise)(np.arange(3)).tolist() == [0.4] * 3


@pytest.mark.parametrize(("steps", "rise"), [(2, 0.9), (3, 0.5), (3, 0.9), (4, 0.3)])
def test_a_short_cycle_that_rises_is_torchs(steps: int, rise: float) -> None:
    expected = torch_rates(
        0.3,
        lambda o: lr_scheduler.OneCycleLR(o, 0.3, steps, pct_start=rise, cycle_momentum=False),
        steps,
    )
    found = schedules.one_cycle(0.3, steps, rise=rise)(np.arange(steps + 2))
    np.testing.assert_allclose(found[:steps], expected, rtol=1e-12)
    assert found[-1] == found[steps - 1]


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")  # SequentialLR's own call
def test_the_shortest_schedules_are_torchs(steps: int) -> None:
    cosine, linear = schedules.cosine(0.3, steps), schedules.linear(0.3, steps, final=0.06)
    pairs: list[tuple[schedules.Schedule, Callable[[torch.optim.Optimizer], Any]]] = [
        (schedules.step(0.3, every=steps), lambda o: lr_scheduler.StepLR(o, steps)),
        (
            schedules.piecewise_constant([0.3, 0.03], [steps]),
            lambda o: lr_scheduler.MultiStepLR(o, [steps]),
        ),
        (linear, lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, total_iters=steps)),
        (cosine, lambda o: lr_scheduler.CosineAnnealingLR(o, steps)),
        (
            schedules.warm_restarts(0.3, steps),
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, steps),
        ),
        (
            schedules.warm_restarts(0.3, steps, growth=2),
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, steps, 2),
        ),
        (
            schedules.warmup(cosine, steps),
            lambda o: lr_scheduler.SequentialLR(
                o,
                [
                    lr_scheduler.LinearLR(o, 1 / (steps + 1), 1.0, total_iters=steps),
                    lr_scheduler.CosineAnnealingLR(o, steps),
                ],
                [steps],
            ),
        ),
    ]
    for schedule, scheduler in pairs:
        last = steps + 1 if schedule is cosine else 2 * steps + 1  # torch's rises again
        expected = torch_rates(0.3, scheduler, last)
        np.testing.assert_allclose(schedule(np.arange(last)), expected, rtol=1e-12, atol=1e-17)


@pytest.mark.parametrize("warm", [0, 1, 2])
@pytest.mark.parametrize("stable", [0, 1, 2])
@pytest.mark.parametrize("decay", [1, 2])
def test_the_shortest_plateaus(warm: int, stable: int, decay: int) -> None:
    rising = [0.6 * (t + 1) / (warm + 1) for t in range(warm)]
    falling = [0.6 - 0.5 * t / decay for t in range(decay + 1)]
    schedule = schedules.warmup_stable_decay(0.6, warm, stable, decay, final=0.1)
    expected = [*rising, *[0.6] * stable, *falling, 0.1]
    np.testing.assert_allclose(schedule(np.arange(len(expected))), expected, rtol=1e-12)


def test_rational_schedules_have_exact_values() -> None:
    for t in range(20):
        inverse = Fraction(3, 10) / (Fraction(1, 4) * t + 1)
        assert schedules.inverse_time(0.3, decay=0.25)(t) == pytest.approx(
            float(inverse), rel=1e-15
        )
        square = Fraction(3, 10) / (Fraction(1, 4) * t + 1) ** 2
        polynomial = schedules.polynomial(0.3, decay=0.25, power=2)
        assert polynomial(t) == pytest.approx(float(square), rel=1e-15)
    for root in range(1, 30):
        assert schedules.inverse_sqrt(0.3)(root**2 - 1) == pytest.approx(0.3 / root, rel=1e-15)
    assert schedules.polynomial(0.3) == schedules.inverse_sqrt(0.3)


@pytest.mark.parametrize("t", [0, 1, 7, 100, 4000])
def test_the_exponential_decays_by_the_same_factor(t: int) -> None:
    schedule = schedules.exponential(0.3, decay=0.125)
    assert schedule(t + 8) == pytest.approx(schedule(t) / math.e, rel=1e-12)


def test_the_plateau_lies_between_two_lines() -> None:
    schedule = schedules.warmup_stable_decay(
        1.0, warmup_steps=3, stable_steps=4, decay_steps=5, final=0.5
    )
    expected = [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.5]
    np.testing.assert_allclose(schedule(np.arange(14)), expected, rtol=1e-15)
    short = schedules.warmup_stable_decay(1.0, warmup_steps=0, stable_steps=0, decay_steps=2)
    assert short(np.arange(4)).tolist() == [1.0, 0.5, 0.0, 0.0]


@given(st.integers(1, 50), st.integers(1, 5), st.integers(0, 10**6))
def test_a_restart_falls_on_the_sum_of_the_periods(period: int, growth: int, t: int) -> None:
    schedule = schedules.warm_restarts(1.0, period, growth)
    start, length = (t // period * period, period) if growth == 1 else (0, period)
    while start + length <= t:
        start, length = start + length, length * growth
    assert schedule(start) == 1.0
    assert schedule(start + length) == 1.0
    expected = math.cos(math.pi / 2 * (t - start) / length) ** 2
    assert schedule(t) == pytest.approx(expected, abs=1e-12)


# -- composition -------------------------------------------------------------------------------

EXAMPLES = [
    schedules.constant(0.3),
    schedules.piecewise_constant([0.3, 0.1], [5]),
    schedules.exponential(0.3, 0.1),
    schedules.polynomial(0.3),
    schedules.inverse_time(0.3),
    schedules.inverse_sqrt(0.3),
    schedules.step(0.3, 10),
    schedules.linear(0.3, 20),
    schedules.cosine(0.3, 20),
    schedules.one_cycle(0.3, 20),
    schedules.warmup_stable_decay(0.3, 5, 5, 5),
    schedules.warm_restarts(0.3, 7, 2),
    schedules.warmup(lambda t: 0.3 / (t + 1), 5),
    schedules.warmup(schedules.warmup(0.3, 2), 3),
]
every_example = pytest.mark.parametrize("schedule", EXAMPLES, ids=lambda s: type(s).__name__)


def test_every_schedule_is_tested_here() -> None:
    kinds = {type(schedule).__name__ for schedule in EXAMPLES}
    built_in = {"inverse_time", "inverse_sqrt", "values", "Schedule"}  # two are polynomials
    assert kinds | built_in == set(schedules.__all__)


@every_example
def test_an_array_of_steps_gives_the_values_of_single_steps(schedule: schedules.Schedule) -> None:
    together = schedule(STEPS)
    assert together.dtype == np.float64
    single = [schedule(int(t)) for t in STEPS]
    assert all(type(value) is float for value in single)
    assert together.tolist() == single == schedules.values(schedule, STEPS).tolist()
    assert schedule(STEPS.reshape(3, 20)[1:]).tolist() == together.reshape(3, 20)[1:].tolist()
    assert schedule(np.array([], dtype=np.int64)).shape == (0,)


@every_example
def test_any_schedule_takes_a_warm_up(schedule: schedules.Schedule) -> None:
    warm = schedules.warmup(schedule, steps=4)(STEPS)
    np.testing.assert_allclose(warm[:4], schedule(0) * np.array([0.2, 0.4, 0.6, 0.8]), rtol=1e-15)
    assert warm[4:].tolist() == schedule(STEPS[:-4]).tolist()


@every_example
def test_a_schedule_is_a_frozen_value(schedule: schedules.Schedule) -> None:
    assert dataclasses.replace(schedule) == schedule  # type: ignore[type-var]
    assert hash(schedule) == hash(dataclasses.replace(schedule))  # type: ignore[type-var]
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.initial = 1.0  # type: ignore[attr-defined]


def test_values_takes_numbers_schedules_and_any_callable() -> None:
    assert schedules.values(0.5, STEPS[:2]).tolist() == [0.5, 0.5]
    assert schedules.values(1, STEPS[:2]).dtype == np.float64
    assert schedules.values(lambda t: t * t, STEPS[:4]).tolist() == [0.0, 1.0, 4.0, 9.0]


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.constant(math.nan), "value must be finite, got nan"),
        (lambda: schedules.cosine(math.inf, 5), "initial must be finite, got inf"),
        (lambda: schedules.exponential(0.1, math.inf), "decay must be finite, got inf"),
        (lambda: schedules.cosine(0.1, 0), "steps must be an integer >= 1, got 0"),
        (lambda: schedules.cosine(0.1, 2.5), "steps must be an integer >= 1, got 2.5"),
        (lambda: schedules.linear(0.1, -3), "steps must be an integer >= 1, got -3"),
        (lambda: schedules.step(0.1, 0), "every must be an integer >= 1, got 0"),
        (lambda: schedules.step(0.1, 5, 0.0), "factor must be > 0, got 0.0"),
        (lambda: schedules.exponential(0.1, -1), "decay must be >= 0, got -1"),
        (lambda: schedules.polynomial(0.1, power=-1), "power must be >= 0, got -1"),
        (lambda: schedules.inverse_time(0.1, -1), "decay must be >= 0, got -1"),
        (lambda: schedules.one_cycle(0.1, 5, rise=1.0), "rise must be in [0, 1), got 1.0"),
        (
            lambda: schedules.one_cycle(0.1, 5, initial_divisor=0.5),
            "initial_divisor must be >= 1, got 0.5",
        ),
        (lambda: schedules.warm_restarts(0.1, 0), "period must be an integer >= 1, got 0"),
        (lambda: schedules.warm_restarts(0.1, 3, 1.5), "growth must be an integer >= 1, got 1.5"),
        (
            lambda: schedules.warmup_stable_decay(0.1, -1, 0, 1),
            "warmup_steps must be an integer >= 0, got -1",
        ),
        (lambda: schedules.warmup(0.1, 0), "steps must be an integer >= 1, got 0"),
        (
            lambda: schedules.piecewise_constant([1.0, 2.0], [1, 2]),
            "values must be one more than boundaries, got 2 values and 2 boundaries",
        ),
        (
            lambda: schedules.piecewise_constant([1.0, 2.0, 3.0], [5, 5]),
            "boundaries must increase, got [5, 5]",
        ),
        (
            lambda: schedules.piecewise_constant([1.0, 2.0], [0.5]),
            "boundaries must be an integer >= 1, got 0.5",
        ),
        (
            lambda: schedules.piecewise_constant([1.0, math.nan], [5]),
            "values must be finite, got nan",
        ),
        (lambda: schedules.constant(0.1)(-1), "step must be an integer >= 0, got -1"),
        (lambda: schedules.constant(0.1)(0.5), "step must be an integer >= 0, got 0.5"),
    ],
)
def test_an_argument_out_of_range_is_refused_with_its_bound(
    make: Callable[[], Any], message: str
) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the whole message is compared
        make()
    assert str(refusal.value) == message


def test_what_is_not_a_number_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"^a hyperparameter that is not a schedule must be a number"
    ):
        schedules.values("fast", STEPS)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^initial must be a number, got 'fast'$"):
        schedules.step("fast", 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^a schedule that is not callable must be a number, got"):
        schedules.warmup("cosine", 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^schedule .* at step 0 must be a number, got None$"):
        schedules.values(lambda t: None, STEPS)  # type: ignore[arg-type,return-value] # noqa: ARG005
