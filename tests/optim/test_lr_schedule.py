"""A schedule as the rate: it counts the steps that were taken, and outlives checkpoints."""

import io
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau, StepLR

from optim_pairs import (
    Configuration,
    assert_close,
    every_class,
    follow,
    members,
    new_parameters,
    scalars_in,
)
from thalweg import optim, schedules


def leaf() -> Tensor:
    return torch.ones(2, requires_grad=True)


def steps(optimizer: Any, gradients: list[float]) -> list[float]:
    """Take a step with each gradient; return the rates that were taken."""
    rates = []
    for gradient in gradients:
        before = [p.detach().clone() for g in optimizer.param_groups for p in g["params"]]
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = torch.full_like(p, gradient)
        try:
            optimizer.step()
        except FloatingPointError:
            continue
        after = [p for g in optimizer.param_groups for p in g["params"]]
        rates.append(round((before[0] - after[0].detach())[0].item(), 6))
    return rates


def halving(t: int) -> float:
    return 0.5**t


@pytest.mark.parametrize("nonfinite", ["skip", "raise"])
def test_a_step_that_is_not_taken_does_not_count(nonfinite: Any) -> None:
    optimizer = optim.SGD([leaf()], lr=halving, nonfinite=nonfinite)
    rates = steps(optimizer, [torch.inf, torch.nan, 1.0, torch.inf, 1.0])
    assert [rate for rate in rates if rate] == [1.0, 0.5]
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert optimizer.param_groups[0]["schedule_step"] == 2


def test_an_overflow_does_not_count() -> None:
    p = leaf()
    optimizer, scaler = optim.SGD([p], lr=halving), GradScaler("cpu", init_scale=4.0)
    for factor in (torch.inf, 1.0, torch.inf, 1.0):
        optimizer.zero_grad()
        scaler.scale((p * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert p.tolist() == [1.0 - 1.0 - 0.5] * 2


def test_a_refused_step_after_a_rate_of_0_does_not_count() -> None:
    def alternating(t: int) -> float:
        return float(t % 2)

    optimizer = optim.SGD([leaf()], lr=alternating, nonfinite="raise")
    assert steps(optimizer, [torch.inf, 1.0, torch.inf, 1.0, torch.inf, 1.0, 1.0]) == [0, 1, 0, 1]


def test_a_schedule_that_ended_at_0_is_followed_by_a_longer_one() -> None:
    short, long = schedules.cosine(0.1, steps=5), schedules.cosine(0.1, steps=100)
    first = optim.SGD([leaf()], lr=short)
    steps(first, [1.0] * 7)
    second = optim.SGD([leaf()], lr=long)
    second.load_state_dict(first.state_dict())
    assert steps(second, [1.0] * 3) == [round(long(t), 6) for t in (7, 8, 9)]


def test_a_schedule_goes_on_where_torchs_count_of_steps_is() -> None:
    p = leaf()
    theirs = torch.optim.Adam([p, leaf()], lr=0.3)  # the second is frozen
    for _ in range(4):
        p.grad = torch.ones_like(p)
        theirs.step()
    q = leaf()
    ours = optim.Adam([q, leaf()], lr=halving)
    ours.load_state_dict(deepcopy(theirs.state_dict()))
    q.grad = torch.ones_like(q)
    ours.step()
    assert ours.param_groups[0]["lr"] == halving(4)
    assert list(ours.state) == [q]


def test_a_checkpoint_holds_numbers_alone() -> None:
    optimizer = optim.SGD([leaf()], lr=lambda _: np.float64(0.5))
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    assert torch.load(buffer, weights_only=True)["param_groups"][0]["lr"] == 0.5


def test_a_count_of_a_schedule_that_is_gone_is_forgotten() -> None:
    optimizers = [optim.SGD([leaf()], lr=lr) for lr in (halving, 0.25, halving)]
    steps(optimizers[0], [1.0] * 3)
    for before, after in pairwise(optimizers):
        after.load_state_dict(before.state_dict())
    assert steps(optimizers[2], [1.0]) == [1.0]  # SGD itself counts no steps


def test_schedules_go_with_their_groups() -> None:
    optimizer = optim.SGD([{"params": [leaf()], "lr": 0.25}, {"params": [leaf()], "lr": halving}])
    with pytest.raises(ValueError, match="some parameters appear in more than one"):
        optimizer.add_param_group(
            {"params": optimizer.param_groups[0]["params"], "lr": lambda _: 0.125}
        )
    assert steps(optimizer, [1.0]) == [0.25]
    del optimizer.param_groups[0]
    assert steps(optimizer, [1.0]) == [0.5]
    assert steps(deepcopy(optimizer), [1.0]) == [0.25]
    optimizer.param_groups.pop()
    optimizer.add_param_group({"params": [leaf()], "lr": 0.75})
    assert steps(optimizer, [1.0, 1.0]) == [0.75, 0.75]


@pytest.mark.parametrize("make", [optim.SGD, lambda p, lr: optim.Descent(p, "sgd", lr=lr)])
@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda t: 1.0 - t, "lr must be >= 0, got -1.0"),
        (lambda t: float("nan") if t == 2 else 1.0, "lr must be finite, got nan"),
        (lambda t: None if t == 2 else 1.0, "lr must be a number, got None"),
    ],
)
def test_a_rate_that_is_none_is_refused(
    make: Any, schedule: Callable[[int], float], message: str
) -> None:
    optimizer = make([leaf()], lr=schedule)
    steps(optimizer, [1.0, 1.0])
    before = optimizer.param_groups[0]["params"][0].tolist()
    with pytest.raises((ValueError, TypeError), match=f"^{message}$"):
        optimizer.step()
    assert optimizer.param_groups[0]["params"][0].tolist() == before


def test_what_takes_no_count_of_steps_is_no_schedule() -> None:
    with pytest.raises(TypeError, match=r"a schedule as lr must be a function of the steps taken"):
        optim.SGD([leaf()], lr=lambda: 0.1)  # type: ignore[arg-type, misc]
    with pytest.raises(TypeError, match="unsupported operand"):  # an error of its own stays
        optim.SGD([leaf()], lr=lambda t: t + "a")  # type: ignore[arg-type]


@every_class
def test_a_schedule_is_torchs_scheduler_and_survives_a_checkpoint(
    configuration: Configuration,
) -> None:
    falling = schedules.exponential(0.05, 0.1)
    with scalars_in(torch.float64):
        ours = configuration.ours(new_parameters(), lr=falling)
        follow(ours, 1, 6)
        again = configuration.ours(
            [p.detach().clone().requires_grad_() for p in members(ours)], lr=falling
        )
        again.load_state_dict(deepcopy(ours.state_dict()))
        follow(again, 7, 12)
        theirs = configuration.theirs(new_parameters(), lr=1.0)
        scheduler = LambdaLR(theirs, falling)
        for t in range(1, 13):
            follow(theirs, t, t)
            scheduler.step()
    for p, like in zip(members(again), members(theirs), strict=True):
        assert_close(p.detach(), like.detach(), 1e-11)
    assert again.param_groups[0]["lr"] == falling(11)


@pytest.mark.parametrize("name", ["Yogi", "AdaBelief", "Lion", "Descent"])
def test_a_schedule_drives_classes_that_torch_does_not_have(name: str) -> None:
    def rising(step: int) -> float:
        return 0.004 * step  # 0 at first

    more: Any = {"rule": "adamw"} if name == "Descent" else {}
    ours = getattr(optim, name)(new_parameters(), lr=rising, **more)
    stepped = getattr(optim, name)(new_parameters(), lr=1.0, **more)
    for t in range(1, 13):
        follow(ours, t, t)
        stepped.param_groups[0]["lr"] = rising(t - 1)
        follow(stepped, t, t)
    assert_parameters_equal(ours, stepped)
    group = {"params": [torch.ones(2, requires_grad=True)], "lr": schedules.exponential(0.5, 0.1)}
    ours.add_param_group(group)
    assert ours.param_groups[1]["lr"] == 0.5


def assert_parameters_equal(ours: Any, others: Any) -> None:
    assert all(map(torch.equal, members(ours), members(others)))


def test_a_rate_of_0_stands_still_whatever_the_schedule() -> None:
    """torch.distributed.checkpoint makes the state of a loaded optimizer by such a step."""
    falling = schedules.exponential(0.05, 0.1)
    ours, theirs = (
        optim.AdamW(new_parameters(), lr=falling, weight_decay=0.1, independent_decay=True)
        for _ in range(2)
    )
    rate, ours.param_groups[0]["lr"] = ours.param_groups[0]["lr"], 0.0
    for p in members(ours):
        p.grad = torch.zeros_like(p)
    ours.step()
    ours.param_groups[0]["lr"] = rate
    for optimizer in (ours, theirs):
        optimizer.state.clear()
        follow(optimizer, 1, 5)
    assert_parameters_equal(ours, theirs)


def lowered(optimizer: Any) -> None:
    scheduler = ReduceLROnPlateau(optimizer, patience=0)
    for loss in (1.0, 2.0):
        scheduler.step(loss)


@pytest.mark.parametrize(
    "write",
    [
        lambda optimizer: StepLR(optimizer, 30),  # which writes another rate much later
        lowered,
        lambda optimizer: optimizer.param_groups[0].update(lr=0.3),
    ],
)
def test_a_rate_that_is_written_beside_a_schedule_is_not_used_and_a_warning_says_so(
    write: Callable[[Any], Any],
) -> None:
    optimizer = optim.SGD([leaf()], lr=halving)
    assert steps(optimizer, [1.0, 1.0]) == [1.0, 0.5]
    write(optimizer)
    with pytest.warns(UserWarning, match="lr follows the schedule .*halving.*give lr a number"):
        assert steps(optimizer, [1.0]) == [0.25]


def test_a_scheduler_of_a_training_before_is_no_other_writer_of_the_rate() -> None:
    before = torch.optim.SGD([leaf()], lr=1.0)
    StepLR(before, 30)
    steps(before, [1.0])
    optimizer = optim.SGD([leaf()], lr=halving)
    optimizer.load_state_dict(before.state_dict())
    assert steps(optimizer, [1.0, 1.0]) == [1.0, 0.5]
