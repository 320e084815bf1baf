"""
The edge of stability
=====================

Theory says of each rule how sharp a loss may be at its rate: 2/η for gradient descent,
(2 + 2β₁)/((1 − β₁)η) for Adam, whose sharpness is that of the Hessian preconditioned by √v + ε.
Training on whole batches does not stay below this limit. The sharpness rises until it meets the
limit, and then hovers about it while the loss goes on falling, not at every step (Cohen et al. 2021
and 2022). A larger rate has a lower limit, so it ends where the loss is flatter.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from thalweg import optim, style
from thalweg.doctor import critical_rate

torch.set_num_threads(1)
pixels, digits = (torch.tensor(a) for a in load_digits(return_X_y=True))
X, y = pixels.float()[:200] / 16 - 0.3, functional.one_hot(digits[:200], 10).float()
rules = {
    "gradient descent, η = 2": (optim.SGD, {"lr": 2.0}),
    "gradient descent, η = 1.5": (optim.SGD, {"lr": 1.5}),
    "Adam, η = 0.006": (optim.Adam, {"lr": 0.006, "betas": (0.9, 0.99)}),
}
STEPS, EVERY = 500, 20

ratios, losses, sharpest = {}, {}, {}
for name, (make, given) in rules.items():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))
    optimizer = make(model.parameters(), zero_gradients=True, **given)
    ratios[name], losses[name] = [], []
    for step in range(1, STEPS + 1):
        loss = functional.mse_loss(model(X), y)
        loss.backward()
        if step % EVERY == 0:
            found = critical_rate(model, optimizer, functional.mse_loss, (X, y))
            ratios[name].append(found.ratio)
            sharpest[name] = found.sharpness
        optimizer.step()
        losses[name].append(loss.item())

with style.styled():
    picture, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name in rules:
        left.plot(range(EVERY, STEPS + 1, EVERY), ratios[name], label=name)
        right.semilogy(losses[name])
    left.axhline(1, color="0.5", linestyle="--")
    left.set(title="sharpness over the rule's limit", xlabel="step", ylim=(0, None))
    right.set(title="loss", xlabel="step")
    left.legend()
plt.show()

for name in rules:
    assert ratios[name][0] < 1
    assert 0.9 < np.mean(ratios[name][-5:]) < 1.15, name  # it stays at the limit
    assert losses[name][-1] < 0.9 * losses[name][STEPS // 2], name  # and the loss goes on falling
    assert max(np.diff(losses[name][STEPS // 2 :])) > 0, name  # though not at every step
flatter, flat = sharpest["gradient descent, η = 2"], sharpest["gradient descent, η = 1.5"]
assert flatter < flat
