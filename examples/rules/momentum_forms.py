"""
Three forms of momentum
=======================

The heavy ball sums gradients, v ← βv + g. The averaged form, m ← βm + (1 − β)g, has the same path
at the rate α = η/(1 − β). Nesterov's rule takes the gradient where the momentum is about to carry
it: at x − ηβv. Written in shifted variables that is v ← βv + g, x ← x − η(g + βv), and the two are
one path.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import descend, plots, problems, style

bowl, lr, beta = problems.get("stretched_bowl"), 0.3, 0.7
heavy = descend(bowl, "momentum", lr=lr, beta=beta)
averaged = descend(bowl, "averaged_momentum", lr=lr / (1 - beta), beta=beta)
nesterov = descend(bowl, "nesterov", lr=lr, beta=beta)
np.testing.assert_allclose(heavy.x, averaged.x, atol=1e-12)

# %%
# Nesterov's own form: y is the point that the paper moves, and y − ηβv is where it looks.

y, v, looked_at = bowl.start, np.zeros(2), []
for _ in range(21):
    ahead = y - lr * beta * v
    looked_at.append(ahead)
    v = beta * v + bowl.gradient(ahead)
    y = y - lr * v
np.testing.assert_allclose(looked_at, nesterov.x, atol=1e-12)

with style.styled():
    picture, ax = plt.subplots(figsize=(6.4, 5), layout="constrained")
    plots.paths([heavy, nesterov], ax)
plt.show()

assert nesterov.f[-1] < heavy.f[-1]  # it swings less
