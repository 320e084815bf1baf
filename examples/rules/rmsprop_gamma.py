"""
RMSProp with gamma = 1
======================

RMSProp keeps s ← γs + (1 − γ)g². With γ = 1 it forgets nothing, one might think, as Adagrad. But
the new square then has the weight 1 − γ = 0: s stays 0 for ever, the root in the denominator is ε
alone, and RMSProp is plain SGD at the rate η/ε, a hundred million times too high. What forgets
nothing is the *sum*, and that is Adagrad. As γ comes near 1, s starts at (1 − γ)g², far too small,
and the first steps are 1/√(1 − γ) times as long as meant.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import descend, rules, style

# %%
# The bowl 0.1x₁² + 2x₂². thalweg refuses γ = 1 and says why; the equation itself can be called with
# it, for a rule is a function.

try:
    descend("stretched_bowl", "rmsprop", gamma=1.0)
except ValueError as error:
    print(error)

x, s, slow = np.array([-5.0, -2.0]), np.zeros(2), np.array([-5.0, -2.0])
for t in range(1, 4):
    x, s = rules.rmsprop(np.array([0.2, 4.0]) * x, x, s, t=t, lr=0.1, gamma=1.0, eps=1e-8)
    slow = rules.sgd(np.array([0.2, 4.0]) * slow, slow, t=t, lr=0.1 / 1e-8)
    print(f"step {t}: {x}")
np.testing.assert_allclose(x, slow, rtol=1e-9)  # the path of SGD at lr/eps

# %%
# Near 1: first steps of lr/√(1 − γ), and then a long memory of them. Adagrad for comparison.

gammas = (0.9, 0.99, 0.9999)
traces = [descend("stretched_bowl", "rmsprop", lr=0.1, gamma=g, steps=200) for g in gammas]
adagrad = descend("stretched_bowl", "adagrad", lr=0.4, steps=200)
with style.styled():
    picture, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for trace, gamma in zip([*traces, adagrad], [*gammas, None], strict=True):
        label = f"γ = {gamma}" if gamma else "adagrad, lr 0.4"
        lengths = np.linalg.norm(np.diff(trace.x, axis=0), axis=1)
        left.loglog(np.arange(1, 201), lengths, label=label)
        right.semilogy(np.maximum(trace.f, 1e-12))
    left.set(title="RMSProp, lr 0.1: length of each step", xlabel="step", ylim=(1e-6, 100))
    left.legend()
    right.set(title="f", xlabel="step")
plt.show()

for trace, gamma in zip(traces, gammas, strict=True):
    first = np.abs(trace.x[1] - trace.x[0])
    np.testing.assert_allclose(first, 0.1 / np.sqrt(1 - gamma), rtol=1e-3)
