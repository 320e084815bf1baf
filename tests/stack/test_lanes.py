"""Stacks: what lanes come to on a part is what each comes to on all its examples."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from stack.nets import make
from thalweg.stack import TorchTask
from thalweg.stack.lanes import Stack

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("rows", [7, 256, 521, 600])  # 521, a prime, is 256 + 256 + 9
@pytest.mark.parametrize("stacked", [True, False])
def test_the_loss_of_a_part_weighs_its_chunks_by_their_examples(
    rows: int, *, stacked: bool
) -> None:
    x = torch.linspace(-1, 3, rows, dtype=torch.float64)[:, None]
    batch = x, x**3  # the last chunk has the largest losses
    task = TorchTask(
        model=lambda: nn.Linear(1, 1).double(), loss=functional.mse_loss, train=(x, x**3)
    )
    stack = Stack(make(task)[0], [3, 4] if stacked else [3], shared=not stacked, stacked=stacked)
    with stack.model.mode(training=False):
        found = stack.losses(batch, "validation")
    for lane, loss in enumerate(found):
        parameters, _, _ = stack.lane(lane)
        outputs = x @ parameters["module.weight"].T + parameters["module.bias"]
        torch.testing.assert_close(loss, functional.mse_loss(outputs, batch[1]))
