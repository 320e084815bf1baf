"""Shapes: a loss that broadcasts, that sums instead of averaging, labels beyond the outputs."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from thalweg.doctor.baseline import class_dimension, loss_of
from thalweg.doctor.finding import Finding
from thalweg.doctor.loaders import target
from thalweg.doctor.subject import LossFn, Subject
from thalweg.words import digits

__all__ = ["CHECKS", "loss_not_mean", "summed"]

_FEW = 20  # distinct targets
_VARIED, _LARGER = 0.1, 3.0  # of the mean size of targets; times the outputs
_ADDED = 1e-3  # of a loss
_SHARE = 0.05  # of the examples


def loss_broadcasts(subject: Subject) -> Finding | None:
    """Look for a loss that compares every output with every target."""
    out, y = subject.output, target(subject.batch)
    assert out is not None
    assert subject.loss_fn is not None
    if not isinstance(y, Tensor) or y.shape == out.shape or y.numel() != out.numel():
        return None
    if y.numel() < 2:
        return None
    scores = _taken(subject.loss_fn, out, y.reshape(out.shape))
    paired = loss_of(subject.loss_fn, scores, y.reshape(out.shape))
    given = loss_of(subject.loss_fn, scores, y)
    if not abs(given) < float("inf") or abs(given - paired) <= 1e-5 * abs(paired):
        return None
    if not _reads_other_targets(subject.loss_fn, scores, y):
        return None  # it knows which target belongs to which output
    return Finding(
        "loss_broadcasts",
        "problem",
        f"Outputs have the shape {list(out.shape)} and targets {list(y.shape)}: the loss compares "
        f"{list(torch.broadcast_shapes(out.shape, y.shape))} pairs instead of {y.numel()}, and its "
        "best answer is the mean of the targets.",
        {"loss": given, "loss of equal shapes": paired},
        "the loss is another when shapes are equal, and an output's gradient depends on the "
        "targets of others",
        "an experiment: the loss of the same numbers in equal shapes, and its gradient",
    )


def _taken(loss_fn: LossFn, out: Tensor, y: Tensor) -> Tensor:
    """Return numbers in the shape of outputs that a loss takes: any, or between 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(out.shape, generator=generator).to(out)
    return scores if abs(loss_of(loss_fn, scores, y)) < float("inf") else scores.sigmoid()


def _reads_other_targets(loss_fn: LossFn, scores: Tensor, y: Tensor) -> bool:
    """Return whether the first output's gradient changes with targets that are not its own."""
    own = y.flatten()
    far = 10 * (1 + float(own.abs().max()))
    sides = [own - far, own + far]  # far to both sides: absolute errors count signs alone
    if not y.is_floating_point():
        sides = [own.roll(1)]
    elif not math.isfinite(loss_of(loss_fn, scores, sides[1].reshape(y.shape))):
        sides = [torch.full_like(own, float(end)) for end in own.aminmax()]  # it knows a range
    found = []
    for others in (own, *sides):
        given = scores.clone().requires_grad_()
        loss_fn(given, torch.cat([own[:1], others[1:]]).reshape(y.shape)).backward()
        found.append(float(given.grad.flatten()[0]) if given.grad is not None else 0.0)
    return max(found) - min(found) > 1e-6 * max(map(abs, found))


def labels_out_of_range(subject: Subject) -> Finding | None:
    """Look for class numbers that no output stands for."""
    out, first = subject.output, target(subject.batch)
    assert out is not None
    assert subject.loss_fn is not None
    if isinstance(first, Tensor) and first.numel() == out.numel():
        return _beyond_unit(subject, out, subject.loss_fn)
    classes = class_dimension(out, first, subject.loss_fn)
    if classes is None or first.is_floating_point():
        return None
    count = out.shape[classes]
    outside = [y[(y < 0) | (y >= count)] for y in map(target, subject.batches)]
    labels = torch.cat(outside)
    if not len(labels):
        return None
    bad, inside = int(labels[0]), first.clamp(0, count - 1)
    mixed = inside.clone()
    mixed.view(-1)[0] = bad
    if abs(loss_of(subject.loss_fn, out, mixed)) < float("inf"):
        return None  # the loss accepts such a label: it ignores it
    if not abs(loss_of(subject.loss_fn, out, inside)) < float("inf"):
        return None  # it refuses others too
    return Finding(
        "labels_out_of_range",
        "problem",
        f"The model has {count} outputs, for the classes 0 to {count - 1}, and there is a label "
        f"{bad}.",
        {"outputs": float(count), "label": float(bad), "labels outside": float(len(labels))},
        "the loss refuses the label",
        "the loss itself",
    )


def _beyond_unit(subject: Subject, out: Tensor, loss_fn: LossFn) -> Finding | None:
    """Look for targets outside [0, 1] that a loss of probabilities has no lower bound for."""
    y = target(subject.batch)
    values = torch.cat([target(b).flatten() for b in subject.batches]).unique()
    low, high = float(values.min()), float(values.max())
    if low >= 0 and (high <= 1 or len(values) > 2):  # more of them are numbers of classes
        return None
    sides = (2 * (y > 0.5).to(out.dtype) - 1).reshape(out.shape)
    scores, probabilities = 1e4 * sides, 0.5 + (0.5 - 1e-6) * sides
    far = scores if abs(loss_of(loss_fn, scores, y)) < float("inf") else probabilities
    beyond, within = (loss_of(loss_fn, far, goal) for goal in (y, y.clamp(0, 1)))
    if not (beyond < -1 and within > -1e-3):
        return None
    return Finding(
        "labels_out_of_range",
        "problem",
        f"Targets go from {digits(low)} to {digits(high)}, and the loss is one of probabilities, "
        f"which takes 0 to 1: far out it falls to {digits(beyond)}.",
        {"least target": low, "largest target": high, "loss far out": beyond},
        "a loss far below 0, which is at least 0 where targets lie between 0 and 1",
        "an experiment: the loss of large outputs",
    )


def targets_without_loss(subject: Subject) -> Finding | None:
    """Look for a target whose examples have the same loss whatever the outputs are."""
    out, first, loss_fn = subject.output, target(subject.batch), subject.loss_fn
    assert out is not None
    assert loss_fn is not None
    single = isinstance(first, Tensor) and first.ndim > 0 and first.numel() == len(first)
    if not single or out.numel() != len(first):
        return None
    values, counts = torch.cat([target(b).flatten() for b in subject.batches]).unique(
        return_counts=True
    )
    if not 2 <= len(values) <= _FEW:
        return None
    for value, count in zip(values, counts, strict=True):
        share = float(count) / float(counts.sum())
        if share < _SHARE or not _same_loss(loss_fn, out, first * 0 + value):
            continue
        signed = not _same_loss(loss_fn, out, first * 0 - 1)
        far = [loss_of(loss_fn, out * 0 + end, first * 0 - 1) for end in (1e4, -1e4, 1e-6)]
        below = any(v < -1 for v in far)  # no loss of two sides is
        return Finding(
            "labels_out_of_range" if signed and not below else "loss_unsuited",
            "problem",
            f"{share:.0%} of the targets are {digits(float(value))}, and the loss of such a target "
            "is the same for every output: those examples count for nothing."
            + (" The loss may expect -1 and 1." if signed and not below else ""),
            {"target": float(value), "share of examples": share},
            f"equal losses of outputs of four sizes, for {_SHARE:.0%} of the examples or more",
            "an experiment: the loss of several outputs",
            sure=0.95,
        )
    return None


def _same_loss(loss_fn: LossFn, out: Tensor, y: Tensor) -> bool:
    """Return whether a loss is the same for probabilities and scores of several sizes."""
    noise = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(out)
    kinds = (noise.sigmoid(), noise.sigmoid() / 2), (noise, 10 * noise)
    pairs = [[loss_of(loss_fn, o, y) for o in kind] for kind in kinds]  # some refuse scores
    found = [v for pair in pairs if all(abs(v) < float("inf") for v in pair) for v in pair]
    return bool(found) and max(found) == min(found)


def loss_ignores_size(subject: Subject) -> Finding | None:
    """Look for a loss that asks for the direction of numbers alone, where targets differ in size.

    Cosine similarity and correlation are such.
    """
    out, first, loss_fn = subject.output, target(subject.batch), subject.loss_fn
    assert out is not None
    assert loss_fn is not None
    if not isinstance(first, Tensor) or first.shape != out.shape or not first.is_floating_point():
        return None
    y = torch.cat([target(batch) for batch in subject.batches])
    sizes = y.reshape(len(y), -1).norm(dim=1)
    varied = float(sizes.std() / sizes.mean().clamp(min=1e-12))
    if bool(((y == 0) | (y == 1)).all()) or varied < _VARIED:
        return None
    noise = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(out)
    plain, larger, other = (
        loss_of(loss_fn, given, first) for given in (noise, _LARGER * noise, noise.roll(1, 0))
    )
    if not abs(larger - plain) <= 1e-4 * abs(plain) < abs(other - plain):
        return None
    return Finding(
        "loss_unsuited",
        "warning",
        f"The loss is {digits(plain)} for some outputs and {digits(larger)} for {_LARGER:.0f} "
        "times them: it asks for directions alone, and the sizes of targets differ by "
        f"{varied:.0%} of their mean. Where sizes matter, take a loss of differences.",
        {"loss": plain, "loss of larger outputs": larger, "deviation of sizes": varied},
        f"the same loss for {_LARGER:.0f} times the outputs; sizes that differ by {_VARIED:.0%}",
        "an experiment: the loss of outputs of two sizes",
        sure=0.5,
    )


def summed(subject: Subject) -> list[int]:
    """Return by how much a loss that is a sum over the first batch may be more than its mean.

    By the number of examples; where it adds the numbers or places of a target too, by that of all.
    """
    out, y, loss_fn = subject.output, target(subject.batch), subject.loss_fn
    assert out is not None
    assert loss_fn is not None
    if not isinstance(y, Tensor) or len(y) < 8 or len(y) not in out.shape:
        return []
    along, half = out.shape.index(len(y)), len(y) // 2  # of sequences, time may come first
    one, other, whole = (
        loss_of(loss_fn, out.narrow(along, at, n), y[at : at + n])
        for at, n in ((0, half), (half, half), (0, 2 * half))
    )
    if not abs(one + other - whole) <= _ADDED * abs(whole) or whole == 0 or one == 0:
        return []
    if y.numel() == len(y):
        return [len(y)]
    paired = (out.narrow(along, 0, 2 * half), y[: 2 * half])
    wide = loss_of(loss_fn, *(torch.cat([t] * 2, -1) for t in paired))
    return [y.numel(), len(y)] if abs(wide - 2 * whole) <= _ADDED * abs(whole) else [len(y)]


def loss_not_mean(subject: Subject) -> Finding | None:
    """Look for a loss that grows with the number of examples."""
    sizes = summed(subject)
    if not sizes:
        return None
    what = "examples" if len(sizes) == 1 else "numbers or places of its targets"
    return Finding(
        "loss_not_mean",
        "warning",
        "The loss of a batch is the sum of those of its halves: it grows with the batch, and so "
        f"does the step; it acts as a rate {sizes[0]} times as high as that of the mean over all "
        f"{what}.",
        {"times the mean": float(sizes[0])},
        f"the loss of a batch is that of its halves added, within {_ADDED:.1%}",
        "an experiment: the loss of two halves",
        sure=0.4,
    )


CHECKS: tuple[Callable[[Subject], Finding | None], ...] = (
    labels_out_of_range,
    loss_broadcasts,
    targets_without_loss,
    loss_ignores_size,
    loss_not_mean,
)
