"""A step of the rule itself against that of its kernel, and torch's, where numbers end."""

import copy
import math
from collections.abc import Mapping
from typing import Any

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
from thalweg.optim import Descent
from thalweg.tensors import Tensors

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


@pytest.mark.parametrize("name", rules.names("element-wise"))
def test_a_kernel_and_its_rule_take_every_gradient_alike(name: str) -> None:
    dense, strided = (optim.Descent([halves(gaps=gaps)], name) for gaps in (False, True))
    assert_close(path(dense, SPECIAL), path(strided, SPECIAL), 1e-12)


SEEN = {(): (), (6,): (6,), (4, 3): (4, 3), (4, 3, 2, 2): (4, 12)}  # as a rule of matrices sees it


def drawn(shape: tuple[int, ...], t: int) -> Tensor:
    generator = torch.Generator().manual_seed(t + 100 * len(shape))
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def own(name: str, shapes: Mapping[Any, Any], hyper: dict[str, float], steps: int) -> list[Tensor]:
    """Return where the plain function takes tensors, all at once if it must see all."""
    rule = rules.get(name)
    hyper = rule.resolve(hyper)
    x = [drawn(shape, 0).reshape(seen) for shape, seen in shapes.items()]
    groups: list[Any] = [Tensors(x)] if rule.joint else x
    states = [rule.first_state(each, hyper) for each in groups]
    for t in range(1, steps + 1):
        g: list[Any] = [drawn(shape, t).reshape(seen) for shape, seen in shapes.items()]
        for i, slope in enumerate([Tensors(g)] if rule.joint else g):
            groups[i], states[i] = rule.advance(slope, groups[i], states[i], t=t, hyper=hyper)
    return list(groups[0]) if rule.joint else groups


def steps_of(optimizer: Descent, params: list[Tensor], first: int, last: int) -> None:
    for t in range(first, last + 1):
        for p in params:
            p.grad = drawn(tuple(p.shape), t).to(p.dtype)
        optimizer.step()


@pytest.mark.parametrize("name", rules.names("sums", "matrices"))
def test_a_rule_of_whole_tensors_is_stepped_by_its_function(name: str) -> None:
    """Two groups, decay in the gradient, and a checkpoint in the middle."""
    shapes = {s: seen for s, seen in SEEN.items() if len(s) > 1 or rules.get(name).kind == "sums"}
    hyper = {"lr": 0.02}
    expected = own(name, shapes, hyper, 4)
    params = [drawn(shape, 0).requires_grad_() for shape in shapes]
    optimizer = Descent([{"params": params[:1]}, {"params": params[1:]}], name, **hyper)
    steps_of(optimizer, params, 1, 2)
    kept = copy.deepcopy(optimizer.state_dict())
    params = [p.detach().clone().requires_grad_() for p in params]
    optimizer = Descent([{"params": params[:1]}, {"params": params[1:]}], name, **hyper)
    optimizer.load_state_dict(kept)
    steps_of(optimizer, params, 3, 4)
    for p, wanted in zip(params, expected, strict=True):
        torch.testing.assert_close(p.detach(), wanted.reshape(p.shape), rtol=1e-9, atol=1e-9)


def test_states_are_as_large_as_they_must_be() -> None:
    sizes = {
        "adafactor": {"r": (4, 1), "c": (1, 12)}, "novograd": {"m": (4, 3, 2, 2), "v": ()},
        "soap": {"m": (4, 3, 2, 2), "L": (4, 4), "R": (12, 12)},
    }  # fmt: skip
    for name, wanted in sizes.items():
        p = drawn((4, 3, 2, 2), 0).requires_grad_()
        optimizer = Descent([p], name)
        steps_of(optimizer, [p], 1, 2)
        assert {n: tuple(optimizer.state[p][n].shape) for n in wanted} == wanted


def test_bfloat16_is_computed_and_kept_in_float32() -> None:
    for name in ("lamb", "muon"):
        p = drawn((4, 3), 0).bfloat16().requires_grad_()
        wide = p.detach().float().requires_grad_()
        optimizers = [Descent([each], name, lr=0.5) for each in (p, wide)]
        for t in range(1, 3):
            p.grad = drawn((4, 3), t).bfloat16()
            wide.grad = p.grad.float()
            for optimizer in optimizers:
                optimizer.step()
            torch.testing.assert_close(p.detach(), wide.detach().bfloat16(), rtol=0, atol=0)
            with torch.no_grad():
                wide.copy_(p)
        assert {s.dtype for s in optimizers[0].state[p].values()} <= {torch.float32, torch.float64}


def test_one_step_size_for_the_model_and_a_rate_for_each_group() -> None:
    """A factor of a group's rate is that of its gradients' share and of its own step."""
    params = [drawn((4, 3), 0).requires_grad_(), drawn((6,), 0).requires_grad_()]
    groups = [{"params": params[:1], "lr": 1.0}, {"params": params[1:], "lr": 0.5}]
    optimizer = Descent(groups, "prodigy", d0=1e-3)
    for _ in range(9):
        for p in params:
            p.grad = p.detach() - 3
        optimizer.step()
    sizes = {float(optimizer.state[p]["d"]) for p in params}
    assert len(sizes) == 1
    assert sizes.pop() > 2e-3
    late = drawn((2, 2), 0).requires_grad_()
    optimizer.add_param_group({"params": [late], "lr": 1.0})
    for p in (*params, late):
        p.grad = drawn(tuple(p.shape), 6)
    optimizer.step()
    assert len({float(optimizer.state[p]["d"]) for p in (*params, late)}) == 1
    optimizer.param_groups[0]["beta2"] = 0.5
    with pytest.raises(ValueError, match=r"one d for all parameters, .* cannot differ in beta2$"):
        optimizer.step()


def test_what_looks_at_all_gradients_cannot_step_one() -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = Descent(model.parameters(), "prodigy")
    optimizer.attach(model)
    with pytest.raises(RuntimeError, match="attach does not go with rule 'prodigy'"):
        model(torch.ones(1, 2)).sum().backward()
