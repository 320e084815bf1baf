"""Estimates of the diagonal of a Hessian, for rules that ask for it, such as Sophia."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from thalweg.elementwise import sqrt
from thalweg.sums import total
from thalweg.tensors import Tensors

__all__ = ["by_differences", "gauss_newton_bartlett", "hutchinson"]


def hutchinson(loss: Tensor, parameters: Iterable[Tensor]) -> list[Tensor]:
    """Return Hutchinson's estimate of the diagonal of a loss's Hessian: u ∘ Hu, u random signs.

    It is unbiased, and exact where the Hessian is diagonal. The loss is differentiated twice.

    Args:
        loss: a scalar, before any ``backward``.
        parameters: those of the optimizer, in its order.

    Returns:
        A tensor for each parameter, of its shape; 0 where the loss does not depend on it.

    Example:
        >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> hutchinson((w**3).sum(), [w])  # 6 w
        [tensor([ 6., 12.])]

    Source: Liu et al. 2024, Algorithm 1.
    """
    parameters = list(parameters)
    every: dict[str, Any] = {"allow_unused": True, "materialize_grads": True}
    slopes = torch.autograd.grad(loss, parameters, create_graph=True, **every)
    signs = [_signs(p) for p in parameters]
    along = sum((g * u).sum() for g, u in zip(slopes, signs, strict=True))
    assert isinstance(along, Tensor)
    products = torch.autograd.grad(along, parameters, **every)
    return [u * product for u, product in zip(signs, products, strict=True)]


def gauss_newton_bartlett(logits: Tensor, parameters: Iterable[Tensor]) -> list[Tensor]:
    """Return the Gauss-Newton-Bartlett estimate of a cross entropy's diagonal: B ĝ ∘ ĝ.

    ĝ is the gradient of the mean loss of B predictions, at labels that the model itself draws.

    Args:
        logits: (..., classes), in a graph.
        parameters: those of the optimizer, in its order.

    Returns:
        A tensor for each parameter, of its shape, nowhere negative.

    Source: Liu et al. 2024, Algorithm 2.
    """
    parameters = list(parameters)
    flat = logits.flatten(0, -2)
    labels = torch.multinomial(flat.detach().float().softmax(-1), 1).squeeze(-1)
    loss = torch.nn.functional.cross_entropy(flat, labels)
    slopes = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return [len(flat) * g * g for g in slopes]


def by_differences(gradient: Callable[[Any], Any], x: Tensors) -> Any:  # noqa: ANN401 - Tensors
    """Return Hutchinson's estimate from gradients at two points near x, on either side of it."""
    u = Tensors(map(_signs, x))
    size = sqrt(total(x * x) / sum(part.numel() for part in x)).item() or 1.0
    eps = max(torch.finfo(part.dtype).eps for part in x) ** (1 / 3) * size
    return u * (gradient(x + eps * u) - gradient(x - eps * u)) / (2 * eps)


def _signs(like: Tensor) -> Tensor:
    return torch.empty_like(like).bernoulli_(0.5) * 2 - 1
