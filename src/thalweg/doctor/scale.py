"""Scale: whether numbers are far from mean 0 and deviation 1, and batches without that."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from thalweg.doctor.loaders import Batch, inputs, target

__all__ = ["Scale", "goals", "numbers", "standardized", "unit"]

_ROWS = 4096  # examples that statistics are taken of
_FAR = 5.0  # root mean square of what is not scaled; its reciprocal's square is too small


@dataclass(frozen=True)
class Scale:
    """Mean and size of numbers.

    Args:
        mean: of all of them.
        size: root of the mean square.
        spread: largest deviation of a column over the smallest that is not 0.
    """

    mean: float
    size: float
    spread: float

    @property
    def far(self) -> bool:
        """Whether they are far from mean 0 and scale 1."""
        return self.unlike_unit or self.spread > 100

    @property
    def unlike_unit(self) -> bool:
        """Whether they are far from scale 1, whatever their columns are beside each other."""
        return self.size > _FAR or self.size < 1 / _FAR**2

    @classmethod
    def of(cls, rows: Tensor) -> "Scale":
        """Return the scale of rows of numbers, without those that are not finite."""
        rows = rows[rows.isfinite().all(1)]
        if not len(rows):
            return cls(0.0, 1.0, 1.0)
        columns = rows.std(0, correction=0)
        alive = columns[columns > 0]
        spread = float(alive.max() / alive.min()) if len(alive) and rows.shape[1] <= 256 else 1.0
        return cls(float(rows.mean()), float(rows.pow(2).mean().sqrt()), spread)


def numbers(batches: Sequence[Batch]) -> Iterator[Tensor]:
    """Yield the numbers of each input, a row an example, wherever in a tuple or dict it stands."""
    members = zip(*(tree_flatten(inputs(batch))[0] for batch in batches), strict=False)
    yield from (rows for rows in map(_rows, members) if rows is not None)


def goals(batches: Sequence[Batch]) -> list[Tensor | None]:
    """Return the numbers of each target, a row an example; None for what are classes or tags."""
    members = zip(*(tree_flatten(target(batch))[0] for batch in batches), strict=False)
    return [_numbers(column) for column in members]


def _numbers(tensors: Sequence[Any]) -> Tensor | None:
    plain = all(isinstance(t, Tensor) and t.is_floating_point() and t.ndim for t in tensors)
    if not plain or len({t.shape[1:] for t in tensors}) > 1:
        return None
    y = torch.cat([t.reshape(len(t), -1) for t in tensors])
    return None if bool(((y == 0) | (y == 1)).all()) else y


def _rows(tensors: Sequence[Any]) -> Tensor | None:
    """Return rows of numbers of each batch as one; None where they are others, or differ."""
    plain = all(isinstance(t, Tensor) and t.is_floating_point() and t.ndim > 1 for t in tensors)
    if not plain or len({t.shape[1:] for t in tensors}) > 1:
        return None
    return torch.cat([t.detach().flatten(1) for t in tensors])[:_ROWS].float()


def standardized(batches: Sequence[Batch], *, targets: bool = False) -> list[Batch]:
    """Return batches with inputs (and targets) of mean 0 and deviation 1.

    Tables are standardized by column, images and series by channel. Of several inputs the first is,
    and whichever is far from it.
    """
    given = [tree_flatten(inputs(batch)) for batch in batches]
    members = [list(column) for column in zip(*(leaves for leaves, _ in given), strict=True)]
    for place, column in enumerate(members):
        rows = _rows(column)
        plain = all(isinstance(t, Tensor) and t.is_floating_point() for t in column)
        if plain and (place == 0 or (rows is not None and Scale.of(rows).far)):
            members[place] = unit(column)
    ys = _unit_targets(batches) if targets else [target(batch) for batch in batches]
    leaves = zip(*members, strict=True)
    return [
        (*tree_unflatten(list(own), spec), y)
        for own, (_, spec), y in zip(leaves, given, ys, strict=True)
    ]


def _unit_targets(batches: Sequence[Batch]) -> list[Any]:
    """Return the targets with mean 0 and deviation 1; of several, those that are far from it."""
    given = [tree_flatten(target(batch)) for batch in batches]
    members = [list(column) for column in zip(*(leaves for leaves, _ in given), strict=True)]
    for place, rows in enumerate(goals(batches)):
        if rows is not None and (len(members) == 1 or Scale.of(rows).unlike_unit):
            members[place] = unit(members[place])
    leaves = zip(*members, strict=True)
    return [tree_unflatten(list(own), spec) for own, (_, spec) in zip(leaves, given, strict=True)]


def unit(tensors: list[Tensor]) -> list[Tensor]:
    """Return tensors, a batch each, with mean 0 and deviation 1 in each column or channel."""
    whole = torch.cat(tensors) if len({t.shape[1:] for t in tensors}) == 1 else tensors[0]
    whole = torch.where(whole.isfinite(), whole, 0.0)
    kept = whole.ndim - 1 if whole.ndim in {2, 3} else 1  # the dimension of columns or channels
    if whole.ndim == 3 and whole.shape[1] <= 4 < whole.shape[2]:
        kept = 1  # channels first
    over = [d for d in range(whole.ndim) if d != kept] if whole.ndim > 1 else [0]
    whole = whole.double()  # numbers of 1e9, such as times, keep few digits
    mean = whole.mean(over, keepdim=True)
    deviation = torch.maximum(whole.std(over, keepdim=True), 1e-8 + 1e-6 * mean.abs())
    return [((t.double() - mean) / deviation).to(t.dtype) for t in tensors]
