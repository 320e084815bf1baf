"""A step after tensors, states or options have become others, against torch's or its refusal."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from optim_pairs import BOTH, leaf
from thalweg import optim
from thalweg.kernels import Step
from thalweg.rule import rule

pytestmark = pytest.mark.usefixtures("_asked")


@pytest.mark.parametrize("library", BOTH)
def test_a_state_of_another_shape_is_refused(library: str) -> None:
    """What lies in memory behind a smaller state is not the optimizer's to write."""
    small, large = leaf(torch.ones(3)), leaf(torch.ones(3_000))
    given, taking = (BOTH[library].Adam([p], foreach=False) for p in (small, large))
    small.grad = torch.ones(3)
    given.step()
    taking.load_state_dict(given.state_dict())
    large.grad = torch.ones(3_000)
    with pytest.raises(RuntimeError, match=r"size|shape|broadcast"):
        taking.step()


@pytest.mark.parametrize(("before", "after"), [(12, 10), (10, 12)])
@pytest.mark.parametrize("attached", [False, True])
def test_a_parameter_may_become_another_part_of_its_memory(
    before: int, after: int, *, attached: bool
) -> None:
    memory = torch.arange(24.0).reshape(12, 2)
    p = leaf(memory[:before])
    p.data = memory[:before]
    optimizer = optim.SGD([p], lr=0.5)
    if attached:
        model = nn.Module()
        model.weight = nn.Parameter(p)
        p = model.weight
        optimizer = optim.SGD([p], lr=0.5)
        optimizer.attach(model)
    for rows in (before, after):
        p.data = memory[:rows]
        expected = memory.clone()
        expected[:rows] -= 0.5
        p.grad = None
        p.sum().backward()
        optimizer.step()
        assert torch.equal(memory, expected)


@pytest.mark.parametrize("library", BOTH)
@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.resize_(1),
        lambda state: state.resize_(2, 3, 1),
        lambda state: state.unsqueeze_(0),
        lambda state: state.t_(),
    ],
    ids=["shorter", "longer", "deeper", "turned"],
)
def test_a_state_whose_shape_is_changed_in_place_is_refused_as_by_torch(
    library: str, change: Callable[[Tensor], Any]
) -> None:
    p = leaf(torch.ones(2, 3))
    optimizer = BOTH[library].SGD([p], lr=0.1, momentum=0.9, foreach=False)
    p.grad = torch.ones(2, 3)
    optimizer.step()
    before = p.detach().clone()
    change(optimizer.state[p]["momentum_buffer"])
    with pytest.raises(RuntimeError, match=r"size|shape"):
        optimizer.step()
    assert torch.equal(p, before)


def test_a_state_that_is_turned_in_place_is_followed() -> None:
    ends = []
    for library in BOTH.values():
        p = leaf(torch.ones(2, 2))
        optimizer = library.SGD([p], lr=0.1, momentum=0.9)
        p.grad = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        optimizer.step()
        optimizer.state[p]["momentum_buffer"].t_()
        optimizer.step()
        ends.append(p.detach())
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
def test_a_wide_state_of_narrow_parameters_is_loaded_as_it_was_saved(half: torch.dtype) -> None:
    def trained(optimizer: Any, p: Tensor, steps: range) -> None:
        for t in steps:
            p.grad = (torch.arange(1, 6) * 1e-3 * (1 + t)).to(half)
            optimizer.step()

    p = leaf(torch.ones(5, dtype=half))
    whole = optim.Adam([p], lr=0.1, state_dtype=torch.float32)
    trained(whole, p, range(4))
    saved, value = deepcopy(whole.state_dict()), p.detach().clone()
    trained(whole, p, range(4, 8))
    again = leaf(value)
    loaded = optim.Adam([again], lr=0.1, state_dtype=torch.float32)
    loaded.load_state_dict(saved)
    trained(loaded, again, range(4, 8))
    assert torch.equal(again, p)
    assert torch.equal(loaded.state[again]["exp_avg_sq"], whole.state[p]["exp_avg_sq"])


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_a_narrow_state_of_float64_parameters_is_computed_in_float64(rounding: str) -> None:
    p, q = (leaf(torch.linspace(-1, 1, 7, dtype=torch.float64)) for _ in range(2))
    narrow = optim.Adam([p], lr=0.1, state_dtype=torch.bfloat16, rounding=rounding)  # type: ignore[arg-type]
    wide = torch.optim.Adam([q], lr=0.1)
    for _ in range(3):
        p.grad, q.grad = (v.detach().clone() for v in (p, q))
        narrow.step()
        wide.step()
    torch.testing.assert_close(p, q, rtol=0, atol=2e-3)
    assert narrow.state[p]["exp_avg"].dtype is torch.bfloat16


def test_a_parameter_that_has_no_shape_yet_waits_for_it() -> None:
    found = []
    for library in BOTH.values():
        torch.manual_seed(0)
        model = nn.LazyLinear(3)
        optimizer = library.SGD(model.parameters(), lr=0.1)
        optimizer.step()
        for _ in range(2):
            model(torch.ones(2, 4)).square().sum().backward()
            optimizer.step()
        found.append(model.weight.detach())
    assert torch.equal(*found)


def test_counts_lie_on_the_host_whatever_the_default_device() -> None:
    p = leaf(torch.ones(3))
    optimizer = optim.Adam([p], lr=0.1)
    for device in ("meta", "cpu"):
        p.grad = torch.ones(3)
        with torch.device(device):
            optimizer.step()
    assert optimizer.state[p]["step"].device.type == "cpu"
    assert optimizer.state[p]["step"] == 2


ROOT = np.sqrt(2.0)


def with_numpys_numbers(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN201
    return x - lr * ROOT * (g**2.0 + g**3)


def test_numbers_of_numpys_and_whole_powers_are_compiled() -> None:
    x = np.array([1.0, -2.0])
    g = np.array([0.5, 3.0])
    expected = x - 0.1 * np.sqrt(2.0) * (g**2 + g**3)
    Step(rule("test")(with_numpys_numbers), [x])([g])
    np.testing.assert_allclose(x, expected, rtol=1e-15)


def text(g: Any, kind: Any = "plain") -> Any:
    return g * kind


def test_a_default_that_is_no_number_is_refused_with_its_line() -> None:
    @rule("test")
    def own(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN202
        return x - lr * text(g)

    with pytest.raises(ValueError, match=r"layout.py, line \d+.*'kind' is neither an argument"):
        Step(own, [np.ones(2)])


def test_the_state_of_a_step_is_written_into_and_not_replaced() -> None:
    step = Step("momentum", [np.ones(2)], lr=0.5, beta=0.5)
    with pytest.raises(TypeError):
        step.state["v"] = ()  # type: ignore[index]
    step.state["v"][0][:] = 2.0
    step([np.zeros(2)])
    assert step.arrays[0].tolist() == [0.5, 0.5]


def test_a_step_goes_on_from_uniform_state() -> None:
    arrays = [np.ones(3) for _ in range(2)]
    whole, later = (Step("nadam", [array], lr=0.1) for array in arrays)
    for _ in range(3):
        whole([np.ones(3)])
    arrays[1][:] = arrays[0]
    for name in whole.state:
        later.state[name][0][:] = whole.state[name][0]
    later.t, later.uniform_state = whole.t, whole.uniform_state
    for step in (whole, later):
        step([np.full(3, 2.0)])
    np.testing.assert_array_equal(*arrays)
