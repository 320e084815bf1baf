"""A plain kernel: reads and writes as many arrays as a step does, with one addition each."""

import functools
from collections.abc import Callable
from typing import Any

import numba
import torch

__all__ = ["plain_kernel"]


def parallel(function: Callable[..., None]) -> Callable[..., None]:
    return numba.njit(parallel=True, error_model="numpy")(function)


@parallel
def copied0(g: Any, x: Any) -> None:
    for i in numba.prange(g.size):
        x[i] += g[i]


@parallel
def copied1(g: Any, x: Any, a: Any) -> None:
    for i in numba.prange(g.size):
        x[i] += g[i]
        a[i] += g[i]


@parallel
def copied2(g: Any, x: Any, a: Any, b: Any) -> None:
    for i in numba.prange(g.size):
        x[i] += g[i]
        a[i] += g[i]
        b[i] += g[i]


@parallel
def copied3(g: Any, x: Any, a: Any, b: Any, c: Any) -> None:
    for i in numba.prange(g.size):
        x[i] += g[i]
        a[i] += g[i]
        b[i] += g[i]
        c[i] += g[i]


def plain_kernel(
    size: int, dtype: torch.dtype, states: int, device: torch.device
) -> Callable[[], object]:
    """Return what reads g, x and so many states and writes all but g, with one addition each."""
    if device.type != "cpu":
        moved = 3 + 2 * states
        source = torch.ones(size * moved // 2, dtype=dtype, device=device)
        return functools.partial(torch.empty_like(source).copy_, source)
    kind = torch.float32 if dtype is torch.float32 else torch.int16  # numbers of the same size
    # In torch's memory: NumPy asks the system for larger pages.
    arrays = [torch.ones(size, dtype=kind).numpy() for _ in range(2 + states)]
    kernel = (copied0, copied1, copied2, copied3)[states]
    return lambda: kernel(*arrays)
