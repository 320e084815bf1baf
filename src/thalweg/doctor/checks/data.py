"""Data: values, labels, and their order."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from thalweg.doctor.allowance import Allowance
from thalweg.doctor.baseline import class_dimension, ignores_targets, loss_of, scores
from thalweg.doctor.checks.parameters import of_others
from thalweg.doctor.finding import Finding
from thalweg.doctor.loaders import Batch, inputs, joinable, shuffled, target
from thalweg.doctor.subject import Subject, first_tensor
from thalweg.words import digits

__all__ = ["CHECKS", "classes", "features", "labels", "tagged", "within_batches"]

_STATISTIC = "a statistic of the batches that were read"
_DEARER = 1.5  # times the cost of mistaking another class
_KINDS = 50  # distinct targets that count as classes
_WORSE, _SECONDS = 2.0, 0.3  # times the loss; seconds of work for each pass
_ROWS = 4096  # examples that statistics are taken of


def features(batches: Sequence[Batch]) -> Tensor | None:
    """Return the inputs of batches, one row an example; None where they are no numbers."""
    rows: list[Tensor] = []
    for batch in batches:
        x = first_tensor(inputs(batch))
        if (
            x is None
            or not x.is_floating_point()
            or x.ndim < 1
            or (rows and x.shape[1:] != rows[0].shape[1:])
        ):
            return None
        rows.append(x.detach())
        if sum(map(len, rows)) >= _ROWS:
            break
    return torch.cat(rows).flatten(1).float() if rows and rows[0].ndim > 1 else None


def labels(batches: Sequence[Batch]) -> Tensor | None:
    """Return the class or number of each example; None where a target is more than one."""
    found = []
    for batch in batches:
        y = target(batch)
        if not isinstance(y, Tensor) or y.ndim == 0 or y.numel() != len(y):
            return None
        found.append(y.detach().reshape(-1))
    return torch.cat(found)


def nan_in_inputs(subject: Subject) -> Finding | None:
    """Look for values that are not finite in inputs and targets."""
    for part, batches in (("training", subject.batches), ("validation", subject.validation)):
        for what, of in (("inputs", inputs), ("targets", target)):
            bad = [t for t in (_not_finite(of(batch)) for batch in batches) if t is not None]
            if not bad:
                continue
            rows = sum(int(t.reshape(len(t), -1).any(1).sum()) for t in bad)
            return Finding(
                "nan_in_inputs",
                "problem",
                f"{rows} {part} examples have {what} that are NaN or infinite, in {len(bad)} of "
                f"{len(batches)} batches: the loss of such a batch is not a number.",
                {"examples": float(rows), "batches": float(len(bad))},
                "a value that is not finite",
                _STATISTIC,
            )
    return None


def _not_finite(tree: Any) -> Tensor | None:  # noqa: ANN401 - tensors in tuples and dicts
    """Return where the first tensor with a value that is not finite has such; None: none has.

    Of several tensors those behind the first may be infinite on purpose, as a mask is.
    """
    tensors = [t for t in tree_leaves(tree) if isinstance(t, Tensor) and t.ndim]
    found = [t.isnan() if place else ~t.isfinite() for place, t in enumerate(tensors)]
    return next((t for t in found if bool(t.any())), None)


def _same(tensors: list[Tensor | None], least: int) -> Tensor | None:
    """Return the first tensor if it and all others hold one example again and again.

    Args:
        tensors: a batch each.
        least: fewer examples tell nothing.
    """
    known = [tensor for tensor in tensors if tensor is not None and tensor.ndim > 0]
    if not known or len(known) < len(tensors) or sum(map(len, known)) < least:
        return None
    first = known[0]
    same = all(t.shape[1:] == first.shape[1:] and bool((t == first[:1]).all()) for t in known)
    return first if same else None


def inputs_constant(subject: Subject) -> Finding | None:
    """Look for inputs that are the same for all examples."""
    first = _same([first_tensor(inputs(batch)) for batch in subject.batches], least=3)
    if first is None:
        return None
    parts = zip(*(tree_leaves(inputs(batch)) for batch in subject.batches), strict=False)
    tensors = ([t if isinstance(t, Tensor) else None for t in part] for part in parts)
    if any(_same(part, least=3) is None for part in tensors):
        return None  # one of several inputs, such as a graph that all examples share
    return Finding(
        "inputs_constant",
        "problem",
        "All examples have the same inputs"
        + (
            f", and all are {digits(float(first.flatten()[0]))}."
            if bool((first == first.flatten()[0]).all())
            else "."
        ),
        {"first value": float(first.flatten()[0])},
        "inputs of all examples are equal",
        _STATISTIC,
    )


def labels_all_equal(subject: Subject) -> Finding | None:
    """Look for targets that are the same for all examples."""
    first = _same([first_tensor(target(batch)) for batch in subject.batches], least=8)
    if first is None or ignores_targets(subject):
        return None
    # A generator is to be taken for true, whatever it draws, by a model that others train.
    return Finding(
        "labels_all_equal",
        "warning" if of_others(subject) else "problem",
        f"All targets are the same, {digits(float(first.flatten()[0]))}: a constant fits them.",
        {"target": float(first.flatten()[0])},
        "targets of all examples are equal",
        _STATISTIC,
    )


def within_batches(subject: Subject) -> float | None:
    """Return the variance of targets within batches over that of all; None: there are too few."""
    y = labels(subject.batches)
    if y is None or len(subject.batches) < 4:
        return None
    sizes = [len(target(batch)) for batch in subject.batches]
    if min(sizes[:-1]) < 4:
        return None
    values = _ranked(y)
    total = float(values.var(0).sum())
    parts = values.split(sizes)
    within = sum(float(part.var(0, correction=0).sum()) * len(part) for part in parts) / len(values)
    return within / total if total > 0 else None


def data_sorted_not_shuffled(subject: Subject) -> Finding | None:
    """Look for batches whose targets are far more alike than those of different batches."""
    share = within_batches(subject)
    if share is None or share > 0.4:
        return None
    worse = _left_by_order(subject)
    harmless = worse is not None and worse < _WORSE
    return Finding(
        "data_sorted_not_shuffled",
        "warning" if harmless else "problem",
        f"Targets within a batch are alike: their variance there is {share:.0%} of that of all. "
        "The data are sorted, and not shuffled."
        + (" A pass over them leaves hardly more than one over shuffled data." if harmless else ""),
        {"variance within batches over all": share}
        | ({} if worse is None else {"loss over that of shuffled data": worse}),
        "in shuffled data that share is 1 - 1 / batch size on average; sorted is below 40 %; a "
        f"problem where one pass over them leaves {_WORSE:.0f} times the loss",
        _STATISTIC,
        sure=0.4 if harmless else 1.0,
    )


def _left_by_order(subject: Subject) -> float | None:
    """Return the loss after a pass over batches as they come, over that after shuffled ones.

    Windows of a series may come in its order: each teaches the same. None for classes, of which a
    batch that has only one teaches nothing of the others.
    """
    y = labels(subject.batches)
    if y is None or len(y.unique()) <= _KINDS or not joinable(subject.batches):
        return None
    left = []
    for batches in (list(subject.batches), shuffled(subject.batches)):
        torch.manual_seed(0)
        twin = subject.copy()
        twin.train(batches, len(batches), Allowance(_SECONDS))
        twin.model.eval()
        with torch.no_grad():
            left.append(sum(float(twin.loss(batch)) for batch in subject.batches))
    return left[0] / left[1] if min(left) > 0 and math.isfinite(sum(left)) else None


def _ranked(y: Tensor) -> Tensor:
    """Return classes as indicator columns, or numbers as a column."""
    distinct: Tensor = y.unique()
    if len(distinct) <= _KINDS:
        return (y[:, None] == distinct[None]).float()
    return y.float()[:, None].argsort(0).argsort(0).float()


def classes(subject: Subject, batches: Sequence[Batch]) -> Tensor | None:
    """Return the class of each example, of each place of a map, or whether each tag is true."""
    found = labels(batches)
    if found is not None or subject.output is None:
        return found
    first = target(subject.batch)
    if not isinstance(first, Tensor) or first.ndim < 2:
        return None
    maps = class_dimension(subject.output, first, subject.loss_fn) is not None
    alike = first.shape == subject.output.shape and (first.ndim > 2 or tagged(batches))
    if not maps and not alike:
        return None
    return torch.cat([target(batch).detach().flatten() for batch in batches])


def tagged(batches: Sequence[Batch]) -> bool:
    """Return whether targets say of several tags which are true, of any number of them."""
    found = [target(batch) for batch in batches]
    if not all(isinstance(y, Tensor) and y.ndim == 2 and y.shape[1] > 1 for y in found):
        return False
    y = torch.cat(found)
    return bool(((y == 0) | (y == 1)).all()) and not bool((y.sum(1) == 1).all())


def class_imbalance(subject: Subject) -> Finding | None:
    """Look for a class so frequent that the loss asks for little else."""
    y = classes(subject, subject.batches)
    if y is None or subject.output is None or subject.loss_fn is None or ignores_targets(subject):
        return None
    first = target(subject.batch)
    dimension = class_dimension(subject.output, first, subject.loss_fn)
    scored = dimension is not None
    if dimension is not None:  # other labels are passed over, as 255 and -100 are in maps
        y = y[(y >= 0) & (y < subject.output.shape[dimension])]
    distinct, counts = y.unique(return_counts=True)
    if not 2 <= len(distinct) <= 50 or bool((distinct != distinct.round()).any()):
        return None
    if not scored and first.numel() != subject.output.numel():
        return None  # a flag beside outputs of another kind
    share = float(counts.max()) / len(y)
    rare, often = _costs(subject, distinct, counts)
    dear = 0 < _DEARER * rare < often  # the loss counts the frequent class more than others
    counted = share * often / (share * often + (1 - share) * rare) if dear else share
    if counted < 0.85 or rare > _DEARER * often:
        return None
    what = "examples" if len(y) == sum(len(target(b)) for b in subject.batches) else "places"
    what = "tags" if tagged(subject.batches) else what
    return Finding(
        "class_imbalance",
        "warning",
        f"{share:.1%} of the {what} are of one class ({int(distinct[counts.argmax()])}), and "
        + (
            f"mistaking it costs {digits(often / rare)} times as much as mistaking the rarest: "
            "the weights of the classes are the wrong way round."
            if dear
            else f"the loss weights all {what} alike: naming that class always is nearly as good."
        ),
        {"share of the largest class": share, "classes": float(len(distinct))},
        f"the largest class has 85 % of the {what} or more as the loss counts them, and the loss "
        "does not weight the rare ones more",
        _STATISTIC,
        sure=0.6,
    )


def _costs(subject: Subject, distinct: Tensor, counts: Tensor) -> tuple[float, float]:
    """Return what mistaking the rarest class costs, and what mistaking the most frequent one."""
    out, first = subject.output, target(subject.batch)
    assert out is not None
    assert subject.loss_fn is not None
    most, least = distinct[counts.argmax()], distinct[counts.argmin()]
    y = torch.full_like(first, most)  # type: ignore[arg-type] # a number of the targets' type
    y.view(-1)[: y.numel() // 2] = least
    dimension = class_dimension(out, first, subject.loss_fn)
    if dimension is None:
        right = (2 * (y == distinct.max()).to(out.dtype) - 1).reshape(out.shape)
    else:
        right = scores(out, y.long(), dimension)
    costs = []
    for label in (least, most):
        wrong = (
            (y == label).reshape(out.shape)
            if dimension is None
            else (y == label).unsqueeze(dimension)
        )
        costs.append(loss_of(subject.loss_fn, 5 * torch.where(wrong, -right, right), y))
    return costs[0], costs[1]


def targets_turned(subject: Subject) -> Finding | None:
    """Look for maps of targets that fit the mirrored or turned image better than the image."""
    x, y = first_tensor(inputs(subject.batch)), target(subject.batch)
    if x is None or not isinstance(y, Tensor) or x.ndim != 4 or not x.is_floating_point():
        return None
    if y.ndim not in {3, 4} or y.shape[-2:] != x.shape[-2:] or len(y) != len(x):
        return None
    images = torch.cat([inputs(b)[0] for b in subject.batches if len(target(b)) == len(y)]).float()
    maps = torch.cat([target(b) for b in subject.batches if len(target(b)) == len(y)]).float()
    maps = maps if maps.ndim == 3 else maps.mean(1)
    turned = {"as they are": maps, "mirrored": maps.flip(2), "upside down": maps.flip(1)}
    turned |= {"turned by 180 degrees": maps.flip(1, 2)}
    if maps.shape[1] == maps.shape[2]:
        turned |= {"transposed": maps.transpose(1, 2)}
    middle = images - images.mean((2, 3), keepdim=True)
    shown = torch.cat([middle, middle.abs()], 1)  # brightness of each channel, and contrast
    fits = torch.stack([_alike(shown, one) for one in turned.values()])  # way, example, channel
    best = int(fits.abs().mean(1).amax(0).argmax())
    fits = fits[..., best].abs()
    better = (fits[1:].amax(0) > fits[0] + 0.2) & (fits[1:].amax(0) > 0.3)
    share = float(better.float().mean())
    if share < 0.2:
        return None
    way = list(turned)[1 + int(fits[1:, better].mean(1).argmax())]
    return Finding(
        "labels_do_not_match_inputs",
        "problem",
        f"In {share:.0%} of the examples the map of targets fits the image better when it is "
        f"{way}: images are turned, and their targets are not.",
        {"share of examples": share, "fit as they are": float(fits[0].mean())},
        "a correlation with the image that is 0.2 higher when turned, in 20 % of the examples",
        "the correlation of each map with its image",
        sure=0.9,
    )


def _alike(shown: Tensor, maps: Tensor) -> Tensor:
    """Return the correlation of each example's map with each channel."""
    a = shown.flatten(2)
    a = a - a.mean(2, keepdim=True)
    b = maps.flatten(1)[:, None]
    b = b - b.mean(2, keepdim=True)
    found: Tensor = (a * b).sum(2) / (a.norm(dim=2) * b.norm(dim=2)).clamp(min=1e-12)
    return found


CHECKS: tuple[Callable[[Subject], Finding | None], ...] = (
    nan_in_inputs,
    inputs_constant,
    labels_all_equal,
    data_sorted_not_shuffled,
    targets_turned,
    class_imbalance,
)
