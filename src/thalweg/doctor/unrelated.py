"""Unrelated: targets, or a second input, that inputs say nothing about."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from thalweg.doctor.baseline import class_dimension, constant_loss, ignores_targets, loss_of
from thalweg.doctor.checks.data import classes, features
from thalweg.doctor.finding import Finding
from thalweg.doctor.loaders import Batch, inputs, target
from thalweg.doctor.relation import explained
from thalweg.doctor.subject import Subject, cloned
from thalweg.doctor.trials import Trials
from thalweg.words import digits

__all__ = ["labels_unrelated", "named"]

_ALIKE = 0.05  # of the size of inputs, by which those of different examples differ
_CARRIES = 0.95  # of the loss of a constant
_RELATED = 0.02  # share of the targets' variance
_CHANCE = 5.0  # standard errors
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
    carries = carries or _names_classes(subject)
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


def named(subject: Subject, model: nn.Module, batches: Sequence[Batch]) -> Tensor | None:
    """Return the classes that a model names, as targets number them; None where there are none.

    Args:
        subject: the training.
        model: names them.
        batches: whose examples it is given.
    """
    known = classes(subject, subject.batches)
    if known is None or subject.output is None:
        return None
    twin = cloned(model).eval()
    with torch.no_grad():
        out = torch.cat([twin(*inputs(batch)) for batch in batches])
    if not bool(out.isfinite().all()):  # of weights that are not: they name nothing
        return None
    dimension = class_dimension(subject.output, target(subject.batch), subject.loss_fn)
    if dimension is not None and out.shape[dimension] > 1:  # a loss may squeeze one score
        return out.argmax(dimension).flatten().to(known.dtype)
    # A score, or a probability where all lie in [0, 1].
    line = 0.5 if bool(((out >= 0) & (out <= 1)).all()) else 0.0
    return torch.where(out.flatten() > line, known.max(), known.min())


def _names_classes(subject: Subject) -> bool:
    """Return whether classes of the validation data are named rightly beyond chance.

    Where a part has other shares of them, or a loss weights them, the losses need not tell.
    """
    y = classes(subject, subject.validation) if subject.pairs and subject.validation else None
    told = None if y is None else named(subject, subject.model, subject.validation)
    if y is None or told is None or len(told) != len(y):
        return False
    most = float((y == y.mode().values).float().mean())
    chance = math.sqrt(most * (1 - most) / len(y))
    return float((told == y).float().mean()) > most + _CHANCE * chance


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
