"""The loss of the best constant against the entropy of the targets."""

import math
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


class Slope(nn.Module):
    """Gives a curve and its slope."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, t: Tensor) -> Tensor:
        with torch.enable_grad():
            t = t.clone().requires_grad_()
            u = self.net(t)
            return torch.cat([u, torch.autograd.grad(u.sum(), t, create_graph=True)[0]], 1)


def decay(out: Tensor, start: Tensor) -> Tensor:
    return (out.sum(1) ** 2).mean() + (start * (out[:, 0] - 1) ** 2).mean()


def test_what_a_constant_fits_exactly_has_no_best_constant() -> None:
    t = torch.linspace(0, 2, 20)[:, None]
    small = 1e-4 * torch.sin(3 * t)
    for model, loss_fn, y, least in (
        (Slope(), decay, (t == 0).float().flatten(), None),
        (nn.Linear(1, 1), nn.MSELoss(), small, float(small.var(correction=0))),
        (nn.Linear(1, 1), nn.MSELoss(), 1e4 * small + 1e5, 1e8 * float(small.var(correction=0))),
    ):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        found = constant_loss(Subject(model, optimizer, loss_fn, [(t, y)]))
        assert found == (least and pytest.approx(least, rel=0.01))


def test_the_best_constant_of_a_loss_that_compares_examples_is_that_of_each_batch() -> None:
    def nearest(out: Tensor, _: Tensor) -> Tensor:  # of equal outputs it is the log of their number
        return functional.cross_entropy(out @ out.T, torch.arange(len(out)))

    model, x = nn.Linear(3, 4), torch.zeros(48, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for size in (4, 8):
        given = [(part, part.sum(1)) for part in x.split(size)]
        least = constant_loss(Subject(model, optimizer, nearest, given))
        assert least == pytest.approx(math.log(size), rel=1e-5)


def test_the_best_constant_is_found_once_for_the_same_targets_and_anew_for_others() -> None:
    asked = []

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        asked.append(1)
        return functional.mse_loss(out, y)

    model, x, y = nn.Linear(2, 1), torch.zeros(8, 2), torch.arange(8.0)[:, None]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    subject = Subject(model, optimizer, loss_fn, [(x, y)])
    least = constant_loss(subject)
    count = len(asked)
    assert constant_loss(subject, [(x + 1, y)]) == least == pytest.approx(5.25)
    assert len(asked) == count
    assert constant_loss(subject, [(x, 2 * y)]) == pytest.approx(21.0)
    assert constant_loss(subject, [(x[:4], y[:4]), (x[4:], y[4:])]) == pytest.approx(5.25)


class Heads(nn.Module):
    """Gives scores of three classes and two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.kind, self.size = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"kind": self.kind(x), "size": self.size(x)}


def test_several_outputs_have_a_best_constant_each() -> None:
    kinds = torch.arange(40) % 3
    sizes = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)) + 5

    def loss_fn(out: dict[str, Tensor], y: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(out["kind"], y[0]) + functional.mse_loss(out["size"], y[1])

    model, x = Heads(), torch.ones(40, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    share = kinds.bincount() / 40
    entropy = float(-(share * share.log()).sum())
    least = constant_loss(Subject(model, optimizer, loss_fn, [(x, (kinds, sizes))]))
    assert least == pytest.approx(entropy + float(sizes.var(0, correction=0).mean()), rel=1e-4)
    fits = Subject(
        model, optimizer, lambda out, y: (out["size"] - y).square().sum(), [(x, 5.0 + 0 * sizes)]
    )
    assert constant_loss(fits) is None
