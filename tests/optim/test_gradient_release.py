"""Gradient release: each parameter steps in the backward pass, as all would after it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from optim_pairs import Configuration, assert_same, every_class
from thalweg import optim

pytestmark = pytest.mark.usefixtures("_asked")


@every_class
@pytest.mark.parametrize("accumulate", [1, 2])
def test_released_gradients_make_the_same_training(
    configuration: Configuration, accumulate: int
) -> None:
    ended = []
    for attached in (True, False):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 2))
        make = configuration.ours if attached else configuration.theirs
        optimizer = make(model.parameters())
        if attached:
            detach = optimizer.attach(model, accumulate=accumulate)  # type: ignore[attr-defined]
        for t in range(1, 9):
            model(torch.randn(5, 6)).square().sum().backward()
            if attached:
                assert all((p.grad is None) == (t % accumulate == 0) for p in model.parameters())
            elif t % accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
        ended.append(optimizer)
        if attached:
            detach()
            model(torch.ones(1, 6)).sum().backward()
            assert all(p.grad is not None for p in model.parameters())
    assert_same(ended[0], ended[1], 2e-5)


class Strided(nn.Module):
    """Has a parameter with gaps in its memory, which no kernel takes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(1.0, 2.0, 24).reshape(4, 6)[:, ::2])

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


def test_a_parameter_with_gaps_is_released_too() -> None:
    ended = []
    for attached in (True, False):
        model = Strided()
        optimizer: Any = (optim if attached else torch.optim).Adam(model.parameters(), lr=0.05)
        if attached:
            optimizer.attach(model)
        for t in range(1, 5):
            model(torch.arange(4.0) * t).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        ended.append(optimizer)
    assert_same(*ended, 1e-6)


def test_release_refuses_what_it_cannot_do() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="attach and clip_norm do not go together"):
        optim.SGD(model.parameters(), clip_norm=1.0).attach(model)
    for bad in (0, 1.5):
        with pytest.raises(ValueError, match=f"accumulate must be an integer >= 1, got {bad}"):
            optim.SGD(model.parameters()).attach(model, accumulate=bad)  # type: ignore[arg-type]


def test_release_refuses_a_loss_scale_until_it_is_undone() -> None:
    model = nn.Linear(2, 2)
    optimizer, scaler = optim.SGD(model.parameters(), lr=0.5), GradScaler("cpu", init_scale=2.0)
    detach = optimizer.attach(model)
    scaler.scale(model(torch.ones(1, 2)).sum()).backward()
    with pytest.raises(RuntimeError, match="attach and a loss scale do not go together"):
        scaler.step(optimizer)
    detach()
    detach()
    before, scaler = model.bias.detach().clone(), GradScaler("cpu", init_scale=2.0)
    scaler.scale(model(torch.ones(1, 2)).sum()).backward()
    scaler.step(optimizer)
    assert torch.equal(model.bias, before - 0.5)


def test_options_that_change_the_rule_are_followed_when_attached() -> None:
    models = [nn.Linear(3, 2, bias=False) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    ours = optim.SGD(models[0].parameters(), lr=0.1, momentum=0.0)
    theirs = torch.optim.SGD(models[1].parameters(), lr=0.1, momentum=0.0)
    ours.attach(models[0])
    for momentum in (0.0, 0.5, 0.5, 0.0, 0.9):
        for optimizer, model in zip((ours, theirs), models, strict=True):
            optimizer.param_groups[0]["momentum"] = momentum
            optimizer.zero_grad()
            model(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()
        torch.testing.assert_close(models[0].weight, models[1].weight)


def test_a_state_that_is_cleared_begins_anew_when_attached() -> None:
    model = nn.Linear(3, 2, bias=False)
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    optimizer.attach(model)
    for _ in range(2):
        model(torch.ones(1, 3)).sum().backward()
    optimizer.state.clear()
    model(torch.ones(1, 3)).sum().backward()
    assert optimizer.state[model.weight]["step"] == 1


@pytest.mark.parametrize("options", [{"sparse": True}, {"differentiable": True}])
def test_what_attach_has_no_step_for_is_told(options: dict[str, bool]) -> None:
    model = nn.Embedding(5, 2, sparse="sparse" in options)
    differentiable = "differentiable" in options
    optimizer = optim.SGD(model.parameters(), lr=0.1, differentiable=differentiable)
    optimizer.attach(model)
    with pytest.raises(RuntimeError, match=r"attach has no step .*: call step"):
        model(torch.tensor([1])).sum().backward()
