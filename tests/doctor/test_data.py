"""What the doctor's checks of data find, each asked alone."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from thalweg.doctor.checks.data import (
    class_imbalance,
    data_sorted_not_shuffled,
    labels_all_equal,
)
from thalweg.doctor.checks.examples import validation_unlike
from thalweg.doctor.checks.parts import (
    as_in_validation,
    duplicates_across_parts,
    tokens_differ,
    validation_differs,
)
from thalweg.doctor.examination import ordered
from thalweg.doctor.finding import Finding
from thalweg.doctor.subject import Subject


def test_a_vocabulary_that_was_made_again_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    shares = torch.softmax(torch.randn(30, generator=generator), 0)
    x = 1 + torch.multinomial(shares, 8 * 800, replacement=True, generator=generator).view(800, 8)
    x[::3, 5:] = 0  # padding
    y = (x == x[0, 0]).sum(1).clamp(max=1)
    again = torch.cat([torch.zeros(1), 1 + torch.randperm(30, generator=generator)]).long()
    model = nn.Sequential(nn.Embedding(31, 4), nn.Flatten(), nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    known = list(DataLoader(TensorDataset(x[:480], y[:480]), 16))
    held_out = x[480:]
    padded = held_out.clone()
    padded[:, 3:] = 0
    for held, cause in (
        (held_out, None),
        (padded, None),
        (again[held_out], "validation_preprocessed_differently"),
        (5 + (held_out > 9).long(), "validation_of_other_distribution"),
    ):
        batches = [(part, torch.zeros(len(part)).long()) for part in held.split(20)]
        subject = Subject(model, optimizer, nn.CrossEntropyLoss(), known, batches)
        found = tokens_differ(subject)
        assert (found and found.cause) == cause


def test_classes_that_a_sampler_draws_alike_are_no_problem() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.cat([torch.zeros(300), torch.ones(300), torch.full((300,), 2.0)]).long()
    x = torch.randn(900, 4, generator=generator) + 3 * y[:, None]
    held = torch.cat([torch.arange(200), torch.arange(300, 320), torch.arange(600, 610)])
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    mixed = torch.randperm(900, generator=generator)
    known = list(zip(x[mixed].split(30), y[mixed].split(30), strict=True))
    for given, targets, severity in (
        (x[held], y[held], "warning"),
        (x[held] + 6, y[held], "problem"),  # beside the classes, inputs differ
        (x[held[:220]], y[held[:220]], "problem"),  # a class is missing
    ):
        for parts in ((known, [(given, targets)]), ([(given, targets)], known)):
            subject = Subject(model, optimizer, nn.CrossEntropyLoss(), *parts)
            found = validation_differs(subject)
            assert found is not None
            assert found.severity == severity
    held = x[mixed[:300]], torch.ones(300).long()
    for loss_fn, told in (
        (nn.CrossEntropyLoss(), True),
        (lambda o, _: o.logsumexp(1).mean(), False),
    ):
        subject = Subject(model, optimizer, loss_fn, known, [held])
        assert bool(validation_differs(subject)) == told  # a loss that asks for no classes


def test_examples_are_taken_in_the_shares_that_classes_have_in_validation_data() -> None:
    y = torch.cat([torch.zeros(300), torch.ones(100)]).long()
    x = torch.arange(400.0)[:, None]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    known = list(zip(x.split(100), y.split(100), strict=True))
    for classes, expected in (
        (torch.arange(200) % 2, (100, 100)),
        (torch.arange(200) % 4 == 0, (300, 100)),  # the same shares: all of them
        (torch.arange(200) % 2 + 1, (300, 100)),  # other classes
        (torch.arange(4) > 0, (300, 100)),  # too few to say
        (torch.arange(900) < 10, (300, 3)),
    ):
        held = [(torch.zeros(len(classes), 1), classes.long())]
        subject = Subject(nn.Linear(1, 2), optimizer, nn.CrossEntropyLoss(), known, held)
        parts = as_in_validation(subject, known)
        given = torch.cat([b[1] for b in parts])
        assert tuple(given.bincount().tolist()) == expected
        if len(parts) == 1:
            assert torch.equal(y[parts[0][0][:, 0].long()], parts[0][1])
            assert float(parts[0][0][given == 0].median()) == pytest.approx(149.5, abs=5)
    assert as_in_validation(subject, [(x[285:315], y[285:315])]) == []  # too few would be left


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda x: x.permute(0, 2, 3, 1).reshape(x.shape), "preprocessed_differently"),
        (lambda x: x.mT, "preprocessed_differently"),
        (lambda x: x.roll(1, 2), "preprocessed_differently"),
        (lambda x: x * torch.linspace(0, 3, 36).view(6, 6), "of_other_distribution"),
    ],
    ids=["reshaped", "transposed", "moved", "of others"],
)
def test_columns_in_another_order_are_prepared_in_two_ways(
    change: Callable[[Tensor], Tensor], cause: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(1, 3, 6, 6, generator=generator)
    x = places * torch.rand(400, 3, 1, 1, generator=generator)
    x, y = x + 0.05 * torch.randn(x.shape, generator=generator), torch.arange(300) % 2
    parts = [[(x[:300], y)], [(change(x[300:]), y[:100])]]
    model, optimizer = nn.Flatten(), torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    found = validation_differs(Subject(model, optimizer, nn.CrossEntropyLoss(), *parts))
    assert found is not None
    assert found.cause == f"validation_{cause}"


@pytest.mark.parametrize(
    ("held", "cause"),
    [("level", "of_other_distribution"), ("scaled", "preprocessed_differently")],
)
def test_a_level_that_rises_is_no_preprocessing(held: str, cause: str) -> None:
    generator = torch.Generator().manual_seed(0)
    levels = torch.rand(400, 1, generator=generator)
    levels[300:] = 1 + 0.1 * levels[300:]
    waves = 0.2 * torch.randn(400, 8, generator=generator)
    x, optimizer = 5 * levels + waves, torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    others = {"level": x[300:], "scaled": 3 + 0.4 * x[:100]}[held]
    y = torch.arange(300) % 2
    parts = [[(x[:300], y)], [(others, y[:100])]]
    found = validation_differs(Subject(nn.Linear(8, 2), optimizer, nn.CrossEntropyLoss(), *parts))
    assert found is not None
    assert found.cause == f"validation_{cause}"


def test_flags_beside_outputs_of_another_kind_are_no_classes() -> None:
    flag = torch.zeros(40, 1)
    flag[::20] = 1.0
    model = nn.Linear(1, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss_fn = lambda out, y: (y * out).pow(2).mean()  # noqa: E731
    assert class_imbalance(Subject(model, optimizer, loss_fn, [(flag, flag)])) is None


def test_words_that_are_as_frequent_under_other_numbers_are_told_by_their_targets() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 20, (800, 8), generator=generator)
    y = ((x < 10).sum(1) > 4).long()
    other = torch.randperm(20, generator=generator)
    model = nn.Sequential(nn.Embedding(20, 4), nn.Flatten(), nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    known = list(zip(x[:500].split(20), y[:500].split(20), strict=True))
    noise = torch.randint(0, 2, (300,), generator=generator)
    for held, targets, told in (
        (x[500:], y[500:], False),
        (other[x[500:]], y[500:], True),
        (x[500:], 1 - y[500:], True),  # classes have other numbers
        (x[500:], noise, False),  # in the other part, too, there must be something to tell
    ):
        subject = Subject(model, optimizer, nn.CrossEntropyLoss(), known, [(held, targets)])
        assert bool(validation_unlike(subject)) == told


def test_what_does_not_carry_over_to_inputs_of_another_shape_comes_from_elsewhere() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(800, 8, generator=generator) ** 4
    y = (x[:, 0] > x[:, 1]).long()
    model = nn.Linear(8, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    known = list(zip(x[:500].split(20), y[:500].split(20), strict=True))
    for held, cause in ((1 - x, "of_other_distribution"), (x.flip(1), "preprocessed_differently")):
        other = y if cause == "of_other_distribution" else 1 - y
        subject = Subject(
            model, optimizer, nn.CrossEntropyLoss(), known, [(held[500:], other[500:])]
        )
        found = validation_unlike(subject)
        assert found is not None
        assert found.cause == f"validation_{cause}"


def test_channels_in_another_order_are_found() -> None:
    generator = torch.Generator().manual_seed(0)
    brightness = torch.rand(300, 3, 1, 1, generator=generator) + torch.tensor(
        [[[[0.3]], [[0.2]], [[0.0]]]]
    )
    x = brightness + 0.5 * torch.randn(300, 3, 6, 6, generator=generator)
    y = torch.arange(300) % 2
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    known = list(zip(x[:200].split(20), y[:200].split(20), strict=True))
    held = x[200:]
    for images, cause in (
        (held, None),
        (held.flip(1), "validation_preprocessed_differently"),
        (held + 0.1, None),  # brighter, in the same order
    ):
        subject = Subject(model, optimizer, nn.CrossEntropyLoss(), known, [(images, y[200:])])
        found = validation_differs(subject)
        assert (found and found.cause) == cause


def test_weights_the_wrong_way_round_count_the_frequent_class_twice() -> None:
    y = (torch.arange(200) % 4 == 0).long()  # a quarter
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = list(zip(x.split(20), y.split(20), strict=True))
    for weights, told in (([1.0, 1.0], False), ([0.25, 0.75], False), ([0.75, 0.25], True)):
        loss_fn = nn.CrossEntropyLoss(torch.tensor(weights))
        found = class_imbalance(Subject(model, optimizer, loss_fn, batches))
        assert bool(found) == told
        assert found is None or "wrong way round" in found.sentence


def test_a_class_that_most_places_of_sequences_have_is_told_of() -> None:
    x = torch.randint(0, 30, (60, 12), generator=torch.Generator().manual_seed(0))
    rare = (x == 0).long()
    model = nn.Sequential(nn.Embedding(30, 4), nn.Linear(4, 2), Transposed())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for y, weight, told in ((rare, 1.0, True), (rare, 30.0, False), (x % 2, 1.0, False)):
        loss_fn = nn.CrossEntropyLoss(torch.tensor([1.0, weight]))
        batches = list(zip(x.split(20), y.split(20), strict=True))
        assert bool(class_imbalance(Subject(model, optimizer, loss_fn, batches))) == told
    passed_over = torch.where(x < 2, 255, x % 2)
    batches = list(zip(x.split(20), passed_over.split(20), strict=True))
    loss_fn = nn.CrossEntropyLoss(ignore_index=255)
    assert class_imbalance(Subject(model, optimizer, loss_fn, batches)) is None


def test_tags_of_which_few_are_true_are_told_of() -> None:
    generator = torch.Generator().manual_seed(0)
    x, u = torch.randn(200, 4, generator=generator), torch.rand(200, 8, generator=generator)
    one = torch.eye(8)[torch.arange(200) % 8]  # one class of eight: no tags
    model = nn.Linear(4, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for y, weight, told in (
        (u < 0.04, 1.0, True),
        (u < 0.04, 24.0, False),
        (u < 0.4, 1.0, False),
        (one, 1.0, False),
    ):
        loss_fn = nn.BCEWithLogitsLoss(pos_weight=torch.full((8,), weight))
        batches = list(zip(x.split(20), y.float().split(20), strict=True))
        found = class_imbalance(Subject(model, optimizer, loss_fn, batches))
        assert bool(found) == told
        assert found is None or "of the tags" in found.sentence


def test_inputs_that_no_mean_and_scale_make_alike_come_from_elsewhere() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(300, 1, 6, 6, generator=generator) ** 4  # dark, with a few bright places
    y = torch.arange(300) % 2
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    known = list(zip(x[:200].split(20), y[:200].split(20), strict=True))
    held = x[200:]
    for images, cause in (
        (held, None),
        (0.4 * held - 0.5, "validation_preprocessed_differently"),
        (0.4 * (1 - held), "validation_of_other_distribution"),  # bright, with dark places
        (255 * held**0.25, "validation_preprocessed_differently"),  # another unit
    ):
        subject = Subject(model, optimizer, nn.CrossEntropyLoss(), known, [(images, y[200:])])
        found = validation_differs(subject)
        assert (found and found.cause) == cause


@pytest.mark.parametrize(
    ("power", "cause"), [(1, "preprocessed_differently"), (4, "of_other_distribution")]
)
def test_columns_scaled_by_the_range_of_each_part_are_prepared_in_two_ways(
    power: int, cause: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(600, 4, generator=generator)
    x[500:] = x[500:] ** power
    x[:4] = 5 * torch.eye(4)  # outliers that the validation part has none of
    parts = [(x - x.amin(0)) / (x.amax(0) - x.amin(0)) for x in (x[:500], x[500:])]
    y = torch.arange(500) % 2
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    known = list(zip(parts[0].split(50), y.split(50), strict=True))
    held = [(parts[1], y[:100])]
    found = validation_differs(Subject(model, optimizer, nn.CrossEntropyLoss(), known, held))
    assert found is not None
    assert found.cause == f"validation_{cause}"


@pytest.mark.parametrize("read", [True, False])
def test_targets_that_the_loss_does_not_read_may_all_be_equal(*, read: bool) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.inner(x), self.inner(x + 1)

    def loss_fn(out: tuple[torch.Tensor, torch.Tensor], y: torch.Tensor) -> torch.Tensor:
        return (out[0] - out[1] - read * y[:, None]).square().mean()

    model, batch = Two(), (torch.randn(16, 3), torch.zeros(16))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert bool(labels_all_equal(Subject(model, optimizer, loss_fn, [batch]))) == read


def test_targets_that_convince_a_model_of_another_optimizer_may_all_be_equal() -> None:
    generator, judge = nn.Linear(3, 2), nn.Linear(2, 1)
    batch = (torch.randn(16, 3), torch.ones(16, 1))
    own = torch.optim.SGD(generator.parameters(), lr=0.1)
    for other, severity in ((judge, "warning"), (nn.Linear(2, 1), "problem")):
        beside = torch.optim.SGD(other.parameters(), lr=0.1)
        subject = Subject(nn.Sequential(generator, judge), own, nn.BCEWithLogitsLoss(), [batch])
        found = labels_all_equal(subject)
        assert found is not None
        assert found.severity == severity
        del beside


@pytest.mark.parametrize(("digits", "found"), [(9, True), (0, False)])
def test_copies_of_rows_in_both_parts_are_told_from_rows_alike_by_chance(
    digits: int, *, found: bool
) -> None:
    x = torch.rand(24, 3, generator=torch.Generator().manual_seed(0))
    x = x.round(decimals=digits).repeat(8, 1)  # as a rare class is copied before the split
    parts = [(x[:150], torch.ones(150, 1))], [(x[150:], torch.ones(42, 1))]
    model = nn.Linear(3, 1)
    subject = Subject(model, torch.optim.SGD(model.parameters(), lr=0.1), nn.MSELoss(), *parts)
    assert bool(duplicates_across_parts(subject)) == found


class Transposed(nn.Module):
    """Moves classes before places."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


def test_what_looks_much_the_same_is_told_as_a_warning() -> None:
    found = Finding("validation_of_other_distribution", "problem", "Far apart.", {}, "", "")
    assert [(f.cause, f.severity) for f in ordered([found])] == [
        ("validation_of_other_distribution", "problem"),
        ("validation_preprocessed_differently", "warning"),
    ]
    mild = replace(found, severity="warning")
    assert ordered([mild]) == [mild]
    explain = ("class_imbalance", "inputs_constant", "labels_all_equal", "nan_in_inputs")
    for cause in explain:
        one = replace(mild, cause=cause)
        assert ordered([found, one]) == [one]


@pytest.mark.parametrize(
    ("noise", "shape", "severity"),
    [
        (0.3, (1, 6, 6), "warning"),
        (0.0, (1, 6, 6), None),
        (-0.3, (1, 6, 6), "problem"),
        (0.3, (36,), "problem"),
    ],
)
def test_pictures_that_training_alone_widens_are_a_warning(
    noise: float, shape: tuple[int, ...], severity: str | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(512, 36, generator=generator)
    pictures[:, :15] *= 0.05  # the border
    x, held = pictures.split(256)
    wider = torch.rand(256, 36, generator=generator) * abs(noise)
    x, held = (x + wider, held + noise / 2) if noise >= 0 else (x - noise / 2, held + wider)
    y, model = torch.zeros(256).long(), nn.Flatten()
    y[::2] = 1
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    parts = [[(part.view(-1, *shape), y)] for part in (x, held)]
    found = validation_differs(Subject(model, optimizer, nn.CrossEntropyLoss(), *parts))
    assert (found and found.severity) == severity


@pytest.mark.parametrize(("rises", "severity"), [(False, "warning"), (True, "problem")])
def test_windows_of_a_series_may_come_in_its_order(*, rises: bool, severity: str) -> None:
    time = torch.arange(490.0)
    series = time / 50 if rises else torch.sin(time / 20)
    x, y = series.unfold(0, 11, 1)[:, :10].sin(), series[10:, None]
    torch.manual_seed(0)
    model = nn.Linear(10, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    batches = list(zip(x.split(16), y.split(16), strict=True))
    found = data_sorted_not_shuffled(Subject(model, optimizer, nn.MSELoss(), batches))
    assert found is not None
    assert found.severity == severity
