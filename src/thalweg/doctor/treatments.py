"""Treatments: what is tried on a copy for each cause, and the signs that a cause needs first."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd as _Dropout

from thalweg.doctor.baseline import squares
from thalweg.doctor.checks.data import features, within_batches
from thalweg.doctor.checks.outputs import reach
from thalweg.doctor.checks.parameters import missing
from thalweg.doctor.checks.shapes import loss_not_mean, summed
from thalweg.doctor.cuts import cuts, differentiated, graphless, uncut
from thalweg.doctor.exchange import compares_sides, exchanged
from thalweg.doctor.first_weights import activating, drawing
from thalweg.doctor.layers import replaced
from thalweg.doctor.loaders import Batch, inputs, joinable, merged, shuffled, target
from thalweg.doctor.normalization import normalizes, tiny_batches
from thalweg.doctor.scale import Scale, goals, numbers, standardized, unit
from thalweg.doctor.subject import Copy, Subject, first_tensor
from thalweg.doctor.treatment import Treatment
from thalweg.words import digits, listed, percent

__all__ = [
    "DECORRELATED",
    "adam",
    "clipping",
    "decorrelating",
    "elementary",
    "larger_batches",
    "one_batch",
    "outliers",
    "scaled_rate",
    "treatments",
]

_RARE, _OUTLYING = 0.05, 20.0  # share of outliers, and quartile ranges from the median
_UNLIKE = 50.0  # variance along the main direction of inputs over the median one
_COLUMNS = 1024  # of inputs whose directions are asked for
_NOISY = 8  # examples of batches that may be too small
_CLIPPED = (100.0, 1e4)  # times the norm that gradients are clipped to
_ROWS = 4096  # examples whose quartiles are taken
_ROUNDING = 1e-3  # above 1
_TOGETHER = 0.8  # of the variance of targets within shuffled batches
_TINY = 1e-12  # in place of 0
_MOST = 0.7  # of what dropout is given


DECORRELATED = 3  # rank of decorrelated inputs


def treatments(subject: Subject) -> Iterator[Treatment]:
    """Yield the treatments whose sign is seen, but for those of the rate."""
    yield from outliers(subject)
    yield from _probable(subject)
    if compares_sides(subject):
        yield Treatment(
            "loss_sign_wrong",
            0,
            "both sides of pairs exchanged",
            "What the loss draws together and what it drives apart may have changed places.",
            around=exchanged,
        )
    yield from _scaling(subject)
    yield from _waking(subject)
    yield from _unfreezing(subject)
    yield from _holding(subject)
    yield from _attaching(subject)
    yield from drawing(subject)
    yield from activating(subject)
    decays = [float(g.get("weight_decay", 0.0)) for g in subject.optimizer.param_groups]
    if max(decays, default=0.0) > 0:
        yield Treatment(
            "weight_decay_too_high",
            1,
            "no weight decay",
            f"Weight decay is {digits(max(decays))}.",
            _without_decay,
        )
    yield from _keeping(subject)
    yield from _summed(subject)
    if subject.clip is not None:
        yield from _unclipping(subject, subject.clip)
    yield from _ordering(subject)


def clipping(subject: Subject, norm: float) -> Treatment:
    """Return the treatment that clips gradients to a norm.

    Gradients explode where weights are used again and again; elsewhere a rate that is too high
    is the likelier cause, where a lower one helps as much.
    """
    kinds = (nn.RNNBase, nn.RNNCellBase)
    recurrent = any(isinstance(m, kinds) for m in subject.model.modules())
    return Treatment(
        "exploding_gradient_no_clipping",
        2 if recurrent or subject.reused else 5,
        f"gradients clipped to the norm {digits(norm)}",
        "",
        partial(_clipped, norm=norm),
    )


def _clipped(twin: Copy, norm: float) -> None:
    twin.clip = norm


def elementary() -> Iterator[Treatment]:
    """Yield what keeps logarithms and exponentials where they and their derivatives are finite.

    They come before scales, rates and first weights, which keep their arguments there, too.
    """
    yield Treatment(
        "loss_not_finite",
        -1,
        "every logarithm's argument kept above 0",
        "A logarithm takes a number that is 0 or below, as an exponential, a softmax or 1 minus a "
        "sigmoid is where it is too small for its precision: use logsumexp, log_softmax, "
        "logsigmoid, or a loss that takes scores.",
        around=partial(replaced, {"log"}, _above_zero),
    )
    yield Treatment(
        "loss_not_finite",
        -1,
        "every exponential kept far below the largest number",
        "An exponential takes a number so large that it is infinite: use softmax, logsumexp or "
        "softplus, which subtract the largest number first, or bound its argument.",
        around=partial(replaced, {"exp"}, _below_largest),
    )


def _above_zero(x: Tensor) -> Tensor:
    return x.clamp(min=_TINY).log()


def _below_largest(x: Tensor) -> Tensor:
    if not x.is_floating_point():
        return x.exp()
    most = math.log(torch.finfo(x.dtype).max) / 2  # products and sums of two are finite, too
    return x.clamp(max=most).exp()


def adam(subject: Subject) -> Iterator[Treatment]:
    """Yield an adaptive rule in place of one that is not."""
    groups = subject.optimizer.param_groups
    if any(group.get("momentum") == 0 for group in groups):
        yield Treatment("ill_conditioned", 5, "momentum 0.9", "", _heavy)
    if not any(_adapts(group) for group in groups):
        for lr in (1e-3, 1e-2, 1e-1):
            yield Treatment(
                "ill_conditioned", 5, f"Adam with the rate {lr}", "", partial(_adaptive, lr=lr)
            )


def one_batch() -> Iterator[Treatment]:
    """Yield trainings on the first batch alone, which nearly every model can learn by heart."""
    for lr in (1e-2, 1e-3):
        words = f"Adam with the rate {lr} on one batch"
        change = partial(_adaptive, lr=lr)
        yield Treatment("underfitting", 5, words, "", change, lambda batches: batches[:1])


def larger_batches(subject: Subject) -> Iterator[Treatment]:
    """Yield larger batches at the same rate, which tells noise from a rate that is too high."""
    if subject.pairs and 0 < subject.examples <= _NOISY and not normalizes(subject):
        yield Treatment(
            "noise_floor",
            1,
            "batches of 8 times as many examples",
            f"A lower rate helps, and so do larger batches: those of {subject.examples} are noisy.",
            data=partial(merged, times=8),
        )


def _waking(subject: Subject) -> Iterator[Treatment]:
    """Yield training mode for parts that are in evaluation mode while the model is not."""
    asleep = [name for name, m in subject.copy().model.named_modules() if not m.training]
    if asleep:
        yield Treatment(
            "trained_in_eval_mode",
            0,
            "all modules in training mode",
            f"{len(asleep)} modules are in evaluation mode while the model is in training mode: "
            f"{listed(asleep, 4)}.",
            _awake,
        )


def _keeping(subject: Subject) -> Iterator[Treatment]:
    """Yield no dropout where it leaves out most: elsewhere the share to keep is given."""
    most = max((m.p for m in subject.start_model.modules() if isinstance(m, _Dropout)), default=0.0)
    if most >= _MOST:
        yield Treatment(
            "underfitting",
            1,
            "no dropout",
            f"Dropout leaves out {percent(most)} of what a layer returns; in some libraries its "
            "argument is the share that is kept.",
            _without_dropout,
        )


def _without_dropout(twin: Copy) -> None:
    for module in twin.model.modules():
        if isinstance(module, _Dropout):
            module.p = 0.0


def _awake(twin: Copy) -> None:
    for module in twin.model.modules():
        module.training = True


def _unfreezing(subject: Subject) -> Iterator[Treatment]:
    """Yield the training of parameters that are frozen."""
    named = dict(subject.start_model.named_parameters())
    frozen = [name for name, p in named.items() if not p.requires_grad and p.is_floating_point()]
    if frozen:
        yield Treatment(
            "parameters_frozen",
            0,
            "no frozen parameters",
            f"{len(frozen)} of {len(named)} parameters are frozen: {listed(frozen, 4)}.",
            _unfrozen,
        )


def _unfrozen(twin: Copy) -> None:
    held = {id(p) for p in twin.parameters}
    frozen = [p for p in twin.model.parameters() if not p.requires_grad and p.is_floating_point()]
    for p in frozen:
        p.requires_grad = True
    added = [p for p in frozen if id(p) not in held]
    if added:
        twin.optimizer.add_param_group({"params": added})


def _holding(subject: Subject) -> Iterator[Treatment]:
    """Yield an optimizer that has the parameters that it lacks."""
    names = missing(subject)
    if names:
        sign = (
            f"{len(names)} parameters with a gradient are not in the optimizer: {listed(names, 4)}."
        )
        words = "all parameters in the optimizer"
        yield Treatment("parameters_not_in_optimizer", 0, words, sign, partial(_held, names=names))


def _held(twin: Copy, names: Sequence[str]) -> None:
    twin.optimizer.add_param_group({"params": list(map(twin.model.get_parameter, names))})


def _attaching(subject: Subject) -> Iterator[Treatment]:
    """Yield a graph that neither the model's own detach() nor a derivative cuts."""
    shapes = cuts(subject)
    if shapes:
        sign = (
            f"detach() cuts the graph {len(shapes)} times in one pass through the model, first at "
            f"a tensor of the shape {list(shapes[0])}."
        )
        change = lambda twin: uncut(twin.model)  # noqa: E731
        yield Treatment("graph_cut_by_detach", 0, "no detach() in the model", sign, change)
    count = graphless(subject)
    if count:
        sign = (
            f"torch.autograd.grad is called {count} times in a pass without create_graph=True: "
            "what is made of such a derivative is a constant to the gradient."
        )
        words = "create_graph=True"
        yield Treatment("graph_cut_by_detach", 0, words, sign, around=differentiated)


def _unclipping(subject: Subject, norm: float) -> Iterator[Treatment]:
    """Yield clipping at larger norms, and none."""
    sign = f"The norm of gradients is clipped to {digits(norm)}."
    found = [g for g in subject.backward.gradients.values() if g is not None]
    own = float(nn.utils.get_total_norm(found))
    for factor in _CLIPPED:
        if factor * norm < own:  # else no gradient is clipped
            words = f"gradients clipped to the norm {digits(factor * norm)}"
            change = partial(_clipped, norm=factor * norm)
            yield Treatment("gradient_clipped_too_hard", 1, words, sign, change)
    yield Treatment("gradient_clipped_too_hard", 1, "no clipping", sign, _unclipped)


def _unclipped(twin: Copy) -> None:
    twin.clip = None


def _heavy(twin: Copy) -> None:
    for group in twin.optimizer.param_groups:
        group["momentum"] = 0.9


def _adaptive(twin: Copy, lr: float) -> None:
    twin.optimizer = torch.optim.Adam(twin.parameters, lr=lr)


def scaled_rate(twin: Copy, factor: float) -> None:
    """Multiply the rate of every group of a copy."""
    for group in twin.optimizer.param_groups:
        if "lr" in group:
            group["lr"] = group["lr"] * factor


def _without_decay(twin: Copy) -> None:
    for group in twin.optimizer.param_groups:
        if "weight_decay" in group:
            group["weight_decay"] = 0.0


def _summed(subject: Subject) -> Iterator[Treatment]:
    """Yield the mean in place of a sum over examples, which is a lower rate where rules feel it."""
    groups = subject.optimizer.param_groups
    if not subject.pairs or subject.output is None or any(_adapts(group) for group in groups):
        return
    found = loss_not_mean(subject)
    if found is not None:
        for size in summed(subject):
            lower = partial(scaled_rate, factor=1 / size)
            yield Treatment("loss_not_mean", 1, f"the sum divided by {size}", found.sentence, lower)


def _adapts(group: dict[str, Any]) -> bool:
    """Return whether a rule divides by the size of gradients."""
    return "betas" in group or "alpha" in group or "lr_decay" in group or "rho" in group


# Scales of inputs and targets


def _scaling(subject: Subject) -> Iterator[Treatment]:
    if not subject.pairs:
        return
    x_scale = next((s for s in map(Scale.of, numbers(subject.batches)) if s.far), None)
    y_scales = (Scale.of(y) for y in goals(subject.batches) if y is not None)
    y_scale = next((scale for scale in y_scales if scale.unlike_unit), None)
    if x_scale is not None:
        sign = (
            f"Inputs have mean {digits(x_scale.mean)} and size {digits(x_scale.size)}; their "
            f"columns differ {digits(x_scale.spread)}-fold in scale."
        )
        yield Treatment("inputs_not_scaled", 0, "standardized inputs", sign, data=standardized)
    if y_scale is not None:
        sign = f"Targets have mean {digits(y_scale.mean)} and size {digits(y_scale.size)}."
        both = partial(standardized, targets=True)
        words = "standardized inputs and targets" if x_scale else "standardized targets"
        yield Treatment("inputs_and_targets_not_scaled", 0, words, sign, data=both)


def outliers(subject: Subject) -> Iterator[Treatment]:
    """Yield targets without outliers, where a few lie far from all others."""
    out, loss_fn = subject.output, subject.loss_fn
    y = _numbers(subject) if subject.pairs else None
    if y is None or out is None or loss_fn is None:
        return
    first = target(subject.batch)
    if out.numel() != first.numel():
        return
    low, middle, high = torch.quantile(y[:_ROWS], torch.tensor([0.25, 0.5, 0.75]).to(y), dim=0)
    reach = _OUTLYING * (high - low).clamp(min=1e-12)
    far = ((y - middle).abs() > reach).any(1)
    share = float(far.float().mean())
    if not 0 < share <= _RARE or not squares(loss_fn, out, first, float(reach.max())):
        return
    ends = (middle - reach / 4, middle + reach / 4)
    yield Treatment(
        "loss_unsuited",
        0,
        "the outliers drawn in",
        f"{int(far.sum())} of {len(y)} targets lie more than {_OUTLYING:.0f} times the range of "
        "the middle half from the median.",
        data=partial(_drawn_in, ends=ends),
    )


def _probable(subject: Subject) -> Iterator[Treatment]:
    """Yield the cross-entropy in place of a squared error of probabilities."""
    out, loss_fn = subject.output, subject.loss_fn
    y = target(subject.batch) if subject.pairs else None
    if out is None or loss_fn is None or not isinstance(y, Tensor) or y.shape != out.shape:
        return
    if not bool(((y == 0) | (y == 1)).all()) or not squares(loss_fn, out, y, 2.0):
        return
    values = reach(subject)
    if values is None or not (values.low >= 0 and values.high <= 1 + _ROUNDING):
        return
    yield Treatment(
        "loss_unsuited",
        0 if values.sums_to_one is not None else 5,
        "the cross-entropy of the same outputs",
        "Outputs are probabilities of classes, and the loss is their squared error, whose gradient "
        "is all but 0 where the model is wrong and sure of it, or where there are many classes.",
        partial(_surprised, dimension=values.sums_to_one),
    )


def _surprised(twin: Copy, dimension: int | None) -> None:
    """Give a copy the gradient of the cross-entropy, and leave its loss the number that it is."""
    own = twin.loss_fn
    assert own is not None

    def loss_fn(p: Tensor, y: Tensor) -> Tensor:
        y = y.to(p.dtype)
        likely = p.clamp(min=1e-12).log()
        if dimension is None:
            surprise = -(y * likely + (1 - y) * (1 - p).clamp(min=1e-12).log()).mean()
        else:
            surprise = -(y * likely).sum(dimension).mean()
        return own(p, y).detach() + surprise - surprise.detach()

    twin.loss_fn = loss_fn


def _drawn_in(batches: list[Batch], ends: tuple[Tensor, Tensor]) -> list[Batch]:
    """Return batches with targets between two ends."""
    found = []
    for batch in batches:
        y = target(batch)
        inside = y.reshape(len(y), -1).clamp(*ends).reshape(y.shape)
        found.append((*inputs(batch), inside))
    return found


def _numbers(subject: Subject) -> Tensor | None:
    """Return the targets of a regression, a row an example; None for classes."""
    found = goals(subject.batches) if isinstance(target(subject.batch), Tensor) else []
    return found[0] if found else None


def decorrelating(subject: Subject) -> Iterator[Treatment]:
    """Yield decorrelated inputs where one direction of them is far larger than the usual one."""
    x = first_tensor(inputs(subject.batch)) if subject.pairs else None
    adapts = any(_adapts(group) for group in subject.optimizer.param_groups)
    if adapts or x is None or x.ndim != 2 or not 2 <= x.shape[1] <= _COLUMNS:
        return
    if inputs(subject.batch)[0] is not x:  # one of several in a tuple or dict
        return
    rows = features(subject.batches)
    if rows is None or len(rows) <= rows.shape[1] or not bool(rows.isfinite().all()):
        return
    sizes = torch.linalg.eigvalsh(torch.cov(unit([rows.double()])[0].T)).flip(0)
    sizes = sizes[sizes > 1e-6 * sizes[0]]
    spread = float(sizes[0] / sizes[len(sizes) // 2])
    if spread > _UNLIKE:
        sign = (
            f"The inputs' variance is {digits(spread)} times as large along their main direction "
            "as along the median one."
        )
        yield Treatment(
            "ill_conditioned", DECORRELATED, "decorrelated inputs", sign, data=_decorrelated
        )


def _decorrelated(batches: list[Batch]) -> list[Batch]:
    """Return batches whose inputs have deviation 1 in every direction that they span."""
    xs = unit([inputs(batch)[0] for batch in batches])
    sizes, axes = torch.linalg.eigh(torch.cov(torch.cat(xs).double().T))
    factors = torch.where(sizes > 1e-6 * sizes.max(), sizes.clamp(min=1e-12).rsqrt(), 0.0)
    turn = axes @ (factors[:, None] * axes.T)
    turned = [(x.double() @ turn).to(x.dtype) for x in xs]
    return [(x, *inputs(b)[1:], target(b)) for x, b in zip(turned, batches, strict=True)]


# Order and size of batches


def _ordering(subject: Subject) -> Iterator[Treatment]:
    share = within_batches(subject) if subject.pairs and joinable(subject.batches) else None
    if share is not None and share < _TOGETHER * (1 - 1 / subject.examples):
        yield Treatment(
            "data_sorted_not_shuffled",
            0,
            "examples in a random order",
            f"Targets within a batch are alike: their variance there is {percent(share)} of that "
            "of all. A stream may be shuffled within too small a buffer.",
            data=shuffled,
        )
    size = tiny_batches(subject)
    if size is not None:
        yield Treatment(
            "batch_norm_with_tiny_batches",
            0,
            "batches of 8 times as many examples",
            f"Batches of {size} go through batch normalization.",
            data=partial(merged, times=8),
        )
