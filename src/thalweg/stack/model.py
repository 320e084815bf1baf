"""Model: a user's module as a function of its parameters."""

import functools
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn.parameter import is_lazy

from thalweg.errors import TaskError, blamed
from thalweg.stack.batch import Batch, each
from thalweg.stack.functions import LaneFunctions
from thalweg.stack.mapped import Program
from thalweg.stack.objective import Alone, Objective, seeded
from thalweg.stack.probe import Seen, alike, differences, look, same
from thalweg.stack.task import TorchTask

__all__ = ["Model", "Start", "Values"]

Values = Mapping[str, Tensor]
"""Tensors by their names in the module."""

_PROBED = 8  # examples that show how a module behaves


@dataclass(frozen=True, eq=False)
class Start:
    """What a seed makes of a module.

    Attributes:
        parameters: what is trained.
        state: buffers that a training changes, such as those of batch normalization.
        fixed: all else: frozen and unused parameters, other buffers.
    """

    parameters: Values
    state: Values
    fixed: Values


class Model:
    """A user's module as a function of its parameters, probed once.

    Args:
        task: what the user says.
        examples: a batch, of which some are used to see how the module behaves.

    Attributes:
        seedless: whether all that is fixed is the same whatever the seed, as pretrained layers are.
        stacked: whether many copies can be trained in one pass.
        why: if not, why.
        whole: whether a part's loss is not the mean of the losses of its chunks, as where examples
            are weighted. False, unless who has the parts sets it.
        programs: ``gradients`` and the "loss" of ``evaluate``, compiled where they are called.

    Raises:
        TaskError: the module, its loss or its step cannot be trained; a sentence with the place.
    """

    def __init__(self, task: TorchTask, examples: Batch) -> None:
        self.task = task
        self.device = task.place
        self._objective = Objective(task, self._build(0))
        self._check_pair(examples)
        self.dtype = self._dtype()
        few = each(lambda tensor: tensor[:_PROBED].to(self.device), examples)
        with seeded(0):
            own, other = Alone(Objective(task, self._build(0))), self._build(1)
            self._check_draws(own)
            seen = look(self, own, other, few)
            self._names = seen.trained, seen.changed
            self._fixed: Values | None = None
            start, fixed = self._start(self.module), self._start(other).fixed
            self.seedless = all(same(tensor, fixed[name]) for name, tensor in start.fixed.items())
            self._fixed = start.fixed if self.seedless else None
            self.initial = functools.lru_cache(maxsize=1)(self._initial)
            self.why = seen.why or differences(self, start, seen, few)
            self.stacked = not self.why
            if task.compile and self.why:
                self._check_compiled(start, seen, few)
        self.whole = False
        loss = partial(self.evaluate, what="loss")
        self.programs = {"gradients": Program(self.gradients), "loss": Program(loss)}

    @property
    def module(self) -> nn.Module:
        """The module itself; its own values count for nothing."""
        return self._objective.module

    @property
    def title(self) -> str:
        """What it is called."""
        return type(self.module).__name__

    def _build(self, seed: int) -> nn.Module:
        """Return the user's module as that seed makes it."""
        with seeded(seed), blamed("model"):
            module = self.task.model()
            if not isinstance(module, nn.Module):
                raise TaskError(f"model() must return an nn.Module, got {type(module).__name__}")
            for name, tensor in _all(module):
                if is_lazy(tensor):
                    raise TaskError(
                        f"model() must give every parameter its shape, but {name} waits for a "
                        "first batch; give the layer its sizes, or call it once within model()"
                    )
            return module.to(self.device)

    def _check_pair(self, examples: Batch) -> None:
        if self.task.step is None and not (isinstance(examples, tuple) and len(examples) == 2):
            raise TaskError(
                "a loss needs examples that are pairs (X, y); give step=(model, batch) -> loss for "
                "others"
            )

    def _dtype(self) -> torch.dtype:
        found = {p.dtype for p in self._objective.parameters() if p.requires_grad}
        if found in ({torch.float32}, {torch.float64}):
            return found.pop()
        names = ", ".join(sorted(str(dtype) for dtype in found)) or "none at all"
        raise TaskError(
            f"model's trained parameters must all be float32 or all float64, got {names}; "
            "autocast=torch.bfloat16 computes in that format"
        )

    def _initial(self, seed: int) -> Start:
        """Return what a seed makes of the module; the last one is kept."""
        return self._start(self._build(seed))

    def _start(self, module: nn.Module) -> Start:
        values = {f"module.{name}": tensor.detach().clone() for name, tensor in _all(module)}
        trained, state = ({n: values.pop(n) for n in names} for names in self._names)
        return Start(trained, state, values if self._fixed is None else self._fixed)

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
            loss = functional_call(self._objective, values, (batch, "loss"))
        objective = self._objective.penalized(loss, parameters.values())
        return objective, (loss, {name: values[name] for name in state})

    def gradients(self, *given: Any) -> Any:  # noqa: ANN401
        """Return the gradients of the training objective, and what ``loss`` returns beside it.

        As by ``torch.autograd.grad``, which is faster, but of which a compiler sees only half.
        """
        return grad(self.loss, has_aux=True)(*given)

    def evaluate(
        self, parameters: Values, state: Values, fixed: Values, batch: Batch, seed: Tensor, *,
        what: str,
    ) -> Any:  # noqa: ANN401 # fmt: skip
        """Return the "loss" of a batch, its "outputs", or the "score" of a user's step."""
        with self.precision(), LaneFunctions(seed, torch.tensor(0)):
            return functional_call(self._objective, {**fixed, **parameters, **state}, (batch, what))

    def precision(self) -> torch.autocast:
        """Return what computes in the format that the task asks for."""
        return self._objective.precision()

    @contextmanager
    def mode(self, *, training: bool) -> Iterator[None]:
        """Put the module into training or evaluation mode, gradients on or off with it.

        Numbers below the smallest normal one count as 0 meanwhile, as in trainings of linear
        models: processors are slow on them.
        """
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.set_flush_denormal(True)
        torch.backends.mha.set_fastpath_enabled(value=False)  # no lanes run through it
        self._objective.train(training)
        try:
            with torch.set_grad_enabled(training), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "There is a performance drop")
                yield
        finally:
            torch.set_flush_denormal(False)
            torch.backends.mha.set_fastpath_enabled(value=fast)

    def state_dict(self, parameters: Values, state: Values, fixed: Values) -> dict[str, Tensor]:
        """Return a state_dict of the user's module with these values."""
        values = {**fixed, **parameters, **state}
        module = self.module
        known = {id(tensor): name for name, tensor in _all(module)}
        own = module.state_dict(keep_vars=True)
        return {
            name: values[f"module.{known[id(tensor)]}"].detach().cpu().clone()
            if id(tensor) in known
            else tensor
            for name, tensor in own.items()
        }

    def alone(self, seed: int) -> tuple[Alone, Start]:
        """Return a new module for one lane, and what the seed makes of it.

        Every buffer is state, for it may come to change one that the first step left as it was.
        """
        own = Alone(Objective(self.task, self._build(seed)))
        start = self._start(own.objective.module)
        buffers = dict(own.objective.named_buffers())
        fixed = {name: tensor for name, tensor in start.fixed.items() if name not in buffers}
        state = {name: tensor for name, tensor in start.fixed.items() if name in buffers}
        return own, Start(start.parameters, {**start.state, **state}, fixed)

    def _check_compiled(self, start: Start, seen: Seen, batch: Batch) -> None:
        """See whether a lane alone, which a compiler gets as a function, is what it was called."""
        given = start.parameters, start.state, start.fixed, batch
        advice = "; leave compile=False"
        with self.mode(training=True), seeded(0), blamed("compile=True", advice):
            found, _ = self.gradients(*given, torch.tensor(0), torch.tensor(1))
        near = alike([gradient[None] for gradient in found.values()], seen.gradients)
        if why := seen.why or ("" if near else "its gradients are others then"):
            raise TaskError(f"compile=True runs a module's Python once, and {why}; leave it out")

    def _check_draws(self, own: Alone) -> None:
        """See whether the module is a function of the seed."""
        again = own.values()
        for name, parameter in self._objective.named_parameters():
            if parameter.requires_grad and not same(parameter, again[name]):
                raise TaskError(
                    f"model() drew {name.removeprefix('module.')} otherwise under the same torch "
                    "seed; draw it with torch's random numbers"
                )


def _all(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()
