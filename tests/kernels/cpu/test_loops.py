"""The loop of a step over all arrays: what is kept between steps."""

from copy import deepcopy

import pytest
import torch

from optim_pairs import scalars_in
from thalweg import optim


@pytest.mark.parametrize("width", [torch.float32, torch.float64])
def test_a_training_that_goes_on_from_its_state_is_the_one_that_never_stopped(
    width: torch.dtype,
) -> None:
    """Bit for bit: uniform state that is kept in float32 has no more digits in the next step."""
    with scalars_in(width):
        p = torch.linspace(-1, 1, 50, dtype=torch.float64).requires_grad_()
        q = p.detach().clone().requires_grad_()
        ours, again = optim.NAdam([p], lr=0.1), optim.NAdam([q], lr=0.1)
        for t in range(1, 8):
            p.grad, q.grad = (x.detach().mul(t).sin() for x in (p, q))
            ours.step()
            again.step()
            kept = deepcopy(again.state_dict())
            again = optim.NAdam([q], lr=0.1)
            again.load_state_dict(kept)
            assert ours.state[p]["mu_product"].dtype is width
            assert torch.equal(p, q)
