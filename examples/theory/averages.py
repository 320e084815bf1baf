"""
Leaky averages
==============

Momentum, RMSProp and Adam look back by a leaky average: the weight of what was seen i steps ago is
(1 − β)βⁱ. It remembers about 1/(1 − β) steps. From a start at 0 the weights add up to 1 − βᵗ only:
that is what Adam's bias correction divides by.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import plots, style, theory

memories = (0.5, 0.9, 0.95)
random = np.random.default_rng(0)
series = np.sin(np.arange(120) / 20) + 0.4 * random.standard_normal(120)

with style.styled():
    picture, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    plots.leaky_weights(memories, ax=left)
    right.plot(series, ".", color=style.FAINT)
    for beta in memories[1:]:
        weights = theory.leaky_weights(beta, 120)
        averages = np.array([weights[: t + 1] @ series[t::-1] for t in range(120)])
        correction = 1 - beta ** np.arange(1, 121)
        right.plot(averages / correction, label=f"β = {beta}, corrected")
    right.set(title="noisy values and their leaky averages", xlabel="step")
    right.legend()
plt.show()

# %%
for beta in memories:
    weights = theory.leaky_weights(beta, 10)
    np.testing.assert_allclose(weights.sum(), 1 - beta**10)
    np.testing.assert_allclose(weights, (1 - beta) * beta ** np.arange(10))
    print(f"β = {beta}: a window of {theory.effective_window(beta):.0f} steps")
