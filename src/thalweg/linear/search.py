"""A search over settings of a linear model whose trainings are lanes of one compiled loop."""

import copy
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from joblib import effective_n_jobs
from scipy.sparse import issparse
from sklearn import config_context
from sklearn.base import ClassifierMixin, clone, is_classifier
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV, ParameterGrid, check_cv
from sklearn.utils import indexable
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _check_method_params

from thalweg.kernels.cpu.generate import WIDTHS
from thalweg.kernels.cpu.vector import LANES
from thalweg.linear.base import Linear

__all__ = ["LinearSearch"]

_NEAR = 4096  # parameters of sparse models of which more than 32 lanes leave the near caches
_LARGE = 1 << 18  # parameters of which more than eight lanes take too much memory
_OWN = ("lr", "alpha", "l1_ratio")  # what lanes of one training may differ in


class LinearSearch(GridSearchCV):  # type: ignore[misc] # scikit-learn has no types
    """``GridSearchCV`` of a ``LinearClassifier`` or a ``LinearRegressor``, many settings at a time.

    Settings that differ in ``lr`` (numbers), ``alpha`` or ``l1_ratio`` alone are trained as lanes
    that share each reading of the rows, up to 64 at a time. A lane computes the same whatever runs
    beside it: scores are those of ``GridSearchCV``, to rounding if ``random_state`` is an int.
    With ``lr="auto"`` the eight lanes are the rates of one setting.

    Args:
        estimator: a ``LinearClassifier`` or a ``LinearRegressor``.
        param_grid: lists of settings by name, or a list of such.
        scoring: as in ``GridSearchCV``, like all that follow.
        n_jobs: threads; each trains lanes of its own. None: one.
        refit: whether the best setting is trained on all rows.
        cv: splits.
        verbose: 0, or 1 to print how many trainings there are.
        error_score: what a setting gets that cannot be trained or scored, or "raise". If none can,
            the error is raised.
        return_train_score: whether training rows are scored too.

    Attributes:
        cv_results_: a dict of arrays, as that of ``GridSearchCV``; trainings that ran together
            share their time.
        best_index_: of the best setting.
        best_params_: the setting.
        best_score_: its mean score.
        best_estimator_: trained on all rows by it.
        scorer_: what scored.
        n_splits_: how many splits.
        refit_time_: seconds of the last training.
        multimetric_: whether there were several scores.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from thalweg.linear import LinearClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = LinearClassifier(finish=False, max_iter=5, random_state=0)
        >>> search = LinearSearch(model, {"lr": [0.01, 1.0], "alpha": [1e-4, 1e-2]}).fit(X, y)
        >>> search.best_params_["lr"], len(search.cv_results_["params"])
        (1.0, 4)
    """

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        error_score: Any = np.nan,
        return_train_score: bool = False,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
            return_train_score=return_train_score,
        )

    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Train every setting on every split, and the best on all rows.

        Args:
            X: rows, as the estimator takes them.
            y: targets.
            params: of the estimator's ``fit``, the scorer and the splitter, as ``GridSearchCV``
                passes them on.

        Raises:
            TypeError: the estimator is not one of ours.
        """
        if not isinstance(self.estimator, Linear):
            raise TypeError(
                "estimator must be a LinearClassifier or a LinearRegressor, got "
                f"{type(self.estimator).__name__}; GridSearchCV takes any"
            )
        scorers, metric = self._get_scorers()
        X, y = indexable(X, y)
        routed = self._get_routed_params_for_fit(_check_method_params(X, params=params))
        splitter = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(splitter.split(X, y, **routed.splitter.split))
        self.n_splits_ = len(splits)
        candidates = list(ParameterGrid(self.param_grid))
        plain = clone(self.estimator)
        models = [_with(plain, each) for each in candidates]
        packs = _packs(models, effective_n_jobs(self.n_jobs), _most_lanes(self.estimator, X, y))
        if self.verbose:
            print(  # noqa: T201 - as GridSearchCV does
                f"Fitting {len(splits)} folds for each of {len(models)} candidates, "
                f"in {len(splits) * len(packs)} trainings of lanes"
            )
        found: dict[tuple[int, int], dict[str, Any]] = {}
        for fold, (train, test) in enumerate(splits):
            parts = [_safe_split(self.estimator, X, y, rows) for rows in (train, test)]
            own = [_check_method_params(X, routed.estimator.fit, rows) for rows in (train, test)]
            scored = [_check_method_params(X, routed.scorer.score, r) for r in (train, test)]
            done = Parallel(n_jobs=self.n_jobs, require="sharedmem")(
                delayed(self._judged)([models[i] for i in pack], parts, own[0], scored, scorers)
                for pack in packs
            )
            for pack, results in zip(packs, done, strict=True):
                found |= {(i, fold): result for i, result in zip(pack, results, strict=True)}
        out = [found[i, fold] for i in range(len(models)) for fold in range(len(splits))]
        _tell([each["error"] for each in out if each["error"] is not None], len(out))
        results = self._format_results(candidates, len(splits), out)
        self.multimetric_ = isinstance(out[0]["test_scores"], dict)
        if self.multimetric_:
            self._check_refit_for_multimetric(out[0]["test_scores"])
            metric = self.refit
        self._choose(results, metric)
        if self.refit:
            self._refitted(X, y, routed.estimator.fit)
        self.scorer_ = getattr(scorers, "_scorers", scorers)
        self.cv_results_ = results
        return self

    def set_callbacks(self, *callbacks: Any) -> Self:
        """Refuse callbacks: settings are trained side by side, and none has passes of its own."""
        raise ValueError(
            f"callbacks must be given to the estimator or to GridSearchCV, got {len(callbacks)}"
        )

    def _choose(self, results: Mapping[str, Any], metric: Any) -> None:
        if not self.refit and self.multimetric_:
            return
        self.best_index_ = self._select_best_index(self.refit, metric, results)
        if not callable(self.refit):
            self.best_score_ = results[f"mean_test_{metric}"][self.best_index_]
        self.best_params_ = results["params"][self.best_index_]

    def _refitted(self, X: Any, y: Any, params: Mapping[str, Any]) -> None:
        self.best_estimator_ = clone(self.estimator).set_params(**self.best_params_)
        began = time.perf_counter()
        self.best_estimator_.fit(X, y, **params)
        self.refit_time_ = time.perf_counter() - began
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_

    def _judged(
        self,
        models: Sequence[Linear],
        parts: Sequence[tuple[Any, Any]],
        params: Mapping[str, Any],
        score_params: Sequence[Mapping[str, Any]],
        scorers: Any,
    ) -> list[dict[str, Any]]:
        """Train models side by side on the first part and score them on the second."""
        models = [copy.copy(model) for model in models]  # none of which was fitted
        began = time.perf_counter()
        try:
            return self._trained(models, parts, params, score_params, scorers)
        except (OverflowError, ValueError, TypeError, AttributeError) as error:
            if len(models) > 1:  # one of them alone may have failed
                alone = [
                    self._judged([model], parts, params, score_params, scorers) for model in models
                ]
                return [result for results in alone for result in results]
            if self.error_score == "raise":
                raise
            several = getattr(scorers, "_scorers", None)
            score = dict.fromkeys(several, self.error_score) if several else self.error_score
            both = {"test_scores": score, "train_scores": score, "error": error}
            return [{**both, "fit_time": time.perf_counter() - began, "score_time": 0.0}]

    def _trained(
        self,
        models: Sequence[Linear],
        parts: Sequence[tuple[Any, Any]],
        params: Mapping[str, Any],
        score_params: Sequence[Mapping[str, Any]],
        scorers: Any,
    ) -> list[dict[str, Any]]:
        (X, y), (X_test, y_test) = parts
        began = time.perf_counter()
        for model in models[1:]:  # the first one's fit asks for its own
            given = {name: getattr(model, name) for name in _OWN}  # all else is the same
            known = {name: model._parameter_constraints[name] for name in _OWN}  # noqa: SLF001 - a part of it
            validate_parameter_constraints(known, given, type(model).__name__)
        models[0]._beside = models[1:]  # noqa: SLF001 - its own fit takes them
        models[0].fit(X, y, **params)
        seconds = (time.perf_counter() - began) / len(models)
        began = time.perf_counter()
        own = self.scoring is None
        tests = _scores(models, scorers, X_test, y_test, score_params[1], own=own)
        each = (time.perf_counter() - began) / len(models)
        times = {"fit_time": seconds, "score_time": each, "error": None}
        results: list[dict[str, Any]] = [{"test_scores": scores, **times} for scores in tests]
        if self.return_train_score:
            trains = _scores(models, scorers, X, y, score_params[0], own=own)
            for result, scores in zip(results, trains, strict=True):
                result["train_scores"] = scores
        return results


def _tell(errors: Sequence[Exception], trainings: int) -> None:
    """Warn of trainings that failed; if all have, raise what the first one said."""
    if len(errors) == trainings:
        raise errors[0]
    for error, times in Counter(map(str, errors)).items():
        warnings.warn(
            f"{times} of {trainings} trainings failed: {error}", FitFailedWarning, stacklevel=3
        )


def _with(model: Linear, settings: Mapping[str, Any]) -> Linear:
    """Return a copy that was not fitted, with these settings; sklearn's own asks for names anew."""
    changed = copy.copy(model)
    if settings.keys() <= vars(model).keys():
        changed.__dict__.update(settings)
    else:
        changed.set_params(**settings)
    return changed


def _scores(
    models: Sequence[Linear],
    scorers: Any,
    X: Any,
    y: Any,
    params: Mapping[str, Any],
    *,
    own: bool,
) -> list[Any]:
    """Return what scorers say of each model, whose outputs are computed together.

    The share of right labels that ``score`` of a classifier asks for is computed here for all but
    the first: scikit-learn would look at the same labels for each, which takes as long as training.
    """
    scores: list[Any] = []
    alike = own and type(models[0]).score is ClassifierMixin.score and np.ndim(y) == 1
    for i, (model, outputs) in enumerate(zip(models, _together(models, X), strict=True)):
        model._known = X, outputs  # noqa: SLF001 - its own outputs
        if i and alike:
            right = model.predict(X) == np.asarray(y)
            scores.append(float(np.average(right, weights=params.get("sample_weight"))))
        else:
            # The rows were looked at, and the scorer's own arguments are the same for each model.
            with config_context(assume_finite=True, skip_parameter_validation=i > 0 or None):
                scores.append(scorers(model, X, y, **params))
        del model._known  # noqa: SLF001 - the same
    return scores


def _together(models: Sequence[Linear], X: Any) -> list[Any]:
    """Return the outputs of fitted models on the same rows."""
    whole = copy.copy(models[0])
    whole.coef_ = np.concatenate([model.coef_ for model in models])
    whole.intercept_ = np.concatenate([model.intercept_ for model in models])
    return np.split(whole._outputs(X), len(models), axis=1)  # noqa: SLF001 - as its own predict


def _most_lanes(estimator: Linear, X: Any, y: Any) -> int:
    """Return how many lanes a training may have."""
    targets = np.asarray(y)
    outputs = len(np.unique(targets)) if is_classifier(estimator) else 1
    columns = np.shape(X)[1] if np.ndim(X) > 1 else 1  # which fit refuses
    parameters = columns * (targets.shape[1] if targets.ndim > 1 else outputs)
    if parameters > _LARGE:
        return LANES
    return WIDTHS[-2] if issparse(X) and parameters > _NEAR else WIDTHS[-1]


def _packs(models: Sequence[Linear], jobs: int, lanes: int) -> list[list[int]]:
    """Return which models are trained side by side, so that jobs share them.

    Args:
        models: all of them.
        jobs: how many threads there are.
        lanes: at most in one training.
    """
    alike: dict[str, list[int]] = {}
    names = models[0].get_params(deep=False)
    for i, model in enumerate(models):
        settings = {name: getattr(model, name) for name in names}
        own = [settings.pop(name) for name in _OWN]
        alone = i if isinstance(own[0], str) or model.warm_start else None
        kind = alone, own[1] == "auto", sorted(settings.items())
        alike.setdefault(repr(kind), []).append(i)
    packs = []
    for pack in alike.values():
        # What averages is told by the rate: a pack in which none does is trained faster.
        rest = sorted(pack, key=lambda i: models[i].lr if len(pack) > 1 else 0)
        share = len(rest) // jobs
        while rest:
            most = min(share, len(rest), lanes)
            width = max([each for each in WIDTHS if each <= most], default=LANES)
            packs.append(rest[:width])
            rest = rest[width:]
    return packs
