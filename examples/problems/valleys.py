"""
Valleys, wells and saddles
==========================

The classic test functions in two variables, each with a difficulty of its own. Rosenbrock's valley
is curved: rules that follow the gradient cross it. Beale's is flat, with sharp corners.
Himmelblau's has four minimizers. At a saddle the gradient vanishes, yet it is no minimum: from a
start on its ridge gradient descent ends there, and the least noise lets it leave.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import descend, plots, style

rates = {"rosenbrock": (1e-3, 0.1), "beale": (0.01, 0.1), "himmelblau": (0.01, 0.3)}
traces = {
    problem: [
        descend(problem, "momentum", lr=slow, beta=0.9, steps=300),
        descend(problem, "adam", lr=fast, steps=300),
    ]
    for problem, (slow, fast) in rates.items()
}
ridge = {"x0": [1.0, 0.0], "lr": 0.1, "steps": 40}
traces["saddle"] = [
    descend("saddle", "sgd", **ridge),
    descend("saddle", "sgd", **ridge, noise=0.01),
]

with style.styled():
    picture, panels = plt.subplots(2, 2, figsize=(9, 8.4), layout="constrained")
    for ax, (problem, paths) in zip(panels.flat, traces.items(), strict=True):
        plots.paths(paths, ax).set_title(problem)
    noisy_label = panels[1, 1].get_legend().get_texts()[1]
    noisy_label.set_text(f"with noise: {noisy_label.get_text()}")
plt.show()

# %%
for problem in rates:
    for trace in traces[problem]:
        print(f"{problem:11} {trace.rule.name:9} f = {trace.f[-1]:.2e}")
        assert trace.f[-1] < 1e-2 * trace.f[0]

exact, noisy = traces["saddle"]
np.testing.assert_allclose(exact.x[-1], 0, atol=1e-3)  # it rests where f is no minimum
assert noisy.f[-1] < -0.1  # it found the way down
