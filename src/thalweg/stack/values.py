"""Values: a module's parameters and buffers, apart from the module; Start: the first ones."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["Start", "Values", "named"]

Values = Mapping[str, Tensor]
"""Tensors by their names in ``Objective``."""


@dataclass(frozen=True, eq=False)
class Start:
    """What a seed makes of a module.

    Attributes:
        parameters: what is trained.
        state: what else a training changes, such as the buffers of batch normalization.
        fixed: all else: frozen and unused parameters, other buffers.
    """

    parameters: Values
    state: Values
    fixed: Values

    @classmethod
    def of(cls, module: nn.Module, trained: Collection[str], changed: Collection[str]) -> "Start":
        """Return copies of a module's values."""
        values = {name: tensor.detach().clone() for name, tensor in named(module)}
        parameters, state = ({n: values.pop(n) for n in names} for names in (trained, changed))
        return cls(parameters, state, values)


def named(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield a module's parameters and buffers by their names in ``Objective``."""
    for own in (module.named_parameters(), module.named_buffers()):
        yield from ((f"module.{name}", tensor) for name, tensor in own)
