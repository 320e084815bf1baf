"""Progress: how far a race is, for those who watch it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

__all__ = ["Progress", "Standing"]


@dataclass(frozen=True)
class Standing:
    """How a rule stands.

    Attributes:
        trainings: how many have finished.
        loss: the lowest validation loss that one of them ended with; None if none was finite.
        curve: the validation losses of that training, before the first epoch and after each; empty
            if there is none. Where the curve was read from a folder, a loss that is not finite is
            None.
        lr: the learning rate of that training; None if the rule has none.
    """

    trainings: Annotated[int, Meta(ge=0, le=2**53)] = 0
    loss: float | None = None
    curve: tuple[float | None, ...] = ()
    lr: float | None = None


@dataclass(frozen=True)
class Progress:
    """How far a race is.

    Attributes:
        done: how much work is finished.
        total: all work that is known, in the same unit. It grows when a search space is widened.
        doing: what finished last, such as ``"adam: trials 17-32"``; at first ``"targets"`` or
            ``"first trainings"``.
        best: the best so far, such as ``"lion 0.0931"``.
        standings: by rule.
        seconds_left: estimated from what was done since the start; None before that.
    """

    done: Annotated[float, Meta(ge=0)]
    total: Annotated[float, Meta(gt=0)]
    doing: str
    best: str
    standings: Mapping[str, Standing] = field(default_factory=dict, repr=False)
    seconds_left: Annotated[float, Meta(le=1e9)] | None = None
