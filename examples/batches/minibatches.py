"""
One estimator: all examples, one, or a minibatch
================================================

The mean gradient of B examples that are drawn at random is unbiased, and its standard error falls
as 1/√B: it is σ/√B with replacement, and σ/√B · √((n − B)/(n − 1)) without. B = 1 is SGD. B = n
without replacement is gradient descent, whose error is 0.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import data, style
from thalweg.linear import train

diabetes = data.load("diabetes")
X, y = ((a - a.mean(axis=0)) / a.std(axis=0) for a in (diabetes.X, diabetes.y))
n = len(X)
each = -y[:, None] * X  # the gradient of each example at w = 0
full = each.mean(axis=0)
sigma = np.sqrt(np.sum(each.var(axis=0)))

# %%
# The gradients are read off trainings. Lane j rests but for step j, whose rate is 1: from 0 it goes
# to minus the gradient of the j-th minibatch.

sizes = [1, 2, 5, 10, 20, 50, 100, 200, n]
measured = {"replacement": [], "shuffle": []}
for sampling, errors in measured.items():
    for size in sizes:
        rates = [lambda step, j=j: float(step == j) for j in range(min(n // size, 40))]
        ends = [
            train(X, y, rule="sgd", epochs=1, batch_size=size, sampling=sampling, seed=seed,
                  lr=rates, intercept=False, dtype="float64").coef[:, 0]
            for seed in range(200 // len(rates) + 1)
        ]  # fmt: skip
        error = -np.concatenate(ends) - full
        errors.append(np.sqrt(np.mean(np.sum(error**2, axis=1))))
        assert np.linalg.norm(error.mean(axis=0)) < 0.25 * sigma / np.sqrt(size)  # unbiased

B = np.array(sizes)
expected = {"replacement": sigma / np.sqrt(B)}
expected["shuffle"] = expected["replacement"] * np.sqrt((n - B) / (n - 1))

with style.styled():
    picture, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for sampling, color, mark in (("replacement", style.TIE, "s"), ("shuffle", style.WINNER, "o")):
        ax.loglog(B, np.maximum(expected[sampling], 1e-9), color=color, linestyle="-")
        ax.loglog(B, measured[sampling], mark, color=color, label=f"measured, {sampling}")
    ax.set(xlabel=f"batch size B, of {n}", ylabel="standard error of the gradient")
    ax.set_ylim(expected["replacement"][-1] / 5, 2 * sigma)
    ax.legend(title="lines: the formulas")
plt.show()

for sampling, errors in measured.items():
    np.testing.assert_allclose(errors, expected[sampling], rtol=0.25, atol=1e-9)
