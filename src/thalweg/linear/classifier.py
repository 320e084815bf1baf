"""A linear classifier as scikit-learn's are: right after one pass, with nothing to tune."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.model_selection import train_test_split
from sklearn.utils import compute_class_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, column_or_1d

from thalweg import losses
from thalweg.linear.base import Linear
from thalweg.linear.problem import Rows
from thalweg.losses import Loss
from thalweg.rule import Rule

__all__ = ["LinearClassifier"]

_FEW = 20  # classes that are found without a sort
_LABELS = "biuU"  # kinds of numbers and texts that cannot be anything else


def _has_probabilities(estimator: "LinearClassifier") -> bool:
    if estimator.loss not in {"logistic", "modified_huber"}:
        raise AttributeError(
            f"loss {estimator.loss!r} has no probabilities; 'logistic' and 'modified_huber' have"
        )
    return True


def _distinct(y: NDArray[Any]) -> NDArray[Any]:
    """Return the sorted distinct values of y, without a sort of all if they are few."""
    try:
        few = np.unique(y.ravel()[:1000])
        if len(few) > _FEW:
            return np.unique(y)
        others = np.logical_and.reduce([y != label for label in few])
        return np.union1d(few, y[others]) if others.any() else few
    except TypeError:
        kinds = ", ".join(sorted({type(label).__name__ for label in y.ravel()}))
        raise ValueError(
            f"y must hold labels of one kind and none that is missing, got values of {kinds}: "
            "leave out rows without a label, and make texts of the rest"
        ) from None


def _are_labels(y: NDArray[Any], known: NDArray[Any]) -> bool:
    """Return whether y is surely labels, by a look at its distinct values, if they are few."""
    whole = y.dtype.kind == "f" and len(known) <= _FEW and bool((known == np.floor(known)).all())
    return y.ndim == 1 and (whole or y.dtype.kind in _LABELS)


class LinearClassifier(ClassifierMixin, Linear):  # type: ignore[misc]
    """A linear classifier after one pass over the rows, at the best of eight rates.

    Minimizes Σ s_i loss(z_i, y_i) / Σ s_i + alpha (l1_ratio ‖w‖₁ + (1 - l1_ratio) ‖w‖²/2), with
    z = x·w + b and s the sample weights; b is not penalized. Eight trainings that differ in their
    rate run side by side. Each row is predicted before it is learned, and these losses, over the
    second half of the first pass, choose among the rates and between the last parameters and their
    average; of few rows, those that did nearly as well count too. Columns are scaled (dense ones
    also centred) as they are read. Where finish says so, the optimum follows, which does not depend
    on the order of rows.

    Args:
        loss: "logistic" (default; of more than two classes the softmax cross-entropy), or one class
            against all others by "hinge", "squared_hinge" or "modified_huber".
        alpha: weight of the penalty, >= 0; 1 / Σ s_i is that of C=1 elsewhere. "auto" (default):
            1 / Σ s_i, in streams 1e-4, where each column is penalized in units of its standard
            deviation, so that no fit depends on the units of the columns; of a column that is 0 in
            some rows the variance is divided by the share of the others. One pass alone then leaves
            ‖w‖² out, and a finish of a smooth loss multiplies it by the power of 4, 4⁻³ to 4⁶, by
            which models predict rows best that were left out (Rad & Maleki 2020).
        l1_ratio: the share of ‖w‖₁ in it, in [0, 1]; default 0.
        fit_intercept: whether there is a b; default True.
        rule: "auto" (default), Adagrad at rates fit for scaled columns; or a rule or its name.
        lr: "auto" (default), eight rates: ¼ to 8 over the root of the mean squared norm of scaled
            rows, of another rule 1/64 to 256 times its default; or a number > 0.
        hyper: the rule's other hyperparameters by name; None (default): its own defaults.
        max_iter: passes over the rows, >= 1; default 1.
        batch_size: rows per step; "auto" (default): 1 of sparse data and up to 5,000 rows, else 32.
        sparse: "exact" (default): on sparse rows, a rule is refused that moves a parameter without
            a gradient, as all do that average gradients: a step moves only the columns that its
            rows have; "lazy": it is taken, and averages of the other columns wait until they are
            met.
        finish: whether Newton's method, of many parameters L-BFGS, goes on from the pass to the
            optimum, or of the hinge loss an interior point method; "auto" (default): up to 10⁷
            numbers in X times outputs, of sparse X those stored, without a validation set. Of more
            than 700 parameters and alpha="auto" the optimum is then kept only if it predicts rows
            that are left out better than the pass. A number in (0, 1): until the objective is that
            near to its least, as a share of it.
        early_stopping: whether rows are held out, as many as validation_fraction says, to choose
            among rates after every pass and to stop; default False. X_val does the same in ``fit``.
        validation_fraction: in (0, 1); default 0.1.
        n_iter_no_change: passes without a loss lower by tol after which a fit stops; default 3.
        tol: >= 0, or None: all passes are made; default 1e-4.
        class_weight: dict, "balanced" (in a stream by the labels that have come) or None (default).
        warm_start: whether a fit starts from the coefficients of the last; default False.
        random_state: of the order of rows; an int makes fits repeatable.

    Attributes:
        classes_: (classes,), the labels.
        coef_: (1 or classes, features).
        intercept_: (1 or classes,).
        finished_: whether the coefficients are those of the optimum, else of the passes.
        lr_: the rate that did best; of one class against the others, one for each.
        alpha_: the weight of the penalty; of one class against the others, one for each.
        progressive_loss_: what the loss on new rows is after one pass, without the penalty.
        loss_curve_: the progressive loss of every pass; from the second on it is of known rows.
        validation_curve_: the validation loss after every pass, if there are rows for it.
        n_iter_: passes made.

    Example:
        >>> from sklearn.datasets import load_breast_cancer
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> model = LinearClassifier(random_state=0).fit(X[:400], y[:400])
        >>> bool(model.score(X[400:], y[400:]) > 0.9)
        True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **Linear._parameter_constraints,  # noqa: SLF001 - its own base
        "loss": [StrOptions({"logistic", "hinge", "squared_hinge", "modified_huber"})],
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    def __init__(
        self,
        loss: str = "logistic",
        *,
        alpha: str | float = "auto",
        l1_ratio: float = 0.0,
        fit_intercept: bool = True,
        rule: str | Rule = "auto",
        lr: str | float = "auto",
        hyper: dict[str, float] | None = None,
        max_iter: int = 1,
        batch_size: str | int = "auto",
        sparse: str = "exact",
        finish: str | bool | float = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 3,
        tol: float | None = 1e-4,
        class_weight: Any = None,
        warm_start: bool = False,
        random_state: Any = None,
    ) -> None:
        self.loss = loss
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.rule = rule
        self.lr = lr
        self.hyper = hyper
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.sparse = sparse
        self.finish = finish
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train on rows X (n, features), dense or sparse, and labels y (n,) or (n, labels).

        Args:
            X: numbers without gaps: an array, a sparse matrix or a data frame.
            y: labels of at least two classes; or several for each row, 0 or 1 in each column.
            sample_weight: (n,), >= 0; a weight of 2 means the same as the row twice.
            X_val: rows to choose and stop by, instead of a share of X.
            y_val: their labels.
            sample_weight_val: their weights.
        """
        # Numbers that are not finite are found where the columns are measured, if all rows are.
        checked = sample_weight is not None or self.early_stopping
        X, y = self._rows(X, y=y, reset=True, multi_output=True, ensure_all_finite=checked)
        weights = self._weights(sample_weight, X)
        # Class weights would ask for what nobody has.
        if sample_weight is not None and not (counted := weights > 0).all():
            X, y, weights = X[counted], y[counted], weights[counted]
        known = _distinct(y)
        if not _are_labels(y, known):
            check_classification_targets(known if y.ndim == 1 and len(known) <= _FEW else y)
        self._labels = y.ndim == 2 and type_of_target(y) == "multilabel-indicator"
        if not self._labels:
            y = y if y.ndim == 1 else column_or_1d(y, warn=True)
        elif self.class_weight is not None:
            raise ValueError("class_weight must be None where y has several labels for a row")
        if self._labels:
            known = np.arange(y.shape[1])
        self.classes_ = known
        if len(self.classes_) < 2 and not self._labels:
            seen = " with a sample_weight above 0" if sample_weight is not None else ""
            raise ValueError(
                f"y must hold at least two classes{seen}, got one class: {self.classes_}"
            )
        held_out = self._held_out(X_val, y_val, sample_weight_val)
        if held_out is None and self.early_stopping:
            parts = train_test_split(
                X, y, weights, test_size=self.validation_fraction,
                random_state=self.random_state, stratify=None if self._labels else y,
            )  # fmt: skip
            X, y, weights = parts[::2]
            held_out = parts[1::2]
        if self.class_weight is not None:
            weights = weights * self._class_weights(y, self.class_weight)
        validation = held_out and Rows(held_out[0], self._targets(held_out[1]), held_out[2])
        self._fit(Rows(X, self._targets(y), weights), *self._trained, validation)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        sample_weight: Any = None,
    ) -> Self:
        """Learn rows that follow those of earlier calls; there is no finish.

        Columns are scaled as the first call's rows ask for: let it have some hundred.

        Args:
            X: rows, as in ``fit``.
            y: labels.
            classes: all labels that will ever come; needed in the first call.
            sample_weight: (n,), >= 0.
        """
        first = not hasattr(self, "classes_")
        if first and classes is None:
            raise ValueError("classes must be given in the first call of partial_fit")
        X, y = self._rows(X, y=y, reset=first)
        known = _distinct(y)
        check_classification_targets(y)
        if (
            classes is not None
            and not first
            and not np.array_equal(self.classes_, np.unique(classes))
        ):
            raise ValueError(
                f"classes must be those of the first call, {self.classes_}, got {classes}"
            )
        if first:
            if len(np.unique(classes)) < 2:
                raise ValueError(
                    f"classes must name at least two labels, got {np.unique(classes)}; in a stream "
                    "they are by default those of the first window"
                )
            self.classes_, self._labels = np.unique(classes), False
        if strange := set(known.tolist()) - set(self.classes_.tolist()):
            raise ValueError(
                f"y must hold labels among classes, got {sorted(strange)}; classes must name all "
                "that will ever come"
            )
        weights = self._weights(sample_weight, X)
        self._counts = getattr(self, "_counts", 0) + np.bincount(
            np.searchsorted(self.classes_, y), weights, len(self.classes_)
        )
        given = self.class_weight
        if given == "balanced":  # by the labels so far
            known = np.maximum(self._counts, 1)
            each = self._counts.sum() / (len(self.classes_) * known)
            given = dict(zip(self.classes_.tolist(), each, strict=True))
        weights = weights * self._class_weights(y, given)
        self._continue(Rows(X, self._targets(y), weights), *self._trained)
        return self

    def _learn_window(self, X: Any, y: Any, weights: Any, first: dict[str, Any]) -> None:
        if "classes" not in first and not hasattr(self, "classes_"):
            first = {"classes": np.unique(y)}
        super()._learn_window(X, y, weights, first)

    def _average(self, found: Sequence[tuple[Any, int]]) -> None:
        super()._average(found)
        before = self._counts
        self._counts = before + sum(each._counts - before for each, _ in found)  # noqa: SLF001

    def _class_weights(self, y: NDArray[Any], given: Any) -> NDArray[np.float64]:
        if given is None:
            return np.ones(len(y))
        each = compute_class_weight(given, classes=self.classes_, y=y)
        for label, weight in zip(self.classes_, each, strict=True):
            if not 0 <= weight < np.inf:
                raise ValueError(f"class_weight must be >= 0, got {weight:g} for {label!s}")
        rows: NDArray[np.float64] = each[np.searchsorted(self.classes_, y)]
        if not rows.any() and not hasattr(self, "_problems"):  # with which a training begins
            raise ValueError(f"class_weight must be > 0 for a label of y, got 0 for {np.unique(y)}")
        return rows

    def _held_out(self, X: Any, y: Any, weights: Any) -> Any:
        if X is None and y is None:
            return None
        if X is None or y is None:
            raise ValueError("X_val and y_val must be given together")
        return self._again(X, y, weights, "y_val")

    def _again(self, X: Any, y: Any, weights: Any, name: str = "y") -> Any:
        """Return rows, labels and weights, of the kind that the fit had."""
        X, y = self._rows(X, y=y, reset=False, multi_output=self._labels)
        if self._labels and y.shape[1:] != self.classes_.shape:
            raise ValueError(f"{name} must have {len(self.classes_)} columns as y, got {y.shape}")
        legal = np.array([0, 1]) if self._labels else self.classes_
        if not np.isin(y, legal).all():
            raise ValueError(f"{name} must hold labels of the fit, {legal}")
        return X, y, _check_sample_weight(weights, X, dtype=np.float64)

    @property
    def _trained(self) -> tuple[Loss, int]:
        """The loss of a training and its outputs."""
        if self.loss == "logistic" and len(self.classes_) > 2 and not self._labels:
            return losses.get("softmax"), len(self.classes_)
        return losses.get(self.loss), 1

    def _targets(self, y: NDArray[Any]) -> list[NDArray[Any]]:
        if self._labels:
            return list(y.astype(np.int64).T)
        if len(self.classes_) == 2:
            return [y == self.classes_[1]]
        codes = np.searchsorted(self.classes_, y)
        if self.loss == "logistic":
            return [codes]
        return [(codes == c).astype(np.int64) for c in range(len(self.classes_))]

    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return z: (n,) of two classes, > 0 for the second; else (n, classes) or (n, labels)."""
        z = self._outputs(X)
        return z[:, 0] if z.shape[1] == 1 and not self._labels else z

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most likely label of each row; of several labels 0 or 1 for each."""
        z = self.decision_function(X)
        if self._labels:
            found: NDArray[Any] = (z > 0).astype(int)
            return found
        labels: NDArray[Any] = self.classes_[
            (z > 0).astype(int) if z.ndim == 1 else z.argmax(axis=1)
        ]
        return labels

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class or label, (n, classes); some losses have none."""
        z = self._outputs(X)
        if self.loss == "logistic":
            if self._labels:
                return np.asarray(expit(z))
            if z.shape[1] > 1:
                probabilities: NDArray[np.float64] = softmax(z, axis=1)
                return probabilities
            return np.column_stack([expit(-z[:, 0]), expit(z[:, 0])])
        share = (np.clip(z, -1, 1) + 1) / 2  # Zhang 2004, of the modified Huber loss
        if self._labels:
            return np.clip(share, 1e-12, 1 - 1e-12)  # scikit-learn wants none that is sure
        if z.shape[1] == 1:
            return np.column_stack([1 - share, share])
        total = share.sum(axis=1, keepdims=True)
        return np.where(total > 0, share / np.where(total > 0, total, 1), 1 / z.shape[1])

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the logarithm of ``predict_proba``."""
        with np.errstate(divide="ignore"):
            logarithms: NDArray[np.float64] = np.log(self.predict_proba(X))
        return logarithms
