"""Have pictures anything to do with the pictures that they stand beside?"""

import pytest
import torch
from torch import nn
from torch.nn import functional

from thalweg.doctor.checks.examples import labels_of_other_places
from thalweg.doctor.relation import explained, left_by_network
from thalweg.doctor.subject import Subject


@pytest.mark.parametrize("classes", [False, True])
def test_pictures_beside_those_of_others_explain_nothing(*, classes: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    large = torch.rand(300, 1, 8, 8, generator=generator)
    small = functional.avg_pool2d(large, 2)
    if classes:  # of each place: two halves, and some that are left out
        large = (large[:, 0] > 0.5).long().masked_fill(large[:, 0] > 0.95, -100)
    own = explained([(small, large)])
    other = explained([(small.roll(1, 0), large)])
    assert own is not None
    assert own > 0.05  # the means of four say a quarter of the variance, less of two halves
    assert other is not None
    assert other < 0.02
    if classes:  # as of a masked text: which places are asked for is chance
        asked = torch.rand(large.shape, generator=generator) < 0.15
        assert explained([(small, large.masked_fill(~asked, -100))]) is None


@pytest.mark.parametrize("words", [True, False])
def test_sequences_padded_batch_by_batch_are_asked_together(*, words: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    own, other = [], []
    for length in range(5, 15):
        y = torch.randint(0, 2, (30,), generator=generator)
        x = torch.randint(1, 20, (30, length), generator=generator)
        x[:, 2] = 20 + y  # the word that tells
        given = x if words else functional.one_hot(x, 22).float()
        own.append((given, y))
        other.append((given, y.roll(1)))
    share, chance = explained(own), explained(other)
    assert share is not None
    assert share > 0.5
    assert chance is not None
    assert chance < 0.02


@pytest.mark.parametrize("single", [True, False])
def test_a_plain_network_learns_single_scores_and_rows_of_them(*, single: bool) -> None:
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    y = (x.prod(1) > 0).float()
    y = y if single else y[:, None]
    model = nn.Sequential(nn.Linear(2, 1), *[nn.Flatten(0)] * single)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = list(zip(x.split(40), y.split(40), strict=True))
    left = left_by_network(Subject(model, optimizer, nn.BCEWithLogitsLoss(), batches))
    assert left is not None
    assert left < 0.5  # of log 2, which no line is below


def test_a_few_targets_that_are_far_off_hide_no_relation() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 4, generator=generator)
    y = x @ torch.randn(4, 1, generator=generator)
    wild = torch.where(torch.rand(600, 1, generator=generator) < 0.04, 100 * y, y)
    known, other = explained([(x, wild)]), explained([(x, wild.roll(1, 0))])
    assert known is not None
    assert known > 0.3
    assert other is not None
    assert other < 0.02


class Places(nn.Module):
    """Reads so many neighbours of a place."""

    def __init__(self, first: nn.Module, reads: int) -> None:
        super().__init__()
        self.first = first
        self.conv = nn.Conv1d(3, 2, reads, padding=reads // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.first(x).transpose(1, 2))


@pytest.mark.parametrize(
    ("ahead", "reads", "told"), [(1, 1, True), (-2, 1, True), (0, 1, False), (1, 3, False)]
)
@pytest.mark.parametrize("words", [False, True])
def test_labels_of_places_that_are_not_read_belong_to_others(
    ahead: int, reads: int, *, words: bool, told: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 14, 3, generator=generator)
    x = torch.randint(0, 9, (60, 14), generator=generator) if words else x
    own = (x % 2 if words else x[:, :, 0] > 0).long()
    model = Places(nn.Embedding(9, 3) if words else nn.Identity(), reads)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = list(zip(x.split(20), own.roll(-ahead, 1).split(20), strict=True))
    found = labels_of_other_places(Subject(model, optimizer, nn.CrossEntropyLoss(), batches))
    assert bool(found) == told
    assert found is None or found.evidence["places ahead"] == ahead


def test_a_place_that_tells_much_itself_has_its_own_label() -> None:
    x = torch.randn(60, 5, 3, generator=torch.Generator().manual_seed(0)).repeat_interleave(4, 1)
    model = Places(nn.Identity(), 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    y = (x[:, :, 0] > 0).long().roll(-1, 1)  # at three places of four the input is the next one
    subject = Subject(model, optimizer, nn.CrossEntropyLoss(), [(x, y)])
    assert labels_of_other_places(subject) is None


def test_what_comes_next_is_no_label_of_another_place() -> None:
    x = torch.randint(0, 2, (60, 14), generator=torch.Generator().manual_seed(0))
    model = Places(nn.Embedding(2, 3), 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = [(x[:, :-1], x[:, 1:])]
    subject = Subject(model, optimizer, nn.CrossEntropyLoss(), batches)
    assert labels_of_other_places(subject) is None


def test_targets_may_belong_to_any_of_several_inputs_or_to_how_two_differ() -> None:
    generator = torch.Generator().manual_seed(0)
    numbers, other = torch.randn(2, 600, 4, generator=generator)
    kind = torch.randint(0, 5, (600,), generator=generator)
    apart = (numbers - other).abs().sum(1)
    for given, y in (
        ({"numbers": numbers, "kind": kind}, kind.float()),
        ((numbers, other), apart),
        ((numbers, kind), other.sum(1)),
    ):
        share = explained([(given, y)])
        assert share is not None
        assert share < 0.02 if y.equal(other.sum(1)) else share > 0.9
