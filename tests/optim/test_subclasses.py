"""Parameters and gradients whose values are not what lies in their memory: no kernel goes there."""

from collections.abc import Callable
from functools import partial
from typing import Any, Self

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.testing import assert_close
from torch.testing._internal.logging_tensor import LoggingTensor
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils._pytree import tree_map

from thalweg import optim

CLASSES = ["SGD", "Adagrad", "RMSprop", "Adadelta", "Adam", "AdamW", "Adamax", "NAdam", "RAdam",
           "ASGD", "Rprop"]  # fmt: skip
OWN: dict[str, Callable[[Any], Optimizer]] = {
    "Lion": lambda params: optim.Lion(params, lr=0.1),
    "Yogi": lambda params: optim.Yogi(params, lr=0.1),
    "AdaBelief": lambda params: optim.AdaBelief(params, lr=0.1, eps=1e-3),
    "Descent": lambda params: optim.Descent(params, "nadam", lr=0.1),
    "an option": lambda params: optim.Adam(params, lr=0.1, cautious=True),
    "a norm": lambda params: optim.SGD(params, lr=0.1, clip_norm=0.5),
}


class Holding(Tensor):
    """A tensor that stands for another one; what changes it changes that."""

    held: Tensor

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):  # noqa: ANN001, ANN206
        def own(value: Any) -> Any:
            return value.held if isinstance(value, Holding) else value

        out = function(*tree_map(own, args), **tree_map(own, kwargs or {}))
        return args[0] if function._schema.name.endswith("_") else cls.of(function, out)

    @classmethod
    def of(cls, function: Any, out: Any) -> Any:
        """Return what an operation returns of what it returned for the tensors held."""
        return cls(out) if function is torch.ops.aten.detach.default else out


class Wrapped(Holding):
    """One whose memory only Python knows, as torchao's quantized weights are."""

    @staticmethod
    def __new__(cls: type[Self], held: Tensor) -> Self:
        made = Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype)
        made.held = held
        return made


class Beside(Holding):
    """One that has memory of its own, in which other values lie, and whose operations return it."""

    @staticmethod
    def __new__(cls: type[Self], held: Tensor) -> Self:
        made = Tensor._make_subclass(cls, torch.full_like(held, 99.0))
        made.held = held
        return made

    @classmethod
    def of(cls, function: Any, out: Any) -> Any:  # noqa: ARG003
        """Return one that holds what was returned, if that is a tensor."""
        return cls(out) if isinstance(out, Tensor) else out


KINDS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Any], Tensor]]] = {
    "wrapped": (Wrapped, lambda p: p.held),
    "two": (lambda t: TwoTensor(t, t.clone()), lambda p: p.a),
    "logging": (LoggingTensor, lambda p: p.elem),
    "beside": (Beside, lambda p: p.held),
    "negated": (lambda t: torch._neg_view(-t), lambda p: p.resolve_neg()),
}


def steps(
    make: Callable[[Any], Optimizer],
    p: Tensor,
    wrap: Callable[[Tensor], Tensor],
    count: int = 3,
) -> Optimizer:
    optimizer = make([p])
    for number in range(count):
        p.grad = wrap(torch.tensor([1.0, -2.0, 0.5]) * (number + 1))
        optimizer.step()
    return optimizer


def plain() -> Tensor:
    return torch.tensor([1.0, 2.0, -3.0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CLASSES)
def test_a_parameter_steps_as_torch_steps_it(name: str, kind: str) -> None:
    wrap, inner = KINDS[kind]
    for gradient in (lambda g: g, wrap):
        found = []
        for library in (torch.optim, optim):
            p = nn.Parameter(wrap(plain()))
            optimizer = steps(partial(getattr(library, name), lr=0.1), p, gradient)
            found.append((inner(p), {k: torch.as_tensor(v) for k, v in optimizer.state[p].items()}))
        assert_close(found[1][0], found[0][0])
        assert found[0][1].keys() == found[1][1].keys()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OWN)
def test_a_parameter_steps_as_a_plain_one_where_torch_has_no_step(name: str, kind: str) -> None:
    wrap, inner = KINDS[kind]
    expected = plain().requires_grad_()
    steps(OWN[name], expected, lambda g: g)
    for gradient in (lambda g: g, wrap):
        p = nn.Parameter(wrap(plain()))
        steps(OWN[name], p, gradient)
        assert_close(inner(p).detach(), expected.detach())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*CLASSES, *OWN])
def test_a_plain_parameter_takes_such_a_gradient_when_it_comes(name: str, kind: str) -> None:
    wrap = KINDS[kind][0] if kind != "two" else lambda t: t  # it would step twice
    make = OWN.get(name) or partial(getattr(optim, name), lr=0.1)
    expected, p, other = plain().requires_grad_(), plain().requires_grad_(), plain()
    steps(make, expected, lambda g: g, 6)
    optimizer = make([p, other.requires_grad_()] if name != "a norm" else [p])
    for number in range(6):  # a plain one, then another kind, and so on
        gradient = torch.tensor([1.0, -2.0, 0.5]) * (number + 1)
        other.grad = gradient.clone()
        p.grad = wrap(gradient) if number % 2 else gradient
        optimizer.step()
    assert_close(p, expected)
    if name != "a norm":
        assert_close(other, expected)


def test_memory_with_other_values_is_left_alone() -> None:
    p = nn.Parameter(plain())
    p.grad = Beside(torch.ones(3))
    for expected in ([0.5, 1.5, -3.5], [0.0, 1.0, -4.0]):
        optim.SGD([p], lr=0.5).step()
        assert p.tolist() == expected


NAN = torch.tensor([1.0, float("nan"), 1.0])
UNFINITE = {
    "wrapped": lambda: Wrapped(NAN),
    "first of two": lambda: TwoTensor(NAN, torch.ones(3)),
    "second of two": lambda: TwoTensor(torch.ones(3), NAN),
    "infinite": lambda: LoggingTensor(torch.tensor([1.0, -float("inf"), 1.0])),
    "beside": lambda: Beside(NAN),
}


@pytest.mark.parametrize("make", [optim.Adam, optim.Lion])
@pytest.mark.parametrize("kind", UNFINITE)
def test_a_gradient_that_is_not_finite_is_noticed(kind: str, make: Any) -> None:
    p = nn.Parameter(plain())
    p.grad = UNFINITE[kind]()
    with pytest.raises(FloatingPointError, match="the gradient of parameter 0 of group 0 is not"):
        make([p], nonfinite="raise").step()
    make([p], nonfinite="skip").step()
    assert p.tolist() == plain().tolist()


def test_each_of_two_is_clipped_by_its_own_norm_as_torch_clips_it() -> None:
    found = []
    for library, option in ((torch.optim, {}), (optim, {"clip_norm": 1.0})):
        p = nn.Parameter(TwoTensor(plain(), plain()))
        p.grad = TwoTensor(torch.tensor([3.0, 4.0, 0.0]), torch.tensor([0.0, 0.1, 0.0]))
        if not option:
            nn.utils.clip_grad_norm_([p], 1.0)
        library.SGD([p], lr=0.5, **option).step()
        found.append(p)
    assert_close(found[1].a, found[0].a)
    assert_close(found[1].b, found[0].b)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
@pytest.mark.parametrize("layout", [torch.jagged, torch.strided])
def test_nested_tensors_step_as_torch_steps_them(layout: torch.layout) -> None:
    found = []
    for library in (torch.optim, optim):
        p = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=layout)
        p.requires_grad_()
        torch.nested.to_padded_tensor(p, 0.0).sum().backward()
        library.SGD([p], lr=0.25).step()
        found.append([part.tolist() for part in p.unbind()])
    assert found[0] == found[1] == [[0.75] * 2, [0.75] * 3]


@pytest.mark.parametrize("guard", [{"nonfinite": "raise"}, {"clip_norm": 1.0}])
def test_jagged_gradients_are_seen_by_guards(guard: dict[str, Any]) -> None:
    p = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    p.requires_grad_()
    p.grad = p.detach() * 2.0
    optim.SGD([p], lr=1.0, **guard).step()
    step = 2.0 if "nonfinite" in guard else 5**-0.5
    assert_close(p.values(), torch.full((5,), 1.0 - step), rtol=1e-5, atol=1e-5)


def test_elements_that_share_a_place_step_as_torch_steps_them() -> None:
    found = []
    for library in (torch.optim, optim):
        p = torch.ones(3).as_strided((2, 2), (1, 1)).requires_grad_()
        p.grad = torch.ones(2, 2)
        library.SGD([p], lr=0.25).step()
        found.append(p.tolist())
    assert found[0] == found[1] != [[0.75, 0.75], [0.75, 0.75]]


def test_conjugates_step_as_torch_steps_them() -> None:
    found = []
    for library, option in ((torch.optim, {}), (optim, {}), (optim, {"clip_norm": 100.0})):
        p = torch.tensor([1 + 1j, 2 - 1j]).conj().requires_grad_()
        p.grad = torch.tensor([1j, 1 + 0j])
        library.SGD([p], lr=0.25, **option).step()
        found.append(p.resolve_conj().tolist())
    assert found[0] == found[1]
    assert_close(torch.tensor(found[2]), torch.tensor(found[0]))


def test_attach_steps_such_parameters() -> None:
    model = nn.Linear(1, 1, bias=False)
    model.weight = nn.Parameter(TwoTensor(torch.ones(1, 1), torch.ones(1, 1)))
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    optimizer.attach(model)
    for expected in (0.5, 0.0):
        model(torch.ones(1)).sum().backward()
        assert model.weight.a.item() == expected  # type: ignore[attr-defined]
        assert model.weight.grad is None
