"""How many steps an experiment may take, whatever the machine does meanwhile."""

import time
from itertools import count

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import thalweg
from thalweg.doctor import allowance
from thalweg.doctor.allowance import Allowance


def test_a_product_counts_its_operation_its_numbers_and_its_sums() -> None:
    a, b = torch.ones(30, 20), torch.ones(20, 50)
    one = Allowance(1.0)
    with one:
        a @ b
    expected = allowance._OPERATION + 30 * 50 * (allowance._ELEMENT + 2 * 20 * allowance._FLOP)
    assert one.used == pytest.approx(expected, rel=1e-12)
    for _ in range(9):
        with one:
            a @ b
    assert one.used == pytest.approx(10 * expected, rel=1e-12)


def test_a_slow_machine_takes_as_many_steps_and_a_stuck_one_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def steps(apart: float) -> int:
        clock = count()
        monkeypatch.setattr(time, "thread_time", lambda: apart * next(clock))
        one, taken = Allowance(0.01), 0
        while not one.over:
            with one:
                _ = torch.ones(100_000) * 2
            taken += 1
        return taken

    assert steps(0.0) == steps(1e-6) == steps(3e-4) > 100
    assert steps(0.02) == 3


def test_findings_hang_on_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(TensorDataset(x, x @ torch.ones(5, 1)), 16)
    found = []
    for apart in (1e-6, 1e-2):
        clock = count()
        monkeypatch.setattr(time, "thread_time", lambda: apart * next(clock))  # noqa: B023
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)
        doctor = thalweg.Doctor(model, optimizer, nn.MSELoss())
        for batch in list(loader) * 10:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(batch[0]), batch[1])
            loss.backward()
            optimizer.step()
            doctor.step(loss, batch=batch)
        found.append([(f.cause, f.severity, f.sentence) for f in doctor.findings])
    assert found[0] == found[1]
    assert found[0][0][0] == "lr_too_low"
