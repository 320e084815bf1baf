"""Exchange: losses of pairs and triplets with their two sides exchanged."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from thalweg.doctor.subject import Subject
from thalweg.stack.calls import Calls

__all__ = ["PAIRS", "compares_sides", "exchanged"]

_TRIPLETS = {"triplet_margin_loss", "triplet_margin_with_distance_loss"}
# Losses of pairs whose targets are -1 and 1, and the place of those among the arguments.
PAIRS = {"cosine_embedding_loss": 2, "margin_ranking_loss": 2, "hinge_embedding_loss": 1}


class exchanged(Calls):  # noqa: N801 - used as a word: with exchanged()
    """While it is entered, what losses drew together is driven apart, and the other way round.

    Attributes:
        calls: how many losses of pairs and triplets have been called.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:  # noqa: ANN401
        name, given, named = getattr(function, "__name__", ""), list(args), dict(named)
        if name in _TRIPLETS:
            self.calls += 1
            sides = [*given[1:3], *(named.pop(k) for k in ("positive", "negative") if k in named)]
            given[1:3] = sides[::-1]
        elif name in PAIRS:
            self.calls += 1
            place = PAIRS[name]
            if len(given) > place:
                given[place] = -given[place]
            else:
                named["target"] = -named["target"]
        return function(*given, **named)


def compares_sides(subject: Subject) -> bool:
    """Return whether the loss is one of pairs or triplets, as torch has them."""
    calls = exchanged()
    with torch.no_grad(), calls:
        loss = subject.copy().loss(subject.batch)
    return calls.calls > 0 and isinstance(loss, Tensor)
