"""Allowance: how many steps of an experiment a time allows, told by what they compute.

A clock would let a busy machine change what is found.
"""

import math
import time
from contextlib import suppress
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

__all__ = ["Allowance"]

# Of one core of a usual machine; set on an MLP, a convnet, a GRU and a transformer on digits.
_OPERATION = 5e-6  # seconds to call one, forward or backward
_ELEMENT = 3e-10  # to write a number
_FLOP = 4e-11  # to multiply or add one in products and convolutions
_PATIENCE = 5  # times the seconds by the clock, after which it ends all the same


class _Count(TorchDispatchMode):
    """Counts the seconds that operations take on a usual machine."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - torch prescribes the signature
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        out = func(*args, **(kwargs or {}))
        numbers = sum(t.numel() for t in tree_leaves(out) if isinstance(t, Tensor))
        self.seconds += _OPERATION + _ELEMENT * numbers
        products = flop_registry.get(func.overloadpacket)
        if products is not None:
            with suppress(Exception):  # of a kind of tensor that torch does not count
                self.seconds += _FLOP * products(*args, **(kwargs or {}), out_val=out)
        return out


class Allowance:
    """So many seconds of work on a usual machine; each step is taken within ``with``.

    The operations of the first step are counted, and every other is taken to cost as much. So the
    number of steps is the same on every machine. What no operation shows, such as a loop of the
    user's in Python, ends after five times the seconds by the clock of this thread.

    Args:
        seconds: that are allowed.

    Attributes:
        used: how many the steps so far have used.

    Example:
        >>> import torch
        >>> allowance, steps = Allowance(0.01), 0
        >>> while not allowance.over:
        ...     with allowance:
        ...         _ = torch.ones(100_000) * 2
        ...     steps += 1
        >>> steps
        143
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = math.inf  # until the first step is counted, which may load parts of torch
        self._count: _Count | None = _Count()
        self._cost = self.used = 0.0

    def __enter__(self) -> None:
        if self._count is not None:
            self._count.__enter__()

    def __exit__(self, *error: object) -> None:
        if self._count is not None:
            self._count.__exit__(*error)
            self._cost, self._count = self._count.seconds, None
            self._end = time.thread_time() + _PATIENCE * self._seconds
        self.used += self._cost

    @property
    def over(self) -> bool:
        """Whether all seconds are used."""
        return self.used >= self._seconds or time.thread_time() >= self._end
