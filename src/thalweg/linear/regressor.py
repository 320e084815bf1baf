"""A linear regression as scikit-learn's are: right after one pass, with nothing to tune."""

from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin, _fit_context
from sklearn.model_selection import train_test_split
from sklearn.utils._param_validation import Interval, StrOptions

from thalweg import losses
from thalweg.linear.base import Linear
from thalweg.linear.problem import Rows
from thalweg.losses import Loss
from thalweg.rule import Rule

__all__ = ["LinearRegressor"]

_OF_A_MEAN = ("poisson", "gamma", "tweedie")


class LinearRegressor(RegressorMixin, Linear):  # type: ignore[misc]
    """A linear regression after one pass over the rows, at the best of eight rates.

    As ``LinearClassifier``. The loss is trained in units of the standard deviation of y, around its
    mean, so that no rate depends on the unit of y.

    Args:
        loss: "squared" (default), ½ (z - y)²; "huber", the same up to |z - y| = epsilon, and linear
            beyond; "epsilon_insensitive", max(0, |z - y| - epsilon); "quantile", whose minimum is
            that quantile; or of the mean e^z half a deviance, but for a constant: "poisson",
            e^z - y z, of y >= 0; "gamma", z + y e^-z, of y > 0; "tweedie", e^((2-p) z) / (2 - p) -
            y e^((1-p) z) / (1 - p) with p = power, of y >= 0.
        epsilon: > 0 of "huber", >= 0 of "epsilon_insensitive", in units of y; default 0.1.
        quantile: of "quantile", in (0, 1); default 0.5.
        power: of "tweedie", in (1, 2); default 1.5. 1 is "poisson" and 2 is "gamma".
        alpha: as in ``LinearClassifier``, like all that follow; a / Σ s_i is that of
            ``Ridge(alpha=a)``. "auto" (default) also takes y in units of its deviation, or of its
            mean.
        l1_ratio: the share of ‖w‖₁.
        fit_intercept: whether there is a b.
        rule: "auto", a rule or its name.
        lr: "auto" or a number.
        hyper: the rule's other hyperparameters.
        max_iter: passes.
        batch_size: rows per step.
        sparse: "exact", or "lazy" for rules that move parameters without a gradient.
        finish: whether the optimum follows.
        early_stopping: whether rows are held out.
        validation_fraction: how many.
        n_iter_no_change: patience, in passes.
        tol: what counts as lower; None: all passes are made.
        warm_start: whether a fit starts from the last.
        random_state: of the order of rows.

    Attributes:
        coef_: (features,); of several outputs (outputs, features).
        intercept_: (outputs,).
        finished_: whether the coefficients are those of the optimum, else of the passes.
        lr_: the rate that did best; of several outputs, one for each.
        alpha_: the weight of the penalty; the same.
        progressive_loss_: what the loss on new rows is after one pass, without the penalty.
        loss_curve_: the progressive loss of every pass.
        validation_curve_: the validation loss after every pass.
        n_iter_: passes made.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True, scaled=False)
        >>> round(LinearRegressor(random_state=0).fit(X, y).score(X, y), 3)
        0.518
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **Linear._parameter_constraints,  # noqa: SLF001 - its own base
        "loss": [
            StrOptions({"squared", "huber", "epsilon_insensitive", "quantile", *_OF_A_MEAN}),
        ],
        "epsilon": [Interval(Real, 0, None, closed="left")],
        "quantile": [Interval(Real, 0, 1, closed="neither")],
        "power": [Interval(Real, 1, 2, closed="neither")],
    }

    def __init__(
        self,
        loss: str = "squared",
        *,
        epsilon: float = 0.1,
        quantile: float = 0.5,
        power: float = 1.5,
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
        warm_start: bool = False,
        random_state: Any = None,
    ) -> None:
        self.loss = loss
        self.epsilon = epsilon
        self.quantile = quantile
        self.power = power
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
        self.warm_start = warm_start
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        of_a_mean = self.loss in _OF_A_MEAN
        tags.target_tags.multi_output, tags.target_tags.positive_only = not of_a_mean, of_a_mean
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
        """Train on rows X (n, features), dense or sparse, and targets y (n,) or (n, outputs).

        Args:
            X: numbers without gaps: an array, a sparse matrix or a data frame.
            y: numbers.
            sample_weight: (n,), >= 0; a weight of 2 means the same as the row twice.
            X_val: rows to choose and stop by, instead of a share of X.
            y_val: their targets.
            sample_weight_val: their weights.
        """
        # Numbers that are not finite are found where the columns are measured, if all rows are.
        checked = sample_weight is not None or self.early_stopping
        X, y, weights = self._checked(X, y, sample_weight, reset=True, ensure_all_finite=checked)
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val must be given together")
        held_out = None
        if X_val is not None:
            held_out = self._checked(X_val, y_val, sample_weight_val, reset=False)
        elif self.early_stopping:
            parts = train_test_split(
                X, y, weights, test_size=self.validation_fraction, random_state=self.random_state
            )
            (X, y, weights), held_out = parts[::2], parts[1::2]
        validation = held_out and Rows(held_out[0], self._targets(held_out[1]), held_out[2])
        self._fit(Rows(X, self._targets(y), weights), *self._trained, validation)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn rows that follow those of earlier calls; there is no finish.

        Columns and y are scaled as the first call's rows ask for: let it have some hundred.

        Args:
            X: rows, as in ``fit``.
            y: numbers.
            sample_weight: (n,), >= 0.
        """
        X, y, weights = self._checked(X, y, sample_weight, reset=not hasattr(self, "coef_"))
        self._continue(Rows(X, self._targets(y), weights), *self._trained)
        return self

    @property
    def _trained(self) -> tuple[Loss, int]:
        """The loss of a training and its outputs."""
        return losses.get(self.loss), 1

    def _targets(self, y: NDArray[Any]) -> list[NDArray[Any]]:
        return [y] if y.ndim == 1 else list(y.T)

    def _keep(self, parameters: list[NDArray[np.float64]]) -> None:
        super()._keep(parameters)
        if self._single:
            self.coef_ = self.coef_[0]

    def _checked(self, X: Any, y: Any, weights: Any, *, reset: bool, **options: Any) -> Any:
        if self.loss == "huber" and self.epsilon == 0:
            raise ValueError(
                "epsilon must be > 0 for the huber loss, got 0: loss='epsilon_insensitive' with "
                "epsilon=0 is |z - y|"
            )
        several = self.loss not in _OF_A_MEAN
        X, y = self._rows(X, y=y, reset=reset, y_numeric=True, multi_output=several, **options)
        y = y.astype(np.float64)
        if reset:
            self._single = y.ndim == 1
        outputs = np.size(self.intercept_) if hasattr(self, "intercept_") and not reset else None
        if self._single != (y.ndim == 1) or (outputs and outputs != len(self._targets(y))):
            raise ValueError(f"y must have {outputs or 'as many'} columns as before, got {y.shape}")
        losses.get(self.loss).outputs(y, "")
        return X, y, self._weights(weights, X)

    def _again(self, X: Any, y: Any, weights: Any) -> Any:
        return self._checked(X, y, weights, reset=False)

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return predictions, (n,) or (n, outputs); of losses of a mean the mean e^z."""
        z = self._outputs(X)
        mean = losses.get(self.loss).predict
        return mean(z) if self._single else mean(z[..., None])
