"""Metric: the score of a module on the test part, where its user gives none."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.errors import TaskError, blamed
from thalweg.stack import TorchTask
from thalweg.stack.batch import Batch
from thalweg.stack.lanes import Stack

__all__ = ["check", "kind", "name", "name_of", "of", "scores"]

_REMEDY = "give metric=(outputs, targets) -> number"
# Losses that expect classes along axis 1: functions and classes.
_FUNCTIONS = (functional.cross_entropy, functional.nll_loss)
_CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss)


def check(outputs: Tensor, targets: Batch, loss: Callable[..., Any]) -> None:
    """Raise TaskError if it is unclear what a score should compare with the targets.

    Args:
        outputs: of some examples.
        targets: of the whole part.
        loss: what is trained with.
    """
    if not isinstance(targets, Tensor):
        raise TaskError(
            f"accuracy and R² need targets in one tensor, got a {type(targets).__name__}; {_REMEDY}"
        )
    given, wanted = tuple(outputs.shape[1:]), tuple(targets.shape[1:])
    got = f"got outputs of shape {given} for targets of shape {wanted} per example; {_REMEDY}"
    if targets.is_floating_point():
        if outputs[0].numel() != targets[0].numel():
            raise TaskError(f"R² needs as many outputs as targets, {got}")
    elif given in (wanted, (1, *wanted)):
        if ((targets != 0) & (targets != 1)).any():
            raise TaskError(f"accuracy of single outputs needs targets that are 0 or 1; {_REMEDY}")
    elif wanted not in (given[1:], given[:-1]):
        raise TaskError(f"accuracy needs the classes along the first or the last axis, {got}")
    elif wanted and given[1:] == given[:-1] and not _by_class(loss):
        raise TaskError(f"accuracy needs to know along which axis the classes are, {got}")


def _by_class(loss: Callable[..., Any]) -> bool:
    return loss in _FUNCTIONS or isinstance(loss, _CLASSES)


def of(outputs: Tensor, targets: Tensor) -> float:
    """Return the accuracy for integer targets, R² for others; NaN if outputs are not finite.

    Classes are along axis 1, or along the last where only that leaves the shape of the targets.

    Example:
        >>> from torch import tensor
        >>> logits = tensor([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0], [1.0, 0.0]])
        >>> of(logits, tensor([0, 1, 1, 0])), of(logits[:, :1] - 1.5, tensor([1, 0, 1, 1]))
        (0.75, 0.75)
    """
    if not targets.is_floating_point():
        classes = outputs.ndim > targets.ndim and outputs.shape[1] > 1
        axis = 1 if outputs.shape[2:] == targets.shape[1:] else -1
        found = outputs.argmax(axis) if classes else (outputs.reshape(targets.shape) > 0).long()
        return (found == targets).double().mean().item()
    if not outputs.isfinite().all():
        return float("nan")
    from sklearn.metrics import r2_score  # noqa: PLC0415 - takes a second to load

    return float(r2_score(_table(targets), _table(outputs)))


def _table(values: Tensor) -> Tensor:
    """Return one row per example, in a format that NumPy has: bfloat16 becomes float32."""
    values = values.float() if values.dtype is torch.bfloat16 else values
    return values.cpu().reshape(len(values), -1)


def scores(stack: Stack, test: Batch) -> Sequence[float]:
    """Return the score of each lane: the user's metric, else accuracy or R²; NaN for none."""
    task = stack.model.task
    if task.step is not None:
        return stack.scores(test) if task.metric else [float("nan")] * len(stack.seeds)
    measure, found = task.metric or of, stack.outputs(test, "test")
    with blamed("metric"):
        return [float(measure(outputs, test[1])) for outputs in found]


def kind(task: TorchTask, test: Batch) -> str:
    """Return the kind of task: ``"regression"``, ``"classification"``, or that it is unknown."""
    if task.step is not None:
        return "own step"
    if not isinstance(test[1], Tensor):
        return "own targets"
    return "regression" if test[1].is_floating_point() else "classification"


def name(task: TorchTask, test: Batch) -> str:
    """Return what results call the score."""
    if task.metric is not None or task.step is not None:
        return name_of(task.metric) if task.metric else "none"
    return "R²" if kind(task, test) == "regression" else "accuracy"


def name_of(function: Callable[..., Any] | None) -> str:
    """Return the name that results give to a function of the user's."""
    return getattr(function, "__name__", type(function).__name__)
