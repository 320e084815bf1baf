"""Batch normalization with batches of a few examples."""

import pytest
import torch
from torch import Tensor, nn

from thalweg.doctor.finding import Finding
from thalweg.doctor.normalization import statistics_worthless, tiny_batches
from thalweg.doctor.outcome import look_at_outcome
from thalweg.doctor.subject import Subject
from thalweg.doctor.trials import Trials


def trained(model: nn.Module, spread: float) -> Subject:
    """Train on one series at a time, of which each has a mean of its own; return the training.

    Targets say where a series lies above its own mean.
    """
    generator = torch.Generator().manual_seed(0)
    series = torch.randn(64, 1, 1, 40, generator=generator)
    means = spread * torch.randn(64, 1, 1, 1, generator=generator)
    batches: list[tuple[Tensor, ...]] = [
        (x + m, (x > 0).float()) for x, m in zip(series, means, strict=True)
    ]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    subject = Subject(model, optimizer, nn.BCEWithLogitsLoss(), batches)
    for x, y in batches:
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(x), y).backward()
        optimizer.step()
    return subject


@pytest.mark.parametrize(("spread", "worthless"), [(5.0, True), (0.0, False)])
def test_averages_of_unlike_statistics_are_worthless(spread: float, *, worthless: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(1), nn.Conv1d(1, 1, 1))
    subject = trained(model, spread)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = statistics_worthless(subject, model)
    assert (found is not None) == worthless
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    if found is not None:
        assert float(found.evidence["loss with statistics of each batch"]) < 0.5
        assert float(found.evidence["loss with their averages"]) > 0.7
    trials = Trials(subject, 2, 1.0)
    high = Finding("lr_too_high", "problem", "", {}, "", "")
    for others, severity in (([], "problem"), ([high], "warning")):
        told = [f for f in look_at_outcome(trials, model, 0.5, [], others) if worthless]
        assert [(f.cause, f.severity) for f in told] == [
            ("batch_norm_with_tiny_batches", severity)
        ] * worthless


def test_groups_need_no_batch() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.GroupNorm(1, 1), nn.Conv1d(1, 1, 1))
    subject = trained(model, 5.0)
    assert tiny_batches(subject) is None
    assert statistics_worthless(subject, model) is None
