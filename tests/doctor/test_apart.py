"""Validation data are held against training examples that a copy has not seen."""

import pytest
import torch
from torch import Tensor, nn

from thalweg.doctor.apart import validation_apart
from thalweg.doctor.subject import Subject
from thalweg.doctor.trials import Trials


@pytest.mark.parametrize(
    ("noise", "changed", "expected"),
    [
        (0.1, "order", "validation_preprocessed_differently"),
        (0.1, "squared", "validation_of_other_distribution"),
        (0.1, "outliers", "loss_unsuited"),  # of the training targets alone
        (0.1, "", None),
        (5.0, "order", None),  # what is learned by heart carries over to no others
    ],
)
def test_examples_that_were_left_out_tell_overfitting_from_other_data(
    noise: float, changed: str, expected: str | None
) -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(400, 5, generator=draws)
    y = x[:, :1] - x[:, 1:2] + noise * torch.randn(400, 1, generator=draws)
    train, held = x[:240], x[240:]
    held = {"order": held.flip(1), "squared": held.square()}.get(changed, held)
    if changed == "outliers":
        y[:240:40] += 100
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    batches = list(zip(train.split(24), y[:240].split(24), strict=True))
    subject = Subject(model, optimizer, nn.MSELoss(), batches * 2, [(held, y[240:])])
    found = validation_apart(Trials(subject, 200, 2.0), "warning")
    assert (found and found.cause) == expected
    assert found is None or found.severity == "problem"


def test_a_loss_of_the_hardest_of_a_batch_is_held_against_batches_of_its_size() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(320, 2, generator=generator)
    y = x.sum(1, keepdim=True) + 0.3 * torch.randn(320, 1, generator=generator)
    torch.manual_seed(0)
    model = nn.Linear(2, 1)

    def hardest(out: Tensor, target: Tensor) -> Tensor:
        return (out - target).square().max().tanh()

    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    given = [*zip(x[:160].split(8), y[:160].split(8), strict=True)]
    subject = Subject(model, optimizer, hardest, given, [(x[160:], y[160:])])
    assert validation_apart(Trials(subject, 200, 1.0), "warning") is None


def test_a_balanced_validation_part_is_held_against_as_many_of_each_class() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.cat([torch.arange(1200) % 16 == 0, torch.arange(200) % 2 == 0]).long()
    x = torch.randn(1400, 6, generator=generator) + 0.4 * y[:, None]
    model, loss_fn = nn.Linear(6, 2), nn.CrossEntropyLoss(torch.tensor([1.0, 15.0]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    known = list(zip(x[:1200].split(40), y[:1200].split(40), strict=True))
    subject = Subject(model, optimizer, loss_fn, known, [(x[1200:], y[1200:])])
    trials = Trials(subject, 200, 1.0)
    assert validation_apart(trials, "warning") is None
    subject.validation = [(x[1200:] - 3, y[1200:])]
    assert validation_apart(trials, "warning") is not None
