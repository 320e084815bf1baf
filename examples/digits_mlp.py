"""
A small network on handwritten digits
=====================================

Which optimizer? This file is what a user writes to ask::

    thalweg race examples/digits_mlp.py --rules adamw,sgd,lion --trials 16

One file with a function ``task``: a new module, its loss, the data. Validation and test parts are
drawn from the data; the seed of each training sets the initial weights.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

import thalweg
from thalweg import style


def task():
    """Return an MLP on scikit-learn's digits: 64 pixels, 10 classes."""
    images, digits = load_digits(return_X_y=True)
    return thalweg.TorchTask(
        model=lambda: nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
        loss=functional.cross_entropy,
        train=(images / 16, digits),
        name="digits, MLP",
    )


# %%
# The same from Python, with a few short trials: the test losses of each repeat, and the verdict.

if __name__ == "__main__":
    verdict = thalweg.race(task(), rules=["adamw", "sgd"], trials=4, epochs=5, workers=1)
    print(verdict)
    with style.styled():
        picture, ax = plt.subplots(figsize=(6.4, 2.4), layout="constrained")
        rows = verdict.results["rules"]
        for place, row in enumerate(rows):
            ax.plot(row["test_losses"], [place] * len(row["test_losses"]), "o")
        ax.set_yticks(range(len(rows)), [row["rule"] for row in rows])
        ax.set(xlabel="test loss (nats)", ylim=(-0.6, len(rows) - 0.4))
    plt.show()
