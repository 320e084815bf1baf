"""Replay: the steps of a training once more, on a copy, to see where it breaks."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from thalweg.doctor.allowance import Allowance
from thalweg.doctor.loaders import Batch
from thalweg.doctor.subject import Copy, first_tensor, let_step
from thalweg.stack.batch import arrays

__all__ = ["finite", "first_not_finite"]


def first_not_finite(
    twin: Copy, batches: Sequence[Batch], seconds: float
) -> tuple[int, str] | None:
    """Take plain steps on a copy until a number is not finite; return the step and the place.

    The place is the first module whose output is not finite, else the loss, else the first
    parameter, from the output's side, whose gradient is not, else one that a step made so.

    Args:
        twin: the copy.
        batches: of the steps.
        seconds: of work; see Allowance.
    """
    found: list[str] = []

    def note(module: nn.Module, args: Any, out: Any, name: str) -> None:  # noqa: ANN401
        value, given = first_tensor(out), first_tensor(args)
        if not found and value is not None and not finite(value):
            kind = f"{name or 'the model'} ({type(module).__name__})"
            whole = given is None or finite(given)
            found.append(f"the output of {kind}" if whole else f"the input of {kind}")

    for name, module in twin.model.named_modules():
        module.register_forward_hook(partial(note, name=name))
    allowance = Allowance(seconds)
    for step, batch in enumerate(batches):
        with allowance:
            place = _broken(twin, batch, found)
        if place is not None:
            return step, place
        if allowance.over:
            break
    return None


def _broken(twin: Copy, batch: Batch, found: list[str]) -> str | None:
    """Take a step, and return the place that is not finite; ``found`` has those of modules."""
    twin.optimizer.zero_grad()
    loss = twin.loss(batch)
    if found or not finite(loss):
        return found[0] if found else "the loss"
    loss.backward()
    named = list(twin.model.named_parameters())
    bad = [name for name, p in named if p.grad is not None and not finite(p.grad)]
    if bad:
        return f"the gradient of {bad[-1]}"
    if twin.clip is not None:
        nn.utils.clip_grad_norm_(twin.parameters, twin.clip)
    let_step(twin.optimizer, partial(twin.gradients, batch))
    bad = [name for name, p in named if not finite(p)]
    return f"{bad[-1]}, by the optimizer's step" if bad else None


def finite(tensor: Tensor) -> bool:
    """Return whether all numbers of a tensor are finite; it may be sparse."""
    return all(bool(part.isfinite().all()) for part in arrays(tensor.detach()))
