"""Answer: where a model is judged, and the training point, which is kept meanwhile.

It is kept in the optimizer's state, so that a checkpoint has it in whichever mode it is made.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from thalweg.optim.recipe import Recipe

__all__ = ["TRAINING_POINT", "back", "go", "normalizations", "renewed"]

TRAINING_POINT = "training_point"

State = dict[str, Any]


@torch.no_grad()
def go(parameters: list[Tensor], states: Mapping[Tensor, State], recipe: Recipe) -> None:
    """Move the parameters of a group to the answer of its rule."""
    rule = recipe.rule
    for p in parameters:
        state = states.get(p)
        if rule.judged is None or not state or TRAINING_POINT in state:
            continue
        known = {n: _wide(state[key]) for n, key in recipe.keys.items() if key in state}
        here = p.detach().clone(memory_format=torch.preserve_format)
        answer = rule.answer_at(_wide(p), known, recipe.hyper)
        if not isinstance(answer, Tensor) or answer.shape != p.shape:
            raise TypeError(
                f"the answer of rule {rule.name!r} must be a tensor of x's shape, "
                f"{tuple(p.shape)}, got {answer!r}"
            )
        state[TRAINING_POINT] = here
        p.copy_(answer)


@torch.no_grad()
def back(states: Mapping[Tensor, State]) -> None:
    """Move parameters from their answer to where they are trained."""
    for p, state in states.items():
        if TRAINING_POINT in state:
            p.copy_(state.pop(TRAINING_POINT))


def normalizations(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers of batch normalization that keep running statistics, by name."""
    kind = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - as torch's update_bn
    found = {n: m for n, m in model.named_modules() if isinstance(m, kind)}
    return {n: m for n, m in found.items() if m.running_mean is not None}


@contextmanager
def renewed(model: nn.Module, batches: Iterable[Any]) -> Iterator[None]:
    """Let running statistics be those of the parameters as they are, inside a ``with``."""
    layers = normalizations(model).values()
    buffers = [buffer for layer in layers for buffer in layer.buffers(recurse=False)]
    before = [buffer.clone() for buffer in buffers]
    device = next((p.device for p in model.parameters()), None)
    training, momenta = model.training, [layer.momentum for layer in layers]
    try:
        try:
            update_bn(_looked_at(batches), model, device)
        except BaseException:  # it would leave them changed
            model.train(training)
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum
            raise
        yield
    finally:
        for buffer, value in zip(buffers, before, strict=True):
            buffer.copy_(value)


def _looked_at(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield batches that ``update_bn`` can take: without any, statistics would be 0 and 1.

    Raises:
        TypeError: it is a tensor, or a batch has no input at its beginning.
        ValueError: there is none.
    """
    if isinstance(batches, Tensor):
        raise TypeError("batches must be a loader or a list of batches, got one tensor: write [x]")
    count = 0
    for batch in batches:
        given = batch[0] if isinstance(batch, tuple | list) and batch else batch
        if not hasattr(given, "to"):  # it goes to the model's device
            raise TypeError(
                "batches must be tensors, or tuples that begin with the input, got "
                f"{type(given).__name__}: give the inputs, as [batch['x'] for batch in loader]"
            )
        count += 1
        yield batch
    if count == 0:
        raise ValueError(
            "batches must have a batch to renew the running statistics on, and has none: was an "
            "iterator used before? give the loader"
        )


def _wide(value: Tensor) -> Tensor:
    """Return a value of 16 bits in 32."""
    return value.detach().float() if value.dtype.itemsize == 2 else value.detach()
