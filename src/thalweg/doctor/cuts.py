"""Cuts: where a model cuts its graph itself, and how it is without that."""

from typing import Any

from torch import Tensor, nn

from thalweg.doctor.layers import replaced
from thalweg.doctor.subject import Subject

__all__ = ["CUTS", "cuts", "uncut"]

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
