"""
Curves: when a rate is too high, many minima, and a plateau
===========================================================

One variable is enough to see what goes wrong. On f = ½λx² each step of gradient descent multiplies
x by 1 − ηλ, so that x is (1 − ηλ)ᵗ: it decays, oscillates, or grows beyond all bounds. On x²(1 +
sin x) the start decides in which of many minima a descent ends. And where a sigmoid is saturated,
the gradient is nearly 0 although the loss is high.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import descend, problems, style

with style.styled():
    picture, panels = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")

    for step in (0.1, 1.0, 1.9, 2.05):  # the product of rate and curvature
        x = descend(problems.quadratic([1.0]), "sgd", [1.0], lr=step, steps=20).x[:, 0]
        np.testing.assert_allclose(x, (1 - step) ** np.arange(21), atol=1e-12)
        panels[0].plot(x, label=f"ηλ = {step}")
    panels[0].set(title="(1 − ηλ)ᵗ: stable below 2", xlabel="step t", ylabel="x", ylim=(-3, 6))
    panels[0].legend(loc="upper left")

    starts = (7.0, 3.0, -1.0, -6.0)
    ripples = [descend("ripples", "sgd", [x0], lr=0.01, steps=100) for x0 in starts]
    x = np.linspace(-9, 9, 500)
    panels[1].plot(x, ripples[0].problem.value(x[:, None]), "-", color=style.MUTED, linewidth=0.8)
    for trace in ripples:
        panels[1].plot(trace.x[:, 0], trace.f, "o-", markersize=3, label=f"from {trace.x[0, 0]:g}")
    panels[1].set(title="x²(1 + sin x): each start its own minimum", xlabel="x", ylabel="f")
    panels[1].legend(loc="upper center")

    fits = [descend("sigmoid_fit", rule, lr=1.0, steps=2000) for rule in ("sgd", "adam")]
    for trace in fits:
        panels[2].loglog(np.maximum(trace.f, 1e-8), label=trace.rule.name)
    panels[2].set(title="a sigmoid's fit: the plateau", xlabel="step", ylabel="f")
    panels[2].legend()
plt.show()

# %%
# Different starts end in different minima, each of which is a minimum of the function; one is the
# local one between two ridges. Gradient descent is still on the plateau after a thousand steps.

ends = np.array([trace.x[-1, 0] for trace in ripples])
nearest = np.abs(ends[:, None] - ripples[0].problem.minimizers.ravel()).min(axis=1)
assert len(np.unique(ends.round(1))) >= 3
assert np.median(nearest) < 0.1
assert fits[0].f[1000] > 0.1
assert fits[1].f[-1] < 1e-6
