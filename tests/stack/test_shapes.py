"""A loss that broadcasts outputs against targets is refused; what is meant so is not."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from stack.nets import make
from thalweg.errors import TaskError
from thalweg.stack import TorchTask
from thalweg.stack.shapes import _Crossing

X = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
Y = 2 * X[:, 0] + 1
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": functional.mse_loss,
    "MSE": nn.MSELoss(),
    "MSE the other way": lambda out, y: functional.mse_loss(y, out),
    "l1": functional.l1_loss,
    "smooth": functional.smooth_l1_loss,
    "huber": nn.HuberLoss(),
    "logits": functional.binary_cross_entropy_with_logits,
    "poisson": functional.poisson_nll_loss,
    "by hand": lambda out, y: (out - y).square().mean(),
    "reversed": lambda out, y: (y - out).abs().mean(),
    "of a function": lambda out, y: (out.sigmoid() - y.float()).square().mean(),
    "larger": lambda out, y: torch.maximum(out, y).mean(),
    "where": lambda out, y: torch.where(out > y, out, y).mean(),
}


def task(**given: Any) -> TorchTask:
    settings: dict[str, Any] = {"model": lambda: nn.Linear(6, 1), "train": (X, Y)}
    return TorchTask(**settings | given)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_broadcasts_is_refused_with_shapes_and_remedies_that_work(name: str) -> None:
    loss = LOSSES[name]
    for own in ({"loss": loss}, {"step": lambda model, batch: loss(model(batch[0]), batch[1])}):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(TaskError) as told:
                make(task(**own))
            assert re_shapes(str(told.value)) == (
                "the loss compares outputs of shape (n, 1) with targets of shape (n,), but they "
                "must have one shape: give targets[:, None], or let the model return "
                "outputs.squeeze(1)"
            )
            make(task(**own, train=(X, Y[:, None])))
            make(task(**own, model=lambda: nn.Sequential(nn.Linear(6, 1), nn.Flatten(0))))


def re_shapes(message: str) -> str:
    """Return a message without the place that may stand before it."""
    return message[message.index("the loss") :]


def test_the_line_of_a_loss_by_hand_is_named() -> None:
    with pytest.raises(TaskError, match=r"^.*test_shapes\.py:\d+: the loss compares"):
        make(task(loss=LOSSES["by hand"]))


IMAGES = torch.randn(60, 1, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("given", "shapes", "remedy"),
    [
        (
            {"model": lambda: nn.Sequential(nn.Linear(6, 1), nn.Flatten(0)),
             "train": (X, Y[:, None])},
            r"outputs of shape \(n,\) with targets of shape \(n, 1\)",
            r"give targets\.squeeze\(1\), or let the model return outputs\[:, None\]$",
        ),
        (
            {"model": lambda: nn.Conv2d(1, 1, 3, padding=1), "train": (IMAGES, IMAGES[:, 0])},
            r"outputs of shape \(n, 1, 4, 4\) with targets of shape \(n, 4, 4\)",
            r"give targets\[:, None\], or let the model return outputs\.squeeze\(1\)$",
        ),
        (
            {"model": lambda: nn.Linear(6, 3), "train": (X, Y[:, None])},
            r"outputs of shape \(n, 3\) with targets of shape \(n, 1\)",
            r"give targets\.expand_as\(outputs\) to the loss if each is meant for several outputs$",
        ),
        (
            {"model": lambda: nn.Linear(6, 3), "train": (X, Y)},
            r"outputs of shape \(n, 3\) with targets of shape \(n,\)",
            r"give targets\[\.\.\., None\]\.expand_as\(outputs\) to the loss if each is meant for ",
        ),
        (
            {"model": lambda: nn.Linear(6, 1), "train": (X[:, None], X[:, :4])},
            r"outputs of shape \(n, 1, 1\) with targets of shape \(n, 4\)",
            "make them alike$",
        ),
    ],
)  # fmt: skip
def test_other_shapes_are_told_too(given: dict[str, Any], shapes: str, remedy: str) -> None:
    with pytest.raises(TaskError, match=f"{shapes}, but they must have one shape: {remedy}"):
        make(task(loss=functional.mse_loss, **given))


def quantiles(out: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(0.9 * (y - out), 0.1 * (out - y)).mean()


def ranking(out: Tensor, y: Tensor) -> Tensor:
    return ((out - out.T) * (y[:, None] > y).float()).mean()


def nearest(out: Tensor, y: Tensor) -> Tensor:
    return (out[:, None] - y).abs().min(1).values.mean()


@pytest.mark.parametrize(
    "given",
    [
        {"model": lambda: nn.Linear(6, 3), "loss": quantiles, "train": (X, Y[:, None])},
        {"loss": ranking},
        {"model": lambda: nn.Sequential(nn.Linear(6, 1), nn.Flatten(0)), "loss": nearest},
        {"model": lambda: nn.Linear(6, 3), "loss": functional.cross_entropy,
         "train": (X, X[:, :3].argmax(1))},
    ],
    ids=["quantiles", "ranking", "nearest", "classes"],
)  # fmt: skip
def test_what_is_meant_to_broadcast_is_not_refused(given: dict[str, Any]) -> None:
    make(task(**given))


def test_who_looks_loads_no_compiler() -> None:
    """torch wraps a mode's operators for its compiler, which takes a second to load."""
    assert not hasattr(_Crossing.__torch_dispatch__, "__wrapped__")
