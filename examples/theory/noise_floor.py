"""
The noise floor
===============

With noise of variance σ² in the gradient a descent on λx²/2 does not arrive. It hovers at a mean
height of ησ²/(2(2 − ηλ)) for gradient descent, about proportional to the rate η. Momentum at the
same effective rate has the same floor while that is small.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import descend, problems, style, theory

noise, rates = 0.1, [0.03, 0.1, 0.3, 1.0]
bowl = problems.quadratic(np.ones(500))  # 500 coordinates are as many independent descents
floors, means = {}, {}
for rule, beta in (("sgd", None), ("momentum", 0.5)):
    hyper = {} if beta is None else {"beta": beta}
    scale = 1.0 if beta is None else 1 - beta  # the same effective rate, η/(1 − β)
    floors[rule] = [theory.noise_floor(rule, 1.0, noise**2, lr=scale * lr, **hyper) for lr in rates]
    means[rule] = []
    for lr in rates:
        trace = descend(bowl, rule, np.zeros(500), lr=scale * lr, noise=noise, steps=600, **hyper)
        means[rule].append(trace.f[300:].mean() / 500)

with style.styled():
    picture, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for rule, color in (("sgd", style.WINNER), ("momentum", style.TIE)):
        ax.loglog(rates, floors[rule], color=color, linestyle="-", label=f"{rule}, predicted")
        ax.loglog(rates, means[rule], "o", color=color, label=f"{rule}, measured")
    ax.set(xlabel="effective rate", ylabel="mean of f")
    ax.legend()
plt.show()

for rule, floor in floors.items():
    np.testing.assert_allclose(means[rule], floor, rtol=0.05)
formula = [lr * noise**2 / (2 * (2 - lr)) for lr in rates]
np.testing.assert_allclose(floors["sgd"], formula, rtol=1e-9)
