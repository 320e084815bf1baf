"""A step of the rule itself on one tensor, where there is no kernel: any device, any layout."""

from typing import Any

import torch
from torch import Tensor

from thalweg.optim.options import Options
from thalweg.optim.recipe import Recipe
from thalweg.optim.state import LOST

__all__ = ["step_tensor"]

_HALF = (torch.bfloat16, torch.float16)


@torch.no_grad()
def step_tensor(
    p: Tensor, state: dict[str, Any], recipe: Recipe, scale: float | Tensor, options: Options
) -> None:
    """Take one step of one parameter, in place.

    Args:
        p: the parameter, with its gradient.
        state: its state, which is changed.
        recipe: of the parameter's group.
        scale: the factor of the gradient.
        options: what else the step does.
    """
    keys = recipe.keys
    t = int(state[keys["step"]]) + 1 if "step" in keys else 1
    rule = recipe.rule
    assert p.grad is not None
    x = _real(p)
    if LOST in state:
        x = x + _real(state[LOST])
    g = _real(p.grad).to(x.dtype) * (-scale if recipe.maximize else scale)
    if recipe.decoupled:
        x = x * recipe.decay
    elif recipe.decay:
        g = g + recipe.decay * x
    kept = [name for name in rule.state if name not in recipe.without]
    before: dict[str, Any] = {name: torch.zeros_like(x) for name in recipe.without}
    before |= {name: _real(state[keys[name]]) for name in kept}
    before |= {name: float(state[keys[name]]) for name in rule.uniform_state}
    moved, after = rule.advance(g, x, before, t=t, hyper=recipe.hyper)
    if options.cautious:
        moved = torch.where((x - moved) * g <= 0, x, moved)  # or to NaN
    stochastic = options.rounding == "stochastic"
    _write(p, moved, stochastic=stochastic)
    if LOST in state:
        _write(state[LOST], moved - _real(p))
    for name in (*kept, *rule.uniform_state):
        value = after[name]
        target = state[keys[name]]
        target.fill_(value) if name in rule.uniform_state else _write(
            target, value, stochastic=stochastic
        )
    if "step" in keys:
        state[keys["step"]].add_(1)


def _real(tensor: Tensor) -> Tensor:
    """Return the tensor as real numbers, in the format in which the step computes."""
    real = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return real.float() if real.dtype in _HALF else real


def _write(target: Tensor, value: Tensor, *, stochastic: bool = False) -> None:
    if stochastic and target.dtype is torch.bfloat16:
        value = value.float()
        bits = value.contiguous().view(torch.int32)
        raised = bits + torch.randint_like(bits, 1 << 16)  # bfloat16 is the upper half of float32
        kept = torch.where(torch.isfinite(value), raised & -(1 << 16), bits)
        value = kept.view(torch.float32)
    target.copy_(torch.view_as_complex(value.contiguous()) if target.is_complex() else value)
