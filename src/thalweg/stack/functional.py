"""Functional: a user's module and its loss as functions of parameters and buffers."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from thalweg.stack.batch import Batch
from thalweg.stack.functions import LaneFunctions
from thalweg.stack.objective import Objective
from thalweg.stack.task import TorchTask
from thalweg.stack.values import Values

__all__ = ["Functional"]


class Functional:
    """A user's module and its loss as functions of parameters and buffers, to be mapped over lanes.

    Args:
        task: what the user says.
        module: the user's. The values that it holds are not used.

    Attributes:
        task: the same.
        module: the same.
        device: where it is.
        objective: the module with its loss.
    """

    def __init__(self, task: TorchTask, module: nn.Module) -> None:
        self.task = task
        self.module = module
        self.device = task.torch_device
        self.objective = Objective(task, module)

    def loss(  # noqa: PLR0917 - vmap maps what it is given by place
        self,
        parameters: Values,
        state: Values,
        fixed: Values,
        batch: Batch,
        seed: Tensor,
        step: Tensor,
    ) -> tuple[Tensor, tuple[Tensor, Values]]:
        """Return the training objective of a batch, its loss without penalty, and the new state."""
        values = {**fixed, **parameters, **state}
        with self.precision(), LaneFunctions(seed, step):
            loss = functional_call(self.objective, values, (batch, "loss"))
        objective = self.objective.penalized(loss, parameters.values())
        return objective, (loss, {name: values[name] for name in state})

    def gradients(self, *given: Any) -> Any:  # noqa: ANN401
        """Return the gradients of the training objective, and what ``loss`` returns beside it.

        ``torch.autograd.grad`` does the same and is faster, but a compiler sees only half of it.
        """
        return grad(self.loss, has_aux=True)(*given)

    def evaluate(
        self, parameters: Values, state: Values, fixed: Values, batch: Batch, seed: Tensor, *,
        what: str,
    ) -> Any:  # noqa: ANN401 # fmt: skip
        """Return the "loss" of a batch, its "outputs", or the "score" of a user's step."""
        with self.precision(), LaneFunctions(seed, torch.tensor(0)):
            return functional_call(self.objective, {**fixed, **parameters, **state}, (batch, what))

    def precision(self) -> torch.autocast:
        """Return a context that computes in the format that the task asks for."""
        return self.objective.precision()

    @contextmanager
    def mode(self, *, training: bool) -> Iterator[None]:
        """Put the module into training mode, with gradients, or into evaluation mode, without.

        Numbers below the smallest normal one count as 0 meanwhile, as in trainings of linear
        models: processors are slow on them.
        """
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.set_flush_denormal(True)
        torch.backends.mha.set_fastpath_enabled(value=False)  # no lanes go through it
        self.objective.train(training)
        try:
            with torch.set_grad_enabled(training), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "There is a performance drop")
                yield
        finally:
            torch.set_flush_denormal(False)
            torch.backends.mha.set_fastpath_enabled(value=fast)
