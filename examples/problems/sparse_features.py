"""
Sparse features: where Adagrad earns its name
=============================================

Of words in texts and things clicked on, a few are in nearly every example and most in hardly any.
SGD has one rate for all weights: low enough for the frequent ones, it moves the rare ones little.
Adagrad divides each weight's rate by the root of the squares that it has seen: a weight that is
seldom met keeps a high rate for the few times that it is.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit

from thalweg import rules, style

random = np.random.default_rng(0)
features, rows, batch_size = 200, 20_000, 10
frequency = 0.5 / np.arange(1, features + 1)  # as of words: Zipf's law
truth = random.standard_normal(features)
X = (random.random((2, rows, features)) < frequency).astype(float)  # there or not: to fit, to test
y = (random.random((2, rows)) < expit(X @ truth)).astype(float)  # a click, by the model's chance


def fit(rule, lr):
    """Return the weights after one pass of logistic regression by a rule."""
    w, hyper = np.zeros(features), {**rule.defaults, "lr": lr}
    state = rule.first_state(w, hyper)
    for t, first in enumerate(range(0, rows, batch_size), 1):
        A, b = X[0, first : first + batch_size], y[0, first : first + batch_size]
        w, state = rule.advance(A.T @ (expit(A @ w) - b) / batch_size, w, state, t=t, hyper=hyper)
    return w


def loss(w):
    """Return the mean log loss of the test part."""
    return np.mean(np.logaddexp(0, X[1] @ w) - y[1] * (X[1] @ w))


# %%
# Each rule at the best of its rates. Frequent features, on the left, are learned by both; of the
# rare ones SGD's error is about twice Adagrad's.

best, error = {}, {}
bands = np.array_split(np.arange(features), 8)
for name in ("sgd", "adagrad"):
    best[name] = min((fit(rules.get(name), lr) for lr in np.geomspace(0.03, 10, 8)), key=loss)
    error[name] = [np.mean((best[name] - truth)[b] ** 2) / np.mean(truth[b] ** 2) for b in bands]
    print(f"{name:8} log loss {loss(best[name]):.4f}; of no features {np.log(2):.4f}")

with style.styled():
    picture, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for (name, values), marker in zip(error.items(), "os", strict=True):
        ax.semilogx([frequency[b].mean() for b in bands], values, marker=marker, label=name)
    ax.set(
        xlabel="share of the examples that have the feature", ylabel="error (1: nothing learned)"
    )
    ax.minorticks_off()
    ax.set_xticks([0.1, 0.01, 0.003], ["10 %", "1 %", "0.3 %"])
    ax.invert_xaxis()
    ax.legend()
plt.show()

assert loss(best["adagrad"]) < loss(best["sgd"]) - 0.004
assert np.mean(error["sgd"][4:]) > 1.5 * np.mean(error["adagrad"][4:])
