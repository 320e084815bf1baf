"""Where tensors lie: what compiled code finds of them, and what it must notice."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from torch import Tensor, nn

from thalweg import optim
from thalweg.kernels.cpu import addresses
from thalweg.kernels.cpu.table import Table
from thalweg.optim.addresses import Addresses, CompiledAddresses, addresses_of

SHAPES = ((3, 2), (), (5,), (0, 3), (2, 1, 3))


def asked(parameters: list[Tensor], states: list[Tensor] | None = None) -> Addresses:
    found = addresses_of(parameters, states or [])
    assert type(found) is CompiledAddresses, "torch's functions are not where they were"
    return found


def with_gradients() -> list[Tensor]:
    parameters = [torch.zeros(shape, requires_grad=True) for shape in SHAPES]
    for p in parameters:
        p.grad = torch.ones_like(p)
    return parameters


def lying(parameters: list[Tensor]) -> list[int]:
    return [0 if p.grad is None else p.grad.data_ptr() for p in parameters]


def test_gradients_are_found_where_they_lie() -> None:
    parameters = with_gradients()
    where = asked(parameters)
    for _ in range(2):
        assert where.find_gradients()
        assert where.found.tolist() == lying(parameters)
        parameters[0].grad = torch.ones(3, 2)
    parameters[2].grad = None
    assert not where.find_gradients()
    assert where.locate([p.grad for p in parameters])
    assert where.found.tolist() == lying(parameters)


OTHERS = {
    "format": torch.ones(3, 2, dtype=torch.float64),
    "order": torch.ones(2, 3).t(),
    "part": torch.ones(3, 4)[:, ::2],
    "negated": torch._neg_view(torch.ones(3, 2)),
    "sparse": torch.ones(3, 2).to_sparse(),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_gradient_that_no_kernel_takes_as_it_is_is_noticed(kind: str) -> None:
    parameters = with_gradients()
    where = asked(parameters)
    p = parameters[0]
    if kind == "format":
        p.grad.data = OTHERS[kind]  # type: ignore[union-attr]
    else:
        p.grad = OTHERS[kind]
    assert not where.find_gradients()
    assert not where.locate([p.grad for p in parameters])


def test_a_gradient_of_conjugates_is_noticed() -> None:
    p = torch.zeros(3, dtype=torch.complex64, requires_grad=True)
    p.grad = torch.ones(3, dtype=torch.complex64)
    where = asked([p])
    assert where.find_gradients()
    p.grad = p.grad.conj()
    assert not where.find_gradients()


class Wrapped(Tensor):
    """A tensor whose memory only Python knows."""

    held: Tensor

    @staticmethod
    def __new__(cls: type[Self], held: Tensor) -> Self:
        made = Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):  # noqa: ANN001, ANN206
        own = [a.held if isinstance(a, Wrapped) else a for a in args]
        return function(*own, **(kwargs or {}))


def test_a_gradient_whose_memory_is_unknown_is_noticed() -> None:
    p = torch.zeros(3, requires_grad=True)
    where = asked([p])
    p.grad = Wrapped(torch.ones(3))
    assert not where.find_gradients()
    assert not where.locate([p.grad])
    for wanted in (-1.0, -2.0):
        optim.SGD([p], lr=1.0).step()
        assert p.tolist() == [wanted] * 3


def test_a_parameter_that_becomes_conjugates_is_noticed() -> None:
    p = torch.zeros(3, dtype=torch.complex64, requires_grad=True)
    where = asked([p])
    assert where.unmoved()
    p.data = p.detach().conj()
    assert not where.unmoved()


def test_the_stride_of_a_single_element_is_nothing() -> None:
    p = torch.zeros(2, 1, 3, requires_grad=True)
    p.grad = torch.ones(6).as_strided((2, 1, 3), (3, 17, 1))
    assert asked([p]).find_gradients()


def replaced(p: Tensor) -> None:
    p.data = p.detach().clone()


def shortened(p: Tensor) -> None:
    p.data = p.detach()[:2]


def as_other_numbers(p: Tensor) -> None:
    p.data = p.detach().view(torch.int32).view(torch.float32).flatten().view(2, 3)


@pytest.mark.parametrize("change", [replaced, shortened, as_other_numbers])
def test_a_parameter_that_has_moved_is_noticed(change: Callable[[Tensor], None]) -> None:
    parameters = with_gradients()
    where = asked(parameters)
    assert where.unmoved()
    change(parameters[0])
    assert not where.unmoved()


def test_a_state_that_has_moved_is_noticed() -> None:
    state = torch.zeros(3)
    where = asked(with_gradients(), [state])
    assert where.unmoved()
    replaced(state)
    assert not where.unmoved()


def test_parameters_may_be_swapped() -> None:
    """``Module.to`` swaps them where torch.__future__ says so; they must be nobody else's then."""
    p, q = (nn.Parameter(torch.full((3,), value)) for value in (1.0, 5.0))
    optimizer = optim.SGD([p], lr=1.0)
    for wanted in (0.0, 4.0, 3.0):
        p.grad = torch.ones(3)
        optimizer.step()
        assert p.tolist() == [wanted] * 3
        if wanted == 0.0:
            p.grad = None
            torch.utils.swap_tensors(p, q)
            del q


def test_a_state_that_is_replaced_is_taken() -> None:
    p = torch.zeros(3, requires_grad=True)
    optimizer = optim.SGD([p], lr=1.0, momentum=0.5)
    for _ in range(2):
        p.grad = torch.zeros(3)
        optimizer.step()
    kept = optimizer.state[p]["momentum_buffer"]
    optimizer.state[p]["momentum_buffer"] = torch.full((3,), 8.0)
    optimizer.step()
    assert p.tolist() == [-4.0] * 3
    assert kept.tolist() == [0.0] * 3


class Shown(nn.Parameter):
    """A parameter that shows another gradient than it keeps."""

    @property
    def grad(self) -> Tensor:
        return torch.full((3,), 2.0)


def test_a_gradient_that_python_makes_is_taken() -> None:
    p = Shown(torch.zeros(3))
    Tensor.grad.__set__(p, torch.ones(3))  # type: ignore[attr-defined]
    optim.SGD([p], lr=1.0).step()
    assert p.tolist() == [-2.0] * 3


def test_where_a_function_is_missing_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Path(torch._C.__file__)
    assert addresses.functions(library) is not None
    monkeypatch.setattr(addresses, "_FUNCTIONS", (*addresses._FUNCTIONS, "no_such_function"))
    assert addresses.functions.__wrapped__(library) is None


def test_a_step_of_many_elements_holds_its_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads run meanwhile, and may free theirs."""
    p = torch.zeros(200_000, requires_grad=True)
    p.grad = torch.ones(200_000)
    optimizer = optim.SGD([p], lr=1.0)
    optimizer.step()
    step, held = Table.step, weakref.ref(p.grad)

    def late(self: Table, *given: Any) -> bool:
        p.grad = None
        assert held() is not None
        return step(self, *given)

    monkeypatch.setattr(Table, "step", late)
    optimizer.step()
    assert held() is None
    assert torch.equal(p, torch.full((200_000,), -2.0))
