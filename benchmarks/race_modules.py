"""Trials per minute of a module's trainings in lanes, beside loops over the same trials.

    python benchmarks/race_modules.py [--trials 64] [--epochs 3] [--rounds 6] [--only mlp lenet]

The same settings of AdamW (rates from 1e-5 to 1), the same data, batch 32: an MLP 64-64-10 on
scikit-learn's digits, LeNet on the digits enlarged to 28 x 28, softmax regression on the digits.
Contestants, each with the whole machine, in turn, as measure.py says:

- thalweg: pieces of at most ``task.lanes`` trials in one process per core, as a race of one rule
  runs them;
- compiled: the same with ``compile=True``;
- linear: ``thalweg.linear.train``, by which ``thalweg race digits`` trains softmax regression;
- loop: torch.optim.AdamW, trial after trial, tensors in memory, torch's own threads;
- loop, 1 thread: the same with one thread, for small modules lose by more;
- optuna: the loop driven by a study with random sampling (left out where it is not installed);
- jax: optax.adamw, vmap over the trials of a scan over the steps (left out where not installed).

Processes are started and every program is compiled before the clock starts.
"""

import argparse
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

import thalweg
from lenet import lenet
from measure import ROUNDS, Row, compared, noise, save_timed, show
from thalweg.linear import train as train_linear
from thalweg.racing.trial import Trial
from thalweg.racing.workers import hired, train
from thalweg.rules import get
from thalweg.tasks.modules import ModuleTask

BATCH = 32
OURS = ("thalweg", "compiled", "linear")


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def linear() -> nn.Module:
    return nn.Linear(64, 10)


MODULES: dict[str, Callable[[], nn.Module]] = {"mlp": mlp, "linear": linear, "lenet": lenet}


def task(name: str, *, compiled: bool = False) -> thalweg.TorchTask:
    X, y = load_digits(return_X_y=True)
    X = torch.tensor(X / 16, dtype=torch.float32)
    if name == "lenet":
        X = functional.interpolate(X.reshape(-1, 1, 8, 8), (28, 28), mode="bilinear")
    return thalweg.TorchTask(
        model=MODULES[name], loss=functional.cross_entropy, train=(X, y), compile=compiled
    )


def rates(trials: int) -> list[float]:
    drawn: list[float] = np.logspace(-5, 0, trials).tolist()
    return drawn


def in_lanes(prepared: ModuleTask, epochs: int, cores: int) -> tuple[Callable[[int], None], Any]:
    """Return what runs so many trials on processes that are warm, and the processes."""
    place = hired(prepared, "processes", cores)
    workers = place.__enter__()

    def run(trials: int) -> None:
        own = [
            Trial("adamw", "round 1", i, 0, BATCH, get("adamw").defaults | {"lr": lr}, epochs)
            for i, lr in enumerate(rates(trials))
        ]
        lanes = min(prepared.lanes, -(-trials // cores))
        for first in range(0, trials, lanes):
            workers.submit(None, train, own[first : first + lanes], keep=False)
        for _ in range(0, trials, lanes):
            workers.next()

    return run, place


def linear_lanes(prepared: ModuleTask, name: str, epochs: int) -> Callable[[int], None] | None:
    if name != "linear":
        return None
    (X, y), (Xv, yv) = ([t.numpy() for t in part] for part in (
        prepared._parts.train, prepared._parts.validation  # noqa: SLF001
    ))  # fmt: skip
    terms: dict[str, Any] = {"loss": "softmax", "rule": "adamw", "batch_size": BATCH}

    def run(trials: int) -> None:
        train_linear(X, y, validation=(Xv, yv), lr=rates(trials), epochs=epochs, **terms)

    return run


def loop(prepared: ModuleTask, epochs: int, threads: int) -> Callable[[int], None]:
    (X, y), validation = prepared._parts.train, prepared._parts.validation  # noqa: SLF001

    def one(lr: float) -> float:
        torch.manual_seed(0)
        model = prepared.description.model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(len(y)), BATCH):
                optimizer.zero_grad()
                loss = functional.cross_entropy(model(X[rows]), y[rows])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            with torch.no_grad():
                found = functional.cross_entropy(model(validation[0]), validation[1]).item()
        return found

    def run(trials: int) -> None:
        torch.set_num_threads(threads)
        for lr in rates(trials):
            one(lr)

    run.one = one  # type: ignore[attr-defined] # what a study calls
    return run


def optuna_loop(prepared: ModuleTask, epochs: int, threads: int) -> Callable[[int], None] | None:
    try:
        import optuna  # noqa: PLC0415 - may be absent
    except ModuleNotFoundError:
        return None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    one = loop(prepared, epochs, threads).one  # type: ignore[attr-defined]

    def run(trials: int) -> None:
        torch.set_num_threads(threads)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        study.optimize(lambda t: one(t.suggest_float("lr", 1e-5, 1, log=True)), n_trials=trials)

    return run


def jax_outputs(name: str, parameters: list[Any], x: Any) -> Any:
    """Return what the module of that name puts out, in JAX."""
    import jax  # noqa: PLC0415 - may be absent
    from jax import lax  # noqa: PLC0415 - may be absent
    from jax import numpy as jnp  # noqa: PLC0415 - may be absent

    layers = list(zip(parameters[::2], parameters[1::2], strict=True))
    bend = jnp.tanh if name == "lenet" else jax.nn.relu
    if name == "lenet":
        for (w, b), padding in zip(layers[:2], ("SAME", "VALID"), strict=True):
            x = bend(lax.conv_general_dilated(x, w, (1, 1), padding) + b[:, None, None])
            x = lax.reduce_window(x, 0.0, lax.add, (1, 1, 2, 2), (1, 1, 2, 2), "VALID") / 4
        x, layers = x.reshape(len(x), -1), layers[2:]
    for w, b in layers[:-1]:
        x = bend(x @ w.T + b)
    w, b = layers[-1]
    return x @ w.T + b


def jax_lanes(prepared: ModuleTask, name: str, epochs: int) -> Callable[[int], None] | None:
    try:
        import jax  # noqa: PLC0415 - may be absent
        import optax  # noqa: PLC0415 - may be absent
    except ModuleNotFoundError:
        return None
    from jax import numpy as jnp  # noqa: PLC0415 - may be absent

    (X, y), (Xv, yv) = ([jnp.asarray(t.numpy()) for t in part] for part in (
        prepared._parts.train, prepared._parts.validation  # noqa: SLF001
    ))  # fmt: skip
    steps = len(y) // BATCH
    start = [jnp.asarray(p.detach().numpy()) for p in prepared.description.model().parameters()]

    def loss(p: Any, x: Any, labels: Any) -> Any:
        logits = jax_outputs(name, p, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def training(lr: Any, rows: Any) -> Any:
        optimizer = optax.adamw(lr)

        def step(carry: Any, own: Any) -> Any:
            p, state = carry
            updates, state = optimizer.update(jax.grad(loss)(p, X[own], y[own]), state, p)
            return (optax.apply_updates(p, updates), state), None

        def epoch(carry: Any, own: Any) -> Any:
            carry, _ = jax.lax.scan(step, carry, own)
            return carry, loss(carry[0], Xv, yv)

        return jax.lax.scan(epoch, (start, optimizer.init(start)), rows)[1]

    together = jax.jit(jax.vmap(training, in_axes=(0, None)))

    def run(trials: int) -> None:
        rng = np.random.default_rng(0)
        orders = [rng.permutation(len(y))[: steps * BATCH] for _ in range(epochs)]
        rows = np.stack(orders).reshape(epochs, steps, BATCH)
        together(jnp.array(rates(trials)), rows).block_until_ready()

    return run


def contest(name: str, trials: int, epochs: int, rounds: int) -> Row:
    cores = len(os.sched_getaffinity(0))
    prepared, compiled = (ModuleTask(task(name, compiled=c), 0) for c in (False, True))
    ours, places = zip(*(in_lanes(t, epochs, cores) for t in (prepared, compiled)), strict=True)
    contestants = {
        "thalweg": ours[0],
        "compiled": ours[1],
        "linear": linear_lanes(prepared, name, epochs),
        "loop": loop(prepared, epochs, cores),
        "loop, 1 thread": loop(prepared, epochs, 1),
        "optuna": optuna_loop(prepared, epochs, 1),
        "jax": jax_lanes(prepared, name, epochs),
    }
    few = max(2, trials // 16)  # of a loop: each costs as much as the next
    whole = {*OURS, "jax"}
    counts = {n: trials if n in whole else few for n in contestants}
    present = {n: run for n, run in contestants.items() if run is not None}
    runs = {n: functools.partial(run, counts[n]) for n, run in present.items()}
    found = compared(runs, rounds, counts)
    for place in places:
        place.__exit__(None, None, None)
    lanes = [prepared.lanes, compiled.lanes]
    row = {"module": name, "lanes": lanes, "epochs": epochs, "trials": trials}
    row |= {"per_minute": {n: 60 / found.median(n) for n in runs}}
    ratios = {o: {n: list(found.ratio(n, o)) for n in runs} for o in OURS if o in runs}
    return row | {"ratios": ratios} | found.row(found.fastest(set(runs) - set(OURS)))


def cells(row: Row, ours: str, names: Sequence[str]) -> list[str]:
    found = row["ratios"][ours]
    written = (
        "{:.1f} [{:.1f}, {:.1f}]".format(*found[n]) if n in found else "absent" for n in names
    )
    return [row["module"], ours, f"{row['per_minute'][ours]:.0f}", *written]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", nargs="+", choices=list(MODULES), default=list(MODULES))
    args = parser.parse_args()
    rows = [contest(name, args.trials, args.epochs, args.rounds) for name in args.only]
    names = ("loop", "loop, 1 thread", "optuna", "jax")
    columns = ["module", "", "trials per minute", *(f"over {n} [95 %]" for n in names)]
    lines = [cells(row, ours, names) for row in rows for ours in row["ratios"]]
    show(f"batch {BATCH}, {args.epochs} epochs", columns, lines)
    print(noise(rows))
    save_timed("race_modules", rows)


if __name__ == "__main__":
    main()
