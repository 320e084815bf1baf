"""Batches: tensors in tuples and dicts, one row per example; and how data become one."""

import itertools
import math
import time
import warnings
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

__all__ = ["Batch", "arrays", "count", "each", "leaves", "read"]

# Data without a length count as endless after so many examples, or so many bytes of them. After
# so many seconds of reading the user is told that no end is in sight.
_MOST, _MOST_BYTES, _PATIENCE = 100_000, 2**31, 10.0

Batch = Any
"""A tensor, or tuples and dicts of batches."""


def each(function: Callable[[Tensor], Any], batch: Batch) -> Batch:
    """Return the same structure, with the value of the function instead of each tensor.

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


def arrays(tensor: Tensor) -> list[Tensor]:
    """Return the strided tensors that make up one of any layout: itself, or indices and values.

    Example:
        >>> [tuple(own.shape) for own in arrays(torch.eye(3).to_sparse())]
        [(2, 3), (3,)]
    """
    if tensor.layout is torch.strided:
        return [tensor]
    if tensor.layout is torch.sparse_coo:
        own = tensor.coalesce()
        return [own.indices(), own.values()]
    if tensor.layout in {torch.sparse_csr, torch.sparse_bsr}:
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in {torch.sparse_csc, torch.sparse_bsc}:
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    return [tensor.to_dense()]


def count(batch: Batch, name: str) -> int:
    """Return how many examples a batch has.

    Raises:
        TaskError: its tensors disagree, or there are none.
    """
    lengths = {len(tensor) if tensor.ndim else 0 for tensor in leaves(batch)}
    if len(lengths) != 1 or 0 in lengths:
        found = ", ".join(map(str, sorted(lengths))) or "none"
        joined = len(lengths) > 2  # as graphs are, whose nodes and edges are put behind each other
        raise TaskError(
            f"{name} must have one row per example in every tensor, got rows: {found}"
            + "; pad what has other sizes in each example to one, with a mask" * joined
        )
    return lengths.pop()


def read(source: Any, name: str, most: int | None = None) -> Batch:  # noqa: ANN401 - see below
    """Return all examples of a source as one batch.

    Args:
        source: a batch of tensors or arrays; a Dataset, or something that can be indexed or
            iterated like one, such as a list of examples; or a DataLoader.
        name: what errors call it.
        most: how many examples to take of a source without a length, >= 1; None (default): all.

    Raises:
        TaskError: the user's data raised an error; the message names the example and the line. Or
            the source has no length, and no end is in sight.
    """
    tensor = partial(_tensor, name=name)
    if isinstance(source, DataLoader):  # its dataset may be any sequence
        drawn, collate = _drawn(source, name), source.collate_fn
        batched = source.batch_size is None and source.batch_sampler is None
        source = source.dataset
    elif _is_dataset(source):
        drawn, collate, batched = None, default_collate, False
    else:
        return each(tensor, _columns(source))
    examples = list(_examples(source, drawn, name, most))
    if not examples:
        raise TaskError(f"{name} has no examples")
    try:
        if batched:  # the dataset does it itself
            return _joined([each(tensor, collate(own)) for own in examples])
        return each(tensor, collate(examples))
    except TaskError:
        raise
    except Exception as error:
        remedy = "; a DataLoader's collate_fn can make one" if collate is default_collate else ""
        if "PIL." in str(error):
            remedy = "; make arrays of the images first, as torchvision's ToTensor() does"
        raise TaskError(
            f"{told(error)} (the examples of {name}, made one batch{remedy})"
        ) from error


def _is_dataset(source: Any) -> bool:  # noqa: ANN401
    """Return whether a source has examples one by one, as a DataLoader takes them.

    What can become an array is a batch, and so is a dict. A tuple is one, unless it holds more than
    two tuples or dicts. A list of arrays is one if there are two of them, or if their shapes
    differ. Everything else has examples.
    """
    if isinstance(source, Dataset):
        return True
    if isinstance(source, (str, bytes, Mapping)) or hasattr(source, "__array__"):
        return False
    if isinstance(source, tuple):
        rows = all(isinstance(value, (tuple, Mapping)) for value in source)
        return len(source) > 2 and rows and not hasattr(source, "_fields")
    if isinstance(source, list) and source and all(hasattr(v, "__array__") for v in source):
        return len(source) != 2 and len({np.shape(value) for value in source}) == 1
    return hasattr(source, "__getitem__") or hasattr(source, "__iter__")


def _columns(batch: Any) -> Any:  # noqa: ANN401
    """Return a batch with an array instead of each list of numbers."""
    if isinstance(batch, Mapping):
        return {name: _columns(value) for name, value in batch.items()}
    if isinstance(batch, tuple):
        values = map(_columns, batch)
        return type(batch)(*values) if hasattr(batch, "_fields") else tuple(values)
    if isinstance(batch, list) and any(hasattr(value, "__array__") for value in batch):
        return tuple(batch)
    return np.asarray(batch) if isinstance(batch, list) else batch


def _joined(batches: Sequence[Batch]) -> Batch:
    """Return batches as one."""
    columns = iter([torch.cat(own) for own in zip(*map(leaves, batches), strict=True)])
    return each(lambda _: next(columns), batches[0])


def _drawn(loader: "DataLoader[Any]", name: str) -> Sequence[int] | None:
    """Return which examples a DataLoader draws, sorted; None for all.

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


def _examples(
    dataset: Any,  # noqa: ANN401
    drawn: Sequence[int] | None,
    name: str,
    most: int | None,
) -> list[Any]:
    """Return the examples of any kind of Dataset; what it raises is told with the place."""
    examples: list[Any] = []
    rows, begun = _rows(dataset, drawn), time.monotonic()
    unknown = not hasattr(dataset, "__len__")
    while not unknown or most is None or len(examples) < most:
        try:
            examples.append(next(rows))
        except StopIteration:
            break
        except Exception as error:
            raise TaskError(f"{told(error)} ({name}[{len(examples)}])") from error
        if unknown and most is None:
            begun = _check_end(examples, name, begun)
    return examples


def _check_end(examples: list[Any], name: str, begun: float) -> float:
    """Refuse examples that seem to be endless; say once that no end is in sight.

    Returns:
        When reading began; infinity once the user was told.
    """
    most = min(_MOST, _MOST_BYTES // max(1, _size(examples[0])))
    too_many, late = len(examples) > most, time.monotonic() - begun > _PATIENCE
    if too_many or late:
        so_far = f"{name} has no length and has not ended after {len(examples):,} examples"
        remedy = "say how many make an epoch: TorchTask(..., examples_per_epoch=10_000)"
        if too_many:
            raise TaskError(f"{so_far}; {remedy}")
        warnings.warn(f"{so_far}; if it never does, {remedy}", stacklevel=2)
    return math.inf if late else begun


def _size(example: Any) -> int:  # noqa: ANN401
    """Return about how many bytes an example takes."""
    return sum(getattr(value, "nbytes", 0) for value in leaves(example))


def _rows(dataset: Any, drawn: Sequence[int] | None) -> Iterator[Any]:  # noqa: ANN401
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        found = iter(dataset)
        yield from itertools.islice(found, len(dataset)) if hasattr(dataset, "__len__") else found
    elif not hasattr(dataset, "__len__"):
        yield from _indexed(dataset)
    else:
        several = getattr(dataset, "__getitems__", None)  # torch prefers it
        for i in range(len(dataset)) if drawn is None else drawn:
            yield several([i])[0] if several else dataset[i]


def _indexed(dataset: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield the items of all indices up to the first IndexError, as Python iterates."""
    for i in itertools.count():
        try:
            example = dataset[i]
        except IndexError:
            return
        yield example


def _tensor(value: Any, name: str) -> Tensor:  # noqa: ANN401
    if isinstance(value, Tensor):
        if value.is_nested:
            raise TaskError(
                f"{name} must be tensors of one length, got nested ones: give "
                "torch.nested.to_padded_tensor(tensor, 0.0)"
            )
        if value.layout is not torch.strided:
            kind = str(value.layout).removeprefix("torch.")
            raise TaskError(f"{name} must be dense tensors, got a {kind} one: give its .to_dense()")
        return value.detach()
    try:
        array = np.ascontiguousarray(value)
        if array.dtype == object:  # numbers, as columns of a frame hold them at times
            array = np.asarray(array.tolist())
        if array.dtype.kind in "iu" and array.dtype != np.uint8:  # losses take no other integers
            array = array.astype(np.int64, copy=False)
        tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    except (TypeError, ValueError):
        text = value if isinstance(value, str) else next(iter(np.ravel(value)), None)
        if isinstance(text, str):
            raise TaskError(
                f"{name} has texts such as {text[:40]!r}; give numbers in their place, or leave "
                "them out"
            ) from None
        kind = type(value).__name__
        remedy = ""
        if any(isinstance(held, Tensor) for held in getattr(value, "__dict__", {}).values()):
            remedy = f"; make a dict of the tensors of each {kind}, padded to one size"
        raise TaskError(
            f"{name} must be tensors or arrays of numbers, a list of examples, a Dataset or a "
            f"DataLoader, got {kind}{remedy}"
        ) from None
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor
