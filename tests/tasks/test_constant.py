"""The best constant output of a module."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tasks.conftest import line, run, trial
from thalweg.stack import TorchTask
from thalweg.tasks.constant import best_constant
from thalweg.tasks.modules import ModuleTask

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_target_lies_between_the_best_constant_and_adam(task: ModuleTask) -> None:
    assert best_constant(task.model, task._placed) == pytest.approx(
        math.log(3), abs=1e-3
    )  # three classes, equally often
    x = torch.linspace(-1, 1, 500, dtype=torch.float64)[:, None]
    fitted = ModuleTask(line(train=(x, 3 * x + 1)), 0)
    fitted.lanes = 4
    y = fitted._parts.train[1].mean()
    target = fitted.target()
    assert target.constant == pytest.approx(
        (fitted._parts.validation[1] - y).square().mean().item(), rel=1e-6
    )
    assert target.reference < 0.1 * target.constant
    assert target.validation_loss == pytest.approx(
        target.reference + 0.05 * (target.constant - target.reference)
    )


def probabilities() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 1), nn.Sigmoid(), nn.Flatten(0))


def logarithms() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 3), nn.LogSoftmax(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("model", "loss"), [
    (probabilities, functional.binary_cross_entropy), (logarithms, functional.nll_loss),
])  # fmt: skip
def test_a_loss_without_a_best_constant_starts_from_the_untrained_model(
    model: Callable[[], nn.Module], loss: Any, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 6, dtype=dtype, generator=generator)
    y = (x.sum(1) > 0) & (x[:, 0] > 0)
    targets = y.long() if model is logarithms else y.to(dtype)
    own = ModuleTask(TorchTask(model=lambda: model().to(dtype), loss=loss, train=(x, targets)), 0)
    own.lanes = 4
    target = own.target()
    if "untrained" in target.rule:
        start = run(own, [trial(seed=0, batch_size=32)]).validation_loss[0, 0]
        assert target.constant == pytest.approx(start, rel=1e-6)
    else:  # the search happened to stay among probabilities
        p = own._parts.train[1].mean()
        q = own._parts.validation[1].mean()
        expected = -(q * p.log() + (1 - q) * (1 - p).log())
        assert target.constant == pytest.approx(expected.item(), rel=1e-5)
        assert model is probabilities
    assert target.reference < target.validation_loss < target.constant
