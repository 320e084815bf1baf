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

from thalweg.errors import TaskError, told
from thalweg.stack.batch import Batch, each
from thalweg.stack.functions import LaneFunctions
from thalweg.stack.mapped import Program, mapped
from thalweg.stack.task import TorchTask

__all__ = ["Model", "Start", "Values"]

Values = Mapping[str, Tensor]
"""Tensors by their names in the module."""

_PROBED = 8  # examples that show how a module behaves
_CLOSE = 1e-3  # relative: float32 rounds far less in one forward pass, another computation far more


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


class _Objective(nn.Module):
    """A module with its loss: what ``functional_call`` calls."""

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
                return torch.as_tensor(task.metric(self.module, batch))
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


class Model:
    """A user's module as a function of its parameters, probed once.

    Args:
        task: what the user says.
        examples: a batch, of which some are used to see how the module behaves.

    Attributes:
        seedless: whether all that is fixed is the same whatever the seed, as pretrained layers are.
        stacked: whether many copies can be trained in one pass.
        why: if not, why.
        programs: ``gradients`` and the "loss" of ``evaluate``, compiled where they are called.

    Raises:
        TaskError: the module, its loss or its step cannot be trained; a sentence with the place.
    """

    def __init__(self, task: TorchTask, examples: Batch) -> None:
        self.task = task
        self.device = task.place
        self._objective = _Objective(task, self._build(0))
        self._check_pair(examples)
        self.dtype = self._dtype()
        few = each(lambda tensor: tensor[:_PROBED].to(self.device), examples)
        with seeded(0):
            self._names = self._sort(few)
            self._fixed: Values | None = None
            self.initial = functools.lru_cache(maxsize=32)(self._initial)
            fixed, other = (self._initial(seed).fixed for seed in (0, 1))
            self.seedless = all(_same(tensor, other[name]) for name, tensor in fixed.items())
            self._fixed = fixed if self.seedless else None
            self.stacked, self.why = True, ""
            self._probe(few)
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

    def _named(self, module: nn.Module) -> dict[str, Tensor]:
        named = [*module.named_parameters(), *module.named_buffers()]
        return {f"module.{name}": tensor.detach() for name, tensor in named}

    def _initial(self, seed: int) -> Start:
        """Return what a seed makes of the module; cached."""
        values = self._named(self._build(seed))
        trained, state, fixed = ({n: values[n].clone() for n in names} for names in self._names)
        return Start(trained, state, fixed if self._fixed is None else self._fixed)

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
        with self._precision(), LaneFunctions(seed, step):
            loss = functional_call(self._objective, values, (batch, "loss"))
        objective = loss
        if self.task.l2:
            weights = (p.square().sum() for p in parameters.values() if p.ndim > 1)
            objective = loss + self.task.l2 / 2 * sum(weights)
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
        with self._precision(), LaneFunctions(seed, torch.tensor(0)):
            return functional_call(self._objective, {**fixed, **parameters, **state}, (batch, what))

    def _precision(self) -> torch.autocast:
        cast = self.task.autocast
        return torch.autocast(self.device.type, dtype=cast, enabled=cast is not None)

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

    def _sort(self, batch: Batch) -> tuple[list[str], list[str], list[str]]:
        """Take a step to see which parameters are trained and which buffers change."""
        module = self.module
        values = {name: tensor.clone() for name, tensor in self._named(module).items()}
        trained = {f"module.{n}" for n, p in module.named_parameters() if p.requires_grad}
        for name in trained:
            values[name].requires_grad_()
        after = dict(values)
        before = {n: t.detach().clone() for n, t in values.items()}
        draws = LaneFunctions(torch.tensor(0), torch.tensor(1))
        what = "loss" if self.task.step is None else "step"
        with self.mode(training=True), blamed(what), self._precision(), draws:
            loss = functional_call(self._objective, after, (batch, "loss"))
        self._check(loss)
        leaves = sorted(trained)
        gradients = torch.autograd.grad(loss, [values[n] for n in leaves], allow_unused=True)
        used = {n for n, g in zip(leaves, gradients, strict=True) if g is not None}
        changed = {
            n for n in before if n not in trained and not _same(before[n], after[n].detach())
        }
        return (
            [n for n in values if n in used],
            [n for n in values if n in changed],
            [n for n in values if n not in used | changed],
        )

    def _check(self, loss: Any) -> None:  # noqa: ANN401
        what = "step(model, batch)" if self.task.loss is None else "loss(outputs, targets)"
        if not isinstance(loss, Tensor) or loss.ndim or not loss.is_floating_point():
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise TaskError(f"{what} must return one number, the mean over the batch, got {got}")
        if not loss.requires_grad:
            raise TaskError(f"{what} does not depend on any parameter that is trained")
        if not torch.isfinite(loss):
            raise TaskError(
                f"the loss of the untrained model is {loss.item()} on the first examples; check "
                "the data, the initial parameters and the loss"
            )

    def _probe(self, batch: Batch) -> None:
        """See whether the module is a function of the seed, and whether it can be stacked."""
        first, again = self.initial(0), self._initial(0)
        for name, tensor in first.parameters.items():
            if not _same(tensor, again.parameters[name]):
                raise TaskError(
                    f"model() drew {name.removeprefix('module.')} otherwise under the same torch "
                    "seed; draw it with torch's random numbers"
                )
        alone = self._lane_losses(batch, 1, stacked=False)
        try:
            both = self._lane_losses(batch, 2, stacked=True)
        except Exception as error:  # noqa: BLE001 - whatever torch.func cannot do
            self.stacked, self.why = False, _first_sentence(error)
            return
        if not torch.allclose(both, alone, rtol=_CLOSE, atol=1e-6):
            self.stacked, self.why = False, "its losses differ when it is stacked"

    def _lane_losses(self, batch: Batch, lanes: int, *, stacked: bool) -> Tensor:
        """Return equal lanes' losses: in training on one minibatch, on one each, evaluated."""

        def repeated(values: Batch) -> Batch:
            return each(lambda tensor: torch.stack([tensor] * lanes), values)

        start = self.initial(0)
        own = repeated(start.parameters), repeated(start.state)
        seeds = torch.zeros(lanes, dtype=torch.int64)
        found = []
        with self.mode(training=True):
            for dimension, examples in ((None, batch), (0, repeated(batch))):
                dimensions: tuple[int | None, ...] = (0, 0, None, dimension, 0, None)
                given: tuple[Any, ...] = (*own, start.fixed, examples, seeds, torch.tensor(1))
                found.append(mapped(self.loss, dimensions, *given, stacked=stacked)[1][0])
        with self.mode(training=False):
            evaluate = partial(self.evaluate, what="loss")
            dimensions = (0, 0, None, None, 0)
            given = (*own, start.fixed, batch, seeds)
            found.append(mapped(evaluate, dimensions, *given, stacked=stacked))
        return torch.stack([losses.detach().double().cpu() for losses in found])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's random numbers; afterwards they go on as if nothing had been drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@contextmanager
def blamed(what: str, advice: str = "") -> Iterator[None]:
    """Turn what the user's code raises into one sentence with its place.

    Args:
        what: where the error has no place in the user's code.
        advice: what to do, if that is known.

    Raises:
        TaskError: in place of any other error.
    """
    try:
        yield
    except TaskError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or "allocate" in str(error):
            advice = "; take a smaller batch_size"
        raise TaskError(told(error, what) + advice) from error


def _first_sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _all(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(torch.equal(a, b))
