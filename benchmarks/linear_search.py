"""A hundred settings of a linear model with ten passes each, beside a loop of scikit-learn's.

    python benchmarks/linear_search.py

LinearSearch over ten rates and ten penalties, against fits of SGDClassifier with as many passes at
the same penalties, in processor time: of scikit-learn's hundred fits ten are timed, one for each
penalty. Rounds alternate; the ratio is the median of theirs. A quarter of the rows is held out for
the score. a9a is in the folder that THALWEG_DATA names; the two other sets are drawn.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.datasets import load_svmlight_file
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import ShuffleSplit

from measure import save, show
from thalweg.linear import LinearClassifier, LinearSearch

ROUNDS = 5
PASSES = 10
RATES = np.geomspace(0.05, 5, 10)
PENALTIES = np.geomspace(1e-7, 1e-3, 10)


def like_rcv1(rows: int = 20_000, columns: int = 47_236, entries: int = 73) -> tuple[Any, Any]:
    """Draw rows of as many columns and entries as RCV1 has, frequent columns first."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, columns + 1) ** 0.9
    drawn = rng.choice(columns, size=(rows, entries), p=share / share.sum())
    values = rng.lognormal(size=(rows, entries))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    places = np.arange(rows + 1) * entries
    X = csr_matrix((values.ravel(), drawn.ravel(), places), shape=(rows, columns))
    X.sum_duplicates()
    z = X @ rng.normal(size=columns)
    return X, (z + 0.3 * rng.normal(size=rows) > 0).astype(int)


def sets() -> Iterator[tuple[str, Any, Any]]:
    """Yield the sets."""
    X, y = load_svmlight_file(str(Path(os.environ["THALWEG_DATA"]) / "a9a"), n_features=123)
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    yield "a9a, CSR", X, (y > 0).astype(int)
    yield "of RCV1's shape, CSR", *like_rcv1()
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(30_000, 100)).astype(np.float32)
    z = dense @ rng.normal(size=100)
    yield "30,000 rows of 100 numbers", dense, (z + rng.normal(size=len(z)) > 0).astype(int)


def seconds(function: Callable[[], Any]) -> float:
    """Return the processor time of a call."""
    began = time.process_time()
    function()
    return time.process_time() - began


def compared(X: Any, y: Any) -> tuple[float, float, float]:
    """Return the seconds of both, and the median of their ratios."""
    split = ShuffleSplit(1, test_size=0.25, random_state=0)
    train, test = next(split.split(X))
    ours = LinearClassifier(finish=False, max_iter=PASSES, tol=None, random_state=0)
    grid = {"lr": RATES, "alpha": PENALTIES}
    search = LinearSearch(ours, grid, cv=split, refit=False)

    def loop() -> None:
        for alpha in PENALTIES:
            model = SGDClassifier(
                loss="log_loss", alpha=alpha, max_iter=PASSES, tol=None, random_state=0
            )
            model.fit(X[train], y[train]).score(X[test], y[test])

    search.fit(X[:200], y[:200])  # compiles
    pairs = np.array(
        [(seconds(lambda: search.fit(X, y)), 10 * seconds(loop)) for _ in range(ROUNDS)]
    )
    ratio = float(np.median(pairs[:, 1] / pairs[:, 0]))
    return float(np.median(pairs[:, 0])), float(np.median(pairs[:, 1])), ratio


def main() -> None:
    found: list[dict[str, Any]] = []
    for name, X, y in sets():
        ours, theirs, ratio = compared(X, y)
        found.append({"set": name, "LinearSearch": ours, "SGDClassifier": theirs, "ratio": ratio})
    save("linear_search", found)
    show(
        "A hundred settings, ten passes each",
        ["set", "LinearSearch", "SGDClassifier", "ratio"],
        [
            [
                row["set"],
                f"{row['LinearSearch']:.2f} s",
                f"{row['SGDClassifier']:.1f} s",
                f"{row['ratio']:.1f}",
            ]
            for row in found
        ],
    )


if __name__ == "__main__":
    main()
