"""Gradient release: each parameter steps as soon as its gradient is ready, and frees it."""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from thalweg.checks import count
from thalweg.optim.options import Options

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

__all__ = ["Releasing", "attach"]


class Releasing(Protocol):
    """An optimizer that can step one parameter at a time."""

    param_groups: list[dict[str, Any]]
    attached: int  # how many models it is attached to

    @property
    def options(self) -> Options:
        """What a step does beside its rules."""

    def step_one(self, p: Tensor, group: int) -> None:
        """Step one parameter; ``group`` is the number of its group."""


def attach(optimizer: Releasing, model: nn.Module, accumulate: int) -> Callable[[], None]:
    """Step each parameter from inside the backward pass; see ``CompiledOptimizer.attach``."""
    accumulate = count("accumulate", accumulate)
    if optimizer.options.clip_norm is not None:
        raise ValueError(
            "attach and clip_norm do not go together: the norm of all gradients is known when the "
            "backward pass is over, and then they are freed"
        )
    reduced_later = isinstance(model, DistributedDataParallel)
    if reduced_later:
        raise ValueError(
            "attach and DistributedDataParallel do not go together: it reduces gradients when the "
            "backward pass is over; use torch.distributed.fsdp.fully_shard"
        )
    groups = {
        p: index for index, group in enumerate(optimizer.param_groups) for p in group["params"]
    }
    passes: Counter[Tensor] = Counter()

    def ready(p: Tensor) -> None:
        passes[p] += 1
        if passes[p] % accumulate == 0:
            optimizer.step_one(p, groups[p])
            p.grad = None

    handles: list[RemovableHandle] = [
        p.register_post_accumulate_grad_hook(ready)  # type: ignore[no-untyped-call] # torch leaves it so
        for p in model.parameters()
        if p in groups and p.requires_grad
    ]

    optimizer.attached += bool(handles)

    def detach() -> None:
        optimizer.attached -= bool(handles)
        while handles:
            handles.pop().remove()

    return detach
