"""Outputs against the loss: last activations that the loss does not expect, found by experiment."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.doctor.baseline import class_dimension, guesses, ignores_targets, loss_of
from thalweg.doctor.finding import Finding
from thalweg.doctor.loaders import inputs, target
from thalweg.doctor.subject import LossFn, Subject
from thalweg.words import digits

__all__ = ["CHECKS", "SCALES", "Reach", "enlarge", "normalized", "reach"]

SCALES = (1.0, -1.0, 10.0, -10.0, 100.0, -100.0)  # of all parameters
_SAME = 1e-3  # relative
_ROOM = 0.25  # of the range at a tenth of the scale: an unbounded output grows tenfold
_EXPERIMENT = (
    "an experiment: outputs with parameters of several sizes, and the loss of made-up ones"
)


@dataclass(frozen=True)
class Reach:
    """What values outputs take when all parameters are scaled by 1 to 100 and by -1 to -100.

    Args:
        low: the least value; -inf where it grows with the scale.
        high: the largest; inf where it grows with the scale.
        zeros: whether some are exactly 0 at the scale 1 or -1; at a larger one a softplus may be.
        sums_to_one: the dimension along which they are at least 0 and sum to 1, or None.
        ones: whether all are exactly 1.
    """

    low: float
    high: float
    zeros: bool
    sums_to_one: int | None
    ones: bool


def reach(subject: Subject) -> Reach | None:
    """Return what values the outputs can take; None where they are not one tensor."""
    if subject.output is None:
        return None
    outputs = {scale: _scaled(subject, scale) for scale in SCALES}
    finite = {scale: out for scale, out in outputs.items() if bool(out.isfinite().all())}
    if not finite:
        return None
    sizes = sorted({abs(scale) for scale in finite})
    low, high = zip(*(_ends(finite, size) for size in sizes), strict=True)
    # What has no bound grows with the scale; what has one comes nearer to it.
    room = (
        _ROOM * min(h - b for h, b in zip(high[1:], low[1:], strict=True))
        if len(sizes) > 1
        else -1.0
    )
    values = list(finite.values())
    return Reach(
        low=min(low) if abs(low[-1] - min(low[:-1], default=0.0)) <= room else float("-inf"),
        high=max(high) if abs(high[-1] - max(high[:-1], default=0.0)) <= room else float("inf"),
        zeros=any(bool((out == 0).any()) for scale, out in finite.items() if abs(scale) == 1),
        sums_to_one=normalized(values),
        ones=all(bool((out == 1).all()) for out in values),
    )


def _ends(outputs: dict[float, Tensor], size: float) -> tuple[float, float]:
    found = [out for scale, out in outputs.items() if abs(scale) == size]
    return min(float(out.min()) for out in found), max(float(out.max()) for out in found)


def _scaled(subject: Subject, scale: float) -> Tensor:
    """Return the outputs on the first batch, and on noise of the size 1 and of the inputs' size.

    Raw inputs may saturate the model, and where all are positive, outputs are of one sign. Of
    categories there is no noise: the last layer changes its sign.
    """
    model = subject.copy().model.eval()
    given = inputs(subject.batch)
    enlarge(model, scale)
    with torch.no_grad():
        out = model(*given)
        assert isinstance(out, Tensor)
        if len(given) == 1 and isinstance(given[0], Tensor) and given[0].is_floating_point():
            size = float(given[0][given[0].isfinite()].abs().max())
            try:
                out = torch.cat([out, *(model(_noise(given[0], s)) for s in {1.0, max(1.0, size)})])
            except Exception:  # noqa: BLE001 - numbers of categories among the inputs: no noise
                return torch.cat([out, _turned(model, given)])
        else:
            out = torch.cat([out, _turned(model, given)])
    return out


def _turned(model: nn.Module, given: tuple[Any, ...]) -> Tensor:
    """Return outputs where the parameters of the last layer have the other sign."""
    layers = [m for m in model.modules() if next(m.parameters(recurse=False), None) is not None]
    for p in layers[-1].parameters(recurse=False) if layers else ():
        p.neg_()
    out: Tensor = model(*given)
    return out


def enlarge(model: nn.Module, scale: float) -> None:
    """Multiply all parameters of a module in place; those that are all 0 become noise first."""
    with torch.no_grad():
        for p in model.parameters():
            if not bool(p.any()):  # a last layer, or a gate, that starts at 0 and does not stay so
                p.copy_(_noise(p, 0.1))
            p.mul_(scale)


def normalized(outputs: Sequence[Tensor]) -> int | None:
    """Return the dimension along which all outputs are at least 0 and sum to 1, or None."""
    if any(bool((out < 0).any()) for out in outputs):
        return None
    for dimension in range(1, outputs[0].ndim):
        if outputs[0].shape[dimension] < 2:
            continue
        sums = [out.sum(dimension) for out in outputs]
        if all(bool(((total - 1).abs() < _SAME).all()) for total in sums):
            return dimension
    return None


def _noise(output: Tensor, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn(output.shape, generator=generator).to(output)


def _shift_changes_nothing(subject: Subject, dimension: int) -> bool:
    """Return whether the loss ignores a number added along a dimension: it has a softmax there."""
    assert subject.output is not None
    assert subject.loss_fn is not None
    y, scores = target(subject.batch), _noise(subject.output)
    shift = _noise(scores.narrow(dimension, 0, 1), 3.0)
    plain, shifted = (
        loss_of(subject.loss_fn, scores, y),
        loss_of(subject.loss_fn, scores + shift, y),
    )
    scaled = loss_of(subject.loss_fn, 2 * scores, y)
    return abs(plain - shifted) <= 1e-4 * abs(plain) and abs(plain - scaled) > 1e-3 * abs(plain)


def softmax_before_cross_entropy(subject: Subject, values: Reach) -> Finding | None:
    """Look for outputs that are probabilities where the loss makes probabilities of them."""
    dimension = values.sums_to_one
    if dimension is None or not _shift_changes_nothing(subject, dimension):
        return None
    assert subject.output is not None
    classes = subject.output.shape[dimension]
    floor = float(torch.tensor(1 + (classes - 1) / torch.e).log())
    return Finding(
        "softmax_before_cross_entropy",
        "problem",
        f"The {classes} outputs of each example are probabilities that sum to 1, and the loss "
        f"applies a softmax to them again: it cannot fall below {digits(floor)}.",
        {"sum of outputs": 1.0, "least loss possible": floor},
        "outputs sum to 1, and adding a number to all of them leaves the loss as it is",
        _EXPERIMENT,
    )


def softmax_over_one_unit(subject: Subject, values: Reach) -> Finding | None:
    """Look for outputs that are always 1, and for a cross-entropy over one class."""
    out = subject.output
    assert out is not None
    assert subject.loss_fn is not None
    if values.ones:
        said = "Every output is exactly 1, whatever the parameters are: a softmax over one unit."
    elif out.ndim > 1 and out.shape[1] == 1 and _constant_loss(subject):
        said = "The loss is the same for every output: its softmax goes over one unit."
    else:
        return None
    return Finding(
        "softmax_over_one_unit",
        "problem",
        said,
        {"outputs per example": float(out[0].numel())},
        "outputs or loss are the same for all parameters",
        _EXPERIMENT,
    )


def _constant_loss(subject: Subject) -> bool:
    assert subject.output is not None
    assert subject.loss_fn is not None
    y = target(subject.batch)
    drawn = [_noise(subject.output, s) for s in (0.1, 1.0, 10.0)]
    drawn.append(drawn[1].roll(1, 0))  # a correlation asks for no scale
    losses = [loss_of(subject.loss_fn, out, y) for out in drawn]
    return math.isfinite(losses[0]) and len(set(losses)) == 1


def relu_output_into_log(subject: Subject, values: Reach) -> Finding | None:
    """Look for outputs that can be exactly 0 where the loss takes their logarithm."""
    out, loss_fn = subject.output, subject.loss_fn
    assert out is not None
    assert loss_fn is not None
    if not (values.low == 0 and values.zeros and values.high > 1 + _SAME):
        return None
    y = target(subject.batch)
    usual = _noise(out)  # any positive numbers, or, for a log of 1 - p too, numbers below 1
    sound = [loss_of(loss_fn, good, y) for good in (usual.abs() + 0.5, usual.sigmoid())]
    zero = loss_of(loss_fn, torch.zeros_like(out), y)
    some = loss_of(loss_fn, _noise(out).clamp(min=0), y)
    own = loss_of(loss_fn, out, y)
    broken = [value for value in (zero, some, own) if not abs(value) < float("inf")]
    finite = any(abs(value) < float("inf") for value in sound)
    if not finite or not (broken or _logarithmic(subject)):
        return None
    share = float((out == 0).float().mean())
    at_zero = str(broken[0]) if broken else digits(own)
    how = "" if broken else ", where its logarithm is cut off and no gradient comes through"
    return Finding(
        "relu_output_into_log",
        "problem",
        f"{share:.0%} of the outputs are exactly 0 (a ReLU made them), and the loss of such "
        f"outputs is {at_zero}{how}.",
        {"share of outputs that are 0": share, "loss at 0": at_zero},
        "outputs can be exactly 0, and near 0 the loss is a logarithm of them",
        _EXPERIMENT,
    )


def _logarithmic(subject: Subject) -> bool:
    """Return whether the loss grows alike for each factor by which some outputs are smaller."""
    assert subject.output is not None
    assert subject.loss_fn is not None
    y, some = target(subject.batch), _noise(subject.output) > 0
    plain = torch.full_like(subject.output, 0.5)
    first, second, third = (
        loss_of(subject.loss_fn, torch.where(some, small, plain), y) for small in (1e-2, 1e-3, 1e-4)
    )
    return second - first > 1e-2 and abs((third - second) / (second - first) - 1) < 0.1


def sigmoid_before_bce_with_logits(subject: Subject, values: Reach) -> Finding | None:
    """Look for outputs between 0 and 1 where the loss takes scores of any size."""
    if not _within_unit(values) or values.sums_to_one is not None:
        return None
    if not _logistic(subject):
        return None
    return Finding(
        "sigmoid_before_bce_with_logits",
        "problem",
        "Outputs lie between 0 and 1, and the loss applies a sigmoid to them again: it sees "
        "probabilities from 0.5 to 0.73 only.",
        {"lowest output": values.low, "highest output": values.high},
        "outputs stay in [0, 1] for all parameters; the loss is logistic in them",
        _EXPERIMENT,
    )


def _within_unit(values: Reach) -> bool:
    return -_SAME <= values.low < 0.5 < values.high <= 1 + _SAME


def _logistic(subject: Subject) -> bool:
    """Return whether the loss is that of two classes on scores: log(1 + exp(-score))."""
    out, y = subject.output, target(subject.batch)
    assert out is not None
    assert subject.loss_fn is not None
    if not isinstance(y, Tensor) or y.numel() != out.numel():
        return False
    if not bool(((y == 0) | (y == 1)).all()):
        return False
    side = (2 * y.to(out.dtype) - 1).reshape(out.shape)
    best, right, wrong, worse = (
        loss_of(subject.loss_fn, far * side, y) for far in (30.0, 8.0, -4.0, -8.0)
    )
    # A penalty is in all four; a logarithm that is cut off, as by log(p + 1e-7), is not reached.
    # From 4 to 8 squared error would quadruple; the logistic loss doubles, and is 0 when right.
    apart = right - best < 1e-2 and wrong - best > 1
    return apart and 1.5 < (worse - best) / (wrong - best) < 2.5


def softmax_for_multi_label(subject: Subject, values: Reach) -> Finding | None:
    """Look for one softmax over labels of which several are true."""
    out, y = subject.output, target(subject.batch)
    assert out is not None
    if not isinstance(y, Tensor) or y.shape != out.shape or out.ndim < 2:
        return None
    counts = y.float().sum(1)
    if not bool(((y == 0) | (y == 1)).all()) or not bool((counts > 1).float().mean() > 0.05):
        return None
    if values.sums_to_one is None and not _shift_changes_nothing(subject, 1):
        return None
    return Finding(
        "softmax_for_multi_label",
        "problem",
        f"Up to {int(counts.max())} labels of an example are true at once, and a softmax makes "
        "their probabilities sum to 1.",
        {"most true labels": float(counts.max()), "mean of true labels": float(counts.mean())},
        "a softmax over labels of which several are 1 in more than 5 % of the examples",
        _EXPERIMENT,
    )


def binary_loss_for_classes(subject: Subject, _: Reach) -> Finding | None:
    """Look for a loss of two classes, or one output, for targets of three classes or more."""
    out, y = subject.output, target(subject.batch)
    assert out is not None
    assert subject.loss_fn is not None
    if not isinstance(y, Tensor) or y.numel() != out.numel():
        return None
    classes = torch.cat([target(b).flatten() for b in subject.batches]).unique()
    whole = bool((classes == classes.round()).all())
    if len(classes) < 3 or not whole or classes.min() < 0 or classes.max() < 2:
        return None
    # log(1 + exp(-s)) with a target above 1 has no lower bound: -(y - 1) s for large s.
    high = loss_of(subject.loss_fn, torch.full_like(out, 1e4), y * 0 + classes.max())
    refused = math.isnan(loss_of(subject.loss_fn, out.sigmoid(), y))
    # -y log p - (1 - y) log(1 - p) is 0 near p = 1 for the class 1, and far below it for 2.
    near = torch.full_like(out, 1 - 1e-6)
    one, most = (loss_of(subject.loss_fn, near, y * 0 + c) for c in (1, classes.max()))
    if not (high < -100 or refused or (abs(one) < 0.1 and most < -1)):
        return None
    return Finding(
        "binary_loss_for_classes",
        "problem",
        f"Targets are {len(classes)} classes, {digits(float(classes.min()))} to "
        f"{digits(float(classes.max()))}, and the loss is that of two: it has no lower bound.",
        {"classes": float(len(classes)), "loss at an output near 1": most},
        "targets above 1 in a loss of two classes",
        _EXPERIMENT,
    )


def output_range_too_small(subject: Subject, values: Reach) -> Finding | None:
    """Look for targets that the last activation cannot reach."""
    out, y = subject.output, target(subject.batch)
    assert out is not None
    assert subject.loss_fn is not None
    unbounded = values.low == float("-inf") and values.high == float("inf")
    if unbounded or ignores_targets(subject):
        return None
    finite = lambda v: abs(v) < float("inf")  # noqa: E731
    measure = partial(loss_of, subject.loss_fn, y=y)
    best = [
        g for g in guesses(out, y, subject.loss_fn) if not measure(2 * g) < measure(g) - 0.5
    ]  # has a least loss
    free = [v for v in map(measure, best) if finite(v)]
    held = [v for v in (measure(g.clamp(values.low, values.high)) for g in best) if finite(v)]
    here = measure(out)
    if not free or not held or not finite(here):
        return None
    lost, range_ = min(held) - min(free), max(here, min(held)) - min(free)
    if not lost > 0.05 * range_ > 0:
        return None
    return Finding(
        "output_range_too_small",
        "problem",
        f"Outputs stay between {digits(values.low)} and {digits(values.high)}, whatever the "
        f"parameters are: the loss cannot fall below {digits(min(held))}; without that limit it "
        f"could reach {digits(min(free))}.",
        {"least loss in range": min(held), "least loss": min(free), "loss now": here},
        "the range costs more than 5 % of the loss",
        _EXPERIMENT,
    )


def loss_sign_wrong(subject: Subject, values: Reach) -> Finding | None:
    """Look for a loss that is larger at the targets than away from them."""
    out, y = subject.output, target(subject.batch)
    assert out is not None
    assert subject.loss_fn is not None
    measure = partial(loss_of, subject.loss_fn, y=y)
    if not _compares(subject.loss_fn, _noise(out), y):
        return None
    fitting = next(guesses(out, y), None)
    climbs = all(group.get("maximize") for group in subject.optimizer.param_groups)
    if fitting is None:
        return None if climbs else _falls_both_ways(subject, values)
    right, nothing, wrong = map(measure, (fitting, torch.zeros_like(out), -fitting))
    if not (right < nothing < wrong if climbs else right > nothing > wrong):
        return None if climbs else _rises_to(fitting, measure)
    return Finding(
        "loss_sign_wrong",
        "problem",
        f"The loss is {digits(right)} where outputs fit the targets, {digits(nothing)} where they "
        f"are 0, and {digits(wrong)} where they are the opposite: it has the wrong sign"
        + (", for the optimizer maximizes it (maximize=True)." if climbs else "."),
        {"loss at the targets": right, "at 0": nothing, "at the opposite": wrong},
        "what is minimized grows from the opposite of the targets to the targets",
        _EXPERIMENT,
    )


def _compares(loss_fn: LossFn, out: Tensor, y: Any) -> bool:  # noqa: ANN401 - what a loss takes
    """Return whether a loss asks which target an output belongs to, as a generator's does not.

    Nor does one that is another each time, as it is where a policy draws what it does.
    """
    here = loss_of(loss_fn, out, y)
    if here != loss_of(loss_fn, out, y):
        return False
    if not isinstance(y, Tensor) or y.ndim == 0 or torch.equal(y.roll(1, 0), y):
        return True
    return here != loss_of(loss_fn, out, y.roll(1, 0))


def _rises_to(fitting: Tensor, measure: Callable[[Tensor], float]) -> Finding | None:
    """Look for a loss that is largest at the targets, whatever their scale and sign.

    So is a ratio of signal to noise, and what else asks for the direction of outputs alone.
    """
    size = float(fitting.std()) if fitting.numel() > 1 else 0.0
    right = [measure(factor * fitting) for factor in (1.0, 3.0, -1.0)]
    away = [measure(fitting + far * size * _noise(fitting)) for far in (0.5, 2.0, 8.0)]
    if not (size > 0 and min(right) > away[0] > away[1] > away[2]):
        return None
    return Finding(
        "loss_sign_wrong",
        "problem",
        f"The loss is {digits(right[0])} where outputs fit the targets, {digits(away[0])} where "
        f"noise is added to them and {digits(away[2])} with more of it: it has the wrong sign.",
        {"loss at the targets": right[0], "near them": away[0], "away from them": away[2]},
        "the loss is largest at the targets, three times them and their opposite, and falls from "
        "there",
        _EXPERIMENT,
    )


def _falls_both_ways(subject: Subject, values: Reach) -> Finding | None:
    """Look for a loss that falls without end along lines of outputs, to both sides.

    A loss that has a least value rises to one side at least. Outputs are held within their reach:
    a loss of log-probabilities has a least value for these alone.
    """
    out, y = subject.output, target(subject.batch)
    assert out is not None
    assert subject.loss_fn is not None
    held = partial(torch.clamp, min=values.low, max=values.high)
    near, far = (
        [loss_of(subject.loss_fn, held(s * size * _noise(out)), y) for s in (1, -1)]
        for size in (1e2, 1e4)
    )
    if not all(-float("inf") < f < min(-1.0, 10 * n) for n, f in zip(near, far, strict=True)):
        return None
    return Finding(
        "loss_sign_wrong",
        "problem",
        f"The loss falls without end along a line of outputs, to {digits(far[0])} at one side and "
        f"to {digits(far[1])} at the other: it has the wrong sign.",
        {"loss at one side": far[0], "at the other": far[1]},
        "ten times as low at a hundred times the outputs, to both sides",
        _EXPERIMENT,
    )


def loss_without_bound(subject: Subject, values: Reach) -> Finding | None:
    """Look for a loss that falls without end along a straight line: no log-probabilities given."""
    out, y = subject.output, target(subject.batch)
    assert out is not None
    assert subject.loss_fn is not None
    if class_dimension(out, y) is None:
        return None
    losses = [loss_of(subject.loss_fn, _noise(out).abs() * s, y) for s in (1.0, 1e2, 1e4)]
    linear = abs(losses[2] - 1e4 * losses[0]) <= 1e-2 * abs(losses[2]) and losses[2] < 0
    if not linear or values.high <= 0:
        return None
    return Finding(
        "loss_unsuited",
        "problem",
        "The loss is linear in the outputs and expects log-probabilities; the outputs are "
        + ("probabilities." if values.sums_to_one is not None else "plain scores."),
        {"loss at outputs": losses[0], "loss at 10000 times them": losses[2]},
        "the loss of 10000 times the outputs is 10000 times the loss",
        _EXPERIMENT,
    )


CHECKS: tuple[Callable[[Subject, Reach], Finding | None], ...] = (
    softmax_before_cross_entropy,
    softmax_over_one_unit,
    softmax_for_multi_label,
    sigmoid_before_bce_with_logits,
    relu_output_into_log,
    binary_loss_for_classes,
    output_range_too_small,
    loss_without_bound,
    loss_sign_wrong,
)
