"""How tensors lie in memory: which of them a kernel can take, and copies of the others."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thalweg.optim.dispatch_keys import own, readable

__all__ = [
    "ForeignError", "SparseError", "apart", "fits", "foreign", "gathered", "has_gradient",
    "is_sparse", "laid_as", "local", "overlaps", "placed", "real", "reduced", "shared",
]  # fmt: skip

_COMPLEX = (torch.complex64, torch.complex128)
_HALF = (torch.bfloat16, torch.float16)
_SPARSE = {
    torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc,
}  # fmt: skip


def local(tensor: Tensor) -> Tensor:
    """Return the part of a distributed tensor that this process has; another tensor as it is."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def reduced(gradient: Tensor, p: Tensor) -> Tensor:
    """Return a distributed gradient, distributed as its parameter: pending sums are computed."""
    given: Any = gradient
    like: Any = p
    if not hasattr(like, "placements") or given.placements == like.placements:
        return gradient
    whole: Tensor = given.redistribute(like.device_mesh, like.placements)
    return whole


def gathered(tensor: Tensor) -> Tensor:
    """Return all of a distributed tensor, from all processes; another tensor as it is."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def placed(value: Tensor, like: Tensor) -> Tensor:
    """Return a value that every process has whole, distributed as another tensor; else as it is."""
    given: Any = like
    if not hasattr(like, "placements") or hasattr(value, "placements"):
        return value
    from torch.distributed.tensor import DTensor, Replicate  # noqa: PLC0415 - takes a while to load

    mesh = given.device_mesh
    everywhere = DTensor.from_local(value, mesh, [Replicate()] * mesh.ndim, run_check=False)
    part: Tensor = everywhere.redistribute(mesh, given.placements)
    return part


def real(tensor: Tensor) -> Tensor:
    """Return a tensor's memory as real numbers, without autograd's history."""
    tensor = local(tensor).detach()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def fits(p: Tensor, kept: Sequence[Tensor], device: str = "cpu") -> bool:
    """Return whether a kernel of that kind of device can step a parameter with its arrays of state.

    All must be on that device, in memory of their own, of one shape and in formats that the kernels
    know. The parameter must have no gaps. States may be narrower than float32 if all are.
    """
    arrays = [local(tensor) for tensor in (p, *kept)]
    if not all(map(_lies, arrays)):
        return False
    first = arrays[0]
    if first.dtype in _COMPLEX:
        right = all(a.dtype is first.dtype for a in arrays)
    else:
        computed = torch.float64 if first.dtype is torch.float64 else torch.float32
        legal = {computed} if computed is torch.float64 else {computed, *_HALF}
        states = {a.dtype for a in arrays[1:]}
        right = first.dtype in legal and states <= legal and len(states) < 2
    alike = all(a.shape == first.shape and a.device.type == device for a in arrays)
    return right and alike and _dense(first)


def _lies(tensor: Tensor) -> bool:
    """Return whether a tensor has memory, and its values are the numbers there."""
    return own(tensor) and (tensor.data_ptr() != 0 or tensor.numel() == 0)


def is_sparse(gradient: Tensor) -> bool:
    """Return whether a gradient is sparse: it has values for some elements only."""
    return gradient.layout in _SPARSE


def foreign(gradient: Tensor) -> bool:
    """Return whether only its own class can read a gradient. A distributed one can be copied."""
    return not hasattr(gradient, "placements") and not readable(gradient)


def _dense(tensor: Tensor) -> bool:
    """Return whether the elements fill their memory without overlap, in any order."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride != expected:
                return False
            expected *= size
    return True


def overlaps(tensor: Tensor) -> bool:
    """Return whether two elements may lie at one address, as those of an expanded tensor do."""
    extent = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride < extent:
            return True
        extent += stride * (size - 1)
    return False


def _ordered(tensor: Tensor, like: Tensor) -> bool:
    """Return whether two tensors have the same shape and the same order in memory."""
    strides = zip(tensor.stride(), like.stride(), tensor.shape, strict=False)
    # The stride of a dimension of size 1 is never used.
    return tensor.shape == like.shape and all(a == b or size == 1 for a, b, size in strides)


def laid_as(tensor: Tensor, like: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the tensor in a dtype and in the memory order of another; itself if it has both."""
    here = local(tensor)
    if here.dtype is dtype and _ordered(here, local(like)) and _lies(here):
        return tensor
    return torch.empty_like(like, dtype=dtype).copy_(tensor)


def apart(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients, with a copy of each that is a later one too: each can be zeroed."""
    last = {g.data_ptr(): i for i, g in enumerate(gradients)}
    return [g if last[g.data_ptr()] == i else g.clone() for i, g in enumerate(gradients)]


def shared(found: NDArray[np.intp]) -> bool:
    """Return whether two gradients lie at one address."""
    there = found[found > 0]
    return len(np.unique(there)) < len(there)


class SparseError(Exception):
    """A gradient is sparse, so no kernel takes it."""


class ForeignError(Exception):
    """Only its own class can read a gradient, so no kernel takes it."""


def has_gradient(p: Tensor) -> bool:
    """Return whether a parameter has a gradient.

    Raises:
        SparseError: its gradient is sparse.
    """
    if p.grad is not None and is_sparse(p.grad):
        raise SparseError
    return p.grad is not None
