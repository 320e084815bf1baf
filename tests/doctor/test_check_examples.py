"""What the doctor finds of examples whose inputs are several tensors, in a tuple or dict."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from thalweg.doctor.checks.data import inputs_constant, nan_in_inputs
from thalweg.doctor.checks.examples import (
    batch_dimension_mixed,
    inputs_ignored,
    reads_padding,
    target_leaks_into_input,
)
from thalweg.doctor.subject import LossFn, Subject

N, TIME = 12, 7


def subject(model: nn.Module, loss_fn: LossFn, *batches: Any) -> Subject:
    return Subject(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_fn, list(batches))


class Scored(nn.Module):
    """Attends to a sequence by the scores of its places."""

    def __init__(self, over: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.score, self.out, self.over = nn.Linear(4, 1), nn.Linear(5, 1), over

    def forward(self, given: dict[str, Tensor]) -> Tensor:
        weights = self.score(given["sequence"]).softmax(self.over)
        read = (weights * given["sequence"]).sum(1)
        return self.out(torch.cat([read, given["age"]], 1))


@pytest.mark.parametrize(("over", "mixed"), [(0, True), (1, False)])
def test_examples_of_several_inputs_that_are_mixed(over: int, *, mixed: bool) -> None:
    torch.manual_seed(1)
    given = {"age": torch.randn(N, 1), "sequence": torch.randn(N, TIME, 4)}
    found = batch_dimension_mixed(subject(Scored(over), nn.MSELoss(), (given, torch.randn(N, 1))))
    assert bool(found) == mixed


def test_an_example_whose_other_inputs_are_not_read_is_replaced_by_one_that_tells() -> None:
    class First(nn.Module):
        """Reads the first token alone, and takes the mean of the batch off it."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.table = nn.Embedding(9, 3)

        def forward(self, tokens: Tensor) -> Tensor:
            read = self.table(tokens[:, 0])
            return read - read.mean(0)

    torch.manual_seed(0)
    tokens = torch.randint(0, 9, (N, TIME))
    tokens[:, 0] = torch.tensor([4, 4, 4, *range(6), 5, 5, 5])  # neighbours of both ends are alike
    batch = (tokens, torch.randint(0, 3, (N,)))
    assert batch_dimension_mixed(subject(First(), nn.CrossEntropyLoss(), batch)) is not None


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda f: f[:1].expand_as(f), ["inputs_ignored"]),  # of one example, all have its features
        (lambda f: f.mean(0, keepdim=True).expand_as(f), ["batch_dimension_mixed"]),
        (lambda f: 0 * f, ["inputs_ignored"]),
        (lambda f: f + ((0.1 * f).round() - f).detach(), []),  # still alike, and it will learn
    ],
    ids=["the first", "their mean", "none", "straight through"],
)
def test_outputs_that_are_alike_for_all_examples(
    made: Callable[[Tensor], Tensor], expected: list[str]
) -> None:
    class Made(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.inner, self.out = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(made(self.inner(x.reshape(N, -1).expand(N, 3))))

    for x in (torch.randn(N, 3), torch.randn(N)):
        asked = subject(Made(), nn.CrossEntropyLoss(), (x, torch.arange(N) % 2))
        found = [check(asked) for check in (batch_dimension_mixed, inputs_ignored)]
        told = [f.cause for f in found if f is not None]
        assert told[:1] == expected


def test_nodes_of_a_graph_may_touch_one_another() -> None:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(3, 2)

        def forward(self, given: tuple[Tensor, Tensor]) -> Tensor:
            nodes, edges = given
            return edges @ self.net(nodes)

    torch.manual_seed(0)
    edges = (torch.rand(N, N) < 0.3).float()
    batch = ((torch.randn(N, 3), edges), torch.randint(0, 2, (N,)))
    assert batch_dimension_mixed(subject(Graph(), nn.CrossEntropyLoss(), batch)) is None


class Masked(nn.Module):
    """The mean of embedded tokens: of all places, or of those that a mask names."""

    def __init__(self, *, heeds: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.out, self.heeds = nn.Embedding(9, 4), nn.Linear(4, 3), heeds

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        keep = (mask if self.heeds else torch.ones_like(mask)).float()
        return self.out((self.table(tokens) * keep[..., None]).sum(1) / keep.sum(1, keepdim=True))


@pytest.mark.parametrize(("heeds", "inverted"), [(True, False), (False, False), (True, True)])
def test_padding_that_a_mask_names_is_not_read(*, heeds: bool, inverted: bool) -> None:
    torch.manual_seed(0)
    mask = torch.arange(TIME) < (1 + torch.arange(N) % (TIME - 1))[:, None]
    tokens = torch.randint(1, 9, (N, TIME)) * mask
    batch = (tokens, ~mask if inverted else mask, torch.randint(0, 3, (N,)))
    found = reads_padding(subject(Masked(heeds=heeds), nn.CrossEntropyLoss(), batch))
    assert bool(found) == (not heeds or inverted)
    assert found is None or ("no number" in found.sentence) == inverted


class Largest(nn.Module):
    """The largest of a convolution over embedded tokens, among the ends that are padded too."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(9, 8, padding_idx=0), nn.Linear(16, 3)
        self.across = nn.Conv1d(8, 16, 3, padding=1)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.across(self.table(tokens).mT).relu().amax(2))


def test_a_largest_number_that_padding_may_give_is_no_problem() -> None:
    torch.manual_seed(53)  # padding counts for more there than it usually does
    model, places = Largest(), torch.arange(TIME) < 4 + torch.arange(N)[:, None] % 3
    batch = (torch.randint(1, 9, (N, TIME)) * places, torch.arange(N) % 3)
    found = reads_padding(subject(model, nn.CrossEntropyLoss(), batch))
    assert found is not None
    assert found.severity == "warning"
    assert (
        found.evidence["change of the output"]
        > 0.5 * found.evidence["spread of outputs between examples"]
    )


class Decoder(nn.Module):
    """Reads a whole source, and the target so far or all of it."""

    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.out, self.causal = nn.Embedding(9, 8), nn.Linear(16, 9), causal

    def forward(self, source: Tensor, shifted: Tensor) -> Tensor:
        read, seen = self.table(source), self.table(shifted)
        seen = seen.cumsum(1) if self.causal else seen.sum(1, keepdim=True).expand_as(seen)
        return self.out(torch.cat([read, seen], 2))


def by_place(out: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(out.transpose(1, 2), y)


@pytest.mark.parametrize(
    ("causal", "shift", "leaks"), [(True, 1, False), (False, 1, True), (True, 0, True)]
)
def test_a_decoder_that_sees_what_it_has_to_give(causal: bool, shift: int, *, leaks: bool) -> None:  # noqa: FBT001
    torch.manual_seed(0)
    y = torch.randint(0, 9, (N, TIME))
    source = y if shift else torch.randint(0, 9, (N, TIME))  # a text may be there to be copied
    shifted = torch.cat([torch.zeros(N, shift).long(), y[:, : TIME - shift]], 1)
    found = target_leaks_into_input(subject(Decoder(causal=causal), by_place, (source, shifted, y)))
    assert bool(found) == leaks


class Cut(nn.Module):
    """Gives scores of some places of a text."""

    def __init__(self, kept: slice, *, causal: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.decoder, self.kept = Decoder(causal=causal), kept

    def forward(self, text: Tensor) -> Tensor:
        return self.decoder(text, text)[:, self.kept]


@pytest.mark.parametrize(
    ("causal", "kept", "known", "leaks"),
    [
        (False, slice(None, -1), slice(1, None), True),
        (True, slice(None, -1), slice(1, None), False),
        (True, slice(1, None), slice(None, -1), False),  # it may recall the token before
    ],
)
def test_a_text_may_have_one_place_more_than_its_target(
    kept: slice, known: slice, *, causal: bool, leaks: bool
) -> None:
    torch.manual_seed(0)
    text = torch.randint(0, 9, (N, TIME))
    pair = (text, text[:, known])
    assert bool(target_leaks_into_input(subject(Cut(kept, causal=causal), by_place, pair))) == leaks


@pytest.mark.parametrize(("before", "leaks"), [(1, True), (2, False)])
def test_a_series_whose_channels_come_before_its_time(before: int, *, leaks: bool) -> None:
    series = torch.randn(N, 2, TIME + 1, generator=torch.Generator().manual_seed(0))
    padded = nn.Sequential(nn.ZeroPad1d((before, 2 - before)), nn.Conv1d(2, 2, 3))
    pair = (series[..., :-1], series[..., 1:])
    assert bool(target_leaks_into_input(subject(padded, nn.MSELoss(), pair))) == leaks


def test_one_constant_input_of_two_is_no_fault_and_a_missing_value_in_the_second_is() -> None:
    model, y = Scored(1), torch.zeros(N, 1)
    given = {"age": torch.ones(N, 1), "sequence": torch.randn(N, TIME, 4)}
    assert inputs_constant(subject(model, nn.MSELoss(), (given, y))) is None
    alike = {"age": torch.ones(N, 1), "sequence": torch.ones(N, TIME, 4)}
    assert inputs_constant(subject(model, nn.MSELoss(), (alike, y))) is not None
    assert nan_in_inputs(subject(model, nn.MSELoss(), (given, y))) is None
    given["sequence"][3] = torch.nan
    found = nan_in_inputs(subject(model, nn.MSELoss(), (given, y)))
    assert found is not None
    assert found.evidence["examples"] == 1
