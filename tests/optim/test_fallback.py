"""A step of the rule itself against that of its kernel, and torch's, where numbers end."""

import math

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from optim_pairs import (
    Configuration,
    assert_close,
    assert_same,
    every_class,
    every_configuration,
    members,
    scalars_in,
)
from thalweg import optim, rules

SPECIAL = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0]


def halves(*, gaps: bool) -> Tensor:
    """Return six numbers that a kernel takes; or with gaps, so that the rule itself steps them."""
    memory = torch.linspace(1.0, 2.0, 12, dtype=torch.float64)
    return (memory[::2] if gaps else memory[::2].clone()).requires_grad_()


def path(optimizer: Optimizer, special: list[float]) -> Tensor:
    """Return where one parameter is after steps of which the third has special gradients."""
    (p,) = members(optimizer)
    points = []
    for t in range(1, 7):
        plain = torch.linspace(-1.0, 1.0, 6, dtype=torch.float64) / t
        p.grad = torch.tensor(special, dtype=torch.float64) if t == 3 else plain
        optimizer.step()
        points.append(p.detach().clone())
    return torch.stack(points)


@every_configuration
@pytest.mark.parametrize("gaps", [False, True])
def test_a_gradient_that_is_nan_does_what_it_does_in_torch(
    configuration: Configuration, *, gaps: bool
) -> None:
    """Rprop goes on: such a gradient has no sign."""
    special = [number if abs(number) < math.inf else math.nan for number in SPECIAL]
    builds = configuration.ours, configuration.theirs
    with scalars_in(torch.float64):
        ours, theirs = (build([halves(gaps=gaps)]) for build in builds)
        assert_close(path(ours, special), path(theirs, special), 1e-12)
    assert_same(ours, theirs, 1e-12)


@every_class
def test_a_gradient_that_is_infinite_is_felt_where_it_is_in_torch(
    configuration: Configuration,
) -> None:
    """What is left of it, infinite or NaN, may differ: torch writes averages in other terms."""
    builds = configuration.ours, configuration.theirs
    found, wanted = (path(build([halves(gaps=False)]), SPECIAL) for build in builds)
    finite = wanted.isfinite()
    assert torch.equal(found.isfinite(), finite)
    assert_close(found[finite], wanted[finite], 1e-6)


@pytest.mark.parametrize("name", rules.names())
def test_a_kernel_and_its_rule_take_every_gradient_alike(name: str) -> None:
    dense, strided = (optim.Descent([halves(gaps=gaps)], name) for gaps in (False, True))
    assert_close(path(dense, SPECIAL), path(strided, SPECIAL), 1e-12)
