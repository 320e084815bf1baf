"""
Rules of your own that look at more than elements
=================================================

A rule may take sums of a tensor, and products of matrices; a wrapper goes around the step of any
rule. Each is a plain function of ten lines or fewer, and is raced like those that are known: here
on a small network of the digits, where the matrix rule steps the hidden layer and AdamW the rest.
"""

import tempfile

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

import thalweg
from thalweg import style
from thalweg.elementwise import maximum, minimum
from thalweg.matrices import T, identity, power
from thalweg.rules import rule
from thalweg.sums import norm
from thalweg.wrapper import wrapper


@rule("Gradients of length 1, then momentum")
def normalized(g, x, v, *, t, lr=1e-2, beta=0.9):
    """A sum, the norm, divides the whole gradient."""
    v = beta * v + g / (norm(g) + 1e-12)
    return x - lr * v, v


@rule("Shampoo from the left side alone")
def one_sided(g, x, L, *, t, lr=1e-2, eps=1e-6):
    """Products of matrices; L has the shape that the equation gives it."""
    L = L + g @ T(g)
    return x - lr * power(L + eps * identity(L), -0.5) @ g, L


@wrapper("No element moves further than limit times the rate")
def bounded(step, g, x, *, t, lr, limit=2.0):
    """``step`` is where the rule inside goes."""
    d = x - step(g, x)
    return x - minimum(maximum(d, -limit * lr), limit * lr)


images, digits = load_digits(return_X_y=True)
task = thalweg.TorchTask(
    model=lambda: nn.Sequential(
        nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)
    ),
    loss=functional.cross_entropy,
    train=(images / 16, digits),
    name="digits, network",
)
raced = ["adamw", "normalized", "one_sided", "bounded(momentum)"]
with tempfile.TemporaryDirectory() as folder:
    terms = {"trials": 4, "epochs": 2, "repeats": 3, "workers": 1, "out": folder}
    rows = thalweg.race(task, rules=raced, **terms).results["rules"]

with style.styled():
    picture, ax = plt.subplots(figsize=(7, 3), layout="constrained")
    ax.barh([row["rule"] for row in rows], [row["test_loss"]["typical"] for row in rows])
    ax.set(xlabel="test loss (nats)", title="2 epochs, the best of 4 trials")
plt.show()
assert {row["rule"] for row in rows} == {*raced}
