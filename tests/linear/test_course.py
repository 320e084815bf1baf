"""The course of a model: whether the optimum is kept, or what the passes found."""

import importlib
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import KFold, cross_val_score

from thalweg.linear import LinearClassifier

MODULES = "numpy", "scipy.linalg", "scipy.signal", "scipy.special", "scipy.stats"
FOLDS = KFold(5, shuffle=True, random_state=0)


@pytest.fixture(scope="module")
def texts() -> tuple[Any, Any]:
    """What 250 functions say of themselves, as tf-idf, and the number of their module."""
    found: dict[str, int] = {}
    for number, name in enumerate(MODULES):
        for function in vars(importlib.import_module(name)).values():
            text = getattr(function, "__doc__", None)
            if callable(function) and isinstance(text, str):
                found.setdefault(text, number)
    order = np.random.default_rng(0).permutation(len(found))[:250]
    X = TfidfVectorizer(sublinear_tf=True, min_df=2).fit_transform(list(found))[order]
    return X, np.array(list(found.values()))[order]


def left_out(X: Any, y: Any, **given: Any) -> float:
    """Return the loss of rows that are left out."""
    model = LinearClassifier(random_state=0, **given)
    return float(-cross_val_score(model, X, y, scoring="neg_log_loss", cv=FOLDS).sum())


@pytest.mark.parametrize(("module", "finished"), [("scipy.linalg", False), ("scipy.special", True)])
def test_of_many_columns_what_predicts_rows_better_that_are_left_out_is_kept(
    module: str, *, finished: bool, texts: tuple[Any, Any]
) -> None:
    X, y = texts[0], texts[1] == MODULES.index(module)
    assert X.shape[1] > 700
    assert (left_out(X, y, finish=True) < left_out(X, y, finish=False)) == finished
    fit: Any = LinearClassifier(random_state=0).fit(X, y)
    same: Any = LinearClassifier(finish=finished, random_state=0).fit(X, y)
    assert fit.finished_ == same.finished_ == finished
    assert np.array_equal(fit.coef_, same.coef_)
    assert fit.alpha_ == same.alpha_


def test_a_penalty_that_was_given_is_minimized_whatever_predicts_better(
    texts: tuple[Any, Any],
) -> None:
    X, y = texts[0], texts[1] == MODULES.index("scipy.linalg")
    given: Any = LinearClassifier(alpha=1e-2, random_state=0).fit(X, y)
    same: Any = LinearClassifier(alpha=1e-2, finish=True, random_state=0).fit(X, y)
    assert left_out(X, y, alpha=1e-2, finish=True) > left_out(X, y, alpha=1e-2, finish=False)
    assert given.finished_
    assert np.array_equal(given.coef_, same.coef_)
