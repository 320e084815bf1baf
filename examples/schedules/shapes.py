"""
Schedules, and what they do
===========================

A constant rate leaves a descent with noise hovering at its floor. A rate that falls lowers the
floor as it goes: fast enough that the end is quiet, slowly enough that it still arrives.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import descend, problems, schedules, style

steps = 400
curves = {
    "constant": schedules.constant(0.5),
    "piecewise constant": schedules.piecewise_constant([0.5, 0.1, 0.02], [150, 350]),
    "exponential": schedules.exponential(0.5, 0.01),
    "polynomial, power ¾": schedules.polynomial(0.5, 0.1, power=0.75),
    "inverse time": schedules.inverse_time(0.5, 0.05),
    "1/√t": schedules.inverse_sqrt(0.5),
    "step": schedules.step(0.5, every=100, factor=0.3),
    "linear": schedules.linear(0.5, steps=steps),
    "cosine after a warm-up": schedules.warmup(schedules.cosine(0.5, steps=380), 20),
    "one cycle": schedules.one_cycle(0.5, steps=steps),
    "warm-up, stable, decay": schedules.warmup_stable_decay(0.5, 20, 280, 100),
    "warm restarts": schedules.warm_restarts(0.5, 100),
}
bowl = problems.quadratic(np.repeat([0.1, 1.0], 200), start=np.ones(400))
traces = {n: descend(bowl, "sgd", lr=lr, noise=0.3, steps=steps) for n, lr in curves.items()}

with style.styled():
    picture, panels = plt.subplots(
        4, 3, figsize=(9, 8.4), sharex=True, sharey=True, layout="constrained"
    )
    for ax, (name, trace) in zip(panels.flat, traces.items(), strict=True):
        ax.semilogy(trace.f, "-", color=style.WINNER)
        ax.semilogy(schedules.values(curves[name], np.arange(steps)) + 1e-9, ":", color=style.TIE)
        ax.set(title=f"{name}: f = {trace.f[-1]:.2g} at the end", ylim=(0.01, 200))
    picture.supxlabel("step (line: f; dotted: the rate)")
plt.show()

# %%
end = {name: trace.f[-20:].mean() for name, trace in traces.items()}
assert min(end, key=end.get) != "constant"
assert end["cosine after a warm-up"] < 0.2 * end["constant"]
