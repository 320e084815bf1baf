"""Answer: where a model is judged, and the training point, which is kept meanwhile.

It is kept in the optimizer's state, so that a checkpoint has it in whichever mode it is made.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from thalweg.optim.recipe import Recipe

__all__ = ["TRAINING_POINT", "back", "go"]

TRAINING_POINT = "training_point"

State = dict[str, Any]


@torch.no_grad()
def go(parameters: list[Tensor], states: Mapping[Tensor, State], recipe: Recipe) -> None:
    """Move the parameters of a group to the answer of its rule."""
    rule = recipe.rule
    for p in parameters:
        state = states.get(p)
        if rule.judged is None or not state or TRAINING_POINT in state:
            continue
        known = {n: _wide(state[key]) for n, key in recipe.keys.items() if key in state}
        answer = rule.answer_at(_wide(p), known, recipe.hyper)
        state[TRAINING_POINT] = p.detach().clone(memory_format=torch.preserve_format)
        p.copy_(answer)


@torch.no_grad()
def back(states: Mapping[Tensor, State]) -> None:
    """Move parameters from their answer to where they are trained."""
    for p, state in states.items():
        if TRAINING_POINT in state:
            p.copy_(state.pop(TRAINING_POINT))


def _wide(value: Tensor) -> Tensor:
    """Return a value of 16 bits in 32."""
    return value.detach().float() if value.dtype.itemsize == 2 else value.detach()
