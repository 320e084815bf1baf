"""A user's own rule of sums: its kernel must compute what its function does."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kernels.own_rules import declared, undeclared
from thalweg import optim
from thalweg.elementwise import maximum, sqrt, where
from thalweg.kernels import agreement
from thalweg.kernels.body import PLAIN
from thalweg.kernels.cpu.kernel import compiled_passes
from thalweg.kernels.cpu.pass_step import PassStep, agreeing
from thalweg.kernels.translate import Form, places
from thalweg.optim import layout
from thalweg.rule import Rule
from thalweg.sums import mean, norm, tsum

FLOAT64 = np.dtype(np.float64)


def normed(g, x, m, size, *, t, lr=0.1, beta=0.9):  # noqa: ANN001, ANN201
    """A rule of one's own in ten lines, with a sum of signs that nearly cancel."""
    m = beta * m + (1 - beta) * g
    size = beta * size + (1 - beta) * norm(g) + abs(tsum(m)) * 1e-3
    rows = sqrt(mean(m * m, 1)) + sqrt(mean(m * m, 0))
    chosen = where(rows > 0, m / maximum(rows, 1e-12), m)
    return x - lr * chosen / maximum(size, 1.0), m, size


def other(g, x, m, size, *, t, lr=0.1, beta=0.9):  # noqa: ANN001, ANN201
    m = beta * m + (1 - beta) * g
    size = beta * size + (1 - beta) * norm(g) + abs(tsum(m)) * 1e-3
    rows = sqrt(mean(m * m, 1)) + sqrt(mean(m * m, 0)) * (1 + 1e-6)
    chosen = where(rows > 0, m / maximum(rows, 1e-12), m)
    return x - lr * chosen / maximum(size, 1.0), m, size


def test_a_users_rule_with_sums_is_stepped_by_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    of = undeclared(normed)
    found = []
    for kernels in (True, False):
        if not kernels:
            monkeypatch.setattr(layout, "form_of", lambda *_: None)
        torch.manual_seed(1)
        ps = [torch.randn(s, dtype=torch.float64).requires_grad_() for s in ((9, 5), (7,))]
        optimizer = optim.Descent(ps, of)
        for _ in range(5):
            for p in ps:
                p.grad = torch.randn_like(p)
            optimizer.step()
        assert bool(optimizer._stepper._layout.alone) is not kernels
        found.append([p.detach() for p in ps])
    for mine, wanted in zip(*found, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-13, atol=1e-13)


def compared(of: Rule, kernel_of: Rule, form: Form) -> int:
    kernel = compiled_passes(kernel_of, FLOAT64, PLAIN, form)
    where_ = places(kernel_of, form=form)
    return agreement.check(of, PassStep(kernel, where_), where_, matrix=form == "matrix")


@pytest.mark.parametrize("form", ["vector", "matrix"])
def test_another_kernel_does_not_agree(form: Form) -> None:
    mine, wrong = undeclared(normed), undeclared(other)
    assert compared(mine, mine, form) > 1000
    with pytest.raises(ValueError, match="and the kernel made of it differ"):
        compared(mine, wrong, form)


def test_a_rule_that_no_kernel_can_be_made_of_steps_by_itself(tmp_path: Path) -> None:
    of, line = declared("return x - lr * (g // 1) / norm(g)", tmp_path)
    of.function.__globals__["norm"] = norm
    with pytest.raises(ValueError, match=rf"line {line}: `g // 1` cannot be compiled"):
        agreeing(of, FLOAT64, PLAIN, "vector")
    p = torch.ones(4, requires_grad=True)
    p.grad = torch.ones(4)
    optim.Descent([p], of, lr=1.0).step()
    assert p[0] == 0.5
