"""Cuts: where a model or a loss cuts its graph itself, and how it is without that."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.doctor.layers import replaced
from thalweg.doctor.subject import Subject
from thalweg.stack.calls import Calls

__all__ = ["CUTS", "cuts", "differentiated", "graphless", "uncut"]

CUTS = {"detach", "detach_"}  # operations that cut the graph


def cuts(subject: Subject) -> list[tuple[int, ...]]:
    """Return the shapes of the tensors whose graph one pass through the model cuts.

    Those of the loss are left out: it has its reasons, as that of a policy has.
    """
    shapes: list[tuple[int, ...]] = []

    def note(x: Tensor) -> Tensor:
        shapes.extend([tuple(x.shape)] * (x.grad_fn is not None))
        return x

    if subject.pairs:
        with replaced(CUTS, note):
            subject.copy().outputs(subject.batch)
    return shapes


def uncut(model: nn.Module) -> None:
    """Let a module's forward pass keep the graph where it would cut it."""
    own = model.forward

    def forward(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - of any module
        with replaced(CUTS, lambda x: x):
            return own(*given, **named)

    model.forward = forward


class differentiated(Calls):  # noqa: N801 - used as a word: with differentiated()
    """While it is entered, derivatives that torch.autograd.grad gives have a graph of their own.

    Attributes:
        without: how many have been asked for without one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.without = 0

    def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:  # noqa: ANN401
        if function is torch.autograd.grad and not named.get("create_graph", args[4:5] == (True,)):
            self.without += 1
            args, named = args[:4], {**named, "create_graph": True}
        return function(*args, **named)


def graphless(subject: Subject) -> int:
    """Return how many derivatives one pass through model and loss takes without create_graph.

    What is made of such a derivative is a constant to the gradient, as a residual of a differential
    equation and a penalty of gradients are not meant to be.
    """
    mode = differentiated()
    with mode:
        subject.copy().loss(subject.batch)
    return mode.without
