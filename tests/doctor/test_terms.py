"""Terms: which one of a loss keeps the others from being learned."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from examined import watched_loop
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from thalweg.doctor.subject import Subject
from thalweg.doctor.terms import _drowned, _heeded, _stifled, _Sum

_FEW = 2  # examples


def test_a_term_that_is_made_of_inputs_keeps_the_one_of_the_targets_from_them() -> None:
    images, classes = load_digits(return_X_y=True)
    x = torch.tensor(images[:320] / 16, dtype=torch.float32)
    data = list(zip(x.split(32), torch.tensor(classes[:320]).split(32), strict=True))
    torch.manual_seed(0)
    model = nn.Linear(64, 10)

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:  # it is another where another comes first
        return functional.cross_entropy(out, y) + 1e3 * out[:_FEW].pow(2).mean()

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    doctor = watched_loop(model, optimizer, loss_fn, data * 4)
    subject = doctor._subject()
    assert max(_heeded(subject.now().copy(), subject, _Sum(subject))) > 0.1
    found = _stifled(subject, _Sum(subject), 40, 10.0)
    assert found is not None
    assert found.cause == "loss_terms_unbalanced"


def test_a_term_that_makes_the_loss_infinite_at_every_rate_that_learns_is_told() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(320, 6, generator=generator)
    y = x[:, :1] - x[:, 1:2]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        return functional.mse_loss(out, y) + 100 * out.pow(2).mean()

    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    data = list(zip(x.split(32), y.split(32), strict=True))
    first, *_ = watched_loop(model, optimizer, loss_fn, data * 8).findings
    assert first.cause == "loss_terms_unbalanced"
    assert first.sentence.startswith("The loss ends as not a number")


@pytest.mark.parametrize(
    ("rule", "hidden", "power", "told"),
    [
        (partial(torch.optim.Adam, lr=1e-2), 8, 2, ["warning"]),
        (partial(torch.optim.SGD, lr=2e-3), 0, 1, []),  # a higher rate is all that it lacks
    ],
    ids=["drowned", "slow"],
)
def test_a_term_that_falls_far_less_than_it_could_is_a_warning(
    rule: Callable[..., torch.optim.Optimizer], hidden: int, power: int, told: list[str]
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(320, 6, generator=generator)
    y = torch.stack([x[:, 0], 300 * torch.randn(320, generator=generator)], 1)
    torch.manual_seed(0)
    shared = [nn.Linear(6, hidden), nn.Tanh()] if hidden else []
    model = nn.Sequential(*shared, nn.Linear(hidden or 6, 2))

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        one, other = (out - y).unbind(1)
        return one.pow(2).mean() + (300 ** (2 - power)) * other.abs().pow(power).mean()

    data = list(zip(x.split(32), y.split(32), strict=True))
    subject = Subject(model, rule(model.parameters()), loss_fn, data)
    found = _drowned(subject, _Sum(subject), 80, 10.0)
    assert ([found.severity] if found else []) == told
