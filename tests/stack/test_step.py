"""A step of a stack on a GPU is that of the CPU."""

import pytest
import torch

from thalweg import schedules
from thalweg.rules import get
from thalweg.stack.step import DeviceStep, StackStep, WholeStep


# Without and with a state, powers of t, a state that starts elsewhere, uniform state, an answer.
@pytest.mark.parametrize("rule", ["sgd", "adam", "rprop", "nadam", "asgd", "schedule_free_adamw"])
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


@pytest.mark.parametrize("rule", ["lamb", "adafactor", "prodigy", "muon", "soap"])
def test_lanes_of_a_rule_of_whole_tensors_are_trainings_one_by_one(rule: str) -> None:
    own = get(rule)
    falling = schedules.exponential(0.02, 0.1)
    hyper = [own.defaults | {"lr": lr} for lr in (0.01, falling, 0.03)]
    drawn = torch.Generator().manual_seed(0)
    shapes = ((4, 5), (6,), (3, 2, 2, 2))
    start = [torch.randn(3, *shape, generator=drawn) for shape in shapes]
    gradients = [[torch.randn(3, *s, generator=drawn) for s in shapes] for _ in range(6)]
    blocks = [2, 0, 1]
    parameters = [p.clone() for p in start]
    step = WholeStep(own, hyper, parameters, 6, blocks)
    for given in gradients[:3]:
        step(given, torch.tensor([1.0, 0.5, 2.0]))
    parameters = [p[[1, 2]] for p in parameters]
    step.select([1, 2], parameters)
    for given in gradients[3:]:
        step([g[[1, 2]] for g in given], None)
    for place, lane in ((0, 1), (1, 2)):
        alone = [p[lane : lane + 1].clone() for p in start]
        one = WholeStep(own, hyper[lane : lane + 1], alone, 6, blocks)
        for t, given in enumerate(gradients):
            scale = torch.tensor([1.0, 0.5, 2.0])[lane : lane + 1] if t < 3 else None
            one([g[lane : lane + 1] for g in given], scale)
        assert one.taken == step.taken == 6
        for many, single in zip(parameters, alone, strict=True):
            torch.testing.assert_close(many[place], single[0], rtol=0, atol=0)
