"""Renewing: running statistics of batch normalization where the lanes are judged."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from thalweg.optim.answer import normalizations
from thalweg.stack.batch import Batch, count, each
from thalweg.stack.lanes import Stack

__all__ = ["normalized", "renewed"]

_ROWS = 256  # of a pass: a smaller rest would count as much


def normalized(stack: Stack) -> list[str]:
    """Return the names of the means and variances that training keeps of a stack's layers."""
    layers = normalizations(stack.objective)
    return [f"{layer}.{name}" for layer in layers for name in ("running_mean", "running_var")]


def renewed(stack: Stack, examples: Batch) -> Mapping[str, Tensor]:
    """Return the state of a stack with the statistics of its parameters, as ``update_bn`` has them.

    That is the mean, over minibatches in a fixed order of chance, of each one's own statistics.

    Args:
        stack: the modules.
        examples: of the training part.
    """
    names = normalized(stack)
    rows = count(examples, "examples")
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(0))
    pieces = torch.split(order, _ROWS)[: max(1, rows // _ROWS)]
    sums = {name: torch.zeros_like(stack.state[name]) for name in names}
    with torch.no_grad(), _whole_statistics(stack):
        for piece in pieces:
            taken = partial(_rows, piece.to(stack.model.device))
            state = stack.passed(each(taken, examples))
            sums = {name: total + state[name] for name, total in sums.items()}
    return {**stack.state, **{name: total / len(pieces) for name, total in sums.items()}}


def _rows(rows: Tensor, tensor: Tensor) -> Tensor:
    return tensor[rows]


@contextmanager
def _whole_statistics(stack: Stack) -> Iterator[None]:
    """Have the objective in training mode, where each minibatch replaces the statistics."""
    objective, was = stack.objective, stack.objective.training
    layers: list[Any] = list(normalizations(objective).values())
    momenta = [layer.momentum for layer in layers]
    objective.train()
    for layer in layers:
        layer.momentum = 1.0
    try:
        yield
    finally:
        objective.train(was)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
