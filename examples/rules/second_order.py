"""
Newton, BFGS and L-BFGS
=======================

Newton's method scales the gradient by the whole inverse Hessian: on a quadratic one step of rate 1
is enough, and a step of rate α leaves the error (1 − α)ᵏ after k steps, whatever the condition
number. BFGS and L-BFGS build up the same from the gradients that they have seen.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import descend, plots, problems, style

bowl = problems.quadratic([1.0, 10_000.0], start=[1.0, 1.0])
once = descend(bowl, "newton", lr=1.0, steps=1)
half = descend(bowl, "newton", lr=0.5, steps=10)
np.testing.assert_allclose(once.x[-1], 0, atol=1e-12)
np.testing.assert_allclose(half.x[-1], 0.5**10, rtol=1e-9)

methods = ("newton", "bfgs", "lbfgs", "sgd")
traces = [
    descend("rosenbrock", m, steps=60, **({"lr": 1e-3} if m == "sgd" else {})) for m in methods
]
with style.styled():
    picture, (left, right) = plt.subplots(1, 2, figsize=(9, 5), layout="constrained")
    plots.paths(traces[:3], left).set_title("Rosenbrock's valley")
    for trace in traces:
        right.semilogy(np.maximum(trace.f, 1e-16), label=trace.rule.name)
    right.set(xlabel="step", ylabel="f", title="f by step")
    right.legend()
plt.show()

assert all(trace.f[-1] < 1e-12 for trace in traces[:3])
assert traces[3].f[-1] > 1  # gradient descent has hardly begun
