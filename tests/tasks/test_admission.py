"""What of a module is refused or found before it is trained."""

from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.conftest import line, run, trial
from thalweg.errors import TaskError
from thalweg.stack import TorchTask
from thalweg.tasks.modules import ModuleTask

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_part_with_numbers_that_are_not_finite_is_refused(part: str) -> None:
    x = torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None]
    broken = torch.where(torch.arange(50)[:, None] == 40, torch.nan, x)
    parts = dict.fromkeys(("train", "validation", "test"), (x, 3 * x)) | {part: (broken, 3 * x)}
    message = (
        rf"nan on the {part} part; 1 of its 50 examples hold numbers that are not finite: drop"
    )
    with pytest.raises(TaskError, match=message):
        ModuleTask(line(**parts), 0)

    def known(outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.where(targets.isnan(), 0.0, outputs - targets.nan_to_num()).square().mean()

    holes = {part: (x, broken)}  # of a loss that knows what to do with them
    ModuleTask(line(**{**parts, **holes}, loss=known, metric=known), 0)


def test_a_loss_that_weighs_examples_is_that_of_the_whole_part() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(900, 6, dtype=torch.float64, generator=generator)
    y = (torch.arange(900) % 10 == 0).long().sort().values
    ignored = torch.where(torch.arange(900) < 600, -100, y)
    weight = torch.tensor([1.0, 50.0], dtype=torch.float64)

    def step(model: nn.Module, batch: Any) -> Tensor:
        return functional.cross_entropy(model(batch[0]), batch[1], weight=weight)

    def head() -> nn.Module:
        layer = nn.Linear(6, 2).double()
        nn.init.zeros_(layer.weight)  # all losses are log 2 at first
        nn.init.zeros_(layer.bias)
        return layer

    weighted = nn.CrossEntropyLoss(weight=weight)
    for targets, given, loss in (
        (y, {"loss": weighted}, weighted),
        (y, {"loss": None, "step": step}, weighted),
        (ignored, {"loss": functional.cross_entropy}, functional.cross_entropy),
    ):
        whole = (x, targets)
        own = ModuleTask(
            TorchTask(model=head, train=(x, y), validation=whole, test=whole, **given), 0
        )
        own.lanes = 2
        for made in (own, cloudpickle.loads(cloudpickle.dumps(own))):
            lanes = run(made, [trial(hyper={"lr": 0.1}, epochs=1, batch_size=90)] * 2)
            kept = lanes.checkpoint(0)
            assert kept
            module = head()
            module.load_state_dict(kept["model"])
            expected = loss(module(x), targets).item()
            np.testing.assert_allclose(lanes.validation_loss[-1], expected, rtol=1e-10)
            np.testing.assert_allclose(lanes.judge()[0], expected, rtol=1e-10)


def test_a_loss_that_is_no_mean_of_examples_is_left_to_chunks() -> None:
    def apart(outputs: Tensor, targets: Tensor) -> Tensor:
        """Hold each example against all others of its batch."""
        return functional.cross_entropy(outputs @ targets.T, torch.arange(len(outputs)))

    x = torch.linspace(-1, 1, 900, dtype=torch.float64)[:, None]
    for loss in (functional.mse_loss, apart):
        own = ModuleTask(line(train=(x, 3 * x + 1), loss=loss), 0)
        assert not own.model.traits.whole


def test_a_model_that_breaks_in_evaluation_alone_is_told_in_a_sentence() -> None:
    class Late(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if not self.training:
                raise RuntimeError("no running mean\nat all")
            return super().forward(x)

    with pytest.raises(
        TaskError, match=r"test_admission\.py:\d+: RuntimeError: no running mean; at"
    ):
        ModuleTask(line(model=lambda: Late(1, 1).double()), 0)


def test_a_model_whose_gradient_breaks_is_told_in_a_sentence() -> None:
    class InPlace(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            squashed = super().forward(x).sigmoid()
            return squashed.mul_(2.0)

    with pytest.raises(TaskError, match=r"^loss: RuntimeError: one of the variables needed for"):
        ModuleTask(line(model=lambda: InPlace(1, 1).double()), 0)
