"""Linear models whose whole training is one compiled loop, and scikit-learn estimators of them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from thalweg.linear.examples import Examples
from thalweg.linear.training import Training, train, train_on

if TYPE_CHECKING:
    from thalweg.linear.classifier import LinearClassifier
    from thalweg.linear.regressor import LinearRegressor
    from thalweg.linear.search import LinearSearch

__all__ = [
    "Examples", "LinearClassifier", "LinearRegressor", "LinearSearch", "Training", "train",
    "train_on",
]  # fmt: skip


_ESTIMATORS = {
    "LinearClassifier": "thalweg.linear.classifier",
    "LinearRegressor": "thalweg.linear.regressor",
    "LinearSearch": "thalweg.linear.search",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - an estimator: they load scikit-learn
    if name in _ESTIMATORS:
        return getattr(import_module(_ESTIMATORS[name]), name)
    raise AttributeError(f"module 'thalweg.linear' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
