"""Many trainings of one PyTorch module side by side, each by a rule with settings of its own.

``TorchTask`` says what is trained; ``train`` trains it in lanes: the parameters of all of them are
stacked, ``torch.func`` takes all gradients in one pass, and one compiled call steps them all.
"""

try:
    import torch  # noqa: F401 - to say what is missing before anything fails on it
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "thalweg.TorchTask needs PyTorch: pip install 'thalweg[torch]'", name="torch"
    ) from error

from thalweg.stack.model import Model
from thalweg.stack.observer import Observer
from thalweg.stack.parts import Examples, Parts
from thalweg.stack.task import TorchTask
from thalweg.stack.training import Outcome, train

__all__ = ["Examples", "Model", "Observer", "Outcome", "Parts", "TorchTask", "train"]
