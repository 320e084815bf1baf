"""What check and Doctor cost on the digits MLP, LeNet and a small transformer.

    python benchmarks/doctor_cost.py
    python benchmarks/doctor_cost.py --large     # a model of 10⁸ parameters, some steps

Printed for each model: processor seconds of `thalweg.check`; the processor time of a training with
the Doctor over one without, the median over rounds of a watched training between two that are not;
what the doctor's own calls take in it, by the clock around each; the same ratio of a training
that does nothing but hold its batches, as the Doctor does too; the peak memory of the process
with it over that without, each in a process of its own; and what each signal takes, alone and for
one call, with how often it is noted in such a training.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from unittest import mock

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import thalweg
from measure import save, show
from thalweg.doctor.signals import Pace, Signals

Make = Callable[[], nn.Module]
CALLS = 200  # of a signal that is timed alone


class Transformer(nn.Module):
    """Two layers over the eight rows of a digit."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, dropout=0.1)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of the classes."""
        scores: Tensor = self.out(self.encoder(self.embed(x.reshape(-1, 8, 8))).mean(1))
        return scores


def mlp(width: int = 128) -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Upsample(scale_factor=3.5),
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


MODELS: dict[str, Make] = {"digits MLP": mlp, "LeNet": lenet, "transformer": Transformer}


def loader() -> DataLoader[Any]:
    X, y = load_digits(return_X_y=True)
    x = torch.tensor(X / 16, dtype=torch.float32)
    return DataLoader(TensorDataset(x, torch.tensor(y)), 64, shuffle=True)


def endless(data: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from data


def train(
    make: Make, steps: int, *, watched: bool, holds: bool = False
) -> tuple[float, thalweg.Doctor | None]:
    """Return processor seconds of a training, and its doctor.

    Args:
        make: the model.
        steps: how many.
        watched: by a doctor.
        holds: its batches, without a doctor.
    """
    torch.manual_seed(0)
    model, loss_fn = make(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters())
    batches, held = endless(loader()), []
    began = time.thread_time()
    doctor = thalweg.Doctor(model, optimizer, loss_fn) if watched else None
    for _, (x, y) in zip(range(steps), batches, strict=False):
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if doctor is not None:
            doctor.step(loss, batch=(x, y))
        elif holds:
            held.append((x, y))
    return time.thread_time() - began, doctor


def ratios(make: Make, steps: int, rounds: int) -> tuple[float, list[tuple[float, float]]]:
    """Return the median seconds of a training, and ratios to it: watched, and holding its batches.

    Each round trains without, watched, without, holding and without.
    """
    own, found = [], []
    for _ in range(rounds):
        first, watched, middle, holding, last = (
            train(make, steps, watched=place == 1, holds=place == 3)[0] for place in range(5)
        )
        own += [first, middle, last]
        found.append((2 * watched / (first + middle), 2 * holding / (middle + last)))
    return float(np.median(own)), found


def own_share(make: Make, steps: int) -> float:
    """Return which share of a training's processor time passes within the doctor's own calls."""
    spent = 0.0

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*args: Any, **kwargs: Any) -> None:
            nonlocal spent
            began = time.thread_time()
            call(*args, **kwargs)
            spent += time.thread_time() - began

        return inner

    calls = [(Signals, "_before"), (Signals, "_after"), (thalweg.Doctor, "step"),
             (thalweg.Doctor, "__init__")]  # fmt: skip
    with ExitStack() as stack:
        for owner, name in calls:
            stack.enter_context(mock.patch.object(owner, name, timed(getattr(owner, name))))
        whole, _ = train(make, steps, watched=True)
    return spent / whole


def _peak(make: Make, steps: int, watched: bool, answer: Any) -> None:  # noqa: FBT001
    torch.set_num_threads(1)
    train(make, steps, watched=watched)
    answer.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def peak(make: Make, steps: int, *, watched: bool) -> int:
    """Return the peak memory of a process that trains, in KiB."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_peak, args=(make, steps, watched, there))
    process.start()
    found: int = here.recv()
    process.join()
    return found


def checked(make: Make) -> float:
    torch.manual_seed(0)
    model = make()
    optimizer = torch.optim.Adam(model.parameters())
    began = time.thread_time()
    thalweg.check(model, optimizer, nn.CrossEntropyLoss(), loader())
    return time.thread_time() - began


def signals(make: Make, steps: int) -> Iterator[tuple[str, str, float, int]]:
    """Yield each signal, when it is noted, seconds for one call, and calls in a training."""
    _, doctor = train(make, steps, watched=True)
    assert doctor is not None
    own, optimizer = doctor.signals, doctor.optimizer
    noted, measured = len(own.notes), len(own.norms)
    copies = len(doctor._kept.all)  # noqa: SLF001 - measured from outside, part by part
    batch = next(iter(loader()))
    loss = nn.functional.cross_entropy(doctor.model(batch[0]), batch[1])
    torch.autograd.backward(loss)
    loss = loss.detach()

    def hooks() -> None:
        own._before(optimizer, (), {})  # noqa: SLF001
        own._after(optimizer, (), {})  # noqa: SLF001

    def ask() -> None:
        own._ask()  # noqa: SLF001
        for handle in own._asking:  # noqa: SLF001
            handle.remove()

    def never(*_: object) -> bool:  # a mock itself would take longer than a signal
        return False

    with mock.patch.object(Pace, "due", new=never):
        yield "loss and batch", "every step", _each(lambda: doctor.step(loss, batch)), steps
        yield "rate and mode", "every step", _each(hooks), steps
    measure = _each(own._measure)  # noqa: SLF001
    yield "norm of the gradient", "sampled", measure, measured
    own._looks = True  # noqa: SLF001 - else a step that was looked at is only ended
    yield "norms, and cosine with the next", "sampled", _each(own._sampled), noted  # noqa: SLF001
    moving = own._moving  # noqa: SLF001

    def move() -> None:
        own._moving = moving  # noqa: SLF001
        own._move()  # noqa: SLF001

    yield "updates", "sampled", _each(move), noted
    yield "gradients zeroed", "sampled", _each(ask), noted
    add = _each(lambda: doctor._kept.add(steps, doctor.model, optimizer), 20)  # noqa: SLF001
    yield "copies", "sampled", add, copies
    own.close()


def _each(call: Callable[[], object], calls: int = CALLS) -> float:
    took = []
    for _ in range(5):
        began = time.thread_time()
        for _ in range(calls):
            call()
        took.append((time.thread_time() - began) / calls)
    return min(took)


def large(steps: int) -> None:
    """Train a model of 10⁸ parameters under the Doctor's eyes, and ask what it found."""
    torch.manual_seed(0)
    began = time.monotonic()
    model = mlp(9_960)
    optimizer, loss_fn = torch.optim.SGD(model.parameters(), lr=0.01), nn.CrossEntropyLoss()
    doctor = thalweg.Doctor(model, optimizer, loss_fn)
    for _, (x, y) in zip(range(steps), endless(loader()), strict=False):
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        doctor.step(loss, batch=(x, y))
    size = sum(p.numel() for p in model.parameters())
    print(f"{size:.3g} parameters, {steps} steps: {time.monotonic() - began:.1f} s")
    print(f"notes of {len(doctor.signals.notes)} steps; last: {doctor.signals.notes[-1]}")
    began = time.monotonic()
    found = [f"{one.severity}: {one.cause}" for one in doctor.findings] or ["nothing"]
    print(f"found: {', '.join(found)}; {time.monotonic() - began:.1f} s")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


def measured(name: str, make: Make, steps: int, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each signal of a model's training, and one for all of it."""
    train(make, 20, watched=True)  # what is loaded at the first time
    plain, found = ratios(make, steps, rounds)
    (low, held_low), (ratio, held), (high, held_high) = np.quantile(
        found, [0.25, 0.5, 0.75], axis=0
    ).tolist()
    rows: list[dict[str, Any]] = [
        {"model": name, "signal": what, "often": often, "seconds": each, "calls": calls,
         "share": each * calls / plain}
        for what, often, each, calls in signals(make, steps)
    ]  # fmt: skip
    memory = peak(make, steps, watched=True) / peak(make, steps, watched=False)
    share = float(np.median([own_share(make, steps) for _ in range(rounds)]))
    seconds = float(np.median([checked(make) for _ in range(3)]))
    whole = {
        "model": name, "step": plain / steps, "check": seconds, "own": share, "ratio": ratio,
        "quartiles": [low, high], "held": held, "held quartiles": [held_low, held_high],
        "memory": memory,
    }  # fmt: skip
    return [*rows, whole]


def _quartiles(median: float, ends: list[float]) -> str:
    return f"{median:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--model", choices=list(MODELS), help="one of the three; all by default")
    parser.add_argument("--save", default="doctor_cost", help="file under results/, without .json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.large:
        large(min(arguments.steps, 8))
        return
    rows: list[dict[str, Any]] = []
    for name in [arguments.model] if arguments.model else list(MODELS):
        rows += measured(name, MODELS[name], arguments.steps, arguments.rounds)
    wholes = [row for row in rows if "signal" not in row]
    columns = ["model", "step, µs", "check, s", "own calls", "time with / without (quartiles)",
               "batches held alone", "memory with / without"]  # fmt: skip
    table = [
        [row["model"], f"{1e6 * row['step']:.0f}", f"{row['check']:.2f}", f"{row['own']:.1%}",
         _quartiles(row["ratio"], row["quartiles"]),
         _quartiles(row["held"], row["held quartiles"]), f"{row['memory']:.3f}"]
        for row in wholes
    ]  # fmt: skip
    show("The whole", columns, table)
    columns = ["model", "signal", "noted", "µs each", "calls", "share of the time"]
    parts = [
        [row["model"], row["signal"], row["often"], f"{1e6 * row['seconds']:.0f}",
         str(row["calls"]), f"{row['share']:.2%}"]
        for row in rows if "signal" in row
    ]  # fmt: skip
    show("Its parts", columns, parts)
    save(arguments.save, rows)


if __name__ == "__main__":
    main()
