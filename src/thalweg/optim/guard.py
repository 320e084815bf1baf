"""What is asked of all gradients before a step: unscaling, being finite, clipping."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from thalweg.optim.options import Options

__all__ = ["gradient_scale"]


def gradient_scale(
    optimizer: Optimizer, options: Options, gradients: Iterable[Tensor]
) -> float | None:
    """Return what gradients are to be multiplied by, the loss scale taken off; None: skip the step.

    Raises:
        FloatingPointError: a gradient is not finite and nonfinite is "raise".
    """
    found, loss_scale = (getattr(optimizer, name, None) for name in ("found_inf", "grad_scale"))
    if found is not None and found.item():
        return None
    scale = 1.0 if loss_scale is None else 1.0 / float(loss_scale)
    return _guarded(optimizer, options, gradients, scale) if options.guarded else scale


@torch.no_grad()
def _guarded(
    optimizer: Optimizer, options: Options, gradients: Iterable[Tensor], scale: float
) -> float | None:
    """Look at all gradients, which are read once more for it: a step needs to know before it."""
    filled = [g for g in gradients if g.numel()]
    if not filled:
        return scale
    if options.nonfinite != "propagate" and not math.isfinite(_norm(filled, math.inf)):
        if options.nonfinite == "raise":
            raise FloatingPointError(_which(optimizer))
        return None
    if options.clip_norm is not None:
        factor = options.clip_norm / (_norm(filled, 2.0) * scale + 1e-6)
        if not factor > 1:  # as torch.nn.utils.clip_grad_norm_: NaN makes every gradient NaN
            scale *= factor
    return scale


def _norm(gradients: list[Tensor], order: float) -> float:
    """Return the norm of all gradients together, those parts included that other processes hold."""
    norm: Any = get_total_norm(gradients, norm_type=order)
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def _which(optimizer: Optimizer) -> str:
    """Name the first parameter whose gradient is not finite."""
    name = "a parameter"
    for number, group in enumerate(optimizer.param_groups):
        names: Any = group.get("param_names")
        for index, p in enumerate(group["params"]):
            if p.grad is not None and not torch.isfinite(p.grad).all():
                name = names[index] if names else f"parameter {index} of group {number}"
                return f"the gradient of {name} is not finite; nothing was changed"
    return f"the gradient of {name} is not finite; nothing was changed"
