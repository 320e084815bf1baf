"""What a loss is worth: that of the best constant output, and the least that outputs can reach."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_flatten, tree_unflatten

from thalweg.doctor.loaders import Batch, inputs, target
from thalweg.doctor.subject import LossFn, Subject, first_tensor

__all__ = ["constant_loss", "guesses", "ignores_targets", "loss_of", "scores", "squares"]

_MOST = 32  # batches whose targets count
_ALIKE = 0.01  # of a loss
_EXACTLY = 1e-9  # of the loss a deviation away
_CONFIDENT = 20.0  # a score whose softmax or sigmoid is 0 or 1 to float32
_KNOWN: WeakKeyDictionary[Subject, float | None] = WeakKeyDictionary()  # of training targets


def loss_of(loss_fn: LossFn, output: Tensor, y: Any) -> float:  # noqa: ANN401 - any targets
    """Return the loss of outputs; NaN where it refuses them."""
    try:
        with torch.no_grad():
            value = loss_fn(output, y)
        return float(value)
    except Exception:  # noqa: BLE001 - what a loss refuses, it refuses in its own way
        return float("nan")


def ignores_targets(subject: Subject) -> bool:
    """Return whether a loss is the same for other targets, as a likelihood of the inputs is."""
    y, out, loss_fn = target(subject.batch), subject.output, subject.loss_fn
    if loss_fn is None or not isinstance(y, Tensor):
        return False
    others = ~y if y.dtype == torch.bool else y + 1
    if out is None:  # several outputs: the loss is asked as a whole
        return _whole(subject, others) == _whole(subject, y)
    return loss_of(loss_fn, out, others) == loss_of(loss_fn, out, y)


def _whole(subject: Subject, y: Tensor) -> float:
    """Return the loss of the first batch with other targets; NaN where it refuses them."""
    twin = subject.copy()
    twin.model.eval()
    torch.manual_seed(0)
    try:
        with torch.no_grad():
            return float(twin.loss((*inputs(subject.batch), y)))
    except Exception:  # noqa: BLE001 - what a loss refuses, it refuses in its own way
        return float("nan")


def squares(loss_fn: LossFn, output: Tensor, y: Tensor, far: float) -> bool:
    """Return whether a loss quadruples at twice a distance from the targets: a squared error.

    Args:
        loss_fn: of outputs and targets.
        output: has the shape that the loss takes.
        y: the targets, a number for each output.
        far: the distance.
    """
    near, twice = (
        loss_of(loss_fn, (y + d).reshape(output.shape).to(output), y) for d in (far, 2 * far)
    )
    return 3.5 < twice / max(near, 1e-12) < 4.5


def guesses(output: Tensor, y: Any, loss_fn: LossFn | None = None) -> Iterator[Tensor]:  # noqa: ANN401
    """Yield outputs that would fit the targets: themselves, or confident scores of their classes.

    Args:
        output: has the shape that the loss takes.
        y: the targets.
        loss_fn: of both; see class_dimension.
    """
    if not isinstance(y, Tensor):
        return
    if y.shape == output.shape:
        values = y.to(output.dtype)
        yield values
        yield _CONFIDENT * (2 * values - 1)
        yield _CONFIDENT * (2 * values.sign() - 1)
    elif y.numel() == output.numel():
        yield y.reshape(output.shape).to(output.dtype)
    else:
        classes = class_dimension(output, y, loss_fn)
        if classes is not None and not y.is_floating_point() and y.min() >= 0:
            hot = scores(output, y, classes)
            yield hot
            yield _CONFIDENT * hot


def class_dimension(output: Tensor, y: Any, loss_fn: LossFn | None = None) -> int | None:  # noqa: ANN401
    """Return the dimension of the outputs that counts classes, given targets without it.

    Args:
        output: of the model.
        y: the targets.
        loss_fn: decides where several dimensions fit, as with as many places as classes: it is
            least for confident scores of the targets along the right one.

    Example:
        >>> class_dimension(torch.zeros(8, 3), torch.zeros(8, dtype=torch.long))
        1
    """
    if not isinstance(y, Tensor) or y.ndim != output.ndim - 1:
        return None
    fit = [d for d in range(1, output.ndim) if output.shape[:d] + output.shape[d + 1 :] == y.shape]
    if len(fit) > 1 and loss_fn is not None and not y.is_floating_point() and y.min() >= 0:
        losses = {d: loss_of(loss_fn, _CONFIDENT * scores(output, y, d), y) for d in fit}
        return min(fit, key=lambda d: losses[d] if losses[d] == losses[d] else float("inf"))
    return fit[0] if fit else None


def scores(output: Tensor, y: Tensor, dimension: int) -> Tensor:
    """Return 1 for the class of the target and 0 for the others, along a dimension of outputs."""
    count = output.shape[dimension]
    hot = functional.one_hot(y.clamp(max=count - 1), count).to(output.dtype)
    return hot.movedim(-1, dimension)


def constant_loss(subject: Subject, batches: Sequence[Batch] | None = None) -> float | None:
    """Return the mean loss of the best output that does not depend on the input.

    Every example, and in longer outputs every place, gets the same numbers.

    Args:
        subject: the training.
        batches: whose targets count; those of training by default.

    Returns:
        The loss; None where outputs are not known, or a constant fits all targets exactly,
        as one fits values and slopes of a differential equation: it is nothing to compare with.
    """
    if not subject.pairs:
        return None
    pairs = zip(batches or (), subject.batches, strict=False)
    same = all(target(one) is target(other) for one, other in pairs)
    if batches and not (same and len(batches) == len(subject.batches)):
        return _constant(subject, batches)
    if subject not in _KNOWN:
        _KNOWN[subject] = _constant(subject, subject.batches)
    return _KNOWN[subject]


def _constant(subject: Subject, batches: Sequence[Batch]) -> float | None:
    if subject.output is None:
        return _of_several(subject, batches)
    return _of_one(subject, subject.output, batches)


def _of_several(subject: Subject, batches: Sequence[Batch]) -> float | None:
    """Return the loss of the best constants where a model returns several tensors."""
    returned, form = tree_flatten(subject.returned())
    count = subject.examples
    rows = [i for i, one in enumerate(returned) if _is_rows(one, count)]
    targets = [y for y in map(target, batches[:_MOST]) if _examples(y) == count]
    if len(rows) < 2 or not targets:
        return None

    def outputs(constants: Sequence[Tensor], count: int) -> Any:  # noqa: ANN401 - as the model's
        whole = list(returned)
        for i, one in zip(rows, constants, strict=True):
            whole[i] = one.expand(count, *one.shape[1:])
        return tree_unflatten(whole, form)

    loss_fn = subject.copy().loss_fn  # with the weights of the start, where it has a penalty
    assert loss_fn is not None
    starts = [torch.zeros_like(returned[i][:1]) for i in rows]
    least, fitted = _fitted(loss_fn, starts, targets, [count] * len(targets), outputs)
    generator = torch.Generator().manual_seed(0)
    aside = [one + torch.randn(one.shape, generator=generator).to(one) for one in fitted]
    far = loss_of(loss_fn, outputs(aside, count), targets[0])
    return least if math.isfinite(least) and not least <= _EXACTLY * far else None


def _is_rows(one: object, count: int) -> bool:
    tensor = isinstance(one, Tensor) and one.is_floating_point() and one.ndim > 0
    return tensor and len(one) == count  # type: ignore[arg-type] # it is a tensor


def _examples(y: Any) -> int:  # noqa: ANN401
    first = first_tensor(y)
    return len(first) if first is not None and first.ndim else 0


def _of_one(subject: Subject, output: Tensor, batches: Sequence[Batch]) -> float | None:
    loss_fn = subject.copy().loss_fn  # as above
    assert loss_fn is not None
    targets = [target(b) for b in batches[:_MOST]]
    if _by_example(subject, loss_fn, output, targets):
        targets = [torch.cat(targets)]
    shape = tuple(_shape(output, target(batches[0]), loss_fn))
    rows = [len(t) if (t := first_tensor(y)) is not None and t.ndim else 1 for y in targets]
    per_row = len(output) / max(1, subject.examples)  # a flattened sequence has more
    counts = [round(row * per_row) for row in rows]
    starts = [torch.zeros(shape), output.mean() * torch.ones(shape)]
    if all(isinstance(y, Tensor) and y.is_floating_point() for y in targets):
        starts.append(torch.stack([y.float().mean() for y in targets]).mean() * torch.ones(shape))
    for start in starts:
        for places in {shape[1:]: None, output.shape[1:]: None}:  # most losses ask for all places
            least, (fitted,) = _fitted(
                loss_fn, [start.to(output)], targets, counts, partial(_expanded, places)
            )
            if math.isfinite(least):
                far = _away(subject, loss_fn, _expanded(places, [fitted], len(output)))
                return None if least <= _EXACTLY * far else least
    return None


def _away(subject: Subject, loss_fn: LossFn, constant: Tensor) -> float:
    """Return the loss of outputs that are one deviation of the targets, or 1, from a constant."""
    y, generator = target(subject.batch), torch.Generator().manual_seed(0)
    like = isinstance(y, Tensor) and y.is_floating_point() and y.numel() == constant.numel()
    unit = float(y.std()) if like and y.numel() > 1 else 1.0
    noise = torch.randn(constant.shape, generator=generator).to(constant)
    return loss_of(loss_fn, constant + (unit or 1.0) * noise, y)


def _by_example(subject: Subject, loss_fn: LossFn, output: Tensor, targets: list[Any]) -> bool:
    """Return whether targets are tensors, and the loss of two batches is the mean of both.

    One that compares the examples of a batch has another value for all of them, and may need more
    memory than there is.
    """
    plain = all(isinstance(y, Tensor) and y.ndim for y in targets)
    if not plain or len({(y.shape[1:], y.dtype) for y in targets}) != 1:
        return False
    generator, pair = torch.Generator().manual_seed(0), targets[:2]
    rows = [round(len(y) * len(output) / max(1, subject.examples)) for y in pair]
    drawn = [torch.randn((n, *output.shape[1:]), generator=generator).to(output) for n in rows]
    both = loss_of(loss_fn, torch.cat(drawn), torch.cat(pair))
    each = [loss_of(loss_fn, out, y) for out, y in zip(drawn, pair, strict=True)]
    mean = sum(n * loss for n, loss in zip(rows, each, strict=True)) / max(1, sum(rows))
    return not abs(both - mean) > _ALIKE * abs(mean)


def _shape(output: Tensor, y: Any, loss_fn: LossFn) -> list[int]:  # noqa: ANN401
    """Return the shape of a constant: the outputs' with 1 for examples and places."""
    shape = [1] * output.ndim
    if output.ndim == 2:
        shape[1] = output.shape[1]
    elif output.ndim > 2:
        classes = class_dimension(output, y, loss_fn)
        classes = classes if classes is not None else (1 if output.ndim == 4 else output.ndim - 1)
        shape[classes] = output.shape[classes]
    return shape


def _expanded(places: tuple[int, ...], constants: Sequence[Tensor], count: int) -> Tensor:
    """Return a constant as outputs of so many rows, the same along what it has as 1."""
    return constants[0].expand(count, *places)


def _fitted(
    loss_fn: LossFn,
    starts: Sequence[Tensor],
    targets: list[Any],
    counts: list[int],
    outputs: Callable[[Sequence[Tensor], int], Any],
) -> tuple[float, list[Tensor]]:
    """Return the least mean loss of constants from a start, and them; inf where none is finite.

    Args:
        loss_fn: of outputs and targets.
        starts: of the constants.
        targets: of each batch, or of all.
        counts: of the rows of outputs for each.
        outputs: makes so many rows of the constants.
    """
    constants = [start.clone().requires_grad_() for start in starts]
    rule = torch.optim.LBFGS(constants, max_iter=20, line_search_fn="strong_wolfe")
    least = math.inf

    def closure() -> Tensor:
        nonlocal least
        rule.zero_grad()
        total = torch.zeros(())
        for y, count in zip(targets, counts, strict=True):
            total = total + loss_fn(outputs(constants, count), y) * (count / sum(counts))
        if total.requires_grad:
            total.backward()
        value = float(total.detach())
        least = min(least, value) if math.isfinite(value) else least
        return total

    with suppress(Exception):  # what a loss refuses, it refuses in its own way
        rule.step(closure)
    return least, [constant.detach() for constant in constants]
