"""What is asked of all gradients before a step: unscaling, being finite, clipping."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from thalweg.optim.options import Options

__all__ = ["gradient_scale"]


def gradient_scale(
    optimizer: Optimizer, options: Options, gradients: Sequence[Tensor]
) -> float | None:
    """Return what gradients are to be multiplied by, the loss scale taken off; None: skip the step.

    Raises:
        FloatingPointError: a gradient is not finite and nonfinite is "raise".
    """
    found, loss_scale = (getattr(optimizer, name, None) for name in ("found_inf", "grad_scale"))
    if found is not None and found.item():
        return None
    scale = 1.0 if loss_scale is None else 1.0 / float(loss_scale)
    filled = [g for g in gradients if g.numel()] if options.guarded else []
    if options.nonfinite != "propagate" and filled:
        largest = get_total_norm(filled, norm_type=torch.inf)
        if not torch.isfinite(largest):
            if options.nonfinite == "raise":
                raise FloatingPointError(_which(optimizer))
            return None
    if options.clip_norm is not None and filled:
        factor = options.clip_norm / (float(get_total_norm(filled)) * scale + 1e-6)
        if not factor > 1:  # as torch.nn.utils.clip_grad_norm_: NaN makes every gradient NaN
            scale *= factor
    return scale


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
