"""The threads that share a training."""

import itertools
import time
from collections.abc import Callable
from concurrent.futures import Executor, wait

import numpy as np

__all__ = ["Team"]

_SMALL = 1 << 20  # multiply-adds of vectors (a millisecond) that no other thread is woken for
_SHORT = 1 << 25  # as many as should_stop and Ctrl-C can wait for (some 20 ms)
_POLL = 0.05  # seconds between two looks at should_stop


class Team:
    """Threads that share the blocks of a training; it ends within moments when told to.

    The compiled calls hold no lock of Python's and look at a flag between steps.
    """

    def __init__(
        self, pool: Executor, threads: int, blocks: int, should_stop: Callable[[], bool] | None
    ) -> None:
        edges = np.linspace(0, blocks, min(threads, blocks) + 1).astype(int).tolist()
        self._parts = list(itertools.pairwise(edges))
        self._pool = pool
        self._should_stop = should_stop or (lambda: False)
        self._asked = time.monotonic()
        self.stop = np.zeros(1, np.int64)

    def run(self, function: Callable[[int, int], None], work: int) -> None:
        """Call function(first, last) for each thread's blocks.

        Args:
            function: a compiled call on the blocks from first to last.
            work: how many multiply-adds of vectors it takes in all.

        Raises:
            KeyboardInterrupt: should_stop said so, or the user did.
        """
        if work < (_SMALL if len(self._parts) > 1 else _SHORT):
            function(0, self._parts[-1][1])
            self._ask()
            return
        futures = [self._pool.submit(function, first, last) for first, last in self._parts]
        pending = set(futures)
        try:
            while pending:
                _, pending = wait(pending, timeout=_POLL)
                self._ask()
        finally:
            self.stop[0] = bool(pending)
        for future in futures:
            future.result()

    def _ask(self) -> None:
        if time.monotonic() - self._asked > _POLL:
            self._asked = time.monotonic()
            if self._should_stop():
                raise KeyboardInterrupt
