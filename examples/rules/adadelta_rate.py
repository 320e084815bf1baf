"""
Is Adadelta really free of a rate?
==================================

Adadelta's paper has no learning rate: the step is the gradient times √(Δ + ε)/√(s + ε), where Δ is
the mean square of past steps. It is free of the *units*: if the loss is multiplied by a thousand,
the path stays. But at the start Δ is 0, and the first steps have the length √ε. So ε sets the pace,
as a rate would; and torch's factor lr, which is 1 in the paper, has a better value on data.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import data, descend, problems, style
from thalweg.linear import train

# %%
# Multiply the loss by a thousand: Adadelta's path stays the same, gradient descent diverges.

bowl, steep = problems.quadratic([0.2, 4.0]), problems.quadratic([200.0, 4000.0])
start = [-5.0, -2.0]
same = [descend(f, "adadelta", start, eps=1e-6, steps=300).x for f in (bowl, steep)]
np.testing.assert_allclose(*same, rtol=1e-3)
assert descend(steep, "sgd", start, lr=0.4, steps=300).end == "diverged"

# %%
# Another ε: the first step is √(ε/(1 − ρ)), and everything after it takes as much longer. In the
# end f rises again: a step is about as long as those before, however small its gradient is.

paces = {eps: descend(bowl, "adadelta", start, eps=eps, steps=4000) for eps in (1e-8, 1e-6, 1e-4)}
halved = {eps: int(np.argmax(trace.f < trace.f[0] / 2)) for eps, trace in paces.items()}
first = {eps: abs(trace.x[1] - trace.x[0]) for eps, trace in paces.items()}
for eps in paces:
    np.testing.assert_allclose(first[eps], np.sqrt(eps / (1 - 0.9)), rtol=1e-3)
    print(f"eps {eps:g}: half the loss is gone after {halved[eps]} steps")
assert halved[1e-8] > 3 * halved[1e-4]

# %%
# And the factor lr, on data: softmax regression on digits, ten epochs, a lane for each rate.

digits = data.split(data.load("digits"))
rates = np.geomspace(0.1, 100, 25).tolist()
losses = train(
    digits.train.X, digits.train.y, loss="softmax", rule="adadelta", epochs=10, lr=rates,
    validation=(digits.validation.X, digits.validation.y),
).validation_loss[-1]  # fmt: skip
best, own = losses.min(), losses[8]
print(f"best lr {rates[losses.argmin()]:.2g}: loss {best:.3f}; lr {rates[8]:.2g}: loss {own:.3f}")
assert own > 1.3 * best

with style.styled():
    picture, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for eps, trace in paces.items():
        left.loglog(np.arange(1, 4002), trace.f, label=f"ε = {eps:g}")
    left.set(title="a bowl: ε sets the pace", xlabel="step", ylabel="f")
    left.legend()
    right.loglog(rates, losses, "o-", markersize=3)
    right.axvline(1, color=style.MUTED, linestyle=":")
    right.set(title="digits; dotted: the paper", xlabel="factor lr", ylabel="validation loss")
plt.show()
