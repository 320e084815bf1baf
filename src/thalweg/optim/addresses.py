"""Where parameters, their state and their gradients lie."""

import ctypes
from collections.abc import Sequence
from itertools import compress, cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.graph import increment_version

from thalweg.kernels.cpu import addresses
from thalweg.optim.dispatch_keys import FOLLOWERS, TELLING, all_keys
from thalweg.optim.memory import local

__all__ = ["Addresses", "CompiledAddresses", "addresses_of"]


def _word(address: int) -> int:
    return ctypes.c_ssize_t.from_address(address).value


def _offset() -> int:
    """Return the offset of the at::Tensor, which is one pointer, in a Python tensor; 0 for none.

    It is the first or second field (torch/csrc/autograd/python_variable.h).
    """
    tensor: Any = torch.empty(0)
    fields = range(object.__basicsize__, Tensor.__basicsize__, np.intp(0).itemsize)
    return next((f for f in fields if _word(id(tensor) + f) == tensor._cdata), 0)  # noqa: SLF001


def _keys_offset() -> int:
    """Return the offset of the keys in a tensor of C++; 0 for none.

    They are one word (c10/core/TensorImpl.h), and no other word is equal to it.
    """
    tensors: list[Any] = [torch.empty(0), torch._neg_view(torch.empty(0))]  # noqa: SLF001
    for field in range(0, _FIELDS, np.intp(0).itemsize):
        if all(_word(t._cdata + field) == np.int64(all_keys(t)) for t in tensors):  # noqa: SLF001
            return field
    return 0


_FIELDS = 192  # a tensor in C++ has at least so many bytes
_OFFSET = _offset()
_KEYS_OFFSET = _keys_offset()


class Addresses:
    """The addresses of parameters and their states. Torch is asked about them one by one.

    Args:
        parameters: any tensors. Of a distributed one, the part that this process has.
        states: as many of each kind as there are parameters.

    Attributes:
        found: (parameters,), addresses of the gradients; 0 for one that is missing or empty.
    """

    def __init__(self, parameters: Sequence[Tensor], states: Sequence[Tensor]) -> None:
        self._parameters, self._kept = parameters, [*parameters, *states]
        self._lie = self._look()
        self.found = np.zeros(len(parameters), np.intp)

    def _look(self) -> list[tuple[Any, ...]]:
        return [(t.data_ptr(), t.shape, t.stride()) for t in map(local, self._kept)]

    def unmoved(self) -> bool:
        """Return whether parameters and state lie where they did, in the same shape.

        They are kept alive, so that nothing else can lie at their addresses.
        """
        return self._look() == self._lie

    def find_gradients(self) -> bool:
        """Find the gradients.

        Returns:
            Whether all gradients exist, with the dtype, device, shape and strides of their
                parameters.
        """
        return False

    def locate(self, gradients: Sequence[Tensor | None]) -> bool:  # noqa: ARG002 - see below
        """Find the addresses of given gradients; None stands for a missing one.

        Returns:
            Whether those that exist are like their parameters; see ``find_gradients``.
        """
        return False

    def count_change(self, stepping: NDArray[np.bool_], *, gradients: bool) -> None:
        """Tell torch that a step has written, so that a backward pass through old values fails.

        Args:
            stepping: (parameters,), which of them have been stepped.
            gradients: whether their gradients have been written too; they must exist.
        """
        written = list(compress(self._kept, cycle(stepping)))
        if gradients:
            written += [p.grad for p in compress(self._parameters, stepping) if p.grad is not None]
        increment_version(written)


class CompiledAddresses(Addresses):
    """The same, where one compiled call asks about all tensors.

    Args:
        functions: of torch, by which compiled code asks.
        parameters: plain tensors.
        states: others.
    """

    def __init__(
        self,
        functions: NDArray[np.intp],
        parameters: Sequence[Tensor],
        states: Sequence[Tensor],
    ) -> None:
        self._kept = [*parameters, *states]  # kept alive: compiled code knows their addresses
        self._functions = functions
        self._tensors = _heads(self._kept)
        self._kinds = np.zeros((len(self._kept), addresses.KINDS), np.intp)
        self._addresses = np.zeros(len(self._kept), np.intp)
        self._changes = np.zeros(len(self._kept), np.intp)
        addresses.describe(functions, self._tensors, self._kinds, self._addresses, self._changes)
        self._shapes = np.zeros((len(self._kept), max(t.dim() for t in self._kept), 2), np.intp)
        for shape, tensor in zip(self._shapes, self._kept, strict=True):
            shape[: tensor.dim()] = np.array([tensor.shape, tensor.stride()]).T
        self.found = np.zeros(len(parameters), np.intp)

    def unmoved(self) -> bool:
        """Return whether all lie where they did; False if a step is ``followed``."""
        return forward_ad._current_level < 0 and bool(  # noqa: SLF001
            addresses.unmoved(
                self._functions, self._tensors, self._kinds, self._shapes, self._addresses,
                self._changes, len(self.found),
            )
        )  # fmt: skip

    def count_change(self, stepping: NDArray[np.bool_], *, gradients: bool) -> None:
        """As ``Addresses.count_change``."""
        addresses.count_change(self._functions, self._tensors, self._changes, stepping, gradients)

    def find_gradients(self) -> bool:
        """As ``Addresses.find_gradients``."""
        return bool(
            addresses.find_gradients(
                self._functions, self._tensors, self._kinds, self._shapes, self.found
            )
        )

    def locate(self, gradients: Sequence[Tensor | None]) -> bool:
        """As ``Addresses.locate``."""
        heads = _heads(gradients)
        heads[heads == id(None) + _OFFSET] = 0
        return bool(addresses.locate(self._functions, heads, self._kinds, self._shapes, self.found))


def _heads(tensors: Sequence[Tensor | None]) -> NDArray[np.intp]:
    """Return the address of each one's at::Tensor."""
    return np.fromiter(map(id, tensors), np.intp, len(tensors)) + _OFFSET


def addresses_of(parameters: Sequence[Tensor], states: Sequence[Tensor]) -> Addresses:
    """Return the addresses of tensors, which compiled code finds if it can."""
    linked = Path(torch._C.__file__)  # noqa: SLF001 - with all else
    functions = addresses.functions(linked)
    special = any(type(p).grad is not Tensor.grad or hasattr(p, "to_local") for p in parameters)
    tensors = [*parameters, *states]
    known = _KEYS_OFFSET and all(map(_holds, tensors))
    if functions is None or special or not parameters or not known:
        return Addresses(parameters, states)
    asked = np.array([*functions, _KEYS_OFFSET, TELLING, *FOLLOWERS], np.intp)
    return CompiledAddresses(asked, parameters, states)


def _holds(tensor: Tensor) -> bool:
    """Return whether compiled code finds the tensor's at::Tensor, and its count of changes."""
    given: Any = tensor
    try:
        given._version  # noqa: B018, SLF001 - an error in inference mode
    except RuntimeError:
        return False
    return bool(_word(id(tensor) + _OFFSET) == given._cdata)  # noqa: SLF001 - the address of that
