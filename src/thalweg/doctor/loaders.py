"""What a look at a loader needs: a bounded number of its batches, its state left as it was."""

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from thalweg.errors import TaskError, blamed
from thalweg.stack.batch import arrays

__all__ = [
    "Part",
    "halves",
    "inputs",
    "joinable",
    "merged",
    "read",
    "rows_of",
    "shuffled",
    "size_of",
    "target",
    "untouched",
]

Batch = Any  # what the loader gives: a pair (x, y), or what the user's own step takes


def inputs(batch: Batch) -> tuple[Any, ...]:
    """Return what the model is called with: all of a batch but its last member.

    Of a batch of another form, which a step of the user's reads, that is not known: nothing.
    """
    return tuple(batch[:-1]) if isinstance(batch, (tuple, list)) else ()


def target(batch: Batch) -> Any:  # noqa: ANN401 - any tree of tensors
    """Return what the loss compares outputs with: the last member of a batch, or else all of it."""
    return batch[-1] if isinstance(batch, (tuple, list)) and batch else batch


@dataclass
class Part:
    """What was read of a loader.

    Args:
        batches: the first batches, in order.
        ended: whether these are all.
    """

    batches: list[Batch] = field(default_factory=list)
    ended: bool = False


def read(loader: Iterable[Batch], name: str, seconds: float, most_bytes: int, most: int) -> Part:
    """Return the first batches of a loader: as many as time and memory allow, at least one.

    Args:
        loader: gives batches; a new iterator begins at the first one.
        name: the argument that it is, for messages.
        seconds: no batch is asked for after so many.
        most_bytes: no batch is asked for when so many are held.
        most: no more than so many batches.

    Raises:
        TaskError: it is an iterator, gives nothing, or raises.
    """
    if isinstance(loader, Iterator):
        raise TaskError(
            f"{name} is an iterator: batches that are looked at would be missing from the "
            "training; give the DataLoader or a list of batches"
        )
    if not isinstance(loader, Iterable):
        raise TaskError(f"{name} must be a DataLoader or a list of batches, got {loader!r}")
    part, held, end = Part(), 0, time.monotonic() + seconds
    with blamed(name):
        batches = iter(loader)
        while len(part.batches) < most and held < most_bytes:
            batch = next(batches, None)
            if batch is None:
                part.ended = True
                break
            part.batches.append(batch)
            held += size_of(batch)
            if time.monotonic() > end:
                break
    if not part.batches:
        raise TaskError(f"{name} is empty: it gives no batch")
    return part


def size_of(batch: Batch) -> int:
    """Return how many bytes the tensors of a batch take."""
    if isinstance(batch, Tensor):
        return batch.numel() * batch.element_size()
    if isinstance(batch, (tuple, list)):  # asked at every step: a union of types is slower
        return sum(map(size_of, batch))
    return sum(map(size_of, batch.values())) if isinstance(batch, dict) else 0


def halves(batch: Batch) -> tuple[Batch, Batch, int] | None:
    """Return the two halves of a batch and how many examples each has; None where it has none.

    Tensors must have as many rows each; of an odd number the last is left out.
    """
    rows = {len(t) if t.ndim else 0 for t in _tensors(batch)}
    size = rows.pop() // 2 if len(rows) == 1 else 0
    if size == 0:
        return None
    return rows_of(batch, slice(size)), rows_of(batch, slice(size, 2 * size)), size


def merged(batches: Sequence[Batch], times: int) -> list[Batch]:
    """Return batches of so many batches each; the last one may have fewer."""
    parts = [batches[first : first + times] for first in range(0, len(batches), times)]
    return [tree_map(lambda *t: torch.cat(t), *part) for part in parts]


def joinable(batches: Sequence[Batch]) -> bool:
    """Return whether inputs of all batches have one shape, so that examples can change places."""
    given = (list(_tensors(inputs(batch))) for batch in batches)
    return len({tuple(t.shape[1:] for t in each) for each in given}) == 1


def shuffled(batches: Sequence[Batch]) -> list[Batch]:
    """Return batches of the same sizes with the examples of all of them in a random order."""
    (whole,) = merged(batches, len(batches))
    sizes = [len(target(batch)) for batch in batches]
    order = torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(0))
    return [rows_of(whole, part) for part in order.split(sizes)]


def _tensors(batch: Batch) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, list | tuple | dict):
        for one in batch.values() if isinstance(batch, dict) else batch:
            yield from _tensors(one)


def rows_of(tree: Any, part: slice | int | Tensor) -> Any:  # noqa: ANN401 - tensors in tuples and dicts
    """Return some examples of a tensor, or of those in tuples, lists and dicts."""
    if isinstance(tree, Tensor):
        return tree[part]
    if isinstance(tree, dict):
        return {name: rows_of(one, part) for name, one in tree.items()}
    if isinstance(tree, list | tuple):
        make = getattr(tree, "_make", type(tree))  # of a named tuple
        return make([rows_of(one, part) for one in tree])
    return tree


@contextmanager
def untouched(models: Iterable[nn.Module], loaders: Iterable[object] = ()) -> Iterator[None]:
    """Leave as it was what an experiment on copies could reach all the same.

    That is the random state of Python, NumPy, torch and of the loaders, and the gradients and
    buffers of the modules, which a loss may hold on to.

    Args:
        models: the user's modules.
        loaders: what is iterated.
    """
    models = list(models)
    parameters = [p for model in models for p in model.parameters()]
    gradients = [p.grad for p in parameters]
    buffers = [(b, b.clone()) for model in models for b in model.buffers() if b.numel() < 1_000_000]
    states = [(g, _state(g)) for loader in loaders for g in _generators(loader)]
    own, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002 - the user may draw there
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    for p in parameters:
        p.grad = None
    try:
        with torch.random.fork_rng(devices=devices), torch.enable_grad():
            yield
    finally:
        random.setstate(own)
        np.random.set_state(numpys)  # noqa: NPY002
        for generator, state in states:
            _restore(generator, state)
        for p, gradient in zip(parameters, gradients, strict=True):
            p.grad = gradient
        for buffer, value in buffers:
            both = zip(arrays(buffer), arrays(value), strict=True)
            if not all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in both):
                buffer.copy_(value)


def _generators(loader: object) -> Iterator[Any]:
    """Yield the random generators that a loader draws from: its own, its samplers', its data's."""
    seen: set[int] = set()
    waiting = [loader]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, torch.Generator | np.random.Generator | random.Random):
            yield one
            continue
        own = getattr(one, "__dict__", {})
        waiting += [value for value in own.values() if _may_draw(value)]


def _may_draw(value: object) -> bool:
    kinds = (
        torch.Generator,
        np.random.Generator,
        random.Random,
        torch.utils.data.Sampler,
        torch.utils.data.Dataset,
        torch.utils.data.DataLoader,
    )
    return isinstance(value, kinds)


def _state(generator: Any) -> Any:  # noqa: ANN401 - of three libraries
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.getstate()


def _restore(generator: Any, state: Any) -> None:  # noqa: ANN401
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    else:
        generator.setstate(state)
