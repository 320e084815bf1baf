"""
How fast: gradient descent, momentum, Nesterov
==============================================

On a quadratic of condition number κ gradient descent takes a number of steps that grows as κ, and
momentum and Nesterov's rule one that grows as √κ, each with its best rate and memory. The rates (κ
− 1)/(κ + 1), (√κ − 1)/(√κ + 1) and 1 − 2/√(3κ + 1) are those of the papers. Here they are read off
the rules' equations, and a descent is measured beside each.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import descend, problems, style, theory

kappas = [10, 100, 1000, 10_000]
papers = {
    "sgd": lambda k: (k - 1) / (k + 1),
    "momentum": lambda k: (k**0.5 - 1) / (k**0.5 + 1),
    "nesterov": lambda k: 1 - 2 / (3 * k + 1) ** 0.5,
}
predicted, measured = {}, {}
for rule, paper in papers.items():
    predicted[rule], measured[rule] = [], []
    for kappa in kappas:
        best = theory.best(rule, 1.0, float(kappa))
        np.testing.assert_allclose(best.rate, paper(kappa), rtol=1e-6)
        steps = theory.steps_to(rule, [1.0, kappa], 1e-3, **best.hyper)
        predicted[rule].append(steps)
        if steps < 6000:
            bowl = problems.quadratic([1.0, kappa], start=[1.0, 1.0])
            x = descend(bowl, rule, steps=steps + 9, **best.hyper).x
            measured[rule].append(int(np.flatnonzero((abs(x) > 1e-3).any(axis=1))[-1]) + 1)

with style.styled():
    picture, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for rule, color in zip(papers, (style.WINNER, style.TIE, style.INK), strict=True):
        ax.loglog(kappas, predicted[rule], color=color, linestyle="-", label=f"{rule}, predicted")
        ax.loglog(kappas[: len(measured[rule])], measured[rule], "o", color=color)
    ax.set(xlabel="condition number κ", ylabel="steps to a thousandth")
    ax.legend(title="dots: measured")
plt.show()

for rule, steps in measured.items():
    print(f"{rule:9} predicted {predicted[rule]}, measured {steps}")
    np.testing.assert_allclose(steps, predicted[rule][: len(steps)], atol=1)
