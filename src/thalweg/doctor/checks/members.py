"""Members: several outputs, each asked for by itself as an only output would be."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from thalweg.doctor.baseline import loss_of
from thalweg.doctor.checks.outputs import output_range_too_small, reach
from thalweg.doctor.finding import Finding
from thalweg.doctor.loaders import inputs, target
from thalweg.doctor.subject import LossFn, Subject

__all__ = ["CHECKS"]


class _Member(nn.Module):
    """A model of which one output counts."""

    def __init__(self, model: nn.Module, which: int) -> None:
        super().__init__()
        self.model, self.which = model, which

    def forward(self, *given: object) -> Tensor:
        out: Tensor = tree_flatten(self.model(*given))[0][self.which]
        return out


def _members(subject: Subject) -> Iterator[Subject]:
    """Yield the training for each pair of an output and a target that is like it in shape.

    Its loss is the user's, in which the other outputs and targets of the first batch stay.
    """
    if not subject.pairs or subject.output is not None or subject.loss_fn is None:
        return
    with torch.no_grad():
        made = subject.copy().model.eval()(*inputs(subject.batch))
    (outs, tree), (goals, goal_tree) = tree_flatten(made), tree_flatten(target(subject.batch))
    for i, out in enumerate(outs):
        for j, goal in enumerate(goals):
            if not isinstance(out, Tensor) or not isinstance(goal, Tensor) or not out.ndim:
                continue
            if out.shape != goal.shape or not out.is_floating_point():
                continue

            def loss_fn(output: Tensor, y: Tensor, i: int = i, j: int = j) -> Tensor:
                mine, theirs = [*outs], [*goals]
                mine[i], theirs[j] = output, y
                assert subject.loss_fn is not None
                both = tree_unflatten(mine, tree), tree_unflatten(theirs, goal_tree)
                loss: Tensor = subject.loss_fn(*both)
                return loss

            if _belongs(loss_fn, goal.to(out.dtype), goal):
                batch = (*inputs(subject.batch), goal)
                yield Subject(_Member(subject.model, i), subject.optimizer, loss_fn, [batch])


def _belongs(loss_fn: LossFn, fitting: Tensor, goal: Tensor) -> bool:
    """Return whether an output that is the target of each example is better than of another."""
    return loss_of(loss_fn, fitting, goal) < loss_of(loss_fn, fitting.roll(1, 0), goal)


def outputs_range_too_small(subject: Subject) -> Finding | None:
    """Look for one of several outputs whose last activation cannot reach its targets."""
    for member in _members(subject):
        values = reach(member)
        found = None if values is None else output_range_too_small(member, values)
        if found is not None:
            return found
    return None


CHECKS = (outputs_range_too_small,)
