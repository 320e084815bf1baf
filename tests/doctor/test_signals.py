"""Notes of a step against what is computed by hand; a copy's steps are none of the user's."""

import copy
import math
from array import array
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from thalweg.doctor import signals as module
from thalweg.doctor.signals import Memory, Pace, Signals


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.detach().flatten() for t in tensors])


# All elements are looked at, or every few; gradients are measured apart from notes, or not at all.
@pytest.mark.parametrize(("hidden", "measured"), [(5, True), (300, True), (5, False)])
def test_notes_are_norms_of_what_a_step_does(
    hidden: int,
    measured: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_FIRST", 6)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, hidden), nn.Tanh(), nn.Linear(hidden, 3)).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    signals = Signals(model, optimizer)
    x = torch.randn(6, 30, 20, dtype=torch.float64)
    signals._norm_pace.next = 0 if measured else 6
    if not measured:
        signals._sizes, signals.norm_steps = [1.0] * 4, array("q", [-1])
    gradients, weights, moved = [], [], []
    held = list(model.parameters())
    for one in x:
        optimizer.zero_grad()
        model(one).square().mean().backward()
        gradients.append([p.grad.clone() for p in held if p.grad is not None])
        weights.append([p.detach().clone() for p in held])
        optimizer.step()
        moved.append([p.detach() - w for p, w in zip(held, weights[-1], strict=True)])
    assert [note.step for note in signals.notes] == list(range(6))
    assert list(signals.norm_steps) == (list(range(6)) if measured else [-1])
    near = 1e-9 if hidden == 5 else 0.03
    for i, note in enumerate(signals.notes):
        assert note.weights == pytest.approx(float(flat(weights[i]).norm()))
        shares = [float(g.norm() / w.norm()) for g, w in zip(gradients[i], weights[i], strict=True)]
        assert note.gradients == pytest.approx(shares)
        assert not measured or signals.norms[i] == pytest.approx(float(flat(gradients[i]).norm()))
        updates = [float(m.norm() / w.norm()) for m, w in zip(moved[i], weights[i], strict=True)]
        assert note.updates == pytest.approx(updates, rel=near)
    for i, note in enumerate(signals.notes[:-1]):
        here, there = flat(gradients[i]), flat(gradients[i + 1])
        assert note.cosine == pytest.approx(
            float(here @ there / here.norm() / there.norm()), abs=near
        )
    assert math.isnan(signals.notes[-1].cosine)


def test_a_share_of_a_step_that_is_taken_back_is_noted() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    signals = Signals(model, optimizer)
    for _ in range(3):
        before = [p.detach().clone() for p in model.parameters()]
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()
        with torch.no_grad():
            for p, own in zip(model.parameters(), before, strict=True):
                p.lerp_(own, 0.25)
    assert list(signals.undone) == pytest.approx([0.25, 0.25], rel=1e-4)
    assert list(signals.shrunk) == [0.0, 0.0]


def test_a_share_of_the_parameters_that_is_taken_off_them_is_noted() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    signals = Signals(model, optimizer)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()
        with torch.no_grad():
            model.weight.mul_(0.9)
            model.bias.mul_(0.9)
    assert list(signals.shrunk) == pytest.approx([0.1, 0.1], rel=1e-4)


def test_a_copy_is_passed_over_and_hooks_go() -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    signals = Signals(model, optimizer)
    twin, other = copy.deepcopy((model, optimizer))
    twin(torch.ones(1, 2)).sum().backward()
    other.step()
    assert signals.steps == len(signals.notes) == 0
    signals.close()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert signals.steps == len(signals.notes) == 0


def test_gradients_of_every_kind_are_noted() -> None:
    held = [
        nn.Parameter(torch.ones(3)),
        nn.Parameter(torch.ones(2, dtype=torch.complex64)),
        nn.Parameter(torch.ones(4, dtype=torch.bfloat16)),
        nn.Parameter(torch.zeros(0)),
        nn.Parameter(torch.zeros(2)),  # without a gradient
    ]
    optimizer = torch.optim.SGD(held, lr=0.1)
    signals = Signals(nn.ParameterList(held), optimizer)
    for _ in range(2):
        for p, g in zip(held[:4], (3.0, 4.0j, 1.0, 0.0), strict=True):
            p.grad = torch.full_like(p, g)
        optimizer.step()
    note = signals.notes[0]
    assert signals.failed == ""
    assert note.gradients[:3] == pytest.approx([3.0, 4.0, 1.0], rel=1e-2)
    assert all(map(math.isnan, note.gradients[3:]))
    assert note.cosine == pytest.approx(1.0, rel=1e-2)


def test_sparse_gradients_are_noted() -> None:
    model = nn.Embedding(5, 3, sparse=True)
    optimizer = torch.optim.SparseAdam(model.parameters())
    signals = Signals(model, optimizer)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.tensor([1, 1, 3])).sum().backward()
        optimizer.step()
    assert signals.failed == ""
    assert signals.norms[0] == pytest.approx(math.sqrt(3 * 2**2 + 3))
    assert signals.notes[0].updates[0] > 0


class Clock:
    """A processor time that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def thread_time(self) -> float:
        return self.now


@pytest.mark.parametrize(("cost", "apart"), [(0.009, 1), (0.05, 8), (0.08, 8), (0.3, 32), (2, 256)])
def test_what_costs_is_done_at_multiples_of_the_power_of_two_that_keeps_its_share(
    cost: float, apart: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    pace = Pace(0.01, first=3)
    done = []
    for step in range(2000):
        clock.now += 1.0  # the training's own step
        if pace.due(step):
            began = clock.now
            clock.now += cost
            pace.charge(began, step)
            done.append(step)
    assert done[:3] == [0, 1, 2]
    late = [step for step in done if step >= 1000]
    assert {step % apart for step in late} == {0}
    assert {after - before for before, after in pairwise(late)} == {apart}
    assert cost * len(late) <= 0.01 * 1000 + cost


def test_what_is_due_stays_so_until_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    pace = Pace(0.5, least=32)
    pace.charge(0.0, 0)
    clock.now = 100.0
    assert [step for step in range(1, 36) if pace.due(step)] == [32, 33, 34, 35]
    pace.charge(100.0, 35)
    assert not pace.due(36)


def test_the_first_and_the_last_batches_are_held_within_their_bytes() -> None:
    memory = Memory(most_bytes=100, most=50)  # each batch has 40 bytes
    batches = [(torch.full((5,), float(i)), torch.full((5,), float(i))) for i in range(7)]
    for batch in batches:
        memory.add(batch)
    assert memory.count == 7
    assert [float(x[0]) for x, _ in memory.first] == [0, 1]
    assert [float(x[0]) for x, _ in memory.last] == [5, 6]
    assert memory.since(5) == batches[5:]
    assert memory.since(4) is None


def test_units_that_are_dead_do_not_hide_gradients_that_were_not_zeroed() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 5))
    nn.init.constant_(model[0].bias, -100.0)  # two of the three smallest parameters are behind it
    signals = Signals(model, torch.optim.SGD(model.parameters(), lr=1e-3))
    for one in torch.randn(8, 6, 4):
        model(one).square().mean().backward()
        signals.optimizer.step()
    assert signals.asked > 0
    assert signals.kept == signals.asked


@pytest.mark.parametrize("zeroed", [True, False])
def test_a_closure_that_does_not_zero_gradients_is_seen(zeroed: bool) -> None:  # noqa: FBT001
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    signals, x = Signals(model, optimizer), torch.randn(8, 3)

    def closure() -> Tensor:
        if zeroed:
            optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        return loss

    for _ in range(8):
        optimizer.step(closure)
    assert signals.asked > 5
    assert signals.kept == (0 if zeroed else signals.asked)


@pytest.mark.parametrize("zeroed", [True, False])
def test_what_another_loss_leaves_before_gradients_are_zeroed_is_no_fault(zeroed: bool) -> None:  # noqa: FBT001
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    signals, x = Signals(model, optimizer), torch.randn(8, 3)
    for _ in range(8):
        if zeroed:
            optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        model(-x).mean().backward()  # as that of a generator through its discriminator
    assert signals.asked > 5
    assert signals.kept == (0 if zeroed else signals.asked)
