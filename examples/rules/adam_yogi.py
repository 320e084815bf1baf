"""
A case for which Adam diverges and Yogi converges
=================================================

f is the mean of 10x, once, and −x, eight times, on [−1, 1], so that it falls towards −1. Adam
divides by a root of recent squares: the one large gradient by about its own size, the eight small
ones by less and less, as the large one is forgotten. Together the small ones win, and Adam walks to
+1, where f is greatest (Reddi, Kale & Kumar 2018). Yogi changes v by at most the square that it
sees, so that small gradients take hardly anything off a large v; AMSGrad never lets v shrink.
"""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

from thalweg import descend, problems, schedules, style

slopes = [10.0] + 8 * [-1.0]
parts = [problems.quadratic([0.0], linear=[slope], start=[0.0]) for slope in slopes]
whole = replace(problems.finite_sum(parts), domain=(np.array([-1.0]), np.array([1.0])))

hyper = {"lr": schedules.inverse_sqrt(0.5), "beta1": 0.0, "beta2": 0.5}
cycle = {"batch_size": 1, "sampling": "sequential", "steps": 2000}
traces = {rule: descend(whole, rule, **cycle, **hyper) for rule in ("adam", "amsgrad", "yogi")}

# %%
# On the right: what each divides by, over three rounds of the nine parts.

squares = np.square(3 * slopes)
v = {"adam": [0.0], "yogi": [0.0]}
for square in squares:
    v["adam"].append(0.5 * v["adam"][-1] + 0.5 * square)
    v["yogi"].append(v["yogi"][-1] - 0.5 * np.sign(v["yogi"][-1] - square) * square)

with style.styled():
    picture, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for rule, trace in traces.items():
        left.plot(trace.x[:, 0], label=f"{rule}, to x = {trace.x[-1, 0]:.2f}")
    left.set(title="x: the minimum is at −1", xlabel="step", ylabel="x")
    left.legend(loc="center right")
    for (rule, values), line in zip(v.items(), ("-", ":"), strict=True):
        right.semilogy(np.arange(1, 28), np.sqrt(values[1:]), line, drawstyle="steps", label=rule)
    right.set(title="√v at each step", xlabel="step")
    right.legend()
plt.show()

assert traces["adam"].x[-1, 0] > 0.9
assert traces["amsgrad"].x[-1, 0] < -0.9
assert traces["yogi"].x[-1, 0] < -0.9
