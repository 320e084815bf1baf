"""A file that does not fit into memory, and rows that are sorted.

    python benchmarks/stream.py [--rows 100000000]

Writes a Parquet file of so many rows with 20 numbers of 32 bits into a temporary folder (10⁸ rows:
7.8 GiB), trains a LinearClassifier on it in one pass of ``fit_stream``, and prints its seconds by
the clock, the log loss on 100,000 new rows, and the most memory that the process held: before it,
and in all. Then one pass over a9a, which is in the folder that THALWEG_DATA names: as it comes,
sorted by class, and in random order, the median of five seeds.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from linear_sets import a9a
from measure import save, show
from one_pass import judged
from thalweg.linear import LinearClassifier

COLUMNS, PART = 20, 1_000_000
SEEDS = range(5)


def drawn(seed: int, rows: int) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Draw rows and their classes; the weights are the same for all seeds."""
    weights = np.random.default_rng(0).normal(size=COLUMNS)
    rng = np.random.default_rng(seed + 1)
    X = rng.standard_normal((rows, COLUMNS), np.float32)
    return X, (X @ weights + rng.logistic(size=rows) > 0).astype(np.int8)


def written(path: Path, rows: int) -> None:
    """Write the file, a part after the other."""
    names = [f"x{j}" for j in range(COLUMNS)]
    schema = pa.schema([*((name, pa.float32()) for name in names), ("y", pa.int8())])
    with parquet.ParquetWriter(path, schema, compression="none", use_dictionary=False) as file:
        for part in range(-(-rows // PART)):
            X, y = drawn(part, min(PART, rows - part * PART))
            file.write_table(pa.table([*map(pa.array, X.T), pa.array(y)], schema=schema))


def held() -> float:
    """Return the most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def streamed(rows: int) -> dict[str, Any]:
    """Train on a file that another process has written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        writer = multiprocessing.get_context("spawn").Process(target=written, args=(path, rows))
        writer.start()  # so that what it holds is not counted
        writer.join()
        size, before, began = path.stat().st_size, held(), time.perf_counter()
        fit = LinearClassifier(random_state=0).fit_stream(str(path), target="y")
        seconds = time.perf_counter() - began
    X, y = drawn(-1, 100_000)
    return {
        "rows": rows, "GiB": size / 2**30, "seconds": seconds, "MiB before": before,
        "MiB": held(), "log loss": judged(fit, X, y),
    }  # fmt: skip


def orders() -> Iterator[dict[str, Any]]:
    """Yield the log loss after one pass over a9a in several orders."""
    X, X_test, y, y_test = a9a()
    for name in ("as it comes", "sorted by class", "random"):
        losses = []
        for seed in SEEDS:
            order = np.arange(len(y))
            if name != "as it comes":
                order = np.random.default_rng(seed).permutation(len(y))
            if name == "sorted by class":
                order = order[np.argsort(y[order], kind="stable")]
            fit = LinearClassifier(finish=False, random_state=seed).fit(X[order], y[order])
            losses.append(judged(fit, X_test, y_test))
        yield {"a9a": name, "log loss": float(np.median(losses))}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10**8, help="of the file; 10^8 by default")
    asked = parser.parse_args()
    found = [streamed(asked.rows)]
    show("One pass over a file", list(found[0]), [[f"{v:,.6g}" for v in found[0].values()]])
    if "THALWEG_DATA" in os.environ:
        found += orders()
        lines = [[row["a9a"], f"{row['log loss']:.4f}"] for row in found[1:]]
        show("One pass over a9a", ["order", "log loss"], lines)
    save("stream", found)


if __name__ == "__main__":
    main()
