"""Tensors on a GPU, stepped by launches of Triton kernels: one per tensor, one per element.

The host knows only addresses and hyperparameters, and never waits. Counts of steps and uniform
state are on the device, and so is what a loss scaler or a bound of the norm decides.
"""

import functools
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from thalweg.kernels import triton
from thalweg.kernels.cpu.kernel import check
from thalweg.optim.bucket import Bucket, PreparedStep
from thalweg.optim.dispatch_keys import followed, own
from thalweg.optim.memory import apart, fits, local, overlaps
from thalweg.optim.recipe import Recipe

__all__ = ["ALIGNED", "DeviceBucket", "bucket_for", "name_of", "ready", "served"]

_KIND = "cuda"  # torch calls AMD's GPUs so too
_BLOCK = 1024  # elements of one program: 8 for each of its 128 threads, two loads of 16 bytes
_LANES = 128  # tensors of one program
ALIGNED = 16  # bytes that the widest load takes
_SOMEWHERE = 16  # marks an empty gradient: its address is 0, and so is that of a missing one

# Graphs read these at each replay, and nothing tells when the last replay is over.
_captured: list[Any] = []


@functools.cache
def _ready(device: torch.device) -> bool:
    """Return whether Triton is installed and knows the device."""
    if device.type != _KIND or find_spec("triton") is None:
        return False
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


def bucket_for(p: Tensor, kept: Sequence[Tensor]) -> type[Bucket] | None:
    """Return the kind of bucket that steps a parameter with its state; None for none."""
    if followed():
        return None
    if ready(p):
        return DeviceBucket if fits(p, kept, _KIND) else None
    return Bucket if fits(p, kept) else None


def ready(p: Tensor) -> bool:
    """Return whether Triton is installed and knows the GPU of a parameter."""
    return _ready(local(p).device)


def served(p: Tensor) -> bool:
    """Return whether a rule can step a parameter: by its device, and in memory of its own."""
    here = local(p)
    known = here.device.type == "cpu" or _ready(here.device)
    return known and own(here) and (is_lazy(p) or not overlaps(here))


class DeviceBucket(Bucket):
    """Tensors on one GPU that one pair of launches steps.

    Args:
        members: parameters for which ``bucket_for`` returns this class. They have one device and
            equal dtypes, and so have their states.
        recipe: of the first one. The others differ only in values.
        options: what the kernels do beside.
        number: as that of ``Bucket``.
    """

    _sent: tuple[Tensor, Tensor, Tensor, bool]

    def _settle(self) -> None:
        """Bring the numbers of the state to the device, each in one format for all tensors."""
        for key in filter(None, self.numbers):
            dtype = self.states[0][key].dtype
            for p, state in zip(self.parameters, self.states, strict=True):
                state[key] = state[key].to(local(p).device, dtype)

    def _show(self, columns: Sequence[Sequence[Tensor]], computed: torch.dtype) -> None:
        """Give the kernels the addresses of everything."""
        self.device = columns[0][0].device
        kept = self._kept()
        known = [n.dtype for row in kept for n in row if n is not None] or [torch.float32]
        check(self.rule)
        self.kernels = triton.kernels(self.rule, name_of(computed), self.wrap, name_of(known[0]))
        rows = [[t.data_ptr() for t in column] for column in columns]
        self.aligned = not any(address % ALIGNED for row in rows for address in row)
        rows += [[0 if n is None else n.data_ptr() for n in row] for row in kept]
        sizes = np.array([x.numel() for x in columns[0]])
        blocks = -(-sizes // _BLOCK)
        self._tell(rows, blocks, sizes, computed)

    def _tell(self, rows: Sequence[Sequence[int]], blocks: Any, sizes: Any, computed: Any) -> None:  # noqa: ANN401 - arrays
        """Send what stays the same in all steps.

        Args:
            rows: addresses of each array of all tensors.
            blocks: (tensors,), how many each has.
            sizes: of each tensor.
            computed: the format of the computation.
        """
        groups, group = np.unique(self.groups, return_inverse=True)
        self.kinds = groups.tolist()
        self.tables = [
            self._on_device(np.array(rows).ravel()),
            self._on_device(np.repeat(np.arange(len(blocks), dtype=np.int32), blocks)),
            self._on_device(np.concatenate([[0], blocks.cumsum()]).astype(np.int32)),
            self._on_device(sizes),
            self._on_device(group.astype(np.int32)),
        ]
        self.slots = torch.empty(
            len(blocks), max(1, self.kernels.SLOTS), dtype=computed, device=self.device
        )
        first = np.random.default_rng(self.seeds).integers(1 << 62)
        self.seed = torch.tensor([first], device=self.device)
        self._gather()

    def _kept(self) -> list[list[Tensor | None]]:
        """Return each number that is kept, of all tensors."""
        return [[s[key] if key else None for s in self.states] for key in self.numbers]

    def _on_device(self, numbers: Any) -> Tensor:  # noqa: ANN401 - an array of any dtype
        return torch.as_tensor(numbers).to(self.device)

    def _gather(self) -> None:
        """Forget what was sent, because other tensors step now."""
        self._known: tuple[Any, ...] = ()

    def prepare(self) -> PreparedStep:
        """Find the gradients, as ``Bucket`` does. They are always kept alive."""
        return self._prepare_each()

    def take(self, step: PreparedStep, recipes: Sequence[Recipe], scale: float | Tensor) -> None:
        """Take a step; see ``PreparedStep.take``."""
        gradients = step.gradients
        if not gradients:
            return
        given = scale if isinstance(scale, float) else 1.0
        gradients = apart(gradients) if self.zeroed else gradients
        addresses, factor, hyper, aligned = self._send(gradients, recipes, given)
        if isinstance(scale, Tensor):
            factor = scale.to(self.device, non_blocking=True)
        with torch.cuda.device_of(addresses):  # type: ignore[no-untyped-call] # torch leaves it so
            self._launch(addresses, factor, hyper, aligned=aligned)
        self._count_change()

    def _launch(self, gradients: Tensor, factor: Tensor, hyper: Tensor, *, aligned: bool) -> None:
        """Launch the kernels of a step; see ``_send`` for what they are given."""
        arrays, tensor, first, size, group = self.tables
        count = len(self.parameters)
        self.kernels.uniforms[(-(-count // _LANES),)](
            gradients, arrays, group, hyper, factor, self.slots, self.seed, count,
            LANES=_LANES, enable_fp_fusion=False,
        )  # fmt: skip
        if len(tensor):
            self.kernels.update[(len(tensor),)](
                gradients, arrays, tensor, first, size, factor, self.slots, self.seed, count,
                BLOCK=_BLOCK, ALIGNED=aligned, enable_fp_fusion=self.kernels.FUSED,
            )  # fmt: skip

    def _send(
        self, gradients: Sequence[Tensor], recipes: Sequence[Recipe], scale: float
    ) -> tuple[Tensor, Tensor, Tensor, bool]:
        """Return on the device: gradients' addresses, the scale, hyperparameters; sent if changed.

        The host does not wait: the memory is pinned, and torch reuses it after it was read.
        """
        found = [g.data_ptr() or _SOMEWHERE for g in gradients]
        now = found, recipes, scale
        on_gpu = self.device.type == "cuda"  # Triton's interpreter uses the host's memory
        capturing = on_gpu and torch.cuda.is_current_stream_capturing()
        if now == self._known and not capturing:
            return self._sent
        values = [scale, 1.0]
        for group in self.kinds:
            values += self._row(recipes[group], 1.0)
        count = len(self.parameters)
        numbers = np.zeros(count + len(values), np.int64)
        numbers[:count][self.pattern or slice(None)] = found
        numbers[count:] = np.array(values).view(np.int64)
        host = torch.from_numpy(numbers)
        host = host.pin_memory() if on_gpu else host
        sent = host.to(self.device, non_blocking=True)
        aligned = self.aligned and not any(address % ALIGNED for address in found)
        floats = sent[count:].view(torch.float64)
        self._sent = sent[:count], floats[:2], floats[2:], aligned
        self._known = now
        if capturing:
            _captured.append((self, host, self._sent))
            self._gather()  # a tensor that a graph fills has its values only after a replay
        return self._sent


def name_of(dtype: torch.dtype) -> str:
    """Return the name of a format, as kernels know it."""
    """Return the name of a format, as kernels know it."""
    return str(dtype).removeprefix("torch.")
