"""A step after tensors, states or options have become others, against torch's or its refusal."""

import inspect
from collections.abc import Callable, Iterable
from copy import deepcopy
from operator import lt
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from optim_pairs import Configuration, every_class, members
from thalweg import optim
from thalweg.kernels import Step
from thalweg.rule import rule

pytestmark = pytest.mark.usefixtures("_asked")

BOTH = {"thalweg": optim, "torch": torch.optim}
Edit = Callable[[dict[str, Any], int], None]


def leaf(values: Tensor) -> Tensor:
    return values.clone().requires_grad_()


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


def ends(library: str, configuration: Configuration, steps: int, edit: Edit) -> list[list[float]]:
    """Return where a parameter is after each step, the group edited after each."""
    p = leaf(torch.tensor([1.0, -2.0]))
    optimizer = make(library, configuration, [p])
    path = []
    for t in range(1, steps + 1):
        p.grad = torch.tensor([1.0, -0.5]) / t
        optimizer.step()
        path.append(p.tolist())
        edit(optimizer.param_groups[0], t)
    return path


def replace_an_array_of_the_users_own(group: dict[str, Any], t: int) -> None:
    group["projector"] = np.eye(3) * t


def write_into_the_rate(group: dict[str, Any], t: int) -> None:
    if t == 1:
        group["lr"] = np.array(0.1)
    group["lr"][...] = 0.1 / t


def write_into_the_decay(group: dict[str, Any], t: int) -> None:
    if t == 1:
        group["weight_decay"] = np.array(0.0)
    group["weight_decay"][...] = 0.1 * t


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("SGD", replace_an_array_of_the_users_own),
        ("AdamW", replace_an_array_of_the_users_own),
        ("SGD", write_into_the_rate),
        ("AdamW", write_into_the_decay),
    ],
    ids=lambda given: getattr(given, "__name__", given),
)
def test_an_array_may_be_an_option(name: str, edit: Edit) -> None:
    configuration = Configuration(name, {"lr": 0.2})
    ours, theirs = (ends(library, configuration, 5, edit) for library in BOTH)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_dampening_that_is_set_later_leaves_nesterov() -> None:
    """torch refuses the two together when an optimizer is made, and takes both in a step."""

    def dampen(group: dict[str, Any], t: int) -> None:
        group["dampening"] = 0.2 * t

    configuration = Configuration("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True})
    ours, theirs = (ends(library, configuration, 5, dampen) for library in BOTH)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


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


@pytest.mark.parametrize("value", ["0.1", b"0.1", [0.1], 1j])
@pytest.mark.parametrize("option", ["lr", "weight_decay", "eps"])
def test_an_option_that_is_no_number_is_refused(option: str, value: Any) -> None:
    p = leaf(torch.ones(1))
    optimizer = optim.AdamW([p])
    p.grad = torch.ones(1)
    optimizer.step()
    optimizer.param_groups[0][option] = value
    with pytest.raises(TypeError, match=f"^{option} must be a number, got "):
        optimizer.step()


@pytest.mark.parametrize("name", ["SGD", "Lion"])
def test_a_group_that_is_no_group_is_refused_as_by_torch(name: str) -> None:
    optimizer = getattr(optim, name)([leaf(torch.ones(1))], lr=0.1)
    with pytest.raises(TypeError, match="param_group must be a dict, but got <class 'list'>"):
        optimizer.add_param_group([1])


@pytest.mark.parametrize(
    "build",
    [
        optim.SGD, optim.Adam, optim.Lion, optim.Yogi, optim.AdaBelief,
        lambda params, lr: optim.Descent(params, "adam", lr=lr),
    ],
)  # fmt: skip
@pytest.mark.parametrize("params", [None, [], 1])
def test_options_are_refused_before_parameters(build: Any, params: Any) -> None:
    with pytest.raises(ValueError, match=r"Invalid learning rate: -1.0|lr must be > 0, got -1.0"):
        build(params, lr=-1.0)


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


def make(
    library: str, configuration: Configuration, params: list[Tensor], **more: Any
) -> Optimizer:
    made = configuration.ours if library == "thalweg" else configuration.theirs
    return made(params, **more)


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


def test_options_that_change_the_rule_are_followed_when_attached() -> None:
    models = [nn.Linear(3, 2, bias=False) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    ours = optim.SGD(models[0].parameters(), lr=0.1, momentum=0.0)
    theirs = torch.optim.SGD(models[1].parameters(), lr=0.1, momentum=0.0)
    ours.attach(models[0])
    for momentum in (0.0, 0.5, 0.5, 0.0, 0.9):
        for optimizer, model in zip((ours, theirs), models, strict=True):
            optimizer.param_groups[0]["momentum"] = momentum
            optimizer.zero_grad()
            model(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()
        torch.testing.assert_close(models[0].weight, models[1].weight)


def test_a_state_that_is_cleared_begins_anew_when_attached() -> None:
    model = nn.Linear(3, 2, bias=False)
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    optimizer.attach(model)
    for _ in range(2):
        model(torch.ones(1, 3)).sum().backward()
    optimizer.state.clear()
    model(torch.ones(1, 3)).sum().backward()
    assert optimizer.state[model.weight]["step"] == 1


@pytest.mark.parametrize("options", [{"sparse": True}, {"differentiable": True}])
def test_what_attach_has_no_step_for_is_told(options: dict[str, bool]) -> None:
    model = nn.Embedding(5, 2, sparse="sparse" in options)
    differentiable = "differentiable" in options
    optimizer = optim.SGD(model.parameters(), lr=0.1, differentiable=differentiable)
    optimizer.attach(model)
    with pytest.raises(RuntimeError, match=r"attach has no step .*: call step"):
        model(torch.tensor([1])).sum().backward()


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


@pytest.mark.parametrize("lr", [float("nan"), float("inf")])
def test_a_rate_that_is_not_finite_ends_as_torchs(lr: float) -> None:
    found = []
    for library in BOTH.values():
        p = leaf(torch.ones(3))
        optimizer = library.ASGD([p], lr=0.1)
        optimizer.param_groups[0]["lr"] = lr
        for _ in range(3):
            p.grad = torch.ones(3)
            optimizer.step()
        found.append(p.detach())
    torch.testing.assert_close(*found, equal_nan=True)


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


def test_what_changes_within_an_option_is_followed() -> None:
    found = []
    for library in BOTH.values():
        p = leaf(torch.ones(3))
        optimizer = library.Adam([p], lr=0.1)
        optimizer.param_groups[0]["betas"] = [0.9, 0.999]
        for _ in range(4):
            p.grad = p.detach().clone()
            optimizer.step()
            optimizer.param_groups[0]["betas"][0] = 0.3
        found.append(p.detach())
    torch.testing.assert_close(*found)


def test_a_subclass_shows_its_own_arguments() -> None:
    class Scaled(optim.Adam):
        def __init__(self, model: nn.Module, scale: float) -> None:
            super().__init__(model.parameters(), lr=scale)

    class Same(optim.Adam):
        pass

    assert list(inspect.signature(Scaled).parameters) == ["model", "scale"]
    assert "clip_norm" in inspect.signature(Same).parameters
    assert "betas" in inspect.signature(Same).parameters


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
