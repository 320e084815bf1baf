"""Probe: what a few examples show of a module, and whether it can be stacked."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.errors import TaskError, blamed, defined_at, given_to_loss, given_to_model, no_loss
from thalweg.stack.batch import Batch, arrays, each
from thalweg.stack.functional import Functional
from thalweg.stack.mapped import mapped
from thalweg.stack.objective import Alone, Objective, build, seeded
from thalweg.stack.shapes import compared
from thalweg.stack.task import TorchTask
from thalweg.stack.values import Start, Values

__all__ = ["Traits", "probe"]

_PROBED = 8  # examples that show how a module behaves
_CLOSE = 1e-3  # relative: float32 rounds far less in one forward pass, another computation far more
_ALIKE = 0.1  # the same of gradients, which short formats round coarsely; a lost hook is more


# Why all trainings start at one point, and what to do.
_SHARED = "model() returns one module again and again; build it within model() to have new ones"
_UNSEEDED = (
    "model() makes the same weights under every seed; if they are not loaded, leave "
    "torch.manual_seed out of it to have new ones"
)

_Held = Mapping[str, tuple[Any, Any]]  # by name: an attribute, and a copy of it


@dataclass(frozen=True)
class Traits:
    """What is known of a module.

    Attributes:
        trained: names of the parameters that have a gradient.
        changed: names of the buffers and frozen parameters that a step changes.
        seedless: whether all other values are the same whatever the seed, as pretrained layers are.
        why: why many copies cannot be trained in one pass; "" if they can.
        start: why the trained values are the same under every seed; "" if they are not.
        whole: whether the loss of a part is not the mean of the losses of its chunks, for example
            because examples are weighted. It takes more examples than these to see that, so it is
            False at first.
    """

    trained: tuple[str, ...]
    changed: tuple[str, ...]
    seedless: bool
    why: str
    start: str = ""
    whole: bool = False


def probe(function: Functional, examples: Batch) -> Traits:
    """Look at a module: put a few examples through it, alone and in two equal lanes.

    Args:
        function: the module, made under seed 0.
        examples: a batch; the first ones are used.

    Raises:
        TaskError: it cannot be trained, or the task asks to compile it and that fails.
    """
    task = function.task
    few = each(lambda tensor: tensor[:_PROBED].to(function.device), examples)
    with seeded(0):
        own, other = Alone(Objective(task, build(task, 0))), build(task, 1)
        shared = own.objective.module is other
        _check_draws(function.module, own)
        seen = _look(function, own, other, few)
        start = Start.of(function.module, seen.trained, seen.changed)
        again = Start.of(other, seen.trained, seen.changed)
        seedless = _all_same(start.fixed, again.fixed)
        same = _all_same(start.parameters, again.parameters)
        why = seen.why or _differences(function, start, seen, few)
        if task.compile and why:
            _check_compiled(function, start, seen, few)
    reason = (_SHARED if shared else _UNSEEDED) if same else ""
    return Traits(tuple(seen.trained), tuple(seen.changed), seedless, why, reason)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a module did when it was called as its user would call it.

    Attributes:
        trained: as in ``Traits``.
        changed: as in ``Traits``.
        losses: of the first step, in training mode and in evaluation mode.
        gradients: of the trained parameters, in the first step.
        why: what it holds beside parameters and buffers that prevents stacking, or "".
    """

    trained: list[str]
    changed: list[str]
    losses: Tensor
    gradients: list[Tensor]
    why: str


def _look(function: Functional, own: Alone, other: nn.Module, batch: Batch) -> _Seen:
    """Call a module a few times, as its user would; other is the same from another seed."""
    module = own.objective.module
    seed, step = torch.tensor(0), torch.tensor(1)
    names = [f"module.{n}" for n, p in module.named_parameters() if p.requires_grad]
    start, held = own.values(), [_held(module)]
    with _apart(function.task, module, batch):
        with function.mode(training=True):
            own.objective.zero_grad()
            with seeded(0), compared(module, batch):  # for what it draws itself
                _check(own(own.values(), batch, "loss", seed, step, training=True), function)
            if any(p.grad is not None for p in module.parameters()):
                raise TaskError(
                    "step(model, batch) must return the loss alone; leave backward() and the "
                    "optimizer out of it, for they are the race's"
                )
            held.append(_held(module))
            after = own.values()
            with seeded(0):
                loss, gradients = own.gradients(after, names, batch, seed, step)
            held.append(_held(module))
        changed = own.written | {n for n in start if not _same(start[n], after[n])}
        own.written.clear()
        with function.mode(training=False):
            after = own.values()
            evaluated = own(after, batch, "loss", seed, torch.tensor(0), training=False)
    written = own.written | {n for n in start if not _same(start[n], after[n])}
    found = {n: g for n, g in zip(names, gradients, strict=True) if g is not None}
    return _Seen(
        [n for n in start if n in found],
        [n for n in start if n in changed and n not in names],
        torch.stack([loss, evaluated]).double().cpu(),
        [found[n] for n in start if n in found],
        _leak(held, _held(other), [n for n in start if n in written and n not in names]),
    )


@contextmanager
def _apart(task: TorchTask, module: nn.Module, batch: Batch) -> Iterator[None]:
    """Blame the model for what fails before it has returned, the loss or the step for the rest."""
    returned: list[Any] = []
    handle = module.register_forward_hook(lambda *called: returned.append(called[-1]))

    def place() -> str:
        if returned:
            return "loss" if task.step is None else "step"
        return defined_at(task.model) or "model"

    def advice() -> str:
        if task.loss is None:
            return ""
        return given_to_loss(returned[-1], batch[1]) if returned else given_to_model(batch[0])

    try:
        with blamed(place, advice):
            yield
    finally:
        handle.remove()


def _check(loss: Any, function: Functional) -> None:  # noqa: ANN401
    what = "step(model, batch)" if function.task.loss is None else "loss(outputs, targets)"
    if not isinstance(loss, Tensor) or loss.ndim or not loss.is_floating_point():
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else no_loss(loss)
        raise TaskError(f"{what} must return one number, the mean over the batch, got {got}")
    if not loss.requires_grad:
        raise TaskError(f"{what} does not depend on any parameter that is trained")
    if not torch.isfinite(loss):
        raise TaskError(
            f"the loss of the untrained model is {loss.item()} on the first examples; check "
            "the data, the initial parameters and the loss"
        )


def _held(module: nn.Module) -> _Held:
    """Return the tensors and numbers beside parameters and buffers, each with a copy."""
    held: dict[str, tuple[Any, Any]] = {}
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            numbers = value if isinstance(value, (list, tuple)) else (value,)
            if isinstance(value, Tensor):
                held[f"{path}.{name}".strip(".")] = value, value.detach().clone()
            elif name != "training" and all(isinstance(v, (int, float)) for v in numbers):
                held[f"{path}.{name}".strip(".")] = value, tuple(numbers)
    return held


def _leak(held: Sequence[_Held], other: _Held, written: Sequence[str]) -> str:
    """Return what a module holds that would leak from one lane to another, if anything would.

    Args:
        held: before and after two equal calls.
        other: before the calls, made under another seed.
        written: buffers that are changed in evaluation.
    """
    first, once, twice = held
    for name, (_, copy) in twice.items():
        if name in once and not _equal(copy, once[name][1]):
            return f"its attribute {name} changes from step to step and is no buffer"
    for name, (value, copy) in first.items():
        kept = name in twice and twice[name][0] is value  # otherwise a call made it anew
        if kept and name in other and not _equal(copy, other[name][1]):
            return f"its attribute {name} depends on the seed and is no buffer"
    if written:
        return f"it changes {written[0].removeprefix('module.')} in evaluation"
    return ""


def _differences(function: Functional, start: Start, seen: _Seen, batch: Batch) -> str:
    """Return why a module cannot be stacked: where two equal lanes differ from one alone."""

    def twice(values: Batch) -> Batch:
        return each(lambda tensor: torch.stack([tensor] * 2), values)

    seeds, losses, near = torch.zeros(2, dtype=torch.int64), [], True
    try:
        own = twice(start.parameters)
        for parameter in own.values():
            parameter.requires_grad_()
        with function.mode(training=True):
            for dimension, examples in ((None, batch), (0, twice(batch))):
                given: tuple[Any, ...] = (own, twice(start.state), start.fixed, examples, seeds)
                dimensions = (0, 0, None, dimension, 0, None)
                objective, (loss, _) = mapped(
                    function.loss, dimensions, *given, torch.tensor(1), stacked=True
                )
                losses.append(loss)
                found = torch.autograd.grad(objective.sum(), list(own.values()))
                near = near and _alike(found, seen.gradients)
        with function.mode(training=False):
            evaluate = partial(function.evaluate, what="loss")
            given = own, twice(start.state), start.fixed, batch, seeds
            losses.append(mapped(evaluate, (0, 0, None, None, 0), *given, stacked=True))
    except Exception as error:  # noqa: BLE001 - whatever torch.func cannot do
        return str(error).strip().partition("\n")[0] or type(error).__name__
    both = torch.stack([loss.detach().double().cpu() for loss in losses])
    if not torch.allclose(both, seen.losses[[0, 0, 1], None], rtol=_CLOSE, atol=1e-6):
        return "its losses differ when it is stacked"
    return "" if near else "its gradients differ when it is stacked"


def _alike(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Return whether the gradients of each lane are nearly those expected, tensor by tensor."""
    norms = torch.stack([own.norm() for own in expected])
    errors = torch.stack(
        [
            (lanes - own).flatten(1).norm(dim=1).max()
            for lanes, own in zip(found, expected, strict=True)
        ]
    )
    within = errors <= _ALIKE * norms + _CLOSE * norms.norm()
    return bool(within.all()) or not bool(norms.isfinite().all())


def _all_same(values: Values, others: Values) -> bool:
    return all(_same(tensor, others[name]) for name, tensor in values.items())


def _same(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors are equal."""
    alike = a.shape == b.shape and a.layout is b.layout
    return alike and all(map(torch.equal, arrays(a), arrays(b)))


def _equal(a: Any, b: Any) -> bool:  # noqa: ANN401 - as _held
    both = isinstance(a, Tensor), isinstance(b, Tensor)
    return _same(a, b) if all(both) else not any(both) and a == b


def _check_draws(module: nn.Module, own: Alone) -> None:
    """Check that the module depends on the seed alone."""
    again = own.values()
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and not _same(parameter, again[f"module.{name}"]):
            raise TaskError(
                f"model() drew {name} otherwise under the same torch seed; draw it with torch's "
                "random numbers"
            )


def _check_compiled(function: Functional, start: Start, seen: _Seen, batch: Batch) -> None:
    """Check that the function that a compiler gets for a lane alone does what the module does."""
    given = start.parameters, start.state, start.fixed, batch
    advice = "; leave compile=False"
    with function.mode(training=True), seeded(0), blamed("compile=True", advice):
        found, _ = function.gradients(*given, torch.tensor(0), torch.tensor(1))
    near = _alike([gradient[None] for gradient in found.values()], seen.gradients)
    if why := seen.why or ("" if near else "its gradients are others then"):
        raise TaskError(f"compile=True runs a module's Python once, and {why}; leave it out")
