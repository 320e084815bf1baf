"""The arrays of a model, by address, and one step of a kernel over all of them."""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from numpy.typing import NDArray

from thalweg.kernels.cpu.kernel import Kernel, held_over_fork
from thalweg.kernels.cpu.loops import read_scalars, step_parallel, step_serial
from thalweg.kernels.cpu.vector import LANES

__all__ = ["BLOCK", "SERIAL", "Kept", "Table", "one_at_a_time", "use_threads"]

BLOCK = (
    16_384  # elements per work item: large against the cost of a call, small against a core's share
)
SERIAL = 131_072  # up to so many elements, waking other threads may cost more than they save

# A forked child lacks its parent's threads, and OpenMP ends a process that asks for them.
_forked = threading.Event()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked.set)

# Numba's plain thread pool must not be entered by two threads at once.
one_at_a_time = held_over_fork(threading.Lock())

# As many as Numba has started. OpenMP's number of threads belongs to the thread that starts them:
# Numba would set it for torch too, beside which only this short thread has it.
with ThreadPoolExecutor(1) as _starter:
    _MOST_THREADS: int = _starter.submit(numba.get_num_threads).result()


def use_threads(count: int) -> None:
    """Let parallel steps of this thread use so many threads, or as many as Numba has started."""
    count = min(count, _MOST_THREADS)
    if numba.get_num_threads() != count:
        numba.set_num_threads(count)


class Kept:
    """What tables of arrays have in common: numbers in the caller's memory, and threads.

    Args:
        large: whether the arrays are worth waking other threads for.
    """

    def __init__(self, *, large: bool) -> None:
        self._kept, self._wide = np.zeros((0, 0), np.intp), np.zeros((0, 0), np.bool_)
        self._large = large

    @property
    def parallel(self) -> bool:
        """Whether a step uses more than one thread."""
        return self._large and not _forked.is_set()

    def keep(self, addresses: NDArray[np.intp], wide: NDArray[np.bool_]) -> None:
        """Let each step keep t and the uniform state in the caller's memory.

        A step does nothing unless it finds there what the last one left.

        Args:
            addresses: (arrays, 1 + uniform states); 0 for a number that is not kept.
            wide: whether the number there is a float64; otherwise it is a float32.
        """
        self._kept, self._wide = addresses, wide

    def numbers(self) -> NDArray[np.float64]:
        """Return the kept numbers; 0 for a number that is not kept."""
        values = np.zeros(self._kept.shape)
        read_scalars(self._kept, self._wide, values)
        return values


class Table(Kept):
    """Blocks of arrays: addresses of x and state, filled in once; of gradients at each step.

    Nothing here keeps an array alive.

    Args:
        kernel: the kernel that steps them.
        sizes: elements of each array.
        addresses: of x and of each varying state, a sequence per array.
        items: bytes of one element of g, of x and of each varying state.
        seeds: of random rounding, each >= 0; (0,) by default.
    """

    def __init__(
        self,
        kernel: Kernel,
        sizes: Sequence[int],
        addresses: Sequence[Sequence[int]],
        items: Sequence[int],
        seeds: Sequence[int] = (0,),
    ) -> None:
        super().__init__(large=sum(sizes) > SERIAL)
        self.kernel = kernel
        self._passes = np.array(kernel.passes, np.intp)
        blocks = [
            (tensor, start, min(BLOCK, size - start))
            for tensor, size in enumerate(sizes)
            for start in range(0, size, BLOCK)
        ]
        table = np.array(blocks, np.intp).reshape(-1, 3)
        self._tensor, starts, self._length = (np.ascontiguousarray(c) for c in table.T)
        self._start = starts * items[0]
        random = kernel.wrap.rounding == "stochastic"
        count = len(items)
        self._addresses = np.zeros((len(blocks), count + random), np.intp)
        firsts = np.array(addresses, np.intp).reshape(len(sizes), count - 1)
        offsets = starts[:, None] * np.array(items[1:], np.intp)
        self._addresses[:, 1:count] = firsts[self._tensor] + offsets
        generator = np.random.default_rng(seeds)
        self._seeds = generator.integers(1 << 32, size=len(blocks) * random, dtype=np.intp)
        self._powers = np.empty((kernel.powers, LANES))
        self._slots = np.empty((0, kernel.slots, LANES), kernel.dtype)

    def step(
        self,
        gradients: NDArray[np.intp],
        cohort: NDArray[np.intp],
        t: NDArray[np.float64],
        hyper: NDArray[np.float64],
        uniform: NDArray[np.float64],
    ) -> bool:
        """Take one step.

        Args:
            gradients: address of each array's gradient; 0 leaves the array as it is.
            cohort: the number of each array's cohort. Arrays of a cohort share t and
                hyperparameters. -1 for an array that takes no step.
            t: (cohorts,), how many steps each has taken; changed in place.
            hyper: (cohorts, hyperparameters, LANES).
            uniform: (cohorts, uniform states, LANES); changed in place.

        Returns:
            False if nothing was done, because somebody has changed the numbers that ``keep`` knows.
        """
        kernel = self.kernel
        if len(self._slots) != len(t):
            self._slots = np.empty((len(t), kernel.slots, LANES), kernel.dtype)
        arguments = (
            self._passes, t, hyper, self._powers, uniform, self._slots,
            self._addresses, self._tensor, self._start, self._length, self._seeds,
            gradients, cohort, self._kept, self._wide,
        )  # fmt: skip
        if not self.parallel:
            return bool(step_serial(*arguments))
        with one_at_a_time:
            return bool(step_parallel(*arguments))
