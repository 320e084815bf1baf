"""Layers: activations and gradients of each, read off one pass on a copy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from thalweg.doctor.subject import Copy, Subject

__all__ = ["Activation", "activations", "gains", "replaced"]

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


class _Watch(TorchFunctionMode):
    """Notes what goes in and comes out of activations, in the order of the pass."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Activation] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401 - torch prescribes the signature
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        name = getattr(func, "__name__", "")
        watched = name in _RECTIFIERS | _SATURATING and args and isinstance(args[0], Tensor)
        size = float(args[0].detach().float().pow(2).mean().sqrt()) if watched else 0.0
        out = func(*args, **(kwargs or {}))
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


class replaced(TorchFunctionMode):  # noqa: N801 - used as a word: with replaced("sigmoid", by)
    """While it is entered, one activation of torch is another function.

    Args:
        names: of torch's functions.
        by: the function in their place.
    """

    def __init__(self, names: set[str], by: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._names, self._by = names, by

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        if getattr(func, "__name__", "") in self._names and args and isinstance(args[0], Tensor):
            return self._by(args[0])
        return func(*args, **(kwargs or {}))


def gains(model: nn.Module) -> dict[str, float]:
    """Return for each weight how much it enlarges its input: root mean square times √inputs.

    torch's own draw has 0.58, Glorot's about 1, He's 1.41.
    """
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):  # noqa: SLF001
            w = module.weight.detach().float()
            found[name] = float(w.pow(2).mean().sqrt()) * w[0].numel() ** 0.5
        elif isinstance(module, nn.RNNBase):
            w = module.get_parameter("weight_hh_l0").detach().float()
            found[name] = float(w.pow(2).mean().sqrt()) * w.shape[1] ** 0.5
    return found


def constant_weights(model: nn.Module) -> list[str]:
    """Return the layers whose units all have the same weights, and more than one unit."""
    found = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd) and len(module.weight) > 1:  # noqa: SLF001
            w = module.weight.detach().flatten(1)
            bias = module.bias
            alike = bool((w == w[:1]).all()) and (bias is None or bool((bias == bias[0]).all()))
            if alike:
                found.append(name)
    return found


def reset(twin: Copy) -> bool:
    """Draw all layers of a copy anew as torch does by default; return whether any could be."""
    torch.manual_seed(0)
    found = False
    for module in twin.model.modules():
        again = getattr(module, "reset_parameters", None)
        if callable(again):
            again()
            found = True
    return found


def leaky(x: Tensor) -> Tensor:
    """Return a rectifier that is never dead."""
    return functional.leaky_relu(x, 0.1)
