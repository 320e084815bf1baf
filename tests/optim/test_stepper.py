"""What a step does or refuses as a whole: what it writes is counted, and nothing is half done."""

from collections.abc import Iterable
from operator import lt
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from optim_pairs import BOTH, Configuration, every_class, leaf, make, members
from thalweg import optim

pytestmark = pytest.mark.usefixtures("_asked")


@pytest.mark.parametrize("name", ["SGD", "Adam", "Lion"])
@pytest.mark.parametrize("attached", [False, True])
def test_a_backward_pass_through_values_before_the_step_is_refused(
    name: str, *, attached: bool
) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    optimizer = getattr(optim, name)(model.parameters(), lr=0.1)
    if attached:
        optimizer.attach(model)
    y = model(torch.ones(2, 3)).square().sum()
    y.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate")
@pytest.mark.parametrize("options", [{}, {"zero_gradients": True}], ids=["kept", "zeroed"])
@every_class
def test_a_parameter_given_twice_is_stepped_twice(
    configuration: Configuration, options: dict[str, Any]
) -> None:
    paths = []
    for library in BOTH:
        p, once = leaf(torch.ones(3)), leaf(torch.ones(3))
        more = options if library == "thalweg" else {}
        if configuration.name == "SGD" and options:
            more = {"momentum": 0.0} | more  # torch's two steps begin with a velocity each
        optimizer = make(library, configuration, [p, once, p], **more)
        for t in range(1, 5):
            p.grad, once.grad = torch.tensor([1.0, -2.0, 0.5]) / t, torch.ones(3)
            optimizer.step()
            assert not options or library == "torch" or not p.grad.any()
        paths.append((p.detach(), once.detach(), optimizer.state[p].get("step", 0)))
    for ours, theirs in zip(*paths, strict=True):
        torch.testing.assert_close(ours, theirs)


@every_class
def test_a_parameter_of_whole_numbers_is_refused_before_any_moves(
    configuration: Configuration,
) -> None:
    frozen, whole, p = torch.arange(3), torch.arange(3), leaf(torch.ones(3))
    optimizer = configuration.ours([p, whole, frozen])
    whole.grad, p.grad = torch.ones(3, dtype=torch.int64), torch.ones(3)
    with pytest.raises(RuntimeError, match=r"parameter of torch.int64 has a gradient"):
        optimizer.step()
    whole.grad = None
    assert p.tolist() == [1.0] * 3
    optimizer.step()
    assert p.tolist() != [1.0] * 3
    assert whole.tolist() == frozen.tolist() == [0, 1, 2]


@pytest.mark.parametrize("library", BOTH)
@every_class
def test_a_step_counts_as_a_change_of_the_state_of_what_it_steps(
    library: str, configuration: Configuration
) -> None:
    """A backward pass through a state would take its new values for the old."""
    optimizer = make(library, configuration, [leaf(torch.ones(3)) for _ in range(2)])
    stepped, waiting = members(optimizer)
    for p in (stepped, waiting):
        p.grad = torch.ones(3)
    optimizer.step()
    waiting.grad = None
    before = {p: counts(optimizer.state[p].values()) for p in (stepped, waiting)}
    optimizer.step()
    assert all(map(lt, before[stepped], counts(optimizer.state[stepped].values())))
    assert before[waiting] == counts(optimizer.state[waiting].values())


def counts(tensors: Iterable[Tensor | None]) -> list[int]:
    return [tensor._version for tensor in tensors if tensor is not None]


@pytest.mark.parametrize("other", [True, False])
def test_a_backward_pass_through_a_gradient_that_a_step_zeroed_is_refused(*, other: bool) -> None:
    p, still = leaf(torch.ones(2, 2)), leaf(torch.ones(2))
    optimizer = optim.SGD([still, p], lr=0.1, zero_gradients=True)
    (gradient,) = torch.autograd.grad((p**3).sum(), p, create_graph=True)
    p.grad = gradient = gradient.t() if other else gradient  # an order of memory that is copied
    loss = gradient.square().sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_gradient_of_inference_mode_is_zeroed_without_a_count() -> None:
    p = leaf(torch.ones(2))
    optimizer = optim.SGD([p], lr=0.5, zero_gradients=True)
    with torch.inference_mode():
        p.grad = torch.ones(2)
    optimizer.step()
    assert (p.tolist(), p.grad.tolist()) == ([0.5, 0.5], [0.0, 0.0])


def test_an_overflow_does_not_stay_in_gradients_that_the_step_zeroes() -> None:
    p = leaf(torch.ones(4))
    optimizer = optim.SGD([p], lr=0.5, nonfinite="skip", zero_gradients=True)
    for scale in (torch.inf, 1.0):
        (p * scale).sum().backward()
        optimizer.step()
    assert p.tolist() == [0.5] * 4

    scaler = GradScaler("cpu", init_scale=2.0)
    for scale in (torch.inf, 1.0):
        scaler.scale((p * scale).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert p.tolist() == [0.0] * 4
