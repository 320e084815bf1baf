"""
Bowls: round, stretched, turned, noisy
======================================

Twenty steps from (−5, −2). On the bowl x₁² + 2x₂², which is nearly round, gradient descent does not
zigzag. On the stretched one, 0.1x₁² + 2x₂², the rate that is safe for the steep direction is slow
along the flat one. Turned by 45°, rules that scale each coordinate by itself lose what they gained.
With noise in the gradient the path wanders near the minimum.
"""

import matplotlib.pyplot as plt

from thalweg import descend, plots, style

hyper = {"sgd": {"lr": 0.4}, "momentum": {"lr": 0.4, "beta": 0.5}, "adagrad": {"lr": 0.9}}
traces = {
    "bowl": [descend("bowl", "sgd", lr=0.1), descend("bowl", "momentum", lr=0.1, beta=0.5)],
    "stretched_bowl": [descend("stretched_bowl", rule, **hyper[rule]) for rule in hyper],
    "rotated_bowl": [descend("rotated_bowl", rule, **hyper[rule]) for rule in hyper],
    "with noise": [
        descend("bowl", "sgd", lr=lr, noise=1.0, seed=1, steps=40) for lr in (0.1, 0.02)
    ],
}
with style.styled():
    picture, panels = plt.subplots(2, 2, figsize=(9, 8.6), layout="constrained")
    for ax, (name, paths) in zip(panels.flat, traces.items(), strict=True):
        plots.paths(paths, ax).set_title(name)
plt.show()

# %%
# Turning the bowl changes nothing for gradient descent and momentum, which know no coordinates.

for straight, turned in zip(traces["stretched_bowl"], traces["rotated_bowl"], strict=True):
    name = straight.rule.name
    print(f"{name:9} f = {straight.f[-1]:.2e}, on the turned bowl {turned.f[-1]:.2e}")
assert traces["bowl"][0].f[-1] < 1e-3 * traces["bowl"][0].f[0]
sgd, momentum, _ = (trace.f[-1] for trace in traces["stretched_bowl"])
assert momentum < sgd / 10
