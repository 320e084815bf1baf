"""Whole trainings of a linear model: thalweg.linear.train against torch, scikit-learn and JAX.

    python benchmarks/epochs.py [--rounds 15]

Airfoil (first 1,500 rows, 5 features, whitened; where it cannot be had, normal numbers of that
shape), squared loss, float32, a fresh shuffle per epoch. Seconds per epoch and lane; contestants
take turns in one process (measure.py says how, and when nothing is written). JAX is given its
permutations for nothing, thalweg makes its own.
"""

import argparse
import importlib.util
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import SGDRegressor

from measure import Ratio, compared, in_words, noise, save_timed, show
from thalweg import data
from thalweg.linear import train

HAVE_JAX = all(importlib.util.find_spec(name) for name in ("jax", "optax"))

Floats = NDArray[np.float32]
Contestants = dict[str, tuple[Callable[[], object], float]]
LR = {"adam": 1e-2, "sgd": 1e-2}
BATCH = 10


def airfoil() -> tuple[Floats, Floats]:
    """Return the whitened data."""
    try:
        dataset = data.load("airfoil")
        table = np.column_stack([dataset.X, dataset.y])[:1500]
    except FileNotFoundError:
        print("airfoil is not at hand: normal numbers of its shape stand in")
        table = np.random.default_rng(0).standard_normal((1500, 6))
    table = (table - table.mean(0)) / table.std(0)
    return table[:, :5].astype(np.float32), table[:, 5].astype(np.float32)


def thalweg_run(
    X: Floats, y: Floats, rule: str, lanes: int, epochs: int, *, batch: int = BATCH
) -> Callable[[], object]:
    rates = (LR[rule] * np.geomspace(0.1, 1, lanes)).tolist()
    return lambda: train(
        X, y, rule=rule, lr=rates, epochs=epochs, batch_size=batch, evaluate_every=epochs
    )


def torch_run(X: Floats, y: Floats, rule: str, *, loader: bool) -> Callable[[], object]:
    """One epoch of the loop that everybody writes, with a DataLoader or with shuffled indices."""
    features, targets = torch.from_numpy(X), torch.from_numpy(y)[:, None]
    model, loss = torch.nn.Linear(X.shape[1], 1), torch.nn.MSELoss()
    kinds: dict[str, Any] = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    optimizer = kinds[rule](model.parameters(), lr=LR[rule])
    dataset = torch.utils.data.TensorDataset(features, targets)
    batches = torch.utils.data.DataLoader(dataset, batch_size=BATCH, shuffle=True)

    def epoch() -> None:
        order = torch.randperm(len(X)).reshape(-1, BATCH)
        for a, b in batches if loader else ((features[i], targets[i]) for i in order):
            optimizer.zero_grad()
            (loss(model(a), b) / 2).backward()
            optimizer.step()

    return epoch


def jax_run(X: Floats, y: Floats, rule: str, lanes: int, epochs: int) -> Callable[[], object]:
    """All epochs in one jit(vmap(scan)); every lane has its own rate."""
    import jax  # noqa: PLC0415 - this benchmark alone needs it
    import jax.numpy as jnp  # noqa: PLC0415
    import optax  # noqa: PLC0415

    features, targets = jnp.asarray(X), jnp.asarray(y)
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(len(X)).reshape(-1, BATCH) for _ in range(epochs)])
    rates = jnp.asarray(LR[rule] * np.geomspace(0.1, 1, lanes), jnp.float32)

    def loss(w: Any, rows: Any) -> Any:
        z = features[rows] @ w[:-1] + w[-1]
        return ((z - targets[rows]) ** 2).mean() / 2

    def training(rate: Any, order: Any) -> Any:
        optimizer = getattr(optax, rule)(rate)

        def step(carry: Any, rows: Any) -> Any:
            w, state = carry
            updates, state = optimizer.update(jax.grad(loss)(w, rows), state)
            return (optax.apply_updates(w, updates), state), None

        start = jnp.zeros(X.shape[1] + 1)
        return jax.lax.scan(step, (start, optimizer.init(start)), order)[0][0]

    compiled = jax.jit(jax.vmap(training, in_axes=(0, None)))
    rows = jnp.asarray(order)
    return lambda: compiled(rates, rows).block_until_ready()


def sklearn_run(X: Floats, y: Floats, epochs: int) -> Callable[[], object]:
    model = SGDRegressor(
        learning_rate="constant", eta0=1e-3, penalty=None, max_iter=epochs, tol=None
    )
    return lambda: model.fit(X, y)


def bytes_per_lane(X: Floats, y: Floats) -> float:
    """Peak memory of 2,048 lanes less that of 1,024, per lane."""
    peaks = []
    for lanes in (1024, 2048):
        run = thalweg_run(X, y, "adam", lanes, 2)
        run()
        tracemalloc.start()
        run()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return (peaks[1] - peaks[0]) / 1024


def contests(X: Floats, y: Floats) -> Iterator[tuple[str, int, int, Contestants]]:
    """Yield rule, lanes, batch size and contestants: name -> (run, epochs in one run)."""
    for rule in ("adam", "sgd"):
        for lanes in (1, 16, 128, 1024):
            epochs = {1: 400, 16: 100, 128: 20, 1024: 10}[lanes]
            several: Contestants = {"thalweg": (thalweg_run(X, y, rule, lanes, epochs), epochs)}
            if HAVE_JAX:
                several["JAX + optax"] = (jax_run(X, y, rule, lanes, epochs), epochs)
            if lanes == 1:
                several["torch, DataLoader"] = (torch_run(X, y, rule, loader=True), 1)
                several["torch, shuffled indices"] = (torch_run(X, y, rule, loader=False), 1)
            yield rule, lanes, BATCH, several
    for lanes in (1, 8, 1024):
        epochs = {1: 100, 8: 100, 1024: 5}[lanes]
        ours = thalweg_run(X, y, "sgd", lanes, epochs, batch=1)
        # scikit-learn trains one model at a time: its lanes follow one another.
        theirs = (sklearn_run(X, y, 100), 100 / lanes)
        yield "sgd", lanes, 1, {"thalweg": (ours, epochs), "scikit-learn": theirs}


def measured(
    rule: str, lanes: int, batch: int, several: Contestants, rounds: int
) -> list[dict[str, Any]]:
    """Return a row per contestant: microseconds per epoch and lane, and over thalweg's."""
    work = {name: epochs * lanes for name, (_, epochs) in several.items()}
    found = compared({name: run for name, (run, _) in several.items()}, rounds, work)
    return [
        {"rule": rule, "lanes": lanes, "batch": batch, "contestant": name, "ratio": 1.0}
        | {"microseconds": 1e6 * found.median(name), "noise": found.noise(name)}
        | found.row(None if name == "thalweg" else name)
        for name in several
    ]


def cells(row: dict[str, Any]) -> list[str]:
    named = [str(row[key]) for key in ("rule", "lanes", "batch", "contestant")]
    own = "interval" not in row
    against = "" if own else in_words(Ratio(row["ratio"], *row["interval"]), Ratio(*row["control"]))
    return [*named, f"{row['microseconds']:.2f}", against]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    X, y = airfoil()
    rows: list[dict[str, Any]] = []
    for contest in contests(X, y):
        rows += measured(*contest, options.rounds)
        for row in rows[-len(contest[-1]) :]:
            print(" ".join(f"{cell:>12s}" for cell in cells(row)))
    if not HAVE_JAX:
        print("JAX or optax is not installed: left out")
    memory = {n: bytes_per_lane(np.tile(X, (n, 1)), np.tile(y, n)) for n in (1, 10)}
    show(
        "one epoch of airfoil, float32: microseconds per epoch and lane",
        ["rule", "lanes", "batch", "contestant", "us", "over thalweg's [95 %]"],
        [cells(row) for row in rows],
    )
    print(
        f"bytes per lane, Adam, 6 parameters: {memory[1]:.0f} at n = 1,500, "
        f"{memory[10]:.0f} at n = 15,000"
    )
    print(noise(rows))
    save_timed("epochs", [*rows, {"bytes_per_lane": memory}])


if __name__ == "__main__":
    main()
