"""A step of a stack on a GPU is that of the CPU."""

import pytest
import torch

from thalweg import schedules
from thalweg.rules import get, names
from thalweg.stack.step import DeviceStep, StackStep


@pytest.mark.parametrize("rule", names("element-wise"))
def test_a_gpus_step_is_that_of_the_cpu(rule: str) -> None:
    """Without a GPU: what steps there by ``optim.Descent`` is run here."""
    own = get(rule)
    falling = schedules.exponential(0.02, 0.1)
    hyper = [own.defaults | {"lr": lr} for lr in (0.01, falling, 0.03)]
    drawn = torch.Generator().manual_seed(0)
    start = [torch.randn(3, *shape, generator=drawn) for shape in ((4, 5), (6,))]
    gradients = [
        [torch.randn(3, *shape, generator=drawn) for shape in ((4, 5), (6,))] for _ in range(8)
    ]
    ends = []
    for kind in (StackStep, DeviceStep):
        parameters = [p.clone() for p in start]
        step = kind(own, hyper, parameters, 8)
        for given in gradients[:4]:
            step(given, torch.tensor([1.0, 0.5, 2.0]))
        parameters = [p[[1, 2]] for p in parameters]
        step.select([1, 2], parameters)
        for given in gradients[4:]:
            step([g[[1, 2]] for g in given], None)
        assert step.taken == 8
        ends.append((parameters, step.states(1)))
    torch.testing.assert_close(ends[0][0], ends[1][0], rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(*(states for _, states in ends), strict=True):
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-6)
