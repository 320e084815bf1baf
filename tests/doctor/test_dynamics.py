"""What is measured of a training at one point, against closed forms."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

import thalweg
from thalweg.doctor.dynamics import measure
from thalweg.doctor.kept import KeptCopies
from thalweg.doctor.subject import Subject

LR, SIZE = 0.02, 64


class Shift(nn.Module):
    """Its loss is half the mean square of x + w: examples' gradients differ by their x."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.w)


def half_square(out: Tensor, y: Tensor) -> Tensor:
    return (out - y).square().sum(1).mean() / 2


def test_noise_and_its_floor_are_those_of_the_closed_form() -> None:
    generator = torch.Generator().manual_seed(0)
    x = 50 + torch.randn(SIZE, 3, generator=generator, dtype=torch.float64)
    model, y = Shift(), torch.full((SIZE, 3), 49.0, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    found = measure(Subject(model, optimizer, half_square, [(x, y)]), 7)
    assert found.step == 7
    assert not found.unknown
    one, other = ((x - y)[part].mean(0) for part in (slice(32), slice(32, 64)))
    variance = 32 * float((one - other).square().sum()) / 2  # unbiased, of two means of 32
    assert found.noise is not None
    assert found.noise.variance == pytest.approx(variance)
    assert found.critical is not None
    assert found.critical.limit == pytest.approx(2.0)
    assert found.floor == pytest.approx(LR * variance / SIZE / 4, rel=0.02)
    assert found.dead == 0.0


def test_above_its_limit_a_rate_has_no_floor() -> None:
    model, x = Shift(), torch.ones(8, 3, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=3.0)
    found = measure(Subject(model, optimizer, half_square, [(x, 0 * x)]), 0)
    assert found.critical is not None
    assert found.critical.ratio == pytest.approx(1.5)
    assert math.isnan(found.floor)


def test_what_cannot_be_measured_is_said() -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.LBFGS(model.parameters())
    found = measure(
        Subject(model, optimizer, nn.functional.mse_loss, [(torch.ones(1, 2), torch.ones(1, 1))]), 0
    )
    assert "the rule of LBFGS is not known" in found.unknown["sharpness"]
    assert found.unknown["gradient noise"] == "the batch has no two halves"


def test_copies_are_kept_from_the_start_to_the_last_step_and_evenly() -> None:
    model = nn.Linear(2, 1)
    kept = KeptCopies(model, torch.optim.SGD(model.parameters(), lr=0.1))
    for step in range(1, 101):
        kept.add(step, model, torch.optim.SGD(model.parameters(), lr=0.1))
    steps = [one.step for one in kept.all]
    gaps = [b - a for a, b in itertools.pairwise(steps)]
    assert (steps[0], steps[-1], len(steps)) == (0, 100, 9)
    assert max(gaps) <= 32


def test_a_nan_is_placed_in_the_module_where_it_begins() -> None:
    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sqrt(x - 2)  # below 0 once the weights have grown

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), Root(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.fill_(2.0)
        model[2].weight.fill_(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    loss_fn = nn.functional.mse_loss
    doctor = thalweg.Doctor(model, optimizer, loss_fn, seconds=1)
    x, y = torch.ones(8, 2), torch.full((8, 1), -3.0)
    for _ in range(6):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=(x, y))
    onset = next(i for i, v in enumerate(doctor.signals.losses) if math.isnan(v))
    places = [
        f.evidence.get("first not finite") for f in doctor.findings if f.severity == "problem"
    ]
    assert places
    assert set(places) == {f"the output of 1 (Root), at step {onset}"}
