"""Steps that others follow: transforms, tracers, modes and compilers see each one, as torch's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.optim import Optimizer
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from optim_pairs import layout_of
from thalweg import optim

# Of torch's own steps, of what torch's forward mode compiles, and of its old tracer.
pytestmark = [
    pytest.mark.filterwarnings("ignore:There is a performance drop because"),
    pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]
Make = Callable[[Any], Optimizer]
CLASSES = ["SGD", "Adagrad", "RMSprop", "Adadelta", "Adam", "AdamW", "Adamax", "NAdam", "RAdam",
           "ASGD", "Rprop"]  # fmt: skip
OWN: dict[str, Make] = {
    "Lion": lambda params: optim.Lion(params, lr=0.1),
    "Yogi": lambda params: optim.Yogi(params, lr=0.1),
    "AdaBelief": lambda params: optim.AdaBelief(params, lr=0.1, eps=1e-3),
    "Descent": lambda params: optim.Descent(params, "nadam", lr=0.1),
    "schedule": lambda params: optim.SGD(params, lambda t: 0.1 / (1 + t)),
    "caution": lambda params: optim.Adam(params, lr=0.1, cautious=True),
    "norm": lambda params: optim.SGD(params, lr=0.1, clip_norm=0.5),
}


def trained(make: Make, w: Tensor, g: Tensor) -> Tensor:
    """Return w after two steps along the same gradient."""
    w = w * 1.0
    optimizer = make([w])
    for _ in range(2):
        w.grad = g * 1.0
        optimizer.step()
    return w * 1.0


def mapped(make: Make, w: Tensor, g: Tensor) -> Any:
    return torch.func.vmap(lambda w, g: trained(make, w, g))(w.expand(2, 3), torch.stack([g, -g]))


def differentiated(make: Make, w: Tensor, g: Tensor) -> Any:
    """Return the derivative of a sum through what does not go through the steps."""
    return torch.func.grad(lambda x: (trained(make, w, g * x) * x).sum())(torch.tensor(1.0))


def pushed_forward(make: Make, w: Tensor, g: Tensor) -> Any:
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(w.clone(), torch.ones(3))
        optimizer = make([dual])
        dual.grad = forward_ad.make_dual(g, torch.full((3,), 0.5))
        optimizer.step()
        return tuple(forward_ad.unpack_dual(dual))


def traced(make: Make, w: Tensor, g: Tensor) -> Any:
    graph = make_fx(lambda w, g: trained(make, w, g))(torch.zeros(3), torch.ones(3))
    return graph(w, g)


def traced_early(make: Make, w: Tensor, g: Tensor) -> Any:
    graph = make_fx(lambda w, g: trained(make, w, g), pre_dispatch=True)
    return graph(torch.zeros(3), torch.ones(3))(w, g)


def traced_by_jit(make: Make, w: Tensor, g: Tensor) -> Any:
    example = torch.zeros(3), torch.ones(3)
    return torch.jit.trace(lambda w, g: trained(make, w, g), example, check_trace=False)(w, g)


def functional(make: Make, w: Tensor, g: Tensor) -> Any:
    return torch.func.functionalize(lambda w, g: trained(make, w, g))(w, g)


def swapped(make: Make, w: Tensor, g: Tensor) -> Any:
    stateless = pytest.importorskip("torch.optim._stateless")  # of torch 2.13
    p = nn.Parameter(torch.ones(3))
    optimizer = make([p])
    p.grad = torch.ones(3)
    optimizer.step()

    def step(params: dict[str, Tensor], state: dict[str, Any], g: Tensor) -> Tensor:
        with stateless.swap_in_optimizer_params_and_state(optimizer, params, state):
            params["p"].grad = g * 1.0
            optimizer.step()
        return params["p"] * 1.0

    graph = make_fx(step)({"p": torch.ones(3)}, optimizer.state_dict(), torch.ones(3))
    return graph({"p": w}, optimizer.state_dict(), g)


FOLLOWERS = [
    mapped, differentiated, pushed_forward, traced, traced_early, traced_by_jit, functional,
    swapped,
]  # fmt: skip


def outcome(follow: Callable[..., Any], make: Make) -> Any:
    """Return what comes of it: numbers, or the kind of error."""
    try:
        return follow(make, torch.tensor([1.0, 2.0, -3.0]), torch.tensor([1.0, -0.5, 0.25]))
    except RuntimeError as error:
        return str(error).split(". ")[0]


@pytest.mark.parametrize("follow", FOLLOWERS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", CLASSES)
def test_a_step_that_is_followed_is_torchs(name: str, follow: Callable[..., Any]) -> None:
    def make(library: Any) -> Make:
        options = {"momentum": 0.9} if name == "SGD" else {}
        return lambda params: getattr(library, name)(params, lr=0.1, **options)

    expected, found = outcome(follow, make(torch.optim)), outcome(follow, make(optim))
    if isinstance(expected, str):
        assert found == expected
    else:
        assert_close(found, expected)


@pytest.mark.parametrize("follow", FOLLOWERS[:-1], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", OWN)
def test_a_rule_that_torch_lacks_is_followed(name: str, follow: Callable[..., Any]) -> None:
    w, g = torch.tensor([1.0, 2.0, -3.0]), torch.tensor([1.0, -0.5, 0.25])
    plain = trained(OWN[name], w, g)
    found = follow(OWN[name], w, g)
    if follow is mapped:
        assert_close(found, torch.stack([plain, trained(OWN[name], w, -g)]))
    elif follow is differentiated:
        assert_close(found, plain.sum())
    elif follow is pushed_forward:
        once = w.clone()
        optimizer = OWN[name]([once])
        once.grad = g
        optimizer.step()
        assert_close(found[0], once)
        assert found[1] is not None
    else:
        assert_close(found, plain)


@pytest.mark.parametrize("make", [OWN["Lion"], lambda params: optim.Adam(params, lr=0.1)])
def test_what_follows_a_while_sees_its_steps_and_leaves_kernels_to_the_others(make: Make) -> None:
    found = []
    for watched in (False, True):
        p = nn.Parameter(torch.tensor([1.0, 2.0, -3.0]))
        optimizer = make([p])
        for number in range(4):
            p.grad = torch.tensor([1.0, -0.5, 0.25]) * number
            if watched and number == 1:
                with FlopCounterMode(display=False):
                    optimizer.step()
            else:
                optimizer.step()
        assert len(layout_of(optimizer).buckets) == 1
        found.append(p)
    assert_close(found[1], found[0])


def test_a_mode_sees_the_step() -> None:
    seen = []

    class Mode(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
            seen.append(function._schema.name)
            return function(*args, **(kwargs or {}))

    p = nn.Parameter(torch.ones(3))
    optimizer = optim.Lion([p])
    optimizer.attach(nn.ParameterList([p]))
    p.sum().backward()
    p.grad = torch.ones(3)
    with Mode():
        optimizer.step()
        optimizer.step_one(p, 0)
    assert seen.count("aten::copy_") == 4  # the parameter and its moment, twice


@pytest.mark.parametrize("name", [*CLASSES, *OWN])
def test_an_optimizer_may_be_made_in_a_compiled_function(name: str) -> None:
    make = OWN.get(name) or (lambda params: getattr(optim, name)(params, lr=0.1))
    torch._dynamo.reset()
    p, expected = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    compiled = torch.compile(lambda w: make([w]), backend="eager")
    for optimizer, w in ((compiled(p), p), (make([expected]), expected)):
        w.grad = torch.tensor([1.0, -0.5, 0.25])
        optimizer.step()
    assert_close(p, expected)


class Half(optim.Lion):
    """A class of a user's, with an attribute of its own before torch's constructor."""

    def __init__(self, params: Any, lr: float) -> None:
        self.factor = 0.5
        super().__init__(params, lr=self.factor * lr)


def test_a_users_class_may_be_made_in_a_compiled_function() -> None:
    torch._dynamo.reset()
    p = nn.Parameter(torch.ones(3))
    optimizer = torch.compile(lambda w: Half([w], 0.5), backend="eager")(p)
    p.grad = torch.ones(3)
    optimizer.step()
    assert p.tolist() == [0.75] * 3
