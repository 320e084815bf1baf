"""Outcome: training against validation loss, once the training has learned what it could."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from thalweg.doctor.allowance import Allowance
from thalweg.doctor.apart import validation_apart
from thalweg.doctor.baseline import constant_loss, loss_of
from thalweg.doctor.checks.data import (
    class_imbalance,
    classes,
    labels,
    tagged,
)
from thalweg.doctor.checks.examples import labels_of_other_places, labels_spoiled
from thalweg.doctor.dynamics import measure
from thalweg.doctor.finding import Finding
from thalweg.doctor.first_weights import drawn_too_large
from thalweg.doctor.loaders import Batch, inputs, target
from thalweg.doctor.normalization import statistics_worthless
from thalweg.doctor.relation import left_by_network
from thalweg.doctor.signs import Curves, look
from thalweg.doctor.subject import LossFn, Subject, cloned
from thalweg.doctor.treatments import scaled_rate
from thalweg.doctor.trials import Trials
from thalweg.doctor.unread import input_unread, part_unread
from thalweg.doctor.unrelated import labels_unrelated, named
from thalweg.words import digits, percent

__all__ = ["look_at_curves", "look_at_outcome", "noise_floor", "scales_doubted"]

_CLASSES = 20  # distinct whole numbers that may be classes
_PARTS = {  # what explains losses that lie apart
    "loss_not_mean",
    "overfitting",
    "validation_of_other_distribution",
    "validation_preprocessed_differently",
}
_EASIER = 0.6  # of the training loss, as in a log
_SAID = 0.3  # how sure it is that the parts differ, where the losses alone say so
_RATES = {"lr_too_low", "lr_too_high"}
_SMALL = 0.6  # how sure it is that the model is too small
_SCALES = {"inputs_and_targets_not_scaled", "inputs_not_scaled"}  # may be true beside it
_NUMBERED = {*_SCALES, *_RATES, "exploding_gradient_no_clipping"}  # as numbers of classes do
_BESIDE = {*_SCALES, "init_too_large", "loss_terms_unbalanced"}  # explain a class always named
_CURED = 0.3  # of the loss of a constant: with less left, the rare are told apart too
_EVEN = 0.3  # of the most frequent number, each of those that number classes
_VAGUE = 0.6  # how sure it is where they may be counts
_FLOOR, _KEPT = 0.6, 0.1  # of the loss at the same rate; of what can be learned
_CHANCE = 3.0  # standard errors
_MOST = 32  # batches
_RARE = {"training": 0.3, "validation": 0.5}  # share of the rare that are named rightly
_HARDLY = 0.1  # of rare tags in training data that are named
_WAY = 0.3  # to rare targets
_MOSTLY, _OUT, _ROUNDING = 0.5, 10.0, 0.02  # share of one target; deviations; of a ratio
_WHOLE = 0.8  # of the loss of a constant: where more is left, little was learned
_BEHIND = 0.3  # by which it is less than that of the most frequent class
_ABOVE = 0.02  # of the loss of a constant: a rise of the validation loss by less says little
_LEARNED = 0.9  # of the loss of a constant: where more is left, nothing was learned by heart
_PLAIN = 0.6  # of what the model leaves, by a plain network
_LITTLE = 0.02  # of the loss of a constant
_LEFT = 0.1  # of the loss of a constant, more than a plain network leaves
_CARRIED = 0.8  # of what is left in training, by validation examples that their labels fit
_STUCK = 0.4  # of the loss of a constant: augmentation parts the data too, and is learned


def look_at_outcome(
    trials: Trials,
    model: nn.Module,
    left: float,
    validated: Sequence[tuple[int, float]],
    found: Sequence[Finding],
) -> Iterator[Finding]:
    """Yield what training and validation loss say at the end.

    Args:
        trials: of the training.
        model: the user's, as it is now.
        left: the share of the constant's loss that the training leaves.
        validated: steps and validation losses.
        found: what was found before: it explains a loss that stays high.
    """
    problems = {finding.cause for finding in found if finding.severity == "problem"}
    worthless = statistics_worthless(trials.subject, model)
    if worthless is not None:  # what a model does in evaluation mode follows from it
        yield replace(worthless, severity="warning") if problems else worthless
        return
    one_class = _names_one_class(trials.subject, model)
    if one_class is not None:
        # Experiments with the same classes have shown what keeps the model at one of them.
        shown = any(_shows(finding) for finding in found)
        yield replace(one_class, severity="warning") if shown else one_class
        return
    numbered = _class_numbers(trials.subject) if left > _LITTLE and problems <= _NUMBERED else None
    if numbered is not None and (numbered.sure > _VAGUE or not (found or left < _LEFT)):
        if problems:
            numbered = replace(numbered, severity="problem")
        yield numbered
        return
    plain = left > _WHOLE and problems <= _NUMBERED and not any(map(_cures, found))
    median = _names_the_median(trials.subject, model) if plain else None
    if median is not None:
        yield median
        return
    unrelated = None if problems else _of_others(trials, left, validated)
    if unrelated is not None:
        yield unrelated
    else:
        rest = _left_at_best(left, found)
        if rest is not None and _LEFT < rest < math.inf:
            yield from _underfits(trials, rest, found)
        unread = input_unread(trials.subject) if left > _STUCK and not problems else None
        yield from [unread] if unread else []
    if unrelated is None:
        overfitted = list(_overfits(trials, left, validated))
        apart = validation_apart(trials, overfitted[0].severity) if overfitted else None
        if apart is None and any(one.severity == "problem" for one in overfitted):
            large = drawn_too_large(trials, validated[-1][1])
            overfitted[:0] = [large] if large else []
        yield from [apart] if apart else overfitted


def look_at_curves(
    curves: Curves, found: Sequence[Finding], judged: Callable[[], float], *, numbers: bool
) -> Iterator[Finding]:
    """Yield what training and validation loss say beside each other, as in a log.

    Args:
        curves: both losses.
        found: what was found before; where something is wrong, the losses follow from it.
        judged: gives the loss of training batches in evaluation mode, in which dropout makes none
            harder.
        numbers: whether of the validation part only losses are known, and no batches.
    """
    if any(finding.severity == "problem" for finding in found):
        return
    known = _PARTS & {finding.cause for finding in found}
    if not len(curves.validation):
        return
    easier = curves.validation[-1] < _EASIER * judged()
    for one in look(curves, None)[0]:
        if one.cause == "overfitting" and numbers:
            yield one
        elif one.cause == "validation_of_other_distribution" and easier and not known:
            # Augmented training batches are harder than validation batches, too.
            yield replace(one, severity="warning", sure=_SAID)


def _of_others(
    trials: Trials, left: float, validated: Sequence[tuple[int, float]]
) -> Finding | None:
    """Look for targets that belong to other examples, other places, or to what is not read."""
    places = labels_of_other_places(trials.subject) if left > _WHOLE else None
    unrelated = places or labels_unrelated(trials, left, validated)
    unrelated = unrelated or (part_unread(trials.subject) if left > _STUCK else None)
    if unrelated is not None:
        return unrelated
    spoiled = labels_spoiled(trials.subject) if left > _STUCK else None
    harms = spoiled is not None and not _carries_over(trials.subject, left, validated)
    return spoiled and replace(spoiled, severity="problem" if harms else "warning", sure=0.8)


def _carries_over(subject: Subject, left: float, validated: Sequence[tuple[int, float]]) -> bool:
    """Return whether validation examples are learned well by what training ones leave."""
    best = constant_loss(subject, subject.validation) if validated else None
    return best is not None and validated[-1][1] < _CARRIED * min(1.0, left) * best


def _left_at_best(left: float, found: Sequence[Finding]) -> float | None:
    """Return what is left with the rate that helps most; None where more than a rate helps."""
    if any(f.severity == "problem" or f.cause not in _RATES for f in found):
        return None
    cured = [f.evidence.get("left with the cure", left) for f in found]
    return min([left, *(share for share in cured if isinstance(share, float))])


def _underfits(trials: Trials, left: float, found: Sequence[Finding]) -> Iterator[Finding]:
    """Yield underfitting, where little is learned, or a plain network carries over more.

    Args:
        trials: of the training.
        left: by it, or with the rate that helps most.
        found: warnings of that rate.
    """
    told = (
        f"{digits(left)} of the loss of a constant output is left after "
        f"{len(trials.plain.losses)} steps, and no change that was tried made it learn more."
    )
    # Where another rate helps, the training may only be short: the network's is no longer then.
    steps = [len(trials.plain.losses)] if found else []
    plain = left_by_network(trials.subject, *steps)
    if plain is not None and plain < min(_PLAIN * left, left - _LEFT):
        yield Finding(
            "underfitting",
            "warning",
            f"{told} A plain network of one hidden layer, trained on half of the examples, leaves "
            f"{digits(plain)} on the others.",
            {"left": left, "left by a plain network on examples that it has not seen": plain},
            f"a plain network leaves less than {_PLAIN:.0%} of what the model does, by "
            f"{_LEFT:.0%} of the loss of the best constant or more",
            "an experiment: a plain network on the same examples",
            sure=max([_SMALL, *(f.sure + 0.01 for f in found)]),  # it may learn faster, not enough
        )
    elif left > 0.7 and not found:
        yield Finding(
            "underfitting",
            "warning",
            told,
            {"left": left},
            "more than 70 % of the loss of the best constant is left",
            "an experiment: the treatments that were ruled out",
            sure=0.5,
        )


def scales_doubted(trials: Trials, found: Sequence[Finding]) -> list[Finding]:
    """Return findings, scales as warnings where a plain network learns without their cure.

    Where scaled inputs leave most of the loss, and a plain network learns from the inputs as they
    are, the model is too small, whatever the scale.

    Args:
        trials: of the training.
        found: what was found so far.
    """
    scales = [f for f in found if f.cause in _SCALES and f.severity == "problem"]
    known = {*_SCALES, "dead_relu"}  # units may be dead for the scale of what they get
    others = any(f.cause not in known and f.severity == "problem" for f in found)
    cured = [
        share for f in scales if isinstance(share := f.evidence.get("left with the cure"), float)
    ]
    left = min(cured, default=0.0)
    if others or left < _PLAIN:
        return list(found)
    plain = left_by_network(trials.subject, scaled=False)
    if plain is None or not plain < min(_PLAIN * left, left - _LEFT):
        return list(found)
    doubted = [replace(f, severity="warning", sure=0.5) if f in scales else f for f in found]
    return [*doubted, *_underfits(trials, left, scales)]


def _cures(finding: Finding) -> bool:
    """Return whether a change that was tried leaves little of the loss."""
    left = finding.evidence.get("left with the cure", math.inf)
    return isinstance(left, float) and left < _CURED


def _shows(finding: Finding) -> bool:
    """Return whether a change that was tried explains that one class is named always."""
    return finding.severity == "problem" and (_cures(finding) or finding.cause in _BESIDE)


def _names_one_class(subject: Subject, model: nn.Module) -> Finding | None:
    """Look for rare classes that are seldom named, where the loss weights all examples alike."""
    imbalance = class_imbalance(subject) if subject.pairs else None
    if imbalance is None:
        return None
    hits = {
        part: _named_rightly(subject, model, batches)
        for part, batches in (("training", subject.batches), ("validation", subject.validation))
        if batches
    }
    if tagged(subject.batches):  # tags are hard to tell: only where hardly one is named
        low = [part for part in hits if hits["training"][0] <= _HARDLY]
    else:
        low = [
            part
            for part, (rare, often) in hits.items()
            if rare <= _RARE[part] or often - rare >= _BEHIND
        ]
    if not low:
        return None
    hit, often = hits[low[0]]
    return replace(
        imbalance,
        severity="problem",
        sentence=f"{imbalance.sentence} Of the others in the {low[0]} data {hit:.0%} are named "
        f"rightly, of the most frequent class {often:.0%}.",
        evidence={**imbalance.evidence, "share of the others named rightly": hit},
        sure=0.95,
    )


def _named_rightly(
    subject: Subject, model: nn.Module, batches: Sequence[Batch]
) -> tuple[float, float]:
    """Return the share that is named rightly of all but the most frequent class, and of that."""
    known, y = classes(subject, subject.batches), classes(subject, batches)
    told = None if known is None or y is None else named(subject, model, batches)
    if known is None or y is None or told is None:
        return 1.0, 1.0
    rare = y != known.mode().values
    right = (told == y).float()
    one, other = (float(right[part].mean()) if bool(part.any()) else 1.0 for part in (rare, ~rare))
    return one, other


def _names_the_median(subject: Subject, model: nn.Module) -> Finding | None:
    """Look for outputs that stay at the number most targets are, where errors count as they are."""
    loss_fn, out = subject.loss_fn, subject.output
    found = [target(batch) for batch in subject.batches] if subject.pairs else []
    floats = all(isinstance(y, Tensor) and y.is_floating_point() for y in found)
    if out is None or loss_fn is None or not found or not floats:
        return None
    first, y = found[0], torch.cat([part.flatten() for part in found])
    if first.numel() != out.numel() or not _absolute(loss_fn, out, first):
        return None
    most = y.mode().values
    other = y != most
    share = 1 - float(other.float().mean())
    if not _MOSTLY < share < 1:
        return None
    twin = cloned(model).eval()
    with torch.no_grad():
        named = torch.cat([twin(*inputs(batch)).flatten() for batch in subject.batches])
    moved, asked = (float((v[other] - most).abs().mean()) for v in (named, y))
    if not moved < _WAY * asked:
        return None
    return Finding(
        "loss_unsuited",
        "problem",
        f"{share:.1%} of the targets are {digits(float(most))}, and the loss is the absolute "
        f"error, whose best answer is the median. Where targets are others, {digits(asked)} away "
        f"on average, outputs are {digits(moved)} away: naming it always is best wherever another "
        "target is less likely than half. Squared error asks for the mean; or weight the others.",
        {"share of that target": share, "outputs away": moved, "targets away": asked},
        f"more than {_MOSTLY:.0%} of one target, and outputs less than {_WAY:.0%} of the way off",
        "an experiment: the loss at twice the distance, and the outputs of the model as it is",
        sure=0.95,
    )


def _absolute(loss_fn: LossFn, out: Tensor, y: Tensor) -> bool:
    """Return whether a loss doubles at twice a distance from the targets, to both sides."""
    unit = float(y.std()) if len(y) > 1 else 1.0
    far = [
        loss_of(loss_fn, (y + size * unit).reshape(out.shape).to(out), y)
        for size in (_OUT, 2 * _OUT, -_OUT)
    ]
    double, same = far[1] / max(far[0], 1e-12), far[2] / max(far[0], 1e-12)
    return abs(double - 2) < _ROUNDING and abs(same - 1) < _ROUNDING


def _class_numbers(subject: Subject) -> Finding | None:
    """Look for numbers of classes that are fitted by squared or absolute error."""
    y, out = (labels(subject.batches), subject.output) if subject.pairs else (None, None)
    if y is None or out is None or out.numel() != len(out) or subject.loss_fn is None:
        return None
    first = target(subject.batch)
    distinct, counts = y.unique(return_counts=True)
    whole = bool((distinct == distinct.round()).all())
    if not whole or not 3 <= len(distinct) <= _CLASSES or len(distinct) * 10 > len(y):
        return None
    if not _is_distance(subject.loss_fn, out, first):
        return None
    return Finding(
        "loss_unsuited",
        "warning",
        f"Targets are the {len(distinct)} whole numbers from {digits(float(distinct.min()))} to "
        f"{digits(float(distinct.max()))}, and the loss is a distance: if they number classes, "
        "it takes 9 for nearer to 8 than to 1.",
        {"distinct targets": float(len(distinct))},
        f"3 to {_CLASSES} whole numbers as targets of a squared or absolute error",
        "an experiment: the loss is alike on both sides of the targets, and grows away from them",
        # Equally frequent ones are numbers of classes; others may be counts.
        sure=0.95 if bool(counts.min() > _EVEN * counts.max()) else _VAGUE,
    )


def _is_distance(loss_fn: LossFn, out: Tensor, y: Tensor) -> bool:
    """Return whether a loss is 0 at the targets, alike on both sides, and grows away from them."""
    at, near, other, far = (
        loss_of(loss_fn, (y + d).reshape(out.shape).to(out), y) for d in (0.0, 1.0, -1.0, 3.0)
    )
    alike = abs(near - other) <= _ROUNDING * near
    return abs(at) <= _ROUNDING * near and alike and far > 2 * near


def noise_floor(subject: Subject, steps: int, seconds: float) -> Finding | None:
    """Look for a loss that falls as soon as the rate does.

    Args:
        subject: the training, with its present state as the start.
        steps: of each of two courses.
        seconds: of work for each, at most.
    """
    one, other = _at_both_rates(subject, steps, seconds)
    gain, ratio = float((one - other).mean()), float(other.mean() / one.mean())
    if not gain > _CHANCE * float((one - other).std()) / math.sqrt(len(one)):
        return None
    best = constant_loss(subject) or 0.0
    share = gain / (best - float(other.mean())) if best > other.mean() else 0.0
    if not (ratio < _FLOOR or share > _KEPT):
        return None
    floor = measure(subject, 0).floor
    known = math.isfinite(floor)
    return Finding(
        "noise_floor",
        "warning",
        f"{steps} more steps at a tenth of the rate bring the loss to {digits(ratio)} of what as "
        f"many steps at the same rate leave, {percent(share)} of what can be learned at that rate: "
        "the noise of the batches keeps it up."
        + (f" By theory this noise keeps it {digits(floor)} above its minimum." if known else ""),
        {"loss at a tenth of the rate over loss": ratio, "share of what can be learned": share}
        | ({"floor by theory": floor} if known else {}),
        f"a loss below {_FLOOR} of that at the same rate, or {_KEPT:.0%} of what can "
        "be learned lower; by more than chance",
        "an experiment: both rates on copies of the present state"
        + ("; theory.noise_floor of the gradient's measured noise" if known else ""),
        sure=0.6,
    )


def _at_both_rates(
    subject: Subject, steps: int, seconds: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the last halves of two courses, at the rate and at a tenth of it.

    Where half of the steps show no gain, no more are taken.
    """
    twins = subject.copy(), subject.copy()
    losses: tuple[list[float], list[float]] = ([], [])
    scaled_rate(twins[1], 0.1)
    allowances = [Allowance(seconds), Allowance(seconds)]
    batches, one, other = subject.batches[::-1], np.zeros(1), np.zeros(1)
    for part in (max(1, steps // 2), steps - steps // 2):
        turn = len(losses[0]) % len(batches)
        for twin, noted, allowance in zip(twins, losses, allowances, strict=True):
            noted.extend(twin.train(batches[turn:] + batches[:turn], part, allowance))
        count = max(1, min(map(len, losses)) // 2)
        one, other = (np.array(noted[-count:]) for noted in losses)
        if not one.mean() > other.mean():
            break
    return one, other


def _overfits(
    trials: Trials, left: float, validated: Sequence[tuple[int, float]]
) -> Iterator[Finding]:
    """Yield overfitting, where the validation loss stays behind the training loss."""
    held = trials.subject.validation
    best = constant_loss(trials.subject, held) if held else None
    if not validated or best is None or best <= 0 or not math.isfinite(validated[-1][1]):
        return
    last = validated[-1][1]
    least_step, least = min(validated, key=lambda pair: pair[1])
    gap = last / best - left
    if left < 0.3 and last / best > 0.9:
        yield Finding(
            "overfitting",
            "problem",
            f"{digits(left)} of the loss of a constant output is left on training data, and "
            f"{digits(last / best)} on validation data: what was learned does not carry over.",
            {"left on training data": left, "left on validation data": last / best},
            "less than 30 % left in training and more than 90 % in validation",
            "the loss of the best constant",
            sure=0.7,
        )
    elif (gap > 0.3 and left < _LEARNED) or (
        last > max(1.3 * least, least + _ABOVE * best) and left < 0.3
    ):
        yield Finding(
            "overfitting",
            "warning",
            f"The validation loss is {digits(last)} and was {digits(least)} at step {least_step}; "
            f"{digits(left)} of the loss of a constant output is left on training data.",
            {"validation loss": last, "least validation loss": least},
            "30 % above its least value and 2 % of the constant's loss, or 30 % of the constant's "
            "loss above the training loss",
            "the loss of the best constant",
            sure=0.5,
        )
