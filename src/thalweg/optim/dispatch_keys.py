"""Keys: they tell whose functions serve a tensor, and who records what is done to tensors.

By its keys torch finds the function that serves a tensor. They are bits of one word, in each tensor
and in each thread. Only they tell whether the values of a tensor are the numbers in its memory.
"""

import functools

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = ["FOLLOWERS", "TELLING", "all_keys", "followed", "own", "readable"]

# Keys of a thread in which somebody follows: modes in Python (make_fx, fake tensors), the
# same before autograd (export), torch.jit.trace, and torch.func.
_FOLLOWING = [
    torch._C._dispatch_key_parse(name)  # noqa: SLF001 - torch has no public names for any of it
    for name in ("Python", "PreDispatch", "Tracer", "FuncTorchDynamicLayerFrontMode")
]
FOLLOWERS: list[int] = [int(key) for key in _FOLLOWING]  # type: ignore[call-overload] # it has one


def followed() -> bool:
    """Return whether somebody records or changes what is done to tensors in this thread.

    They would not notice what a kernel writes. Of forward differentiation only its level shows.
    """
    included = torch._C._dispatch_tls_is_dispatch_key_included  # noqa: SLF001
    return forward_ad._current_level >= 0 or any(map(included, _FOLLOWING))  # noqa: SLF001


def all_keys(tensor: Tensor) -> int:
    """Return a tensor's keys, one bit for each."""
    return int(torch._C._dispatch_keys(tensor).raw_repr())  # noqa: SLF001


def _untelling() -> int:
    """Return the keys that do not tell where values are: those of autograd."""
    with torch.inference_mode():
        inference = torch.empty(0)
    return all_keys(torch.empty(0)) ^ all_keys(inference)


TELLING = ~_untelling()


def _keys(tensor: Tensor) -> int:
    return all_keys(tensor) & TELLING


@functools.cache
def _plain(device: str) -> int:
    """Return the keys of a tensor on such a device whose values are the numbers in its memory."""
    return _keys(torch.empty(0, device=device))


@functools.cache
def _lazy() -> int:
    """Return the keys of a tensor whose values are conjugates or negatives of its memory."""
    number = torch.zeros((), dtype=torch.complex64)
    return (_keys(number.conj()) | _keys(torch._neg_view(number))) & ~_keys(number)  # noqa: SLF001


def own(tensor: Tensor) -> bool:
    """Return whether the values of a tensor are the numbers in its memory.

    They are not if the tensor wraps others, is quantized or nested, is part of a transform of
    torch.func, and so on. Then they are elsewhere, or only a function in Python knows them.
    """
    return _keys(tensor) == _plain(tensor.device.type)


def readable(tensor: Tensor) -> bool:
    """Return whether they are, up to a sign or a conjugation that is still to be done."""
    return _keys(tensor) & ~_lazy() == _plain(tensor.device.type)
