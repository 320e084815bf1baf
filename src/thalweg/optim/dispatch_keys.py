"""Keys: whose functions read and write a tensor, and who follows what is done to tensors.

torch finds by them the function that serves a tensor. They are bits of one word, in each tensor and
in each thread, and they alone tell whether the values of a tensor are what lies in its memory.
"""

import functools

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = ["FOLLOWERS", "TELLING", "all_keys", "followed", "own", "readable"]

# Those who are at work in a thread with these keys: modes in Python (make_fx, fake tensors), the
# same before autograd (export), torch.jit.trace, and torch.func.
_FOLLOWING = [
    torch._C._dispatch_key_parse(name)  # noqa: SLF001 - torch has no public names for any of it
    for name in ("Python", "PreDispatch", "Tracer", "FuncTorchDynamicLayerFrontMode")
]
FOLLOWERS: list[int] = [int(key) for key in _FOLLOWING]  # type: ignore[call-overload] # it has one


def followed() -> bool:
    """Return whether somebody records or changes what is done to tensors in this thread.

    What a kernel writes he would not notice. Forward differentiation leaves no mark but its level.
    """
    included = torch._C._dispatch_tls_is_dispatch_key_included  # noqa: SLF001
    return forward_ad._current_level >= 0 or any(map(included, _FOLLOWING))  # noqa: SLF001


def all_keys(tensor: Tensor) -> int:
    """Return a tensor's keys, by which torch finds the function that serves it, a bit each."""
    return int(torch._C._dispatch_keys(tensor).raw_repr())  # noqa: SLF001


def _untelling() -> int:
    """Return the keys that say nothing about where values lie: those of autograd."""
    with torch.inference_mode():
        inference = torch.empty(0)
    return all_keys(torch.empty(0)) ^ all_keys(inference)


TELLING = ~_untelling()


def _keys(tensor: Tensor) -> int:
    return all_keys(tensor) & TELLING


@functools.cache
def _plain(device: str) -> int:
    """Return the keys of a tensor whose values are what lies in its memory on such a device."""
    return _keys(torch.empty(0, device=device))


@functools.cache
def _lazy() -> int:
    """Return the keys of a tensor that stands for the conjugates or negatives of its memory."""
    number = torch.zeros((), dtype=torch.complex64)
    return (_keys(number.conj()) | _keys(torch._neg_view(number))) & ~_keys(number)  # noqa: SLF001


def own(tensor: Tensor) -> bool:
    """Return whether the values of a tensor are those that lie in its memory.

    They are elsewhere, or only a function in Python knows them, where the tensor wraps others, is
    quantized or nested, is part of a transform of torch.func, and so on.
    """
    return _keys(tensor) == _plain(tensor.device.type)


def readable(tensor: Tensor) -> bool:
    """Return whether they are, but for a sign or a conjugation that is still to be done."""
    return _keys(tensor) & ~_lazy() == _plain(tensor.device.type)
