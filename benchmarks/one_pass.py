"""Test losses with nothing tuned: after one pass, of the default fit, and of scikit-learn.

    python benchmarks/one_pass.py

LinearClassifier and LinearRegressor by their defaults, without the finish (the median of five
seeds) and with it. Beside them LogisticRegression and Ridge on columns that StandardScaler, or
MaxAbsScaler of sparse ones, has scaled, and SGDClassifier and SGDRegressor by their defaults on the
same. The sets are in linear_sets.py; a9a must lie in the folder that THALWEG_DATA names.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from linear_sets import Parts, classifications, regressions
from measure import save, show
from thalweg.linear import LinearClassifier, LinearRegressor

SEEDS = range(5)
SHOWN = ["one pass", "default fit", "scaled, optimum", "scaled, SGD"]


def losses(parts: Parts, ours: Any, optimum: Any, sgd: Any, judge: Any) -> dict[str, float]:
    """Return what a judge says of each model of a set."""
    X, X_test, y, y_test = parts
    fits = [ours(finish=False, random_state=seed).fit(X, y) for seed in SEEDS]

    def scaled(model: Any) -> Any:
        scaler = MaxAbsScaler() if issparse(X) else StandardScaler()
        return make_pipeline(scaler, model).fit(X, y)

    others = [ours(random_state=0).fit(X, y), scaled(optimum), scaled(sgd)]
    found = [np.median([judge(fit, X_test, y_test) for fit in fits])]
    found += [judge(fit, X_test, y_test) for fit in others]
    return dict(zip(SHOWN, map(float, found), strict=True))


def judged(fit: Any, X: Any, y: Any) -> float:
    return float(log_loss(y, fit.predict_proba(X), labels=fit.classes_))


def rows() -> Iterator[dict[str, Any]]:
    for name, parts in classifications():
        models = LogisticRegression(max_iter=1000), SGDClassifier("log_loss", random_state=0)
        found = losses(parts, LinearClassifier, *models, judged)
        yield {"set": name, "loss": "log loss", **found}
    for name, parts in regressions():
        _, _, y, y_test = parts
        constant = mean_squared_error(y_test, np.full(len(y_test), y.mean()))
        found = losses(
            parts, LinearRegressor, Ridge(), SGDRegressor(random_state=0),
            lambda fit, X, y, one=constant: mean_squared_error(y, fit.predict(X)) / one,
        )  # fmt: skip
        yield {"set": name, "loss": "squared, over a constant's", **found}


def main() -> None:
    warnings.simplefilter("ignore")  # of peers that did not converge
    found = list(rows())
    save("one_pass", found)
    cells = [[row["set"], row["loss"], *(f"{row[name]:.4f}" for name in SHOWN)] for row in found]
    show("Nothing tuned", ["set", "test loss", *SHOWN], cells)


if __name__ == "__main__":
    main()
