"""Batches: tensors in tuples and dicts, one row per example; and how data become one."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

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
        return tuple(each(function, value) for value in batch)
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
    loader = isinstance(source, DataLoader)  # whose dataset may be any sequence
    collate = source.collate_fn if loader else default_collate
    source = source.dataset if loader else source
    if loader or isinstance(source, Dataset):
        examples = list(_examples(source, name))
        if not examples:
            raise TaskError(f"{name} has no examples")
        try:
            source = collate(examples)
        except Exception as error:
            raise TaskError(f"{told(error)} (the examples of {name}, made one batch)") from error
    return each(lambda value: _tensor(value, name), source)


def _examples(dataset: "Dataset[Any]", name: str) -> Iterator[Any]:
    """Yield a Dataset's examples, of whatever kind it is; what it raises is told with the place."""
    rows = _rows(dataset)
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


def _rows(dataset: "Dataset[Any]") -> Iterator[Any]:
    if isinstance(dataset, IterableDataset):
        yield from dataset
    else:
        yield from (dataset[i] for i in range(len(dataset)))  # type: ignore[arg-type] # or it raises


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
