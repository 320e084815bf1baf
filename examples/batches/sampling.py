"""
Three ways to choose the examples of a minibatch
================================================

"shuffle" takes every example once per epoch, in a fresh order. "replacement" draws anew each time,
so that an epoch misses a given example with probability (1 − 1/n)ⁿ ≈ 1/e. "sequential" keeps the
order of the file, whatever it is sorted by. With a fresh order the noise of an epoch largely
cancels, and the loss comes nearer to its least. A fixed order does better still here, where the
file is in no order; a sorted file would spoil it.
"""

import math

import matplotlib.pyplot as plt
import numpy as np

from thalweg import data, style
from thalweg.linear import train

ways = ("shuffle", "replacement", "sequential")
diabetes = data.load("diabetes")
X, y = ((a - a.mean(axis=0)) / a.std(axis=0) for a in (diabetes.X, diabetes.y))
n, epochs, seeds = len(X), 20, 20
least = np.linalg.lstsq(X, y)[1][0] / n / 2

# %%
# How often an epoch uses each example. Example i is the i-th unit vector, so that weight i moves
# only when it is used: halfway from where it is to 1.

uses = {}
for way in ways:
    w = train(np.eye(n), np.ones(n), rule="sgd", epochs=1, batch_size=1, sampling=way,
              intercept=False, lr=0.5, dtype="float64").coef[0, 0]  # fmt: skip
    uses[way] = np.rint(-np.log2(1 - w)).astype(int)

# %%
# The same training in each way, on twenty seeds.

settings = {"rule": "sgd", "epochs": epochs, "batch_size": 10, "lr": 0.03}
runs = {}
for way in ways:
    fits = [train(X, y, sampling=way, seed=seed, **settings) for seed in range(seeds)]
    runs[way] = [100 * (fit.train_loss[:, 0] / least - 1) for fit in fits]

with style.styled():
    picture, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    k = np.arange(6)
    left.bar(k, np.bincount(uses["replacement"], minlength=6)[:6] / n, color=style.TIE)
    left.plot(k, [1 / (math.e * math.factorial(i)) for i in k], "o", label="1/(e k!), Poisson")
    left.set(title="uses of an example in an epoch, with replacement", xlabel="k", ylabel="share")
    left.legend()
    for way, curves in runs.items():
        right.semilogy(np.median(curves, axis=0), label=way)
    right.set(title="SGD, batch 10", xlabel="epoch", ylabel="loss above the least (%)")
    right.legend()
plt.show()

assert set(uses["shuffle"]) == set(uses["sequential"]) == {1}
assert abs((uses["replacement"] == 0).mean() - 1 / math.e) < 0.04
ends = {way: np.median(np.array(curves)[:, -10:]) for way, curves in runs.items()}
assert ends["shuffle"] < 0.7 * ends["replacement"]
