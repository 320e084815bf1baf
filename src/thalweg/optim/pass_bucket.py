"""Tensors whose rule looks at whole tensors, stepped by one compiled call of several passes."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.kernels.body import Place
from thalweg.kernels.cpu.pass_step import agreeing
from thalweg.kernels.cpu.pass_table import PassTable
from thalweg.kernels.translate import Form, by_rows, places
from thalweg.kind import MATRICES, SUMS
from thalweg.matrices import orthogonalize, products_in
from thalweg.optim.bucket import Bucket, Member
from thalweg.optim.cuda import ready
from thalweg.optim.dispatch_keys import followed, own
from thalweg.optim.memory import fits
from thalweg.optim.options import Options
from thalweg.optim.recipe import Recipe
from thalweg.optim.state import LOST, computed, kept_keys
from thalweg.rule import Rule

__all__ = ["PassBucket", "form_of", "matrix_of"]


@functools.lru_cache(maxsize=64)
def _places(rule: Rule, form: Form = "matrix") -> dict[str, Place] | None:
    """Return where each state is there; None if no kernel can be made of the rule."""
    try:
        return places(rule, form=form) if rule.kind in {MATRICES, SUMS} else None
    except ValueError:
        return None


def form_of(p: Tensor, state: dict[str, Any], recipe: Recipe, options: Options) -> Form | None:
    """Return what a kernel of passes takes a parameter for; None if none takes it.

    A state that is yet one number gets the shape that it has in the rule's equation.
    """
    rule = recipe.rule
    if _places(rule) is None or followed() or not _plain(p, recipe):
        return None
    of_matrix = rule.kind == MATRICES
    if of_matrix and ready(p):
        return None
    rows = of_matrix or by_rows(rule)
    form: Form = "matrix" if of_matrix or (rows and matrix_of(p)[1] > 1) else "vector"
    if rows and not p.is_contiguous():  # then a row is not a range of its memory
        return None
    if form == "matrix" and options.rounding == "stochastic" and p.dtype is torch.bfloat16:
        return None
    _grow(state, p, recipe, options)
    elements, others, numbers = _sorted(recipe, form)
    large = [state[key] for key in elements]
    small = [_small(state[key], _shape(p, of, recipe), p) for key, of in others.items()]
    small += [_is_number(state[key], p) for key in numbers if key]
    return form if all(small) and fits(p, large, p.device.type) else None


def _plain(p: Tensor, recipe: Recipe) -> bool:
    """Return whether a parameter is real matrices in this process, none with a number to keep."""
    several = recipe.as_given and p.ndim > 2
    formed = recipe.like_parameter and recipe.rule.kind != MATRICES
    shown = _splits(recipe) and not (several or formed)
    whole = shown and not hasattr(p, "placements") and p.numel() > 0
    return whole and (p.device.type == "cpu" or ready(p)) and not p.is_complex()


def _splits(recipe: Recipe) -> bool:
    """Return whether a kernel can step each matrix of a tensor by itself."""
    rule = recipe.rule
    numbers = Place.UNIFORM in (_places(rule) or {}).values()  # one for each matrix
    return recipe.split == 1 or not (rule.kind != MATRICES or rule.joint or numbers)


def _small(kept: Tensor, shape: tuple[int, ...], p: Tensor) -> bool:
    """Return whether a state of rows or columns lies as a kernel takes it."""
    right = kept.dtype is computed(p) and kept.device == p.device and own(kept)
    return right and kept.is_contiguous() and kept.shape == shape


def _is_number(kept: Tensor, p: Tensor) -> bool:
    """Return whether a state is one number that a kernel can change."""
    wide = kept.dtype in {torch.float32, torch.float64}
    here = kept.device.type == "cpu" or kept.device == p.device
    return wide and kept.numel() == 1 and here and own(kept)


def matrix_of(p: Tensor) -> tuple[int, int]:
    """Return the rows and columns of the matrix that a parameter is shown as."""
    rows = p.shape[0] if p.ndim else 1
    return rows, p.numel() // max(1, rows)


def _shape(p: Tensor, place: Place, recipe: Recipe) -> tuple[int, ...]:
    """Return the shape of a state of a parameter."""
    rows, columns = matrix_of(p)
    split = recipe.split
    if split > 1 and place in {Place.ROW, Place.COLUMN}:
        return (split, rows // split, 1) if place is Place.ROW else (split, 1, columns)
    if place is Place.ELEMENT or (place is Place.ROW and columns == 1):
        return tuple(p.shape)
    if p.ndim < 2:  # a vector is one column
        return (1,) * (p.ndim if place is Place.COLUMN else 0)
    return {Place.ROW: (rows, 1), Place.COLUMN: (1, columns)}.get(place, ())


def _grow(state: dict[str, Any], p: Tensor, recipe: Recipe, options: Options) -> None:
    """Give each state the shape and format that it has after a step of the rule itself."""
    for name, place in (_places(recipe.rule) or {}).items():
        if name in recipe.without or place is Place.UNIFORM:
            continue
        key, shape = recipe.keys[name], _shape(p, place, recipe)
        kept: Tensor = state[key]
        whole = shape == p.shape
        own = p.dtype if recipe.like_parameter else computed(p)
        dtype = options.state_dtype if whole and options.state_dtype else own
        if kept.numel() == 1 and kept.shape != shape:
            like = torch.empty_like(p, dtype=dtype) if whole else p.new_empty(shape, dtype=dtype)
            state[key] = like.detach().fill_(kept.item())
        elif kept.dtype is not dtype:
            state[key] = kept.to(dtype)


def _sorted(recipe: Recipe, form: Form) -> tuple[list[str], dict[str, Place], list[str | None]]:
    """Return the keys of states of elements, of those of rows, then columns, and of numbers.

    The first number is the count of steps; None if it is not kept.
    """
    found = _places(recipe.rule, form) or {}
    keys = recipe.keys

    def named(place: Place) -> list[str]:
        return [keys[n] for n, of in found.items() if of is place and n not in recipe.without]

    numbers = [keys.get(name) for name in ("step", *recipe.rule.uniform_state)]
    others = {key: place for place in (Place.ROW, Place.COLUMN) for key in named(place)}
    return named(Place.ELEMENT), others, [*numbers, *named(Place.UNIFORM)]


class PassBucket(Bucket):
    """Tensors of one rule of sums, all vectors or all matrices, that one compiled call steps.

    Args:
        members: parameters for which ``form_of`` returns the same.
        recipe: of the first one. The others differ only in values.
        options: what the kernel does beside.
        number: as that of ``Bucket``.
    """

    table: Any

    def __init__(
        self, members: Sequence[Member], recipe: Recipe, options: Options, number: int = 0
    ) -> None:
        form = form_of(members[0].parameter, members[0].state, recipe, options)
        assert form is not None
        self._form: Form = form
        self._product_dtype, self._split = options.product_dtype, recipe.split
        super().__init__(members, recipe, options, number)

    def _keys(
        self, recipe: Recipe, options: Options
    ) -> tuple[list[str], list[str], list[str | None]]:
        elements, others, numbers = _sorted(recipe, self._form)
        lost = LOST in kept_keys(recipe, self.parameters[0], options)
        return [*elements, *([LOST] if lost else [])], [*others], numbers

    def _couples(self, recipe: Recipe) -> bool:
        """As that of ``Bucket``. Where the rule itself decays, no pass reads x for nothing."""
        return super()._couples(recipe) and "weight_decay" not in recipe.hyper

    def _show(self, columns: Sequence[Sequence[Tensor]], computed: torch.dtype) -> None:
        """Give the kernel the addresses of everything."""
        items = [column[0].element_size() for column in columns]
        dtype = np.dtype(str(computed).removeprefix("torch."))
        kernel = agreeing(self.rule, dtype, self.wrap, self._form)
        small = self.held[len(columns) - 1 :][: kernel.generated.small]
        large = [[t.data_ptr() for t in row] for row in zip(*columns, strict=True)]
        if between := kernel.generated.between:  # its array is made in each step
            items.insert(between.array - 1, dtype.itemsize)
            for row in large:
                row.insert(between.array - 1, 0)
        self.table = PassTable(
            kernel,
            self._shapes(),
            large,
            [[held[i].data_ptr() for held in small] for i in range(len(large))],
            [items[0], *items],
            seeds=self.seeds,
            split=self._split,
        )
        self._keep()
        self._gather()

    def _shapes(self) -> list[tuple[int, int]]:
        """Return the rows and columns of each tensor, as the kernel's form asks."""
        if self._form == "matrix":
            return list(map(matrix_of, self.parameters))
        return [(p.numel(), 1) for p in self.parameters]

    def _distinct(self, numbers: Any) -> Any:  # noqa: ANN401 - an array
        return numbers[:, :1]  # uniform state is each tensor's own

    def _take_step(self, found: Any) -> bool:  # noqa: ANN401 - an array
        arguments = found, self.cohort, self.t, self._hyper
        if self.table.kernel.generated.between is None:
            return bool(self.table.step(*arguments))
        (p,) = self.parameters
        matrix = torch.empty(matrix_of(p), dtype=computed(p))
        self.table.lay(matrix.data_ptr())

        def between(keywords: Mapping[str, Any]) -> int:
            with products_in(self._product_dtype):
                for part in matrix.chunk(self._split):
                    orthogonalize(part, **keywords, overwrite_a=True)
            return matrix.data_ptr()

        return bool(self.table.step(*arguments, between))

    def agrees(self, recipes: Sequence[Recipe]) -> bool:
        """Return whether all tensors keep the same uniform state, if it is the whole model's."""
        if not self.rule.joint:
            return True
        there = np.array([p.grad is not None for p in self.parameters])
        numbers = self._read_numbers(there)[there]
        rows = [self._row(recipes[group], 1.0) for group in self.groups]
        given, by_t = self._bound()
        bound = np.array(rows)[there][:, given]
        begin = 0 if by_t else 1
        known = [numbers[:, begin : 1 + len(self.rule.uniform_state)], bound]
        return all(bool((one == one[:1]).all()) for one in known)

    def _read_numbers(self, there: Any) -> Any:  # noqa: ANN401, ARG002 - arrays; a GPU's asks less
        """Return the count of steps and the uniform state of each tensor."""
        return self.table.numbers()

    def _bound(self) -> tuple[Sequence[int], bool]:
        """Return on which hyperparameters uniform state depends, and whether on t."""
        made = self.table.kernel.generated
        return made.bound, made.bound_by_t
