"""What the doctor's checks of parameters find, each asked alone."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import thalweg
from thalweg.doctor.checks.parameters import (
    graph_cut_by_detach,
    parameters_frozen,
    parameters_not_in_optimizer,
    parameters_not_registered,
)
from thalweg.doctor.checks.start import constant_init, weights_not_finite
from thalweg.doctor.subject import Subject, copied


class Own(nn.Module):
    """A layer whose weights are plain tensors, or parameters."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight
        self.out = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(x @ self.weight))


def test_plain_tensors_are_found_where_the_optimizer_has_them_not() -> None:
    torch.manual_seed(0)
    drawn = torch.randn(3, 4)
    x, y = torch.randn(16, 3), torch.randn(16, 1)
    plain = Own(drawn.clone().requires_grad_())
    for model, more, found in (
        (plain, [], True),
        (plain, [plain.weight], False),  # trained by hand
        (Own(drawn.clone()), [], False),  # a constant
        (Own(nn.Parameter(drawn)), [], False),
    ):
        optimizer = torch.optim.SGD([*model.parameters(), *more], lr=0.1)
        finding = parameters_not_registered(Subject(model, optimizer, nn.MSELoss(), [(x, y)]))
        assert bool(finding) == found
        assert finding is None or "(weight)" in finding.sentence

    optimizer = torch.optim.SGD(plain.out.parameters(), lr=0.1)
    wanted = x.clone().requires_grad_()  # a gradient of the inputs is no fault
    subject = Subject(plain.out, optimizer, nn.MSELoss(), [(wanted @ drawn, y)])
    assert parameters_not_registered(subject) is None


def test_parameters_of_a_second_optimizer_are_not_missing() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    batch = (torch.randn(16, 3), torch.randn(16, 1))
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
    before = Subject(model, optimizer, nn.MSELoss(), [batch])
    found = parameters_not_in_optimizer(before)
    assert found is not None
    assert "0.weight, 0.bias" in found.sentence
    second = torch.optim.SGD(model[0].parameters(), lr=0.1)
    assert parameters_not_in_optimizer(before) is None

    start = copied(model, optimizer, None)[:2]
    after = Subject(model, optimizer, nn.MSELoss(), [batch], start=start)
    assert parameters_not_in_optimizer(after) is not None  # the second one takes no step
    nn.MSELoss()(model(batch[0]), batch[1]).backward()
    second.step()
    assert parameters_not_in_optimizer(after) is None


def test_weights_that_are_no_numbers_are_named() -> None:
    batch = (torch.randn(16, 3), torch.randn(16, 1))
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    model.register_buffer("mask", torch.full((4, 4), -torch.inf).triu(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    subject = Subject(model, optimizer, nn.MSELoss(), [batch])
    assert weights_not_finite(subject) is None
    for name, value in (("0.weight", torch.inf), ("1.running_var", torch.nan)):
        with torch.no_grad():
            model.state_dict()[name].view(-1)[0] = value
        found = weights_not_finite(subject)
        assert found is not None
        assert name in found.sentence
    assert thalweg.check(model, optimizer, nn.MSELoss(), [batch]).findings[0].cause == found.cause


def test_what_a_loss_uses_is_no_part_of_the_model() -> None:
    torch.manual_seed(0)
    model, judge = nn.Linear(3, 2), nn.Linear(2, 1)
    batch = (torch.randn(16, 3), torch.randn(16, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    class Judged:
        def __init__(self) -> None:
            self.judge = judge

        def __call__(self, made: Tensor, _: Tensor) -> Tensor:
            return functional.softplus(-self.judge(made)).mean()

    def judged(by: nn.Module, made: Tensor, _: Tensor) -> Tensor:
        return functional.softplus(-by(made)).mean()

    both = {"model": model, "judge": judge}
    for loss_fn in (
        lambda made, _: functional.softplus(-judge(made)).mean(),
        lambda made, _: functional.softplus(-both["judge"](made)).mean(),
        partial(judged, judge),
        Judged(),
        Judged().__call__,
    ):
        assert parameters_not_registered(Subject(model, optimizer, loss_fn, [batch])) is None


def test_frozen_parameters_are_named_where_training_them_helps() -> None:
    torch.manual_seed(0)
    table = torch.randn(30, 2) * 0.1
    tokens = torch.randint(0, 30, (256, 8))
    y = (tokens < 10).sum(1).clamp(1, 4) - 1
    loader = [(tokens[i : i + 32], y[i : i + 32]) for i in range(0, 256, 32)]
    for freeze in (True, False):
        torch.manual_seed(1)
        embedding = nn.Embedding.from_pretrained(table.clone(), freeze=freeze)
        layers = (embedding, nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
        model = nn.Sequential(*layers)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=0.01)
        doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy)
        for step in range(100):
            batch = loader[step % len(loader)]
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(batch[0]), batch[1])
            loss.backward()
            optimizer.step()
            doctor.step(loss, batch=batch)
        assert ("parameters_frozen" in [f.cause for f in doctor.findings[:1]]) == freeze


@pytest.mark.parametrize(
    ("place", "given", "severity"),
    [(0, True, "warning"), (2, True, "problem"), (2, False, "warning")],
)
def test_frozen_vectors_of_words_and_layers_that_the_optimizer_is_not_given_may_be_meant(
    place: int, *, given: bool, severity: str
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(30, 8), nn.Flatten(), nn.Linear(32, 16), nn.Linear(16, 2))
    model[place].requires_grad_(requires_grad=False)
    batch = (torch.randint(0, 30, (12, 4)), torch.randint(0, 2, (12,)))
    held = [p for p in model.parameters() if p.requires_grad or given]
    optimizer = torch.optim.SGD(held, lr=0.1)
    found = parameters_frozen(Subject(model, optimizer, nn.CrossEntropyLoss(), [batch]))
    assert found is not None
    assert found.severity == severity


def test_a_loss_that_is_no_number_before_the_first_step_is_placed() -> None:
    def by_hand(z: Tensor, y: Tensor) -> Tensor:
        powers = (100 * z).exp()
        return -(powers / powers.sum(1, keepdim=True)).gather(1, y[:, None]).log().mean()

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3))
    batch = (torch.randn(16, 3), torch.randint(0, 3, (16,)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for lift, finite in ((0.0, True), (2.0, False)):
        with torch.no_grad():
            model[2].bias += lift
        found = thalweg.check(model, optimizer, by_hand, [batch]).findings
        named = [f for f in found if f.cause == "loss_not_finite"]
        assert (not named) == finite
    assert found[0] is named[0]
    assert "first is the loss" in named[0].sentence


class Applied(nn.Module):
    """A function of the outputs of a linear layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.function = nn.Linear(3, 1), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.inner(x))


class Coded(nn.Module):
    """A layer that reads rounded numbers, and learns."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x.round())  # type: ignore[no-any-return]


def straight_through(out: Tensor) -> Tensor:
    return out + (out.round() - out).detach()


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (torch.round, "round"),
        (torch.sign, "sign"),
        (Coded(), "round"),
        (lambda out: 3 * out.floor() + 1, "floor"),
        (straight_through, None),
        (lambda out: out + out.round(), None),  # gradients come through the other way
        (torch.tanh, None),
        (lambda out: 0 * out, None),  # nothing moves the loss
    ],
    ids=[
        "round",
        "sign",
        "rounded inside",
        "floor",
        "straight through",
        "beside it",
        "tanh",
        "zero",
    ],
)
def test_an_operation_without_slope_cuts_the_graph(
    function: Callable[[Tensor], Tensor], operation: str | None
) -> None:
    torch.manual_seed(0)
    model = Applied(function)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = (5 * torch.randn(16, 3), torch.randn(16, 1))
    found = graph_cut_by_detach(Subject(model, optimizer, nn.MSELoss(), [batch]))
    assert (found and found.evidence["operation"]) == operation


class Heads(nn.Module):
    """Two outputs of one body, the second of which may be dead."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.one, self.other = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(x)
        return torch.cat([self.one(hidden), self.other(hidden).relu()], 1)


@pytest.mark.parametrize(("cut", "expected"), [(True, 2), (False, None)])
def test_a_term_that_is_detached_cuts_the_graph_of_its_head(
    *, cut: bool, expected: int | None
) -> None:
    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        one, other = (out[:, :2] - y).square().mean(), out[:, 2].square().mean()
        return (one.detach() if cut else one) + other + 0.1 * (out[:, 2] - 1).square().mean()

    torch.manual_seed(0)
    model = Heads()
    nn.init.constant_(model.other.bias, 1.0 if cut else -9.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = (torch.randn(16, 3), torch.randn(16, 2))
    found = graph_cut_by_detach(Subject(model, optimizer, loss_fn, [batch]))
    assert (found and found.evidence["cut off"]) == expected


class Adapted(nn.Module):
    """A frozen layer, and two thin ones beside it."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.base = nn.Linear(6, 6).requires_grad_(requires_grad=False)
        self.down, self.up = nn.Linear(6, rank, bias=False), nn.Linear(rank, 6, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


def test_layers_with_adapters_are_meant_to_be_frozen() -> None:
    torch.manual_seed(0)
    batch = (torch.randn(16, 6), torch.randn(16, 6))
    for rank, severity in ((2, "warning"), (6, "problem")):
        model = Adapted(rank)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        found = parameters_frozen(Subject(model, optimizer, nn.MSELoss(), [batch]))
        assert found is not None
        assert found.severity == severity


def test_adapters_that_no_optimizer_has_stay_zero_for_that() -> None:
    torch.manual_seed(0)
    model = Adapted(2)
    optimizer = torch.optim.SGD([*model.base.parameters(), model.down.weight], lr=0.1)
    subject = Subject(model, optimizer, nn.MSELoss(), [(torch.randn(16, 6), torch.randn(16, 6))])
    found = parameters_not_in_optimizer(subject)
    assert found is not None
    assert found.severity == "problem"
    assert constant_init(subject) is None
