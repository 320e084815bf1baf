"""Modules that cannot be stacked are trained alone, as plain torch trains them."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from stack.nets import classes, in_lanes, make, one_by_one
from thalweg.errors import TaskError

pytestmark = pytest.mark.usefixtures("one_thread")


class Net(nn.Module):
    """Two layers; what is done to them is each test's."""

    def __init__(self) -> None:
        super().__init__()
        self.below, self.above = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.above(torch.tanh(self.below(x)))
        return scores


def reversed_gradient() -> nn.Module:
    net = Net()
    net.above.register_full_backward_hook(lambda _, given, __: (-given[0],))
    return net


def masked_weight() -> nn.Module:
    net = Net()
    net.below.weight.register_hook(lambda g: g * torch.eye(6))
    return net


class Checkpointed(Net):
    """Computes a layer again in the backward pass, as either of torch's ways has it."""

    reentrant = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        inner = torch.tanh(self.below(x))
        scores: Tensor = checkpoint(self.above, inner, use_reentrant=self.reentrant)
        return scores


class Reentrant(Checkpointed):
    reentrant = True


class Counting(Net):
    """Counts its steps in a number of Python's."""

    steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps = self.steps + self.training
        return super().forward(x) * (1.0 if self.steps <= 5 else 2.0)


class Averaging(Net):
    """Keeps a mean that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.zeros(3)

    def forward(self, x: Tensor) -> Tensor:
        scores = super().forward(x)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * scores.detach().mean(0)
        return scores - self.mean


class Shuffling(Net):
    """Draws an order of its inputs that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.order = torch.randperm(6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, self.order])


class Late(Net):
    """Has a buffer that only later steps change, and one that evaluation does."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("judged", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        scores = super().forward(x)
        if self.training:
            self.seen += 1
            if self.seen > 3:
                self.mean.mul_(0.9).add_(0.1 * scores.detach().mean(0))
        else:
            self.judged += 1
        return (scores - self.mean) * (1 + 0.1 * self.judged)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (reversed_gradient, "^its gradients differ when it is stacked$"),
        (masked_weight, "^its gradients differ when it is stacked$"),
        (Checkpointed, ""),
        (Reentrant, ""),
        (Counting, "^its attribute steps changes from step to step and is no buffer$"),
        (Averaging, "^its attribute mean changes from step to step and is no buffer$"),
        (Shuffling, "^its attribute order depends on the seed and is no buffer$"),
        (Late, "^it changes judged in evaluation$"),
    ],
)
def test_it_is_trained_as_plain_torch_trains_it(model: Callable[[], nn.Module], why: str) -> None:
    task = classes("mlp", model=lambda: model().double())
    made, _ = make(task)
    assert not made.stacked
    assert re.search(why, made.traits.why), made.traits.why
    training = in_lanes(
        task, "sgd", [{"lr": 0.1}, {"lr": 0.5}], epochs=3, seeds=[3, 9], stacked=False
    )
    for lane, (lr, seed) in enumerate(((0.1, 3), (0.5, 9))):
        module, train_loss, validation_loss = one_by_one(
            task, lambda p, lr=lr: torch.optim.SGD(p, lr=lr), epochs=3, seed=seed
        )
        np.testing.assert_allclose(training.train_loss[1:, lane], train_loss, rtol=1e-12)
        np.testing.assert_allclose(training.validation_loss[:, lane], validation_loss, rtol=1e-12)
        own = training.finals[lane].stack
        for name, value in own.model.state_dict(*own.lane(0)).items():
            torch.testing.assert_close(value, module.state_dict()[name], rtol=1e-12, atol=1e-12)


def test_gradients_that_are_sparse_are_those_that_are_not() -> None:
    def tokens(*, sparse: bool) -> nn.Module:
        return nn.Sequential(nn.Embedding(12, 4, sparse=sparse), nn.Flatten(), nn.Linear(20, 3))

    curves = []
    for sparse in (True, False):
        task = classes("transformer", model=lambda sparse=sparse: tokens(sparse=sparse).double())
        assert make(task)[0].stacked is not sparse
        curves.append(in_lanes(task, "adam", [{"lr": 0.1}], epochs=2, stacked=False).train_loss)
    np.testing.assert_array_equal(*curves)


def test_a_module_that_every_call_returns_starts_anew_each_time() -> None:
    net = Late().double()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    task = classes("mlp", model=lambda: net)
    rates = [{"lr": 0.1}, {"lr": 0.5}, {"lr": 0.1}]
    curves = in_lanes(task, "sgd", rates, epochs=3, stacked=False).train_loss
    np.testing.assert_array_equal(curves[:, 0], curves[:, 2])
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in net.parameters())


class Copied(torch.autograd.Function):
    """Changes nothing."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx: object, inputs: object, output: object) -> None:
        pass

    @staticmethod
    def backward(_: object, *gradients: Tensor) -> Tensor:  # type: ignore[override]
        return gradients[0]


def test_a_buffer_that_a_step_writes_its_own_value_to_is_a_lanes_own() -> None:
    class Waiting(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))
            self.register_buffer("mean", torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            scores = super().forward(x)
            if self.training:
                now = 0.9 * self.mean + 0.1 * scores.detach().mean(0)
                self.seen = self.seen + 1
                self.mean = torch.where(self.seen > 3, now, self.mean)
            return scores - self.mean

    task = classes("mlp", model=lambda: Waiting().double())
    training = in_lanes(task, "sgd", [{"lr": 0.1}, {"lr": 0.5}], epochs=3)
    for lane, lr in enumerate((0.1, 0.5)):
        expected = one_by_one(task, lambda p, lr=lr: torch.optim.SGD(p, lr=lr), epochs=3)[2]
        np.testing.assert_allclose(training.validation_loss[:, lane], expected, rtol=1e-12)


def test_a_gradient_that_breaks_on_the_way_is_told_in_a_sentence() -> None:
    class Breaks(Copied):
        generate_vmap_rule = True

        @staticmethod
        def backward(_: object, *gradients: Tensor) -> Tensor:  # type: ignore[override]
            if len(gradients[0]) == 9:
                raise RuntimeError("nine\nare too many")
            return gradients[0]

    class Broken(Net):
        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = Breaks.apply(super().forward(x))  # type: ignore[no-untyped-call]
            return scores

    for stacked in (True, False):
        with pytest.raises(
            TaskError, match=r"objective\.py:\d+: RuntimeError: nine; are too many$"
        ):
            in_lanes(
                classes("mlp", model=lambda: Broken().double()), "sgd", [{}] * 2, epochs=1,
                stacked=stacked,
            )  # fmt: skip
