import io
import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from examined import watched_loop
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

import thalweg
from thalweg.doctor.checks.shapes import summed
from thalweg.doctor.subject import Subject
from thalweg.doctor.terms import _heeded, _Sum, terms_unbalanced
from thalweg.errors import TaskError


def batches(count: int = 40) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 16, 6, generator=generator)
    y = (x @ torch.randn(6, 3, generator=generator)).argmax(2)
    return list(zip(x, y, strict=True))


def net(*, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))


def watched(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    zero: bool = True,
    steps: int = 40,
    after: Callable[[int], None] = lambda _: None,
    seconds: float = 20,
) -> thalweg.Doctor:
    doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy, seconds=seconds)
    data = batches()
    for step in range(steps):
        x, y = data[step % len(data)]
        if zero:
            optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=(x, y))
        after(step)
    return doctor


def causes(doctor: thalweg.Doctor) -> list[str]:
    return [f.cause for f in doctor.findings if f.severity == "problem"]


def test_a_sound_training_has_no_finding() -> None:
    model = net()
    assert causes(watched(model, torch.optim.Adam(model.parameters(), lr=1e-2))) == []


@pytest.mark.parametrize("terminal", [True, False])
def test_gradients_that_are_not_zeroed_are_seen(
    terminal: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, errors = net(), io.StringIO()
    doctor = watched(model, torch.optim.SGD(model.parameters(), lr=0.05), zero=False, steps=30)
    errors.isatty = lambda: terminal  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", errors)
    monkeypatch.setenv("TERM", "xterm")
    assert causes(doctor) == ["gradients_not_zeroed"]
    assert ("trying changes on copies" in errors.getvalue()) == terminal


class Words(nn.Module):
    """Reads which numbers of a row are above 0, as words."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(12, 8, sparse=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.embed(2 * torch.arange(6) + (x > 0)).mean(1))
        return out


def test_gradients_may_be_sparse() -> None:
    model = Words()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    found = thalweg.check(model, optimizer, functional.cross_entropy, batches())
    assert (list(found), found.skipped) == ([], {})
    assert watched(model, optimizer, steps=10, seconds=0.1).report().skipped == {}


def test_a_look_at_the_loop_that_fails_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no backend")

    monkeypatch.setattr("thalweg.doctor.loop.trained_in_eval_mode", fails)
    model = net()
    doctor = watched(model, torch.optim.SGD(model.parameters(), lr=0.05), zero=False, steps=30)
    assert causes(doctor) == ["gradients_not_zeroed"]
    assert doctor.report().skipped["fails"].endswith("RuntimeError: no backend")


def test_a_step_that_is_never_taken_is_seen() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    optimizer.step = lambda *_: None  # type: ignore[assignment] # the loop forgets it
    assert causes(watched(model, optimizer, steps=30)) == ["step_changes_nothing"]


def test_steps_below_what_float32_tells_apart_change_nothing() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    first, *_ = watched(model, optimizer, steps=30).findings
    assert first.cause == "step_changes_nothing"
    assert "of their size" in first.sentence


def test_accumulated_gradients_are_no_fault() -> None:
    model, data = net(), batches()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy, seconds=20)
    for step in range(60):
        x, y = data[step % len(data)]
        loss = functional.cross_entropy(model(x), y)
        (loss / 2).backward()
        if step % 2:
            optimizer.step()
            optimizer.zero_grad()
        doctor.step(loss, batch=(x, y))
    assert causes(doctor) == []


def test_evaluation_mode_is_a_fault_where_it_matters() -> None:
    for dropout, found in ((0.2, ["trained_in_eval_mode"]), (0.0, [])):
        model = net(dropout=dropout)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

        def leave(step: int, model: nn.Module = model) -> None:
            if step == 20:
                model.eval()

        doctor = watched(model, optimizer, after=leave, steps=80)
        assert causes(doctor) == found
        assert all(finding.onset == 21 for finding in doctor.findings)


def test_a_rate_is_named_when_copies_confirm_it() -> None:
    for lr, cause in ((3.0, "lr_too_high"), (1e-5, "lr_too_low")):
        model = net()
        doctor = watched(model, torch.optim.Adam(model.parameters(), lr=lr))
        assert causes(doctor)[:1] == [cause]
        assert "lr_too_low" not in causes(doctor) or cause == "lr_too_low"


def test_a_rate_that_is_a_millionth_of_what_it_should_be_is_named() -> None:
    model = net()
    found = watched(model, torch.optim.Adam(model.parameters(), lr=1e-8), steps=60).findings
    assert (found[0].cause, found[0].severity) == ("lr_too_low", "problem")


def regression(
    loss_fn: nn.Module, lr: float, *, size: int, steps: int, noise: float = 0.3
) -> thalweg.Doctor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(steps, size, 8, generator=generator)
    y = x.sum(2, keepdim=True) + noise * torch.randn(steps, size, 1, generator=generator)
    torch.manual_seed(0)
    model = nn.Linear(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    doctor = thalweg.Doctor(model, optimizer, loss_fn)
    for batch in zip(x, y, strict=True):
        optimizer.zero_grad()
        loss = loss_fn(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=batch)
    return doctor


def test_a_sum_in_place_of_a_mean_comes_before_the_rate_that_it_raises() -> None:
    summed = regression(nn.MSELoss(reduction="sum"), 0.05, size=32, steps=60)
    assert causes(summed)[:2] == ["loss_not_mean", "lr_too_high"]
    assert causes(regression(nn.MSELoss(reduction="sum"), 0.003, size=32, steps=60)) == []


def test_a_sum_over_numbers_or_places_of_targets_too_is_divided_by_all_of_them() -> None:
    x = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    y = x.repeat(1, 8).unflatten(1, (4, 16))
    model = nn.Sequential(nn.Linear(8, 64), nn.Unflatten(1, (4, 16)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for loss_fn, goal, sizes in (
        (nn.MSELoss(reduction="sum"), y, [1024, 16]),
        (lambda o, y: (o - y).pow(2).mean(2).sum(), y, [16]),
        (nn.MSELoss(), y, []),
        (nn.CrossEntropyLoss(reduction="sum"), y.argmax(1), [256, 16]),
    ):
        assert summed(Subject(model, optimizer, loss_fn, [(x, goal)])) == sizes


@pytest.mark.parametrize(("weight", "expected"), [(0.01, ["loss_terms_unbalanced"]), (1.0, [])])
def test_a_term_that_stays_while_the_sum_falls_is_a_warning(
    weight: float, expected: list[str]
) -> None:
    x = torch.randn(40, 16, 4, generator=torch.Generator().manual_seed(0))

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        one, other = (out - y).pow(2).mean(0)
        return weight * one + other

    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    doctor = thalweg.Doctor(model, optimizer, loss_fn)
    for part in x:
        optimizer.zero_grad()
        loss = loss_fn(model(part), part[:, :2])
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=(part, part[:, :2]))
    assert [(f.cause, f.severity) for f in doctor.findings] == [(c, "warning") for c in expected]


def test_a_noise_floor_is_told_with_the_floor_of_theory() -> None:
    found = regression(nn.MSELoss(), 0.15, size=2, steps=200, noise=1.0).findings
    floor = next(f for f in found if f.cause == "noise_floor")
    assert 0.05 < float(floor.evidence["floor by theory"]) < 5
    assert "By theory" in floor.sentence


def test_a_noise_floor_is_told_where_noise_of_the_targets_keeps_most_of_the_loss() -> None:
    doctor = regression(nn.MSELoss(), 0.05, size=2, steps=200, noise=4.0)
    found = next(f for f in doctor.findings if f.cause == "noise_floor")
    assert 0.1 < float(found.evidence["share of what can be learned"]) < 1


def test_a_training_that_is_only_short_has_no_problem() -> None:
    model = net()
    doctor = watched(model, torch.optim.SGD(model.parameters(), lr=0.02), steps=40)
    assert [(f.cause, f.severity) for f in doctor.findings[:1]] == [("lr_too_low", "warning")]


@pytest.mark.parametrize(("last", "severity"), [(2, "warning"), (0, "problem")])
def test_a_loss_that_is_not_finite_is_told_though_no_copy_shows_why(
    last: int, severity: str
) -> None:
    model = net()
    doctor = watched(model, torch.optim.Adam(model.parameters(), lr=1e-2), steps=20)
    for loss in (math.nan, *[0.3] * last):
        doctor.step(loss, batch=batches()[0])
    told = [(f.cause, f.severity, f.onset) for f in doctor.findings]
    assert ("loss_not_finite", severity, 20) in told


def test_decay_is_named_when_a_copy_without_it_learns() -> None:
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1.0)
    assert causes(watched(model, optimizer))[:1] == ["weight_decay_too_high"]


def test_gradients_clipped_to_nearly_nothing_are_named() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy, seconds=20)
    for x, y in batches(80):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1e-4)
        optimizer.step()
        doctor.step(loss, batch=(x, y))
    assert causes(doctor)[:1] == ["gradient_clipped_too_hard"]


def test_a_schedule_that_ends_early_is_seen() -> None:
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.3)
    doctor = watched(model, optimizer, after=lambda _: schedule.step())
    assert causes(doctor) == ["schedule_ends_too_early"]


def test_a_schedule_that_ends_early_and_has_learned_much_is_told_of() -> None:
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.97)
    doctor = watched(model, optimizer, after=lambda _: schedule.step(), steps=250)
    assert [(f.cause, f.severity) for f in doctor.findings] == [
        ("schedule_ends_too_early", "warning")
    ]


def test_the_training_is_left_as_it_was() -> None:
    model = net(dropout=0.3)
    optimizer = torch.optim.Adam(model.parameters(), lr=3.0)
    doctor = watched(model, optimizer, steps=40)
    before = [t.clone() for t in model.state_dict().values()]
    moments = [v.clone() for s in optimizer.state.values() for v in s.values()]
    drawn = torch.get_rng_state()
    model.eval()
    assert doctor.findings
    assert not model.training
    assert all(map(torch.equal, before, model.state_dict().values()))
    assert all(map(torch.equal, moments, [v for s in optimizer.state.values() for v in s.values()]))
    assert torch.equal(drawn, torch.get_rng_state())


def test_a_loss_that_was_made_anew_is_named() -> None:
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy)
    for x, y in batches(20):
        optimizer.zero_grad()
        loss = torch.tensor(functional.cross_entropy(model(x), y).item(), requires_grad=True)
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=(x, y))
    assert causes(doctor) == ["graph_cut_by_detach"]


def test_a_term_that_drowns_another_is_named() -> None:
    images, classes = load_digits(return_X_y=True)
    x = torch.tensor(images[:640] / 16, dtype=torch.float32)
    y = torch.stack([torch.tensor(classes[:640]).float(), 10 * x.pow(2).sum(1)], 1)
    data = list(zip(x.split(32), y.split(32), strict=True))
    for weight, cause in ((10.0, "loss_terms_unbalanced"), (1e-4, None)):

        def loss_fn(out: Tensor, y: Tensor, weight: float = weight) -> Tensor:
            size = (out[:, 10] - y[:, 1]).pow(2).mean()
            return functional.cross_entropy(out[:, :10], y[:, 0].long()) + weight * size

        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 11))
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        found = terms_unbalanced(Subject(model, optimizer, loss_fn, data), 80, 10.0)
        assert (found and (found.cause, found.severity)) == (cause and (cause, "problem"))


def test_a_term_that_drowns_another_is_named_where_examples_are_averaged() -> None:
    images, classes = load_digits(return_X_y=True)
    x = torch.tensor(images[:640] / 16, dtype=torch.float32)
    y = zip(torch.tensor(classes[:640]).split(32), (10 * x.pow(2).sum(1)).split(32), strict=True)
    data = [(part, {"kind": k, "size": s}) for part, (k, s) in zip(x.split(32), y, strict=True)]

    def loss_fn(out: Tensor, y: dict[str, Tensor]) -> Tensor:
        size = (out[:, 10] - y["size"]) ** 2
        each = functional.cross_entropy(out[:, :10], y["kind"], reduction="none") + 10 * size
        return each.mean() / 2

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 11))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    found = terms_unbalanced(Subject(model, optimizer, loss_fn, data), 80, 10.0)
    assert found is not None
    assert found.cause == "loss_terms_unbalanced"


def test_what_experiments_found_is_told_though_the_outcome_cannot_be_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuses(*_: object) -> None:
        raise RuntimeError("no outcome")

    monkeypatch.setattr("thalweg.doctor.doctor.look_at_outcome", refuses)
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)
    doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy)
    for x, y in batches(40):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=(x, y))
    assert causes(doctor) == ["lr_too_low"]
    assert doctor.report().skipped["outcome"].endswith("RuntimeError: no outcome")


def test_a_term_that_drowns_another_under_clipping_is_named() -> None:
    images, classes = load_digits(return_X_y=True)
    x = torch.tensor(images[:640] / 16, dtype=torch.float32)
    y = torch.stack([torch.tensor(classes[:640]).float(), 10 * x.pow(2).sum(1)], 1)
    data = list(zip(x.split(32), y.split(32), strict=True))

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        size = (out[:, 10] - y[:, 1]).pow(2).mean()
        return functional.cross_entropy(out[:, :10], y[:, 0].long()) + 1000 * size

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 11))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    found = terms_unbalanced(Subject(model, optimizer, loss_fn, data, clip=0.3), 150, 10.0)
    assert found is not None
    assert found.cause == "loss_terms_unbalanced"
    assert float(found.evidence["left balanced"]) < 0.4  # even gradients leave 1.1


class Swing(nn.Module):
    """Gives a curve, its slope, and what is left of the equation u'' = -16 u."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, t: Tensor) -> Tensor:
        with torch.enable_grad():
            t = t.clone().requires_grad_()
            u = self.net(t)
            slope = torch.autograd.grad(u.sum(), t, create_graph=True)[0]
            bend = torch.autograd.grad(slope.sum(), t, create_graph=True)[0]
            return torch.cat([u, slope, bend + 16 * u], 1)


def test_an_equation_that_drowns_its_first_values_is_named() -> None:
    t = torch.linspace(0, 1, 64)[torch.randperm(64, generator=torch.Generator().manual_seed(0))]
    t[::4] = 0
    data = [(t[:, None], (t == 0).float())]

    def loss_fn(out: Tensor, begin: Tensor) -> Tensor:
        first = begin * ((out[:, 0] - 1) ** 2 + out[:, 1] ** 2 / 16)
        return 10 * (out[:, 2] ** 2).mean() + first.mean()

    torch.manual_seed(0)
    model = Swing()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    doctor = thalweg.Doctor(model, optimizer, loss_fn)
    for batch in 160 * data:
        optimizer.zero_grad()
        loss = loss_fn(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=batch)
    assert causes(doctor) == ["loss_terms_unbalanced"]
    assert float(doctor.findings[0].evidence["left"]) > 0.8


def test_a_term_that_keeps_the_rest_from_the_inputs_is_named() -> None:
    images = load_digits().data[:640] / 16
    data = [(x, x) for x in torch.tensor(images, dtype=torch.float32).split(32)]

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(64, 16), nn.Linear(8, 64)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            mean, scale = self.first(x).chunk(2, 1)
            drawn = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
            return self.last(mean + drawn * scale.exp()), mean, scale

    def collapsed(out: Any, y: Tensor, weight: float) -> Tensor:
        far = (out[1] ** 2 + (2 * out[2]).exp() - 1 - 2 * out[2]).sum(1) / 2
        if weight < 100:
            return functional.mse_loss(out[0], y) + weight * far.mean()
        one, other = far[::2].mean(), far[1::2].mean()  # either alone would keep it from them
        return functional.mse_loss(out[0], y) + weight * one + weight * other

    for far, decay, expected in (
        (1.0, 0.0, "loss_terms_unbalanced"),
        (100.0, 0.0, "loss_terms_unbalanced"),
        (1e-3, 1e-4, None),
        (0.0, 0.2, "weight_decay_too_high"),
        (-0.1, 0.0, "loss_sign_wrong"),
    ):
        torch.manual_seed(0)
        model = Encoder()

        def loss_fn(
            out: Any, y: Tensor, model: nn.Module = model, far: float = far, decay: float = decay
        ) -> Any:
            return collapsed(out, y, far) + decay * sum(p.pow(2).sum() for p in model.parameters())

        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        doctor = watched_loop(model, optimizer, loss_fn, data * 4)
        found = terms_unbalanced(doctor._subject(), 80, 10.0)
        assert (found and found.cause) == expected


@pytest.mark.parametrize("shift", [-0.9, 0.9])
def test_a_term_below_0_is_owed_to_the_inputs_too(shift: float) -> None:
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    model = nn.Linear(3, 3)
    model.load_state_dict({"weight": torch.eye(3), "bias": torch.zeros(3)})

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        return (shift - functional.cosine_similarity(out, y)).mean() + out.pow(2).mean()

    subject = Subject(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_fn, [(x, x), (x, x)])
    share, penalty = _heeded(subject.copy(), subject, _Sum(subject))
    # The cosine is 1 with an example's own inputs and about 0 with another's.
    assert math.isnan(share) if shift > 0 else share > 0.5  # of two signs, nothing is told
    assert penalty == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("loss_fn", "lr"),
    [(functional.smooth_l1_loss, 3e-3), (functional.mse_loss, 3.0)],
    ids=["absolute", "squared, at a rate that is too high"],
)
def test_numbers_of_classes_come_before_other_findings(
    loss_fn: Callable[..., Tensor], lr: float
) -> None:
    digits = load_digits()
    x = torch.tensor(digits.data[:960] / 16, dtype=torch.float32)
    y = torch.tensor(digits.target[:960]).float()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    doctor = thalweg.Doctor(model, optimizer, loss_fn)
    for batch in list(zip(x.split(32), y.split(32), strict=True)) * 2:
        optimizer.zero_grad()
        loss = loss_fn(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=batch)
    assert next(f.cause for f in doctor.findings) == "loss_unsuited"


def test_labels_that_have_nothing_to_do_with_inputs_are_named() -> None:
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy, seconds=20)
    generator = torch.Generator().manual_seed(0)
    for x, _ in batches():
        y = torch.randint(0, 3, (16,), generator=generator)
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=(x, y))
    assert causes(doctor) == ["labels_do_not_match_inputs"]


def test_training_labels_that_were_spoiled_are_held_against_validation_labels() -> None:
    data = batches(60)
    generator = torch.Generator().manual_seed(0)
    y = torch.cat([y for _, y in data[:40]])
    y[:450] = y[:450][torch.randperm(450, generator=generator)]
    order = torch.randperm(640, generator=generator)
    x = torch.cat([x for x, _ in data[:40]])
    for targets, expected in (
        (y, ["labels_do_not_match_inputs"]),
        (torch.cat([y for _, y in data[:40]]), []),
    ):
        spoiled = list(zip(x[order].split(16), targets[order].split(16), strict=True))
        model = net()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy, seconds=20)
        for inputs, labels in spoiled * 2:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(inputs), labels)
            loss.backward()
            optimizer.step()
            doctor.step(loss, batch=(inputs, labels))
        doctor.validate(data[40:])
        assert causes(doctor) == expected


def test_a_rare_class_that_is_never_named_is_found() -> None:
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy, seconds=20)
    for x, _ in batches():
        y = (x.sum(1) > 4).long()
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=(x, y))
    assert causes(doctor)[0] == "class_imbalance"


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        (torch.ones(4, 6), "a batch must be a tuple or list of inputs and targets, got Tensor"),
        ("abc", "got str; for another form give step"),
        ({"x": torch.ones(4, 6)}, "got dict"),
        ((torch.ones(0, 6), torch.ones(0, dtype=torch.long)), "a batch has no examples"),
    ],
)
def test_batches_of_which_no_loss_can_be_computed_are_refused(batch: Any, sentence: str) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TaskError, match=sentence):
        thalweg.check(model, optimizer, functional.cross_entropy, [batch])
    doctor = thalweg.Doctor(model, optimizer, functional.cross_entropy)
    doctor.step(1.0, batch=batch)
    assert sentence in doctor.report().skipped["experiments"]
    assert doctor.dynamics() == []


def test_a_loss_must_be_one_number() -> None:
    model = net()
    doctor = thalweg.Doctor(model, torch.optim.SGD(model.parameters(), lr=0.1), nn.MSELoss())
    with pytest.raises(TypeError, match=r"loss must be one number, got Tensor of shape \(3,\)"):
        doctor.step(torch.ones(3))
    with pytest.raises(TypeError, match="loss must be one number, got str 'x'"):
        doctor.step("x")  # type: ignore[arg-type]
