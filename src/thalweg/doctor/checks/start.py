"""The start: weights that are no numbers or all equal, dead units, before the first step."""

import math
from collections.abc import Callable

import torch
from torch import nn

from thalweg.doctor.baseline import constant_loss
from thalweg.doctor.checks.parameters import missing
from thalweg.doctor.finding import Finding
from thalweg.doctor.layers import activations, constant_weights, reset
from thalweg.doctor.replay import first_not_finite
from thalweg.doctor.subject import Subject
from thalweg.words import digits, listed

__all__ = ["CHECKS", "evaluation_mode"]

_HIGH = 4.0
_DEAD, _ALIVE = 0.9, 0.7  # share of a layer's units
_SMALL = 0.01  # a factor
_LOOKED, _SECONDS = 8, 0.5  # batches, and seconds of work for the place


def weights_not_finite(subject: Subject) -> Finding | None:
    """Look for parameters that are not finite before the first step, and for buffers with NaN.

    A buffer may be infinite on purpose, as a mask is.
    """
    parameters = dict(subject.start_model.named_parameters())
    buffers = dict(subject.start_model.named_buffers())
    bad = [name for name, p in parameters.items() if not bool(p.isfinite().all())]
    bad += [name for name, b in buffers.items() if bool(b.isnan().any())]
    if not bad:
        return None
    count = len(parameters) + len(buffers)
    return Finding(
        "weights_not_finite",
        "problem",
        f"{len(bad)} of {count} parameters and buffers hold NaN or infinite values before the "
        f"first step: {listed(bad, 4)}.",
        {"not finite": float(len(bad)), "parameters and buffers": float(count)},
        "a value that is not finite",
        "the weights themselves",
    )


def loss_not_finite(subject: Subject) -> Finding | None:
    """Look for a loss that is not finite before the first step."""
    twin = subject.copy()
    for number, batch in enumerate(subject.batches[:_LOOKED]):
        with torch.no_grad():
            loss = float(twin.loss(batch))
        if math.isfinite(loss):
            continue
        place = first_not_finite(subject.copy(), [batch], _SECONDS)
        where = place[1] if place else "the loss"
        return Finding(
            "loss_not_finite",
            "problem",
            f"The loss of batch {number} is {loss} before the first step; what is not finite first "
            f"is {where}.",
            {"batch": float(number), "first not finite": where},
            "a loss that is not finite, at the first weights",
            f"the loss itself, on the first {_LOOKED} batches",
            onset=0,
            sure=0.7,  # what made it so stands above
        )
    return None


def constant_init(subject: Subject) -> Finding | None:
    """Look for hidden layers whose units start equal and stay so."""
    twin = subject.copy()
    away = missing(subject)  # those stay as they are for that
    alike = [name for name in constant_weights(twin.model) if name not in away]
    if not alike:
        return None
    for batch in subject.batches[:3]:
        twin.take_step(batch)
    still = [name for name in constant_weights(twin.model) if name in alike]
    if not still:
        return None
    return Finding(
        "constant_init",
        "problem",
        f"All units of {listed(still, 4)} start with the same weights, and have the same weights "
        "after three steps: they compute the same.",
        {"weights": float(len(still))},
        "equal weights of all units of a layer, before and after three steps",
        "an experiment: three steps on a copy",
    )


def dead_relu(subject: Subject) -> Finding | None:
    """Look for rectifiers that are 0 for all examples, and whether the weights make them so."""
    found = [a for a in activations(subject) if a.kind == "relu"]
    worst = max((a.dead for a in found), default=0.0)
    if worst < _DEAD:
        return None
    anew = _dead_anew(subject)
    drawn = anew < _ALIVE
    return Finding(
        "dead_relu",
        "problem",
        f"{worst:.0%} of the units of a ReLU are 0 for every example of the first batch: they "
        "get no gradient."
        + (f" With weights as torch draws them, {anew:.0%} are." if drawn else ""),
        {
            "share of dead units": worst,
            "with weights drawn anew": anew,
            "layers of ReLU": float(len(found)),
        },
        f"{_DEAD:.0%} of the units of a layer; below {_ALIVE:.0%} with other weights, these make "
        "it so, and no scale of the inputs does",
        "an experiment: one batch",
        sure=1.0 if drawn else 0.9,
    )


def _dead_anew(subject: Subject) -> float:
    """Return the largest share of dead units of a layer with weights as torch draws them.

    A module's own vectors, which may be thresholds, become small.
    """
    twin = subject.copy()
    reset(twin)
    for module in twin.model.modules():
        for p in [] if hasattr(module, "reset_parameters") else module.parameters(recurse=False):
            if p.ndim < 2 and p.is_floating_point():
                p.detach().mul_(_SMALL)
    found = [a for a in activations(subject, twin.model) if a.kind == "relu"]
    return max((a.dead for a in found), default=0.0)


def loss_starts_high(subject: Subject) -> Finding | None:
    """Look for a first loss far above that of the best constant output."""
    first, best = subject.backward.loss, constant_loss(subject)
    if best is None or best <= 0 or not _HIGH * best < first < float("inf"):
        return None
    return Finding(
        "loss_starts_high",
        "warning",
        f"The first loss is {digits(first)}, and the best constant output has {digits(best)}: the "
        "first steps only undo what the model starts with.",
        {"first loss": first, "loss of the best constant": best},
        f"{_HIGH:.0f} times the loss of the best constant",
        "the loss itself; judgement",
        sure=0.2,
    )


def evaluation_mode(subject: Subject) -> Finding | None:
    """Look for a model that is in evaluation mode before it is trained, where that matters."""
    kinds = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)  # noqa: SLF001
    if subject.model.training or not any(isinstance(m, kinds) for m in subject.model.modules()):
        return None
    return Finding(
        "trained_in_eval_mode",
        "warning",
        "The model is in evaluation mode, and has dropout or batch normalization: call "
        "model.train() before the first step.",
        {"training": "False"},
        "model.training is False before the training",
        "the model's own flag",
        sure=0.6,
    )


CHECKS: tuple[Callable[[Subject], Finding | None], ...] = (
    weights_not_finite,
    loss_not_finite,
    constant_init,
    dead_relu,
    loss_starts_high,
)
