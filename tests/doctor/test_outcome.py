"""What the doctor says of training and validation losses at the end."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from thalweg.doctor.doctor import Doctor
from thalweg.doctor.examination import ordered
from thalweg.doctor.finding import Finding
from thalweg.doctor.outcome import (
    _names_the_median,
    _of_others,
    _overfits,
    look_at_curves,
    look_at_outcome,
    noise_floor,
    scales_doubted,
)
from thalweg.doctor.signs import Curves
from thalweg.doctor.subject import Subject
from thalweg.doctor.trials import Trials
from thalweg.doctor.unrelated import labels_unrelated


@pytest.mark.parametrize(("last", "carries"), [(0.4, True), (0.6, False), (1.0, False)])
def test_spoiled_labels_do_no_harm_where_validation_examples_are_learned(
    last: float, monkeypatch: pytest.MonkeyPatch, *, carries: bool
) -> None:
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    y = x[:, :1] / x[:, :1].std(correction=0)
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    subject = Subject(model, optimizer, nn.MSELoss(), [(x, y)], [(x, y - y.mean())])
    spoiled = Finding("labels_do_not_match_inputs", "warning", "", {}, "", "")
    for name, found in (("labels_unrelated", None), ("labels_spoiled", spoiled)):
        monkeypatch.setattr(f"thalweg.doctor.outcome.{name}", lambda *_, found=found: found)
    told = _of_others(Trials(subject, 5, 0.1), 0.7, [(10, 0.1), (20, last)])
    assert told is not None
    assert told.severity == ("warning" if carries else "problem")


@pytest.mark.parametrize(
    ("left", "least", "last", "expected"),
    [
        (1e-4, 1e-4, 5e-4, []),  # a rise near 0 says nothing
        (1e-4, 0.1, 0.2, ["overfitting"]),
        (0.4, 0.8, 0.8, ["overfitting"]),
        (1.5, 2.0, 2.0, []),  # nothing was learned that could be too much
    ],
)
def test_overfitting_needs_something_learned_and_a_loss_to_speak_of(
    left: float, least: float, last: float, expected: list[str]
) -> None:
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    y = x[:, :1] / x[:, :1].std(correction=0)
    y = y - y.mean()  # a constant has the loss 1
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    subject = Subject(model, optimizer, nn.MSELoss(), [(x, y)], [(x, y)])
    validated = [(10, least), (20, last)]
    found = list(_overfits(Trials(subject, 2, 1.0), left, validated))
    assert [f.cause for f in found] == expected


def test_courses_on_the_same_batches_share_the_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def shared(_: Subject, *batches: object) -> float:
        asked.append(batches)
        return 4.0

    monkeypatch.setattr("thalweg.doctor.trials.constant_loss", shared)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = [(torch.ones(4, 1), torch.ones(4, 1))]
    trials = Trials(Subject(model, optimizer, nn.MSELoss(), batches), 2, 1.0)
    assert [trials.left([2.0]), trials.left([1.0], trials.subject.batches)] == [0.5, 0.25]
    assert asked == [()]
    trials.left([1.0], batches * 2)  # another treatment's own
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("size", "noise", "expected"),
    [
        (1.0, 0.0, ["init_too_large", "overfitting"]),
        (1.0, 1.0, ["overfitting"]),  # there is little to learn with other weights, too
        (0.05, 0.0, ["overfitting"]),
    ],
)
def test_first_weights_that_learn_nothing_that_carries_over_are_too_large(
    size: float, noise: float, expected: list[str]
) -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(300, 40, generator=draws)
    y = (x[:, :1] + noise * torch.randn(300, 1, generator=draws) > 0).float()
    model = nn.Sequential(
        nn.Linear(40, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)
    )
    for p in model.parameters():
        nn.init.normal_(p, std=size, generator=draws)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = list(zip(x.split(20), y.split(20), strict=True))
    subject = Subject(model, optimizer, nn.BCEWithLogitsLoss(), data[:10], data[10:])
    found = look_at_outcome(Trials(subject, 100, 2.0), model, 0.05, [(100, 1.0)], [])
    assert [f.cause for f in found if f.severity == "problem"] == expected


@pytest.mark.parametrize(
    ("rightly", "expected"), [(0.6, ["class_imbalance"]), (0.8, []), (0.2, ["class_imbalance"])]
)
def test_rare_classes_far_behind_the_frequent_one_are_a_problem(
    rightly: float, expected: list[str]
) -> None:
    y = (torch.arange(400) % 20 == 0).long()  # 20 of 400
    rare = y.cumsum(0)
    x = torch.where((y == 1) & (rare <= 20 * rightly), 1.0, -1.0)[:, None]
    model = nn.Linear(1, 2)
    with torch.no_grad():
        model.weight.copy_(Tensor([[-1.0], [1.0]]))
        model.bias.zero_()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    subject = Subject(model, optimizer, nn.CrossEntropyLoss(), [(x, y)], [(x, y)])
    found = list(look_at_outcome(Trials(subject, 2, 1.0), model, 0.05, [], []))
    assert [(f.cause, f.severity) for f in found] == [(cause, "problem") for cause in expected]


@pytest.mark.parametrize(("last", "told"), [(0.1, False), (2.0, True)])
def test_pairs_that_carry_over_have_something_to_do_with_their_targets(
    last: float, *, told: bool
) -> None:
    class Twins(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.inner(x[:, 0]), self.inner(x[:, 1])

    torch.manual_seed(1)
    x, y = torch.randn(240, 2, 2), (torch.arange(240) % 2).float()  # no regression explains y
    model, loss_fn = Twins(), nn.CosineEmbeddingLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = list(zip(x.split(24), (2 * y - 1).split(24), strict=True))
    subject = Subject(model, optimizer, lambda out, y: loss_fn(*out, y), batches, batches[:4])
    trials = Trials(subject, 2, 1.0)
    assert trials.plain.losses[0] > 0.3
    assert bool(labels_unrelated(trials, 0.1, [(1, last)])) == told


@pytest.mark.parametrize(("named", "expected"), [(1, ["class_imbalance"]), (4, [])])
def test_tags_of_which_hardly_one_is_named_are_a_problem(named: int, expected: list[str]) -> None:
    y = torch.zeros(200, 3)
    y[:20, 0] = y[10:30, 1] = 1.0  # two tags of three, each true in a tenth
    x = torch.full((200, 3), -1.0)
    x[:named, 0] = x[10 : 10 + named, 1] = 1.0  # what the model says
    model = nn.Linear(3, 3, bias=False)
    nn.init.eye_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    subject = Subject(model, optimizer, nn.BCEWithLogitsLoss(), [(x, y)])
    found = list(look_at_outcome(Trials(subject, 2, 1.0), model, 0.05, [], []))
    assert [(f.cause, f.severity) for f in found] == [(cause, "problem") for cause in expected]


@pytest.mark.parametrize(
    ("loss_fn", "height", "told"),
    [
        (nn.L1Loss(), 0.02, True),
        (nn.L1Loss(), 0.25, True),
        (nn.SmoothL1Loss(beta=1e-3), 0.02, True),
        (nn.L1Loss(), 0.5, False),  # outputs follow the rare targets
        (nn.MSELoss(), 0.02, False),
    ],
)
def test_absolute_errors_ask_for_the_median(
    loss_fn: nn.Module, height: float, *, told: bool
) -> None:
    x = torch.zeros(200, 1)
    x[::4] = 1.0  # a quarter
    y = 3 * x
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 3 * height)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    subject = Subject(model, optimizer, loss_fn, [(x, y)])
    if told:  # though the scale of inputs may seem to be the reason
        for left, cause in ((0.5, ["loss_unsuited"]), (0.1, [])):
            scales = Finding(
                "inputs_not_scaled", "problem", "", {"left with the cure": left}, "", ""
            )
            found = look_at_outcome(Trials(subject, 2, 1.0), model, 0.95, [], [scales])
            assert [f.cause for f in found] == cause
    found = _names_the_median(subject, model)
    assert bool(found) == told
    assert found is None or (found.cause, found.severity) == ("loss_unsuited", "problem")


@pytest.mark.parametrize(("apart", "heeds", "told"), [(7, 0, True), (0, 0, False), (7, 1, False)])
def test_views_of_others_are_told_where_no_target_says_what_to_learn(
    apart: int, heeds: int, *, told: bool
) -> None:
    class Alike(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 4)

        def forward(self, views: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            return self.inner(views[0]), self.inner(views[1])

    torch.manual_seed(0)
    x, y = torch.randn(200, 3), torch.zeros(200)
    other = (x + 0.1 * torch.randn(200, 3)).roll(apart, 0)
    batches = [*zip(zip(x.split(20), other.split(20), strict=True), y.split(20), strict=True)]
    model = Alike()

    def loss_fn(out: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
        places = torch.arange(len(y))
        return nn.functional.cross_entropy(out[0] @ out[1].T, places) + heeds * y.sum()

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    subject = Subject(model, optimizer, loss_fn, batches)
    assert bool(labels_unrelated(Trials(subject, 2, 1.0), 1.0, [])) == told


@pytest.mark.parametrize(
    ("noise", "cause"), [(0.01, "inputs_constant"), (1.0, "labels_do_not_match_inputs")]
)
def test_one_example_with_noise_is_not_many(noise: float, cause: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 8, generator=generator) + noise * torch.randn(400, 8, generator=generator)
    y = torch.randint(0, 2, (400,), generator=generator)
    model = nn.Linear(8, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    subject = Subject(model, optimizer, nn.CrossEntropyLoss(), [(x, y)])
    found = labels_unrelated(Trials(subject, 2, 1.0), 1.0, [])
    assert found is not None
    assert found.cause == cause


def test_what_was_cured_with_the_same_classes_explains_that_one_is_named() -> None:
    y = (torch.arange(400) % 20 == 0).long()
    model = nn.Linear(1, 2)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.copy_(Tensor([1.0, -1.0]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = (1000.0 * y[:, None], y)
    trials = Trials(Subject(model, optimizer, nn.CrossEntropyLoss(), [batch]), 2, 1.0)
    scales = Finding("inputs_not_scaled", "problem", "", {}, "", "")
    mended, eased = (
        Finding("lr_too_high", "problem", "", {"left with the cure": left}, "", "")
        for left in (0.1, 0.6)
    )
    for found, severity in (
        ([], "problem"),
        ([scales], "warning"),
        ([mended], "warning"),  # that rate tells the classes apart
        ([eased], "problem"),
    ):
        told = list(look_at_outcome(trials, model, 1.0, [], found))
        assert [(f.cause, f.severity) for f in told] == [("class_imbalance", severity)]


@pytest.mark.parametrize(("rightly", "told"), [(0.5, True), (0.8, False)])
def test_classes_that_are_named_beyond_chance_are_related_to_inputs(
    rightly: float, *, told: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(400, 3, generator=generator), torch.arange(400) % 2
    named = torch.where(torch.arange(400) < 400 * rightly, y, 1 - y)
    held = torch.where(named == 1, 1.0, -1.0)[:, None].expand(400, 3)
    model = nn.Linear(3, 1)
    with torch.no_grad():
        model.weight.fill_(1.0)
        model.bias.zero_()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss_fn = lambda out, y: nn.functional.binary_cross_entropy_with_logits(out[:, 0], y)  # noqa: E731
    parts = [[(x, y.float())], [(held, y.float())]]
    trials = Trials(Subject(model, optimizer, loss_fn, *parts), 2, 1.0)
    assert bool(labels_unrelated(trials, 1.0, [(1, 1.0)])) == told


def test_pictures_of_others_are_told_though_their_mean_is_learned() -> None:
    torch.manual_seed(0)
    small = torch.rand(300, 1, 4, 4)
    bright = torch.linspace(-3, 3, 16).reshape(1, 1, 4, 4)  # of each place: easily learned
    batches = list(zip(small.split(50), (small.roll(1, 0) + bright).split(50), strict=True))
    model = nn.Conv2d(1, 1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trials = Trials(Subject(model, optimizer, nn.MSELoss(), batches, batches), 2, 1.0)
    assert labels_unrelated(trials, 0.1, [(1, 0.1)]) is not None
    assert labels_unrelated(trials, 0.1, [(1, 0.01)]) is None


@pytest.mark.parametrize("trained", [False, True])
def test_what_a_generator_is_shown_need_not_belong_to_its_noise(*, trained: bool) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(240, 4), torch.randn(240, 2)
    batches = list(zip(x.split(24), y.split(24), strict=True))
    model, critic = nn.Linear(4, 2), nn.Linear(2, 1).requires_grad_(trained)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss_fn = lambda out, _: nn.functional.softplus(-critic(out)).mean()  # noqa: E731
    trials = Trials(Subject(model, optimizer, loss_fn, batches, batches), 2, 1.0)
    assert bool(labels_unrelated(trials, 1.0, [(1, 2.0)])) != trained


@pytest.mark.parametrize(("hidden", "expected"), [(1, ["underfitting"]), (64, [])])
def test_a_model_too_small_is_not_explained_by_a_rate_that_helps_a_little(
    hidden: int, expected: list[str]
) -> None:
    x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    y = (x.prod(1) > 0).float()[:, None]
    model = nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = list(zip(x.split(40), y.split(40), strict=True))
    trials = Trials(Subject(model, optimizer, nn.BCEWithLogitsLoss(), batches), 200, 5.0)
    assert len(trials.plain.losses) == 200
    evidence: dict[str, float | str] = {"left with the cure": 0.9 if hidden == 1 else 0.1}
    slow = Finding("lr_too_low", "warning", "", evidence, "", "", sure=0.9)
    told = list(look_at_outcome(trials, model, 0.95, [], [slow]))
    assert [f.cause for f in told] == expected
    assert all(f.sure > slow.sure for f in told)
    other = [Finding("ill_conditioned", "warning", "", evidence, "", "")]
    assert list(look_at_outcome(trials, model, 0.95, [], other)) == []


@pytest.mark.parametrize(
    ("scale", "left", "expected"),
    [
        (1.0, 0.8, ["inputs_not_scaled", "underfitting"]),
        (1.0, 0.4, ["inputs_not_scaled"]),  # its cure helps
        (1e-4, 0.8, ["inputs_not_scaled"]),  # nothing learns from them
    ],
)
def test_scales_explain_little_where_a_plain_network_needs_none(
    scale: float, left: float, expected: list[str]
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(400, 6, generator=generator)
    y = (x[:, 0] > x[:, 1]).long() + 2 * (x[:, 2] > x[:, 3]).long()
    model = nn.Sequential(nn.Linear(6, 1), nn.ReLU(), nn.Linear(1, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    given = list(zip((scale * x).split(50), y.split(50), strict=True))
    trials = Trials(Subject(model, optimizer, nn.CrossEntropyLoss(), given), 300, 1.0)
    scales = Finding(
        "inputs_not_scaled", "problem", "Far.", {"left with the cure": left}, "", "", sure=0.9
    )
    found = scales_doubted(trials, [scales])
    assert [f.cause for f in ordered(found)] == expected[::-1]
    assert (scales in found) == (len(expected) == 1)


@pytest.mark.parametrize(("lr", "told"), [(0.05, True), (0.001, False)])
def test_a_floor_above_the_noise_of_the_targets_is_told(lr: float, *, told: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 2, 8, generator=generator)
    y = x.sum(2, keepdim=True) + 2 * torch.randn(400, 2, 1, generator=generator)
    model = nn.Linear(8, 1)
    nn.init.ones_(model.weight)
    nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    subject = Subject(model, optimizer, nn.MSELoss(), [*zip(x, y, strict=True)])
    found = noise_floor(subject, 400, 1.0)
    assert (found is not None) == told
    if found is not None:
        assert 0.6 < float(found.evidence["loss at a tenth of the rate over loss"]) < 0.95
        assert float(found.evidence["share of what can be learned"]) > 0.1


STEPS = np.arange(200.0)
FALLS = 3 * np.exp(-STEPS / 30) + 0.5
RISES = np.append(FALLS[:40:5], 1.2 + STEPS[40::5] / 100)


@pytest.mark.parametrize(
    ("held", "numbers", "judged", "before", "expected"),
    [
        (RISES, True, 0.5, [], ["overfitting problem"]),
        (RISES, False, 0.5, [], []),  # its batches have told
        (RISES, True, 0.5, ["lr_too_high problem"], []),  # the losses follow from it
        (0.1 * FALLS[::5], True, 0.5, [], ["validation_of_other_distribution warning"]),
        (0.1 * FALLS[::5], False, 0.5, [], ["validation_of_other_distribution warning"]),
        (0.1 * FALLS[::5], True, 0.06, [], []),  # dropout made the training loss high
        (0.1 * FALLS[::5], False, 0.5, ["overfitting warning"], []),
        (0.1 * FALLS[::5], True, 0.5, ["loss_not_mean warning"], []),  # sums over fewer examples
        (1.1 * FALLS[::5], True, 0.5, [], []),
        (RISES[:7], True, 0.5, [], []),  # too few to show a shape
    ],
)
def test_numbers_of_a_validation_part_speak_as_in_a_log(
    held: Any,
    numbers: bool,  # noqa: FBT001
    judged: float,
    before: list[str],
    expected: list[str],
) -> None:
    curves = Curves("", STEPS, FALLS, STEPS[::5][: len(held)], held)
    found = [Finding(*one.split(), "", {}, "", "") for one in before]  # type: ignore[arg-type]
    said = look_at_curves(curves, found, lambda: judged, numbers=numbers)
    assert [f"{one.cause} {one.severity}" for one in said] == expected


def test_the_doctor_is_told_of_overfitting_by_numbers_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    x, new = torch.randn(2, 20, 20, generator=generator)
    y, others = torch.randint(2, (2, 20), generator=generator)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer, loss_fn = torch.optim.Adam(model.parameters(), 0.03), nn.CrossEntropyLoss()
    doctor = Doctor(model, optimizer, loss_fn)
    for _ in range(60):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=(x, y))
        with torch.no_grad():
            doctor.validate(loss_fn(model(new), others))
    assert [f.cause for f in doctor.findings if f.severity == "problem"] == ["overfitting"]
