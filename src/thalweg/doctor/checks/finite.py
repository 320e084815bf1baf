"""Gradients that are not finite, though the loss is."""

import time
from collections.abc import Callable
from functools import partial

from torch import Tensor

from thalweg.doctor.finding import Finding
from thalweg.doctor.subject import Subject, nodes
from thalweg.words import digits

__all__ = ["CHECKS", "gradient_not_finite"]

_STEPS = 64
_SECONDS = 0.5  # of processor time
_HUGE = 1e6  # a loss or a weight so large may overflow by itself
_ROOTS = ("Sqrt", "Pow", "Norm", "LinalgVectorNorm", "Std", "Cdist")  # infinite derivative at 0


def gradient_not_finite(subject: Subject, steps: int = _STEPS) -> Finding | None:
    """Look for operations whose derivative is not finite, in plain steps on a copy."""
    twin, end = subject.copy(), time.thread_time() + _SECONDS
    for step, batch in enumerate(subject.batches[:steps]):
        twin.optimizer.zero_grad()
        loss = twin.loss(batch)
        if not loss.requires_grad or not float(loss.detach().abs()) < _HUGE:
            return None
        if not all(float(p.detach().abs().amax()) < _HUGE for p in twin.parameters if p.numel()):
            return None
        loss.backward()
        named = dict(twin.model.named_parameters())
        bad = [name for name, p in named.items() if p.grad is not None and not _finite(p.grad)]
        if bad:
            return _finding(float(loss.detach()), bad, _first(twin.loss(batch)), step)
        twin.optimizer.step()
        if time.thread_time() > end:
            return None
    return None


def _finding(loss: float, bad: list[str], operation: str, step: int) -> Finding:
    root = operation.startswith(_ROOTS)
    behind = f"the derivative of {operation}" if operation else "a derivative"
    return Finding(
        "nan_gradient_of_sqrt_at_zero" if root else "gradient_not_finite",
        "problem",
        f"The loss is {digits(loss)}, and the gradients of {len(bad)} parameters are NaN or "
        f"infinite: {behind} is not finite where it is taken.",
        {"loss": loss, "parameters": float(len(bad)), "operation": operation or "not found"},
        "a gradient that is not finite, of a finite loss",
        "an experiment: plain steps on a copy",
        onset=step,
    )


def _finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _first(loss: Tensor) -> str:
    """Return the first operation of the backward pass that makes numbers that are not finite."""
    found: list[str] = []

    def note(given: tuple[Tensor | None, ...], taken: tuple[Tensor | None, ...], name: str) -> None:
        if all(t is None or _finite(t) for t in taken) and not all(
            t is None or _finite(t) for t in given
        ):
            found.append(name)

    for node in nodes(loss):
        node.register_hook(partial(note, name=node.name().split("Backward")[0]))
    loss.backward()
    return found[0] if found else ""


CHECKS: tuple[Callable[[Subject], Finding | None], ...] = (gradient_not_finite,)
