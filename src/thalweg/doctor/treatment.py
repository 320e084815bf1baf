"""Treatment: a change of a training that is tried on a copy."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from thalweg.doctor.loaders import Batch
from thalweg.doctor.subject import Copy

__all__ = ["NOTHING", "Treatment"]


@dataclass(frozen=True)
class Treatment:
    """A change that is tried on a copy.

    Args:
        cause: that it cures.
        rank: 0 for what is wrong by itself, below for what is wrong in the loss; a higher one
            yields where it helps as much.
        words: what is changed.
        sign: what was seen that makes the cause likely, as a sentence.
        prepare: changes the copy.
        data: changes the batches.
        around: what the training happens in.
    """

    cause: str
    rank: int
    words: str
    sign: str
    prepare: Callable[[Copy], object] = lambda _: None
    data: Callable[[list[Batch]], list[Batch]] = lambda batches: batches
    around: Callable[[], AbstractContextManager[object]] = nullcontext


NOTHING = Treatment("", 0, "nothing", "")
