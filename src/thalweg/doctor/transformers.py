"""TrainerCallback: the doctor beside the Trainer of transformers."""

from typing import Any

import torch
import transformers
from torch import Tensor, nn

from thalweg.doctor.doctor import Doctor
from thalweg.doctor.spoken import say
from thalweg.doctor.subject import bare
from thalweg.tasks.frameworks import loss_of_outputs, own_loss

__all__ = ["TrainerCallback"]


class TrainerCallback(transformers.TrainerCallback):
    """Watches a training by the Trainer of transformers, and says at its end why it fails.

    Batches and losses are those of the model's own forward pass: a Trainer with a compute_loss of
    its own is watched by ``thalweg.Doctor``. Of several processes the first reports.

    Attributes:
        doctor: the ``Doctor``, once the training has begun; on the first process alone.

    Example:
        >>> trainer = Trainer(model, arguments, callbacks=[TrainerCallback()])  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self.doctor: Doctor | None = None
        self._model: nn.Module | None = None
        self._batch: Any = None
        self._loss: Tensor | None = None
        self._handle: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "TrainerCallback":
        """Return itself: the model has a hook of it, and is copied with its hooks."""
        return self

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ANN401, ARG002
        """Begin to watch."""
        if state.is_world_process_zero:
            model = bare(more["model"])
            optimizer = getattr(more["optimizer"], "optimizer", more["optimizer"])
            self.doctor = Doctor(model, optimizer, None, step=own_loss)
            self._model = model
            self._handle = model.register_forward_hook(self._note, with_kwargs=True)

    def _note(self, model: nn.Module, args: Any, batch: Any, outputs: Any) -> None:  # noqa: ANN401, ARG002
        loss = loss_of_outputs(outputs)
        if model is self._model and torch.is_grad_enabled() and loss is not None:
            self._batch, self._loss = dict(batch), loss.detach()

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ANN401, ARG002
        """Note a step of the optimizer."""
        if self.doctor is not None and self._loss is not None:
            self.doctor.step(self._loss, self._batch)

    def on_evaluate(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ANN401, ARG002
        """Note the validation loss."""
        loss = more.get("metrics", {}).get("eval_loss")
        if self.doctor is not None and loss is not None:
            self.doctor.validate(float(loss))

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ANN401, ARG002
        """Say what was found."""
        if self.doctor is not None:
            say(self.doctor.report())
            self.doctor.signals.close()
            self._handle.remove()
