"""What concerns all gradients before a step: the loss scale, finite values, clipping."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from thalweg.elementwise import minimum
from thalweg.optim.dispatch_keys import followed
from thalweg.optim.memory import local
from thalweg.optim.options import Options

__all__ = ["device_scale", "gradient_scale"]


def gradient_scale(
    optimizer: Optimizer, options: Options, gradients: Iterable[Tensor]
) -> float | Tensor | None:
    """Return the factor of gradients, with the loss scale taken off; None to skip the step.

    It is a tensor if only the tensors' own functions know the norm.

    Raises:
        FloatingPointError: a gradient is not finite and nonfinite is "raise".
    """
    found, loss_scale = (getattr(optimizer, name, None) for name in ("found_inf", "grad_scale"))
    if found is not None and found:  # a GradScaler that found no gradient gives the number 0
        return None
    scale = 1.0 if loss_scale is None else 1.0 / float(loss_scale)
    if not options.guarded:
        return scale
    scale, finite = _guarded(optimizer, options, gradients, scale, _number)
    return scale if finite else None


def device_scale(
    optimizer: Optimizer, options: Options, gradients: Iterable[Tensor]
) -> float | Tensor:
    """Return the factor of gradients, and 1 to take the step or 0 to skip it.

    As ``gradient_scale``, for gradients on a GPU. The host waits for the GPU only if nonfinite is
    "raise". Without any such option it is just the number 1.0.

    Raises:
        FloatingPointError: a gradient is not finite and nonfinite is "raise".
    """
    found, loss_scale = (getattr(optimizer, name, None) for name in ("found_inf", "grad_scale"))
    given = list(gradients)
    if not given or (found is None and loss_scale is None and not options.guarded):
        return 1.0
    one = torch.ones((), dtype=torch.float64, device=given[0].device)
    scale = one if loss_scale is None else one / loss_scale.to(one.device)
    finite = one.bool() if found is None else found.to(one.device) == 0
    if options.guarded:
        scale, own = _guarded(optimizer, options, given, scale, Tensor.double)
        finite = finite & own
    return torch.stack([scale.reshape(()), finite.reshape(()).double()])


@torch.no_grad()
def _guarded(
    optimizer: Optimizer,
    options: Options,
    gradients: Iterable[Tensor],
    scale: Any,  # noqa: ANN401 - a number, or one on a GPU
    read: Callable[[Tensor], Any],
) -> tuple[Any, Any]:
    """Look at all gradients. They are read once more for this, because a step must know before.

    ``read`` turns a norm into a number to compute with, on the host or on a GPU.
    """
    filled = [g for g in gradients if g.numel()]
    finite: Any = True
    if filled and options.nonfinite != "propagate":
        finite = read(_over_all(_nothing, filled)) == 0
        if options.nonfinite == "raise" and not finite:
            raise FloatingPointError(_which(optimizer))
    if filled and options.clip_norm is not None:
        # As torch.nn.utils.clip_grad_norm_: NaN makes every gradient NaN.
        norm = read(_over_all(_square, filled).sqrt()) * scale
        scale = scale * minimum(options.clip_norm / (norm + 1e-6), 1.0)
    return scale, finite


def _number(norm: Tensor) -> float | Tensor:
    """Return a norm as a number; as it is if it is recorded or stands for several."""
    return norm if followed() or hasattr(norm, "__tensor_flatten__") else float(norm)


def _square(gradients: Sequence[Tensor]) -> Tensor:
    """Return the square of the norm, in a format that holds it: float16 ends at 65504."""
    plain, others = _sorted(gradients)
    norms = [
        torch.linalg.vector_norm(g, dtype=torch.float32) if g.dtype is torch.float16 else g
        for g in plain
    ]
    total = get_total_norm(norms).double().square()
    return sum((g.abs().double().square().sum() for g in others), total)


def _nothing(gradients: Sequence[Tensor]) -> Tensor:
    """Return 0, or NaN if a gradient is not finite. The sum over processes tells it to all."""
    plain, others = _sorted(gradients)
    total = 0 * get_total_norm(plain, norm_type=math.inf).double()
    return sum((part for g in others for part in _inner((g - g).sum())), total)


def _sorted(gradients: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Return the gradients that torch's norm of many tensors takes, and all others.

    Subclasses of tensors, and whoever follows a step, know only operations on one tensor.
    """
    if followed():
        return (), gradients
    plain = [g for g in gradients if type(g) is Tensor]
    others = () if len(plain) == len(gradients) else [g for g in gradients if type(g) is not Tensor]
    return plain, others


def _inner(number: Tensor) -> list[Tensor]:
    """Return the tensor that another wraps, or itself if it wraps none."""
    if not hasattr(number, "__tensor_flatten__"):
        return [number]
    names, _ = number.__tensor_flatten__()
    return [part for name in names for part in _inner(getattr(number, name))]


def _over_all(measure: Callable[[Sequence[Tensor]], Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Return the sum of a measure of all gradients; each process has parts of distributed ones."""
    by_mesh: dict[Any, list[Tensor]] = defaultdict(list)
    for g in gradients:
        by_mesh[getattr(g, "device_mesh", None), getattr(g, "placements", ())].append(local(g))
    total = torch.zeros((), dtype=torch.float64, device=local(gradients[0]).device)
    for (mesh, placements), parts in by_mesh.items():
        own = measure([part for part in parts if part.numel()]).to(total.device)
        if mesh is not None:
            from torch.distributed.tensor import DTensor, Partial, Replicate  # noqa: PLC0415 - slow

            kinds = [Replicate() if p.is_replicate() else Partial() for p in placements]
            own = DTensor.from_local(own, mesh, kinds).full_tensor()
        total = total + own
    return total


def _which(optimizer: Optimizer) -> str:
    """Name the first parameter whose gradient is not finite."""
    name = "a parameter"
    for number, group in enumerate(optimizer.param_groups):
        names: Any = group.get("param_names")
        for index, p in enumerate(group["params"]):
            if p.grad is not None and p.grad.numel() and _over_all(_nothing, [p.grad]) != 0:
                name = names[index] if names else f"parameter {index} of group {number}"
                return f"the gradient of {name} is not finite; the step was not taken"
    return f"the gradient of {name} is not finite; the step was not taken"
