"""Where parameters, their state and their gradients lie."""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thalweg.kernels import addresses

__all__ = ["Places", "places_of"]

# Where a Python tensor holds its at::Tensor, which is one pointer: after what every object begins
# with (torch/csrc/autograd/python_variable.h).
_HEAD = object.__basicsize__


class Places:
    """Where tensors lie; all of them are asked in one compiled call.

    Args:
        functions: torch's, by address.
        parameters: plain tensors.
        states: others.

    Attributes:
        found: (parameters,), addresses of the gradients; 0 for one that is not there, or empty.
    """

    def __init__(
        self,
        functions: NDArray[np.intp],
        parameters: Sequence[Tensor],
        states: Sequence[Tensor],
    ) -> None:
        count, most = len(parameters), max(p.dim() for p in parameters)
        self._shapes = np.zeros((count, most, 2), np.intp)
        for shape, p in zip(self._shapes, parameters, strict=True):
            shape[: p.dim()] = np.array([p.shape, p.stride()]).T
        self._kept = [*parameters, *states]  # compiled code knows them by address
        tensors = np.array([id(t) + _HEAD for t in self._kept], np.intp)
        self._addresses = np.zeros(len(tensors), np.intp)
        self._kinds = np.zeros((len(tensors), addresses.KINDS), np.intp)
        addresses.describe(functions, tensors, self._kinds, self._addresses)
        self._all = functions, tensors, self._addresses, self._kinds, self._shapes
        self.found = np.zeros(count, np.intp)
        self._described = functions, tensors, self._kinds, self._shapes

    def unmoved(self) -> bool:
        """Return whether parameters and state lie where they did, parameters in the same shape."""
        return bool(addresses.unmoved(*self._all))

    def find_gradients(self) -> bool:
        """Find the gradients.

        Returns:
            Whether all are there, and as their parameters are: in dtype, device, shape and strides.
        """
        functions, tensors, kinds, shapes = self._described
        return bool(addresses.find_gradients(functions, tensors, kinds, shapes, self.found))

    def locate(self, gradients: Sequence[Tensor | None]) -> bool:
        """Look where the parameters' gradients lie, None for one that is not there.

        Returns:
            Whether those that are there are as their parameters are.
        """
        functions, _, kinds, shapes = self._described
        held = np.fromiter(map(id, gradients), np.intp, len(gradients))
        there = np.where(held == id(None), 0, held + _HEAD)
        return bool(addresses.locate(functions, there, kinds, shapes, self.found))


def places_of(parameters: Sequence[Tensor], states: Sequence[Tensor]) -> Places | None:
    """Return where tensors lie; None if compiled code cannot ask them."""
    functions = addresses.functions(Path(torch._C.__file__))  # noqa: SLF001 - linked with all else
    own = any(type(p).grad is not Tensor.grad for p in parameters)
    tensors = [*parameters, *states]
    if functions is None or own or not parameters or not all(map(_holds, tensors)):
        return None
    return Places(functions, parameters, states)


def _holds(tensor: Tensor) -> bool:
    """Return whether a tensor holds what it stands for at the place where compiled code looks."""
    held: Any = tensor
    here = ctypes.c_ssize_t.from_address(id(tensor) + _HEAD)
    return bool(here.value == held._cdata)  # noqa: SLF001 - the address of what it stands for
