"""LaneFunctions: what replaces some of torch's functions while a module is computed in lanes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.nn import functional

from thalweg.stack.calls import Calls

__all__ = ["LaneFunctions"]


# Defined by hand: one that ``torch.library.custom_op`` makes loads torch's compiler when it is
# called, which takes a second.
_LIBRARY = torch.library.Library("thalweg", "DEF")  # type: ignore[no-untyped-call] # torch leaves it so
_LIBRARY.define(  # type: ignore[no-untyped-call]
    "keep(Tensor seed, Tensor step, int call, SymInt[] shape, float p, Device device) -> Tensor"
)


@torch.library.impl(_LIBRARY, "keep", "CompositeExplicitAutograd")
def _keep(  # noqa: PLR0917 - an operator of torch's takes its arguments by position
    seed: Tensor, step: Tensor, call: int, shape: list[int], p: float, device: torch.device
) -> Tensor:
    """Return which elements a dropout keeps, each with probability 1 - p: (*seed.shape, *shape)."""
    kept = torch.empty((seed.numel(), *shape), device=device)
    for own, number in zip(kept, seed.flatten().tolist(), strict=True):
        # Python's hash of a tuple of integers is a good mixer, and the same in every process.
        mixed = hash((number, step.item(), call)) & 0xFFFFFFFF
        own.uniform_(generator=torch.Generator(device).manual_seed(mixed))
    return kept.reshape(*seed.shape, *shape) >= p


@torch.library.register_fake("thalweg::keep", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _kept_shape(
    seed: Tensor, _: Tensor, __: int, shape: list[int], ___: float, device: torch.device
) -> Tensor:
    return torch.empty((*seed.shape, *shape), dtype=torch.bool, device=device)


@torch.library.register_vmap("thalweg::keep", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _keep_in_lanes(_: Any, __: Any, *arguments: Any) -> tuple[Tensor, int]:  # noqa: ANN401
    return torch.ops.thalweg.keep(*arguments), 0


class LaneFunctions(Calls):
    """A context in which some functions of torch are computed otherwise, with the same result.

    What dropout draws in a lane depends only on the lane's seed and step. Attention is written as
    in its documentation: the fused one draws numbers that lanes cannot control, and ``torch.func``
    runs it one lane at a time. For a compiler, pooling is written out too, because its gradient
    would become slow code.

    Args:
        seed: the lane's, an integer tensor.
        step: of the training, an integer tensor, so that each step draws new numbers.
    """

    def __init__(self, seed: Tensor, step: Tensor) -> None:
        super().__init__()
        self._seed = seed
        self._step = step
        self._calls = 0
        self._instead: dict[Callable[..., Any], Callable[..., Any]] = {
            functional.dropout: self._dropout,
            functional.dropout1d: partial(self._dropout_channels, unbatched=2),
            functional.dropout2d: self._dropout_channels,
            functional.dropout3d: partial(self._dropout_channels, unbatched=4),
            functional.scaled_dot_product_attention: self._attention,
            functional.multi_head_attention_forward: self._heads,
            functional.avg_pool2d: self._average_pool,
            functional.max_pool2d: self._max_pool,
        }

    def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:  # noqa: ANN401
        return self._instead.get(function, function)(*args, **named)

    def _dropout(
        self,
        x: Tensor,
        p: float = 0.5,
        training: bool = True,  # noqa: FBT001, FBT002 - torch's signature
        inplace: bool = False,  # noqa: FBT001, FBT002 - torch's signature
    ) -> Tensor:
        return self._drop(x, p, list(x.shape), training=training, inplace=inplace)

    def _dropout_channels(
        self,
        x: Tensor,
        p: float = 0.5,
        training: bool = True,  # noqa: FBT001, FBT002 - torch's signature
        inplace: bool = False,  # noqa: FBT001, FBT002 - torch's signature
        *,
        unbatched: int | None = None,
    ) -> Tensor:
        leading = 1 if x.ndim == unbatched else 2  # of one example: its channels
        shape = [*x.shape[:leading], *(1 for _ in x.shape[leading:])]
        return self._drop(x, p, shape, training=training, inplace=inplace)

    def _drop(
        self, x: Tensor, p: float, shape: list[int], *, training: bool, inplace: bool
    ) -> Tensor:
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        if not training or p == 0:
            return x
        self._calls += 1
        kept = torch.ops.thalweg.keep(self._seed, self._step, self._calls, shape, p, x.device)
        factor = kept.to(x.dtype) / (1 - p) if p < 1 else torch.zeros_like(x)
        return x.mul_(factor) if inplace else x * factor

    @staticmethod
    def _average_pool(  # noqa: PLR0917 - torch's signature
        x: Tensor,
        kernel_size: Any,  # noqa: ANN401 - a number or two
        stride: Any = None,  # noqa: ANN401 - the same, or none
        padding: Any = 0,  # noqa: ANN401 - a number or two
        ceil_mode: bool = False,  # noqa: FBT001, FBT002 - torch's signature
        count_include_pad: bool = True,  # noqa: FBT001, FBT002 - torch's signature
        divisor_override: int | None = None,
    ) -> Tensor:
        tiles = _tiles(x, kernel_size, stride, padding)
        if tiles is None or divisor_override is not None:
            return functional.avg_pool2d(
                x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
            )
        return tiles.mean((-3, -1))

    @staticmethod
    def _max_pool(
        x: Tensor,
        kernel_size: Any,  # noqa: ANN401 - a number or two
        stride: Any = None,  # noqa: ANN401 - the same, or none
        padding: Any = 0,  # noqa: ANN401 - a number or two
        dilation: Any = 1,  # noqa: ANN401 - a number or two
        **named: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        tiles = _tiles(x, kernel_size, stride, padding)
        if tiles is None or dilation not in {1, (1, 1)} or named.get("return_indices"):
            return functional.max_pool2d(x, kernel_size, stride, padding, dilation, **named)
        high, wide = tiles.shape[-3], tiles.shape[-1]
        first, *rest = (tiles[..., i, :, j] for i in range(high) for j in range(wide))
        for other in rest:  # the first of several largest gets the gradient, as in torch
            first = torch.where((other > first) | other.isnan(), other, first)
        return first

    def _heads(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        """Attend with several heads: a function of torch's that calls the others unseen."""
        own = {"dropout": self._dropout, "scaled_dot_product_attention": self._attention}
        torchs = {name: getattr(functional, name) for name in own}
        try:
            vars(functional).update(own)
            return functional.multi_head_attention_forward(*arguments, **named)
        finally:
            vars(functional).update(torchs)

    def _attention(  # noqa: PLR0917 - torch's signature
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,  # noqa: FBT001, FBT002 - torch's signature
        scale: float | None = None,
        enable_gqa: bool = False,  # noqa: FBT001, FBT002 - torch's signature
    ) -> Tensor:
        if enable_gqa:
            groups = query.shape[-3] // key.shape[-3]
            key, value = (t.repeat_interleave(groups, -3) for t in (key, value))
        factor = query.shape[-1] ** -0.5 if scale is None else scale
        scores = query @ key.transpose(-2, -1) * factor
        if is_causal:
            if attn_mask is not None:
                raise RuntimeError("attn_mask must be None where is_causal=True")
            causal = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            weights = scores.masked_fill(~causal, -torch.inf).softmax(-1)
        elif attn_mask is not None:
            weights = _masked(scores, attn_mask)
        else:
            weights = scores.softmax(-1)
        return self._dropout(weights, dropout_p) @ value


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    """Return the weights of attention with a mask: 0 where it leaves a row nothing to attend to."""
    if mask.dtype is torch.bool:
        mask = torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, -torch.inf)
    nothing = (mask == -torch.inf).all(-1, keepdim=True)
    scores = scores + mask.masked_fill(nothing, 0.0)
    return scores.softmax(-1).masked_fill(nothing, 0.0)


def _tiles(x: Tensor, kernel_size: Any, stride: Any, padding: Any) -> Tensor | None:  # noqa: ANN401
    """Return images as tiles, (..., rows, height, columns, width), where a compiler traces.

    None if no compiler traces, or if what is pooled are not tiles.
    """
    side, step, edge = (
        tuple(number) if isinstance(number, (tuple, list)) else (number, number)
        for number in (kernel_size, stride or kernel_size, padding)
    )
    rest = any(size % own for size, own in zip(x.shape[-2:], side, strict=True))
    if step != side or edge != (0, 0) or rest or get_proxy_mode() is None:
        return None
    high, wide = (size // own for size, own in zip(x.shape[-2:], side, strict=True))
    return x.reshape(*x.shape[:-2], high, side[0], wide, side[1])
