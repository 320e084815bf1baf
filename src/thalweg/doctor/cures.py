"""Cures: for each cause, what is changed on a copy to see whether the training then learns."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.doctor.checks.shapes import summed
from thalweg.doctor.cuts import CUTS
from thalweg.doctor.layers import leaky, replaced, reset
from thalweg.doctor.loaders import Batch, inputs, merged, target
from thalweg.doctor.rates import evened, rates
from thalweg.doctor.subject import Copy, Subject, leaves
from thalweg.doctor.treatment import Treatment
from thalweg.doctor.treatments import (
    adam,
    clipping,
    decorrelating,
    larger_batches,
    treatments,
)
from thalweg.stack.calls import Calls

__all__ = ["cures", "like"]


def cures(cause: str, subject: Subject) -> Iterator[Treatment]:
    """Yield what cures a cause, on a copy; nothing where the cure is code or data of the user's."""
    if cause in _SIGNED:
        signed = [one for one in treatments(subject) if one.cause == cause]
        yield from signed
        yield from map(_slower, signed if cause in _LARGER else ())
    yield from _others(cause, subject)
    for words, change in _MODELS.get(cause, ()):
        yield Treatment(cause, 0, words, "", prepare=change)
    for words, regroup in _DATA.get(cause, ()):
        yield Treatment(cause, 0, words, "", data=regroup)
    if cause in _UNHELD:
        words = "every parameter that the loss depends on in the optimizer"
        change = partial(_hold_all, batch=subject.batch, unfreeze=cause == "parameters_frozen")
        yield Treatment(cause, 0, words, "", prepare=change)
    if cause == "exploding_gradient_no_clipping":
        found = [g for g in subject.backward.gradients.values() if g is not None]
        for norm in (1.0, float(nn.utils.get_total_norm(found))):
            yield clipping(subject, norm)
    if cause == "loss_not_mean" and subject.output is not None:
        for size in summed(subject):
            words = f"the rate divided by {size}, as the mean would"
            yield Treatment(cause, 0, words, "", prepare=partial(_divide_rate, by=size))
    for words, names, by, operands in _FUNCTIONS.get(cause, ()):
        yield Treatment(cause, 0, words, "", around=partial(replaced, names, by, operands))


def _slower(one: Treatment) -> Treatment:
    """Return a treatment together with a tenth of the rate."""

    def prepare(twin: Copy) -> None:
        one.prepare(twin)
        _divide_rate(twin, 10)

    return replace(one, words=f"{one.words}, and the rate divided by 10", prepare=prepare)


def _others(cause: str, subject: Subject) -> Iterator[Treatment]:
    """Yield rates, rules, directions and sizes of batches."""
    yield from (one for _, one in rates() if one.cause == cause)
    yield from (one for one in evened(subject) if one.cause == cause)
    if cause in {"ill_conditioned", "plateau"}:
        yield from adam(subject)
    if cause == "ill_conditioned":
        yield from decorrelating(subject)
    if cause == "noise_floor":
        yield from larger_batches(subject)
        yield from (replace(one, cause=cause) for factor, one in rates() if factor < 1)


class _Last(Calls):
    """Notes what went into the last of some functions."""

    def __init__(self, names: set[str]) -> None:
        super().__init__()
        self._names = names
        self.taken: Tensor | None = None
        self.given: Tensor | None = None

    def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:  # noqa: ANN401
        out = function(*args, **named)
        if (
            getattr(function, "__name__", "") in self._names
            and args
            and isinstance(args[0], Tensor)
        ):
            self.taken, self.given = args[0], out
        return out


class _WithoutLast(nn.Module):
    """A module whose last activation is another function.

    Args:
        model: the module.
        names: of the activations.
        by: the function in their place.
        inverse: of the activation, where the module computes it by other functions.
    """

    def __init__(
        self,
        model: nn.Module,
        names: set[str],
        by: Callable[[Tensor], Tensor],
        inverse: Callable[[Tensor], Tensor] | None,
    ) -> None:
        super().__init__()
        self.model, self._names, self._by, self._inverse = model, names, by, inverse

    def forward(self, *x: Any) -> Any:  # noqa: ANN401 - what the user's module takes and returns
        with _Last(self._names) as last:
            out = self.model(*x)
        if last.taken is not None and last.given is not None and _equal(last.given, out):
            return self._by(last.taken).reshape(out.shape)
        return self._inverse(out) if self._inverse is not None else out


def _equal(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors hold the same numbers, in whatever shape."""
    return torch.equal(one.detach().flatten(), other.detach().flatten())


def _same(x: Tensor) -> Tensor:
    return x


def _divided_by(x: Tensor, y: Tensor | float) -> Tensor:
    y = torch.as_tensor(y, dtype=x.dtype)
    return x * torch.where(y == 0, 1e-8, y).reciprocal()


def _log(p: Tensor) -> Tensor:
    return p.clamp(min=1e-12).log()


def _without_last(
    names: set[str],
    by: Callable[[Tensor], Tensor] = _same,
    inverse: Callable[[Tensor], Tensor] | None = None,
) -> Callable[[Copy], None]:
    def prepare(twin: Copy) -> None:
        twin.model = _WithoutLast(twin.model, names, by, inverse)

    return prepare


def _same_shape(twin: Copy) -> None:
    own = twin.loss_fn
    if own is not None:
        twin.loss_fn = lambda out, y: own(out.reshape(y.shape), y)


def _divide_rate(twin: Copy, by: float) -> None:
    for group in twin.optimizer.param_groups:
        group["lr"] = group["lr"] / by


def _hold_all(twin: Copy, batch: Batch, *, unfreeze: bool) -> None:
    """Give the optimizer every parameter that the loss depends on."""
    if unfreeze:
        twin.model.requires_grad_(requires_grad=True)
    found = [p for p in leaves(twin.loss(batch)) if isinstance(p, nn.Parameter)]
    held = {id(p) for p in twin.parameters}
    first = twin.optimizer.param_groups[0]
    options = {name: value for name, value in first.items() if name != "params"}
    if not any(id(p) in held for p in found):  # it was made of another model
        twin.optimizer.param_groups.clear()
    missing = [p for p in found if id(p) not in held]
    if missing:
        twin.optimizer.add_param_group({"params": missing, **options})


def _unbiased(twin: Copy) -> None:
    """Set the biases of layers to 0, and the rule's state with them."""
    for module in twin.model.modules():
        bias = getattr(module, "bias", None)
        if isinstance(bias, nn.Parameter):
            bias.detach().zero_()
            twin.optimizer.state.pop(bias, None)


def _redrawn(twin: Copy) -> None:
    reset(twin)


def _examples(batches: list[Batch]) -> tuple[list[Tensor], list[int]]:
    """Return the columns of all examples together, and the sizes of batches."""
    columns = [torch.cat(list(column)) for column in zip(*batches, strict=True)]
    return columns, [len(batch[0]) for batch in batches]


def _divided(columns: list[Tensor], order: Tensor, sizes: list[int]) -> list[Batch]:
    parts = [column[order].split(sizes) for column in columns]
    return list(zip(*parts, strict=True))


def _shuffled(batches: list[Batch]) -> list[Batch]:
    columns, sizes = _examples(batches)
    order = torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(0))
    return _divided(columns, order, sizes)


def _balanced(batches: list[Batch]) -> list[Batch]:
    """Draw every class equally often."""
    columns, sizes = _examples(batches)
    _, which, counts = columns[-1].flatten().unique(return_inverse=True, return_counts=True)
    weights = (1 / counts.float())[which]
    generator = torch.Generator().manual_seed(0)
    order = torch.multinomial(weights, sum(sizes), replacement=True, generator=generator)
    return _divided(columns, order, sizes)


def _filled(batches: list[Batch]) -> list[Batch]:
    """Put the column's mean where a number is missing; leave out examples without a target."""
    columns, sizes = _examples(batches)
    for place, column in enumerate(columns[:-1]):
        if column.is_floating_point():
            finite = column.isfinite()
            mean = torch.where(finite, column, 0.0).sum(0) / finite.sum(0).clamp(min=1)
            columns[place] = torch.where(finite, column, mean)
    y = columns[-1]
    order = torch.arange(len(y))
    if y.is_floating_point():
        order = order[y.reshape(len(y), -1).isfinite().all(1)]
        sizes = [sizes[0]] * (len(order) // sizes[0])
        order = order[: sum(sizes)]
    return _divided(columns, order, sizes)


def like(batches: list[Batch], others: list[Batch]) -> list[Batch]:
    """Return batches whose inputs have the mean and deviation of others, column by column.

    Of images and series the second dimension counts columns: their channels.
    """
    (x, *rest), sizes = _examples(batches)
    goal = _examples(others)[0][0]
    over = [dimension for dimension in range(x.ndim) if dimension != 1]
    ratio = goal.std(over, keepdim=True) / x.std(over, keepdim=True).clamp(min=1e-12)
    x = (x - x.mean(over, keepdim=True)) * ratio + goal.mean(over, keepdim=True)
    return _divided([x, *rest], torch.arange(len(x)), sizes)


def _from_zero(batches: list[Batch]) -> list[Batch]:
    least = min(int(target(batch).min()) for batch in batches)
    return [(*inputs(batch), target(batch) - least) for batch in batches]


_NO_SOFTMAX = ("no softmax at the end", _without_last({"softmax"}, inverse=_log))
_NO_SIGMOID = ("no sigmoid at the end", _without_last({"sigmoid"}, inverse=torch.logit))
_PLAIN = ("zero_grad(), backward() and step() in this order, in training mode", lambda _: None)
_DRAWN = ("weights drawn anew as torch does", _redrawn)

_SIGNED = {  # what ``treatments`` has
    "inputs_not_scaled",
    "inputs_and_targets_not_scaled",
    "init_too_large",
    "vanishing_gradient_sigmoid",
    "weight_decay_too_high",
    "batch_norm_with_tiny_batches",
    "gradient_clipped_too_hard",
    "underfitting",
}
_LARGER = {"vanishing_gradient_sigmoid"}  # after whose cure gradients are far larger
_UNHELD = {
    "parameters_not_in_optimizer",
    "parameters_not_registered",
    "parameters_frozen",
    "optimizer_of_another_model",
}
# Changes of the copy, by cause.
_MODELS: dict[str, tuple[tuple[str, Callable[[Copy], object]], ...]] = {
    "softmax_before_cross_entropy": (_NO_SOFTMAX,),
    "softmax_for_multi_label": (
        _NO_SOFTMAX,
        ("a sigmoid instead of the softmax", _without_last({"softmax"}, torch.sigmoid)),
    ),
    "softmax_over_one_unit": (
        ("a sigmoid instead of the softmax", _without_last({"softmax"}, torch.sigmoid)),
        ("no softmax at the end", _without_last({"softmax"})),
    ),
    "sigmoid_before_bce_with_logits": (_NO_SIGMOID,),
    "relu_output_into_log": (
        ("softplus instead of the last ReLU", _without_last({"relu"}, functional.softplus)),
    ),
    "output_range_too_small": (
        (
            "no activation at the end",
            _without_last({"sigmoid", "tanh", "relu", "softmax", "hardtanh"}),
        ),
    ),
    "loss_broadcasts": (("outputs in the shape of the targets", _same_shape),),
    "gradients_not_zeroed": (_PLAIN,),
    "gradients_lost_before_step": (_PLAIN,),
    "trained_in_eval_mode": (_PLAIN,),
    "schedule_ends_too_early": (("the highest rate throughout", lambda _: None),),
    "constant_init": (_DRAWN,),
    "dead_relu": (("biases that start at 0", _unbiased), _DRAWN),
    "plateau": (_DRAWN,),
}
_DATA: dict[str, tuple[tuple[str, Callable[[list[Batch]], list[Batch]]], ...]] = {
    "data_sorted_not_shuffled": (("shuffled examples", _shuffled),),
    "class_imbalance": (("classes drawn equally often", _balanced),),
    "batch_norm_with_tiny_batches": (
        ("batches of 16 times as many examples", partial(merged, times=16)),
    ),
    "nan_in_inputs": (("missing values filled with the mean", _filled),),
    "labels_out_of_range": (("classes counted from 0", _from_zero),),
}


def _within(x: Tensor) -> Tensor:
    return x.clamp(-1 + 1e-6, 1 - 1e-6)


_FUNCTIONS: dict[str, tuple[tuple[str, set[str], Callable[..., Tensor], int], ...]] = {
    "graph_cut_by_detach": (("no detach()", CUTS, _same, 1),),
    "dead_relu": (("leaky rectifiers", {"relu", "relu_"}, leaky, 1),),
    "nan_gradient_of_sqrt_at_zero": (
        ("sqrt(x + 1e-8)", {"sqrt"}, lambda x: (x + 1e-8) ** 0.5, 1),
        ("acos of what is kept off 1", {"acos"}, lambda x: torch.acos(_within(x)), 1),
        ("asin of what is kept off 1", {"asin"}, lambda x: torch.asin(_within(x)), 1),
    ),
    "gradient_not_finite": (
        ("log(x + 1e-8)", {"log"}, lambda x: torch.log2(x + 1e-8) / 1.442695, 1),
        (
            "a small number for a divisor of 0",
            {"div", "true_divide", "__truediv__"},
            _divided_by,
            2,
        ),
    ),
}
