"""Tensors on a GPU whose rule looks at whole tensors, stepped by two launches for each pass."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.kernels import triton_passes
from thalweg.kernels.cpu.pass_step import check
from thalweg.optim.cuda import ALIGNED, DeviceBucket, name_of
from thalweg.optim.pass_bucket import PassBucket

__all__ = ["DevicePassBucket"]

_TALL, _WIDE = 8, 128  # rows and columns of a tile, which a program reads at once
_HEIGHT = {"matrix": 512, "vector": 64}  # rows of a block, some tiles; of a vector, of _WIDE each
_LANES = 1024  # rows, columns or partial sums that a program takes at once


class DevicePassBucket(DeviceBucket, PassBucket):
    """Tensors on one GPU of one rule of sums, all vectors or all matrices.

    Args:
        members: parameters for which ``form_of`` returns the same.
        recipe: of the first one. The others differ only in values.
        options: what the kernels do beside.
        number: as that of ``Bucket``.
    """

    _read: tuple[Any, Any] = (None, None)  # numbers, and of which tensors in which state they are

    def _show(self, columns: Sequence[Sequence[Tensor]], computed: torch.dtype) -> None:
        """Give the kernels the addresses of everything, and room for what they keep."""
        self.device = columns[0][0].device
        check(self.rule, self._form)
        kept = self._kept()
        formats = [row[0].dtype if row[0] is not None else torch.float32 for row in kept]
        self.kernels = triton_passes.kernels(
            self.rule, name_of(computed), self.wrap, self._form, tuple(map(name_of, formats))
        )
        rows = [[t.data_ptr() for t in column] for column in columns]
        shapes = np.array(self._shapes(), np.int64)
        whole = self._form == "vector" or not (shapes[:, 1] % ALIGNED).any()
        self.aligned = whole and not (np.array(rows) % ALIGNED).any()
        numbers = sum(key is not None for key in self.numbers)
        small = self.held[len(columns) - 1 : len(self.held) - numbers]
        rows += [[t.data_ptr() for t in held] for held in small]
        rows += [[0 if n is None else n.data_ptr() for n in row] for row in kept]
        self.height = _HEIGHT[self._form]
        if self._form == "vector":
            blocks = np.stack([-(-shapes[:, 0] // (_WIDE * self.height)), shapes[:, 1]])
        else:
            blocks = -(-shapes.T // np.array([[self.height], [_WIDE]]))
        rows += self._room(shapes.T, blocks, computed.itemsize).tolist()
        self._tell(rows, blocks.prod(axis=0), shapes.T.ravel(), computed)

    def _room(self, shapes: Any, blocks: Any, item: int) -> Any:  # noqa: ANN401 - arrays
        """Make room for what is kept between passes; return the addresses of a tensor's arrays.

        Args:
            shapes: (2, tensors), rows and columns.
            blocks: (2, tensors), how many there are in a column of blocks, and in a row of them.
            item: bytes of a number.
        """
        made, count = self.kernels, int(blocks.prod(axis=0).sum())
        doubles: dict[str, Any] = {"dtype": torch.float64, "device": self.device}
        self.sums = torch.empty(shapes.shape[1], max(1, made.SUMS), **doubles)
        self.partial = torch.empty(max(1, made.PARTIAL), count, **doubles)
        rows, columns = shapes
        down, across = blocks
        bytes_ = [rows * item, columns * item, rows * across * item, columns * down * 8]
        several = made.ROW_ARRAYS, made.COLUMN_ARRAYS, made.ROW_PARTS, made.COLUMN_PARTS
        need = -(-np.repeat(np.stack(bytes_), several, axis=0) // ALIGNED) * ALIGNED
        self.scratch = torch.empty(int(need.sum()), dtype=torch.uint8, device=self.device)
        return self.scratch.data_ptr() + (need.cumsum() - need.ravel()).reshape(need.shape)

    def _launch(self, gradients: Tensor, factor: Tensor, hyper: Tensor, *, aligned: bool) -> None:
        """Launch the kernels of a step, pass after pass."""
        arrays, tensor, first, sizes, group = self.tables
        count, blocks = len(self.parameters), len(tensor)
        shape: dict[str, Any] = {"WIDE": _WIDE, "HEIGHT": self.height}
        for before, update in self.kernels.PASSES:
            before[(count,)](
                gradients, arrays, sizes, first, group, hyper, factor, self.slots, self.sums,
                self.partial, self.seed, count, blocks,
                LANES=_LANES, enable_fp_fusion=False, **shape,
            )  # fmt: skip
            if update is not None:
                update[(blocks,)](
                    gradients, arrays, tensor, sizes, first, factor, self.slots,
                    self.partial, self.seed, count, blocks,
                    TALL=_TALL, ALIGNED=aligned, enable_fp_fusion=self.kernels.FUSED, **shape,
                )  # fmt: skip

    def _count_change(self) -> None:
        super()._count_change()
        if self._read[1]:
            self._read = self._read[0], (self._read[1][0], self._changes())

    def _changes(self) -> list[int]:
        """Return how often each number was changed."""
        numbers = (n for row in self._kept() for n in row if n is not None)
        return [0 if n.is_inference() else n._version for n in numbers]  # noqa: SLF001

    def _read_numbers(self, there: Any) -> Any:  # noqa: ANN401 - arrays
        """Return the count of steps and the uniform state of each tensor, as last read.

        They are read again, for which the host waits, where others step or somebody changed them:
        those of tensors that step together stay equal.
        """
        now = there.tolist(), self._changes()
        if now != self._read[1]:
            zero = torch.zeros((), device=self.device)
            each = [
                torch.stack([(zero if n is None else n).double().reshape(()) for n in row])
                for row in self._kept()
            ]
            self._read = torch.stack(each, dim=1).cpu().numpy(), now
        return self._read[0]

    def _bound(self) -> tuple[Sequence[int], bool]:
        return self.kernels.BOUND, self.kernels.BOUND_BY_T
