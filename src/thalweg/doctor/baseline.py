"""What a loss is worth: that of the best constant output, and the least that outputs can reach."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from thalweg.doctor.loaders import Batch, target
from thalweg.doctor.subject import LossFn, Subject, first_tensor

__all__ = ["constant_loss", "guesses", "loss_of"]

_CONFIDENT = 20.0  # a score whose softmax or sigmoid is 0 or 1 to float32


def loss_of(loss_fn: LossFn, output: Tensor, y: Any) -> float:  # noqa: ANN401 - any targets
    """Return the loss of outputs; NaN where it refuses them."""
    try:
        with torch.no_grad():
            value = loss_fn(output, y)
        return float(value)
    except Exception:  # noqa: BLE001 - what a loss refuses, it refuses in its own way
        return float("nan")


def guesses(output: Tensor, y: Any) -> Iterator[Tensor]:  # noqa: ANN401
    """Yield outputs that would fit the targets: themselves, or confident scores of their classes.

    Args:
        output: has the shape that the loss takes.
        y: the targets.
    """
    if not isinstance(y, Tensor):
        return
    if y.shape == output.shape:
        values = y.to(output.dtype)
        yield values
        yield _CONFIDENT * (2 * values - 1)
        yield _CONFIDENT * (2 * values.sign() - 1)
    elif y.numel() == output.numel():
        yield y.reshape(output.shape).to(output.dtype)
    else:
        classes = class_dimension(output, y)
        if classes is not None and not y.is_floating_point() and y.min() >= 0:
            count = output.shape[classes]
            hot = functional.one_hot(y.clamp(max=count - 1), count).to(output.dtype)
            hot = hot.movedim(-1, classes)
            yield hot
            yield _CONFIDENT * hot


def class_dimension(output: Tensor, y: Any) -> int | None:  # noqa: ANN401
    """Return the dimension of the outputs that counts classes, given targets without it.

    Example:
        >>> class_dimension(torch.zeros(8, 3), torch.zeros(8, dtype=torch.long))
        1
    """
    if not isinstance(y, Tensor) or y.ndim != output.ndim - 1:
        return None
    for dimension in range(1, output.ndim):
        if output.shape[:dimension] + output.shape[dimension + 1 :] == y.shape:
            return dimension
    return None


def constant_loss(subject: Subject, batches: Sequence[Batch] | None = None) -> float | None:
    """Return the mean loss of the best output that does not depend on the input.

    Every example, and in longer outputs every place, gets the same numbers.

    Args:
        subject: the training.
        batches: whose targets count; those of training by default.

    Returns:
        The loss; None where outputs are not one tensor.
    """
    output, loss_fn = subject.output, subject.loss_fn
    if output is None or loss_fn is None:
        return None
    targets = [target(b) for b in (batches or subject.batches)[:32]]
    shape = _shape(output, targets[0])
    starts = [torch.zeros(shape), output.mean(0, keepdim=True).mean() * torch.ones(shape)]
    first = targets[0]
    if isinstance(first, Tensor) and first.is_floating_point():
        starts.append(torch.stack([y.float().mean() for y in targets]).mean() * torch.ones(shape))
    losses = [_fitted(loss_fn, start.to(output), targets, output.shape) for start in starts]
    finite = [loss for loss in losses if abs(loss) < float("inf")]
    return min(finite) if finite else None


def _shape(output: Tensor, y: Any) -> list[int]:  # noqa: ANN401
    """Return the shape of a constant: the outputs' with 1 for examples and places."""
    shape = [1] * output.ndim
    if output.ndim == 2:
        shape[1] = output.shape[1]
    elif output.ndim > 2:
        classes = class_dimension(output, y)
        classes = classes if classes is not None else (1 if output.ndim == 4 else output.ndim - 1)
        shape[classes] = output.shape[classes]
    return shape


def _fitted(loss_fn: LossFn, start: Tensor, targets: list[Any], like: torch.Size) -> float:
    constant = start.clone().requires_grad_()
    rule = torch.optim.LBFGS([constant], max_iter=30, line_search_fn="strong_wolfe")
    least = float("inf")
    rows = [len(t) if (t := first_tensor(y)) is not None and t.ndim else 1 for y in targets]
    per_row = like[0] / max(1, rows[0])  # outputs of a flattened sequence are more than its rows

    def closure() -> Tensor:
        nonlocal least
        rule.zero_grad()
        total = torch.zeros(())
        for y, count in zip(targets, rows, strict=True):
            outputs = constant.expand(round(count * per_row), *like[1:])
            total = total + loss_fn(outputs, y) / len(targets)
        if total.requires_grad:
            total.backward()
        value = float(total.detach())
        least = min(least, value) if abs(value) < float("inf") else least
        return total

    with suppress(Exception):  # what a loss refuses, it refuses in its own way
        rule.step(closure)
    return least
