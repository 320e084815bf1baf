"""A step of the rule itself on one tensor, where there is no kernel: any device, any layout."""

from typing import Any

import torch
from torch import Tensor

from thalweg.optim.recipe import Recipe

__all__ = ["step_tensor"]

_HALF = (torch.bfloat16, torch.float16)


@torch.no_grad()
def step_tensor(
    p: Tensor, state: dict[str, Any], recipe: Recipe, scale: float, *, cautious: bool
) -> None:
    """Take one step of one parameter, in place.

    Args:
        p: the parameter, with its gradient.
        state: its state, which is changed.
        recipe: of the parameter's group.
        scale: what the gradient is multiplied by.
        cautious: whether an element that would move up its gradient stays where it is.
    """
    keys = recipe.keys
    t = int(state[keys["step"]]) + 1 if "step" in keys else 1
    rule = recipe.rule
    assert p.grad is not None
    x = _real(p.detach())
    g = _real(p.grad).to(x.dtype) * (-scale if recipe.maximize else scale)
    if recipe.decoupled:
        x = x * recipe.decay
    elif recipe.decay:
        g = g + recipe.decay * x
    before: dict[str, Any] = {name: _real(state[keys[name]]) for name in rule.state}
    before |= {name: float(state[keys[name]]) for name in rule.uniform_state}
    moved, after = rule.advance(g, x, before, t=t, hyper=recipe.hyper)
    if cautious:
        moved = torch.where((x - moved) * g > 0, moved, x)
    _write(p.detach(), moved)
    for name, value in after.items():
        target = state[keys[name]]
        target.fill_(value) if name in rule.uniform_state else _write(target, value)
    if "step" in keys:
        state[keys["step"]].fill_(t)


def _real(tensor: Tensor) -> Tensor:
    """Return the tensor as real numbers that are computed with."""
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return real.float() if real.dtype in _HALF else real


def _write(target: Tensor, value: Tensor) -> None:
    target.copy_(torch.view_as_complex(value.contiguous()) if target.is_complex() else value)
