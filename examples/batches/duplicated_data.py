"""
Duplicated data
===============

A set in which each example stands twice has the same mean gradient. So gradient descent takes the
same path, and pays twice for each step. Stochastic descent does not notice either: the examples
that it draws have the same distribution. After as many *steps* it is where it was; after as many
*epochs* it has done twice the work. Duplicates teach nothing new: what they change is the price of
an epoch.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import data, style
from thalweg.linear import train

diabetes = data.load("diabetes")
X, y = ((a - a.mean(axis=0)) / a.std(axis=0) for a in (diabetes.X, diabetes.y))
n, epochs = len(X), 20
least = np.linalg.lstsq(X, y)[1][0] / n / 2  # loss of the least-squares solution
twice = np.concatenate([X, X]), np.concatenate([y, y])

# %%
# Each way of descent once on the set, for twice as many epochs, and once on the doubled set. The
# loss of the doubled set is that of the set, so all losses compare.

ways = {"all examples": (n, 0.1), "minibatches of 10": (10, 0.01), "single examples": (1, 0.001)}
once, doubled = {}, {}
for way, (batch_size, lr) in ways.items():
    both = 2 if way == "all examples" else 1  # a full batch of the doubled set is twice as large
    once[way] = train(X, y, rule="sgd", epochs=2 * epochs, batch_size=batch_size, lr=lr)
    doubled[way] = train(*twice, rule="sgd", epochs=epochs, batch_size=both * batch_size, lr=lr)

# %%
# Against epochs the doubled set looks faster, but for gradient descent. Against the examples that
# were read the curves fall together, and now gradient descent loses: it pays twice.

with style.styled():
    picture, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for way, color in zip(ways, (style.WINNER, style.TIE, style.INK), strict=True):
        for runs, line, size in ((once, "-", n), (doubled, ":", 2 * n)):
            above = 100 * (runs[way].train_loss[: epochs + 1, 0] / least - 1)
            label = f"{way}, each {'once' if runs is once else 'twice'}"
            panels[0].semilogy(above, line, color=color, label=label)
            panels[1].semilogy(size * np.arange(epochs + 1), above, line, color=color)
    panels[0].set(xlabel="epochs", ylabel="loss above the least (%)", title="SGD on diabetes")
    panels[1].set(xlabel="examples read", title="the same, by what it costs")
    panels[0].legend()
plt.show()

# %%
# Gradient descent: the same path. Single examples: after as many steps, the same loss but for the
# order in which they came.

gd = once["all examples"].train_loss, doubled["all examples"].train_loss
np.testing.assert_allclose(gd[0][: epochs + 1], gd[1], rtol=1e-5)
for way in ("minibatches of 10", "single examples"):
    steps_of_both = once[way].train_loss[::2][: epochs + 1], doubled[way].train_loss
    np.testing.assert_allclose(*steps_of_both, rtol=0.03)
