from collections.abc import Callable
from typing import Any

import torch

from thalweg.stack.calls import Calls


class Doubled(Calls):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, int, dict[str, Any]]] = []

    def _call(self, function: Callable[..., Any], args: tuple[Any, ...], named: Any) -> Any:
        self.seen.append((function.__name__, len(args), named))
        return 2 * function(*args, **named)


def test_each_call_within_is_seen_and_answered() -> None:
    x, doubled = torch.tensor([1.0, 2.0]), Doubled()
    with doubled:
        total, along = x.sum(), torch.sum(x, dim=0)
    assert (total, along, x.sum()) == (6, 6, 3)
    assert doubled.seen == [("sum", 1, {}), ("sum", 1, {"dim": 0})]
