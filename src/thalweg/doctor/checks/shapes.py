"""Shapes: a loss that broadcasts, that sums instead of averaging, labels beyond the outputs."""

from collections.abc import Callable

import torch
from torch import Tensor

from thalweg.doctor.baseline import class_dimension, loss_of
from thalweg.doctor.finding import Finding
from thalweg.doctor.loaders import target
from thalweg.doctor.subject import Subject
from thalweg.words import digits

__all__ = ["CHECKS"]


def loss_broadcasts(subject: Subject) -> Finding | None:
    """Look for a loss that compares every output with every target."""
    out, y = subject.output, target(subject.batch)
    assert out is not None
    assert subject.loss_fn is not None
    if not isinstance(y, Tensor) or y.shape == out.shape or y.numel() != out.numel():
        return None
    if y.numel() < 2:
        return None
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(out.shape, generator=generator).to(out)
    paired = loss_of(subject.loss_fn, scores, y.reshape(out.shape))
    given = loss_of(subject.loss_fn, scores, y)
    mixed = loss_of(subject.loss_fn, scores, y.flatten().roll(1).reshape(y.shape))
    if not abs(given) < float("inf") or abs(given - paired) <= 1e-5 * abs(paired):
        return None
    if abs(given - mixed) > 1e-4 * abs(given):
        return None  # it knows which target belongs to which output
    return Finding(
        "loss_broadcasts",
        "problem",
        f"Outputs have the shape {list(out.shape)} and targets {list(y.shape)}: the loss compares "
        f"{list(torch.broadcast_shapes(out.shape, y.shape))} pairs instead of {y.numel()}, and its "
        "best answer is the mean of the targets.",
        {"loss": given, "loss of mixed targets": mixed, "loss of equal shapes": paired},
        "the loss is the same when targets change places, and another when shapes are equal",
        "an experiment: the loss of the same numbers, mixed and in equal shapes",
    )


def labels_out_of_range(subject: Subject) -> Finding | None:
    """Look for class numbers that no output stands for."""
    out, first = subject.output, target(subject.batch)
    assert out is not None
    assert subject.loss_fn is not None
    classes = class_dimension(out, first, subject.loss_fn)
    if classes is None or first.is_floating_point():
        return None
    count = out.shape[classes]
    bad = []
    for batch in subject.batches:
        y = target(batch)
        outside = (y < 0) | (y >= count)
        if bool(outside.any()) and abs(loss_of(subject.loss_fn, out[:1], y[:1])) < float("inf"):
            bad.append(int(y[outside][0]))
    if not bad or abs(loss_of(subject.loss_fn, out, torch.full_like(first, bad[0]))) >= 0:
        return None  # the loss accepts such a label: it ignores it
    return Finding(
        "labels_out_of_range",
        "problem",
        f"The model has {count} outputs, for the classes 0 to {count - 1}, and there is a label "
        f"{bad[0]}.",
        {"outputs": float(count), "label": float(bad[0])},
        "the loss refuses the label",
        "the loss itself",
    )


def loss_not_mean(subject: Subject) -> Finding | None:
    """Look for a loss that grows with the number of examples."""
    out, y = subject.output, target(subject.batch)
    assert out is not None
    assert subject.loss_fn is not None
    if not isinstance(y, Tensor) or len(y) < 8 or len(out) != len(y):
        return None
    half = len(y) // 2
    parts = [loss_of(subject.loss_fn, out[s], y[s]) for s in (slice(half), slice(half, 2 * half))]
    whole = loss_of(subject.loss_fn, out[: 2 * half], y[: 2 * half])
    if not abs(sum(parts) - whole) <= 1e-3 * abs(whole) or whole == 0 or parts[0] == 0:
        return None
    return Finding(
        "loss_not_mean",
        "warning",
        f"The loss of {2 * half} examples is the sum of those of its halves: it grows with the "
        f"batch, and so does the step; a batch of {len(y)} acts as a rate {len(y)} times as high.",
        {"loss of the batch": whole, "of its first half": parts[0], "of its second": parts[1]},
        f"the loss of a batch is that of its halves added, within 0.1 % ({digits(whole)})",
        "an experiment: the loss of two halves",
        sure=0.4,
    )


CHECKS: tuple[Callable[[Subject], Finding | None], ...] = (
    loss_broadcasts,
    loss_not_mean,
)
