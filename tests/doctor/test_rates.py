"""Rates of single groups that are too low or too high."""

import pytest
import torch
from examined import loader
from torch import Tensor, nn

from thalweg.doctor.diagnosis import treat
from thalweg.doctor.rates import evened, warmed
from thalweg.doctor.subject import Subject
from thalweg.doctor.trials import Trials


def ring(n: int = 320) -> tuple[Tensor, Tensor]:
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    return x, (x.norm(dim=1, keepdim=True) > 1.18).float()


def grouped(body: float, head: float) -> tuple[nn.Sequential, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 1))
    groups = [
        {"params": model[:4].parameters(), "lr": body},
        {"params": model[4].parameters(), "lr": head},
    ]
    return model, torch.optim.Adam(groups)


def test_the_rate_of_one_group_alone_is_named() -> None:
    model, optimizer = grouped(1e-7, 0.03)
    loss_fn = nn.BCEWithLogitsLoss()
    trials = Trials(Subject(model, optimizer, loss_fn, [*loader(*ring())]), 60, 0.2)
    found = treat(trials, trials.plain.left, [], 1.0, None).findings[0]
    assert (found.cause, found.severity) == ("lr_too_low", "problem")
    assert "Groups of the optimizer have rates from 1e-07 to 0.03." in found.sentence


@pytest.mark.parametrize(
    ("body", "head", "expected"),
    [(1e-3, 1e-2, ["lr_too_low", "lr_too_high"]), (2e-3, 1e-2, []), (0.0, 1e-2, [])],
)
def test_rates_are_evened_where_they_are_far_apart(
    body: float, head: float, expected: list[str]
) -> None:
    model, optimizer = grouped(body, head)
    subject = Subject(model, optimizer, nn.BCEWithLogitsLoss(), [ring(16)])
    found = list(evened(subject))
    assert [one.cause for one in found] == expected
    for one, rate in zip(found, (head, body), strict=False):
        twin = subject.copy()
        one.prepare(twin)
        assert [group["lr"] for group in twin.optimizer.param_groups] == [rate] * 2


@pytest.mark.parametrize(("first", "tried"), [(0.001, True), (0.5, False), (0.0, False)])
def test_the_rate_that_a_warm_up_goes_to_is_tried(first: float, *, tried: bool) -> None:
    """From 0 a copy has it anyhow."""
    model, optimizer = grouped(1e-3, 1e-2)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: first)
    subject = Subject(model, optimizer, nn.BCEWithLogitsLoss(), [ring(16)])
    found = list(warmed(subject))
    assert [one.cause for one in found] == ["lr_too_low"] * tried
    for one in found:
        twin = subject.copy()
        one.prepare(twin)
        assert [group["lr"] for group in twin.optimizer.param_groups] == [1e-3, 1e-2]
