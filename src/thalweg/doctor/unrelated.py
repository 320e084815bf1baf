"""Unrelated: targets, or a second input, that inputs say nothing about."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from thalweg.doctor.baseline import constant_loss, ignores_targets, loss_of
from thalweg.doctor.checks.data import features
from thalweg.doctor.finding import Finding
from thalweg.doctor.loaders import inputs, target
from thalweg.doctor.relation import explained
from thalweg.doctor.subject import Subject
from thalweg.doctor.trials import Trials
from thalweg.words import digits

__all__ = ["labels_unrelated"]

_ALIKE = 0.05  # of the size of inputs, by which those of different examples differ
_CARRIES = 0.95  # of the loss of a constant
_RELATED = 0.02  # share of the targets' variance
_WHOLE = 0.8  # of the loss of a constant: where more is left, little was learned


def labels_unrelated(
    trials: Trials, left: float, validated: Sequence[tuple[int, float]]
) -> Finding | None:
    """Look for targets that inputs say nothing about, to the model and to simpler ones.

    Args:
        trials: of the training.
        left: the share of the constant's loss that the training leaves.
        validated: steps and validation losses.
    """
    subject = trials.subject
    best = _loss_without_inputs(subject) if subject.validation else None
    if best is None and trials.plain.losses:  # of several outputs: what the training starts from
        best = trials.plain.losses[0]
    carries = bool(validated and best and validated[-1][1] < _CARRIES * best)
    if not subject.pairs or subject.game or carries or (left < _CARRIES and not validated):
        return None
    share = explained(subject.batches)
    if share is None and left > _WHOLE:
        return _views_unrelated(subject)
    if share is None or share > _RELATED:
        return None
    other = explained(subject.validation) if subject.validation else None
    told = "" if other is None or other < 0.1 else f", in validation data {digits(other)}"
    alike = _inputs_alike(subject, share)
    if alike is not None:
        return alike
    return Finding(
        "labels_do_not_match_inputs",
        "problem",
        f"Regressions on the inputs explain {digits(share, 2)} of the targets' variance on other "
        f"training examples{told}, and what the model learned does not carry over.",
        {"share explained": share, "left of the constant's loss": left},
        "less than 2 % explained, and a validation loss not 5 % below that of a constant",
        "an experiment: ridge regressions from one half of the examples to the other",
        sure=0.8,
    )


def _views_unrelated(subject: Subject) -> Finding | None:
    """Look for two inputs that say nothing of one another, where no target says what to learn."""
    given = [[t for t in tree_leaves(inputs(b)) if isinstance(t, Tensor)] for b in subject.batches]
    if any(len(views) != 2 for views in given) or not ignores_targets(subject):
        return None
    told = [explained(list(map(tuple, part))) for part in (given, [v[::-1] for v in given])]
    shares = [share for share in told if share is not None]
    if not shares or max(shares) > _RELATED:
        return None
    return Finding(
        "labels_do_not_match_inputs",
        "problem",
        f"The loss asks for no targets, and regressions on one of the two inputs explain "
        f"{digits(max(shares), 2)} of the variance of the other, on other examples: do pairs "
        "belong together?",
        {"share explained": max(shares)},
        "less than 2 % explained, and a loss that stays as it is",
        "an experiment: ridge regressions from one half of the examples to the other",
        sure=0.8,
    )


def _inputs_alike(subject: Subject, share: float) -> Finding | None:
    """Look for inputs that hardly differ between examples, by what says nothing of targets."""
    rows = features(subject.batches)
    if rows is None:
        return None
    differ = rows.std(0).pow(2).mean().sqrt() / rows.pow(2).mean().sqrt().clamp(min=1e-12)
    if float(differ) > _ALIKE:
        return None
    return Finding(
        "inputs_constant",
        "problem",
        f"Inputs of different examples differ by {digits(float(differ), 2)} of their size, and "
        f"regressions on that explain {digits(share, 2)} of the targets' variance on other "
        "training examples: is it one example with noise, or an index that is not used?",
        {"deviation between examples over size": float(differ), "share explained": share},
        f"less than {_ALIKE:.0%} of their size, and less than {_RELATED:.0%} explained",
        "an experiment: ridge regressions from one half of the examples to the other",
        sure=0.9,
    )


def _loss_without_inputs(subject: Subject) -> float | None:
    """Return the least validation loss of outputs that are the same for every example."""
    best, loss_fn = constant_loss(subject, subject.validation), subject.loss_fn
    found = [target(batch) for batch in subject.validation]
    alike = all(isinstance(y, Tensor) and y.is_floating_point() and y.ndim > 1 for y in found)
    if best is None or loss_fn is None or not alike or len({y.shape[1:] for y in found}) > 1:
        return best
    y = torch.cat(found)  # as a picture, that has a mean for each place
    own = loss_of(loss_fn, y.mean(0, keepdim=True).expand_as(y), y)
    return min(best, own) if math.isfinite(own) else best
