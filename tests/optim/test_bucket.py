"""Orders of memory, in which parameters, state and gradients may differ; memory that they share."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from optim_pairs import assert_close
from thalweg import optim

pytestmark = pytest.mark.usefixtures("_asked")

RULES: dict[str, dict[str, Any]] = {"SGD": {"momentum": 0.9}, "Adam": {}}
every_rule = pytest.mark.parametrize(("name", "options"), RULES.items(), ids=RULES)


def drawn(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def no_kernel(*_: Any) -> None:
    raise AssertionError("not by a kernel")


def transposed(values: Tensor) -> Tensor:
    return values.t()


def in_columns(values: Tensor) -> Tensor:
    """Return a tensor of the same shape and memory, whose columns lie where the rows did."""
    return values.flatten().view(values.shape[::-1]).t()


@every_rule
@pytest.mark.parametrize("kept", [True, False], ids=["gradients kept", "gradients anew"])
@pytest.mark.parametrize(("change", "shape"), [(transposed, (4, 4)), (in_columns, (3, 5))])
def test_a_parameter_may_turn_within_its_memory(
    name: str,
    options: dict[str, Any],
    change: Callable[[Tensor], Tensor],
    shape: tuple[int, ...],
    *,
    kept: bool,
) -> None:
    found = []
    for library in (optim, torch.optim):
        p = drawn(shape, 0).requires_grad_()
        optimizer = getattr(library, name)([p, torch.zeros((), requires_grad=True)], **options)
        p.grad = torch.zeros(shape)
        for t in range(1, 6):
            if kept:
                p.grad.copy_(drawn(shape, t))
            else:
                p.grad = drawn(shape, t)
            optimizer.step()
            if t in {1, 3}:
                p.data = change(p.data)
        found.append(p.detach())
    assert_close(*found, 1e-6)


def convolutions(order: torch.memory_format) -> list[Tensor]:
    """Return parameters of which one alone is of another order when they are channels-last."""
    weights = [drawn((8, 6, 1, 1), 0), drawn((8, 6, 3, 3), 1)]
    return [w.to(memory_format=order).requires_grad_() for w in weights] + [
        drawn((8,), 2).requires_grad_()
    ]


def trained(optimizer: torch.optim.Optimizer, steps: range, order: torch.memory_format) -> Any:
    params: list[Tensor] = optimizer.param_groups[0]["params"]
    for t in steps:
        for i, p in enumerate(params):
            given = drawn(tuple(p.shape), 10 * t + i).to(p.dtype)
            p.grad = given.to(memory_format=order) if p.ndim == 4 else given
        optimizer.step()
    return optimizer


@every_rule
@pytest.mark.parametrize("given", [torch.contiguous_format, torch.channels_last], ids=str)
def test_a_state_in_another_order_is_brought_into_the_parameters(
    name: str, options: dict[str, Any], given: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a checkpoint that was written before the model became channels-last."""
    monkeypatch.setattr("thalweg.optim.stepper.step_tensor", no_kernel)
    found = []
    for library in (optim, torch.optim):
        build = getattr(library, name)
        before = trained(
            build(convolutions(torch.contiguous_format), **options),
            range(3),
            torch.contiguous_format,
        )
        after = build(convolutions(torch.channels_last), **options)
        after.load_state_dict(deepcopy(before.state_dict()))
        found.append(trained(after, range(3, 6), given))
    for p, like in zip(*(optimizer.param_groups[0]["params"] for optimizer in found), strict=True):
        assert_close(p.detach(), like.detach(), 1e-6)
        for key, value in found[1].state[like].items():
            assert_close(found[0].state[p][key], value, 1e-6)


def test_what_bfloat16_lost_is_brought_into_the_parameters_order() -> None:
    def kahan(params: list[Tensor]) -> optim.SGD:
        narrow = [p.detach().bfloat16().requires_grad_() for p in params]
        return optim.SGD(narrow, lr=1e-3, rounding="kahan")

    order = torch.contiguous_format
    before = trained(kahan(convolutions(order)), range(3), order)
    found = []
    for memory in (torch.contiguous_format, torch.channels_last):
        after = kahan(convolutions(memory))
        after.load_state_dict(deepcopy(before.state_dict()))
        found.append(trained(after, range(3, 6), order).param_groups[0]["params"])
    assert all(map(torch.equal, *found))


def test_what_bfloat16_lost_of_another_shape_is_refused() -> None:
    """What lies in memory behind it is not the optimizer's to write."""
    small, large = (torch.ones(n, dtype=torch.bfloat16, requires_grad=True) for n in (3, 3_000))
    given, taking = (optim.SGD([p], lr=0.1, rounding="kahan") for p in (small, large))
    small.grad = torch.ones_like(small)
    given.step()
    taking.load_state_dict(given.state_dict())
    large.grad = torch.ones_like(large)
    with pytest.raises(RuntimeError, match="size"):
        taking.step()
