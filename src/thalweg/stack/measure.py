"""What a training costs, and how noisy its gradients are."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from thalweg.noise import GradientNoise
from thalweg.rules import get
from thalweg.stack.batch import Batch, arrays, each
from thalweg.stack.lanes import COMPILED_SIZES, Stack
from thalweg.stack.mixed_step import MixedStep
from thalweg.stack.model import Model

__all__ = ["Cost", "best_lanes", "cost", "gradient_noise"]

_SIZES = (2, 4, 8, 16, 32, 64, 128, 256)  # lanes: a piece of work should not be a whole race
_NEAR = 24 * 2**20  # bytes of a compiled stack: it is slow if no cache holds it
_GAIN = 1.1  # the gain in steps per second that pays for twice as many lanes
_SHARE = 0.25  # of the free memory, for all processes together
_LONG = 0.5  # seconds of one step after which no more lanes are tried
_BATCHES = 256  # minibatches from which the noise of gradients is taken


@dataclass(frozen=True)
class Cost:
    """What one step costs.

    Attributes:
        seconds: per lane.
        bytes: per lane: parameters, gradients, state, fixed values, and what the backward pass
            keeps.
    """

    seconds: float
    bytes: int


def cost(model: Model, examples: Batch, batch_size: int, lanes: int, repeats: int = 5) -> Cost:
    """Measure a step of Adam with so many lanes, each with a minibatch of its own.

    Args:
        model: the module.
        examples: at least ``batch_size``, on the model's device.
        batch_size: examples per step.
        lanes: how many side by side. A single one is called as it is.
        repeats: of the measurement; the fastest counts.
    """
    alone = lanes == 1
    stack = Stack(model, [0] * lanes, shared=alone, stacked=not alone)
    rule = get("adam")
    parameters = list(stack.parameters.values())
    step = MixedStep([rule] * lanes, [rule.defaults] * lanes, parameters, steps=repeats + 1)
    rows = torch.arange(batch_size)
    batch = each(partial(_rows, rows if alone else rows.expand(lanes, -1)), examples)
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept.update((s.data_ptr(), s.nbytes()) for s in _storages(tensor))
        return tensor

    with model.mode(training=True):
        with saved_tensors_hooks(note, lambda tensor: tensor):
            stack.gradients(batch, 1)
        seconds = min(_one(stack, step, batch, t + 2) for t in range(repeats))
    fixed = stack.fixed.values()
    for tensor in (*parameters, *fixed):
        for storage in _storages(tensor):
            kept.pop(storage.data_ptr(), None)
    copies = 2 + len(rule.state)
    held = copies * sum(p.nbytes for p in parameters)
    held += sum(own.nbytes for tensor in fixed for own in arrays(tensor))
    return Cost(seconds / lanes, (sum(kept.values()) + held) // lanes)


def _storages(tensor: Tensor) -> list[torch.UntypedStorage]:
    """Return the memory that a tensor of any layout lies in."""
    return [own.untyped_storage() for own in arrays(tensor)]


def _one(stack: Stack, step: MixedStep, batch: Batch, t: int) -> float:
    start = time.perf_counter()
    _, gradients = stack.gradients(batch, t)
    step(gradients, None)
    if stack.model.device.type == "cuda":
        torch.cuda.synchronize(stack.model.device)
    return time.perf_counter() - start


def best_lanes(model: Model, examples: Batch, batch_size: int) -> int:
    """Return how many lanes to train side by side: the number at which each lane costs least.

    The number is doubled while that makes steps of a lane a tenth faster, and while the lanes of
    one process per core fit into a quarter of the free memory. It is one lane, not stacked, if that
    is the fastest: large convolutions gain nothing side by side. If steps are compiled, measuring
    would take too long; then it is 2, 8 or 32, as many as a processor's caches hold.

    Args:
        model: the module.
        examples: at least ``batch_size``, on the model's device.
        batch_size: the largest of the race.
    """
    if not model.stacked:
        return 1
    compiled = model.task.compile
    room = _SHARE * _free(model.device)
    if compiled and model.device.type == "cpu":
        room = min(room, _NEAR)
    lanes, now = 2, cost(model, examples, batch_size, 2)
    for more in (COMPILED_SIZES if compiled else _SIZES)[1:]:
        if lanes * now.seconds > _LONG or more * now.bytes > room:
            break
        if not compiled:
            before, now = now, cost(model, examples, batch_size, more)
            if before.seconds / now.seconds < _GAIN:
                now = before
                break
        lanes = more
    if compiled:
        return lanes
    alone = cost(model, examples, batch_size, 1)
    return lanes if now.seconds < alone.seconds else 1


def _free(device: torch.device) -> float:
    """Return the free memory for one process, in bytes."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    names = getattr(os, "sysconf_names", {})
    pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in names else "SC_PHYS_PAGES"
    free = os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE") if pages in names else 2.0**32
    return free / (os.cpu_count() or 1)


def gradient_noise(stack: Stack, examples: Batch, order: Tensor, batch_size: int) -> GradientNoise:
    """Measure how noisy gradients are at the parameters of a stack's first lane.

    Args:
        stack: its lanes have one start.
        examples: on the model's device.
        order: rows, in the order in which they are drawn; 256 minibatches at most are taken.
        batch_size: of each minibatch.
    """
    whole = order[: len(order) // batch_size * batch_size].reshape(-1, batch_size)

    def gradients() -> Iterator[NDArray[np.floating[Any]]]:
        for t, own in enumerate(whole[:_BATCHES]):
            _, found = stack.gradients(each(partial(_rows, own), examples), t + 1)
            yield torch.cat([g[0].flatten() for g in found]).cpu().numpy()

    with stack.model.mode(training=True):
        return GradientNoise.of(gradients(), batch_size)


def _rows(rows: Tensor, tensor: Tensor) -> Tensor:
    return tensor[rows]
