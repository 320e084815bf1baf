"""What the examples share: their arguments, their data and their stopwatch."""

import argparse
import sys
import timeit
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg import data, linear

__all__ = ["Array", "above", "arguments", "regression", "seconds_per_epoch"]

Array = NDArray[np.float64]


def arguments(description: str | None) -> argparse.Namespace:
    """Read --out and --quick."""
    picture = Path(sys.argv[0]).with_suffix(".png").name
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default=picture, metavar="FILE.png", help=f"default: {picture}")
    parser.add_argument("--quick", action="store_true", help="do less, for a first look")
    return parser.parse_args()


def regression() -> tuple[Array, Array, float]:
    """Return whitened features and target of airfoil, else of diabetes, and the least loss.

    Whitened: each column has mean 0 and standard deviation 1. Of airfoil's 1,503 rows the first
    1,500 are used, as is usual. The least loss is that of the least-squares solution.
    """
    try:
        dataset = data.load("airfoil")
    except FileNotFoundError as error:
        print(f"diabetes stands in for airfoil: {error}\n")
        dataset = data.load("diabetes")
    table = np.column_stack([dataset.X, dataset.y])
    table = ((table - table.mean(axis=0)) / table.std(axis=0))[:1500]
    X, y = table[:, :-1], table[:, -1]
    with_ones = np.column_stack([X, np.ones(len(X))])
    solution = np.linalg.lstsq(with_ones, y)[0]
    least = float(np.mean((with_ones @ solution - y) ** 2) / 2)
    print(f"{dataset.name}: {len(X)} examples, {X.shape[1]} features, least loss {least:.4f}\n")
    return X, y, least


def above(least: float, losses: Array) -> Array:
    """Return by how many per cent losses are above the least; infinite where a lane diverged."""
    return 100 * (np.nan_to_num(losses, nan=np.inf, posinf=np.inf) / least - 1)


def seconds_per_epoch(X: Array, y: Array, epochs: int, **training: Any) -> float:  # noqa: ANN401
    """Time a training of one lane on one thread, alone: the fastest of five runs.

    Other work on the machine can only add to a time, so the least is the nearest to the truth.
    """

    def run() -> None:
        linear.train(X, y, epochs=epochs, evaluate_every=epochs, threads=1, **training)

    return min(timeit.repeat(run, number=1, repeat=5)) / epochs
