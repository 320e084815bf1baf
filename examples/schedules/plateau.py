"""
Reduce the rate on a plateau
============================

With noisy gradients a descent at a constant rate soon hovers at a height that is proportional to
the rate. A plateau of the loss is the sign of it, and the cure is a smaller rate: the loss falls to
the next floor. ``ReduceLROnPlateau`` of torch does so by itself, and takes optimizers of thalweg as
it takes its own. ``theory.noise_floor`` says how high each floor is before a step is taken.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from thalweg import optim, style, theory

torch.manual_seed(0)
curvature, noise = 1.0, 0.5
x = torch.full((2000,), 3.0, requires_grad=True)  # as many independent descents, so a smooth mean
optimizer = optim.SGD([x], lr=0.5, momentum=0.5)
scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.2, patience=5)

# %%
# f = ½x², its gradient with noise. After each epoch of ten steps the scheduler sees the mean loss;
# after five epochs without a better one it cuts the rate.

losses, rates = [], []
for _ in range(120):
    mean = 0.0
    for _ in range(10):
        x.grad = (curvature * x + noise * torch.randn(len(x))).detach()
        optimizer.step()
        mean += float(curvature * x.detach().square().mean() / 2) / 10
    losses.append(mean)
    rates.append(optimizer.param_groups[0]["lr"])
    scheduler.step(mean)

floors = {
    lr: theory.noise_floor("momentum", curvature, noise**2, lr=lr, beta=0.5)
    for lr in dict.fromkeys(rates)
}

# %%
# The lines are the floors that the theory of momentum puts at each of the rates.

with style.styled():
    picture, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    ax.semilogy(losses, color=style.WINNER, linestyle="-", label="mean loss of an epoch")
    ax.semilogy([floors[lr] for lr in rates], color=style.TIE, label="theory's floor at its rate")
    ax.semilogy(rates, color=style.MUTED, linestyle=":", label="rate")
    ax.set(xlabel="epoch", ylabel="loss, rate")
    ax.legend()
plt.show()

# %%
assert len(floors) >= 4
for lr, floor in list(floors.items())[:4]:
    last = np.flatnonzero(np.array(rates) == lr)[-3:]
    assert abs(np.mean([losses[i] for i in last]) / floor - 1) < 0.1
