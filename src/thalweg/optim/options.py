"""Options: what every class of ``thalweg.optim`` takes beside torch's arguments."""

from dataclasses import dataclass
from typing import Literal

import torch

__all__ = ["Options"]

_CHOICES = {
    "cautious": (False, True),
    "independent_decay": (False, True),
    "zero_gradients": (False, True),
    "nonfinite": ("propagate", "skip", "raise"),
    "rounding": ("nearest", "stochastic", "kahan"),
    "state_dtype": (None, torch.float32, torch.bfloat16),
    "product_dtype": (None, torch.bfloat16),
}


@dataclass(frozen=True)
class Options:
    """What a step does beside its rule; each argument is a keyword of every class.

    Args:
        clip_norm: greatest Euclidean norm of all gradients together, > 0; None (default): no bound.
            The step applies the factor. The norm reads all gradients once more, because it must be
            known before the first gradient is used.
        nonfinite: what an infinite or NaN gradient does: "propagate" into the parameters, as in
            torch (default); "skip" the step; "raise" FloatingPointError with the parameter's name.
            The last two read all gradients once more, as ``clip_norm`` does.
        cautious: whether an element that would move up its gradient stays where it is; False by
            default. Liang et al. 2024, Algorithm 1, without the factor size / (moved + 1) of those
            that move, because it needs a pass over the tensor before the step. So the step is
            shorter than theirs by about the share that stays. A rate 1 / (1 - share) times as high
            makes up for it.
        independent_decay: whether weight decay shrinks parameters by 1 - weight_decay at every rate
            except 0 (Loshchilov & Hutter 2019, equation 12), instead of by 1 - lr * weight_decay or
            by a term in the gradient; False by default.
        state_dtype: torch.bfloat16 or torch.float32, in which state is kept; None (default): that
            of the parameter, as in torch.
        rounding: how bfloat16 is rounded. "nearest" (default): small updates vanish. "stochastic":
            up or down, with the chances that keep the mean; the seed is torch's. "kahan": one more
            bfloat16 per parameter keeps what rounding lost.
        zero_gradients: whether a step leaves gradients at 0; False by default.
        product_dtype: torch.bfloat16, in which Muon and its like then multiply to bring singular
            values near 1, as torch's Muon and its authors' code do: faster where the processor
            multiplies bfloat16. None (default): the parameter's format, and float32 at the least.

    Raises:
        ValueError: a value outside its range.
    """

    clip_norm: float | None = None
    nonfinite: Literal["propagate", "skip", "raise"] = "propagate"
    cautious: bool = False
    independent_decay: bool = False
    state_dtype: torch.dtype | None = None
    rounding: Literal["nearest", "stochastic", "kahan"] = "nearest"
    zero_gradients: bool = False
    product_dtype: torch.dtype | None = None

    @property
    def guarded(self) -> bool:
        """Whether a step must first look at all gradients."""
        return self.clip_norm is not None or self.nonfinite != "propagate"

    def __post_init__(self) -> None:
        bound = self.clip_norm
        if isinstance(bound, (bool, str)) or not (bound is None or bound > 0):
            raise ValueError(f"clip_norm must be > 0 or None, got {bound!r}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                legal = ", ".join(map(str, choices))
                raise ValueError(f"{name} must be one of {legal}, got {getattr(self, name)!r}")
