"""Signals: what is noted of each step of a training, by hooks that cost little."""

import math
import time
from array import array
from collections import deque
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from thalweg.doctor.loaders import Batch, size_of

__all__ = ["Memory", "Signals"]

_ALWAYS = 16  # first steps, of which everything is noted
_SHARE = 0.02  # of the time, for signals that are not noted at every step
_LAYERS = 256  # parameters of which each is noted
_NOTES = 512
_FEW = 3  # parameters that are asked whether their gradient was zeroed


class Signals:
    """Notes of each step of the user's optimizer.

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
        shares: of each parameter, the gradient's norm over its own, at ``share_steps``.
        empty: steps, of ``norm_steps``, at which every gradient was 0 or None.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self.losses, self.rates, self.norms = array("d"), array("d"), array("d")
        self.norm_steps = array("q")
        self.shares: list[list[float]] = []
        self.share_steps: list[int] = []
        self.steps = self.eval_steps = self.kept = self.asked = self.empty = 0
        self.first_eval: int | None = None
        self._spent, self._began = 0.0, time.perf_counter()
        self._fresh: set[int] = set()
        self._handles = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]
        held = [p for group in optimizer.param_groups for p in group["params"]]
        self.held = held
        self._few = sorted((p for p in held if p.requires_grad), key=Tensor.numel)[:_FEW]
        self._handles += [p.register_hook(self._asker(p)) for p in self._few]

    def close(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()

    @property
    def due(self) -> bool:
        """Whether a signal that costs something may be noted now."""
        if self.steps < _ALWAYS:
            return True
        return self._spent < _SHARE * (time.perf_counter() - self._began)

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
        self.rates.append(float(optimizer.param_groups[0].get("lr", math.nan)))
        if not self.model.training:
            self.eval_steps += 1
            self.first_eval = self.steps if self.first_eval is None else self.first_eval
        if self.due:
            began = time.perf_counter()
            grads = [p.grad for p in self.held if p.grad is not None and not p.grad.is_sparse]
            norm = _norm(grads)
            self.norms.append(norm)
            self.norm_steps.append(self.steps)
            self.empty += norm == 0
            self._note_shares()
            self.charge(time.perf_counter() - began)

    def _note_shares(self) -> None:
        """Note each parameter's gradient beside its weights; of many notes keep every other one."""
        if len(self.held) > _LAYERS or any(
            p.grad is not None and p.grad.is_sparse for p in self.held
        ):
            return
        weights = torch._foreach_norm([p.detach() for p in self.held])  # noqa: SLF001
        zero = torch.zeros(())
        grads = [zero if p.grad is None else p.grad for p in self.held]
        norms = torch._foreach_norm(grads)  # noqa: SLF001
        pairs = zip(norms, weights, strict=True)
        self.shares.append([float(g) / float(w) if w else math.nan for g, w in pairs])
        self.share_steps.append(self.steps)
        if len(self.shares) >= _NOTES:
            self.shares, self.share_steps = self.shares[::2], self.share_steps[::2]

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:  # noqa: ANN401, ARG002
        if optimizer is self.optimizer:
            self.steps += 1
            self._fresh = {id(p) for p in self._few}

    def _asker(self, p: Tensor) -> Any:  # noqa: ANN401 - a hook of torch's
        def ask(_: Tensor) -> None:
            if id(p) in self._fresh:
                self._fresh.discard(id(p))
                if self.due:
                    self.asked += 1
                    self.kept += p.grad is not None and bool(p.grad.any())

        return ask


def _norm(grads: list[Tensor]) -> float:
    if not grads:
        return 0.0
    norms = torch._foreach_norm(grads)  # noqa: SLF001 - what clip_grad_norm_ itself calls
    return float(torch.linalg.vector_norm(torch.stack([n.float() for n in norms])))


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
