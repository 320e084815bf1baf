"""Guard: what is asked of all gradients before a step: unscaling, clipping, being finite."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

__all__ = ["Guard"]

_WAYS = ("propagate", "skip", "raise")


@dataclass(frozen=True)
class Guard:
    """What happens to gradients that are too large or not finite.

    Args:
        clip_norm: greatest Euclidean norm of all gradients together, > 0; None: no bound.
        nonfinite: what an infinite or NaN gradient does: "propagate" into the parameters, as in
            torch; "skip" the step; "raise" FloatingPointError with the parameter's name.
    """

    clip_norm: float | None
    nonfinite: str

    def __post_init__(self) -> None:
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be > 0 or None, got {self.clip_norm}")
        if self.nonfinite not in _WAYS:
            raise ValueError(f"nonfinite must be one of {', '.join(_WAYS)}, got {self.nonfinite!r}")

    @property
    def active(self) -> bool:
        """Whether it does anything of its own."""
        return self.clip_norm is not None or self.nonfinite != "propagate"

    @torch.no_grad()
    def scale(self, optimizer: Optimizer, gradients: Sequence[Tensor]) -> float | None:
        """Return the factor of all gradients, the loss scale taken off; None: skip the step.

        Raises:
            FloatingPointError: a gradient is not finite and nonfinite is "raise".
        """
        found, loss_scale = (getattr(optimizer, n, None) for n in ("found_inf", "grad_scale"))
        if found is not None and found.item():
            return None
        scale = 1.0 if loss_scale is None else 1.0 / float(loss_scale)
        if self.nonfinite != "propagate" and gradients:
            largest = get_total_norm(gradients, norm_type=torch.inf)
            if not torch.isfinite(largest):
                if self.nonfinite == "raise":
                    raise FloatingPointError(_which(optimizer))
                return None
        if self.clip_norm is not None and gradients:
            norm = float(get_total_norm(gradients)) * scale
            # As torch.nn.utils.clip_grad_norm_; a norm that is not finite stays in the gradients.
            scale *= min(1.0, self.clip_norm / (norm + 1e-6))
        return scale


def _which(optimizer: Optimizer) -> str:
    for number, group in enumerate(optimizer.param_groups):
        names: Any = group.get("param_names")
        for index, p in enumerate(group["params"]):
            if p.grad is not None and not torch.isfinite(p.grad).all():
                name = names[index] if names else f"parameter {index} of group {number}"
                return f"the gradient of {name} is not finite; nothing was changed"
    return "a gradient is not finite; nothing was changed"
