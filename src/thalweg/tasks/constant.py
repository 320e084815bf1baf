"""Constant: the lowest validation loss of outputs that are the same for every example."""

import math
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from thalweg.stack import Model, Parts
from thalweg.stack.batch import Batch, count
from thalweg.tasks.admission import few, outputs

__all__ = ["best_constant"]

_SEARCH = 1000  # evaluations; where the loss has no lowest value they are in vain


def best_constant(model: Model, placed: Parts) -> float | None:
    """Return the validation loss of the output that fits the training part best.

    None if there is none: the task has a step of its own, or the loss raises during the search, or
    it has no lowest value.

    Args:
        model: an untrained module.
        placed: the parts, on its device.
    """
    if model.task.step is not None:
        return None
    shape = outputs(model, few(model, placed.train)).shape[1:]

    def constant(values: Any) -> Tensor:  # noqa: ANN401 - NumPy's
        return torch.as_tensor(values, dtype=model.dtype, device=model.device).reshape(shape)

    def slope(values: Any) -> tuple[float, Any]:  # noqa: ANN401
        output = constant(values).requires_grad_()
        value = _loss(model, output, placed.train)
        (gradient,) = torch.autograd.grad(value, output)
        return value.item(), gradient.double().cpu().numpy().ravel()

    try:
        # torch's own L-BFGS loads torch's compiler, which takes a second.
        search = minimize(
            slope, np.zeros(shape.numel()), jac=True, method="L-BFGS-B", options={"maxfun": _SEARCH}
        )
        output = constant(search.x)
        found = _loss(model, output, placed.validation).item()
    except Exception:  # noqa: BLE001 - what a user's loss raises of numbers that it does not take
        return None
    return found if math.isfinite(found) and not _falls(model, output, placed.train) else None


def _falls(model: Model, output: Tensor, batch: Batch) -> bool:
    """Return whether the training loss is lower at twice the output: then it has no minimum."""
    try:
        here, there = (_loss(model, n * output, batch).item() for n in (1, 2))
    except Exception:  # noqa: BLE001 - that far out the loss has no value, so it has an end
        return False
    return there < here - 1e-3 * (1 + abs(here))


def _loss(model: Model, output: Tensor, batch: Batch) -> Tensor:
    """Return the loss of a batch whose outputs are all the same."""
    assert model.task.loss is not None
    rows = count(batch, "batch")
    same = output.expand(rows, *output.shape).contiguous()  # which a loss may view otherwise
    return model.task.loss(same, batch[1])
