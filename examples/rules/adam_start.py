"""
Adam without bias correction, by another start
==============================================

Adam's averages start at 0, so that they are too small at first: m by 1 − β₁ᵗ, v by 1 − β₂ᵗ. The
correction divides by these. Without it m is too small by 10 at the first step and √v by 32, so that
the step is three times too long, and stays too long for a thousand steps. There are two other ways
to mend it. The averages may *start* at the first gradient and its square: a leaky average that
begins at a value of its series is no longer drawn to 0. Or a schedule of the rate takes up both
factors.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import rules, style

beta1, beta2, lr, eps = 0.9, 0.999, 0.01, 1e-8


def uncorrected(g, x, m, v, lr=lr):
    """Take a step of Adam with its averages as they are."""
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
    return x - lr * m / (np.sqrt(v) + eps), m, v


def descend(step, m=0.0, v=0.0):
    """Return the path of 200 steps on f = ½(0.1x₁² + x₂²), its gradient with noise."""
    random, path = np.random.default_rng(0), [np.array([1.0, 1.0])]
    for t in range(1, 201):
        g = np.array([0.1, 1.0]) * path[-1] + 0.1 * random.standard_normal(2)
        if t == 1 and m is None:
            m, v = g, g * g
        x, m, v = step(g, path[-1], m, v, t)
        path.append(x)
    return np.array(path)


def scheduled(t):
    """Return the rate that takes up both corrections."""
    return lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)


paths = {
    "Adam": descend(lambda g, x, m, v, t: rules.adam(g, x, m, v, t=t, lr=lr)),
    "without correction": descend(lambda g, x, m, v, _: uncorrected(g, x, m, v)),
    "from g₁ and g₁²": descend(lambda g, x, m, v, _: uncorrected(g, x, m, v), m=None),
    "by a schedule": descend(lambda g, x, m, v, t: uncorrected(g, x, m, v, scheduled(t))),
}

with style.styled():
    picture, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for (name, path), line in zip(paths.items(), ("-", "--", "-.", ":"), strict=True):
        ax.loglog(np.arange(1, 61), np.abs(np.diff(path[:61, 0])), line, label=name)
    ax.set(xlabel="step", ylabel="length of the step along x₁")
    ax.legend()
plt.show()

first = {name: abs(path[1] - path[0]) for name, path in paths.items()}
np.testing.assert_allclose(first["without correction"], lr * 0.1 / np.sqrt(0.001), rtol=1e-5)
np.testing.assert_allclose(first["from g₁ and g₁²"], first["Adam"], rtol=1e-5)  # lr, both times
np.testing.assert_allclose(paths["by a schedule"], paths["Adam"], atol=1e-5)  # the same path
