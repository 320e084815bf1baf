"""Batches: tensors in tuples and dicts, one row per example; and how data become one."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from thalweg.errors import TaskError, told

__all__ = ["Batch", "count", "each", "leaves", "read"]

Batch = Any
"""A tensor, or tuples and dicts of batches."""


def each(function: Callable[[Tensor], Any], batch: Batch) -> Batch:
    """Return the same structure with the function's value in place of each tensor.

    Example:
        >>> each(len, (torch.zeros(3), {"mask": torch.ones(3, 2)}))
        (3, {'mask': 3})
    """
    if isinstance(batch, Mapping):
        return {name: each(function, value) for name, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        values = (each(function, value) for value in batch)
        named = isinstance(batch, tuple) and hasattr(batch, "_fields")
        return type(batch)(*values) if named else tuple(values)
    return function(batch)


def leaves(batch: Batch) -> Iterator[Tensor]:
    """Yield the tensors of a batch."""
    if isinstance(batch, (Mapping, tuple, list)):
        for value in batch.values() if isinstance(batch, Mapping) else batch:
            yield from leaves(value)
    else:
        yield batch


def count(batch: Batch, name: str) -> int:
    """Return how many examples a batch has.

    Raises:
        TaskError: its tensors disagree, or there are none.
    """
    lengths = {len(tensor) if tensor.ndim else 0 for tensor in leaves(batch)}
    if len(lengths) != 1 or 0 in lengths:
        found = ", ".join(map(str, sorted(lengths))) or "none"
        raise TaskError(f"{name} must have one row per example in every tensor, got rows: {found}")
    return lengths.pop()


def read(source: Any, name: str) -> Batch:  # noqa: ANN401 - tensors, arrays, a Dataset or a DataLoader
    """Return all examples of a source as one batch.

    Args:
        source: a batch of tensors or arrays, a Dataset or a DataLoader.
        name: what errors call it.

    Raises:
        TaskError: the user's data raised; the message has the example and the line.
    """
    tensor = partial(_tensor, name=name)
    if isinstance(source, DataLoader):  # whose dataset may be any sequence
        drawn, collate = _drawn(source, name), source.collate_fn
        batched = source.batch_size is None and source.batch_sampler is None
        source = source.dataset
    elif isinstance(source, Dataset):
        drawn, collate, batched = None, default_collate, False
    else:
        return each(tensor, source)
    examples = list(_examples(source, drawn, name))
    if not examples:
        raise TaskError(f"{name} has no examples")
    try:
        if batched:  # by the dataset itself
            return _joined([each(tensor, collate(own)) for own in examples])
        return each(tensor, collate(examples))
    except TaskError:
        raise
    except Exception as error:
        raise TaskError(f"{told(error)} (the examples of {name}, made one batch)") from error


def _joined(batches: Sequence[Batch]) -> Batch:
    """Return batches as one."""
    columns = iter([torch.cat(own) for own in zip(*map(leaves, batches), strict=True)])
    return each(lambda _: next(columns), batches[0])


def _drawn(loader: "DataLoader[Any]", name: str) -> Sequence[int] | None:
    """Return which examples a DataLoader draws, in their own order, None for all.

    Raises:
        TaskError: it draws some of them more than once.
    """
    if isinstance(loader.dataset, IterableDataset):
        return None
    own = loader.batch_sampler
    if own is not None and type(own) is not BatchSampler:
        raise TaskError(
            f"{name} is a DataLoader with a {type(own).__name__}, but batches are the race's; give "
            "its dataset"
        )
    sampler = loader.sampler if own is None else own.sampler
    if type(sampler) in {SequentialSampler, RandomSampler}:
        return None
    with torch.random.fork_rng():
        drawn = list(itertools.islice(sampler, len(loader.dataset) + 1))  # type: ignore[arg-type]
    if len(set(drawn)) < len(drawn):
        raise TaskError(
            f"{name} is a DataLoader whose {type(sampler).__name__} draws examples more than once, "
            "but a race draws each once per epoch; give its dataset, or a Subset of that"
        )
    return sorted(drawn)


def _examples(dataset: "Dataset[Any]", drawn: Sequence[int] | None, name: str) -> Iterator[Any]:
    """Yield a Dataset's examples, of whatever kind it is; what it raises is told with the place."""
    rows = _rows(dataset, drawn)
    index = 0
    while True:
        try:
            example = next(rows)
        except StopIteration:
            return
        except Exception as error:
            raise TaskError(f"{told(error)} ({name}[{index}])") from error
        yield example
        index += 1


def _rows(dataset: "Dataset[Any]", drawn: Sequence[int] | None) -> Iterator[Any]:
    if isinstance(dataset, IterableDataset):
        yield from dataset
        return
    several = getattr(dataset, "__getitems__", None)  # which torch prefers
    for i in range(len(dataset)) if drawn is None else drawn:  # type: ignore[arg-type] # or it raises
        yield several([i])[0] if several else dataset[i]


def _tensor(value: Any, name: str) -> Tensor:  # noqa: ANN401
    if isinstance(value, Tensor):
        return value.detach()
    try:
        array = np.asarray(value)
        tensor = torch.from_numpy(np.ascontiguousarray(array))
    except (TypeError, ValueError):
        raise TaskError(
            f"{name} must be tensors or arrays of numbers, got {type(value).__name__}"
        ) from None
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor
