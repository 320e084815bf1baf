"""Batch normalization: batches too small for it, by what its statistics are worth afterwards."""

import torch
from torch import nn

from thalweg.doctor.baseline import constant_loss
from thalweg.doctor.finding import Finding
from thalweg.doctor.loaders import Batch
from thalweg.doctor.subject import Copy, Subject, cloned, first_tensor
from thalweg.words import digits

__all__ = ["normalizes", "statistics_worthless", "tiny_batches"]

_TINY = 4  # examples
_TIMES, _SHARE = 2.0, 0.2  # the loss with its own statistics; of the loss of a constant
_MOST = 64  # batches


def normalizes(subject: Subject) -> bool:
    """Return whether the model has batch normalization."""
    return any("BatchNorm" in type(m).__name__ for m in subject.model.modules())


def tiny_batches(subject: Subject) -> int | None:
    """Return the size of batches that go through batch normalization, where all are tiny."""
    sizes = [len(t) for t in (first_tensor(b) for b in subject.batches) if t is not None and t.ndim]
    most = max(sizes, default=0)
    return most if subject.pairs and 0 < most <= _TINY and normalizes(subject) else None


def statistics_worthless(subject: Subject, model: nn.Module) -> Finding | None:
    """Look for a model that has learned with each tiny batch's statistics, and not with its own.

    Mean and variance of one or two examples say what these examples are like: the model is trained
    without it, and evaluation with averages of them shows it.

    Args:
        subject: the training.
        model: the user's, as it is now.
    """
    size, best = tiny_batches(subject), constant_loss(subject)
    if size is None or best is None or best <= 0:
        return None
    twin = subject.copy()
    twin.model = cloned(model)
    batches = subject.batches[-_MOST:]
    averages, own = (_loss(twin, batches, by_batch=by_batch) for by_batch in (False, True))
    if not averages > max(_TIMES * own, own + _SHARE * best):
        return None
    return Finding(
        "batch_norm_with_tiny_batches",
        "problem",
        f"Batches of {size} go through batch normalization: with each batch's own mean and "
        f"variance the loss of training batches is {digits(own)}, and in evaluation mode, with the "
        f"averages of them, {digits(averages)}.",
        {
            "examples of a batch": float(size),
            "loss with statistics of each batch": own,
            "loss with their averages": averages,
        },
        f"batches of {_TINY} or fewer; {_TIMES:.0f} times the loss, and {_SHARE:.0%} of the loss "
        "of the best constant more",
        "an experiment: the same batches with both statistics; judgement",
        sure=0.85,
    )


def _loss(twin: Copy, batches: list[Batch], *, by_batch: bool) -> float:
    """Return the mean loss without dropout, normalized by each batch or by averages."""
    twin.model.eval()
    for module in twin.model.modules():
        if "BatchNorm" in type(module).__name__:
            module.train(by_batch)
    with torch.no_grad():
        return sum(float(twin.loss(batch)) for batch in batches) / len(batches)
