"""What the first fit of a linear model waits for: seconds of the processor with empty caches.

    python benchmarks/first_fit.py

Each fit has a process of its own and a folder of its own for machine code: the first process
compiles, the second finds what the first has left. Imports are not counted. Rows are few, so that
compiling is what is measured; the median of three rounds counts.
"""

import os
import subprocess
import sys
import tempfile
import time

import numpy as np
from scipy.sparse import csr_matrix

from measure import save, show
from thalweg.linear import LinearClassifier, train

ROUNDS = 3
FITS = {
    "sparse": "LinearClassifier, sparse rows",
    "dense": "LinearClassifier, dense rows",
    "lanes": "train, rates of Adam",
}


def fit(which: str) -> None:
    """Fit once and print how long that took."""
    rng = np.random.default_rng(0)
    X = np.maximum(rng.normal(size=(300, 20)), 0)
    y = (X.sum(axis=1) > X.sum(axis=1).mean()).astype(int)
    began = time.process_time()
    if which == "lanes":
        train(X, y, loss="logistic", rule="adam", lr=[0.001, 0.01], epochs=2)
    else:
        LinearClassifier().fit(csr_matrix(X) if which == "sparse" else X, y)
    print(time.process_time() - began)


def seconds(which: str) -> tuple[float, float]:
    """Return those of the first process and of the second."""
    with tempfile.TemporaryDirectory() as folder:
        own = os.environ | {"THALWEG_CACHE": folder, "NUMBA_CACHE_DIR": folder}
        first, second = (
            subprocess.run(  # noqa: S603 - this file
                [sys.executable, __file__, which],
                env=own, capture_output=True, text=True, check=True,
            )
            for _ in range(2)
        )  # fmt: skip
        return float(first.stdout), float(second.stdout)


def main() -> None:
    rows = []
    for which, name in FITS.items():
        first, second = np.median([seconds(which) for _ in range(ROUNDS)], axis=0)
        rows.append({"fit": name, "first": first, "second": second})
    save("first_fit", rows)
    cells = [[row["fit"], f"{row['first']:.1f}", f"{row['second']:.2f}"] for row in rows]
    show("Seconds of the processor", ["fit", "empty caches", "a later process"], cells)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        fit(sys.argv[1])
    else:
        main()
