"""Orders of memory, in which parameters, state and gradients may differ; memory that they share."""

import pytest
import torch

from thalweg import optim


@pytest.mark.parametrize("again", [False, True], ids=["from the first step", "later"])
def test_a_gradient_that_parameters_share_is_zeroed_when_all_have_read_it(*, again: bool) -> None:
    params = [torch.ones(5, requires_grad=True) for _ in range(3)]
    optimizer = optim.SGD(params, lr=0.25, zero_gradients=True)
    if again:
        for p in params:
            p.grad = torch.zeros(5)
        optimizer.step()
    whole = torch.ones(5)
    for t in (1, 2):
        whole.fill_(1.0)
        params[0].grad = params[1].grad = whole
        params[2].grad = whole.view(5)
        optimizer.step()
        assert not whole.any()
        for p in params:
            assert p.tolist() == [1 - 0.25 * t] * 5
