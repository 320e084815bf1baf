"""
Making a problem rounder
========================

The condition number κ makes descents slow. To scale each coordinate by the Hessian's own diagonal,
D^−½ Q D^−½, may change it much; Gershgorin's discs bound what comes out without computing it.
Adaptive rules estimate such a diagonal from gradients. Here the diagonal itself is used: the rule
``diagonal_newton`` divides each gradient by its own curvature.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import descend, plots, problems, style, theory

Q = np.array([[10.0, 0.9], [0.9, 0.3]])
found = theory.precondition(Q)
print(f"κ before {found.before.condition_number:.1f}, after {found.after.condition_number:.1f}")
print(f"Gershgorin: eigenvalues after lie in {np.round(found.after.bounds, 3)}")

bowl = problems.quadratic(Q, start=[-1.0, -4.0])
plain = theory.best("sgd", *np.linalg.eigvalsh(Q)[[0, -1]]).hyper
traces = [
    descend(bowl, "sgd", steps=20, **plain),
    descend(bowl, "diagonal_newton", lr=1.0, steps=20),
]
with style.styled():
    picture, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
    plots.paths(traces, left).set_title("20 steps")
    for trace in traces:
        right.semilogy(trace.f, label=trace.rule.name)
    right.set(xlabel="step", ylabel="f", title="the same, by step")
    right.legend()
plt.show()

assert found.after.condition_number < found.before.condition_number / 5
low, high = found.after.bounds
scaled = Q / np.sqrt(np.outer(Q.diagonal(), Q.diagonal()))
after = np.linalg.eigvalsh(scaled)
assert low - 1e-9 <= after[0] <= after[1] <= high + 1e-9
assert traces[1].f[-1] < 1e-3 * traces[0].f[-1]
