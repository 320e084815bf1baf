"""Terms: a loss that is a sum, and whether one of its terms drowns the others."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from thalweg.doctor.finding import Finding
from thalweg.doctor.loaders import inputs, target
from thalweg.doctor.subject import Copy, Subject
from thalweg.words import digits

__all__ = ["terms_unbalanced"]

_ADDING = {"add", "__add__", "__radd__", "add_", "__iadd__"}
_RATIO = 30.0  # between the gradients of two terms
_STAYS, _FALLS = 0.8, 0.6  # of its first value


class _Terms(TorchFunctionMode):
    """Notes which numbers a loss is the sum of."""

    def __init__(self) -> None:
        super().__init__()
        self._sums: dict[int, list[Tensor]] = {}
        self._held: list[Tensor] = []  # so that no id is used twice

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        out = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in _ADDING and isinstance(out, Tensor) and out.ndim == 0:
            parts = [a for a in args if isinstance(a, Tensor) and a.requires_grad]
            self._sums[id(out)] = [term for part in parts for term in self.of(part)]
            self._held += [out, *parts]
        return out

    def of(self, total: Tensor) -> list[Tensor]:
        """Return the terms of a number; itself where it is no sum."""
        return self._sums.get(id(total), [total])


def _terms(twin: Copy, batch: Any) -> list[Tensor]:  # noqa: ANN401
    mode = _Terms()
    with mode:
        return mode.of(twin.loss(batch))


def _sizes(twin: Copy, terms: list[Tensor]) -> list[float]:
    """Return the norm of each term's gradient."""
    parameters = [p for p in twin.parameters if p.requires_grad]
    found = []
    for term in terms:
        grads = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        found.append(math.sqrt(sum(float(g.pow(2).sum()) for g in grads if g is not None)))
    return found


def terms_unbalanced(subject: Subject, steps: int, seconds: float) -> Finding | None:
    """Look for a term of the loss that stays where it is, and falls when terms are balanced.

    Args:
        subject: the training.
        steps: of each of two courses.
        seconds: for each, at most.
    """
    twin = subject.copy()
    terms = _terms(twin, subject.batch)
    if not 2 <= len(terms) <= 8:
        return None
    sizes = _sizes(twin, terms)
    other = [float(t.detach()) for t in _terms(twin, subject.batches[-1])]
    moves = [float(t.detach()) != value for t, value in zip(terms, other, strict=False)]
    small = min(
        (i for i, m in enumerate(moves) if m and sizes[i] > 0), key=sizes.__getitem__, default=None
    )
    if small is None or len(other) != len(terms) or max(sizes) < _RATIO * sizes[small]:
        return None
    plain = _course(subject, [1.0] * len(terms), steps, seconds)
    weights = [sizes[small] / size if size > 0 else 1.0 for size in sizes]
    balanced = _course(subject, [w / min(weights) ** 0.5 for w in weights], steps, seconds)
    if not plain or not balanced:
        return None
    stays, falls = plain[small], balanced[small]
    if not (stays > _STAYS and falls < _FALLS):
        return None
    return Finding(
        "loss_terms_unbalanced",
        # A penalty is meant to be small; what depends on the targets is a task of its own.
        "problem" if _reads_targets(subject, small) else "warning",
        f"The loss is a sum of {len(terms)} terms, and the gradient of one is "
        f"{digits(max(sizes) / sizes[small])} times that of another, of which "
        f"{digits(stays)} is left after {steps} steps; with balanced gradients {digits(falls)}.",
        {"ratio of gradients": max(sizes) / sizes[small], "left": stays, "left balanced": falls},
        f"gradients {_RATIO:.0f}-fold apart, and a term that falls only when they are balanced",
        "an experiment: the same steps on copies, with the terms as they are and balanced",
        sure=0.92,
    )


def _reads_targets(subject: Subject, which: int) -> bool:
    """Return whether a term of the loss is another when targets change places."""
    y = target(subject.batch)
    if not subject.pairs or not isinstance(y, Tensor):
        return False
    values = []
    for one in (y, y.roll(1, 0)):
        twin = subject.copy()
        torch.manual_seed(0)
        values.append(float(_terms(twin, (*inputs(subject.batch), one))[which].detach()))
    return values[0] != values[1]


def _course(subject: Subject, weights: list[float], steps: int, seconds: float) -> list[float]:
    """Return what is left of each term after steps with weights, over its first value."""
    twin, end = subject.copy(), time.thread_time() + seconds
    values: list[list[float]] = []
    for step in range(steps):
        twin.optimizer.zero_grad()
        terms = _terms(twin, subject.batches[step % len(subject.batches)])
        if len(terms) != len(weights):
            return []
        values.append([float(t.detach()) for t in terms])
        torch.stack([w * t for w, t in zip(weights, terms, strict=True)]).sum().backward()
        twin.optimizer.step()
        if time.thread_time() > end:
            break
    tenth = max(1, len(values) // 10)
    ends = [sum(v[i] for v in values[-tenth:]) / tenth for i in range(len(weights))]
    return [
        e / s if s > 0 and math.isfinite(e) else 1.0 for e, s in zip(ends, values[0], strict=True)
    ]
