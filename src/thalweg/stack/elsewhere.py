"""Elsewhere: gradients of a stack at other points, for rules that ask for them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.stack.batch import Batch
from thalweg.stack.lanes import Stack

__all__ = ["Elsewhere", "clip"]


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """The gradients of a stack's minibatch at other points.

    Buffers stay as the first pass left them: running statistics are those of the training points.

    Attributes:
        stack: the modules.
        batch: the minibatch.
        step: of the training: the same is drawn as in its first pass.
        compiled: see ``Stack.gradients``.
    """

    stack: Stack
    batch: Batch
    step: int
    compiled: bool

    def gradients(self, own: slice, points: Sequence[Tensor]) -> list[Tensor]:
        """Return the gradients of some lanes at these points, clipped as the task asks."""
        with self._at(own, points) as stack:
            _, found = stack.gradients(self.batch, self.step, compiled=self.compiled)
        scale = clip(found, stack.model.task.clip_norm)
        if scale is not None:
            found = [g * scale.reshape(-1, *[1] * (g.ndim - 1)) for g in found]
        return [g[own] for g in found]

    def seed(self, lane: int) -> int:
        """Return what fixes the random numbers of a lane's step."""
        return hash((int(self.stack.seeds[lane]), self.step)) % 2**63

    @contextmanager
    def _at(self, own: slice, points: Sequence[Tensor]) -> Iterator[Stack]:
        stack, before = self.stack, self.stack.parameters
        state = {name: tensor.clone() for name, tensor in stack.state.items()}
        moved = {name: p.detach().clone() for name, p in before.items()}
        for p, point in zip(moved.values(), points, strict=True):
            p[own] = point
            p.requires_grad_()
        stack.parameters = moved
        try:
            yield stack
        finally:
            stack.parameters, stack.state = before, state


def clip(gradients: Sequence[Tensor], clip_norm: float | None) -> Tensor | None:
    """Return what each lane's gradient is multiplied by, as torch.nn.utils.clip_grad_norm_."""
    if clip_norm is None:
        return None
    norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients])
    total = torch.linalg.vector_norm(norms, dim=0)
    scale: Tensor = (clip_norm / (total + 1e-6)).clamp(max=1.0)
    return scale
