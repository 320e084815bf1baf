"""The generated module of a rule's kernel."""

import pytest
import torch

from kernels.own_rules import undeclared
from thalweg import optim, rules
from thalweg.kernels import source


@pytest.mark.parametrize("name", rules.names("element-wise"))
def test_generated_source_is_plain_python(name: str) -> None:
    compile(source(name), name, "exec")


def test_uniform_expressions_leave_the_loop() -> None:
    element = source("adam").split("def element")[1].split("def update")[0]
    assert "beta" not in element
    assert "/ (sqrt" in element


def twin(g, x, m, *, t, lr=1e-3):  # noqa: ANN001, ANN201
    return x - lr * g, m - lr * g  # the same, but for its rounding


def test_each_array_is_rounded_by_noise_of_its_own() -> None:
    torch.manual_seed(0)
    p = torch.zeros(20_000, dtype=torch.bfloat16, requires_grad=True)
    optimizer = optim.Descent([p], undeclared(twin), rounding="stochastic")
    p.grad = torch.full_like(p, 1 + 2**-8 + 2**-9)  # times the rate it lies between two numbers
    optimizer.step()
    m = optimizer.state[p]["m"]
    assert m.dtype is torch.bfloat16
    x = p.detach()
    assert len(x.unique()) == len(m.unique()) == 2
    chance = (x == x.max()).double().mean()
    both = ((x == x.max()) & (m == x.max())).double().mean()
    assert both == pytest.approx(float(chance**2), abs=5 * float(chance) / 20_000**0.5)
