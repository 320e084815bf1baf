"""The option ``cautious`` where numbers end."""

import pytest
import torch

from thalweg import optim


@pytest.mark.parametrize("kernel", [True, False])
def test_a_cautious_step_does_not_hide_nan(kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """As torch's do, what has met NaN shows it: its state is NaN for ever."""
    if not kernel:
        monkeypatch.setattr("thalweg.optim.stepper.served", lambda _: False)
    p = torch.ones(3, requires_grad=True)
    optimizer = optim.Adam([p], lr=0.1, cautious=True)
    like = torch.ones(3, requires_grad=True)
    theirs = torch.optim.Adam([like], lr=0.1)
    for gradient in ([1.0, torch.nan, 1.0], [1.0, 1.0, 1.0]):
        p.grad, like.grad = torch.tensor(gradient), torch.tensor(gradient)
        optimizer.step()
        theirs.step()
        torch.testing.assert_close(p, like, equal_nan=True)
