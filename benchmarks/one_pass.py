"""Test losses after one pass with nothing tuned, beside scikit-learn's optimum.

    python benchmarks/one_pass.py

LinearClassifier and LinearRegressor by their defaults, without the finish (the median of five
seeds) and with it. Beside them LogisticRegression and Ridge. Raw columns are as
they come, standardized ones by the training part. Three quarters of the rows are trained on, in
three splits; a9a, which the folder that THALWEG_DATA names must have, brings its own test part.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_svmlight_file
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from measure import save, show
from thalweg import data
from thalweg.linear import LinearClassifier, LinearRegressor

SEEDS = range(5)
SPLITS = range(3)


def classifications() -> Iterator[tuple[str, Any]]:
    """Yield the sets with their training and test parts."""
    folder = Path(os.environ["THALWEG_DATA"])
    X, y = load_svmlight_file(str(folder / "a9a"), n_features=123)
    X_test, y_test = load_svmlight_file(str(folder / "a9a.t"), n_features=123)
    yield "a9a", (X, X_test, y, y_test)
    X, y = load_breast_cancer(return_X_y=True)
    for split in SPLITS:
        parts = train_test_split(X, y, random_state=split, stratify=y)
        yield f"breast cancer, raw, split {split}", parts
        scaler = StandardScaler().fit(parts[0])
        scaled = [scaler.transform(part) for part in parts[:2]]
        yield f"breast cancer, standardized, split {split}", (*scaled, *parts[2:])


def regressions() -> Iterator[tuple[str, Any]]:
    """The same, with numbers to predict."""
    for name in ("diabetes", "airfoil"):
        known = data.load(name)
        for split in SPLITS:
            parts = train_test_split(np.asarray(known.X), known.y, random_state=split)
            yield f"{name}, raw, split {split}", parts


def rows() -> Iterator[dict[str, Any]]:
    for name, (X, X_test, y, y_test) in classifications():
        fits = [LinearClassifier(finish=False, random_state=seed).fit(X, y) for seed in SEEDS]
        found = np.median([log_loss(y_test, fit.predict_proba(X_test)) for fit in fits])
        whole = log_loss(y_test, LinearClassifier().fit(X, y).predict_proba(X_test))
        optimum = LogisticRegression(max_iter=100_000).fit(X, y)
        best = log_loss(y_test, optimum.predict_proba(X_test))
        yield {"set": name, "loss": "log loss", **numbers(found, whole, best)}
    for name, (X, X_test, y, y_test) in regressions():
        fits = [LinearRegressor(finish=False, random_state=seed).fit(X, y) for seed in SEEDS]
        constant = mean_squared_error(y_test, np.full(len(y_test), y.mean()))
        found = np.median([mean_squared_error(y_test, fit.predict(X_test)) for fit in fits])
        whole = mean_squared_error(y_test, LinearRegressor().fit(X, y).predict(X_test))
        best = mean_squared_error(y_test, Ridge().fit(X, y).predict(X_test))
        shares = numbers(found / constant, whole / constant, best / constant)
        yield {"set": name, "loss": "squared, over a constant's", **shares}


def numbers(one_pass: float, default: float, theirs: float) -> dict[str, float]:
    found = {"one pass": one_pass, "default fit": default, "scikit-learn": theirs}
    return {name: float(loss) for name, loss in found.items()}


def main() -> None:
    found = list(rows())
    save("one_pass", found)
    shown = ["one pass", "default fit", "scikit-learn"]
    cells = [[row["set"], row["loss"], *(f"{row[name]:.4f}" for name in shown)] for row in found]
    show("Nothing tuned", ["set", "test loss", *shown], cells)


if __name__ == "__main__":
    main()
