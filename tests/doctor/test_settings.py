"""check and Doctor in the settings that trainings have: each healthy, and not disturbed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import thalweg
from thalweg import optim

Batch = tuple[Tensor, Tensor]


def examples() -> Batch:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(160, 6, generator=generator)
    return x, (x @ torch.randn(6, 3, generator=generator)).argmax(1)


def loader(workers: int = 0) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    return DataLoader(
        TensorDataset(*examples()), 16, shuffle=True, generator=generator, num_workers=workers
    )


class Stream(IterableDataset[Batch]):
    def __iter__(self) -> Iterator[Batch]:
        yield from zip(*examples(), strict=True)


def net(*between: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), *between, nn.Linear(16, 3))


def frozen() -> nn.Module:
    """A backbone that learned before, and is not trained."""
    model = net()
    backbone = torch.optim.Adam(model.parameters(), lr=0.01)
    for x, y in loader():
        functional.cross_entropy(model(x), y).backward()
        backbone.step()
        backbone.zero_grad()
    model[0].requires_grad_(requires_grad=False)
    return model


class Tied(nn.Module):
    """Decodes by the weights that it encodes with."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(3, 6), nn.Linear(6, 3)
        self.encoder.weight = nn.Parameter(torch.randn(6, 3) / 3)
        self.decoder.weight = nn.Parameter(self.encoder.weight.detach().T.contiguous())
        self.mix = nn.Linear(6, 6)
        self.again = self.mix

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(torch.tanh(self.again(torch.tanh(self.mix(x)))))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm, self.out = nn.LSTM(1, 16, batch_first=True), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x[:, :, None])[0][:, -1])


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = net(nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + 0.1 * torch.randn_like(x) if self.training else x)


class Rounded(torch.autograd.Function):
    """The identity, differentiable once: a straight-through estimator."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x + 0

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(_: Any, g: Tensor) -> Tensor:
        return g


class Once(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Rounded.apply(x)


def train(
    model: nn.Module, data: Iterable[Batch], make: Any, *, watched: bool, epochs: int = 2
) -> tuple[list[float], thalweg.Doctor | None]:
    optimizer = make(model.parameters())
    loss_fn = nn.CrossEntropyLoss()
    doctor = thalweg.Doctor(model, optimizer, loss_fn, seconds=0.5) if watched else None
    torch.manual_seed(2)
    losses = []
    for _ in range(epochs):
        for x, y in data:
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
            if doctor is not None:
                doctor.step(loss, batch=(x, y))
    return losses, doctor


def adam(parameters: Any) -> Any:
    return torch.optim.Adam([p for p in parameters if p.requires_grad], lr=0.02)


SETTINGS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any], Any]] = {
    "compiled": (lambda: torch.compile(net(), backend="eager"), loader, adam),  # type: ignore[dict-item, return-value]
    "thalweg.optim": (net, loader, lambda p: optim.Adam(p, lr=0.02)),
    "frozen": (frozen, loader, adam),
    "tied": (Tied, loader, adam),
    "recurrent": (Recurrent, loader, adam),
    "no second derivative": (lambda: net(Once()), loader, adam),
    "draws": (Noisy, loader, adam),
    "workers": (net, lambda: loader(1), adam),
    "stream": (net, lambda: DataLoader(Stream(), 16), adam),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_healthy_training_is_watched_and_not_disturbed(name: str) -> None:
    make_model, make_data, make = SETTINGS[name]
    plain, _ = train(make_model(), make_data(), make, watched=False)
    losses, doctor = train(make_model(), make_data(), make, watched=True)
    assert losses == plain
    assert doctor is not None
    assert [f.cause for f in doctor.findings if f.severity == "problem"] == []
    assert doctor.signals.steps == len(losses)


@pytest.mark.parametrize("name", ["compiled", "draws", "recurrent", "workers", "stream"])
def test_a_healthy_training_is_checked_and_not_disturbed(name: str) -> None:
    make_model, make_data, make = SETTINGS[name]
    model, data = make_model(), make_data()
    torch.manual_seed(3)
    before, state = torch.get_rng_state(), [p.clone() for p in model.parameters()]
    found = thalweg.check(model, make(model.parameters()), nn.CrossEntropyLoss(), data)
    assert [f.cause for f in found if f.severity == "problem"] == []
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), state, strict=True))
    first = iter(data).__next__()[0]  # the loader begins where a new one does
    assert torch.equal(first, next(iter(make_data()))[0])


def mixed(model: nn.Module, batch: Batch) -> Tensor:
    """Return two losses together, in mixed precision."""
    with torch.autocast("cpu", torch.bfloat16):
        scores = model(batch[0])
    loss = functional.cross_entropy(scores.float(), batch[1])
    return loss + functional.multi_margin_loss(scores.float(), batch[1])


def test_mixed_precision_with_a_scale_and_accumulated_gradients() -> None:
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    doctor = thalweg.Doctor(model, optimizer, None, step=mixed, seconds=0.5)
    scaler = torch.amp.GradScaler("cpu")
    for _ in range(6):
        for number, batch in enumerate(loader()):
            loss = mixed(model, batch)
            scaler.scale(loss / 2).backward()  # type: ignore[no-untyped-call]
            if number % 2:
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
                doctor.step(loss, batch=batch)
    assert doctor.signals.steps == len(doctor.signals.losses) == 30
    assert [f.cause for f in doctor.findings if f.severity == "problem"] == []
    data = loader()
    checked = thalweg.check(model, optimizer, None, data, step=mixed)
    assert [f.cause for f in checked if f.severity == "problem"] == []


def test_a_step_that_takes_derivatives_is_evaluated_with_a_graph() -> None:
    model = nn.Sequential(nn.Linear(1, 12), nn.Tanh(), nn.Linear(12, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    times = torch.rand(64, 1, generator=torch.Generator().manual_seed(0))

    def equation(model: nn.Module, batch: Batch) -> Tensor:
        t = batch[0].requires_grad_()
        u = model(t)
        (slope,) = torch.autograd.grad(u.sum(), t, create_graph=True)
        return (slope + u).square().mean() + (model(torch.zeros(1, 1)) - 1).square().mean()

    data = DataLoader(TensorDataset(times), 16)
    found = thalweg.check(model, optimizer, None, data, step=equation)
    assert not found.skipped
    assert [f.cause for f in found if f.severity == "problem"] == []


def test_a_batch_of_any_form_is_looked_at_to_the_end() -> None:
    model, (x, _) = net(), examples()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    labels = torch.randint(3, (len(x),), generator=torch.Generator().manual_seed(2))

    def own(model: nn.Module, batch: Any) -> Tensor:
        return functional.cross_entropy(model(batch["in"]["x"]), batch["labels"])

    doctor = thalweg.Doctor(model, optimizer, None, step=own, seconds=0.5)
    batches = [{"in": {"x": x[i::8]}, "labels": labels[i::8]} for i in range(8)]
    for batch in batches * 12:
        loss = own(model, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        doctor.step(loss, batch=batch)
    doctor.validate(batches)
    assert doctor.findings
    assert not doctor.report().skipped


def test_of_a_distributed_model_the_users_own_is_watched_and_the_first_process_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        model = nn.parallel.DistributedDataParallel(net())
        losses, doctor = train(model, loader(), adam, watched=True)
        assert doctor is not None
        assert isinstance(doctor.model, nn.Sequential)
        assert losses[-1] < losses[0]
        assert [f.cause for f in doctor.findings if f.severity == "problem"] == []
        found = thalweg.check(model, adam(model.parameters()), nn.CrossEntropyLoss(), loader())
        assert [f.cause for f in found if f.severity == "problem"] == []
        monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
        assert doctor.report().skipped == {"the training": "the first process reports"}
        assert not doctor.to_html(tmp_path / "doctor.html").exists()
    finally:
        torch.distributed.destroy_process_group()


RANK = """
import datetime, json, sys
import torch
import thalweg
from torch import nn


def run(store, rank):
    torch.distributed.init_process_group(
        "gloo", init_method=store, rank=rank, world_size=2, timeout=datetime.timedelta(seconds=120)
    )
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
    model = nn.parallel.DistributedDataParallel(net)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss_fn = nn.CrossEntropyLoss()
    doctor = thalweg.Doctor(model, optimizer, loss_fn, seconds=0.5)
    x = torch.randn(2, 160, 6, generator=torch.Generator().manual_seed(1))[rank]
    for part in x.split(16):
        y = part[:, :3].argmax(1)
        loss = loss_fn(model(part), y)
        loss.backward()  # gradients of both processes, averaged, and never zeroed
        optimizer.step()
        doctor.step(loss, batch=(part, y))
    found = {
        "weights": [p.tolist() for p in model.parameters()], "norms": list(doctor.signals.norms),
        "causes": [one.cause for one in doctor.findings], "skipped": doctor.report().skipped,
    }
    torch.distributed.destroy_process_group()
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(run(sys.argv[1], 1)))
"""


def test_of_two_processes_the_first_reports_and_both_train_as_without_it(tmp_path: Path) -> None:
    store, scope = f"file://{tmp_path / 'store'}", {"__name__": "rank"}
    exec(RANK, scope)  # noqa: S102 - the first process is this one
    other = subprocess.Popen(
        [sys.executable, "-c", RANK, store],
        stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    first: dict[str, Any] = scope["run"](store, 0)  # type: ignore[operator]
    second = json.loads(other.communicate()[0].splitlines()[-1])
    assert first["causes"][0] == "gradients_not_zeroed"
    assert second["causes"] == []
    assert second["skipped"] == {"the training": "the first process reports"}

    torch.manual_seed(0)  # the same in one process, without a doctor
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(2, 160, 6, generator=torch.Generator().manual_seed(1))
    norms = []
    for part in x.split(16, 1):
        functional.cross_entropy(
            model(part).flatten(0, 1), part[..., :3].argmax(2).flatten()
        ).backward()
        norms.append(float(nn.utils.get_total_norm([p.grad for p in model.parameters()])))
        optimizer.step()
    for said in (first, second):
        assert said["norms"] == pytest.approx(norms, rel=1e-4)
        for own, expected in zip(said["weights"], model.parameters(), strict=True):
            torch.testing.assert_close(torch.tensor(own), expected.detach())
