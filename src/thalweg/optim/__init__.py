"""Every rule as a drop-in ``torch.optim`` class: ``from thalweg.optim import Adam``.

Signatures, defaults, state and checkpoints are torch's own, so each can continue a training of the
other. On the CPU a step of all tensors is one compiled call, generated from the rule's equation.
"""

try:
    import torch  # noqa: F401 - to say what is missing before anything fails on it
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "thalweg.optim needs PyTorch: pip install 'thalweg[torch]'", name="torch"
    ) from error

# Torch's own, so that ``from thalweg import optim`` takes the place of ``from torch import optim``.
from torch.optim import LBFGS, Optimizer, SparseAdam, lr_scheduler, swa_utils

from thalweg.optim.curvature import gauss_newton_bartlett, hutchinson
from thalweg.optim.own_classes import AdaBelief, Descent, Lion, Yogi
from thalweg.optim.torch_classes import (
    ASGD,
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Muon,
    NAdam,
    RAdam,
    RMSprop,
    Rprop,
)

__all__ = [
    "ASGD", "LBFGS", "SGD", "AdaBelief", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW",
    "Adamax", "Descent", "Lion", "Muon", "NAdam", "Optimizer", "RAdam", "RMSprop", "Rprop",
    "SparseAdam", "Yogi", "gauss_newton_bartlett", "hutchinson", "lr_scheduler", "swa_utils",
]  # fmt: skip
