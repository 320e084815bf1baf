"""Parameters of 16 bits: a step is the step in float32, rounded once."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from optim_pairs import (
    Configuration,
    assert_close,
    every_configuration,
    idle,
    members,
    new_parameters,
    set_gradients,
)

HALVES = [torch.bfloat16, torch.float16]
PER_TENSOR = {"step", "mu_product", "eta", "mu"}  # stay in float32


@every_configuration
@pytest.mark.parametrize("half", HALVES, ids=str)
def test_a_step_is_the_step_in_float32_rounded(
    configuration: Configuration, half: torch.dtype
) -> None:
    """The oracle starts each step at our own numbers, so that roundings do not pile up."""
    ours = configuration.ours(new_parameters(half))
    for t in range(1, 9):
        theirs = configuration.theirs([p.detach().float() for p in members(ours)])
        theirs.load_state_dict(deepcopy(ours.state_dict()))  # torch casts the state to float32
        for optimizer in (ours, theirs):
            set_gradients(members(optimizer), t)
        for p, like in zip(members(ours), members(theirs), strict=True):
            like.grad = None if p.grad is None else p.grad.float()
        ours.step()
        theirs.step()
        for p, like in zip(members(ours), members(theirs), strict=True):
            assert_rounded(p.detach(), like)
            for key, wanted in theirs.state.get(like, {}).items():
                if key in idle(theirs):
                    continue
                if key in PER_TENSOR:
                    assert_close(ours.state[p][key], wanted, 1e-6)
                else:
                    assert_rounded(ours.state[p][key], wanted)


def assert_rounded(value: Tensor, exact: Tensor) -> None:
    """Check that no other number of that format is nearer, but for float32's own error."""
    nearest = exact.to(value.dtype)
    excess = (value.float() - exact).abs() - (nearest.float() - exact).abs()
    assert not (excess > 1e-5 * exact.abs() + 1e-7).any()
