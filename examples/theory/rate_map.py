"""
The map of rates over rate and memory
=====================================

For each pair of learning rate and memory β the theory knows the factor per step by which momentum
shrinks the error. The best pair stands where three regions meet: too slow, oscillating along the
steep direction, and diverging. That point is Polyak's.
"""

import matplotlib.pyplot as plt
import numpy as np

from thalweg import plots, style, theory

spectrum = [0.2, 4.0]
over = {"lr": np.linspace(0.05, 1.2, 80), "beta": np.linspace(0, 0.95, 80)}
with style.styled():
    picture, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    plots.rates("sgd", spectrum, ax=left)
    plots.rate_map(theory.rate_map("momentum", spectrum, over), ax=right)
plt.show()

# %%
best = theory.best("momentum", 0.2, 4.0)
print(best)
limit = theory.max_lr("momentum", 4.0, beta=best.hyper["beta"])
assert best.rate < theory.best("sgd", 0.2, 4.0).rate
assert 0.9 * limit < best.hyper["lr"] < limit  # the best rate is just below the limit
