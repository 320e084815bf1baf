"""Muon and Adafactor where they are not torch's: other digits, formats of a group, what is refused.

That they are torch's elsewhere is in test_torch_classes.py, test_torch_records.py and
test_checkpoint.py, where torch's Muon computes in the format of its parameters, too.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from optim_pairs import BOTH, WHOLE, Configuration, assert_close, follow, members, new_parameters
from thalweg import optim, rules
from thalweg.optim.variants import SCALED_MUON

MUON = [configuration for configuration in WHOLE if configuration.name == "Muon"]


def after(optimizer: Optimizer, steps: int) -> list[Tensor]:
    follow(optimizer, 1, steps)
    return [p.detach() for p in members(optimizer)]


@pytest.mark.parametrize("configuration", MUON, ids=lambda c: c.id)
def test_torchs_muon_differs_by_the_digits_of_bfloat16(configuration: Configuration) -> None:
    start, ours, theirs = (
        new_parameters(torch.float32, shapes=configuration.shapes) for _ in range(3)
    )
    after(configuration.ours(ours), 8)
    after(configuration.theirs(theirs), 8)
    for x, p, like in zip(start, ours, theirs, strict=True):
        move = (like - x).norm()
        assert 0 < (p - like).norm() < 0.03 * move  # measured: 0.001 to 0.016


@pytest.mark.parametrize("shape", [(60, 80), (50, 50)])
def test_products_may_be_those_of_bfloat16_as_torchs_are(shape: tuple[int, int]) -> None:
    start, ours, theirs, wide = (new_parameters(torch.float32, shapes=[shape]) for _ in range(4))
    after(optim.Muon(ours, lr=0.1, product_dtype=torch.bfloat16), 8)
    after(torch.optim.Muon(theirs, lr=0.1), 8)
    after(optim.Muon(wide, lr=0.1), 8)
    move = (theirs[0] - start[0]).norm()
    assert (ours[0] - theirs[0]).norm() < 0.02 * move
    assert 1e-4 * move < (ours[0] - wide[0]).norm() < 0.02 * move


@pytest.mark.parametrize("rule", ["muon", "normuon", "sam(muon)"])
def test_any_rule_that_orthogonalizes_may_multiply_in_bfloat16(rule: str) -> None:
    wide, narrow = (new_parameters(torch.float32, shapes=[(40, 60)])[0] for _ in range(2))
    start = wide.detach().clone()
    for p, dtype in ((wide, None), (narrow, torch.bfloat16)):
        optimizer = optim.Descent([p], rule, lr=0.1, product_dtype=dtype)

        def closure(p: Tensor = p) -> Tensor:
            p.grad = p.detach().sin()
            return p.sum()

        optimizer.step(closure)
    move = (wide - start).norm()
    assert 1e-4 * move < (wide - narrow).norm() < 0.05 * move


@pytest.mark.parametrize("options", [{}, {"nesterov": False, "ns_steps": 3, "eps": 1e-3}], ids=str)
def test_a_step_of_muon_is_the_plain_function(options: dict[str, Any]) -> None:
    w = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p = w.clone().requires_grad_()
    optimizer = optim.Muon([p], lr=0.3, **options)
    given = dict(zip(("nesterov", "iterations", "eps"), options.values(), strict=False))
    m = torch.zeros_like(w)
    for t in range(1, 6):
        p.grad = (w + t).sin()
        optimizer.step()
        w, m = SCALED_MUON(p.grad, w, m, t=t, lr=0.3, **given)
    torch.testing.assert_close(p.detach(), w, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(optimizer.state[p]["momentum_buffer"], m, rtol=1e-14, atol=1e-14)


def test_at_the_rate_of_adamw_it_is_the_rule_muon() -> None:
    same = []
    for kind, options in (("Muon", {"adjust_lr_fn": "match_rms_adamw"}), ("Descent", {})):
        p = new_parameters(shapes=[(4, 6)])
        rule = [rules.muon] if kind == "Descent" else []
        same += after(getattr(optim, kind)(p, *rule, lr=0.3, **options), 5)
    assert torch.equal(*same)


def test_momentum_without_nesterov_is_kept_in_bfloat16() -> None:
    p = torch.ones(8, 6, dtype=torch.bfloat16, requires_grad=True)
    p.grad = torch.arange(48.0).reshape(8, 6).bfloat16()
    optimizer = optim.Muon([p], momentum=0.75, nesterov=False)
    optimizer.step()
    kept = optimizer.state[p]["momentum_buffer"]
    assert kept.dtype is torch.bfloat16
    assert torch.equal(kept, p.grad / 4)


def test_each_format_has_its_own_eps() -> None:
    """torch takes that of the first parameter for all."""
    moved = []
    for first in (torch.bfloat16, torch.float32):
        pair = [torch.ones(4, 4, dtype=d) for d in (torch.bfloat16, torch.float32)]
        by_format = {p.dtype: p.requires_grad_() for p in pair}
        for p in pair:
            p.grad = torch.full_like(p, 1e-5)
        optimizer = optim.Adafactor([by_format.pop(first), *by_format.values()])
        optimizer.step()
        moved.append(pair)
    for one, other in zip(*moved, strict=True):
        assert torch.equal(one, other)
    for p in moved[0]:  # 1e-5 is below the least root of bfloat16, 2⁻⁷, and above that of float32
        share = min(1.0, 1e-5 / torch.finfo(p.dtype).eps)
        assert_close(p.detach().float(), torch.full((4, 4), 1 - 0.01 * share), 4e-3)
    assert moved[0][1].max() < 0.991


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_adafactor_keeps_its_second_moment_in_float32(dtype: torch.dtype) -> None:
    """Each step adds t^-0.8 of it, which 8 digits soon lose."""
    p = torch.ones(4, 3, dtype=dtype, requires_grad=True)
    p.grad = torch.ones_like(p)
    optimizer = optim.Adafactor([p])
    optimizer.step()
    assert optimizer.state[p]["row_var"].dtype is torch.float32


@pytest.mark.parametrize("shape", [(3,), (2, 3, 2, 2), ()], ids=str)
def test_muon_refuses_what_is_no_matrix_at_once(shape: tuple[int, ...]) -> None:
    optimizer = optim.Muon([torch.ones(2, 2, requires_grad=True)])
    with pytest.raises(ValueError, match=r"^Muon only supports 2D parameters whereas we found"):
        optimizer.add_param_group({"params": [torch.ones(shape, requires_grad=True)]})
    assert len(optimizer.param_groups) == 1


def test_a_rate_of_an_unknown_kind_is_refused_in_a_group_too() -> None:
    """torch takes the rate as it is there."""
    p = torch.ones(2, 2, requires_grad=True)
    p.grad = torch.ones(2, 2)
    optimizer = optim.Muon([{"params": [p], "adjust_lr_fn": "spectral"}])
    with pytest.raises(ValueError, match=r"^Adjust learning rate function spectral is not supp"):
        optimizer.step()
    assert torch.equal(p, torch.ones(2, 2))


@pytest.mark.parametrize("name", ["Muon", "Adafactor"])
def test_sparse_gradients_are_refused_as_by_torch(name: str) -> None:
    for library in BOTH.values():
        p = torch.ones(3, 2, requires_grad=True)
        p.grad = torch.ones(3, 2).to_sparse()
        with pytest.raises(RuntimeError, match=f"^{name} does not support sparse gradients"):
            getattr(library, name)([p]).step()


def test_an_eps_of_one_number_is_refused_in_a_sentence() -> None:
    p = torch.ones(3, 2, requires_grad=True)
    p.grad = torch.ones(3, 2)
    optimizer = optim.Adafactor([p])
    optimizer.param_groups[0]["eps"] = 0.1
    with pytest.raises(ValueError, match=r"^eps must be two numbers, got 0\.1$"):
        optimizer.step()
