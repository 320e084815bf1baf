"""Parts of the inputs that no output depends on."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from thalweg.doctor.outcome import look_at_outcome
from thalweg.doctor.subject import Subject
from thalweg.doctor.trials import Trials
from thalweg.doctor.unread import input_unread, part_unread

N, TIME = 300, 6


class Last(nn.Module):
    """Reads one place of a sequence, and a number beside it or not."""

    def __init__(self, place: int, *, beside: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.place, self.beside = place, beside
        self.rnn, self.out = nn.GRU(2, 8, batch_first=True), nn.Linear(8 + beside, 1)

    def forward(self, x: Tensor, age: Tensor | None = None) -> Tensor:
        read = self.rnn(x)[0][:, self.place]
        if self.beside and age is not None:
            read = torch.cat([read, age[:, None]], 1)
        return self.out(read)


def batches(*columns: Tensor) -> list[tuple[Tensor, ...]]:
    return list(zip(*(column.split(50) for column in columns), strict=True))


@pytest.mark.parametrize(
    ("place", "beside", "few", "told"),
    [
        (0, False, False, "places 1 to 5 of input 0"),
        (0, False, True, "what is read is of too few kinds"),
        (-1, False, False, None),  # the target is not in the number
        (2, True, False, "places 3 to 5 of input 0"),
        (-1, True, False, None),
    ],
)
def test_places_that_are_not_read(place: int, told: str | None, *, beside: bool, few: bool) -> None:
    torch.manual_seed(1)
    x, age = torch.randn(N, TIME, 2), torch.randn(N)
    x[:, 0] = x[:, 0].sign() if few else x[:, 0]
    y = x[:, -2:].sum((1, 2))[:, None]
    given: list[Any] = batches(x, age, y)
    model = Last(place, beside=beside)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = part_unread(Subject(model, optimizer, nn.functional.mse_loss, given))
    assert (found is None) == (told is None)
    if found is not None and told is not None:
        assert told in found.sentence
        assert found.cause == "inputs_ignored"


def test_an_input_that_is_not_read_is_named_whatever_it_tells_alone() -> None:
    torch.manual_seed(1)
    x, age = torch.randn(N, TIME, 2), torch.randn(N)
    given: list[Any] = batches(x, age, (x[:, -1, 0] * age)[:, None])
    for beside in (True, False):
        model = Last(-1, beside=beside)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        subject = Subject(model, optimizer, nn.functional.mse_loss, given)
        found = input_unread(subject)
        assert bool(found) != beside
        assert found is None or "depends on input 1, of the 2" in found.sentence
        outcome = look_at_outcome(Trials(subject, 5, 0.1), model, 0.9, [], [])
        assert ("inputs_ignored" in [one.cause for one in outcome]) != beside
