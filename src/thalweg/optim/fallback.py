"""A step of the rule itself on tensors, where there is no kernel: any device, layout and rule."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from thalweg.kind import ELEMENT_WISE
from thalweg.matrices import products_in
from thalweg.optim.memory import gathered, placed
from thalweg.optim.options import Options
from thalweg.optim.recipe import Recipe
from thalweg.optim.state import LOST, computed
from thalweg.tensors import SeveralTruthsError, Tensors

__all__ = ["Alone", "copy", "seen", "shown", "step_tensor", "step_together"]

_HALF = (torch.bfloat16, torch.float16)
_MATRIX = 2  # dimensions


class Alone(NamedTuple):
    """A parameter with its gradient, its state, and the recipe of its group."""

    p: Tensor
    state: dict[str, Any]
    recipe: Recipe


class _Read(NamedTuple):
    """What a rule is called with."""

    g: Tensor
    x: Tensor
    before: dict[str, Any]
    t: int


@torch.no_grad()
def step_tensor(one: Alone, scale: float | Tensor, options: Options) -> None:
    """Take one step of one parameter, in place.

    Args:
        one: the parameter.
        scale: the factor of the gradient.
        options: what else the step does.
    """
    read = _read(one, scale)
    with products_in(options.product_dtype):
        moved, after = _advance(read, one.recipe)
    _write(one, read, moved, after, options)


def _advance(read: _Read, recipe: Recipe) -> tuple[Tensor, dict[str, Any]]:
    """Return the new x and state; of several matrices, each is stepped by itself."""
    step = partial(recipe.rule.advance, t=read.t, hyper=recipe.hyper)
    if read.x.ndim <= _MATRIX or recipe.split == 1:
        return step(read.g, read.x, read.before)

    def own(kept: Any, i: int) -> Any:  # noqa: ANN401
        return kept[i] if getattr(kept, "ndim", 0) else kept

    parts = [
        step(g, x, {name: own(kept, i) for name, kept in read.before.items()})
        for i, (g, x) in enumerate(zip(read.g, read.x, strict=True))
    ]
    after = dict(parts[-1][1])  # uniform state has one value for all of them
    for name in recipe.rule.state:
        after[name] = torch.stack([torch.as_tensor(state[name]) for _, state in parts])
    return torch.stack([moved for moved, _ in parts]), after


@torch.no_grad()
def step_together(
    members: Sequence[Alone],
    scale: float | Tensor,
    options: Options,
    inputs: Mapping[str, Callable[[Tensors], Tensors]],
) -> Callable[[], None]:
    """Take one step of parameters whose rule looks at all of them, such as for one step size.

    Uniform state is one value for all. One that joined later takes it from the others.

    Args:
        members: all parameters of the rule that have a gradient.
        scale: the factor of the gradients.
        options: what else the step does.
        inputs: what the rule may ask for.

    Returns:
        A function that writes the step: what rules ask for, they ask before anything has moved.

    Raises:
        ValueError: groups differ in a hyperparameter that must be the same for all.
    """
    read = [_read(one, scale) for one in members]
    rule = members[0].recipe.rule
    oldest = max(read, key=lambda own: own.t).before
    state = {name: Tensors(own.before[name] for own in read) for name in rule.state}
    state |= {name: oldest[name] for name in rule.uniform_state}
    hyper = {n: _common([one.recipe.hyper[n] for one in members]) for n in rule.hyperparameters}
    g, x = Tensors(own.g for own in read), Tensors(own.x for own in read)
    t = _common([own.t for own in read])
    advance = partial(rule.advance, g, x, state, hyper=hyper, inputs=inputs)
    with products_in(options.product_dtype):
        moved, after = _at_steps(advance, t)
    for name in rule.uniform_state:
        if isinstance(after[name], Tensors):
            several = [n for n, v in hyper.items() if isinstance(v, Tensors) and n != "lr"]
            raise ValueError(  # noqa: TRY004 - of what groups have
                f"rule {rule.name!r} has one {name} for all parameters, so that its groups cannot "
                f"differ in {', '.join(several) or 'their count of steps'}"
            )

    @torch.no_grad()
    def write() -> None:
        for i, (one, own) in enumerate(zip(members, read, strict=True)):
            mine = {n: v.parts[i] if isinstance(v, Tensors) else v for n, v in after.items()}
            _write(one, own, moved.parts[i], mine, options)

    return write


def _at_steps(advance: Callable[..., Any], t: Any) -> tuple[Tensors, dict[str, Any]]:  # noqa: ANN401
    """Return the new x and state of tensors that may have taken different numbers of steps.

    Where an ``if`` on t divides them, the rule is called for each number, always with all tensors,
    which sums go over; each tensor takes its own.
    """
    try:
        moved, after = advance(t=t)
    except SeveralTruthsError:
        if not isinstance(t, Tensors):
            raise
    else:
        return moved, after
    found = {number: advance(t=number) for number in sorted(set(t))}
    moved = Tensors(found[number][0].parts[i] for i, number in enumerate(t))
    after = dict(found[max(t)][1])
    for name, value in after.items():
        if isinstance(value, Tensors):
            after[name] = Tensors(found[n][1][name].parts[i] for i, n in enumerate(t))
    return moved, after


def _common(values: Sequence[Any]) -> Any:  # noqa: ANN401
    """Return a value that all have, or else all of them."""
    return values[0] if all(value == values[0] for value in values) else Tensors(values)


def _read(one: Alone, scale: float | Tensor) -> _Read:
    """Return what the rule is called with."""
    p, state, recipe = one
    keys, rule = recipe.keys, recipe.rule
    t = int(state[keys["step"]]) + 1 if "step" in keys else 1
    assert p.grad is not None
    x = shown(p, p, recipe)
    if LOST in state:
        x = x + shown(state[LOST], p, recipe)
    g = seen(one, p.grad, x, scale)
    x = x * recipe.decay if recipe.decoupled else x
    kept = [name for name in rule.state if name not in recipe.without]
    before: dict[str, Any] = {name: torch.zeros_like(x) for name in recipe.without}
    before |= {name: shown(state[keys[name]], p, recipe) for name in kept}
    before |= {name: float(state[keys[name]]) for name in rule.uniform_state}
    return _Read(g, x, before, t)


def seen(one: Alone, gradient: Tensor, x: Tensor, scale: float | Tensor) -> Tensor:
    """Return a gradient at x as the rule sees it: of what is minimized, with the penalty's."""
    recipe = one.recipe
    g = shown(gradient, one.p, recipe).to(x.dtype)
    factor = -scale if recipe.maximize else scale
    g = g if isinstance(factor, float) and factor == 1.0 else g * factor  # a copy less
    return g + recipe.decay * x if recipe.decay and not recipe.decoupled else g


def _write(one: Alone, read: _Read, moved: Tensor, after: dict[str, Any], options: Options) -> None:
    """Write what the rule returned."""
    p, state, recipe = one
    keys, rule = recipe.keys, recipe.rule
    if options.cautious:
        moved = torch.where((read.x - moved) * read.g <= 0, read.x, moved)  # or to NaN
    stochastic = options.rounding == "stochastic"
    copy(p, moved, stochastic=stochastic)
    if LOST in state:
        copy(state[LOST], moved - shown(p, p, recipe))
    for name in rule.state:
        if name in recipe.without:
            continue
        key = keys[name]
        if rule.kind != ELEMENT_WISE and not recipe.like_parameter:
            state[key] = _room(state[key], p, after[name], read.x, options)
        copy(state[key], after[name], stochastic=stochastic)
    for name in rule.uniform_state:
        state[keys[name]].fill_(after[name])
    if "step" in keys:
        state[keys["step"]].add_(1)


def shown(tensor: Tensor, p: Tensor, recipe: Recipe) -> Tensor:
    """Return a tensor as its rule sees it: a parameter, or what has its shape, as a matrix.

    A rule that looks at more than elements sees all of a distributed one, in every process.
    """
    if recipe.rule.kind != ELEMENT_WISE:
        tensor = gathered(tensor)
    shown = _real(tensor)
    whole = recipe.rule.kind != ELEMENT_WISE and tensor.shape == p.shape
    if not whole or recipe.as_given or (shown.ndim <= 2 and recipe.split == 1):
        return shown
    outputs = shown.shape[0]
    if recipe.split == 1:
        return shown.reshape(outputs, -1)
    return shown.reshape(recipe.split, outputs // recipe.split, -1)


def _room(held: Tensor, p: Tensor, value: Any, x: Tensor, options: Options) -> Tensor:  # noqa: ANN401
    """Return where a state is written: where it was, unless its shape has become another."""
    shape, dtype = tuple(getattr(value, "shape", ())), computed(p)
    if shape == x.shape:
        shape = p.shape if not p.is_complex() else x.shape
        dtype = options.state_dtype or dtype
    if held.shape == shape and held.dtype == dtype:
        return held
    if shape == p.shape:
        return torch.empty_like(p, dtype=dtype).detach()  # distributed as it is
    return torch.empty(shape, dtype=dtype, device=p.device)


def _real(tensor: Tensor) -> Tensor:
    """Return the tensor as real numbers, in the format in which the step computes."""
    real = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return real.float() if real.dtype in _HALF else real


def copy(target: Tensor, value: Any, *, stochastic: bool = False) -> None:  # noqa: ANN401
    """Copy a value into a tensor of as many elements."""
    value = torch.as_tensor(value, dtype=None, device=target.device)
    if stochastic and target.dtype is torch.bfloat16:
        value = value.float()
        bits = value.contiguous().view(torch.int32)
        raised = bits + torch.randint_like(bits, 1 << 16)  # bfloat16 is the upper half of float32
        kept = torch.where(torch.isfinite(value), raised & -(1 << 16), bits)
        value = kept.view(torch.float32)
    if target.is_complex() and not value.is_complex():
        value = torch.view_as_complex(value.reshape(*target.shape, 2).contiguous())
    if value.shape != target.shape:  # what is equal is not viewed: ragged tensors have no view
        value = value.reshape(target.shape)
    target.copy_(placed(value, target))
