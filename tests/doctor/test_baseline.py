"""The loss of the best constant against the entropy of the targets."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.doctor.baseline import constant_loss
from thalweg.doctor.subject import Subject


def flattened(out: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(out.flatten(0, 1), y.flatten())


@pytest.mark.parametrize(
    ("model", "loss_fn", "shape"),
    [
        (nn.Conv2d(1, 1, 1), nn.BCEWithLogitsLoss(), (1, 4, 4)),
        (nn.Conv2d(1, 2, 1), nn.CrossEntropyLoss(), (4, 4)),
        (nn.Linear(3, 2), flattened, (4,)),
    ],
    ids=["masks", "maps of classes", "sequences"],
)
def test_a_loss_that_asks_for_every_place_has_a_best_constant(
    model: nn.Module, loss_fn: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    size = int(torch.tensor(shape).prod())
    y = (torch.arange(20 * size) % 5 == 0).reshape(20, *shape)
    y = y.float() if isinstance(loss_fn, nn.BCEWithLogitsLoss) else y.long()
    x = torch.zeros(20, 1, 4, 4) if isinstance(model, nn.Conv2d) else torch.zeros(20, 4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    share = torch.tensor([0.2, 0.8], dtype=torch.float64)
    entropy = float(-(share * share.log()).sum())
    least = constant_loss(Subject(model, optimizer, loss_fn, [(x, y)]))
    assert least == pytest.approx(entropy, rel=1e-4)
