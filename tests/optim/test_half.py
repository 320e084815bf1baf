"""Parameters of 16 bits: a step is the step in float32, rounded once."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from optim_pairs import (
    Configuration,
    assert_close,
    every_kind,
    idle,
    members,
    new_parameters,
    step_in_float32,
)
from thalweg import optim
from thalweg.elementwise import exp, log, maximum, minimum, sign, sqrt, where
from thalweg.kernels.cpu import half, kernel
from thalweg.rule import rule

HALVES = [torch.bfloat16, torch.float16]
PER_TENSOR = {"step", "mu_product", "eta", "mu"}  # stay in float32


@every_kind
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_a_step_is_the_step_in_float32_rounded(
    configuration: Configuration, dtype: torch.dtype
) -> None:
    """The oracle starts each step at our own numbers, so that roundings do not pile up."""
    ours = configuration.ours(new_parameters(dtype))
    for t in range(1, 9):
        theirs = configuration.theirs([p.detach().float() for p in members(ours)])
        theirs.load_state_dict(deepcopy(ours.state_dict()))  # torch casts the state to float32
        step_in_float32(ours, theirs, t)
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


def patterns(seed: int, dtype: torch.dtype) -> Tensor:
    """Return every number of a 16-bit format, NaNs with all their payloads too, and some twice."""
    bits = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16)
    order = torch.randperm(1 << 16, generator=torch.Generator().manual_seed(seed))
    return torch.cat([bits[order], bits[order[:11]]]).view(dtype)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("rounding", ["nearest", "kahan"])
def test_every_number_is_read_and_rounded_as_torch_does(dtype: torch.dtype, rounding: str) -> None:
    """With powers of two as hyperparameters each operation is exact but for one rounding."""
    x, g, v = (patterns(seed, dtype) for seed in range(3))
    p = x.clone().requires_grad_()
    optimizer = optim.SGD([p], lr=1.0, momentum=0.5, rounding=rounding)
    p.grad = torch.zeros_like(p)
    optimizer.step()
    state = optimizer.state[p]
    with torch.no_grad():
        p.copy_(x)
        state["momentum_buffer"].copy_(v)
    p.grad.copy_(g)
    if "lost" in state:
        state["lost"].zero_()
    optimizer.step()
    after = 0.5 * v.float() + g.float()
    moved = x.float() - after
    assert_nearest(state["momentum_buffer"], after)
    assert_nearest(p.detach(), moved)
    if "lost" in state:
        assert_nearest(state["lost"], moved - p.detach().float())


def assert_nearest(value: Tensor, exact: Tensor) -> None:
    """Check each bit; processors that round to bfloat16 make 0 of subnormal numbers."""
    wanted = exact.to(value.dtype)
    if value.dtype is torch.bfloat16:
        wanted[(wanted.abs() < torch.finfo(torch.bfloat16).tiny) & (value == 0)] = 0.0
    assert_close(value, wanted, 0.0)


def difference(g, x, *, t):  # noqa: ANN001, ANN201
    return x - g


def test_where_no_processor_rounds_every_number_is_rounded_as_torch_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(half, "_IN_HARDWARE", False)
    monkeypatch.setattr(kernel, "FINGERPRINT", f"{kernel.FINGERPRINT}_software")
    x, g = (patterns(seed, torch.bfloat16) for seed in range(2))
    p = x.clone().requires_grad_()
    p.grad = g
    optim.Descent([p], rule("test")(difference)).step()
    assert_close(p.detach(), (x.float() - g.float()).bfloat16(), 0.0)


def every_function(g, x, m, *, t, lr=0.1, beta=0.5):  # noqa: ANN001, ANN201
    m = beta * m + exp(-abs(g)) * sign(g) + maximum(x, m) - minimum(g, 0.5)
    power = where(g > m, (abs(g) + 1.0) ** 1.5, log(m * m + 1.0) + 1.0)
    return x - lr * m / (power + sqrt(abs(x))), m


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("size", [1, 31, 32, 100, 500])
def test_a_users_rule_steps_each_element_of_a_wide_register(dtype: torch.dtype, size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    x, g = (torch.randn(size, generator=generator).to(dtype) for _ in range(2))
    p = x.clone().requires_grad_()
    p.grad = g
    optimizer = optim.Descent([p], rule("test")(every_function))
    optimizer.step()
    wanted = every_function(g.float(), x.float(), torch.zeros(size), t=1)
    for value, exact in zip((p.detach(), optimizer.state[p]["m"]), wanted, strict=True):
        assert_rounded(value, exact)


@pytest.mark.parametrize("name", ["SGD", "Lion", "Adam"])
def test_the_noise_of_rounding_is_another_at_each_step_of_heads_in_turn(name: str) -> None:
    """Steps of 1e-3 down from 1, where bfloat16 has no number between 1 and 1 - 2**-8."""
    torch.manual_seed(0)
    heads = [torch.ones(5_000, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
    options: dict[str, Any] = {} if name == "SGD" else {"betas": (0.5, 0.5)}
    optimizer = getattr(optim, name)(heads, lr=1e-3, rounding="stochastic", **options)
    for step in range(120):
        for i, p in enumerate(heads):  # and at times none
            p.grad = torch.ones_like(p) if step % 4 == i else None
        optimizer.step()
    deviation = (30 * 1e-3 * 2**-8) ** 0.5  # of a walk whose steps are 2**-8 or nothing
    for p in heads:
        moved = p.detach().float()
        assert moved.std() == pytest.approx(deviation, rel=0.2)
        assert moved.mean() == pytest.approx(0.97, abs=5 * deviation / 5_000**0.5)


def test_the_noise_of_rounding_is_another_for_each_parameter_that_steps_alone() -> None:
    torch.manual_seed(0)
    model = nn.ParameterList([nn.Parameter(torch.ones(5_000)) for _ in range(2)]).bfloat16()
    optim.SGD(model.parameters(), lr=1e-3, rounding="stochastic").attach(model)
    torch.stack([p.sum() for p in model]).sum().backward()
    moved = [(p != 1.0).float() for p in model]
    chance = 1e-3 * 2**8
    both = (moved[0] * moved[1]).mean()
    assert both == pytest.approx(chance**2, abs=5 * chance / 5_000**0.5)


def test_the_noise_of_rounding_is_another_where_parameters_are_replaced_at_each_step() -> None:
    torch.manual_seed(0)
    p = torch.ones(5_000, dtype=torch.bfloat16, requires_grad=True)
    optimizer = optim.SGD([p], lr=1e-3, rounding="stochastic")
    kept = []
    for _ in range(30):
        kept.append(p.data)
        p.data = p.data.clone()
        p.grad = torch.ones_like(p)
        optimizer.step()
    assert p.detach().float().std() == pytest.approx((30 * 1e-3 * 2**-8) ** 0.5, rel=0.2)
