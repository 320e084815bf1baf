"""Model: a user's module as functions of its parameters, and what is known of it."""

import functools
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from thalweg.errors import TaskError
from thalweg.stack.batch import Batch
from thalweg.stack.functional import Functional
from thalweg.stack.mapped import Program
from thalweg.stack.objective import Alone, Objective, build
from thalweg.stack.probe import Traits, probe
from thalweg.stack.task import TorchTask
from thalweg.stack.values import Start, Values, named

__all__ = ["Model"]


class Model(Functional):
    """A user's module as functions of its parameters, and what is known of it.

    Args:
        task: what the user says.
        examples: a batch. Some of it is used to see how the module behaves.
        traits: what is known of the module already, for example from another process; None to look
            now.

    Attributes:
        traits: what was seen.
        dtype: of what is trained: float32 or float64.
        programs: ``gradients`` and the "loss" of ``evaluate``, compiled where they are called.

    Raises:
        TaskError: the module, its loss or its step cannot be trained; a sentence that says where.
    """

    def __init__(self, task: TorchTask, examples: Batch, traits: Traits | None = None) -> None:
        super().__init__(task, build(task, 0))
        self._check_pair(examples)
        self.dtype = self._dtype()
        self.traits = traits or probe(self, examples)
        start = Start.of(self.module, self.traits.trained, self.traits.changed)
        self._fixed = start.fixed if self.traits.seedless else None
        self.initial = functools.lru_cache(maxsize=1)(self._initial)
        loss = partial(self.evaluate, what="loss")
        self.programs = {"gradients": Program(self.gradients), "loss": Program(loss)}

    @property
    def stacked(self) -> bool:
        """Whether many copies can be trained in one pass."""
        return not self.traits.why

    @property
    def title(self) -> str:
        """The name of the module."""
        return type(self.module).__name__

    def _check_pair(self, examples: Batch) -> None:
        if self.task.step is None and not (isinstance(examples, tuple) and len(examples) == 2):
            raise TaskError(
                "a loss needs examples that are pairs (X, y); give step=(model, batch) -> loss for "
                "others"
            )

    def _dtype(self) -> torch.dtype:
        found = {p.dtype for p in self.objective.parameters() if p.requires_grad}
        if found in ({torch.float32}, {torch.float64}):
            return found.pop()
        if not found:
            raise TaskError(
                "model has nothing to train: none of its parameters has requires_grad=True"
            )
        names = ", ".join(sorted(str(dtype) for dtype in found))
        raise TaskError(
            f"model's trained parameters must all be float32 or all float64, got {names}; "
            "autocast=torch.bfloat16 computes in that format"
        )

    def _initial(self, seed: int) -> Start:
        """Return the values that a seed gives the module. The last ones are kept."""
        return self._start(build(self.task, seed))

    def _start(self, module: nn.Module) -> Start:
        start = Start.of(module, self.traits.trained, self.traits.changed)
        return start if self._fixed is None else replace(start, fixed=self._fixed)

    def state_dict(self, parameters: Values, state: Values, fixed: Values) -> dict[str, Tensor]:
        """Return a state_dict of the user's module with these values."""
        values = {**fixed, **parameters, **state}
        module = self.module
        known = {id(tensor): name for name, tensor in named(module)}
        own = module.state_dict(keep_vars=True)
        return {
            name: values[known[id(tensor)]].detach().cpu().clone()
            if id(tensor) in known
            else tensor
            for name, tensor in own.items()
        }

    def alone(self, seed: int) -> tuple[Alone, Start]:
        """Return a new module for one lane, and the values that the seed gives it.

        Every buffer counts as state: a later step may change one that the first step did not.
        """
        own = Alone(Objective(self.task, build(self.task, seed)))
        start = self._start(own.objective.module)
        # Sparse tensors cannot be stacked.
        buffers = {n for n, b in own.objective.named_buffers() if b.layout is torch.strided}
        fixed = {name: tensor for name, tensor in start.fixed.items() if name not in buffers}
        state = {name: tensor for name, tensor in start.fixed.items() if name in buffers}
        return own, Start(start.parameters, {**start.state, **state}, fixed)
