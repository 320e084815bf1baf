"""Our classes in torch's place: whatever a training does to an optimizer, both end up the same.

A scenario gets the class to build and returns its optimizer at the end of some steps.
"""

import copy
import itertools
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

import optim_pairs
from optim_pairs import (
    ONE_EACH,
    WHOLE,
    Build,
    Configuration,
    assert_same,
    every_class,
    follow,
    members,
    new_parameters,
    scalars_in,
    set_gradients,
    without_bfloat16,
)

Scenario = Callable[[Build], Optimizer]
SCENARIOS: list[Scenario] = []
ADAM = next(c for c in ONE_EACH if c.name == "Adam")


def scenario(function: Scenario) -> Scenario:
    SCENARIOS.append(function)
    return function


@every_class
@pytest.mark.parametrize("of", SCENARIOS, ids=lambda s: s.__name__)
def test_both_end_up_the_same(of: Scenario, configuration: Configuration) -> None:
    with scalars_in(torch.float64):
        assert_same(of(configuration.ours), of(configuration.theirs), 1e-11)


@pytest.mark.parametrize("of", SCENARIOS, ids=lambda s: s.__name__)
def test_gradients_are_told_apart_without_torchs_own_check(
    of: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch._C._dynamo.guards", None)
    with scalars_in(torch.float64):
        assert_same(of(ADAM.ours), of(ADAM.theirs), 1e-11)


NEITHER = {
    "complex_parameters": "neither takes them, nor torch's",
    "options_that_change_in_the_middle": "an eps of one number fails in torch's Adafactor",
}
NO_MATRICES = {
    "gradients_zeroed_both_ways", "channels_last", "transposed_views_and_slices",
    "two_windows_of_one_tensor", "torchs_flags_change_nothing", "a_subclass_that_extends_the_step",
}  # fmt: skip


def scenarios_of_whole_tensors() -> list[Any]:
    """Return those that a class of ``WHOLE`` can take part in."""
    pairs = itertools.product(SCENARIOS, WHOLE[:2])
    return [
        pytest.param(of, configuration, id=f"{of.__name__}-{configuration.name}")
        for of, configuration in pairs
        if of.__name__ not in NEITHER
        and not (configuration.name == "Muon" and of.__name__ in NO_MATRICES)
    ]


@every_class
def test_a_module_may_be_cast_before_the_first_step(configuration: Configuration) -> None:
    """Adagrad has its state by then, and keeps it in float32: roundings differ."""
    ended = []
    for build in (configuration.ours, configuration.theirs):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3))
        ended.append(build(model.parameters()))
        model.to(torch.float64)
        follow(ended[-1], 1, 8)
    assert_same(*ended, 1e-6)


@scenario
def groups_with_options_of_their_own(build: Build) -> Optimizer:
    params = new_parameters()
    first = {"params": params[:3], "lr": 0.003}
    second = {"params": params[3:], "lr": 0.1, "maximize": True, "weight_decay": 0.3}
    optimizer = build([first, second])
    follow(optimizer, 1, 12)
    return optimizer


@scenario
def options_that_change_in_the_middle(build: Build) -> Optimizer:
    optimizer = build(new_parameters())
    changed = {"lr": 0.01, "weight_decay": 0.3, "eps": 0.1, "maximize": True, "betas": (0.5, 0.7),
               "alpha": 0.5, "rho": 0.5, "etas": (0.2, 1.1), "lambd": 0.1, "t0": 9}  # fmt: skip
    for number, (name, value) in enumerate(changed.items()):
        follow(optimizer, 3 * number + 1, 3 * number + 3)
        if name in optimizer.defaults:
            optimizer.param_groups[0][name] = value
    return optimizer


@scenario
def lr_as_tensor(build: Build) -> Optimizer:
    optimizer = build(new_parameters(), lr=torch.tensor(0.03))
    follow(optimizer, 1, 5)
    optimizer.param_groups[0]["lr"].fill_(0.01)
    follow(optimizer, 6, 10)
    return optimizer


@scenario
def a_group_added_in_the_middle(build: Build) -> Optimizer:
    params = new_parameters()
    optimizer = build(params[:4])
    follow(optimizer, 1, 5)
    optimizer.add_param_group({"params": params[4:], "lr": 0.2})
    follow(optimizer, 6, 10)
    return optimizer


@scenario
def parameters_replaced_within_their_group(build: Build) -> Optimizer:
    optimizer = build(new_parameters())
    follow(optimizer, 1, 5)
    params = optimizer.param_groups[0]["params"]
    for index, new in enumerate(new_parameters(seed=1)[1:3], 1):
        optimizer.state.pop(params[index], None)
        params[index] = new
    follow(optimizer, 6, 10)
    return optimizer


@scenario
def a_list_of_parameters_replaced(build: Build) -> Optimizer:
    optimizer = build(new_parameters())
    follow(optimizer, 1, 5)
    params = members(optimizer)
    for p in params[1:3]:
        optimizer.state.pop(p, None)
    optimizer.param_groups[0]["params"] = [params[0], *new_parameters(seed=1)[1:3], *params[3:]]
    follow(optimizer, 6, 10)
    return optimizer


@scenario
def state_cleared(build: Build) -> Optimizer:
    optimizer = build(new_parameters())
    follow(optimizer, 1, 5)
    optimizer.state.clear()
    follow(optimizer, 6, 10)
    return optimizer


@scenario
def state_of_one_parameter_emptied(build: Build) -> Optimizer:
    optimizer = build(new_parameters())
    follow(optimizer, 1, 5)
    optimizer.state[members(optimizer)[1]] = {}
    follow(optimizer, 6, 10)
    return optimizer


@scenario
def state_edited_in_place(build: Build) -> Optimizer:
    optimizer = build(new_parameters())
    follow(optimizer, 1, 5)
    for state in optimizer.state.values():
        for value in state.values():
            value.mul_(0.5) if value.dim() else value.fill_(3.0)
    follow(optimizer, 6, 10)
    return optimizer


@scenario
def state_tensors_replaced(build: Build) -> Optimizer:
    optimizer = build(new_parameters())
    follow(optimizer, 1, 5)
    for state in optimizer.state.values():
        state.update({key: value * 2 for key, value in state.items() if value.dim()})
    follow(optimizer, 6, 10)
    return optimizer


@scenario
def counts_replaced(build: Build) -> Optimizer:
    optimizer = build(new_parameters())
    follow(optimizer, 1, 5)
    for state in optimizer.state.values():
        if "step" in state:
            state["step"] = torch.tensor(2.0)
    follow(optimizer, 6, 10)
    return optimizer


@scenario
def state_replaced_by_equal_tensors(build: Build) -> Optimizer:
    optimizer = build(new_parameters())
    follow(optimizer, 1, 5)
    for state in optimizer.state.values():
        if "step" in state:
            state["step"] = state["step"].clone()
    follow(optimizer, 6, 8)
    for state in optimizer.state.values():
        state.update({key: value.clone() for key, value in state.items()})
    follow(optimizer, 9, 12)
    return optimizer


@scenario
def state_moved_to_shared_memory(build: Build) -> Optimizer:
    optimizer = build(new_parameters())
    follow(optimizer, 1, 5)
    for state in optimizer.state.values():
        for value in state.values():
            value.share_memory_()
    follow(optimizer, 6, 10)
    return optimizer


@scenario
def another_optimizers_state_loaded_in_the_middle(build: Build) -> Optimizer:
    other = build(new_parameters(seed=1))
    follow(other, 1, 8)
    optimizer = build(new_parameters())
    follow(optimizer, 1, 5)
    optimizer.load_state_dict(other.state_dict())
    follow(optimizer, 6, 10)
    return optimizer


@scenario
def deepcopied_in_the_middle(build: Build) -> Optimizer:
    optimizer = build(new_parameters())
    follow(optimizer, 1, 5)
    twin = copy.deepcopy(optimizer)
    follow(optimizer, 6, 8)  # the copy must not notice
    follow(twin, 6, 10)
    return twin


@scenario
def pickled_in_the_middle(build: Build) -> Optimizer:
    optimizer = build(new_parameters())
    follow(optimizer, 1, 5)
    twin: Optimizer = pickle.loads(pickle.dumps(optimizer))  # noqa: S301 - our own
    follow(twin, 6, 10)
    return twin


@scenario
def a_frozen_parameter_thawed_later(build: Build) -> Optimizer:
    params = new_parameters()
    optimizer = build(params)
    for t in range(1, 11):
        set_gradients(params, t)
        if t < 6:
            params[1].grad = None
        optimizer.step()
    return optimizer


@scenario
def steps_without_any_gradient(build: Build) -> Optimizer:
    optimizer = build(new_parameters())
    optimizer.step()
    follow(optimizer, 1, 3)
    optimizer.zero_grad()
    optimizer.step()
    follow(optimizer, 4, 6)
    return optimizer


@scenario
def data_replaced_in_the_middle(build: Build) -> Optimizer:
    params = new_parameters()
    optimizer = build(params)
    follow(optimizer, 1, 5)
    params[1].data = torch.ones_like(params[1])
    params[6].data = params[6].detach().clone()
    follow(optimizer, 6, 10)
    return optimizer


@scenario
def data_overwritten_in_place(build: Build) -> Optimizer:
    params = new_parameters()
    optimizer = build(params)
    follow(optimizer, 1, 5)
    with torch.no_grad():
        params[1].fill_(0.5)
    follow(optimizer, 6, 10)
    return optimizer


@scenario
def parameters_moved_to_shared_memory(build: Build) -> Optimizer:
    params = new_parameters()
    optimizer = build(params)
    follow(optimizer, 1, 5)
    for p in params:
        p.share_memory_()
    follow(optimizer, 6, 10)
    return optimizer


@scenario
def gradients_zeroed_both_ways(build: Build) -> Optimizer:
    weight = torch.tensor([1.0, -2.0, 3.0], requires_grad=True)
    optimizer = build([weight])
    for t in range(1, 9):
        optimizer.zero_grad(set_to_none=t % 3 == 0)
        (weight.sin() * t).sum().backward()
        optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    optimizer.step()
    return optimizer


@scenario
def gradients_accumulated_in_the_same_tensor(build: Build) -> Optimizer:
    params = new_parameters()
    optimizer = build(params)
    set_gradients(params, 3)
    for _ in range(8):
        optimizer.step()
        for p in params:
            if p.grad is not None:
                p.grad.mul_(-0.7).add_(0.1)
    return optimizer


@scenario
def channels_last(build: Build) -> Optimizer:
    drawn = [torch.randn(4, 3, 2, 5, generator=torch.Generator().manual_seed(s)) for s in range(3)]
    params = [x.to(memory_format=torch.channels_last).requires_grad_() for x in drawn[:2]]
    params.append(drawn[2].requires_grad_())
    optimizer = build(params)
    for t in range(1, 9):
        set_gradients(params, t)
        for p in (params[1], params[2]):  # gradients of the other format
            if p.grad is not None and t > 3:
                p.grad = p.grad.to(memory_format=torch.channels_last)
        optimizer.step()
    return optimizer


@scenario
def transposed_views_and_slices(build: Build) -> Optimizer:
    base = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    params = [base.clone().T, base.clone()[:, ::2], base.clone()[2:5], base.clone()[:, 3]]
    optimizer = build([p.requires_grad_() for p in params])
    follow(optimizer, 1, 8)
    return optimizer


@scenario
def two_windows_of_one_tensor(build: Build) -> Optimizer:
    whole = torch.arange(1.0, 41.0)
    optimizer = build([whole[:13].requires_grad_(), whole[13:].requires_grad_()])
    follow(optimizer, 1, 8)
    return optimizer


@scenario
def gradients_with_other_strides(build: Build) -> Optimizer:
    params = [torch.randn(6, 8, generator=torch.Generator().manual_seed(s)) for s in range(3)]
    optimizer = build([p.requires_grad_() for p in params])
    for t in range(1, 9):
        drawn = torch.randn(8, 6, generator=torch.Generator().manual_seed(t))
        params[0].grad = drawn.T
        params[1].grad = drawn[:, 1].expand(6, 8)
        params[2].grad = torch.cat([drawn.T, drawn.T], 1)[:, ::2]
        optimizer.step()
    return optimizer


@scenario
def complex_parameters(build: Build) -> Optimizer:
    params = [*new_parameters(torch.complex128), *new_parameters(torch.complex128, seed=1)]
    optimizer = build([*params, *new_parameters(seed=2)])
    for t in range(1, 11):
        set_gradients(members(optimizer), t)
        for p in params:
            if p.grad is not None:
                p.grad = p.grad * (0.3 - 0.8j)
        optimizer.step()
    return optimizer


@scenario
def named_parameters(build: Build) -> Optimizer:
    params = new_parameters()
    optimizer = build([(f"layer{index}.weight", p) for index, p in enumerate(params)])
    follow(optimizer, 1, 3)
    return optimizer


@scenario
def two_formats_in_one_group(build: Build) -> Optimizer:
    params = [*new_parameters(), *[p.detach().clone().requires_grad_() for p in new_parameters()]]
    optimizer = build(params)
    follow(optimizer, 1, 8)
    return optimizer


@scenario
def closures(build: Build) -> Optimizer:
    params = new_parameters()
    optimizer = build(params)
    losses = []

    def closure() -> Tensor:
        assert torch.is_grad_enabled()
        optimizer.zero_grad()
        loss = torch.stack([(p.sin() * (i + 1)).sum() for i, p in enumerate(params)]).sum()
        loss.backward()
        losses.append(loss.item())
        return loss

    with torch.no_grad():
        returned = [optimizer.step(closure) for _ in range(5)]
    assert [loss.item() for loss in returned] == losses
    return optimizer


@scenario
def steps_in_inference_of_another_thread(build: Build) -> Optimizer:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - here alone

    optimizer = build(new_parameters())
    with ThreadPoolExecutor(1) as other:
        for t in range(1, 7):
            set_gradients(members(optimizer), t)
            other.submit(optimizer.step).result() if t % 2 else optimizer.step()
    return optimizer


@scenario
def torchs_flags_change_nothing(build: Build) -> Optimizer:
    optimizer = build(new_parameters(), foreach=True)
    follow(optimizer, 1, 5)
    return optimizer


@scenario
def a_subclass_that_extends_the_step(build: Build) -> Optimizer:
    cls = type(build([torch.zeros(1, requires_grad=True)]))

    class Doubled(cls):  # type: ignore[misc, valid-type]
        def step(self, closure: Any = None) -> Any:
            for p in members(self):
                if p.grad is not None:
                    p.grad.mul_(2)
            return super().step(closure)

    optimizer: Optimizer = Doubled(new_parameters(), **build.__self__.options)  # type: ignore[attr-defined]
    follow(optimizer, 1, 5)
    return optimizer


@pytest.mark.parametrize(("of", "configuration"), scenarios_of_whole_tensors())
def test_those_of_whole_tensors_end_up_the_same(
    of: Scenario, configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optim_pairs, "SHAPES", configuration.shapes)
    with scalars_in(torch.float64), without_bfloat16():
        assert_same(of(configuration.ours), of(configuration.theirs), 1e-11)
