"""The search in lanes, against GridSearchCV of the same estimators."""

import warnings
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.utils.estimator_checks import check_estimator

from thalweg.linear import LinearClassifier, LinearRegressor, LinearSearch
from thalweg.linear.course import Course
from thalweg.linear.search import _most_lanes, _packs

PASSES: dict[str, Any] = {"finish": False, "max_iter": 4, "random_state": 0}
MANY: dict[str, Any] = {
    "lr": [0.05, 0.3, 1.0],
    "alpha": [1e-4, 0.01, "auto"],
    "l1_ratio": [0.0, 0.5],
}


def same(ours: LinearSearch, theirs: GridSearchCV) -> None:
    for name, values in theirs.cv_results_.items():
        if name != "params" and values.dtype == float and "time" not in name:
            np.testing.assert_allclose(ours.cv_results_[name], values, rtol=1e-12, atol=1e-15)
        elif "time" not in name:
            np.testing.assert_array_equal(ours.cv_results_[name], values)
    assert ours.best_params_ == theirs.best_params_
    assert ours.best_score_ == pytest.approx(theirs.best_score_, rel=1e-12)
    assert ours.n_splits_ == theirs.n_splits_
    np.testing.assert_array_equal(ours.best_estimator_.coef_, theirs.best_estimator_.coef_)


def test_scores_are_those_of_one_fit_for_each_setting() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    how: dict[str, Any] = {"cv": 2, "return_train_score": True, "scoring": "neg_log_loss"}
    for rows, tol, jobs in ((X, 1e-4, 2), (csr_array(X), None, None)):
        model = LinearClassifier(**PASSES, tol=tol, n_iter_no_change=1)  # each stops by itself
        weight = np.where(y == 1, 1.0, 2.0)
        theirs = GridSearchCV(model, MANY, **how).fit(rows, y, sample_weight=weight)
        ours = LinearSearch(model, MANY, n_jobs=jobs, **how).fit(rows, y, sample_weight=weight)
        same(ours, theirs)
        assert len(set(ours.cv_results_["mean_test_score"])) == 18


def test_other_settings_scores_and_targets_are_searched_too() -> None:
    X, y = load_diabetes(return_X_y=True)
    grid = [{"loss": ["huber"], "epsilon": [1.0, 50.0]}, {"lr": [0.1, 1.0], "batch_size": [1, 16]}]
    how: dict[str, Any] = {
        "cv": KFold(2),
        "scoring": ["r2", "neg_mean_absolute_error"],
        "refit": "r2",
    }
    both = np.column_stack([y, -2 * y])
    model = LinearRegressor(**PASSES)
    ours, theirs = (kind(model, grid, **how).fit(X, both) for kind in (LinearSearch, GridSearchCV))
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_neg_mean_absolute_error"],
        theirs.cv_results_["mean_test_neg_mean_absolute_error"],
        rtol=1e-12,
    )
    assert ours.best_params_ == theirs.best_params_
    iris = load_iris(return_X_y=True)
    exact = LinearClassifier("squared_hinge", tol=0.1, random_state=0)
    for lr in ("auto", 0.3):  # the second in one pack, in which rows are right by a way of our own
        grids = {"alpha": [1e-3, 1.0], "lr": [lr]}
        same(*(kind(exact, grids, cv=2).fit(*iris) for kind in (LinearSearch, GridSearchCV)))


def test_a_setting_that_diverges_leaves_its_neighbours_alone() -> None:
    X, y = load_diabetes(return_X_y=True)
    model = LinearRegressor(rule="sgd", **PASSES)
    found = LinearSearch(model, {"lr": [1e-3, 1e6]}, cv=2, refit=False)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found.fit(X, y)
    assert {each.category for each in said} == {FitFailedWarning, UserWarning}
    assert "infinite at every rate" in str(said[0].message)
    scores = found.cv_results_["mean_test_score"]
    assert np.isfinite(scores[0])
    assert np.isnan(scores[1])
    with pytest.raises(OverflowError, match="infinite at every rate"):
        LinearSearch(model, {"lr": [1e6]}, error_score="raise", cv=2).fit(X, y)


@pytest.mark.parametrize(
    "grid",
    [
        {"alpha": [0.1, -1]},
        {"lr": [0.1, "optimal"]},
        {"alpha": [0.1, None]},
        {"loss": ["logistic", "hinge"]},
    ],
)
def test_settings_that_cannot_be_trained_or_scored_leave_the_others_alone(grid: Any) -> None:
    """As in GridSearchCV: hinge has no probabilities to score."""
    X, y = load_breast_cancer(return_X_y=True)
    options: dict[str, Any] = {"scoring": "neg_log_loss", "cv": 2, "refit": False}
    model = LinearClassifier(lr=0.1, **PASSES)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = LinearSearch(model, grid, **options).fit(X, y).cv_results_["mean_test_score"]
        known = GridSearchCV(model, grid, **options).fit(X, y).cv_results_["mean_test_score"]
    np.testing.assert_allclose(found, known)
    assert np.isnan(found[1])
    assert str(said[0].message).startswith("2 of 4 trainings failed: ")
    name, values = next(iter(grid.items()))
    with pytest.raises((ValueError, AttributeError), match=name if name != "loss" else "proba"):
        LinearSearch(model, {name: values[1:]}, **options).fit(X, y)


def test_settings_are_trained_in_wide_packs_that_threads_share() -> None:
    model = LinearClassifier(**PASSES)
    models = [clone(model).set_params(lr=1 / (1 + i), alpha=1e-3) for i in range(100)]
    for jobs, lanes, sizes in (
        (1, 64, [64, 32, 4]), (1, 32, [32, 32, 32, 4]), (3, 64, [32, 32, 32, 4]),
    ):  # fmt: skip
        packs = _packs(models, jobs, lanes)
        assert [len(pack) for pack in packs] == sizes
        assert [i for pack in packs for i in pack] == list(range(100))[::-1]
    models += [clone(model).set_params(lr="auto"), clone(model).set_params(lr=1.0, alpha="auto")]
    assert [len(pack) for pack in _packs(models, 1, 64)] == [64, 32, 4, 1, 1]


@pytest.mark.parametrize(
    ("columns", "classes", "lanes"),
    [(100, 2, 64), (10_000, 2, 32), (100, 64, 32), (10**6, 2, 8), (10_000, 100, 8)],
)
def test_many_parameters_have_fewer_lanes(columns: int, classes: int, lanes: int) -> None:
    X = csr_array((classes, columns))
    assert _most_lanes(LinearClassifier(), X, np.arange(classes)) == lanes
    assert _most_lanes(LinearRegressor(), np.empty((1, columns)), [0.0]) == (64, 8)[columns > 10**5]


def test_an_error_of_no_setting_is_raised_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def broken(model: LinearClassifier, *_: object) -> None:
        asked.append(model)
        raise IndexError("a fault")

    monkeypatch.setattr(LinearClassifier, "fit", broken)
    with pytest.raises(IndexError, match="a fault"):
        LinearSearch(LinearClassifier(), {"lr": [0.1, 1.0]}, cv=2).fit(*load_iris(return_X_y=True))
    assert len(asked) == 1


@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_finds_what_it_asks_for() -> None:
    search = LinearSearch(LinearClassifier(random_state=0), {"alpha": [0.01, 1.0]}, cv=2)
    check_estimator(search, on_skip=None)


def test_only_our_estimators_have_lanes() -> None:
    with pytest.raises(TypeError, match="estimator must be a LinearClassifier or a LinearRegr"):
        LinearSearch(SGDClassifier(), {"alpha": [1]}).fit([[1.0], [2.0]], [0, 1])
    with pytest.raises(ValueError, match="callbacks must be given to the estimator or to Grid"):
        LinearSearch(LinearClassifier(), {}).set_callbacks("one")


def test_averages_that_are_let_go_are_missed_by_none(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(4000, 5))
    y = (X[:, 0] + 3 * random.normal(size=4000) > 0).astype(int)  # noise: averages are best
    search = LinearSearch(LinearClassifier(**PASSES), {"lr": [1.0, 8.0]}, cv=2, refit=False)
    alone = LinearClassifier(lr=8.0, **PASSES)
    found, coef = search.fit(X, y).cv_results_["mean_test_score"], alone.fit(X, y).coef_
    monkeypatch.setattr(Course, "let_off", lambda *_: None)
    np.testing.assert_array_equal(search.fit(X, y).cv_results_["mean_test_score"], found)
    np.testing.assert_array_equal(alone.fit(X, y).coef_, coef)
