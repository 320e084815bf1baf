"""Setup: the parts of a training, from what a function in a user's file returns."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.optim import Adam, Optimizer
from torch.utils.data import DataLoader

from thalweg.doctor.doctor import Doctor
from thalweg.doctor.loaders import Batch, inputs, target
from thalweg.doctor.subject import LossFn, Step, let_step
from thalweg.errors import TaskError, blamed
from thalweg.stack import TorchTask
from thalweg.stack.batch import count, each
from thalweg.stack.objective import build
from thalweg.stack.parts import Examples
from thalweg.tasks.forms import OWN_LOSS, PARTS, TEST, parts
from thalweg.tasks.frameworks import made_optimizer

__all__ = ["Setup", "setup"]

_VALIDATED = 10  # times in a training


@dataclass(frozen=True)
class Setup:
    """What a training is made of; see ``thalweg.check``."""

    model: nn.Module
    optimizer: Optimizer
    loss_fn: LossFn | None
    loader: Iterable[Batch]
    val_loader: Iterable[Batch] | None = None
    step: Step | None = None

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch."""
        if self.step is not None:
            return self.step(self.model, batch)
        assert self.loss_fn is not None
        return self.loss_fn(self.model(*inputs(batch)), target(batch))

    def train(self, steps: int) -> Doctor:
        """Train in a plain loop and return the doctor that watched.

        Raises:
            TaskError: the loader is empty, or the user's code failed.
        """
        doctor = Doctor(self.model, self.optimizer, self.loss_fn, step=self.step)
        every = max(1, steps // _VALIDATED)
        with blamed("the training"):
            self.model.train()
            for number, batch in enumerate(islice(self._endless(), steps), 1):
                loss = self._gradients(batch)
                let_step(self.optimizer, partial(self._gradients, batch))
                doctor.step(loss, batch)
                if self.val_loader is not None and number % every == 0:
                    doctor.validate(self.val_loader)
        return doctor

    def _gradients(self, batch: Batch) -> torch.Tensor:
        self.optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        return loss

    def _endless(self) -> Iterator[Batch]:
        while True:
            empty = True
            for batch in self.loader:
                empty = False
                yield batch
            if empty:
                raise TaskError("the loader gives no batch; it is empty, or was read before")


_FORMS = (
    "return a thalweg.TorchTask, or a dict with model, optimizer, loss_fn and loader, and "
    "val_loader and step where there are some"
)


def setup(returned: object, name: str, batch_size: int = 32) -> Setup:
    """Return the parts of a training.

    Args:
        returned: a ``TorchTask``, which is trained by Adam at its default rate; or a dict of model,
            optimizer, loss_fn, loader, val_loader and step (the last two may be missing), or a
            tuple in this order.
        name: of the function that returned it.
        batch_size: of a TorchTask.

    Raises:
        TaskError: it is something else.
    """
    if isinstance(returned, TorchTask):
        return _of_task(returned, batch_size)
    held = parts(returned)
    if not isinstance(held, Mapping):
        end = "" if returned is not None else "; end it with return"
        raise TaskError(f"{name} must {_FORMS}; got {type(returned).__name__}{end}")
    if TEST in held:  # data that are held out, where no others are
        given = {n: part for n, part in held.items() if n != TEST and part is not None}
        held = {"val_loader": held[TEST], **given}
    if unknown := set(held) - set(PARTS):
        enough = {"model", "optimizer", "loader"} <= held.keys()
        remedy = f"leave out what is none of {', '.join(PARTS)}" if enough else _FORMS
        raise TaskError(f"{name} returns {', '.join(sorted(map(str, unknown)))}; {remedy}")
    whole = {"loss_fn": None, **held}
    if whole.get("optimizer") is None:
        with blamed("configure_optimizers"):
            whole["optimizer"] = made_optimizer(whole.get("model"))
    if missing := [n for n in ("model", "optimizer", "loader") if whole.get(n) is None]:
        raise TaskError(f"{name} returns no {missing[0]}; {_FORMS}")
    made = Setup(**whole)
    if isinstance(made.optimizer, (list, tuple)):
        raise TaskError(
            f"{name} must return one optimizer, got {len(made.optimizer)}; give the part of the "
            "model that one of them trains, its optimizer, and a step(model, batch) for its loss"
        )
    if not isinstance(made.model, nn.Module) or not isinstance(made.optimizer, Optimizer):
        raise TaskError(
            f"{name} must return a torch module as model and a torch optimizer, got "
            f"{type(made.model).__name__} and {type(made.optimizer).__name__}; a tuple is in the "
            f"order {', '.join(PARTS)}"
        )
    if made.loss_fn is None and made.step is None:
        raise TaskError(f"{name} returns neither loss_fn nor step; {OWN_LOSS}")
    return made


def _of_task(task: TorchTask, batch_size: int) -> Setup:
    torch.manual_seed(0)
    model = build(task, 0)
    if not list(model.parameters()):
        raise TaskError("model has no parameters: there is nothing to train")
    parts = Examples.of(task).draw(0).to(task.torch_device)

    def loader(part: Any, *, shuffle: bool) -> DataLoader[Any]:  # noqa: ANN401 - a batch
        def rows(numbers: list[int]) -> Any:  # noqa: ANN401 - the same
            index = torch.tensor(numbers)
            drawn = each(lambda tensor: tensor[index], part)
            several = task.step is None and isinstance(drawn[0], tuple)  # inputs of the model
            return (*drawn[0], drawn[1]) if several else drawn

        size = range(count(part, "train"))
        return DataLoader(size, batch_size, shuffle=shuffle, collate_fn=rows)  # type: ignore[arg-type] # a range has a length

    return Setup(
        model,
        Adam(model.parameters()),
        task.loss,
        loader(parts.train, shuffle=True),
        loader(parts.validation, shuffle=False),
        task.step,
    )
