"""Compiled steps: the numbers of steps that are not, whoever runs beside a lane."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import grad
from torch.nn import functional

from stack.nets import Attention, classes, in_lanes, one_by_one
from thalweg.errors import TaskError
from thalweg.stack import Outcome
from thalweg.stack.functions import LaneFunctions
from thalweg.stack.mapped import Program
from thalweg.tasks.modules import ModuleTask

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own
]


def net() -> nn.Module:
    """Return a network that has buffers and draws."""
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)
    )


def pooled() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Tanh(), nn.AvgPool2d(8),
        nn.Flatten(), nn.Linear(72, 3),
    )  # fmt: skip


def trained(
    rates: Sequence[float], rule: str | Sequence[str] = "momentum", *, compiled: bool
) -> Outcome:
    task = classes("mlp", torch.float32, model=net, compile=compiled)
    hyper = [{"lr": rate} for rate in rates]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as workers do
    try:
        return in_lanes(task, rule, hyper, epochs=3, batch_size=10)
    finally:
        torch.set_num_threads(threads)


def test_compiled_convolutions_learn_what_others_do() -> None:
    """In C++; also of average pooling, and of a validation part of more than one chunk."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(190, 1, 48, 48, generator=generator)
    task = classes("lenet", torch.float32, model=pooled, train=(x, torch.arange(190) % 3))
    hyper = [{"lr": 0.1}, {"lr": 0.01}]
    found, expected = (
        in_lanes(replace(task, compile=compiled), "sgd", hyper, epochs=1, batch_size=32)
        for compiled in (True, False)
    )
    np.testing.assert_allclose(found.train_loss, expected.train_loss, rtol=1e-5)
    np.testing.assert_allclose(found.validation_loss, expected.validation_loss, rtol=1e-5)
    whole = one_by_one(task, lambda p: torch.optim.SGD(p, lr=0.1), epochs=1, batch_size=32)[2]
    np.testing.assert_allclose(found.validation_loss[:, 0], whole, rtol=1e-5)


@pytest.fixture(scope="module")
def _traced_alone() -> Iterator[None]:
    """Run the operations of a program as they are: in C++ each group of them takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch._inductor.standalone_compile", lambda graph, _, **__: graph)
        yield


@pytest.fixture(scope="module")
def five(_traced_alone: None) -> Outcome:
    return trained([0.3, 0.1, 0.03, 0.01, 0.003], compiled=True)


def test_lanes_of_a_program_learn_what_others_do(five: Outcome) -> None:
    expected = trained([0.3, 0.1, 0.03, 0.01, 0.003], compiled=False)
    np.testing.assert_allclose(five.train_loss, expected.train_loss, rtol=1e-5)
    np.testing.assert_allclose(five.validation_loss, expected.validation_loss, rtol=1e-5)
    assert five.validation_loss.shape == (4, 5)
    found, wanted = five.finals[0].stack.state, expected.finals[0].stack.state
    for name, value in wanted.items():  # eight in a stack of five: copies of the last
        torch.testing.assert_close(found[name][:5], value)
        assert len(found[name]) == 8


def test_lanes_are_the_same_in_stacks_of_other_sizes(five: Outcome) -> None:
    for rates in ([0.03], [0.003, 1e38, 0.1]):  # one that diverges on the way
        found = trained(rates, compiled=True)
        for lane, rate in enumerate(rates):
            if rate == 1e38:
                assert found.diverged_at[lane]
                continue
            other = [0.3, 0.1, 0.03, 0.01, 0.003].index(rate)
            for curve in ("train_loss", "validation_loss"):
                own, same = getattr(found, curve)[:, lane], getattr(five, curve)[:, other]
                np.testing.assert_allclose(own, same, rtol=1e-5)


@pytest.mark.usefixtures("_traced_alone")
@pytest.mark.parametrize(
    "given",
    [
        (2,),
        (2, 2),
        ((2, 3), (2, 3)),
        (3,),
        (2, None, 0, True),
        (2, 1),
        (2, 2, 1),
        (2, 2, 0, False, True, 3),
    ],
    ids=str,
)
def test_average_pooling_that_is_compiled_is_torchs(given: tuple[Any, ...]) -> None:
    x = torch.randn(2, 3, 8, 6, dtype=torch.float64)
    compare_compiled(lambda x: functional.avg_pool2d(x, *given), x)


@pytest.mark.usefixtures("_traced_alone")
@pytest.mark.parametrize(
    "given",
    [
        {"kernel_size": 2},
        {"kernel_size": (4, 3)},
        {"kernel_size": 2, "dilation": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
    ],
    ids=str,
)
def test_maximum_pooling_that_is_compiled_is_torchs(given: dict[str, Any]) -> None:
    """The gradient of several that are largest, and what is not a number, too."""
    x = torch.randint(3, (2, 3, 8, 6)).double()
    if "padding" not in given:  # of two in windows that overlap torch's compiler takes another
        x[0, 0, 0, 0] = x[0, 0, 1, 1] = torch.nan
    compare_compiled(lambda x: functional.max_pool2d(x, **given), x)


@pytest.mark.usefixtures("_traced_alone")
def test_group_normalization_of_images_is_compiled() -> None:
    """It takes no lanes that lie as convolutions of their own filters leave them."""
    filters = torch.randn(4, 2, 3, 3, dtype=torch.float64)
    images = torch.randn(3, 2, 6, 6, dtype=torch.float64)

    def normalized(x: Tensor) -> Tensor:
        return functional.group_norm(functional.conv2d(x, filters * x.sum()), 2)

    compare_compiled(normalized, images)


def compare_compiled(function: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Compare a compiled function of two lanes, and its gradient, with those of each by torch."""
    lanes = torch.stack([x, x.flip(0)])
    leaves = lanes.clone().requires_grad_()
    expected = torch.stack([function(leaf) for leaf in leaves])
    weights = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, leaves, weights)[0]

    def weighted(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        with LaneFunctions(torch.tensor(0), torch.tensor(1)):
            found = function(x)
        return (found * weights).sum(), found

    with torch.no_grad():
        found = Program(grad(weighted, has_aux=True))((0, 0), lanes, weights, stacked=True)
    torch.testing.assert_close(found[1], expected.detach(), equal_nan=True)
    torch.testing.assert_close(found[0], gradients)


def test_lanes_of_several_rules_fill_a_stack_and_leave_it(five: Outcome) -> None:
    found = trained([0.1, 0.03, 1e38], ["sgd", "momentum", "momentum"], compiled=True)
    assert found.diverged_at.astype(bool).tolist() == [False, False, True]
    assert len(found.finals[0].lanes) == 2
    for curve in ("train_loss", "validation_loss"):
        own, same = getattr(found, curve)[:, 1], getattr(five, curve)[:, 2]
        np.testing.assert_allclose(own, same, rtol=1e-5)
    alone = trained([0.1], "sgd", compiled=True).validation_loss
    np.testing.assert_allclose(found.validation_loss[:, 0], alone[:, 0], rtol=1e-5)


def test_results_say_that_steps_are_compiled_and_lanes_are_32() -> None:
    task = ModuleTask(classes("mlp", torch.float32, compile=True), 0)
    plain = ModuleTask(classes("mlp", torch.float32), 0)
    assert task.facts["stacked"] == "compiled: many trainings in one pass"
    assert task.lanes == 32
    assert task.fingerprint() != plain.fingerprint()  # no race goes on as another one


class Choosing(nn.Linear):
    """What no compiler can follow."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() > 0 else -x)


def test_what_cannot_be_compiled_is_told_in_a_sentence() -> None:
    task: Any = classes("mlp", torch.float32, model=lambda: Choosing(6, 3), compile=True)
    with pytest.raises(TaskError, match=r"mapped.py:\d+: .* tracing tensor .*; leave compile=F"):
        in_lanes(task, "sgd", [{"lr": 0.1}], epochs=1, stacked=False)


@pytest.mark.usefixtures("_traced_alone")
def test_lanes_of_one_seed_draw_the_same_though_one_of_them_was_compiled() -> None:
    class Noisy(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + torch.rand(3)

    task = classes("mlp", torch.float32, model=lambda: Noisy(6, 3), compile=True)
    found = in_lanes(task, "sgd", [{"lr": 0.1}] * 2, epochs=2, stacked=False)
    np.testing.assert_array_equal(found.train_loss[:, 0], found.train_loss[:, 1])


@pytest.mark.usefixtures("_traced_alone")
def test_dropout_inside_attention_is_drawn_as_without_a_compiler() -> None:
    task = classes("transformer", torch.float32, model=lambda: Attention(0.3, layers=1))
    found, expected = (
        in_lanes(replace(task, compile=compiled), "sgd", [{"lr": 0.1}, {"lr": 0.2}], epochs=1)
        for compiled in (True, False)
    )
    np.testing.assert_allclose(found.train_loss, expected.train_loss, rtol=1e-5)
