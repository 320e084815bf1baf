"""Why minibatches: one example at a time wastes the machine, all at once wastes the examples.

A step costs time that grows slower than its batch, and a larger batch takes fewer, better steps
per epoch. Each batch size gets the rate, of a few in lanes, that reaches the target in the fewest
epochs; then its time per epoch is measured alone. The same holds for a matrix product by elements,
columns, blocks of columns or as a whole: large pieces keep the machine busy.
"""

import timeit
from typing import NamedTuple

import numpy as np
from common import Array, above, arguments, regression, seconds_per_epoch
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from thalweg import linear, style

TARGET = 1.0  # % above the least loss
EPOCHS = 30


def product_rates(size: int) -> dict[str, float]:
    """Measure a matrix product A B by pieces, in GFLOP/s: 2 size³ operations, one thread."""
    A, B = np.random.default_rng(0).standard_normal((2, size, size))

    def by_elements() -> None:
        for row in A:
            for column in B.T:
                row @ column

    def by_columns(width: int) -> None:
        for j in range(0, size, width):
            A @ B[:, j : j + width]

    pieces = {
        "element": by_elements,
        "column": lambda: by_columns(1),
        "block of 64": lambda: by_columns(64),
        "whole": lambda: by_columns(size),
    }
    with threadpool_limits(1):
        times = {name: timeit.repeat(run, number=1, repeat=8) for name, run in pieces.items()}
    return {name: 2 * size**3 / min(seconds) / 1e9 for name, seconds in times.items()}


class Contestant(NamedTuple):
    """A batch size at its rate, and how it did."""

    batch_size: int
    rate: float
    excess: Array  # loss above the least after each epoch, in %
    epochs: float  # to the target
    milliseconds: float  # per epoch

    @property
    def total(self) -> float:
        """Milliseconds to the target."""
        return self.epochs * self.milliseconds


def contestant(X: Array, y: Array, least: float, batch_size: int, timed: int) -> Contestant:
    """Find the rate that is first at the target, then time it over so many epochs."""
    rates = np.geomspace(1e-4, 2, 32).tolist()
    fit = linear.train(X, y, rule="sgd", epochs=EPOCHS, batch_size=batch_size, lr=rates)
    excess = above(least, fit.train_loss)
    there = excess <= TARGET
    first = np.where(there.any(axis=0), there.argmax(axis=0), np.inf)
    lane = np.lexsort([excess.min(axis=0), first])[0]
    seconds = seconds_per_epoch(X, y, timed, rule="sgd", batch_size=batch_size, lr=rates[lane])
    return Contestant(batch_size, rates[lane], excess[:, lane], first[lane], 1000 * seconds)


def draw(contestants: list[Contestant], products: dict[str, float]) -> Figure:
    """Draw loss against time, and the rates of the matrix products."""
    picture, (left, right) = style.figure(9.0, 3.8, ncols=2, width_ratios=[3, 2])
    for one, marker in zip(contestants, "os^D", strict=True):
        left.loglog(
            one.milliseconds * np.arange(1, EPOCHS + 1), np.minimum.accumulate(one.excess[1:]),
            marker=marker, markersize=3, label=f"batch {one.batch_size}, lr {one.rate:.2g}",
        )  # fmt: skip
    left.axhline(TARGET, color=style.INK, linewidth=0.8, linestyle="-")
    left.text(0.99, TARGET, "target", transform=left.get_yaxis_transform(), ha="right", va="bottom")
    left.set(
        title="SGD, a mark per epoch", ylim=(0.1, 200),
        xlabel="time (ms, one thread)", ylabel="lowest loss so far, above the least (%)",
    )  # fmt: skip
    left.legend()
    bars = right.barh(list(products), list(products.values()), color=style.WINNER)
    right.bar_label(bars, fmt="%.2g", padding=3)
    right.set(
        xscale="log",
        title="A matrix product, by pieces",
        xlabel="GFLOP/s (NumPy, float64, one thread)",
    )
    right.margins(x=0.3)
    right.invert_yaxis()
    right.grid(visible=False, axis="y")
    return picture


def main() -> None:
    """Race the batch sizes to the target and time the products; print and draw both."""
    args = arguments(__doc__)
    X, y, least = regression()
    timed = 100 if args.quick else 1000
    contestants = [contestant(X, y, least, size, timed) for size in (1, 10, 100, len(X))]
    fastest = min(contestants, key=lambda one: one.total)

    given = fastest.total
    print("                      ms per  epochs to       ms to   % above least")
    print(f"batch size       lr    epoch  within 1 %  within 1 %  after {given:.3f} ms")
    for one in contestants:
        reached = one.excess[: int(given / one.milliseconds + 1e-9) + 1].min()
        cells = f"{one.batch_size:10d} {one.rate:8.4f} {one.milliseconds:8.4f} {one.epochs:10g}"
        print(f"{cells} {one.total:11.3f} {reached:15.3f}")
    print(f"\nbatch size {fastest.batch_size} reaches the target first\n")

    products = product_rates(128 if args.quick else 256)
    print("matrix product by   GFLOP/s")
    for name, gflops in products.items():
        print(f"{name:17s} {gflops:9.3f}")

    with style.styled():
        print(f"picture: {style.save(draw(contestants, products), args.out)}")


if __name__ == "__main__":
    main()
