"""What the doctor's treatments on copies say of a training."""

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import thalweg
from thalweg.doctor.checks.gradients import surrogate
from thalweg.doctor.diagnosis import (
    _best_rate,
    _certain,
    _clipping,
    _faded,
    _ranked,
    _rated,
    _tamed,
    also_helped,
    betters,
    first_steps,
    treat,
    unscaled,
)
from thalweg.doctor.layers import fading, fading_along
from thalweg.doctor.subject import Subject
from thalweg.doctor.treatment import NOTHING, Treatment
from thalweg.doctor.treatments import treatments
from thalweg.doctor.trials import Course, Trials


def batches(x: Tensor, y: Tensor) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(1)
    return DataLoader(TensorDataset(x, y), 16, shuffle=True, generator=generator)


class Summing(nn.Module):
    """Sums along a sequence; its gradient explodes at a rate that suits it where it is clipped."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.RNN(2, 16, nonlinearity="relu", batch_first=True)
        nn.init.eye_(self.rnn.weight_hh_l0)
        self.out = nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0][:, -1])


def test_where_clipping_saves_a_recurrent_net_check_calls_no_rate_too_high() -> None:
    x = torch.rand(160, 40, 2, generator=torch.Generator().manual_seed(0))
    y = (x[..., 0] - x[..., 1]).sum(1, keepdim=True) / 2
    model = Summing()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    found = thalweg.check(model, optimizer, nn.MSELoss(), batches(x, y))
    assert [f.cause for f in found if f.severity == "problem"] == []
    assert "exploding_gradient_no_clipping" in [f.cause for f in found]


def test_a_rate_that_clipping_would_save_is_no_problem_yet() -> None:
    x = torch.randn(160, 6, generator=torch.Generator().manual_seed(0))
    y = x[:, :1] + x[:, 1:2]
    for rate, severity in ((1.0, "warning"), (20.0, "problem")):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        found = thalweg.check(model, optimizer, nn.MSELoss(), batches(x, y))
        assert [f.severity for f in found if f.cause == "lr_too_high"] == [severity]


def acted() -> tuple[Tensor, Tensor]:
    """Return states, and for each an action at random, its reward, and the best action."""
    states = torch.randn(600, 4, generator=torch.Generator().manual_seed(0))
    best = states.argmax(1)
    actions = torch.randint(0, 4, (600,), generator=torch.Generator().manual_seed(1))
    return states, torch.stack([actions, (actions == best).long()], 1)


def policy(*, weighted: bool) -> object:
    def loss(scores: Tensor, y: Tensor) -> Tensor:
        likely = scores.log_softmax(1).gather(1, y[:, :1])[:, 0]
        weight = 4 * likely.exp().detach() if weighted else 1.0
        return -(likely * (y[:, 1] - 0.25) * weight).mean()

    return loss


@pytest.mark.parametrize("weighted", [True, False])
def test_a_loss_with_a_detached_part_has_another_slope(weighted: bool) -> None:  # noqa: FBT001
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    assert surrogate(Subject(model, optimizer, policy(weighted=weighted), [acted()])) == weighted


def test_no_rate_is_a_problem_where_the_loss_need_not_fall() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=3.0, momentum=0.9)
    found = thalweg.check(model, optimizer, policy(weighted=True), batches(*acted()))
    assert [f.severity for f in found if f.cause == "lr_too_high"] == ["warning"]


def with_logarithm(out: Tensor, y: Tensor) -> Tensor:
    p = out.sigmoid()  # 1 for scores above 17
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


def with_exponential(out: Tensor, y: Tensor) -> Tensor:
    e = (4 * out).exp()  # infinite for scores above 22
    return (e / (1 + e) - y).abs().mean()


@pytest.mark.parametrize(
    ("loss_fn", "words"),
    [
        (nn.functional.binary_cross_entropy_with_logits, []),
        (with_logarithm, ["A logarithm takes"]),
        (with_exponential, ["An exponential takes"]),
    ],
    ids=["stable", "logarithm", "exponential"],
)
def test_a_function_of_what_is_too_small_or_too_large_is_named(
    loss_fn: Callable[[Tensor, Tensor], Tensor], words: list[str]
) -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(4, 1), 10 * torch.randn(160, 4)
    nn.init.normal_(model.weight)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    found = thalweg.check(model, optimizer, loss_fn, batches(x, (x[:, :1] > 0).float())).findings
    told = [f for f in found if "kept" in f.sentence]
    assert [f.sentence[: len(w)] for f, w in zip(told, words, strict=True)] == words
    assert [(f.cause, f.severity) for f in told] == [("loss_not_finite", "problem")] * len(words)
    assert list(found[:1]) == told[:1] or not words


def test_what_is_bounded_by_force_is_no_cure_where_the_loss_is_huge() -> None:
    model, data = nn.Linear(2, 1), [(torch.ones(16, 2), torch.full((16, 1), 1e4))]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trials = Trials(Subject(model, optimizer, nn.functional.mse_loss, data), 4, 1.0)
    lefts = [trials.run(Treatment(c, 0, "", "")).left for c in ("plateau", "loss_not_finite")]
    assert [math.isfinite(left) for left in lefts] == [True, False]


def trained(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    steps: int,
    *,
    size: int = 16,
) -> thalweg.Doctor:
    """Return a doctor that saw steps of squared error on batches of a size, in order."""
    doctor = thalweg.Doctor(model, optimizer, nn.MSELoss())
    for step in range(steps):
        few = torch.arange(step * size, (step + 1) * size) % len(x)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x[few]), y[few])
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=(x[few], y[few]))
    return doctor


def linear(inputs: int) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, 1)


@pytest.mark.parametrize(("scale", "expected"), [(1.0, []), (30.0, ["ill_conditioned"])])
def test_one_large_direction_of_the_inputs_is_named(scale: float, expected: list[str]) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(160, 8, generator=generator)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=generator))[0]
    sizes = torch.ones(8)
    sizes[0] = scale
    x = z * sizes @ turn.T / (sizes.square().mean().sqrt())
    model = linear(8)
    rate = 0.05
    doctor = trained(
        model, torch.optim.SGD(model.parameters(), lr=rate), x, z.sum(1, keepdim=True), 100
    )
    found = doctor.findings
    assert [f.cause for f in found[:1]] == expected
    assert all("decorrelated" in f.sentence for f in found[:1])


@pytest.mark.parametrize(("early", "tells"), [(0.4, True), (0.9, False)])
def test_a_lower_rate_that_is_ahead_at_once_says_more_than_noise(
    early: float,
    tells: bool,  # noqa: FBT001 - a case
) -> None:
    rate = Treatment("lr_too_high", 4, "", "")
    plain = Course(NOTHING, [1.0] * 100, 0.4)
    lower = Course(rate, [early] * 50 + [0.1] * 50, 0.1)
    assert betters(lower, plain, 0.4) is tells
    assert not betters(replace(lower, left=0.3), plain, 0.4)


@pytest.mark.parametrize(("size", "expected"), [(2, "noise_floor"), (32, "lr_too_high")])
def test_larger_batches_tell_noise_from_a_rate_that_is_too_high(size: int, expected: str) -> None:
    x = torch.randn(320, 12, generator=torch.Generator().manual_seed(0))
    y = x.sum(1, keepdim=True) / 12**0.5
    model = linear(12)
    rate = 0.15 if size == 2 else 1.2
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    found = trained(model, optimizer, x, y, 150, size=size).findings
    assert found[0].cause == expected


def test_a_norm_between_that_of_the_clipping_and_none_is_tried() -> None:
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    model = linear(4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    subject = Subject(model, optimizer, nn.MSELoss(), [(x, 3 * x[:, :1] + 5)], clip=1e-3)
    own = [t for t in treatments(subject) if t.cause == "gradient_clipped_too_hard"]
    twins = [subject.copy() for _ in own]
    for treatment, twin in zip(own, twins, strict=True):
        treatment.prepare(twin)
    assert [twin.clip for twin in twins] == [0.1, 10.0, None]
    large = Subject(model, optimizer, nn.MSELoss(), [(x, 3 * x[:, :1] + 5)], clip=10.0)
    assert sum(t.cause == "gradient_clipped_too_hard" for t in treatments(large)) == 1


@pytest.mark.parametrize(("bent", "expected"), [(0.0, []), (0.7, ["underfitting"])])
def test_a_plain_network_tells_a_model_that_is_too_small(bent: float, expected: list[str]) -> None:
    x = torch.randn(640, 4, generator=torch.Generator().manual_seed(0))
    noise = 0.6 * torch.randn(640, 1, generator=torch.Generator().manual_seed(1))
    y = x[:, :1] + bent * (x[:, 1:2].square() - 1) + (noise if bent == 0 else 0.0)
    model = linear(4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    assert [f.cause for f in trained(model, optimizer, x, y, 200).findings] == expected


@pytest.mark.parametrize(("spread", "told"), [(300.0, True), (1.0, False)])
def test_columns_that_are_not_scaled_are_told_beside_noise(spread: float, *, told: bool) -> None:
    x = torch.randn(256, 6, generator=torch.Generator().manual_seed(0))
    y = x[:, :1] - x[:, 1:2]
    scaled = x * torch.logspace(0, math.log10(spread), 6)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    given = list(zip(scaled.split(32), y.split(32), strict=True))
    trials = Trials(Subject(model, optimizer, nn.MSELoss(), given), 150, 2.0)
    assert (unscaled(trials, trials.plain.left) is not None) == told


def test_what_helped_a_little_is_a_warning_behind_what_helped() -> None:
    plain = Course(NOTHING, [1.0], 0.95)

    def course(cause: str, left: float) -> Course:
        return Course(Treatment(cause, 0, cause, ""), [1.0], left)

    courses = [
        course("lr_too_high", 0.3),
        course("weight_decay_too_high", 0.8),
        course("init_too_large", 0.85),
        course("init_too_large", 0.7),
        course("inputs_not_scaled", 0.88),
        course("dead_relu", 0.93),
    ]
    main = also_helped(courses[:1], [], plain, 0.05, None)
    found = also_helped(courses, main, plain, 0.05, None)
    assert [f.cause for f in found] == ["init_too_large", "weight_decay_too_high"]
    assert all(f.severity == "warning" for f in found)
    assert found[0].sure > found[1].sure
    assert not also_helped(courses, [], plain, 0.6, None)


@pytest.mark.parametrize(
    ("helpful", "severities", "steps"),
    [
        ({"lr_too_high"}, ["problem"], 3),
        ({"lr_too_high", "noise_floor"}, ["warning"], 3),
        ({"lr_too_high"}, [], 2),  # which tell nothing
    ],
)
def test_a_rate_is_doubted_where_a_loop_may_accumulate_small_batches(
    helpful: set[str], severities: list[str], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    given = [(torch.randn(4, 2), torch.randn(4, 1))]
    trials = SimpleNamespace(
        subject=Subject(model, optimizer, nn.MSELoss(), given),
        plain=Course(NOTHING, [1.0] * steps, 1.4),
        run=lambda one: Course(one, [1.0] * steps, 0.2 if one.cause in helpful else 1.2),
    )
    monkeypatch.setattr("thalweg.doctor.diagnosis.Trials", lambda *_: trials)
    found = first_steps(trials.subject)
    assert [(f.cause, f.severity) for f in found] == [("lr_too_high", one) for one in severities]


@pytest.mark.parametrize(
    ("left", "tried"),
    [(math.inf, ["the norm 1", "the norm 0.1"]), (1.2, ["the norm 1"]), (0.5, [])],
)
def test_where_a_loss_is_not_finite_a_smaller_norm_is_tried_too(
    left: float, tried: list[str]
) -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    subject = Subject(model, optimizer, nn.MSELoss(), [(torch.randn(4, 2), torch.randn(4, 1))])
    trials: Any = SimpleNamespace(subject=subject, plain=Course(NOTHING, [1.0], left))
    found = [one.words for one in _clipping(trials, [1.0, 2.0])]
    assert [words.removeprefix("gradients clipped to ") for words in found] == tried


def test_clipping_that_helps_a_little_comes_before_what_helps_anything() -> None:
    """Where weights are used again and again, it keeps a training that explodes sound."""
    rule = Course(Treatment("ill_conditioned", 5, "", ""), [1.0], 0.5)
    for rank, first in ((2, True), (5, False)):
        clipped = Course(Treatment("exploding_gradient_no_clipping", rank, "", ""), [1.0], 0.93)
        assert (_ranked([rule], [clipped, rule], 0.0)[0] is clipped) == first


@pytest.mark.parametrize(
    ("lower", "expected"),
    [(math.inf, ["exploding_gradient_no_clipping", "init_too_large"]), (3.0, [])],
)
def test_what_alone_keeps_an_exploding_loss_finite_is_told(
    lower: float, expected: list[str]
) -> None:
    """A copy may have no time to learn; a lower rate that stays finite speaks for the rate."""

    def course(cause: str, rank: int, left: float) -> Course:
        return Course(Treatment(cause, rank, "", ""), [1.0], left)

    rated = {0.1: course("lr_too_high", 4, math.inf), 0.01: course("lr_too_high", 4, lower)}
    tried = [
        course("init_too_large", 0, 0.99),
        course("exploding_gradient_no_clipping", 2, 1.9),
        course("exploding_gradient_no_clipping", 2, 1.1),
        course("loss_not_finite", -1, math.inf),
        course("ill_conditioned", 5, 1.0),  # Adam mends anything
    ]
    found = _tamed(tried, rated, Course(NOTHING, [1.0], math.inf), 3)
    assert [f.cause for f in found] == expected
    assert [f.evidence["left with the cure"] for f in found] == [1.1, 0.99][: len(expected)]


@pytest.mark.parametrize("depth", [2, 0])
def test_gradients_that_fade_are_told_where_no_change_helps(depth: int) -> None:
    """They do along a sequence, through the recurrent network in place of layers."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(320, 6, generator=generator), torch.randn(320, 1, generator=generator)
    torch.manual_seed(0)
    hidden = [layer for _ in range(depth) for layer in (nn.Linear(6, 6), nn.Sigmoid())]
    model = nn.Sequential(*hidden, nn.Linear(6, 1)) if depth else Recurrent(batch_first=True)
    x = x if depth else torch.randn(320, 16, 2, generator=generator)
    found = trained(model, torch.optim.Adam(model.parameters(), lr=1e-3), x, y, 60).findings
    assert ("vanishing_gradient_sigmoid" in [f.cause for f in found]) == (depth == 0)


class Cell(nn.Module):
    """Goes along a sequence by weights of its own; the target is a matter of the first element."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.into, self.again, self.out = nn.Linear(2, 8), nn.Linear(8, 8), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 8)
        for one in x.unbind(1):
            h = torch.tanh(self.into(one) + self.again(h))
        out: Tensor = self.out(h)
        return out


class Recurrent(nn.Module):
    """The same by torch's own network, whose activations are not seen."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.out = nn.RNN(2, 8, batch_first=batch_first), nn.Linear(8, 1)
        self.places = 1 if batch_first else 0

    def forward(self, x: Tensor) -> Tensor:
        states = self.rnn(x if self.places else x.transpose(0, 1))[0]
        out: Tensor = self.out(states.select(self.places, -1))
        return out


@pytest.mark.parametrize(("length", "fades"), [(2, False), (16, True)])
def test_gradients_that_fade_along_a_sequence_show_at_its_ends(length: int, *, fades: bool) -> None:
    x = torch.randn(160, length, 2, generator=torch.Generator().manual_seed(0))
    model = Cell()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    subject = Subject(model, optimizer, nn.MSELoss(), [*batches(x, x[:, 0, :1])])
    assert (fading(subject) < 0.01) == fades
    bounded = Course(Treatment("vanishing_gradient_sigmoid", 0, "", ""), [1.0], 1.0)
    assert (_faded(subject, [bounded])[1] < 0.01) == fades
    for batch_first in (True, False):
        own = Recurrent(batch_first=batch_first)
        optimizer = torch.optim.SGD(own.parameters(), lr=0.01)
        known = Subject(own, optimizer, nn.MSELoss(), subject.batches)
        assert (fading_along(known) < 0.01) == fades
        assert _faded(known, [])[1] == fading_along(known)


@pytest.mark.parametrize(
    ("plain", "left", "tried"),
    [
        (1.0, {}, [0.1, 0.01, 0.001, 10, 100, 1000]),  # of what learns at no rate, all are asked
        (0.98, {100: 0.5, 1000: 0.05}, [10, 100, 1000]),  # no loss was larger than the first
        (0.98, {10: 1.6, 0.1: 0.05}, [10, 0.1]),
        (0.9, {0.1: 0.05}, [0.1]),  # it decides
        (0.9, {0.1: 0.8, 10: 0.05}, [0.1, 0.01, 0.001, 10]),
        (0.3, {0.1: 0.05}, [0.1, 0.01, 0.001, 10, 100, 1000]),  # much is learned without it
        (0.15, {0.1: 0.2}, [0.1, 0.01, 0.001]),  # no higher rate would be told
        (0.15, {0.1: 0.05}, [0.1, 0.01, 0.001, 10, 100, 1000]),  # but beside a lower one that is
        (0.5, {0.1: 0.9}, [0.1, 10, 100, 1000]),  # it learns, and less at a lower rate
        (0.5, {0.1: 0.6, 0.01: 0.9}, [0.1, 0.01, 10, 100, 1000]),
        (1.0, {10: 1.4, 100: 1.6}, [0.1, 0.01, 0.001, 10, 100]),
        (5.0, {10: 6.0, 100: 4.0, 1000: 0.9}, [0.1, 0.01, 0.001, 10, 100, 1000, 1e4]),
        (math.inf, {10: math.inf}, [0.1, 0.01, 0.001, 10]),
        (1.0, {1000: 0.8, 1e4: 0.7}, [0.1, 0.01, 0.001, 10, 100, 1000, 1e4, 1e5]),
    ],
)
def test_no_rate_is_tried_behind_one_that_is_far_worse(
    plain: float, left: dict[float, float], tried: list[float]
) -> None:
    factors = iter(tried)
    run = lambda one: Course(one, [1.0] * 4, left.get(next(factors), min(plain, 1.0)))  # noqa: E731
    without = Course(NOTHING, [2.0, 2.0 if plain == 0.98 else 4.0, 2.0], plain)
    trials: Any = SimpleNamespace(plain=without, used=0.0, run=run)
    assert list(_rated(trials, 1.0, without.learned, certain=False)) == tried


def test_beside_what_is_certain_one_lower_rate_that_helps_is_enough() -> None:
    wrong = Course(Treatment("inputs_not_scaled", 0, "scaled", ""), [1.0], 0.2)
    assert _certain([wrong], 0.1)
    assert not _certain([replace(wrong, left=0.4)], 0.1)  # a rate could explain more
    assert not _certain([replace(wrong, treatment=Treatment("plateau", 5, "", ""))], 0.1)
    for lower, tried in ((0.5, [0.1]), (1.0, [0.1, 0.01, 0.001])):
        run = lambda one, left=lower: Course(one, [1.0], left)  # noqa: E731
        trials: Any = SimpleNamespace(plain=Course(NOTHING, [1.0], 1.0), used=0.0, run=run)
        rated = _rated(trials, 1.0, 0.0, certain=True)
        assert list(rated) == tried
        best = _best_rate(rated, 0.0, certain=True)
        assert best is not None
        assert best.left == lower


@pytest.mark.parametrize(("lr", "severity"), [(0.01, "warning"), (1e-4, "problem")])
def test_a_scale_that_only_makes_a_training_slow_is_a_warning(
    lr: float, severity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fast(twin: Any) -> None:
        twin.optimizer.param_groups[0]["lr"] = 0.3

    scaled = Treatment("inputs_not_scaled", 0, "scaled inputs", "", fast)
    monkeypatch.setattr("thalweg.doctor.diagnosis._without_rate", lambda *_: [scaled])
    x = torch.randn(160, 4, generator=torch.Generator().manual_seed(0))
    data = list(zip(x.split(16), x.sum(1, keepdim=True).split(16), strict=True))
    model = nn.Linear(4, 1)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    trials = Trials(Subject(model, optimizer, nn.MSELoss(), data), 12, 1.0)
    first = treat(trials, trials.plain.left, [], 1.0, None).findings[0]
    assert (first.cause, first.severity) == ("inputs_not_scaled", severity)


def test_a_higher_rate_may_be_best_though_no_lower_one_was_tried() -> None:
    course = Course(NOTHING, [1.0], 0.4)
    assert _best_rate({10.0: course}, 0.0, certain=False) is course
    assert _best_rate({0.1: course}, 0.0, certain=False) is None
