"""Lanes of torch modules against plain torch trainings, one by one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cases import CASES, Case
from optim_pairs import scalars_in
from stack.nets import Attention, classes, in_lanes, make, one_by_one
from thalweg import schedules
from thalweg.optim import Descent
from thalweg.stack import Outcome

pytestmark = pytest.mark.usefixtures("one_thread")


WITH_PEER = [case for case in CASES if case.peer and "fresh" not in case.peer.skip]


def peer(name: str, arguments: Mapping[str, Any]) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda params: getattr(torch.optim, name)(params, **arguments)


def assert_lane(
    training: Outcome, lane: int, expected: tuple[nn.Module, list[float], list[float]],
    tolerance: float,
) -> None:  # fmt: skip
    """Compare a lane's parameters, buffers and curves with those of a plain training."""
    module, train_loss, validation_loss = expected
    final = training.finals[0] if len(training.finals) == 1 else training.finals[lane]
    state = final.stack.model.state_dict(*final.stack.lane(final.lanes.index(lane)))
    assert state.keys() == module.state_dict().keys()
    close: dict[str, Any] = {"rtol": tolerance, "atol": tolerance}
    for name, value in module.state_dict().items():
        torch.testing.assert_close(state[name], value, **close)
    np.testing.assert_allclose(training.train_loss[1:, lane], train_loss, **close)
    np.testing.assert_allclose(training.validation_loss[:, lane], validation_loss, **close)


@pytest.mark.parametrize("case", WITH_PEER, ids=lambda case: case.id)
def test_each_rule_trains_as_torchs_class_does(case: Case) -> None:
    assert case.peer
    task = classes("mlp")
    training = in_lanes(task, case.rule, [{}, case.hyper], epochs=6)  # 24 steps
    with scalars_in(torch.float64):
        expected = one_by_one(task, peer(case.peer.name, case.peer.arguments), epochs=6)
    assert_lane(training, 1, expected, 1e-8)


@pytest.mark.parametrize("stacked", [True, False])
def test_lanes_of_sam_are_its_trainings_one_by_one(*, stacked: bool) -> None:
    """Each takes two gradients a step, and half of the steps; a clipped one is cut twice."""
    task, hyper = replace(classes("mlp"), clip_norm=0.05), {"lr": 0.1, "radius": 0.2}
    training = in_lanes(task, "sam(momentum)", [{}, hyper], epochs=6, stacked=stacked)
    with scalars_in(torch.float64):
        expected = one_by_one(
            task, lambda params: Descent(params, "sam(momentum)", **hyper), epochs=6,
            clip_norm=0.05, gradients=2.0,
        )  # fmt: skip
    assert_lane(training, 1, expected, 1e-8)


def test_lanes_of_sophia_do_as_they_do_alone_and_ask_when_each_is_due() -> None:
    """Their draws are those of seed and step, whatever is beside them."""
    task = classes("mlp")
    hyper = [{"lr": 0.01, "every": every} for every in (1, 10, 2)]
    both = in_lanes(task, "sophia", hyper, epochs=4)
    alone = in_lanes(task, "sophia", hyper[1:2], epochs=4, stacked=False)
    np.testing.assert_allclose(both.train_loss[:, 1], alone.train_loss[:, 0], rtol=1e-6)
    assert not np.allclose(both.train_loss[1:, 0], both.train_loss[1:, 1], rtol=1e-6)
    assert (both.train_loss[-1] < both.train_loss[0]).all()


@pytest.mark.parametrize("rule", ["schedule_free_sgd", "schedule_free_adamw"])
def test_a_lane_is_judged_where_its_rules_answer_is(rule: str) -> None:
    task, hyper = classes("mlp"), {"lr": 0.05, "weight_decay": 0.1, "warmup": 6.0}
    training = in_lanes(task, rule, [{}, hyper], epochs=20)
    with scalars_in(torch.float64):
        expected = one_by_one(task, lambda params: Descent(params, rule, **hyper), epochs=20)
        assert_lane(training, 1, expected, 1e-10)
    (final,) = training.finals
    before = [p.clone() for p in final.stack.parameters.values()]
    with final.judged() as stack:
        assert not torch.equal(next(iter(stack.parameters.values())), before[0])
    for p, kept in zip(final.stack.parameters.values(), before, strict=True):
        assert torch.equal(p, kept)


@pytest.mark.parametrize("name", ["lenet", "batch norm", "transformer"])
def test_each_network_trains_as_it_does_alone(name: str) -> None:
    task = classes(name)
    rates = (0.003, 0.01, 0.03)
    training = in_lanes(task, "momentum", [{"lr": lr, "beta": 0.5} for lr in rates], epochs=15)
    for lane, lr in enumerate(rates):
        expected = one_by_one(task, peer("SGD", {"lr": lr, "momentum": 0.5}), epochs=15)
        assert_lane(training, lane, expected, 1e-8)


@pytest.mark.parametrize("name", ["mlp", "lenet", "batch norm", "transformer"])
def test_curves_in_float32_agree(name: str) -> None:
    task = classes(name, torch.float32)
    training = in_lanes(task, "adam", [{"lr": 1e-3}, {"lr": 3e-3}], epochs=5)
    for lane, lr in enumerate((1e-3, 3e-3)):
        expected = one_by_one(task, peer("Adam", {"lr": lr}), epochs=5)
        np.testing.assert_allclose(training.train_loss[1:, lane], expected[1], rtol=1e-3)
        np.testing.assert_allclose(training.validation_loss[:, lane], expected[2], rtol=1e-3)


def test_lanes_of_different_seeds_have_their_own_start_and_minibatches() -> None:
    task = classes("lenet")
    training = in_lanes(task, "sgd", [{"lr": 0.1}] * 3, epochs=4, seeds=[3, 9, 3])
    for lane, seed in enumerate((3, 9, 3)):
        expected = one_by_one(task, peer("SGD", {"lr": 0.1}), epochs=4, seed=seed)
        assert_lane(training, lane, expected, 1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["mlp", "lenet", "batch norm", "transformer"])
def test_a_lane_rounds_by_its_place_and_never_by_its_neighbours(
    name: str, dtype: torch.dtype
) -> None:
    task = classes(name, dtype)
    rates = [10 ** (-k / 3) for k in range(9)]

    def curves(own: Sequence[float]) -> NDArray[np.float64]:
        training = in_lanes(task, "adam", [{"lr": lr} for lr in own], epochs=2)
        return np.stack([training.train_loss, training.validation_loss])

    whole = curves(rates)
    for own in (rates[4:5], rates[4:6], rates[2:7][::-1]):  # other places in smaller stacks
        found = curves(own)
        places = [rates.index(lr) for lr in own]
        tolerance = 1e-3 if dtype == torch.float32 else 1e-8
        np.testing.assert_allclose(found, whole[..., places], rtol=tolerance)
    for place in (0, 4, 8):  # the same place among others
        others = [*rates[::-1]]
        others[place] = rates[place]
        np.testing.assert_array_equal(curves(others)[..., place], whole[..., place])


@pytest.mark.parametrize("seeds", [None, [3, 9, 3, 5, 9, 7]])
def test_lanes_of_several_rules_are_those_of_each_rule_alone(seeds: list[int] | None) -> None:
    mixed = ["lion", "sgd", "adam", "sgd", "lion", "rmsprop"]  # in no order
    rates = [1e-3, 0.1, 1e-2, 1e30, 1e-2, 1e-3]  # one diverges

    def run(lanes: Sequence[int]) -> Outcome:
        return in_lanes(
            classes("lenet", torch.float32), [mixed[lane] for lane in lanes],
            [{"lr": rates[lane]} for lane in lanes], epochs=3,
            seeds=seeds and [seeds[lane] for lane in lanes],
        )  # fmt: skip

    whole = run(range(6))
    assert whole.diverged_at.tolist() == [0, 0, 0, 2, 0, 0]
    held = {}
    for final in whole.finals:
        held |= {lane: (final, place) for place, lane in enumerate(final.lanes)}
    assert sorted(held) == [0, 1, 2, 4, 5]
    for rule in set(mixed):
        own = [lane for lane in range(6) if mixed[lane] == rule]
        alone = run(own)
        for curve in ("train_loss", "validation_loss"):
            found, expected = getattr(whole, curve)[:, own], getattr(alone, curve)
            np.testing.assert_allclose(found, expected, rtol=1e-5)
        (last,) = alone.finals
        for place, lane in enumerate(last.lanes):
            final, there = held[own[lane]]
            for ours, theirs in zip(final.step.states(there), last.step.states(place), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


def test_a_lane_that_diverges_is_marked_and_its_neighbours_go_on() -> None:
    task = classes("lenet", torch.float32)
    healthy = [{"lr": 0.01}, {"lr": 0.1}]
    sick = {"lr": 1e30}
    expected = in_lanes(task, "momentum", healthy, epochs=6)
    training = in_lanes(task, "momentum", [healthy[0], sick, sick, healthy[1], sick], epochs=6)
    for lane, same in ((0, 0), (3, 1)):
        for curve in ("train_loss", "validation_loss"):
            found, own = getattr(training, curve)[:, lane], getattr(expected, curve)[:, same]
            np.testing.assert_allclose(found, own, rtol=1e-5)
    assert training.diverged_at.tolist() == [0, 2, 2, 0, 2]  # the loss after the first step
    assert np.isnan(training.train_loss[1:, 1]).all()
    assert np.isfinite(training.train_loss[0]).all()
    assert training.finals[0].lanes == [0, 3]
    alone = in_lanes(task, "momentum", [sick, healthy[1]], epochs=6)  # one survivor
    found, own = alone.validation_loss[:, 1], expected.validation_loss[:, 1]
    np.testing.assert_allclose(found, own, rtol=1e-5)


def test_parameters_that_only_the_last_step_breaks_count_as_diverged() -> None:
    task = classes("mlp", torch.float32)
    broken = schedules.piecewise_constant([0.1, 1e39], [3])  # steps 1 to 3 are fine, 4 is the last
    training = in_lanes(task, "sgd", [{"lr": broken}, {"lr": 0.1}], epochs=1)
    assert training.diverged_at.tolist() == [4, 0]
    assert np.isfinite(training.train_loss[1]).all()
    assert np.isnan(training.validation_loss[1, 0])


def test_when_all_lanes_diverge_the_training_ends() -> None:
    training = in_lanes(classes("mlp"), "sgd", [{"lr": 1e308}, {"lr": 1e307}], epochs=1000)
    assert (training.diverged_at > 0).all()
    assert training.finals[0].lanes == []


def test_each_lane_has_its_own_schedule() -> None:
    task = classes("mlp")
    falling = schedules.exponential(0.5, 0.01)
    training = in_lanes(task, "sgd", [{"lr": 0.1}, {"lr": falling}], epochs=5)
    rates = iter(falling(np.arange(20)).tolist())

    class Falling(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            self.param_groups[0]["lr"] = next(rates)
            return super().step(closure)

    assert_lane(training, 1, one_by_one(task, Falling, epochs=5), 1e-10)
    assert_lane(training, 0, one_by_one(task, peer("SGD", {"lr": 0.1}), epochs=5), 1e-10)


@pytest.mark.parametrize("bound", [0.2, 0.5, 10.0])  # always, sometimes and never reached
def test_clipping_is_torchs_and_each_lanes_own(bound: float) -> None:
    task = classes("mlp", clip_norm=bound)
    training = in_lanes(task, "sgd", [{"lr": 0.01}, {"lr": 1.0}], epochs=5)
    for lane, lr in enumerate((0.01, 1.0)):
        expected = one_by_one(task, peer("SGD", {"lr": lr}), epochs=5, clip_norm=bound)
        assert_lane(training, lane, expected, 1e-10)


def test_l2_penalizes_weights_not_biases_and_no_reported_loss_has_it() -> None:
    task = classes("mlp", l2=0.3)
    training = in_lanes(task, "sgd", [{"lr": 0.1}] * 2, epochs=5)

    def penalty(module: nn.Module) -> Tensor:
        weights = (p.square().sum() for p in module.parameters() if p.ndim > 1)
        return 0.15 * torch.stack(list(weights)).sum()

    assert_lane(
        training, 0, one_by_one(task, peer("SGD", {"lr": 0.1}), epochs=5, penalty=penalty), 1e-10
    )


def test_labels_are_smoothed_in_training_only() -> None:
    task = classes("mlp", label_smoothing=0.2)
    training = in_lanes(task, "sgd", [{"lr": 0.1}] * 2, epochs=5)
    expected = one_by_one(task, peer("SGD", {"lr": 0.1}), epochs=5, smoothing=0.2)
    assert_lane(training, 1, expected, 1e-10)

    def step(model: nn.Module, batch: Any, label_smoothing: float = 0.0) -> Tensor:
        return functional.cross_entropy(model(batch[0]), batch[1], label_smoothing=label_smoothing)

    own = classes("mlp", label_smoothing=0.2, step=step, loss=None)
    assert_lane(in_lanes(own, "sgd", [{"lr": 0.1}] * 2, epochs=5), 0, expected, 1e-10)


class Odd(nn.Module):
    """Tied and frozen weights, one that is not used, and a buffer that is replaced each time."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6, bias=False)
        self.second = nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(6, 3)
        self.frozen.requires_grad_(requires_grad=False)
        self.unused = nn.Linear(2, 2)
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        h = self.second(torch.tanh(self.first(x)))
        if self.training:
            self.calls += 1
            self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
        return self.frozen(h - self.mean)


def test_tied_frozen_and_unused_weights_and_any_buffers() -> None:
    task = classes("mlp", model=lambda: Odd().double())
    training = in_lanes(task, "adamw", [{"lr": 0.01}, {"lr": 0.1}], epochs=5)
    for lane, lr in enumerate((0.01, 0.1)):
        expected = one_by_one(task, peer("AdamW", {"lr": lr}), epochs=5)
        assert_lane(training, lane, expected, 1e-10)
        assert expected[0].calls == 20


class Pretrained(nn.Module):
    """A frozen layer, the same or drawn under each seed, below one that learns."""

    def __init__(self, *, drawn: bool) -> None:
        super().__init__()
        self.below, self.above = nn.Linear(6, 4), nn.Linear(4, 3)
        self.below.requires_grad_(requires_grad=False)
        if not drawn:
            nn.init.eye_(self.below.weight)
            nn.init.ones_(self.below.bias)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.above(torch.tanh(self.below(x)))
        return scores


@pytest.mark.parametrize("drawn", [False, True])
def test_what_is_the_same_under_every_seed_is_held_once(*, drawn: bool) -> None:
    task = classes("mlp", model=lambda: Pretrained(drawn=drawn).double())
    training = in_lanes(task, "sgd", [{"lr": 0.1}] * 3, epochs=4, seeds=[3, 9, 7])
    for lane, seed in enumerate((3, 9, 7)):
        expected = one_by_one(task, peer("SGD", {"lr": 0.1}), epochs=4, seed=seed)
        assert_lane(training, lane, expected, 1e-10)
    stack = training.finals[0].stack
    assert stack.fixed["module.below.weight"].shape == ((3, 4, 6) if drawn else (4, 6))
    first, again = (stack.model.initial(seed).fixed for seed in (3, 9))
    assert (first is again) is not drawn  # nor kept for each seed


class Chooser(nn.Module):
    """What cannot be stacked: its path depends on its data."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.out(x)
        return scores if x.sum().item() > 0 else 2 * scores


def test_what_cannot_be_stacked_is_trained_one_by_one_with_the_same_numbers() -> None:
    task = classes("mlp", model=lambda: Chooser().double())
    model, _ = make(task)
    assert not model.stacked
    assert "item()" in model.traits.why
    training = in_lanes(task, "adam", [{"lr": 0.01}, {"lr": 0.1}], epochs=5, stacked=False)
    for lane, lr in enumerate((0.01, 0.1)):
        assert_lane(training, lane, one_by_one(task, peer("Adam", {"lr": lr}), epochs=5), 1e-10)


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.out(x + torch.randn_like(x))
        return scores


def test_random_numbers_that_no_lane_has_come_from_the_seed_and_leave_the_callers_alone() -> None:
    task = classes("mlp", model=lambda: Noisy().double())
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again = (
        in_lanes(task, "sgd", [{"lr": lr} for lr in own], epochs=2, stacked=False)
        for own in ((0.1, 0.2), (0.3, 0.1))
    )
    np.testing.assert_array_equal(first.train_loss[:, 0], again.train_loss[:, 1])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("stacked", [True, False])
def test_dropout_is_a_lanes_own(*, stacked: bool) -> None:
    task = classes("transformer", model=lambda: Attention(dropout=0.3).double())
    rates = [{"lr": 0.01}, {"lr": 0.02}]
    together = in_lanes(task, "sgd", [*rates, rates[0]], epochs=3, seeds=[5, 5, 6], stacked=stacked)
    alone = in_lanes(task, "sgd", rates[:1], epochs=3, seeds=[5], stacked=not stacked)
    np.testing.assert_allclose(together.train_loss[:, 0], alone.train_loss[:, 0], rtol=1e-12)
    assert together.train_loss[0, 0] == together.train_loss[0, 1]  # same seed, same draws
    assert together.train_loss[0, 0] != together.train_loss[0, 2]


def test_mixed_precision_is_torchs_autocast() -> None:
    task = classes("mlp", torch.float32, autocast=torch.bfloat16)
    training = in_lanes(task, "sgd", [{"lr": 0.1}] * 2, epochs=3)

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = classes("mlp", torch.float32).model()

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.inner(x)

    plain = classes("mlp", model=Mixed, train=task.train)
    expected = one_by_one(plain, peer("SGD", {"lr": 0.1}), epochs=3)
    np.testing.assert_allclose(training.train_loss[1:, 0], expected[1], rtol=2e-2)
    exact = one_by_one(classes("mlp", torch.float32), peer("SGD", {"lr": 0.1}), epochs=3)
    assert not np.allclose(training.train_loss[1:, 0], exact[1], rtol=1e-5)
