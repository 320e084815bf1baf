"""Memory: gradients that are read where they lie, copied, or shared."""

import math

import pytest
import torch

from optim_pairs import layout_of
from thalweg import optim

pytestmark = pytest.mark.usefixtures("_asked")


@pytest.mark.parametrize("shape", [(8, 6, 1, 1), (1, 6, 3, 3), (1, 5)])
def test_strides_of_single_elements_make_no_other_order(shape: tuple[int, ...]) -> None:
    """A gradient that differs in them alone is read where it lies."""
    p = torch.arange(1.0, 1 + math.prod(shape)).reshape(shape).requires_grad_()
    strides = [7 if size == 1 else s for size, s in zip(shape, p.stride(), strict=True)]
    p.grad = torch.ones(shape).as_strided(shape, strides)
    assert p.grad.stride() != p.stride()
    expected = p.detach() - 0.5 * p.grad
    optimizer = optim.SGD([p], lr=0.5)
    optimizer.step()
    assert torch.equal(p, expected)
    assert [len(prepared.copied) for prepared in layout_of(optimizer).prepare()] == [0]


def test_a_gradient_of_another_shape_is_refused_as_in_torch() -> None:
    memory = torch.ones(12, 2)
    for library in (optim, torch.optim):
        p = torch.ones(10, 2, requires_grad=True)
        p.grad = torch.ones(10, 2)
        p.data = memory
        with pytest.raises(RuntimeError, match="size"):
            getattr(library, "SGD")([p], lr=0.5).step()  # noqa: B009 - a module's class by its name


@pytest.mark.parametrize("again", [False, True], ids=["from the first step", "later"])
def test_a_gradient_that_parameters_share_is_zeroed_when_all_have_read_it(*, again: bool) -> None:
    params = [torch.ones(5, requires_grad=True) for _ in range(3)]
    optimizer = optim.SGD(params, lr=0.25, zero_gradients=True)
    if again:
        for p in params:
            p.grad = torch.zeros(5)
        optimizer.step()
    whole = torch.ones(5)
    for t in (1, 2):
        whole.fill_(1.0)
        params[0].grad = params[1].grad = whole
        params[2].grad = whole.view(5)
        optimizer.step()
        assert not whole.any()
        for p in params:
            assert p.tolist() == [1 - 0.25 * t] * 5
