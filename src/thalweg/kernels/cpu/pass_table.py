"""The arrays of a model, by address, and one step of a kernel of several passes over all of them.

Tensors are taken in groups, large enough to be shared by threads and small enough that what is kept
between passes (sums of rows and columns) is a share of a megabyte, the same for every group. Blocks
and the order in which their sums are added depend on sizes alone, so that a step has the same bits
for any number of threads.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.kernels.cpu.kernel import PassKernel
from thalweg.kernels.cpu.sweeps import sweep_parallel, sweep_serial
from thalweg.kernels.cpu.table import BLOCK, SERIAL, Kept, one_at_a_time
from thalweg.kernels.cpu.vector import LANES

__all__ = ["PassTable"]

_GROUP = 524_288  # elements of a group of tensors, unless one alone has more
_PARTS = 32_768  # numbers of the sums of columns of one tensor's blocks, at most
_SCRATCH = 1 << 20  # bytes that a group of tensors keeps between passes, if it is more than one


class PassTable(Kept):
    """The arrays of a model, by address, and a step of a kernel of passes over them.

    Nothing here keeps an array alive.

    Args:
        kernel: the kernel that steps them.
        shapes: rows and columns of each tensor, as the kernel's form asks; of a vector, its
            elements and 1.
        addresses: of x and of each state of elements, a sequence per tensor.
        others: of each state of rows, then of columns, a sequence per tensor.
        items: bytes of one element of g, of x and of each state of elements.
        seeds: of random rounding, each >= 0; (0,) by default.
        split: how many matrices of equal height each tensor is, one upon the other; each is stepped
            by itself. 1 by default.
    """

    def __init__(
        self,
        kernel: PassKernel,
        shapes: Sequence[tuple[int, int]],
        addresses: Sequence[Sequence[int]],
        others: Sequence[Sequence[int]],
        items: Sequence[int],
        *,
        seeds: Sequence[int] = (0,),
        split: int = 1,
    ) -> None:
        shapes = [(rows // split, columns) for rows, columns in shapes for _ in range(split)]
        sizes = [rows * columns for rows, columns in shapes]
        super().__init__(large=sum(sizes) > SERIAL)
        self.kernel, self._split = kernel, split
        made = kernel.generated
        self._passes = np.array(kernel.passes, np.intp)
        most = max(1, *map(len, made.found))
        self._found = np.full((made.passes, most), -1, np.intp)
        for row, numbers in zip(self._found, made.found, strict=True):
            row[: len(numbers)] = numbers
        self._totals = np.array([*made.totals, False])
        self._sizes = np.array(shapes, np.intp).reshape(-1, 2)
        blocks = [_blocks(kernel, *shape) for shape in shapes]
        self._tensor = np.repeat(np.arange(len(shapes)), list(map(len, blocks)))
        self._first = np.concatenate([[0], np.cumsum(list(map(len, blocks)))]).astype(np.intp)
        table = np.array([row for rows in blocks for row in rows], np.intp).reshape(-1, 4)
        self._extents = np.ascontiguousarray(table[:, 2:])
        before = np.array(sizes, np.intp) * (np.arange(len(sizes)) % split)  # in the same tensor
        self._begin = table[:, 0] + before[self._tensor]
        self._start = self._begin * items[0]
        random = kernel.wrap.rounding == "stochastic"
        generator = np.random.default_rng(seeds)
        self._seeds = generator.integers(1 << 32, size=len(table) * random, dtype=np.intp)
        places = _Places(kernel, self._sizes, self._first)
        self._groups, self._scratch = places.groups, np.empty(places.size, np.uint8)
        small = places.arrays(self._scratch.ctypes.data)
        self._arrays = np.concatenate([self._parts(others), small], axis=1)
        large = np.repeat(np.array(addresses, np.intp), split, axis=0).reshape(len(shapes), -1)
        offsets = self._begin[:, None] * np.array(items[1:], np.intp)
        self._addresses = np.concatenate(
            [
                np.zeros((len(table), 1), np.intp),
                large[self._tensor] + offsets,
                small[self._tensor] + places.offsets(table, self._tensor),
                np.zeros((len(table), int(random)), np.intp),
            ],
            axis=1,
        )
        self._allocate(most)

    def _parts(self, others: Sequence[Sequence[int]]) -> NDArray[np.intp]:
        """Return where the states of rows and of columns of each matrix lie."""
        made, item = self.kernel.generated, self.kernel.dtype.itemsize
        whole = np.repeat(np.array(others, np.intp), self._split, axis=0)
        lengths = np.repeat(self._sizes, [made.row_state, made.column_state], axis=1)
        place = np.arange(len(lengths))[:, None] % self._split
        return whole.reshape(lengths.shape) + place * lengths * item

    def keep(self, addresses: NDArray[np.intp], wide: NDArray[np.bool_]) -> None:
        """As that of ``Kept``, a row for each tensor, whose matrices share its numbers."""
        super().keep(np.repeat(addresses, self._split, 0), np.repeat(wide, self._split, 0))

    def numbers(self) -> NDArray[np.float64]:
        """Return the kept numbers of each tensor; 0 for a number that is not kept."""
        return super().numbers()[:: self._split]

    def _allocate(self, most: int) -> None:
        """Make room for what the tensors of a group need at the same time."""
        made, begin = self.kernel.generated, self._groups[:-1]
        tensors = int(np.max(np.diff(self._groups), initial=0))
        blocks = int(np.max(self._first[self._groups[1:]] - self._first[begin], initial=0))
        self._sums = np.empty((tensors, len(self._totals), LANES))
        self._slots = np.empty((tensors, made.slots + 1, LANES), self.kernel.dtype)
        self._partial = np.empty((blocks, most))
        self._numbers = np.empty((len(self._sizes), made.uniform_state + 1, LANES))
        self._powers = np.empty((0, made.powers + 1, LANES))

    def step(
        self,
        gradients: NDArray[np.intp],
        cohort: NDArray[np.intp],
        t: NDArray[np.float64],
        hyper: NDArray[np.float64],
        between: Callable[[Mapping[str, Any]], int] | None = None,
    ) -> bool:
        """Take one step. States with one number for a tensor lie where ``keep`` says.

        Args:
            gradients: address of each tensor's gradient.
            cohort: the number of each tensor's cohort. Tensors of a cohort share t and
                hyperparameters. -1 for a tensor that takes no step.
            t: (cohorts,), how many steps each has taken; changed in place.
            hyper: (cohorts, hyperparameters, LANES).
            between: of a rule that orthogonalizes a matrix, and of one tensor: does that, with
                these keywords, to the array that ``lay`` was told of; returns the address of the
                result.

        Returns:
            False if nothing was done, because somebody has changed the counts that ``keep`` knows.
        """
        there = self.kernel.generated.between
        if self._split > 1:
            gradients, cohort = (np.repeat(one, self._split) for one in (gradients, cohort))
        given = gradients, cohort, t, hyper
        if there is None:
            return self._sweep(slice(None), *given)
        assert between is not None
        if not self._sweep(slice(there.passes), *given, ends=False):
            return False
        self.lay(between(there.given(hyper[cohort[0], :, 0].tolist())))
        return self._sweep(slice(there.passes, None), *given, begins=False)

    def lay(self, address: int) -> None:
        """Let the array of a matrix that is orthogonalized lie at an address."""
        there = self.kernel.generated.between
        assert there is not None
        self._addresses[:, there.array] = address + self._begin * self.kernel.dtype.itemsize

    def _sweep(
        self,
        passes: slice,
        gradients: NDArray[np.intp],
        cohort: NDArray[np.intp],
        t: NDArray[np.float64],
        hyper: NDArray[np.float64],
        *,
        begins: bool = True,
        ends: bool = True,
    ) -> bool:
        """Take some passes of a step; the first ones count it, the last ones write numbers."""
        if len(self._powers) != len(t):
            self._powers = np.empty((len(t), *self._powers.shape[1:]))
            self._fresh = np.empty(len(t), np.bool_)
        arguments = (
            self._passes[passes], self._found[passes], self._totals,
            t, self._fresh, hyper, self._powers,
            self._numbers, self._sums, self._slots, self._partial,
            self._groups, self._first, self._sizes, self._arrays, self._addresses, self._tensor,
            self._start, self._extents, self._seeds, gradients, cohort, self._kept, self._wide,
            begins, ends,
        )  # fmt: skip
        if not self.parallel:
            return bool(sweep_serial(*arguments))
        with one_at_a_time:
            return bool(sweep_parallel(*arguments))


def _blocks(kernel: PassKernel, rows: int, columns: int) -> list[tuple[int, int, int, int]]:
    """Return the blocks of a tensor: first element, first row, rows and columns.

    A block of a vector is a range of it. One of a matrix is some rows; as many as it takes for the
    sums of columns of all blocks to stay small.
    """
    if kernel.form == "vector":
        return [(start, 0, 1, min(BLOCK, rows - start)) for start in range(0, rows, BLOCK)]
    most = max(1, _PARTS // _padded(columns)) if kernel.generated.parts else rows
    height = max(1, BLOCK // max(1, columns), -(-rows // max(1, most)))
    return [
        (start * columns, start, min(height, rows - start), columns)
        for start in range(0, rows, height)
    ]


def _padded(count: int) -> int:
    """Return how many numbers whole vectors have that hold so many."""
    return -(-count // LANES) * LANES


class _Places:
    """Where what is kept between passes lies, for tensors in groups that share the room.

    Attributes:
        groups: the first tensor of each group, and the end.
        size: bytes of all.
    """

    def __init__(
        self, kernel: PassKernel, sizes: NDArray[np.intp], first: NDArray[np.intp]
    ) -> None:
        made = kernel.generated
        self._item, counts = (
            kernel.dtype.itemsize,
            [made.row_arrays, made.column_arrays, made.parts],
        )
        rows, columns = (-(-sizes.T // LANES)) * LANES
        parts = columns * np.diff(first) * 8
        widths = np.stack([rows * self._item, columns * self._item, parts], axis=1)
        self._column_bytes, self._counts = columns * 8, counts
        need = np.repeat(widths, counts, axis=1)
        within = np.cumsum(need, axis=1) - need
        whole = need.sum(axis=1)
        joint, elements = any(made.totals), sizes.prod(axis=1)
        groups, before, taken, held = [0], [], 0, 0
        self.size = LANES * 8
        for i, (bytes_, count) in enumerate(zip(whole.tolist(), elements.tolist(), strict=True)):
            if not joint and held and (held + count > _GROUP or taken + bytes_ > _SCRATCH):
                groups.append(i)
                taken = held = 0
            before.append(taken)
            taken, held = taken + bytes_, held + count
            self.size = max(self.size, taken + LANES * 8)
        self.groups = np.array([*groups, len(sizes)] if len(sizes) else [0], np.intp)
        self._offsets = within + np.array(before, np.intp).reshape(-1, 1)

    def arrays(self, address: int) -> NDArray[np.intp]:
        """Return the addresses of each tensor's arrays, if all lie from one on."""
        aligned: NDArray[np.intp] = self._offsets + -(-address // 64) * 64
        return aligned

    def offsets(self, table: NDArray[np.intp], tensor: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return how far into a tensor's arrays each block begins."""
        starts = np.cumsum(np.ones(len(tensor), np.intp)) - 1
        block = starts - np.searchsorted(tensor, tensor)  # within its tensor
        by_place = [
            table[:, 1] * self._item, np.zeros_like(block), block * self._column_bytes[tensor]
        ]  # fmt: skip
        return np.repeat(np.stack(by_place, axis=1), self._counts, axis=1)
