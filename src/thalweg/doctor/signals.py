"""Signals: what is noted of each step of a training, by hooks that cost little."""

import math
import time
from array import array
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from thalweg.doctor.loaders import Batch, size_of
from thalweg.errors import told

__all__ = ["Memory", "Note", "Signals"]

_ALWAYS = 16  # first steps, of which everything is noted
_SHARE = 0.02  # of the time, for signals that are not noted at every step
_PARAMETERS = 256  # of which each is noted
_ELEMENTS = 4096  # of a parameter, where what it was before is held
_NOTES = 512
_FEW = 3  # parameters that are asked whether their gradient was zeroed


@dataclass
class Note:
    """What was noted of one step, parameter by parameter.

    Args:
        step: counted from 0.
        weights: the norm of all parameters, before the step.
        gradients: of each parameter, the norm of its gradient over its own; NaN for one that is 0.
        updates: of each parameter, the norm of what the step added over its own.
        cosine: of the angle between this gradient and that of the next step; NaN: not known.
    """

    step: int
    weights: float
    gradients: list[float]
    updates: list[float]
    cosine: float = math.nan


class Signals:
    """Notes of each step of the user's optimizer.

    Losses, rates and modes are noted at every step, and all else of as many steps as 2 % of the
    time allow. Updates and cosines are read off at most 4096 elements of each parameter, evenly
    spaced.

    Args:
        model: the user's module.
        optimizer: the user's.

    Attributes:
        losses: one a step, as given to the doctor.
        rates: the rate of the first group at each step of the optimizer.
        norms: norms of the gradient, at the steps ``norm_steps``; NaN and inf as they are.
        eval_steps: steps taken while the module was in evaluation mode.
        kept: how often the first backward pass after a step met the gradient of the step before.
        asked: how often that was asked.
        noted: the parameters of which each is noted; of very many an even choice.
        notes: at most 512, thinned evenly.
        empty: steps, of ``norm_steps``, at which every gradient was 0 or None.
        failed: why notes ended, where parameters are of a kind that cannot be looked at.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self.losses, self.rates, self.norms = array("d"), array("d"), array("d")
        self.norm_steps = array("q")
        self.notes: list[Note] = []
        self.steps = self.eval_steps = self.kept = self.asked = self.empty = 0
        self.first_eval: int | None = None
        self.failed = ""
        self._spent, self._began = 0.0, time.thread_time()
        self.held = [p for group in optimizer.param_groups for p in group["params"]]
        self._every = -(-len(self.held) // _PARAMETERS) or 1
        self.noted = self.held[:: self._every]
        self._few = sorted((p for p in self.held if p.requires_grad), key=Tensor.numel)[:_FEW]
        self._looks = False  # at this step
        self._asking: list[Any] = []
        self._fresh: set[int] = set()
        self._moving: list[Tensor] = []  # elements of the parameters before the step
        self._slope: list[Tensor] = []  # elements of their gradients, until the next ones
        self._handles = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def close(self) -> None:
        """Take the hooks away."""
        for handle in self._handles + self._asking:
            handle.remove()

    @property
    def due(self) -> bool:
        """Whether a signal that costs something may be noted now.

        Processor time counts: on a busy machine a training waits longer than its signals do.
        """
        if self.steps < _ALWAYS:
            return True
        return self._spent < _SHARE * (time.thread_time() - self._began)

    @property
    def clip(self) -> float | None:
        """The norm to which the loop clips gradients; None where it does not seem to.

        Norms of gradients that were clipped are equal; others never are.
        """
        norms = sorted(n for n in self.norms if math.isfinite(n))
        at_top = sum(n > 0.999 * norms[-1] for n in norms) if norms else 0
        return norms[-1] if at_top >= 3 and norms[-1] > 0 else None

    def charge(self, seconds: float) -> None:
        """Count time that was spent on signals."""
        self._spent += seconds

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:  # noqa: ANN401, ARG002
        """Note what a step is about to do; a copy's step calls this too, and is passed over."""
        if optimizer is not self.optimizer:
            return
        for handle in self._asking:
            handle.remove()
        self._asking.clear()
        self.rates.append(float(optimizer.param_groups[0].get("lr", math.nan)))
        if not self.model.training:
            self.eval_steps += 1
            self.first_eval = self.steps if self.first_eval is None else self.first_eval
        self._looks = self.due
        if self._looks or self._slope:
            began = time.thread_time()
            self._look(due=self._looks)
            self.charge(time.thread_time() - began)

    def _look(self, *, due: bool) -> None:
        try:
            if self._slope:
                self._turn()
            if due:
                self._note()
        except Exception as error:  # noqa: BLE001 - what cannot be looked at is trained all the same
            self.failed, self._slope, self._moving = told(error), [], []

    def _note(self) -> None:
        """Note the norms of gradients and parameters, and hold what the step will change."""
        slopes = [p.grad for p in self.held]
        norms = _norms(slopes)
        self.norms.append(math.hypot(*norms))
        self.norm_steps.append(self.steps)
        self.empty += self.norms[-1] == 0
        if self.failed:
            return
        weights = _norms(self.held)
        shares = [g / w if w else math.nan for g, w in zip(norms, weights, strict=True)]
        if len(self.notes) >= _NOTES:
            self.notes = self.notes[::2]
        self.notes.append(Note(self.steps, math.hypot(*weights), shares[:: self._every], []))
        self._moving = [_few_of(p).clone() for p in self.noted]
        self._slope = [_few_of(g).clone() for g in _dense(slopes[:: self._every])]

    def _turn(self) -> None:
        """Note the angle between the gradient that is held and the one that is there now."""
        now = [_few_of(g) for g in _dense([p.grad for p in self.noted])]
        pairs = zip(self.noted, self._slope, now, strict=True)
        self._slope = []
        # A parameter of which every tenth element is held counts ten times.
        products = [
            [p.numel() / max(1, a.numel()) * float(one.dot(other)) for one, other in
             ((a, b), (a, a), (b, b))]
            for p, a, b in pairs if a.shape == b.shape
        ]  # fmt: skip
        both, here, there = map(sum, zip(*products, strict=True)) if products else (0, 0, 0)
        if here > 0 and there > 0:
            self.notes[-1].cosine = both / math.sqrt(here * there)

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:  # noqa: ANN401, ARG002
        if optimizer is not self.optimizer:
            return
        self.steps += 1
        if self._looks:
            began = time.thread_time()
            self._move()
            self._ask()
            self.charge(time.thread_time() - began)

    def _move(self) -> None:
        """Note how far a step has moved the parameters."""
        moving, self._moving = self._moving, []
        if moving:
            own = _norms(moving)
            changes = _norms([_few_of(p) - m for p, m in zip(self.noted, moving, strict=True)])
            self.notes[-1].updates = [
                c / w if w else math.nan for c, w in zip(changes, own, strict=True)
            ]

    def _ask(self) -> None:
        """Let the next backward pass say whether it meets the gradient of this step."""
        self._fresh = {id(p) for p in self._few}
        self._asking = [p.register_hook(self._asker(p)) for p in self._few]

    def _asker(self, p: Tensor) -> Any:  # noqa: ANN401 - a hook of torch's
        def ask(_: Tensor) -> None:
            if id(p) in self._fresh:
                self._fresh.discard(id(p))
                self.asked += 1
                self.kept += p.grad is not None and bool(p.grad.any())

        return ask


def _dense(gradients: Iterable[Tensor | None]) -> list[Tensor]:
    """Return gradients as dense tensors: none at all is an empty one, a sparse one its values."""
    empty = torch.zeros(0)
    return [empty if g is None else g.coalesce().values() if g.is_sparse else g for g in gradients]


def _norms(tensors: Iterable[Tensor | None]) -> list[float]:
    """Return the norm of each tensor, of half precision in single."""
    norms = [
        torch.linalg.vector_norm(t.detach(), dtype=torch.float if t.element_size() < 4 else None)
        for t in _dense(tensors)
    ]
    return list(map(float, norms))


def _few_of(tensor: Tensor) -> Tensor:
    """Return at most so many elements of a tensor, evenly spaced, flat and exact enough to sum."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    flat = tensor.detach().reshape(-1)
    every = -(-len(flat) // _ELEMENTS)
    if every > 1:  # not the same column of every row
        while math.gcd(every, tensor.shape[-1]) > 1:
            every += 1
        flat = flat[::every]
    return flat.float() if flat.element_size() < 4 else flat


class Memory:
    """Batches that were seen: the first ones and the last ones, within a number of bytes.

    Args:
        most_bytes: for each of the two.
        most: batches, for each of the two.
    """

    def __init__(self, most_bytes: int, most: int) -> None:
        self._most_bytes, self._most = most_bytes, most
        self.first: list[Batch] = []
        self.last: deque[Batch] = deque()
        self._first_bytes = self._last_bytes = 0
        self.count = 0

    def add(self, batch: Batch) -> None:
        """Note a batch; its tensors are held, not copied."""
        self.count += 1
        size = size_of(batch)
        if len(self.first) == self.count - 1 < self._most and self._fits(self._first_bytes, size):
            self.first.append(batch)
            self._first_bytes += size
            return
        self.last.append(batch)
        self._last_bytes += size
        while len(self.last) > 1 and (
            self._last_bytes > self._most_bytes or len(self.last) > self._most
        ):
            self._last_bytes -= size_of(self.last.popleft())

    def _fits(self, held: int, size: int) -> bool:
        return not self.first or held + size <= self._most_bytes

    def since(self, step: int) -> list[Batch] | None:
        """Return the batches from a step on; None where they are not all held."""
        wanted = self.count - step
        held = [*self.first, *self.last]
        if wanted <= len(self.last):
            return list(self.last)[len(self.last) - wanted :]
        return held[step:] if len(held) == self.count else None
