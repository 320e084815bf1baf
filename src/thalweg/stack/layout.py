"""ChannelsLast: images in lanes lie in memory as convolutions read them, when a compiler traces."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["ChannelsLast"]

_OPERATORS = torch.ops.aten
_IMAGES = {  # with the number of images and filters among its arguments
    _OPERATORS.convolution.default: 2,
    _OPERATORS.convolution_backward.default: 3,
}
_VIEWS = {_OPERATORS.view.default, _OPERATORS._unsafe_view.default}  # noqa: SLF001 - torch's name


class ChannelsLast(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch leaves it so
    """A context in which a traced program keeps the channels of all lanes side by side.

    Convolutions need them so. But a compiled function of single elements writes in the order of the
    dimensions, lanes first, whatever it reads. Between two convolutions every number would be moved
    twice. Here such a function gets its arguments in their order in memory, and keeps that order,
    as functions do that are not compiled.
    """

    def __torch_dispatch__(
        self,
        function: Any,  # noqa: ANN401 - an operator of torch's
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Call the operator."""
        kwargs = kwargs or {}
        if function in _VIEWS:  # of a tensor that may lie otherwise now
            return args[0].reshape(args[1])
        count = _IMAGES.get(function)
        if count and args[0].ndim == 4 and args[0].device.type == "cpu":
            return function(*map(_last, args[:count]), *args[count:], **kwargs)
        if torch.Tag.pointwise in function.tags and not function._schema.is_mutable:  # noqa: SLF001
            order = _order([argument for argument in args if isinstance(argument, Tensor)])
            if order and kwargs.get("memory_format") in {None, torch.preserve_format}:
                turned = (_turned(argument, order) for argument in args)
                return function(*turned, **kwargs).permute(np.argsort(order).tolist())
        return function(*args, **kwargs)


def _last(images: Tensor) -> Tensor:
    """Return the same with channels last; torch cannot tell where a single channel lies."""
    if images.shape[1] > 1:
        return images.contiguous(memory_format=torch.channels_last)
    high, wide = images.shape[2:]
    return images.contiguous().as_strided(images.shape, (high * wide, 1, wide, 1))


def _order(tensors: list[Tensor]) -> list[int]:
    """Return the dimensions in their order in memory; None if that is the usual one."""
    shape = np.broadcast_shapes(*(tensor.shape for tensor in tensors))
    for strides in (tensor.stride() for tensor in tensors if tensor.shape == shape):
        order: list[int] = np.argsort([-stride for stride in strides], kind="stable").tolist()
        if 0 not in strides and order != sorted(order):
            return order
    return []


def _turned(argument: Any, order: list[int]) -> Any:  # noqa: ANN401
    if not isinstance(argument, Tensor) or not argument.ndim:
        return argument
    return argument[(None,) * (len(order) - argument.ndim)].permute(order)
