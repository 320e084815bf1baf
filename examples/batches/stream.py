"""
An endless stream, and a finite set again and again
===================================================

Of a stream each example is seen once. Every minibatch is a fresh sample of the distribution, so
that its gradient is one of the *true risk*, and descent goes on lowering that. A finite set that is
read again and again has gradients of the *training loss*. It keeps falling while the true risk, on
data that the model has not seen, stands still or rises: the two part.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import rules, style

random = np.random.default_rng(0)
d, n, batch_size, steps, lr = 50, 100, 10, 3000, 0.02
truth = random.standard_normal(d) / np.sqrt(d)
noise = 0.5  # standard deviation of what no model can know


def draw(rows):
    """Draw examples of a linear model with noise."""
    X = random.standard_normal((rows, d))
    return X, X @ truth + noise * random.standard_normal(rows)


def risk(w):
    """Return the expected loss ½(x·w − y)² of a new example."""
    return ((w - truth) @ (w - truth) + noise**2) / 2


# %%
# The same rule, the same rate, the same number of steps. Only where minibatches come from differs.

X, y = draw(n)
stream, recycled = np.zeros(d), np.zeros(d)
curves = {"stream: true risk": [], "finite set: true risk": [], "finite set: training loss": []}
for t in range(1, steps + 1):
    A, b = draw(batch_size)
    stream = rules.sgd(A.T @ (A @ stream - b) / batch_size, stream, t=t, lr=lr)
    rows = random.choice(n, batch_size, replace=False)
    A, b = X[rows], y[rows]
    recycled = rules.sgd(A.T @ (A @ recycled - b) / batch_size, recycled, t=t, lr=lr)
    now = risk(stream), risk(recycled), np.mean((X @ recycled - y) ** 2) / 2
    for curve, value in zip(curves.values(), now, strict=True):
        curve.append(value)

with style.styled():
    picture, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for (label, curve), line in zip(curves.items(), ("-", "--", ":"), strict=True):
        ax.loglog(np.arange(1, steps + 1) * batch_size, curve, line, label=label)
    ax.axhline(noise**2 / 2, color=style.MUTED, linewidth=0.8, linestyle="-")
    ax.text(batch_size, noise**2 / 2, "no model is below this", va="bottom")
    ax.set(xlabel=f"examples read (the finite set has {n})", ylabel="loss")
    ax.legend()
plt.show()

# %%
fresh, true, trained = (np.mean(curve[-100:]) for curve in curves.values())
assert trained < noise**2 / 2 < fresh < 0.6 * true  # below what can be known: learned by heart
assert min(curves["finite set: true risk"]) > 1.1 * fresh  # stopping early does not catch up
