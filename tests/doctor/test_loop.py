"""What the doctor says of a user's own loop where a plain one learns."""

from collections.abc import Callable
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import thalweg
from thalweg.doctor.loop import _decayed, kept_at_top, look_at_loop, undivided
from thalweg.doctor.subject import Subject
from thalweg.doctor.trials import Course, Trials

if TYPE_CHECKING:
    from thalweg.doctor.signals import Signals


def batches(count: int = 40) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 16, 6, generator=generator)
    y = (x @ torch.randn(6, 3, generator=generator)).argmax(2)
    return list(zip(x, y, strict=True))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)
    )


# Batches of two examples fail at this rate by their noise, and the mean of 16 does not.
@pytest.mark.parametrize(("rows", "lr", "divisor"), [(16, 1.0, 1), (16, 1.0, 16), (2, 1.5, 1)])
def test_gradients_that_are_added_undivided_raise_the_rate(
    rows: int, lr: float, divisor: int
) -> None:
    model, data = net(), [(x[:rows], y[:rows]) for x, y in batches()]
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy)
    for step in range(240):
        x, y = data[step % len(data)]
        loss = functional.cross_entropy(model(x), y)
        (loss / divisor).backward()
        if step % 16 == 15:
            optimizer.step()
            optimizer.zero_grad()
        doctor.step(loss, batch=(x, y))
    problems = [f for f in doctor.findings if f.severity == "problem"]
    if divisor > 1:
        assert not problems
        return
    assert [f.cause for f in problems] == ["lr_too_high"]
    assert "Divide each loss by 16" in problems[0].sentence


@pytest.mark.parametrize(("total", "named"), [(0.7, True), (0.3, False)])
def test_a_sum_of_gradients_is_no_fault_where_a_copy_learns_by_it(
    total: float,
    named: bool,  # noqa: FBT001
) -> None:
    lefts = iter((0.05, total))  # of the mean, and of the sum
    trials = SimpleNamespace(run=lambda treatment: Course(treatment, [1.0], next(lefts)))
    signals = SimpleNamespace(losses=[1.0] * 32, steps=2)
    found = undivided(cast("Signals", signals), cast("Trials", trials), 0.7)
    assert (found is not None) == named


@pytest.mark.parametrize(
    ("factor", "scale", "expected"),
    [(0.3, 1.0, ["loss_terms_unbalanced"]), (1e-4, 1.0, []), (0.0, 10.0, [])],
)
def test_a_penalty_that_the_loop_adds_may_drown_the_loss(
    factor: float, scale: float, expected: list[str]
) -> None:
    model, data = net(), batches()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy)
    for step in range(60):
        x, y = data[step % len(data)]
        optimizer.zero_grad()
        penalty = torch.stack([p.abs().sum() for p in model.parameters()]).sum()
        loss = scale * functional.cross_entropy(model(x), y) + factor * penalty
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=(x, y))
    assert [f.cause for f in doctor.findings if f.severity == "problem"] == expected


def watched(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    before: Callable[[], object] = lambda: None,
    after: Callable[[], object] = lambda: None,
) -> list[str]:
    """Return the problems of a loop that does something before and after each step."""
    data = batches()
    doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy)
    for step in range(120):
        x, y = data[step % len(data)]
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        before()
        optimizer.step()
        after()
        doctor.step(loss, batch=(x, y))
    return [f.cause for f in doctor.findings if f.severity == "problem"]


def test_a_loop_that_makes_parameters_smaller_is_named() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    @torch.no_grad()
    def shrink() -> None:
        for p in model.parameters():
            p.mul_(0.9)

    assert watched(model, optimizer, after=shrink) == ["weight_decay_too_high"]


@pytest.mark.parametrize(("share", "told"), [(0.1, True), (1e-4, False)])
def test_parameters_that_the_loop_makes_smaller_are_told(share: float, *, told: bool) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    subject = Subject(model, optimizer, functional.cross_entropy, batches())
    signals = cast("Signals", SimpleNamespace(shrunk=[0.0, share, share, share]))
    found = _decayed(signals, Trials(subject, 60, 1.0), 1.0)
    assert (found is not None) == told
    assert found is None or found.cause == "weight_decay_too_high"


@pytest.mark.parametrize(("rates", "better"), [([1e-3, 0.1, 1e-6], True), ([1e-3] * 3, False)])
def test_a_schedule_that_raises_the_rate_first_is_kept_at_the_top(
    rates: list[float], *, better: bool
) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    trials = Trials(Subject(model, optimizer, functional.cross_entropy, batches()), 60, 1.0)
    course = kept_at_top(cast("Signals", SimpleNamespace(rates=rates)), trials)
    assert (course is trials.plain) != better
    assert (course.left < 0.8 * trials.plain.left) == better


def test_a_cycle_that_ends_early_is_held_against_its_largest_rate() -> None:
    assert scheduled(1e-4, lambda t: [1.0, 1000.0, 1e-2][min(t, 2)]) == ["schedule_ends_too_early"]


def scheduled(lr: float, factor: Callable[[int], float]) -> list[str]:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return watched(model, optimizer, after=schedule.step)


def test_a_schedule_that_raises_the_rate_too_far_is_told_by_following_it() -> None:
    assert scheduled(0.05, lambda step: min(1 + step, 200.0)) == ["lr_too_high"]
    assert scheduled(0.05, lambda step: min(1 + step / 50, 2.0)) == []


def test_a_schedule_that_keeps_a_little_of_the_rate_ends_too_early_too() -> None:
    assert scheduled(0.05, lambda step: max(0.5**step, 0.021)) == ["schedule_ends_too_early"]


def test_a_warm_up_that_is_longer_than_the_training_keeps_the_rate_too_low() -> None:
    model, steps = net(), count(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    def warm_up() -> None:
        optimizer.param_groups[0]["lr"] = 0.05 * next(steps) / 20_000

    assert watched(model, optimizer, before=warm_up) == ["lr_too_low"]


def looped(loss_of: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> list[str]:
    """Return what is found of a loop with a loss of its own."""
    model, data = net(), batches()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy)
    for x, y in data:
        optimizer.zero_grad()
        loss = loss_of(model, x, y)
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=(x, y))
    return [f.cause for f in doctor.findings if f.severity == "problem"]


def rounded(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    named = model(x).argmax(1).float().requires_grad_()
    return functional.mse_loss(named, y.float())


def without_the_first_layer(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    first, *rest = model.children()
    with torch.no_grad():
        x = first(x)
    return functional.cross_entropy(nn.Sequential(*rest)(x), y)


def test_a_graph_that_the_loop_cuts_is_told_from_gradients_that_it_loses() -> None:
    other = net()
    anew = lambda _, x, y: functional.cross_entropy(other(x), y)  # noqa: E731 - beside the others
    for loss_of, found in (
        (rounded, ["graph_cut_by_detach"]),
        (without_the_first_layer, ["graph_cut_by_detach"]),
        (anew, ["parameters_not_in_optimizer"]),
        (lambda model, x, y: functional.cross_entropy(model(x), y), []),
    ):
        assert looped(loss_of) == found


def test_gradients_that_end_as_a_step_saturates_the_model_are_neither_cut_nor_lost() -> None:
    model = nn.Sequential(*net(), nn.Tanh())
    nn.init.zeros_(model.get_parameter("2.bias"))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e9)
    doctor = thalweg.Doctor(model, optimizer, nn.MSELoss())
    for x, y in batches(12):
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), functional.one_hot(y, 3).float())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        doctor.step(loss, batch=(x, functional.one_hot(y, 3).float()))
    assert doctor.signals.norms[0] > 0 == doctor.signals.norms[-1]
    assert not any(look() for _, look in look_at_loop(doctor.signals, doctor._subject()))


@pytest.mark.parametrize("zeroed", [False, True])
def test_a_gradient_too_small_for_a_norm_is_no_cut_of_the_loop(zeroed: bool) -> None:  # noqa: FBT001
    """Nor is one that is zeroed before the step, with all others."""

    class Faded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(x + 1e-25 * self.first(x))

    model = Faded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy, seconds=0.5)
    for x, y in batches(8):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        assert model.first.weight.grad is not None
        assert bool(model.first.weight.grad.any())
        if zeroed:
            optimizer.zero_grad(set_to_none=False)
        optimizer.step()
        doctor.step(loss, batch=(x, y))
    found = [finding.cause for finding in doctor.findings]
    assert "graph_cut_by_detach" not in found
    assert (found[:1] == ["gradients_lost_before_step"]) == zeroed


@pytest.mark.parametrize(
    ("made", "asleep", "found"),
    [(True, True, ["trained_in_eval_mode"]), (False, True, []), (True, False, [])],
)
def test_normalization_may_rest_where_it_has_seen_data(
    *, made: bool, asleep: bool, found: list[str]
) -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU())
    if not made:
        body(torch.randn(64, 6))
    model = nn.Sequential(body, nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy)
    for x, y in batches():
        body.train(not asleep)
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=(x, y))
    told = [f for f in doctor.findings if f.severity == "problem"]
    assert [f.cause for f in told] == found
    assert all("batch normalization was in evaluation mode" in f.sentence for f in told)


@pytest.mark.parametrize("decay", [0.0, 0.999])
def test_a_moving_average_that_is_copied_back_takes_the_steps_back(decay: float) -> None:
    model, data = net(), batches()
    average = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy)
    for step in range(60):
        x, y = data[step % len(data)]
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=(x, y))
        with torch.no_grad():
            for p, own in zip(model.parameters(), average, strict=True):
                own.lerp_(p, 1 - decay)
                p.copy_(own)
    problems = [f for f in doctor.findings if f.severity == "problem"]
    assert [f.cause for f in problems] == ["step_changes_nothing"] * bool(decay)
    assert not problems or "100% of what a step" in problems[0].sentence


@pytest.mark.parametrize("plays", [True, False])
def test_what_copies_say_is_a_warning_where_the_loss_is_trained_too(plays: bool) -> None:  # noqa: FBT001
    torch.manual_seed(0)
    judge = nn.Linear(3, 1).requires_grad_(plays)
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)

    def judged(made: Tensor, _: Tensor) -> Tensor:
        return functional.softplus(-judge(made)).mean()

    doctor = thalweg.Doctor(model, optimizer, judged)
    for x, y in batches():
        optimizer.zero_grad()
        loss = judged(model(x), y)
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=(x, y))
    assert [f.severity for f in doctor.findings[:1]] == ["warning" if plays else "problem"]


@pytest.mark.parametrize(("limit", "expected"), [(1e-5, ["gradient_clipped_too_hard"]), (1.0, [])])
def test_gradients_whose_numbers_are_clipped_are_told(limit: float, expected: list[str]) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    clip = partial(nn.utils.clip_grad_value_, [*model.parameters()], limit)
    assert watched(model, optimizer, before=clip) == expected
