"""
A rule of your own
==================

Declare its equation once, and everything works with it. Signum (Bernstein et al. 2018) moves every
coordinate by lr against the sign of a leaky average of the gradients. Declared in three lines, it
descends on a bowl, runs as a compiled kernel, trains in lanes and races.
"""

import matplotlib.pyplot as plt
import numpy as np

import thalweg
from thalweg import data, descend, kernels, plots, rules, schedules, style
from thalweg.elementwise import sign
from thalweg.linear import train


@rules.rule("Bernstein et al. 2018, Algorithm 2")
def signum(g, x, m, *, t, lr=1e-3, beta=0.9):
    """Sign of the momentum: every coordinate moves by lr, however small its gradient."""
    m = beta * m + (1 - beta) * g
    return x - lr * sign(m), m


# %%
# The compiled kernel takes the steps of the equation, but for rounding.

random = np.random.default_rng(0)
x = random.standard_normal(1000).astype(np.float32)
step = kernels.Step(signum, [x], lr=0.01)
expected, m = x.astype(float), np.zeros(1000)
for t in range(1, 101):
    g = random.standard_normal(1000).astype(np.float32)
    step([g])
    expected, m = signum(g.astype(float), expected, m, t=t, lr=0.01)
np.testing.assert_allclose(x, expected, atol=1e-5)

# %%
# On a bowl with a falling rate, for with steps of one length it would circle the minimum; and on
# digits, a lane for each of 49 rates.

falling = schedules.inverse_sqrt(1.0)
traces = [
    descend("bowl", signum, lr=falling, beta=0.5),
    descend("bowl", "momentum", lr=0.1, beta=0.5),
]
digits, rates, losses = data.split(data.load("digits")), np.geomspace(1e-5, 10, 49).tolist(), {}
for name in ("signum", "sgd", "adam"):
    losses[name] = train(
        digits.train.X, digits.train.y, loss="softmax", rule=name, epochs=10, lr=rates,
        validation=(digits.validation.X, digits.validation.y),
    ).validation_loss[-1]  # fmt: skip

with style.styled():
    picture, (left, right) = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
    plots.paths(traces, left).set_title("bowl x₁² + 2x₂², 20 steps")
    for (name, values), marker in zip(losses.items(), "os^", strict=True):
        right.loglog(rates, values, marker=marker, markersize=3, label=name)
    right.set(title="digits", ylim=(0.05, 5), xlabel="rate, a lane each", ylabel="validation loss")
    right.legend()
plt.show()

# %%
# A race, and the verdict.

print(
    thalweg.race(
        "digits", rules=[signum, "sgd", "adam"], epochs=5, trials=8, repeats=2, progress=False
    )
)
assert all(np.nanmin(values) < 0.2 for values in losses.values())
assert traces[0].f[-1] < 0.01 * traces[0].f[0]
