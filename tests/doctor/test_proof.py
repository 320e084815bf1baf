import copy
import hashlib
import math
import pickle
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import thalweg
from thalweg.doctor.finding import Finding
from thalweg.doctor.proof import Moment, Proof, prove
from thalweg.doctor.subject import Subject
from thalweg.errors import TaskError
from thalweg.words import digits

Batches = list[tuple[Tensor, Tensor]]


def batches(*, classes: bool = True, count: int = 12) -> Batches:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16 * count, 6, generator=generator)
    scores = x @ torch.randn(6, 3, generator=generator)
    y = scores.argmax(1) if classes else scores[:, :1]
    return list(zip(x.split(16), y.split(16), strict=True))


def net(outputs: int = 3, *last: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, outputs), *last)


def finding(cause: str) -> Finding:
    return Finding(cause, "problem", "", {}, "", "")


def proved(
    cause: str,
    model: nn.Module,
    data: Batches,
    loss_fn: Any = functional.cross_entropy,
    lr: float = 0.1,
    **options: Any,
) -> Proof:
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, **options)
    return prove([finding(cause)], Subject(model, optimizer, loss_fn, data), steps=60)


class OwnSoftmax(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        powers = torch.exp(x - x.max(1, keepdim=True).values)
        return powers / powers.sum(1, keepdim=True)


class Angle(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.acos(x / x.abs())


class Hidden(nn.Module):
    """Keeps a layer where parameters() does not find it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = [nn.Linear(6, 3)]
        self.scale = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers[0](x) * (1 + self.scale)


def frozen() -> nn.Module:
    model = net()
    for layer in (model[0], model[2]):
        layer.weight.requires_grad_(requires_grad=False)
    return model


def constant() -> nn.Module:
    model = net()
    for p in model.parameters():
        nn.init.zeros_(p)
    return model


def log_loss(p: Tensor, y: Tensor) -> Tensor:
    p = p / (p.sum(1, keepdim=True) + 1e-30)
    return -torch.log(p.gather(1, y[:, None]) + 1e-30).mean()


def spoiled() -> Batches:
    data = batches()
    for x, _ in data:
        x[::5, 0] = torch.nan
    return data


def sort(data: Batches) -> Batches:
    x, y = (torch.cat(column) for column in zip(*data, strict=True))
    order = y.argsort()
    return list(zip(x[order].split(16), y[order].split(16), strict=True))


@pytest.mark.parametrize(
    ("cause", "make", "data", "more"),
    [
        ("softmax_before_cross_entropy", lambda: net(3, nn.Softmax(1)), batches(), {"lr": 0.02}),
        ("softmax_before_cross_entropy", lambda: net(3, OwnSoftmax()), batches(), {"lr": 0.02}),
        (
            "relu_output_into_log",
            lambda: net(3, nn.ReLU()),
            batches(),
            {"loss_fn": log_loss},
        ),
        (
            "output_range_too_small",
            lambda: net(1, nn.Sigmoid()),
            batches(classes=False),
            {"loss_fn": functional.mse_loss, "lr": 0.02},
        ),
        (
            "loss_broadcasts",
            lambda: net(1),
            [(x, y[:, 0]) for x, y in batches(classes=False)],
            {"loss_fn": functional.mse_loss, "lr": 0.02},
        ),
        ("nan_in_inputs", net, spoiled(), {}),
        ("constant_init", constant, batches(), {}),
        ("lr_too_low", net, batches(), {"lr": 1e-5}),
        ("lr_too_high", net, batches(), {"lr": 1e3}),
        ("weight_decay_too_high", net, batches(), {"weight_decay": 2.0}),
        ("nan_gradient_of_sqrt_at_zero", lambda: nn.Sequential(net(), Angle()), batches(), {}),
        ("parameters_not_registered", Hidden, batches(), {}),
        (
            "labels_out_of_range",
            net,
            [(x, y + 1) for x, y in batches()],
            {},
        ),
    ],
)
def test_the_cure_of_a_cause_works_and_says_by_how_much(
    cause: str, make: Any, data: Batches, more: dict[str, Any]
) -> None:
    found = proved(cause, make(), data, **more)
    assert found.worked == [cause]
    (cure,) = found.cures
    assert cure.left < 0.8
    assert cure.words
    assert cure.code
    assert not math.isfinite(found.left) or cure.ratio == pytest.approx(cure.left / found.left)
    assert cure.after == pytest.approx(np.mean(cure.losses[-len(cure.losses) // 10 :]))
    assert found.look_at == {}


def test_a_cure_of_what_is_not_wrong_does_not_work() -> None:
    for cause in ("softmax_before_cross_entropy", "dead_relu", "nan_in_inputs"):
        found = proved(cause, net(), batches())
        assert found.left < 0.5
        assert found.worked == []


def test_frozen_parameters_and_those_of_another_model_are_given_to_the_optimizer() -> None:
    assert proved("parameters_frozen", frozen(), batches(), lr=0.01).cures[0].ratio < 1
    model, other = net(), net()
    optimizer = torch.optim.Adam(other.parameters(), lr=0.01)
    subject = Subject(model, optimizer, functional.cross_entropy, batches())
    assert prove([finding("optimizer_of_another_model")], subject, steps=40).worked


@pytest.mark.parametrize("cause", ["gradients_not_zeroed", "gradients_lost_before_step"])
def test_the_course_as_it_was_has_the_fault_of_the_loop(cause: str) -> None:
    """It is held against the same loop by hand."""
    model, data = net(), batches()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    subject = Subject(model, optimizer, functional.cross_entropy, data)
    found = prove([finding(cause)], subject, steps=30)
    expected = []
    for number in range(30):
        x, y = data[number % len(data)]
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        expected.append(float(loss.detach()))
        if cause == "gradients_lost_before_step":
            optimizer.zero_grad()
        optimizer.step()
    assert list(found.losses) == expected
    assert found.cures[0].losses[:2] != expected[:2] or cause == "gradients_not_zeroed"
    assert found.cures[0].left < found.left


def test_rates_are_those_of_the_users_schedule_but_where_it_is_the_cause() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    subject = Subject(model, optimizer, functional.cross_entropy, batches())
    rates = [0.1] * 3 + [1e-6] * 57
    found = prove([finding("schedule_ends_too_early")], subject, Moment(rates=rates), steps=60)
    assert found.worked == ["schedule_ends_too_early"]
    assert np.std(found.losses[12:24]) > 0
    assert found.losses[14] == pytest.approx(found.losses[14 + 12], rel=1e-3)  # nothing moves


def test_the_cure_of_a_schedule_goes_back_to_its_highest_rate() -> None:
    losses = []
    for lr, highest in ((0.1, 1.0), (1e-3, 100.0)):
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        subject = Subject(model, optimizer, functional.cross_entropy, batches())
        moment = Moment(rates=[lr] * 20, highest=highest)
        found = prove([finding("schedule_ends_too_early")], subject, moment, steps=20)
        losses.append(found.cures[0].losses)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


class Shares(nn.Module):
    """Divides by a sum that may be 0, where a mask takes the quotient away."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = torch.tanh(self.first(x))
        large = out * (out > 0.9)
        size = large.sum(1, keepdim=True)
        return self.last(out + torch.where(size > 0, large / size, torch.zeros_like(large)))


def test_a_division_by_0_is_cured_and_biases_of_dead_units_are_raised() -> None:
    divided = proved("gradient_not_finite", Shares(), batches())
    assert (divided.left, divided.worked) == (math.inf, ["gradient_not_finite"])
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    with torch.no_grad():
        model[0].bias.fill_(-20.0)
    found = proved("dead_relu", model, batches(), lr=0.02)
    assert found.worked == ["dead_relu"]
    assert found.cures[0].words == "biases that start at 0"


def test_rectifiers_in_place_of_sigmoids_may_need_a_lower_rate() -> None:
    torch.manual_seed(0)
    layers = [m for _ in range(5) for m in (nn.Linear(24, 24), nn.Sigmoid())]
    model = nn.Sequential(nn.Linear(6, 24), nn.Sigmoid(), *layers, nn.Linear(24, 1))
    found = proved(
        "vanishing_gradient_sigmoid", model, batches(classes=False), functional.mse_loss, lr=0.05
    )
    assert found.worked == ["vanishing_gradient_sigmoid"]
    assert found.cures[0].words.endswith("the rate divided by 10")


def test_what_cannot_be_written_is_looked_at() -> None:
    data = batches()
    data[3][1][5] = (data[3][1][5] + 1) % 3  # a wrong label
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for x, y in data * 10:
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    subject = Subject(model, optimizer, functional.cross_entropy, data)
    found = prove([finding("labels_do_not_match_inputs")], subject, steps=5)
    assert found.cures == ()
    assert set(found.look_at) == {"labels_do_not_match_inputs"}
    assert len(found.hardest) == 10
    assert (found.hardest[0].batch, found.hardest[0].place) == (3, 5)
    assert torch.equal(found.hardest[0].x, data[3][0][5])
    losses = [each.loss for each in found.hardest]
    assert losses == sorted(losses, reverse=True)


def test_the_hardest_may_have_several_inputs_outputs_and_targets() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def forward(self, given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            return self.inner(given["a"] + given["b"]), given["b"]

    def loss_fn(out: tuple[Tensor, Tensor], y: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(out[0], y[0]) + (out[1] - y[1]).square().mean()

    torch.manual_seed(0)
    given = {"a": torch.randn(12, 3), "b": torch.zeros(12, 3)}
    goal = (torch.randint(0, 2, (12,)), torch.zeros(12, 3))
    goal[1][7] = 100.0
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    subject = Subject(model, optimizer, loss_fn, [(given, goal)])
    first = prove([finding("labels_do_not_match_inputs")], subject, steps=1).hardest[0]
    assert first.place == 7
    assert torch.equal(first.x["a"], given["a"][7])
    assert torch.equal(first.y[1], goal[1][7])


def fingerprint(doctor: thalweg.Doctor, data: Batches) -> str:
    """Return a hash of all that is the user's, random states too."""
    grads = [p.grad for p in doctor.model.parameters()]
    own = (doctor.model.state_dict(), doctor.optimizer.state_dict(), grads, data)
    states = (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state())  # noqa: NPY002
    modes = [module.training for module in doctor.model.modules()]
    own = torch.utils._pytree.tree_map(
        lambda leaf: leaf.tolist() if isinstance(leaf, Tensor) else leaf, own
    )
    return hashlib.sha256(pickle.dumps(copy.deepcopy((own, states, modes)))).hexdigest()


def test_a_doctor_proves_on_copies_from_the_start_and_leaves_all_as_it_was() -> None:
    data = batches()
    model = net(3, nn.Dropout(0.2), nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy, seconds=2)
    for x, y in data * 2:
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()  # and zero_grad() is missing
        doctor.step(loss, batch=(x, y))
    before = fingerprint(doctor, data)
    found = doctor.prove(steps=20)
    assert fingerprint(doctor, data) == before
    assert [cure.cause for cure in found.cures] == ["gradients_not_zeroed"]
    assert found.onset == 0
    # The course as it was is the user's own: model, state, data and draws begin where they did.
    assert list(found.losses) == doctor.signals.losses[:20].tolist()


def test_without_batches_nothing_can_be_proved() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy)
    with pytest.raises(TaskError, match="give batches"):
        doctor.prove()
    subject = Subject(model, optimizer, functional.cross_entropy, batches())
    with pytest.raises(TaskError, match="steps must be 1 or more, got 0"):
        prove([], subject, steps=0)


def test_validation_data_are_scaled_as_the_training_data_were() -> None:
    data, model = batches(), net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for x, y in data * 5:
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    held = [(7 * x + 20, y) for x, y in data[:4]]
    subject = Subject(model, optimizer, functional.cross_entropy, data, held)
    found = prove([finding("validation_preprocessed_differently")], subject, steps=2)
    assert found.worked == ["validation_preprocessed_differently"]
    (cure,) = found.cures
    with torch.no_grad():
        first = [float(functional.cross_entropy(model(x), y)) for x, y in held]
        right = [float(functional.cross_entropy(model(x), y)) for x, y in data[:4]]
    assert cure.before == pytest.approx(np.mean(first))
    assert cure.left * 0 == 0
    assert np.mean(right) < cure.before / 2
    said = f"the validation loss is {digits(cure.after)} instead of {digits(cure.before)}; that wo"
    assert said in found.said(cure)


def test_a_cure_is_told_beside_the_course_as_it_was() -> None:
    """From its own start: a loss of other outputs begins elsewhere."""
    found = proved("softmax_before_cross_entropy", net(3, nn.Softmax(1)), batches())
    (cure,) = found.cures
    last = np.mean(found.losses[-6:])
    assert found.after == pytest.approx(last)
    assert cure.before == cure.losses[0] != found.losses[0]
    assert found.said(cure) == (
        f"with no softmax at the end, the loss goes from {digits(cure.losses[0])} to "
        f"{digits(cure.after)} (as it was, from {digits(found.losses[0])} to {digits(last)}); "
        "that worked"
    )
    assert "to no number); that worked" in replace(found, after=math.inf).said(cure)
    little, learned = replace(cure, worked=False, left=0.1), replace(found, left=0.2)
    assert learned.said(little).endswith("; that helped, but 80 % is learned without it, too")
    for cures, before in ((replace(little, left=0.3), 0.2), (little, 0.6)):
        assert replace(found, left=before).said(cures).endswith("; that did not help enough")
