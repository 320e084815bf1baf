"""Admission: the untrained module is evaluated before anything is trained.

What would fail at the end of a training, or of all trainings, fails at once.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from thalweg.errors import TaskError, blamed
from thalweg.stack import Model, Parts
from thalweg.stack.batch import Batch, count, each, leaves
from thalweg.stack.lanes import Stack
from thalweg.stack.objective import seeded
from thalweg.stack.probe import Traits
from thalweg.tasks import metric

__all__ = ["admit", "doubting", "few", "outputs"]

_FEW = 8  # examples that are enough to see whether a task can be evaluated
# To see whether a loss is the mean of the losses of pieces: how far parameters are moved
# before, how near two equal losses must be, in short formats too, and how many examples are used.
_NUDGE, _NEAR, _COARSE, _MOST, _PIECE = 0.01, 1e-4, 1e-2, 1024, 16


def admit(model: Model, parts: Parts, placed: Parts) -> Traits:
    """Evaluate the untrained module. Return its traits, and whether its loss needs whole parts.

    Args:
        model: the module.
        parts: of the data.
        placed: the same, on the module's device.

    Raises:
        TaskError: the user's model, loss or data cannot be used; a sentence that says where.
    """
    task = model.task
    one = _untrained(model)
    with model.mode(training=False), seeded(0):
        for name in ("validation", "test"):
            one.losses(few(model, getattr(parts, name)), name)
        some = few(model, parts.test)
        if task.loss is not None:
            found = outputs(model, some)
            if task.metric is None:
                metric.check(found, parts.test[1], task.loss)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a metric that so few examples do not suit
            try:
                metric.scores(one, some)
            except Exception:  # noqa: BLE001 - a metric may need more of them
                metric.scores(one, placed.test)
        model.traits = replace(model.traits, whole=_needs_whole(model, placed))
        for name in parts.sizes:
            _check_finite(one, getattr(placed, name), name)
    return model.traits


@contextmanager
def doubting(train: Batch) -> Iterator[None]:
    """Say of an error that the examples may be batches, if each has as many rows as targets."""
    try:
        yield
    except TaskError as error:
        shapes = [tensor.shape for tensor in leaves(train)]
        own = {shape[1:2] for shape in shapes}
        rows = sum(own.pop()) if len(own) == 1 else 0
        if rows < 2 or max(map(len, shapes)) < 3:
            raise
        raise TaskError(
            f"{error}; if the {rows} rows of each example are examples themselves, give train as "
            "(torch.cat(inputs), torch.cat(targets))"
        ) from error


def few(model: Model, batch: Batch) -> Batch:
    """Return the first examples, on the module's device."""
    return each(lambda tensor: tensor[:_FEW].to(model.device), batch)


def outputs(model: Model, batch: Batch) -> Tensor:
    """Return the outputs of the untrained module, one row per example.

    Raises:
        TaskError: it fails, or returns something else.
    """
    one = _untrained(model)
    with model.mode(training=False), seeded(0), blamed("model"):
        found = one.of_lane(0, "outputs", batch)
    rows = count(batch, "test")
    got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if not isinstance(found, Tensor) or found.shape[:1] != (rows,):
        raise TaskError(
            f"model must return a tensor with a row per example, got {got} for {rows} "
            "examples; give step=(model, batch) -> loss in place of loss for others"
        )
    return found


def _untrained(model: Model) -> Stack:
    return Stack(model, [0], shared=True, stacked=False)


def _needs_whole(model: Model, placed: Parts) -> bool:
    """Return whether the loss of examples is a weighted mean of the losses of pieces.

    A loss that is not a mean, such as one that compares each example with all others, is left to
    chunks.
    """
    stack = _untrained(model)
    for parameter in stack.parameters.values():  # zeros would give all examples one loss
        parameter.detach().add_(torch.randn_like(parameter), alpha=_NUDGE)
    near = _NEAR if model.task.autocast is None else _COARSE
    for name in ("validation", "test"):
        part = getattr(placed, name)
        examples = placed.sizes[name]
        pieces = min(examples, _MOST) // _PIECE
        if pieces < 2:
            continue
        rows = torch.linspace(0, examples - 1, pieces * _PIECE).long()
        some = each(partial(_rows, rows), part)
        places = torch.arange(len(rows)).reshape(pieces, _PIECE)
        parts = (each(partial(_rows, own), some) for own in places)
        own = torch.cat([stack.whole_losses(part, name) for part in parts])
        whole = stack.whole_losses(some, name)
        alike = torch.allclose(own.mean(), whole, rtol=near, atol=near, equal_nan=True)
        if not alike and np.nanmin(own) <= whole <= np.nanmax(own):
            return True
    return False


def _rows(rows: Tensor, tensor: Tensor) -> Tensor:
    return tensor[rows]


def _check_finite(one: Stack, part: Batch, name: str) -> None:
    wrong = [
        ~tensor.flatten(1).isfinite().all(1) if tensor.ndim > 1 else ~tensor.isfinite()
        for tensor in leaves(part)
        if tensor.is_floating_point()
    ]
    bad = int(torch.stack(wrong).any(0).sum()) if wrong else 0
    if name == "train" and not bad:  # its minibatches will show
        return
    loss = one.losses(part, name).item()
    if math.isnan(loss) or (bad and math.isinf(loss)):
        examples = count(part, name)
        remedy = "check its data, the model and the loss"
        if bad:
            remedy = (
                f"{bad} of its {examples} examples hold numbers that are not finite: drop or fill "
                "them"
            )
        raise TaskError(f"the loss of the untrained model is {loss} on the {name} part; {remedy}")
