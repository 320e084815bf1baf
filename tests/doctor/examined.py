"""A small training of classes, what check finds of it, and its problems."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import thalweg
from thalweg.doctor import Report


def classes(n: int = 160, features: int = 6, count: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, features, generator=generator)
    return x, (x @ torch.randn(features, count, generator=generator)).argmax(1)


def loader(x: Tensor, y: Tensor, *, shuffle: bool = True) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(1)
    return DataLoader(TensorDataset(x, y), 16, shuffle=shuffle, generator=generator)


def net(outputs: int = 3, *last: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, outputs), *last)


def report(model: nn.Module, loss_fn: nn.Module, x: Tensor, y: Tensor) -> Report:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return thalweg.check(model, optimizer, loss_fn, loader(x, y))


def watched_loop(
    model: nn.Module, optimizer: Any, loss_fn: Any, data: Iterable[Any]
) -> thalweg.Doctor:
    """Train in the usual loop, and return the doctor that watched it."""
    doctor = thalweg.Doctor(model, optimizer, loss_fn)
    for x, y in data:
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=(x, y))
    return doctor


def causes(found: Report) -> list[str]:
    assert not found.skipped
    return [finding.cause for finding in found if finding.severity == "problem"]
