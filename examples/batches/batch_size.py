"""
Why minibatches
===============

One example at a time wastes the machine, all at once wastes the examples. The time of a step grows
slower than its batch; a larger batch takes fewer, better steps per epoch. Each batch size gets the
rate, of many in lanes, that reaches the target in the fewest epochs; then its time per epoch is
measured alone. The same holds for a matrix product by elements, by columns or as a whole.
"""

import timeit

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

from thalweg import data, style
from thalweg.linear import train

diabetes = data.load("diabetes")
X, y = ((a - a.mean(axis=0)) / a.std(axis=0) for a in (diabetes.X, diabetes.y))
least, epochs, target = np.linalg.lstsq(X, y)[1][0] / len(X) / 2, 30, 1.0
rates = np.geomspace(1e-4, 1, 32).tolist()

curves, times = {}, {}
for size in (1, 10, 100, len(X)):
    settings = {"rule": "sgd", "batch_size": size, "threads": 1}
    fit = train(X, y, epochs=epochs, lr=rates, **settings)
    above = 100 * (np.nan_to_num(fit.train_loss, nan=np.inf, posinf=np.inf) / least - 1)
    there = above <= target
    first = np.where(there.any(axis=0), there.argmax(axis=0), np.inf)  # epochs, by lane
    lane = np.lexsort([above.min(axis=0), first])[0]
    alone = {"epochs": 200, "evaluate_every": 200, "lr": rates[lane], **settings}
    seconds = min(timeit.repeat(lambda s=alone: train(X, y, **s), number=1, repeat=3)) / 200
    curves[size], times[size] = above[:, lane], 1000 * seconds
    print(f"batch {size:3}: {times[size]:.4f} ms per epoch, {first[lane]:.0f} epochs to the target")

# %%
# The product of two matrices of 256 × 256 takes 2 · 256³ operations, whichever way it is done.

A, B = np.random.default_rng(0).standard_normal((2, 256, 256))
ways = {
    "elements": lambda: [row @ column for row in A for column in B.T],
    "columns": lambda: [A @ column for column in B.T],
    "blocks of 64": lambda: [A @ B[:, j : j + 64] for j in range(0, 256, 64)],
    "whole": lambda: A @ B,
}
with threadpool_limits(1):
    flops = {w: 2 * 256**3 / min(timeit.repeat(f, number=1, repeat=5)) for w, f in ways.items()}

with style.styled():
    picture, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for (size, above), marker in zip(curves.items(), "os^D", strict=True):
        best = np.minimum.accumulate(above[1:])
        spent = times[size] * np.arange(1, epochs + 1)
        left.loglog(spent, best, marker=marker, markersize=3, label=f"batch {size}")
    left.axhline(target, color=style.INK, linewidth=0.8, linestyle="-")
    left.set(title="SGD, a mark per epoch", xlabel="ms, one thread", ylabel="above the least (%)")
    left.set_ylim(0.05, 200)
    left.legend()
    right.barh(list(flops), np.array(list(flops.values())) / 1e9, color=style.WINNER)
    right.set(xscale="log", title="a matrix product, by pieces", xlabel="GFLOP/s, one thread")
plt.show()

assert curves[1].min() <= target
assert curves[10].min() <= target
