"""LightningCallback: the doctor beside a training by Lightning."""

import copy
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from thalweg.doctor.doctor import Doctor
from thalweg.doctor.loaders import Batch
from thalweg.doctor.spoken import say
from thalweg.tasks.frameworks import training_step

__all__ = ["LightningCallback"]


class LightningCallback(Callback):
    """Watches a training by Lightning, and says at its end why it fails.

    Of several optimizers the first is watched. Where gradients are accumulated, the batch of each
    step of the optimizer is noted. Of several processes the first reports.

    Args:
        validation: the name under which the validation loss is logged.

    Attributes:
        doctor: the ``Doctor``, once the training has begun; on the first process alone.

    Example:
        >>> trainer = Trainer(callbacks=[LightningCallback()])  # doctest: +SKIP
    """

    def __init__(self, validation: str = "val_loss") -> None:
        super().__init__()
        self.validation = validation
        self.doctor: Doctor | None = None
        self._steps = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to watch."""
        if trainer.is_global_zero and trainer.optimizers:
            self.doctor = Doctor(_Whole(pl_module), trainer.optimizers[0], None, step=_step)
            self._steps = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002 - Lightning prescribes the signature
        outputs: Any,  # noqa: ANN401
        batch: Batch,
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Note a step of the optimizer."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if self.doctor is None or loss is None or trainer.global_step == self._steps:
            return
        self._steps = trainer.global_step
        # Lightning has divided it for the accumulation.
        self.doctor.step(loss.detach() * trainer.accumulate_grad_batches, batch)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Note the validation loss."""
        value = trainer.callback_metrics.get(self.validation)
        if self.doctor is not None and value is not None and not trainer.sanity_checking:
            self.doctor.validate(float(value))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Say what was found."""
        if self.doctor is not None:
            say(self.doctor.report())
            self.doctor.signals.close()


class _Whole(nn.Module):
    """A LightningModule whose copies do not take the trainer along.

    Args:
        module: the user's.
    """

    def __init__(self, module: LightningModule) -> None:
        super().__init__()
        self.module = module

    @property
    def training(self) -> bool:
        """Whether the user's module is in training mode."""
        return self.module.training

    @training.setter
    def training(self, mode: bool) -> None:
        """Leave it: train() goes on to the user's module."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Whole":
        trainer, self.module.trainer = self.module._trainer, None  # noqa: SLF001 - trainer raises where there is none
        try:
            twin = _Whole(copy.deepcopy(self.module, memo))
        finally:
            self.module.trainer = trainer
        memo[id(self)] = twin
        return twin


def _step(whole: nn.Module, batch: Batch) -> Tensor:
    return training_step(whole.module, batch)  # type: ignore[arg-type] # torch: a tensor or module
