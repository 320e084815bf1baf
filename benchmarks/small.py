"""Whether small data are fitted as well as it is claimed, on many sets and splits.

    python benchmarks/small.py

The sets are in small_sets.py: those that scikit-learn carries, whole and of few rows, and others
made up in the kinds that tables have, each with every seed. Counted is where the default fit is
worse on the test rows than its first pass alone (the median of three orders of rows) by more than
1 %, 5 % or 10 %; and how either compares with LogisticRegression or Ridge on scaled columns.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from linear_sets import Parts
from measure import save, show
from one_pass import judged
from small_sets import classifications, regressions
from thalweg.linear import LinearClassifier, LinearRegressor

SEEDS = range(5)
ORDERS = range(3)
BARS = (1.01, 1.05, 1.10)
PAIRS = [("default", "one pass"), ("one pass", "peer"), ("default", "peer")]
TINY = 1e-3  # added to losses: a tenth of hardly anything is nothing


def error(fit: Any, X: Any, y: Any) -> float:
    """Return the squared error over the variance."""
    return float(np.mean((fit.predict(X) - y) ** 2) / np.var(y))


def losses(parts: Parts, kind: Any, peer: Any, judge: Any) -> dict[str, float]:
    """Return the test losses of each way to fit."""
    X, X_test, y, y_test = parts
    scaler = MaxAbsScaler() if issparse(X) else StandardScaler()
    passes = [kind(finish=False, random_state=order).fit(X, y) for order in ORDERS]
    return {
        "one pass": float(np.median([judge(fit, X_test, y_test) for fit in passes])),
        "default": judge(kind(random_state=0).fit(X, y), X_test, y_test),
        "peer": judge(make_pipeline(scaler, peer).fit(X, y), X_test, y_test),
    }


def rows() -> Iterator[dict[str, Any]]:
    for seed in SEEDS:
        for name, parts in classifications(seed):
            found = losses(parts, LinearClassifier, LogisticRegression(max_iter=1000), judged)
            yield {"part": "splits", "set": name, "seed": seed, "loss": "log loss", **found}
        for name, parts in regressions(seed):
            found = losses(parts, LinearRegressor, Ridge(), error)
            yield {"part": "splits", "set": name, "seed": seed, "loss": "squared", **found}


def compared(found: list[dict[str, Any]], loss: str, one: str, other: str) -> dict[str, Any]:
    """Return on how many splits the one is worse than the other, and by what."""
    own = [row for row in found if row["loss"] == loss]
    ratios = np.array([(row[one] + TINY) / (row[other] + TINY) for row in own])
    return {
        "part": "counts", "loss": loss, "one": one, "other": other, "splits": f"{len(own)}",
        "worse": [int((ratios > bar).sum()) for bar in BARS], "worst": float(ratios.max()),
        "mean": float(np.exp(np.log(ratios).mean())),
    }  # fmt: skip


def main() -> None:
    warnings.simplefilter("ignore")  # of peers that did not converge
    found = list(rows())
    counts = [compared(found, loss, *pair) for loss in ("log loss", "squared") for pair in PAIRS]
    save("small", [*found, *counts])
    cells = [
        [*(row[name] for name in ("loss", "one", "other", "splits")), *map(str, row["worse"]),
         f"{row['worst']:.2f}", f"{row['mean']:.3f}"]
        for row in counts
    ]  # fmt: skip
    columns = ["loss", "one", "other", "splits", *(f"> {bar}" for bar in BARS), "worst", "mean"]
    show("How often the one is worse than the other", columns, cells)


if __name__ == "__main__":
    main()
