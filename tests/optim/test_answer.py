"""Where a model is judged: there and back, in steps, checkpoints and copies."""

import pickle
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from optim_pairs import follow, members, new_parameters, scalars_in, set_gradients
from thalweg import optim, rules
from thalweg.rule import rule

FREE = ("schedule_free_sgd", "schedule_free_adamw")


def points(optimizer: Any) -> list[Tensor]:
    return [p.detach().clone() for p in members(optimizer)]


def same(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    return all(map(torch.equal, ours, theirs))


def made(name: str, dtype: torch.dtype = torch.float64) -> Any:
    return optim.Descent(new_parameters(dtype), name, lr=0.02)


@pytest.mark.parametrize("name", FREE)
def test_parameters_go_to_the_answer_of_their_rule_and_back(name: str) -> None:
    optimizer, of = made(name), rules.get(name)
    with optimizer.answer():
        assert same(points(optimizer), [p.detach() for p in new_parameters()])  # nothing is known
    follow(optimizer, 1, 12)
    before = points(optimizer)
    hyper = of.defaults | {"lr": 0.02}
    with optimizer.answer():
        for p, x in zip(members(optimizer), before, strict=True):
            assert torch.equal(p, of.answer_at(x, optimizer.state[p], hyper))
        with optimizer.answer():  # one inside the other
            pass
        assert not same(points(optimizer), before)
        first = points(optimizer)
    assert same(points(optimizer), before)
    assert all("training_point" not in state for state in optimizer.state.values())
    follow(optimizer, 13, 16)
    with optimizer.answer():
        assert not same(points(optimizer), first)


def test_the_answer_of_asgd_is_its_average() -> None:
    ours, theirs = (module.ASGD(new_parameters(), lr=0.05, t0=3) for module in (optim, torch.optim))
    for optimizer in (ours, theirs):
        follow(optimizer, 1, 12)
    with ours.answer():
        for p, other in zip(members(ours), members(theirs), strict=True):
            torch.testing.assert_close(p.detach(), theirs.state[other]["ax"], rtol=1e-5, atol=1e-7)


def test_a_rule_without_an_answer_stays() -> None:
    optimizer = optim.Adam(new_parameters())
    follow(optimizer, 1, 3)
    before = points(optimizer)
    optimizer.eval()
    assert same(points(optimizer), before)
    follow(optimizer, 4, 6)  # and may go on


def test_no_step_is_taken_from_the_answer() -> None:
    optimizer = made("schedule_free_sgd")
    follow(optimizer, 1, 3)
    set_gradients(members(optimizer), 4)
    optimizer.eval()
    before = points(optimizer)
    for step in (optimizer.step, lambda: optimizer.step_one(members(optimizer)[0], 0)):
        with pytest.raises(RuntimeError, match=r"call optimizer\.train\(\) before a step"):
            step()
    assert same(points(optimizer), before)
    optimizer.train()
    optimizer.step()


@pytest.mark.parametrize("name", [*FREE, "asgd"])
@pytest.mark.parametrize("judged", [False, True])
def test_a_training_goes_on_from_either_mode(name: str, *, judged: bool) -> None:
    with scalars_in(torch.float64):  # else a checkpoint rounds uniform state
        never_stopped = made(name)
        follow(never_stopped, 1, 7)
        if judged:
            never_stopped.eval()
        loaded = made(name)
        saved = deepcopy([points(never_stopped), never_stopped.state_dict()])
        loaded.load_state_dict(saved[1])  # in either order
        with torch.no_grad():
            for p, value in zip(members(loaded), saved[0], strict=True):
                p.copy_(value)
        others = [loaded, deepcopy(never_stopped), pickle.loads(pickle.dumps(never_stopped))]  # noqa: S301 - our own
        for optimizer in (never_stopped, *others):
            if judged:
                with pytest.raises(RuntimeError, match="where the model is judged"):
                    optimizer.step()
            optimizer.train()
            follow(optimizer, 8, 15)
        assert all(same(points(other), points(never_stopped)) for other in others)


def test_half_precision_is_averaged_in_float32() -> None:
    optimizer = optim.Descent(new_parameters(torch.bfloat16), "schedule_free_sgd", lr=0.5)
    follow(optimizer, 1, 12)
    of, before = rules.schedule_free_sgd, points(optimizer)
    with optimizer.answer():
        for p, x in zip(members(optimizer), before, strict=True):
            e = optimizer.state[p]["e"].float() if optimizer.state[p] else x.float() * 0
            wide = of.answer_at(x.float(), {"e": e}, of.defaults)
            assert torch.equal(p, wide.bfloat16())


def test_an_answer_takes_what_its_rule_has() -> None:
    @rule("test")
    def mine(g, x, *, t, lr=0.1):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        return x - lr * g

    with pytest.raises(TypeError, match="the answer of rule 'mine' takes x, lr, got 'mean'"):

        @mine.answer
        def _(mean):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            return mean


def test_an_answer_neither_moves_the_training_point_nor_is_another_thing() -> None:
    @rule("test")
    def mine(g, x, e, *, t, lr=0.1):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        return x - lr * g, e + x

    with pytest.raises(TypeError, match=r"line \d+: `x \+=` changes arrays that are not its own"):

        @mine.answer
        def _(x, e):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            x += e
            return x

    @mine.answer
    def _(x, e):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
        return torch.add(x, e, out=x) if e.sum() < 3 else None

    w = torch.ones(1, requires_grad=True)
    optimizer = optim.Descent([w], mine, lr=0.5)
    w.grad = torch.zeros(1)
    optimizer.step()
    with optimizer.answer():
        assert w.item() == 2.0
    assert w.item() == 1.0
    optimizer.step()
    optimizer.step()
    with pytest.raises(TypeError, match=r"of rule 'mine' must be a tensor of x's shape, \(1,\), g"):
        optimizer.eval()
    assert w.item() == 1.0


def test_running_statistics_are_renewed_at_the_answer_and_back_afterwards() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).double()
    optimizer = optim.Descent(model.parameters(), "schedule_free_sgd", lr=0.5)
    batches = [(torch.randn(8, 4, dtype=torch.float64), torch.zeros(8)) for _ in range(5)]
    for x, _ in batches:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    model.eval()
    before = [buffer.clone() for buffer in model.buffers()]
    with optimizer.answer():
        plain = deepcopy(model)
    update_bn(batches, plain)
    with optimizer.answer(model, batches):
        assert not model.training
        for ours, theirs in zip(
            model.state_dict().values(), plain.state_dict().values(), strict=True
        ):
            assert torch.equal(ours, theirs)
        assert not torch.equal(before[0], model[1].running_mean)  # type: ignore[arg-type]
    assert all(map(torch.equal, model.buffers(), before))
    with pytest.raises(TypeError, match="give both, or neither"), optimizer.answer(model):
        pass


@pytest.mark.parametrize(
    ("batches", "kind", "message"),
    [
        ([{"x": torch.ones(8, 4)}], TypeError, r"got dict: give the inputs, as \[batch\['x'\]"),
        (torch.ones(8, 4), TypeError, "got one tensor"),
        (iter(()), ValueError, "has none: was an iterator used before"),
    ],
)
def test_batches_that_renew_nothing_are_refused_and_leave_the_model(
    batches: Any, kind: type[Exception], message: str
) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    optimizer = optim.Descent(model.parameters(), "schedule_free_sgd", lr=0.5)
    model(torch.randn(8, 4)).square().sum().backward()
    optimizer.step()
    model.eval()
    before = deepcopy(model.state_dict())
    with pytest.raises(kind, match=message), optimizer.answer(model, batches):
        pass
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (model[1].momentum, model.training) == (0.1, False)
