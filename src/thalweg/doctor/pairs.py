"""Pairs: inputs, targets and loss of a step of the user's own, where it is no more than these.

Most checks ask what a model returns and what the loss compares it with. A step hides both, so it is
watched once: which module it calls, with what, and which of torch's losses it returns.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from thalweg.doctor.loaders import Batch
from thalweg.doctor.parted import parted
from thalweg.doctor.subject import LossFn, Subject
from thalweg.stack.calls import Calls

__all__ = ["paired"]

_LOSSES = {
    functional.cross_entropy, functional.nll_loss, functional.binary_cross_entropy,
    functional.binary_cross_entropy_with_logits, functional.mse_loss, functional.l1_loss,
    functional.smooth_l1_loss, functional.huber_loss, functional.kl_div,
    functional.poisson_nll_loss, functional.multi_margin_loss, functional.soft_margin_loss,
    functional.multilabel_soft_margin_loss,
}  # fmt: skip
_SCORES = "logits"  # of the outputs that hold a loss, in transformers
_SAME = 1e-6  # of a loss: rounding


class _Scores(nn.Module):
    """A model that returns its loss, as one that returns the scores which the loss is made of.

    Args:
        module: the user's.
        names: of its inputs, without the target's.
    """

    def __init__(self, module: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.module, self._names = module, tuple(names)
        self.training = module.training

    def forward(self, *given: Any) -> Tensor:  # noqa: ANN401 - of the user's
        """Return the scores."""
        scores: Tensor = self.module(**dict(zip(self._names, given, strict=True)))[_SCORES]
        return scores


@dataclass
class _Seen:
    """One step: the calls of modules with parameters, not those within, and of losses."""

    modules: list[tuple[str, dict[str, Any], Any]] = field(default_factory=list)
    losses: list[tuple[Callable[..., Tensor], dict[str, Any], Tensor]] = field(default_factory=list)


class _Losses(Calls):
    def __init__(self, seen: _Seen) -> None:
        super().__init__()
        self._seen = seen

    def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:  # noqa: ANN401
        out = function(*args, **named)
        if function in _LOSSES:
            given = inspect.signature(function).bind(*args, **named).arguments
            self._seen.losses.append((function, dict(given), out))
        return out


def _watched(model: nn.Module, seen: _Seen) -> None:
    """Let a copy of a model note the calls of its modules."""
    depth = 0

    def begin(_: nn.Module, *__: object) -> None:
        nonlocal depth
        depth += 1

    def end(name: str, module: nn.Module, args: Any, named: dict[str, Any], out: Any) -> None:  # noqa: ANN401
        nonlocal depth
        depth -= 1
        if not depth:
            given = inspect.signature(module.forward).bind(*args, **named).arguments
            seen.modules.append((name, dict(given), out))

    for name, module in model.named_modules():
        if next(module.parameters(), None) is not None:
            module.register_forward_pre_hook(begin)
            module.register_forward_hook(partial(end, name), with_kwargs=True)


@dataclass(frozen=True)
class _Form:
    """How a step makes its loss: of which module, which of its inputs, and which loss.

    Args:
        place: of the module in the model.
        names: of the inputs.
        loss_fn: of output and target.
        scores: whether the module returns the loss itself, beside its scores.
    """

    place: str
    names: tuple[str, ...]
    loss_fn: LossFn
    scores: bool

    def module(self, model: nn.Module) -> nn.Module:
        """Return what takes the inputs and returns the output."""
        module = model.get_submodule(self.place)
        return _Scores(module, self.names) if self.scores else module


def paired(subject: Subject) -> Subject:
    """Return a training by a step as one of inputs, targets and loss; itself where it is not one.

    It is one if the step calls one module that has all parameters, once, and returns one of
    torch's losses of what it returned, or if the module returns such a loss of its "logits". Else
    it is parted by experiment.
    """
    if subject.step is None or subject.refusal:
        return subject
    for form in (_of_one_loss, parted):
        try:
            made = form(subject)
            if made is not None and _agree(subject, made):
                return made
        except Exception:  # noqa: BLE001, S112 - a step that cannot be watched is one like any other
            continue
    return subject


def _of_one_loss(subject: Subject) -> Subject | None:
    """Return a training whose step returns one of torch's losses of what one module returns."""
    twin, seen = subject.copy().model, _Seen()
    _watched(twin, seen)

    def read(batch: Batch) -> tuple[_Form, Batch] | None:
        seen.modules.clear()
        seen.losses.clear()
        with _Losses(seen):
            loss = subject.step(twin, batch)  # type: ignore[misc] # it was asked above
        return _form(seen, loss)

    parts = [[read(batch) for batch in part] for part in (subject.batches, subject.validation)]
    found = [one for part in parts for one in part if one is not None]
    if not found or len(found) < len(subject.batches) + len(subject.validation):
        return None
    form = found[0][0]
    batches, validation = ([one[1] for one in part if one] for part in parts)
    if any(other.place != form.place or other.names != form.names for other, _ in found):
        return None
    return _made(subject, form, batches, validation)


def _form(seen: _Seen, loss: Any) -> tuple[_Form, Batch] | None:  # noqa: ANN401 - a step's
    """Return how a step made its loss, and its batch as inputs and target."""
    if len(seen.modules) != 1 or not isinstance(loss, Tensor):
        return None
    place, given, out = seen.modules[0]
    scores = out.get(_SCORES) if isinstance(out, Mapping) else None
    output = out if scores is None else scores
    for function, named, value in seen.losses:
        compared, target = named.pop("input"), named.pop("target")
        if not isinstance(output, Tensor) or not (value is loss or torch.equal(value, loss)):
            continue
        inputs = {n: v for n, v in given.items() if v is not None and not _is(v, target)}
        first = next((v for v in tree_leaves(inputs) if isinstance(v, Tensor) and v.ndim), None)
        whole = compared.data_ptr() == output.data_ptr() and compared.numel() == output.numel()
        if first is None or not whole or not target.ndim or len(target) != len(first):
            continue
        loss_fn = partial(function, **named)
        if compared.shape != output.shape:
            loss_fn = partial(_flat, loss_fn, tuple(compared.shape[1:]))
        return _Form(place, tuple(inputs), loss_fn, scores is not None), (*inputs.values(), target)
    return None


def _is(one: object, other: Tensor) -> bool:
    """Return whether one is a tensor of the same memory as another."""
    return isinstance(one, Tensor) and one.data_ptr() == other.data_ptr()


def _flat(loss_fn: LossFn, shape: tuple[int, ...], output: Tensor, target: Tensor) -> Tensor:
    """Return the loss of an output in the shape in which the user's step compares it."""
    return loss_fn(output.reshape(-1, *shape), target)


def _made(
    subject: Subject, form: _Form, batches: Sequence[Batch], validation: Sequence[Batch]
) -> Subject | None:
    """Return the training of a part of the model that has all of its parameters."""
    if {*subject.model.parameters()} != {*form.module(subject.model).parameters()}:
        return None
    start, optimizer = subject.start
    return Subject(
        form.module(subject.model),
        subject.optimizer,
        form.loss_fn,
        batches,
        validation,
        start=(form.module(start), optimizer),
        clip=subject.clip,
        complete=subject.complete,
    )


def _agree(one: Subject, other: Subject) -> bool:
    """Return whether two forms of a training have the same loss on the first batch and the last."""
    for place in (0, -1):
        losses = []
        for subject in (one, other):
            torch.manual_seed(0)
            losses.append(float(subject.copy().loss(subject.batches[place]).detach()))
        if not math.isclose(*losses, rel_tol=_SAME) and not all(map(math.isnan, losses)):
            return False
    return True
