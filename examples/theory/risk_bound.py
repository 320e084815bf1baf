"""
A bound for every convex objective
==================================

Let the stochastic gradients be at most L in the mean square and a minimizer at most r away. Then
the *averaged* point of a descent is at most (r² + L² Σ ηₜ²) / (2 Σ ηₜ) above the minimum. For a
known number of steps T the best constant rate is r/(L√T); where T is not known, a rate that falls
as 1/√t loses a logarithm. The bound holds for the worst case, so that most descents are far below
it.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import descend, problems, schedules, style, theory

noise, steps = 1.0, 1000
start = np.array([0.6, 0.8])  # r = 1
bowl = problems.quadratic([0.5, 1.0])
lipschitz = np.sqrt(1.5**2 + 2 * noise**2)  # of gradients within 1.5 of the minimizer, and noise
rates = {
    "known horizon": theory.horizon_lr(steps, radius=1.0, lipschitz=lipschitz),
    "1/√t": schedules.inverse_sqrt(1.0 / lipschitz),
}

with style.styled():
    picture, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for (name, lr), color in zip(rates.items(), (style.WINNER, style.TIE), strict=True):
        traces = [
            descend(bowl, "sgd", start, lr=lr, noise=noise, steps=steps, seed=s) for s in range(20)
        ]
        heights = np.mean([bowl.value(trace.average) for trace in traces], axis=0)
        at = [10, 30, 100, 300, 1000]
        bounds = [theory.risk_bound(lr, t, radius=1.0, lipschitz=lipschitz) for t in at]
        ax.loglog(at, bounds, "o--", color=color, label=f"{name}: bound")
        ax.loglog(heights, color=color, linestyle="-", label=f"{name}: mean of 20 descents")
        assert max(np.linalg.norm(trace.x, axis=1).max() for trace in traces) < 3
        assert all(heights[t] < bound for t, bound in zip(at, bounds, strict=True))
    ax.set(xlabel="steps", ylabel="f of the averaged point")
    ax.legend()
plt.show()
