"""Objective: a user's module with its loss. Alone: a module that trains a single lane."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from thalweg.errors import TaskError, blamed
from thalweg.stack.batch import Batch
from thalweg.stack.functions import LaneFunctions
from thalweg.stack.task import TorchTask

__all__ = ["Alone", "Objective", "build", "seeded"]


class Objective(nn.Module):
    """A module with its loss.

    Args:
        task: what the user says.
        module: the user's.
    """

    def __init__(self, task: TorchTask, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.task = task

    def forward(self, batch: Batch, what: str) -> Any:  # noqa: ANN401
        """Return the "loss" of a batch or the "score"; in training mode the loss is smoothed."""
        task = self.task
        if task.step is not None:
            if what == "score":
                assert task.metric is not None
                return task.metric(self.module, batch)
            smoothing = {"label_smoothing": task.label_smoothing}
            given = smoothing if self.training and task.label_smoothing else {}
            return task.step(self.module, batch, **given)
        x, y = batch
        outputs = self.module(*x) if isinstance(x, tuple) else self.module(x)
        if what == "outputs":
            return outputs
        assert task.loss is not None
        if self.training and task.label_smoothing:
            return task.loss(outputs, y, label_smoothing=task.label_smoothing)
        return task.loss(outputs, y)

    def penalized(self, loss: Tensor, parameters: Iterable[Tensor]) -> Tensor:
        """Return the training objective: the loss with its penalty."""
        if not self.task.l2:
            return loss
        return loss + self.task.l2 / 2 * sum(p.square().sum() for p in parameters if p.ndim > 1)

    def precision(self) -> torch.autocast:
        """Return a context that computes in the format that the task asks for."""
        cast = self.task.autocast
        return torch.autocast(self.task.torch_device.type, dtype=cast, enabled=cast is not None)


class Alone:
    """A module for one lane alone, called as its user would call it, with its hooks.

    During a call its parameters and buffers hold the values of the lane. Afterwards they hold what
    they held before, because ``model()`` may return the same module, or parts of it, again.

    Args:
        objective: a new one.

    Attributes:
        written: buffers that calls have written to.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.written: set[str] = set()
        self._tensors = {**dict(objective.named_parameters()), **dict(objective.named_buffers())}
        self._buffers = {
            name: (objective.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2])
            for name, _ in objective.named_buffers()
        }

    def values(self) -> dict[str, Tensor]:
        """Return copies of all parameters and buffers, as they were made."""
        return {name: tensor.detach().clone() for name, tensor in self._tensors.items()}

    def __call__(
        self,
        values: dict[str, Tensor],
        batch: Batch,
        what: str,
        seed: Tensor,
        step: Tensor,
        *,
        training: bool,
    ) -> Any:  # noqa: ANN401
        """Return "loss", "outputs" or "score" of a batch.

        Args:
            values: of all parameters and buffers. The new values of the buffers are written into
                it.
            batch: some examples.
            what: see ``Objective.forward``.
            seed: of what is drawn, with the step.
            step: of the training.
            training: whether in training mode.
        """
        with self._holding(values, training=training), self._drawing(seed, step):
            return self.objective(batch, what)

    def gradients(
        self,
        values: dict[str, Tensor],
        names: Sequence[str],
        batch: Batch,
        seed: Tensor,
        step: Tensor,
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Return the loss of a batch, and the gradients of the training objective.

        Args:
            values: see ``__call__``.
            names: of the parameters. If the loss does not depend on one, its gradient is None.
            batch: some examples.
            seed: of what is drawn, with the step.
            step: of the training.
        """
        own = [self._tensors[name] for name in names]
        with self._holding(values, training=True):
            self.objective.zero_grad()
            with self._drawing(seed, step):
                loss = self.objective(batch, "loss")
            self.objective.penalized(loss, own).backward()  # type: ignore[no-untyped-call]
            found = [p.grad if p.grad is None else p.grad.to_dense() for p in own]
            self.objective.zero_grad()
        return loss.detach(), found

    def overflows(
        self, values: dict[str, Tensor], batch: Batch, seed: Tensor, step: Tensor, *, training: bool
    ) -> bool:
        """Return whether a module returns what is not finite; see ``__call__``.

        Losses such as binary_cross_entropy refuse it, where others are NaN.
        """
        found = []

        def note(_: nn.Module, __: object, out: Any) -> None:  # noqa: ANN401
            tensors = (one for one in tree_leaves(out) if isinstance(one, Tensor))
            found.append(not all(bool(one.isfinite().all()) for one in tensors))

        with ExitStack() as handles, suppress(Exception):
            for module in self.objective.modules():
                handles.callback(module.register_forward_hook(note).remove)
            self(dict(values), batch, "loss", seed, step, training=training)
        return any(found)

    @contextmanager
    def _drawing(self, seed: Tensor, step: Tensor) -> Iterator[None]:
        with self.objective.precision(), LaneFunctions(seed, step):
            yield

    @contextmanager
    def _holding(self, values: dict[str, Tensor], *, training: bool) -> Iterator[None]:
        self.objective.train(training)  # each time, because it may share parts with others
        before = [tensor.data for tensor in self._tensors.values()]
        for name, tensor in self._tensors.items():
            tensor.data = values[name]
        versions = {name: self._tensors[name]._version for name in self._buffers}  # noqa: SLF001
        try:
            yield
        finally:
            for name, (owner, own) in self._buffers.items():
                buffer, now = self._tensors[name], getattr(owner, own)
                if now is not buffer:
                    values[name] = now.detach()
                    setattr(owner, own, buffer)
                if now is not buffer or buffer._version != versions[name]:  # noqa: SLF001
                    self.written.add(name)
            for tensor, data in zip(self._tensors.values(), before, strict=True):
                tensor.data = data


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's random numbers. Afterwards they continue as if nothing had been drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def build(task: TorchTask, seed: int) -> nn.Module:
    """Return the user's module, made under torch's seed, on the task's device.

    Raises:
        TaskError: ``model()`` fails, does not return a module, or returns one whose parameters wait
            for a batch.
    """
    with seeded(seed), blamed("model"):
        module = task.model()
        if not isinstance(module, nn.Module):
            raise TaskError(f"model() must return an nn.Module, got {type(module).__name__}")
        for name, tensor in itertools.chain(module.named_parameters(), module.named_buffers()):
            if is_lazy(tensor):
                raise TaskError(
                    f"model() must give every parameter its shape, but {name} waits for a "
                    "first batch; give the layer its sizes, or call it once within model()"
                )
        return module.to(task.torch_device)
