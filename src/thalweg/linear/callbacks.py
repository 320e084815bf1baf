"""Callbacks of scikit-learn: what they are told of a fit."""

from collections.abc import Callable
from typing import Any

__all__ = ["Callbacks", "Told"]

try:
    from sklearn.callback import CallbackSupportMixin as Callbacks
except ImportError:

    class Callbacks:  # type: ignore[no-redef]
        """Before scikit-learn 1.9 there are none."""


class Told:
    """What scikit-learn's callbacks are told of a fit, if there are some."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        self._model = model
        self._fit: Any = None
        if hasattr(model, "_skl_callbacks"):
            self._fit = self._model._init_callback_context(max_subtasks=model.max_iter)  # noqa: SLF001
            self._fit.call_on_fit_task_begin(estimator=model)

    def begin(self) -> None:
        """Say that a pass begins."""
        if self._fit is not None:
            self._pass = self._fit.subcontext(task_name="pass")
            self._pass.call_on_fit_task_begin(estimator=self._model)

    def end(self, fitted: Callable[[], dict[str, Any]]) -> bool:
        """Say that it has ended; return whether a callback wants no more."""
        return self._fit is not None and self._pass.call_on_fit_task_end(
            estimator=self._model, reconstruction_attributes=fitted
        )

    def over(self) -> None:
        """Say that the fit has ended."""
        if self._fit is not None:
            self._fit.call_on_fit_task_end(estimator=self._model)
