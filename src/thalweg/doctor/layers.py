"""Layers: activations and gradients of each, read off one pass on a copy."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.doctor.loaders import inputs, target
from thalweg.doctor.subject import Copy, Subject, first_tensor
from thalweg.stack.calls import Calls

__all__ = [
    "Activation",
    "activations",
    "fading",
    "fading_along",
    "gains",
    "replaced",
    "sensitivity",
]

_RECTIFIERS = {"relu", "relu_"}
_SATURATING = {"sigmoid", "sigmoid_", "tanh", "tanh_", "hardsigmoid", "hardtanh", "softsign"}


@dataclass(frozen=True)
class Activation:
    """What one activation did on the examples that were looked at.

    Args:
        kind: the function, such as ``"relu"``.
        dead: share of its units that are 0 for all examples.
        saturated: share of values within 1 % of an end of the function's range.
        size: root of the mean square of what goes in.
    """

    kind: str
    dead: float
    saturated: float
    size: float


def _is_layer(given: object) -> bool:
    """Return whether what an activation takes is made of inputs: a gate of weights is not."""
    return isinstance(given, Tensor) and not isinstance(given, nn.Parameter)


class _Watch(Calls):
    """Notes what goes in and comes out of activations, in the order of the pass."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Activation] = []

    def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:  # noqa: ANN401
        name = getattr(function, "__name__", "")
        watched = name in _RECTIFIERS | _SATURATING and bool(args) and _is_layer(args[0])
        size = float(args[0].detach().float().pow(2).mean().sqrt()) if watched else 0.0
        out = function(*args, **named)
        if watched and out.ndim > 0 and len(out):
            self.found.append(_activation(name.removesuffix("_"), out.detach().float(), size))
        return out


def _activation(kind: str, out: Tensor, size: float) -> Activation:
    if kind in _RECTIFIERS:
        units = out.flatten(1) if out.ndim > 1 else out[:, None]
        if out.ndim > 2:  # channels of a convolution are its units
            units = out.movedim(1, -1).flatten(0, -2)
        return Activation(kind, float((units == 0).all(0).float().mean()), 0.0, size)
    low = 0.0 if "sigmoid" in kind else -1.0
    ends = (out < low + 0.01 * (1 - low)) | (out > 1 - 0.01 * (1 - low))
    return Activation(kind, 0.0, float(ends.float().mean()), size)


def activations(subject: Subject, model: nn.Module | None = None) -> list[Activation]:
    """Return what the activations do on the first batches, in training mode.

    Args:
        subject: the training.
        model: a copy to look at; the one at the start by default.
    """
    twin, watch = subject.copy(), _Watch()
    if model is not None:
        twin.model = model
    with torch.no_grad(), watch:
        twin.loss(subject.batch)
    return watch.found


class _Bounded(Calls):
    """Notes what activations with a bounded range return, in the order of the pass."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:  # noqa: ANN401
        out = function(*args, **named)
        if getattr(function, "__name__", "") in _SATURATING and args and _is_layer(args[0]):
            self.found += [out] if out.requires_grad else []
        return out


def fading(subject: Subject) -> float:
    """Return the size of the gradient at the first bounded activation over that at the last one.

    Of a recurrent cell they are those of the first and the last element of a sequence, whose
    weights are the same, so that no parameter's gradient shows it. 1 of fewer than two.
    """
    twin, watch = subject.copy(), _Bounded()
    with watch:
        loss = twin.loss(subject.batch)
    if len(watch.found) < 2:
        return 1.0
    ends = torch.autograd.grad(loss, [watch.found[0], watch.found[-1]], allow_unused=True)
    first, last = (0.0 if g is None else float(g.pow(2).mean().sqrt()) for g in ends)
    return first / last if last > 0 else 1.0


def fading_along(subject: Subject) -> float:
    """Return the least gradient at the first element of a sequence, over the largest at any.

    It is asked of what goes into torch's recurrent networks, whose activations are not seen. 1
    without one, and of packed sequences.
    """
    twin, given = subject.copy(), []

    def follow(module: nn.RNNBase, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x = args[0]
        if not isinstance(x, Tensor) or x.ndim < 3:
            return args
        x = x if x.requires_grad else x.detach().requires_grad_()
        given.append((x, 1 if module.batch_first else 0))
        return (x, *args[1:])

    for module in twin.model.modules():
        if isinstance(module, nn.RNNBase):
            module.register_forward_pre_hook(follow)
    loss = twin.loss(subject.batch)
    if not given:
        return 1.0
    found = torch.autograd.grad(loss, [x for x, _ in given], allow_unused=True)
    sizes = [
        g.movedim(along, 0).flatten(1).pow(2).mean(1).sqrt()
        for g, (_, along) in zip(found, given, strict=True)
        if g is not None
    ]
    return min((float(s[0] / s.max()) for s in sizes if s.max() > 0), default=1.0)


class replaced(Calls):  # noqa: N801 - used as a word: with replaced("sigmoid", by)
    """While it is entered, one activation of torch is another function.

    Args:
        names: of torch's functions.
        by: the function in their place.
        operands: how many of the first arguments it takes.
    """

    def __init__(self, names: set[str], by: Callable[..., Tensor], operands: int = 1) -> None:
        super().__init__()
        self._names, self._by, self._operands = names, by, operands

    def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:  # noqa: ANN401
        if (
            getattr(function, "__name__", "") in self._names
            and args
            and isinstance(args[0], Tensor)
        ):
            return self._by(*args[: self._operands])
        return function(*args, **named)


def sensitivity(subject: Subject, change: float = 0.01) -> float:
    """Return how far outputs move, in their deviations, when inputs do by a share of theirs.

    Deviations are over the examples of the first batch. NaN where inputs are no numbers.
    """
    given = inputs(subject.batch) if subject.pairs else ()
    if not given or not all(isinstance(x, Tensor) and x.is_floating_point() for x in given):
        return math.nan
    twin, out = subject.copy(), []
    generator = torch.Generator().manual_seed(0)
    for factor in (0.0, change):
        near = [
            x + factor * x.std(0) * torch.randn(x.shape, generator=generator).to(x) for x in given
        ]
        torch.manual_seed(0)
        with torch.no_grad():
            out.append(first_tensor(twin.outputs((*near, target(subject.batch)))))
    one, other = out
    if one is None or other is None or one.ndim == 0 or len(one) < 2:
        return math.nan
    one, other = one.detach().double(), other.detach().double()
    spread = (one - one.mean(0)).pow(2).mean().sqrt().clamp(min=1e-12)
    return float((other - one).pow(2).mean().sqrt() / spread)


def gains(model: nn.Module) -> dict[str, float]:
    """Return for each weight how much it enlarges its input: root mean square times √inputs.

    torch's own draw has 0.58, Glorot's about 1, He's 1.41. Of a module's own parameters it is not
    known which side the inputs are on: the shorter one counts.
    """
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):  # noqa: SLF001
            found[name] = _gain(module.weight, module.weight[0].numel())
        elif isinstance(module, nn.RNNBase):
            w = module.get_parameter("weight_hh_l0")
            found[name] = _gain(w, w.shape[1])
        else:
            for own, p in _matrices(module):
                found[f"{name}.{own}" if name else own] = _gain(p, min(p.shape[-2:]))
    return found


def _gain(weight: Tensor, inputs: int) -> float:
    return float(weight.detach().float().pow(2).mean().sqrt()) * math.sqrt(inputs)


def _matrices(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the matrices that a module has as parameters of its own; a table of vectors is none."""
    if not isinstance(module, nn.Embedding | nn.EmbeddingBag):
        for name, p in module.named_parameters(recurse=False):
            if p.ndim > 1:
                yield name, p


def constant_weights(model: nn.Module) -> list[str]:
    """Return the weights whose units are all equal, and more than one: those of a gate, in cells.

    A module's own parameter may have its units in rows or in columns.
    """
    found = []
    for prefix, module in model.named_modules():
        layer = isinstance(module, nn.Linear | nn.modules.conv._ConvNd)  # noqa: SLF001
        bias = getattr(module, "bias", None) if layer else None
        if isinstance(bias, Tensor) and not bool((bias == bias[0]).all()):
            continue
        for name, p in module.named_parameters(recurse=False):
            if p.ndim < 2 or len(p) < 2:
                continue
            units = p.detach()
            if isinstance(module, nn.RNNBase):
                units = units.unflatten(0, (-1, module.hidden_size)).transpose(0, 1)
            alike = len(units) > 1 and bool((units == units[:1]).all())
            if not alike and not layer and not isinstance(module, nn.RNNBase):
                alike = p.shape[1] > 1 and bool((units == units[:, :1]).all())
            if alike:
                found.append(f"{prefix}.{name}" if prefix else name)
    return found


def reset(twin: Copy) -> bool:
    """Draw all layers of a copy anew as torch does by default; return whether any could be.

    A module's own matrices are scaled so that they do not enlarge their input.
    """
    torch.manual_seed(0)
    found = False
    for module in twin.model.modules():
        again = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
        if callable(again):
            again()
            found = True
            continue
        for _, p in _matrices(module):
            gain = _gain(p, max(p.shape[-2:]))
            if gain > 0:
                p.detach().div_(gain)
                found = True
    return found


def leaky(x: Tensor) -> Tensor:
    """Return a rectifier that is never dead."""
    return functional.leaky_relu(x, 0.1)
