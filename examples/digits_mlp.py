"""Which optimizer for a small network on handwritten digits? What a user writes to ask.

    thalweg race examples/digits_mlp.py --rules adamw,sgd,lion --trials 16

One file with a function ``task``: a new module, its loss, the data. Validation and test parts are
drawn from the data; the seed of each training sets the initial weights.
"""

from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

import thalweg


def task() -> thalweg.TorchTask:
    """Return an MLP on scikit-learn's digits: 64 pixels, 10 classes."""
    images, digits = load_digits(return_X_y=True)
    return thalweg.TorchTask(
        model=lambda: nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
        loss=functional.cross_entropy,
        train=(images / 16, digits),
        name="digits, MLP",
    )


if __name__ == "__main__":
    print(thalweg.race(task(), rules=["adamw", "sgd"], trials=4, epochs=5, seeds=4))
