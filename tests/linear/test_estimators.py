"""The estimators: scikit-learn's own checks, the optimum of its solvers, one pass."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_svmlight_file
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    TweedieRegressor,
)
from sklearn.metrics import log_loss, mean_pinball_loss
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import scale
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import check_estimator

from thalweg.linear import LinearClassifier, LinearRegressor
from thalweg.linear.classifier import _distinct
from thalweg.losses import LOSSES

CLASSIFIERS = ["logistic", "hinge", "squared_hinge", "modified_huber"]
REGRESSORS = ["squared", "huber", "epsilon_insensitive", "quantile", "poisson", "gamma", "tweedie"]
ESTIMATORS = [LinearClassifier(loss) for loss in CLASSIFIERS] + [
    LinearRegressor(loss) for loss in REGRESSORS
]


def breast(*, scaled: bool = False) -> tuple[NDArray[Any], ...]:
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X) if scaled else X
    order = np.random.default_rng(0).permutation(len(y))
    return X[order[:400]], y[order[:400]], X[order[400:]], y[order[400:]]


def diabetes() -> tuple[NDArray[Any], NDArray[Any]]:
    return load_diabetes(return_X_y=True, scaled=False)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: e.loss)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_finds_what_it_asks_for(estimator: Any) -> None:
    check_estimator(estimator, on_skip=None, on_fail="raise")


def median_loss(data: tuple[Any, ...]) -> float:
    X, y, X_test, y_test = data
    fits = [LinearClassifier(finish=False, random_state=seed).fit(X, y) for seed in range(5)]
    return float(np.median([log_loss(y_test, fit.predict_proba(X_test)) for fit in fits]))


def test_one_pass_by_defaults_is_right_on_raw_and_on_scaled_columns() -> None:
    assert median_loss(breast()) <= 0.20
    assert median_loss(breast(scaled=True)) <= 0.10


def test_one_pass_on_the_adult_data() -> None:
    folder = Path(os.environ.get("THALWEG_DATA", "."))
    if not (folder / "a9a").is_file():
        pytest.skip("a9a is not in the folder that THALWEG_DATA names")
    X, y = load_svmlight_file(str(folder / "a9a"), n_features=123)
    assert X.indices.dtype == np.int64  # which scikit-learn's own SGD refuses
    assert median_loss((X, y, *load_svmlight_file(str(folder / "a9a.t"), n_features=123))) <= 0.3250


def test_one_pass_of_a_regression_is_near_ridge_whatever_the_unit_of_y() -> None:
    X, y = diabetes()
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[:330], order[330:]
    ridge = np.mean((Ridge().fit(X[train], y[train]).predict(X[test]) - y[test]) ** 2)
    for unit, shift in ((1.0, 0.0), (1e4, 1e6)):
        target = unit * y + shift
        fits = [
            LinearRegressor(finish=False, random_state=seed).fit(X[train], target[train])
            for seed in range(5)
        ]
        errors = [np.mean((fit.predict(X[test]) - target[test]) ** 2) for fit in fits]
        assert np.median(errors) <= 1.02 * ridge * unit**2


def test_the_finish_is_the_optimum_of_scikit_learn() -> None:
    for data in (breast(), breast(scaled=True), load_iris(return_X_y=True)):
        X, y, *_ = data
        ours = LinearClassifier(alpha=1 / len(y)).fit(X, y)
        theirs = LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(X, y)
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
        if len(ours.classes_) == 2:
            np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)
            np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-4)
    X, y = diabetes()
    ours, theirs = LinearRegressor(alpha=3 / len(y)).fit(X, y), Ridge(alpha=3).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-7)
    exact: dict[str, Any] = {"alpha": 0.1, "tol": 1e-10, "max_iter": 1000}
    for loss, theirs in (
        ("poisson", PoissonRegressor(**exact)),
        ("gamma", GammaRegressor(**exact)),
        ("tweedie", TweedieRegressor(power=1.5, link="log", **exact)),
    ):
        theirs.fit(scale(X), np.round(y / 10))
        ours = LinearRegressor(loss, alpha=0.1).fit(scale(X), np.round(y / 10))
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)
        np.testing.assert_allclose(ours.predict(scale(X)), theirs.predict(scale(X)), rtol=1e-5)


def test_by_default_a_fit_does_not_depend_on_the_units_of_the_columns_or_of_y() -> None:
    X, y, *_ = breast()
    units = 10.0 ** np.arange(-15, 15)
    moved = units * X + 3 * units * X.std(axis=0)
    scaled = scale(X)
    shares = X.std(axis=0) / np.sqrt((X != 0).mean(axis=0)) * units
    for rows, unit in ((X, shares / units), (scaled, np.ones(30)), (moved, units * X.std(axis=0))):
        fit = LinearClassifier().fit(rows, y)
        C = 1 / (len(y) * fit.alpha_)
        given = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10).fit(
            (rows - rows.mean(axis=0)) / unit, y
        )
        np.testing.assert_allclose(fit.coef_ * unit, given.coef_, atol=1e-5)
    assert (X == 0).any()
    found = [LinearClassifier().fit(rows, y).predict_proba(rows) for rows in (moved, scaled)]
    np.testing.assert_allclose(*found, atol=1e-6)
    X, y = diabetes()
    for loss in ("squared", "huber", "poisson"):
        one, two = (
            LinearRegressor(loss, epsilon=50 * unit).fit(X * unit, y * unit).predict(X * unit)
            for unit in (1.0, 1e-6)
        )
        np.testing.assert_allclose(two * 1e6, one, rtol=1e-5)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_training_begins_at_the_shares_of_the_classes_and_where_gradients_are_expected(
    batch: int,
) -> None:
    """With hardly a rate, the sum of the squares of the intercept's slopes is known."""
    X, y, *_ = breast()
    fit = LinearClassifier(lr=1e-9, batch_size=batch).partial_fit(X, y, classes=[0, 1])
    share = y.mean()
    np.testing.assert_allclose(fit.intercept_, np.log(share / (1 - share)), rtol=1e-5)
    slopes = (share - y).reshape(-1, batch).mean(axis=1)
    found = fit._problems[0].training._part(2)[-1, 0]
    np.testing.assert_allclose(
        found, np.mean((share - y) ** 2) / batch + slopes @ slopes, rtol=1e-4
    )
    free = LinearClassifier(lr=1e-9, fit_intercept=False).partial_fit(X, y, classes=[0, 1])
    assert free.intercept_ == 0


def test_one_pass_learns_rare_columns_of_dense_rows() -> None:
    rng = np.random.default_rng(0)
    X = (rng.random((4000, 60)) < 10 ** rng.uniform(-2.5, -0.5, 60)).astype(np.float32)
    y = rng.random(4000) < 1 / (1 + np.exp(0.5 - X @ rng.normal(size=60) * 1.5))
    for rows in (X, csr_array(X)):
        fit = LinearClassifier(finish=False, random_state=0).fit(rows[:2000], y[:2000])
        best = LinearClassifier(random_state=0).fit(rows[:2000], y[:2000])
        losses = [log_loss(y[2000:], f.predict_proba(rows[2000:])) for f in (fit, best)]
        assert losses[0] < 1.05 * losses[1]


def test_a_default_fit_is_not_worse_than_its_first_pass() -> None:
    X, y, X_test, y_test = breast()
    whole = log_loss(y_test, LinearClassifier(random_state=0).fit(X, y).predict_proba(X_test))
    assert whole <= 1.01 * median_loss((X, y, X_test, y_test))


def test_a_finish_ends_near_the_optimum_where_that_is_enough() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 500)) * (rng.random((400, 500)) < 0.1)
    y = X[:, :20].sum(axis=1) > 0
    for rows in (X, csr_array(X), X[:, :50]):
        exact, near, start = (
            LinearClassifier(finish=finish, alpha=1 / 400, random_state=0).fit(rows, y)
            for finish in (True, 1e-2, False)
        )
        least, reached, before = (objective(fit, rows, y) for fit in (exact, near, start))
        theirs = LogisticRegression(tol=1e-10, max_iter=10_000).fit(rows, y)
        assert least <= objective(theirs, rows, y) * (1 + 1e-9)
        assert least <= reached <= 1.01 * least < before


def objective(fit: Any, X: Any, y: NDArray[Any]) -> float:
    z = fit.decision_function(X)
    return float((np.logaddexp(0, z) - y * z).sum() + (fit.coef_**2).sum() / 2)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_the_finish_has_the_zeros_of_the_elastic_net(l1_ratio: float) -> None:
    X, y = diabetes()
    settings = {"alpha": 2.0, "l1_ratio": l1_ratio}
    theirs = ElasticNet(**settings, tol=1e-10, max_iter=100_000).fit(scale(X), y)
    ours = LinearRegressor(**settings).fit(scale(X), y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)
    if l1_ratio == 1:
        assert ((ours.coef_ == 0) == (theirs.coef_ == 0)).all()
        assert 0 < (ours.coef_ == 0).sum() < 10


def test_many_passes_of_losses_that_are_not_smooth_come_near_their_optimum() -> None:
    X, y, *_ = breast(scaled=True)
    theirs = LinearSVC(loss="hinge", C=1.0, tol=1e-8, max_iter=10**6, random_state=0).fit(X, y)
    ours = LinearClassifier("hinge", max_iter=100, tol=None, finish=False, random_state=0)
    ours.fit(X, y)

    def objective(fit: Any) -> float:
        margins = (2 * y - 1) * fit.decision_function(X)
        return float(np.maximum(0, 1 - margins).sum() + (fit.coef_**2).sum() / 2)

    assert objective(ours) < 1.1 * objective(theirs)
    X, y = diabetes()
    medians = LinearRegressor("quantile", quantile=0.9, max_iter=50, finish=False, random_state=0)
    medians.fit(X, y)
    assert 0.85 < (y <= medians.predict(X)).mean() < 0.95
    constant = mean_pinball_loss(y, np.full(len(y), np.quantile(y, 0.9)), alpha=0.9)
    assert mean_pinball_loss(y, medians.predict(X), alpha=0.9) < 0.8 * constant


def sparse_rows() -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 20)) * (rng.random((300, 20)) < 0.3)
    return X, (X[:, :3].sum(axis=1) + 0.3 * rng.normal(size=300) > 0).astype(int)


def test_rows_may_be_sparse_wide_in_their_indices_doubled_and_in_any_order() -> None:
    X, y = sparse_rows()
    wide = csr_array(X)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    doubled = csr_matrix(
        (np.repeat(wide.data / 2, 2), np.repeat(wide.indices, 2), 2 * wide.indptr), shape=X.shape
    )
    fits = [
        LinearClassifier(finish=False, random_state=0).fit(rows, y)
        for rows in (csr_array(X), wide, doubled, csr_matrix(X).tocsc())
    ]
    for fit in fits[1:]:
        np.testing.assert_allclose(fit.coef_, fits[0].coef_, rtol=1e-5)
    assert (np.diff(doubled.indptr) == 2 * np.diff(wide.indptr)).all()  # the user's, untouched
    dense = [
        LinearClassifier(finish=False, random_state=0).fit(rows, y).coef_
        for rows in (X, np.asfortranarray(X))
    ]
    np.testing.assert_allclose(*dense, rtol=1e-5)
    exact = [LinearClassifier().fit(rows, y).coef_ for rows in (X, csr_array(X))]
    np.testing.assert_allclose(*exact, atol=1e-9)


def test_minibatches_and_other_rules_learn_the_same_model() -> None:
    X, y = sparse_rows()
    best = log_loss(y, LinearClassifier().fit(X, y).predict_proba(X))
    for rows in (X, csr_array(X)):
        for settings in ({"batch_size": 16}, {"rule": "momentum"}, {"lr": 2.0}):
            fit = LinearClassifier(
                finish=False, max_iter=20, sparse="lazy", random_state=0, **settings
            )
            assert log_loss(y, fit.fit(rows, y).predict_proba(rows)) < best + 0.1


def test_rules_that_move_without_a_gradient_are_refused_on_sparse_rows() -> None:
    X, y = sparse_rows()
    rows = csr_array(X)
    for rule in ("adam", "momentum"):
        for fit in (LinearClassifier(rule=rule).fit, LinearRegressor(rule=rule).partial_fit):
            with pytest.raises(
                ValueError, match=f"rule '{rule}' moves parameters also where the g"
            ):
                fit(rows, y)
            fit(rows.toarray(), y)
    LinearClassifier(rule="momentum", sparse="lazy").fit(rows, y)
    LinearClassifier(rule="momentum", hyper={"beta": 0.0}).fit(rows, y)  # which is sgd


def test_hyperparameters_of_a_rule_are_those_of_the_rule() -> None:
    """Momentum at beta goes as far as SGD at 1/(1 - beta) times the rate; at 0 it is SGD."""
    X, y, *_ = breast(scaled=True)
    terms: dict[str, Any] = {"finish": False, "max_iter": 20, "random_state": 0, "tol": None}
    sgd = LinearClassifier(rule="sgd", lr=0.02, **terms).fit(X, y)
    still = LinearClassifier(rule="momentum", lr=0.02, hyper={"beta": 0.0}, **terms).fit(X, y)
    np.testing.assert_allclose(still.coef_, sgd.coef_, rtol=1e-6)
    moving = LinearClassifier(rule="momentum", lr=0.01, hyper={"beta": 0.5}, **terms).fit(X, y)
    np.testing.assert_allclose(moving.coef_, sgd.coef_, rtol=0.05, atol=0.02)


def test_passes_alone_come_near_the_optimum_of_the_elastic_net() -> None:
    X, y = sparse_rows()
    for rows in (X, csr_array(X)):
        passes: dict[str, Any] = {"finish": False, "max_iter": 40, "tol": None, "random_state": 0}
        fit = LinearClassifier(alpha=0.05, l1_ratio=0.9, **passes)
        exact = LinearClassifier(alpha=0.05, l1_ratio=0.9).fit(rows, y)
        np.testing.assert_allclose(fit.fit(rows, y).coef_, exact.coef_, atol=0.15)
        assert 3 <= (exact.coef_ != 0).sum() < 10
        zeros = exact.coef_ == 0
        assert (fit.coef_[zeros] == 0).mean() > 0.5
        assert (fit.coef_ == 0)[~zeros].mean() < 0.3
        free = LinearClassifier(**passes).fit(rows, y)
        assert abs(free.coef_ - exact.coef_).max() > 0.5


def test_frames_keep_their_names() -> None:
    X, y = diabetes()
    names = [f"column {i}" for i in range(10)]
    frames = pd.DataFrame(X, columns=names), pl.DataFrame(dict(zip(names, X.T, strict=True)))
    fits = [LinearRegressor(random_state=0).fit(frame, y) for frame in frames]
    assert all(fit.feature_names_in_.tolist() == names for fit in fits)
    np.testing.assert_allclose(*[f.predict(d) for f, d in zip(fits, frames, strict=True)])


def test_a_stream_goes_on_where_it_was_pickled() -> None:
    X, y, X_test, y_test = breast()
    whole, parted = LinearClassifier(), LinearClassifier()
    for first in range(0, 400, 100):
        rows = slice(first, first + 100)
        whole.partial_fit(X[rows], y[rows], classes=[0, 1])
        parted = pickle.loads(pickle.dumps(parted))  # noqa: S301 - our own
        parted.partial_fit(X[rows], y[rows], classes=[0, 1])
    np.testing.assert_array_equal(parted.coef_, whole.coef_)
    loss = log_loss(y_test, whole.predict_proba(X_test))
    assert loss < 0.2
    assert abs(whole.progressive_loss_ - loss) < 0.1
    assert whole.n_iter_ == 4
    with pytest.raises(ValueError, match="y must hold labels among classes, got \\[2\\]"):
        whole.partial_fit(X[:2], [1, 2])


def test_rows_of_ones_own_choose_and_stop() -> None:
    X, y, X_test, y_test = breast(scaled=True)
    fit = LinearClassifier("logistic", max_iter=60, n_iter_no_change=2, tol=0, random_state=0)
    fit.fit(X, y, X_val=X_test, y_val=y_test)
    assert 1 < fit.n_iter_ < 60
    assert len(fit.validation_curve_) == len(fit.loss_curve_) == fit.n_iter_
    found = log_loss(y_test, fit.predict_proba(X_test))
    np.testing.assert_allclose(found, min(fit.validation_curve_), rtol=1e-6)
    with pytest.raises(ValueError, match="X_val and y_val must be given together"):
        fit.fit(X, y, X_val=X_test)
    held_out = LinearRegressor(early_stopping=True, max_iter=5, random_state=0).fit(*diabetes())
    assert held_out.validation_curve_


def test_weights_of_classes_and_rows_mean_repetition() -> None:
    X, y = sparse_rows()
    twice = np.where(y == 1, 2, 1)
    weighted = LinearClassifier(class_weight={0: 1, 1: 2}).fit(X, y)
    repeated = LinearClassifier().fit(np.repeat(X, twice, axis=0), np.repeat(y, twice))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-6)


@pytest.mark.parametrize("loss", ["poisson", "gamma", "tweedie"])
def test_losses_of_a_mean_are_in_the_unit_of_the_targets(loss: str) -> None:
    """At rates that are as good as 0 all that is learned is the mean of y, of which e^z is made."""
    X, y = diabetes()
    still = LinearRegressor(loss, lr=1e-9, finish=False, max_iter=2, tol=None, random_state=0)
    fit = still.fit(X, y, X_val=X[:50], y_val=y[:50])
    mean, values = np.log(y.mean()), LOSSES[loss].value
    np.testing.assert_allclose(fit.loss_curve_[1], values(mean, y, 1.5).mean(), rtol=1e-5)
    np.testing.assert_allclose(
        fit.validation_curve_[0], values(mean, y[:50], 1.5).mean(), rtol=1e-5
    )
    order = np.random.default_rng(0).permutation(len(y))
    streamed = LinearRegressor(loss, lr=1e-9).partial_fit(X, y).partial_fit(X[order], y[order])
    np.testing.assert_allclose(streamed.progressive_loss_, values(mean, y, 1.5).mean(), rtol=1e-5)
    np.testing.assert_allclose(streamed.stream_curve_[0][1], values(mean, y, 1.5).mean(), rtol=1e-5)


def test_a_warm_start_starts_where_the_last_fit_ended() -> None:
    X, y, *_ = breast(scaled=True)
    fit = LinearClassifier(warm_start=True, finish=False, lr=1e-7, random_state=0)
    fit.set_params(lr="auto").fit(X, y)
    before = fit.coef_.copy()
    fit.set_params(lr=1e-7).fit(X, y)
    np.testing.assert_allclose(fit.coef_, before, rtol=1e-3, atol=1e-5)


def test_the_same_seed_gives_the_same_model() -> None:
    X, y, *_ = breast()
    one, two, other = (
        LinearClassifier(finish=False, random_state=seed).fit(X, y).coef_ for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_a_search_of_scikit_learn_tunes_it() -> None:
    X, y, *_ = breast()
    search = GridSearchCV(LinearClassifier(random_state=0), {"alpha": [1e-3, 1.0]}, cv=2).fit(X, y)
    assert search.best_params_["alpha"] == 1e-3


def test_what_a_loss_cannot_do_is_said() -> None:
    X, y, *_ = breast()
    hinge = LinearClassifier("hinge").fit(X, y)
    assert not hasattr(hinge, "predict_proba")
    with pytest.raises(
        ValueError, match="y must be >= 0 for the poisson and tweedie losses, got -1 in row 0"
    ):
        LinearRegressor("poisson").fit(X[:3], [-1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="rule 'asgd' trains at one point and is used at another"):
        LinearClassifier(rule="asgd").fit(X, y)
    with pytest.raises(ValueError, match="hyper must not hold 'lr': give lr itself"):
        LinearClassifier(rule="adam", hyper={"lr": 1.0}).fit(X, y)
    with pytest.raises(NotFittedError):
        LinearRegressor().predict(X)


@pytest.mark.parametrize(
    ("labels", "kinds"),
    [(["a", None, "b"], "NoneType, str"), ([1, "a", 2], "int, str")],
)
def test_labels_that_have_no_order_are_told_by_their_kinds(labels: list[Any], kinds: str) -> None:
    y = np.array(labels, object)
    with pytest.raises(ValueError, match=f"y must hold labels of one kind .* values of {kinds}"):
        LinearClassifier().fit(np.eye(len(y)), y)
    with pytest.raises(ValueError, match=f"y must hold labels of one kind .* values of {kinds}"):
        LinearClassifier().partial_fit(np.eye(len(y)), y, classes=["a", "b"])


def test_what_a_fit_cannot_use_is_said_before_it_begins() -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.raises(TypeError, match=r"y must be dense, got csr_matrix: give y.toarray\(\)"):
        LinearClassifier().fit(X, csr_matrix(np.eye(3)[y]))
    with pytest.raises(ValueError, match="epsilon must be > 0 for the huber loss, got 0"):
        LinearRegressor("huber", epsilon=0.0).fit(X, y)
    for weight in (-1.0, np.nan):
        with pytest.raises(ValueError, match=f"class_weight must be >= 0, got {weight:g} for 1"):
            LinearClassifier(class_weight={1: weight}).fit(X, y)
    with pytest.raises(ValueError, match="y_val must hold labels of the fit"):
        LinearClassifier().fit(X, y, X_val=X, y_val=y + 1)
    nothing = dict.fromkeys(range(3), 0.0)
    with pytest.raises(ValueError, match="class_weight must be > 0 for a label of y, got 0 for"):
        LinearClassifier(class_weight=nothing).fit(X, y)
    fit = LinearClassifier(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"warm_start=True needs .* shape \(3, 4\); these need"):
        fit.fit(X[:, :2], y)
    with pytest.raises(ValueError, match=r"these need \(1, 4\). Give such, or warm_start=False"):
        LinearClassifier(warm_start=True).fit(X, y).fit(X, y > 0)


def test_rows_without_weight_are_as_good_as_absent() -> None:
    """A class that has no other rows is none; balanced weights count the others."""
    X, y = load_iris(return_X_y=True)
    kind = {"class_weight": "balanced", "random_state": 0}
    some = LinearClassifier(**kind).fit(X, y, sample_weight=(y > 0).astype(float))
    rest = LinearClassifier(**kind).fit(X[y > 0], y[y > 0])
    np.testing.assert_array_equal(some.coef_, rest.coef_)
    assert some.classes_.tolist() == [1, 2]


def test_a_label_that_all_rows_have_is_learned() -> None:
    X, y, *_ = breast(scaled=True)
    always = LinearClassifier(random_state=0).fit(X, np.column_stack([y, np.ones_like(y)]))
    assert (always.predict(X)[:, 1] == 1).all()


def test_a_stream_may_change_between_dense_and_sparse_rows() -> None:
    X, y = diabetes()
    X = np.round(scale(X))
    for first, second in ((csr_array(X), X), (X, csr_array(X))):
        changed = LinearRegressor(random_state=0).partial_fit(first, y).partial_fit(second, y)
        same = LinearRegressor(random_state=0).partial_fit(first, y).partial_fit(first, y)
        np.testing.assert_array_equal(changed.coef_, same.coef_)


def test_several_labels_or_targets_are_one_training_each() -> None:
    X, y, X_test, _ = breast(scaled=True)
    labels = np.column_stack([y, X[:, 0] > 0, 1 - y])
    both: Any = LinearClassifier().fit(X, labels)
    for j, column in enumerate(labels.T):
        alone: Any = LinearClassifier().fit(X, column)
        np.testing.assert_allclose(both.coef_[j], alone.coef_[0], atol=1e-5)
        shares = both.predict_proba(X_test)[:, j], alone.predict_proba(X_test)[:, 1]
        np.testing.assert_allclose(*shares, atol=1e-5)
        assert (both.predict(X_test)[:, j] == alone.predict(X_test)).mean() > 0.99
    held_out = LinearClassifier(early_stopping=True, max_iter=3, random_state=0).fit(X, labels)
    assert held_out.validation_curve_
    with pytest.raises(ValueError, match="class_weight must be None where y has several labels"):
        LinearClassifier(class_weight="balanced").fit(X, labels)
    X, y = diabetes()
    targets = np.column_stack([y, -3 * y + 1])
    pair: Any = LinearRegressor(alpha=1 / len(y)).fit(X, targets)
    ridge = Ridge().fit(X, targets)
    np.testing.assert_allclose(pair.coef_, ridge.coef_, rtol=1e-6)
    np.testing.assert_allclose(pair.predict(X), ridge.predict(X), rtol=1e-6)
    with pytest.raises(ValueError, match="y must have 2 columns as before, got"):
        pair.partial_fit(X, y)


def test_callbacks_of_scikit_learn_see_every_pass_and_may_stop() -> None:
    pytest.importorskip("sklearn.callback")

    class Watch:
        def __init__(self) -> None:
            self.seen: list[str] = []
            self.scores: list[float] = []

        def setup(self, **_: Any) -> None:
            self.seen.append("setup")

        def teardown(self, **_: Any) -> None:
            self.seen.append("teardown")

        def on_fit_task_begin(self, _: Any, context: Any) -> None:
            self.seen.append(f"begin {context.task_name}")

        def on_fit_task_end(self, _: Any, context: Any, *, fitted_estimator: Any) -> bool:
            self.seen.append(f"end {context.task_name}")
            if context.task_name == "pass":
                self.scores.append(fitted_estimator.score(X, y))
            return len(self.scores) == 2

    X, y, *_ = breast(scaled=True)
    watch = Watch()
    fit = LinearClassifier(max_iter=5, tol=None, finish=False, random_state=0)
    fit.set_callbacks(watch).fit(X, y)
    passes = ["begin pass", "end pass"]
    assert watch.seen == ["setup", "begin fit", *passes, *passes, "end fit", "teardown"]
    assert fit.n_iter_ == 2
    assert watch.scores[-1] == fit.score(X, y) > 0.95


@pytest.mark.parametrize("labels", [3, 60])
def test_classes_are_found_wherever_they_are(labels: int) -> None:
    y = np.zeros(5000, int)
    y[1500:] = np.arange(3500) % 2
    y[-labels:] = np.arange(labels)[::-1] * 7
    y[0] = 1  # 1000 rows tell two classes
    for given in (y, y.astype(str), y.astype(float)):
        assert _distinct(given).tolist() == np.unique(given).tolist()


def test_sparse_columns_far_from_0_end_where_dense_ones_do() -> None:
    X, y = diabetes()
    far = X + 1e7 * (np.arange(10) - 5)
    for settings in ({"alpha": 1 / len(y)}, {}):
        dense, sparse = (LinearRegressor(**settings).fit(rows, y) for rows in (far, csr_array(far)))
        assert dense.alpha_ == sparse.alpha_
        np.testing.assert_allclose(sparse.predict(far), dense.predict(far), rtol=1e-6)
    near = LinearRegressor(alpha=1 / len(y)).fit(X, y)
    moved = LinearRegressor(alpha=1 / len(y)).fit(csr_array(far), y)
    np.testing.assert_allclose(moved.coef_, near.coef_, rtol=1e-5, atol=1e-6)
