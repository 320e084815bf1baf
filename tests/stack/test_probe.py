"""What is seen of a module: whether it can be stacked, and compiled."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from stack.nets import Attention, classes, make
from stack.test_objective import Copied, Counting, Late, Net, masked_weight
from thalweg.errors import TaskError


@pytest.mark.parametrize("call", [lambda: Attention(0.1), lambda: classes("lenet").model().float()])
def test_these_are_stacked(call: Callable[[], nn.Module]) -> None:
    name = "transformer" if isinstance(call(), Attention) else "lenet"
    model, _ = make(classes(name, torch.float32, model=call))
    assert model.stacked, model.traits.why


class Apart(Copied):
    """Has another value in lanes than alone."""

    @staticmethod
    def vmap(_: object, __: object, x: Tensor) -> tuple[Tensor, int]:  # type: ignore[override]
        return 2 * x, 0


def test_what_is_another_function_in_lanes_is_not_stacked() -> None:
    class Doubled(Net):
        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = Apart.apply(super().forward(x))  # type: ignore[no-untyped-call]
            return scores

    made, _ = make(classes("mlp", model=lambda: Doubled().double()))
    assert (made.stacked, made.traits.why) == (False, "its losses differ when it is stacked")


@pytest.mark.parametrize("model", [Counting, masked_weight, Late])
def test_it_is_not_compiled(model: Callable[[], nn.Module]) -> None:
    with pytest.raises(TaskError, match=r"^compile=True runs a module's Python once, and its? "):
        make(classes("mlp", model=lambda: model().double(), compile=True))
