"""The course of one linear model through its passes: what it keeps, and when it has had enough."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import is_classifier
from sklearn.model_selection import KFold

from thalweg.linear.problem import Choice, Rows
from thalweg.linear.strength import PARAMETERS
from thalweg.losses import Loss

__all__ = ["FITTED", "KNOWN", "Course"]

_FOLDS = 5  # of which each is left out in turn, to tell whether the optimum predicts it better
_NEAR = 1e-4  # of an objective: how near to its least the optimum of such folds is
_SMALL = 10_000_000  # numbers of X, times outputs, up to which finish="auto" goes to the optimum

KNOWN = (
    "classes_",
    "n_features_in_",
    "feature_names_in_",
    "_single",
    "_labels",
)  # before the training
FITTED = ("coef_", "intercept_", *KNOWN)


class Course:
    """The passes of one model: what it keeps, and whether it has had enough of them."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - a Linear, which has courses
        loss: Loss,
        k: int,
        validation: Rows | None,
        *,
        seen: bool,
    ) -> None:
        self._model, self._loss, self._k = model, loss, k
        self._validation, self._seen = validation, seen
        self._kept: list[NDArray[np.float64]] | None = None
        self._choice: list[Choice] = []
        self._shares: list[NDArray[np.float64]] = []
        self._least, self._since, self.done = np.inf, 0, False
        model.loss_curve_, model.validation_curve_, model.n_iter_ = [], [], 0

    def look(self, *, first: bool) -> None:
        """Judge a pass, the first of which chooses."""
        if self.done:
            return
        model = self._model
        model.n_iter_ += 1
        if first:
            self._shares = model._shares()  # noqa: SLF001 - its own part
            self._choice = [divmod(int(each.argmax()), each.shape[1]) for each in self._shares]
            model._note(self._choice)  # noqa: SLF001 - its own part
            watched = model.progressive_loss_
        else:
            watched = model._progressive(self._choice) if self._seen else np.nan  # noqa: SLF001
        model.loss_curve_.append(watched)
        if self._validation is not None:
            watched, self._choice = model._validated(self._validation)  # noqa: SLF001 - the same
            model.validation_curve_.append(watched)
            if watched < self._least or self._kept is None:
                self._kept = model._found(self._choice)  # noqa: SLF001 - the same
        self._since = 0 if watched < self._least - (model.tol or 0.0) else self._since + 1
        self._least = min(self._least, watched)
        self.done = model.tol is not None and self._since >= model.n_iter_no_change
        if self.done:
            self._kept = self._parameters()

    def let_off(self, courses: Sequence["Course"]) -> None:
        """Let averages go that no course will keep, its own among them."""
        if self._validation is None:  # which would choose anew after each pass
            for i, problem in enumerate(self._model._problems):  # noqa: SLF001 - its own part
                used = any(course._shares[i][1].any() for course in courses)  # noqa: SLF001
                problem.training.averaged = used

    def _parameters(self) -> list[NDArray[np.float64]]:
        """Return what a fit that stopped here would keep."""
        return self._model._mixed(self._shares) if self._kept is None else self._kept  # noqa: SLF001

    def fitted(self) -> dict[str, Any]:
        """What a fit that stopped here would set, so that callbacks can predict."""
        own = copy.copy(self._model)
        own._keep(self._parameters())  # noqa: SLF001 - its own part
        return {name: value for name, value in vars(own).items() if name in FITTED}

    def end(self, rows: Rows) -> None:
        """Go on to the optimum, if that is asked for, and set what a fit sets."""
        model, kept, alpha = self._model, self._parameters(), self._model.alpha_
        model.lr_ = model._lr(self._choice)  # noqa: SLF001 - its own part
        asked = self._small(rows) if model.finish == "auto" else bool(model.finish)
        ends = model._finished(rows, kept, asked=asked)  # noqa: SLF001 - the same
        model.finished_ = asked and (not self._doubtful(rows) or self._better(rows, alpha))
        if asked and not model.finished_:
            ends, model.alpha_ = kept, alpha
        model._keep(ends)  # noqa: SLF001 - the same
        del model._problems, model._columns  # noqa: SLF001 - the same

    def _small(self, rows: Rows) -> bool:
        """Return whether finish="auto" goes on to the optimum."""
        numbers = rows.X.nnz if issparse(rows.X) else rows.X.size
        small = numbers * self._k * len(rows.targets) <= _SMALL
        return bool(small and self._validation is None)

    def _doubtful(self, rows: Rows) -> bool:
        """Return whether the optimum may be worse than the pass: few rows chose its penalty."""
        model = self._model
        parameters = (rows.X.shape[1] + model.fit_intercept) * self._k
        automatic = model.finish == "auto" and model._own and not model.l1_ratio  # noqa: SLF001 - the same
        return bool(automatic and parameters > PARAMETERS and len(rows.weights) >= _FOLDS)

    def _better(self, rows: Rows, alpha: float) -> bool:
        """Return whether the optimum predicts rows that it has not seen better than a pass does.

        Args:
            rows: all rows, of which each fifth is left out in turn.
            alpha: the weight of the penalty before it was chosen.
        """
        model, losses = self._model, np.zeros(2)
        folds = KFold(_FOLDS, shuffle=True, random_state=0)
        for learned, left in folds.split(rows.weights):
            if is_classifier(model) and any(
                len(np.unique(y[learned])) < len(np.unique(y)) for y in rows.targets
            ):
                continue  # nothing holds the intercept of a class without rows
            for i, finish in enumerate((False, _NEAR)):
                trial = copy.copy(model)
                trial.__dict__.pop("_skl_callbacks", None)
                trial.finish, trial.warm_start = finish, False
                trial._factors = np.atleast_1d(model.alpha_ / alpha)  # noqa: SLF001 - the same
                trial._fit(rows.some(learned), self._loss, self._k, None)  # noqa: SLF001 - the same
                losses[i] += trial._loss_of(rows.some(left), self._loss)  # noqa: SLF001 - the same
        return bool(losses[1] <= losses[0])
