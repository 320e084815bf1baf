"""Validation data, beside training examples that a copy has not been trained on."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from thalweg.doctor.allowance import Allowance
from thalweg.doctor.baseline import constant_loss
from thalweg.doctor.checks.data import features
from thalweg.doctor.checks.parts import as_in_validation, unlike_in_shape
from thalweg.doctor.finding import Finding, Severity
from thalweg.doctor.loaders import Batch, inputs, target
from thalweg.doctor.relation import first_places
from thalweg.doctor.subject import Subject
from thalweg.doctor.treatment import Treatment
from thalweg.doctor.treatments import outliers
from thalweg.doctor.trials import Trials
from thalweg.words import digits

__all__ = ["validation_apart"]

_HALVED = "an experiment: a copy trained on half of the training examples"
_LEARNED = 0.9  # of the loss of a constant: where more is left, nothing was learned by heart
_APART, _FURTHER, _FEWEST = 2.0, 0.3, 100  # times what is left, of the constant; examples


def validation_apart(trials: Trials, severity: Severity) -> Finding | None:
    """Look for validation data that are unlike training examples which were not trained on.

    Args:
        trials: of the training.
        severity: of the overfitting that is told where they are alike.
    """
    subject = trials.subject
    halves = _halves(subject)
    judged = as_in_validation(subject, halves[1]) if halves else []  # rare classes weigh otherwise
    if halves is None or not judged:
        return None
    other, held = _left_by(trials, halves[0], judged)
    if not _unlike(other, held):
        return None
    for drawn in outliers(subject):  # targets far off, in the training data alone, move all outputs
        if not _unlike(*_left_by(trials, drawn.data(halves[0]), drawn.data(list(judged)))):
            return _far_off(drawn, other, held)
    one, two = features(subject.batches), features(subject.validation)
    shaped = one is not None and two is not None and unlike_in_shape(one, two)
    return Finding(
        "validation_of_other_distribution" if shaped else "validation_preprocessed_differently",
        "problem" if held > _LEARNED else severity,
        f"A copy that was trained on half of the training examples leaves {digits(other)} of the "
        f"loss of a constant output on the other half, and {digits(held)} on validation data: "
        "these are unlike the training data. Were they prepared, or tokens or classes numbered, "
        "in another way? Overfitting alone would raise both.",
        {"left on the other half": other, "left on validation data": held},
        f"{_APART:.0f} times what is left on the other half, and {_FURTHER:.0%} of the loss of the "
        "best constant more",
        _HALVED,
        sure=0.75,
    )


def _far_off(drawn: Treatment, other: float, held: float) -> Finding:
    return Finding(
        "loss_unsuited",
        "problem",
        f"{drawn.sign} A copy that was trained on half of the training examples leaves "
        f"{digits(other)} of the loss of a constant output on the other half, and {digits(held)} "
        "on validation data; with the outliers drawn in, these are as near as the other half.",
        {"left on the other half": other, "left on validation data": held},
        "validation data are apart as they are, and no more with the outliers drawn in",
        _HALVED,
        sure=0.8,
    )


def _left_by(trials: Trials, half: list[Batch], judged: Sequence[Batch]) -> tuple[float, float]:
    """Return what a copy trained on half of the examples leaves of others and of validation data.

    Both are shares of the loss of the best constant.
    """
    subject = trials.subject
    torch.manual_seed(0)
    twin = subject.copy()
    twin.train(half, len(trials.plain.losses), Allowance(trials.seconds))
    twin.model.eval()
    shares = []
    # A loss of pairs within a batch grows with it: both parts have batches of one size.
    for batches in (_regrouped(one, subject.examples) for one in (judged, subject.validation)):
        best = constant_loss(subject, batches)
        with torch.no_grad():
            losses = [float(twin.loss(batch)) for batch in batches]
        shares.append(sum(losses) / len(losses) / best if best else math.nan)
    return shares[0], shares[1]


def _unlike(other: float, held: float) -> bool:
    """Return whether validation data are left with far more than training examples that are new."""
    return held > max(_APART * other, other + _FURTHER)


def _regrouped(batches: Sequence[Batch], size: int) -> Sequence[Batch]:
    """Return examples in batches of another size, where they are pairs of two tensors."""
    tensors = all(len(inputs(b)) == 1 and isinstance(target(b), Tensor) for b in batches)
    if not tensors or len({(inputs(b)[0].shape[1:], target(b).shape[1:]) for b in batches}) != 1:
        return batches
    x = torch.cat([inputs(batch)[0] for batch in batches]).split(size)
    y = torch.cat([target(batch) for batch in batches]).split(size)
    whole = [pair for pair in zip(x, y, strict=True) if len(pair[0]) == size]
    return whole or batches


def _halves(subject: Subject) -> tuple[list[Batch], list[Batch]] | None:
    """Return the training examples in two parts that have none in common; None: they are few."""
    given = [inputs(batch) for batch in subject.batches] if subject.pairs else []
    if not given or any(len(x) != 1 for x in given):
        return None
    xs, ys = [x[0] for x in given], [target(batch) for batch in subject.batches]
    for part in (xs, ys):
        tensors = all(isinstance(t, Tensor) and t.ndim > 0 for t in part)
        if not tensors or len({t.shape[1:] for t in part}) > 1:
            return None
    x, y = torch.cat(xs), torch.cat(ys)
    places = torch.tensor(first_places(x)) if len(x) == len(y) else torch.empty(0)
    if len(places) < _FEWEST:
        return None
    mixed = places[torch.randperm(len(places), generator=torch.Generator().manual_seed(0))]
    parts = (mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :])
    one, other = ([(x[p], y[p]) for p in part.split(subject.examples)] for part in parts)
    return [b for b in one if len(b[1]) == subject.examples] or one, other
