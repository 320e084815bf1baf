"""
First weights: too small, too large, and as they should be
==========================================================

In a deep network of sigmoids or tanh the first weights decide whether anything is learned. Too
small, signals and gradients shrink with each layer; too large, units saturate, and their slope is
nearly 0. Glorot and Bengio's scale, 1/√width, keeps both alive. The pictures show the gradient of
each layer at the start, and the loss of the same training from each start.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from thalweg import optim, style

torch.set_num_threads(1)
pixels, digits = (torch.tensor(a) for a in load_digits(return_X_y=True))
X, y = pixels.float()[:500] / 16 - 0.3, digits[:500]
starts = {"too small": 0.1, "1/√width": 1.0, "too large": 10.0}


def network(scale):
    """Return six layers of tanh whose weights have the deviation scale/√width."""
    torch.manual_seed(0)
    layers = [nn.Linear(64, 64) for _ in range(6)] + [nn.Linear(64, 10)]
    for layer in layers:
        nn.init.normal_(layer.weight, std=scale / 8)
        nn.init.zeros_(layer.bias)
    model = nn.Sequential(*[part for layer in layers for part in (layer, nn.Tanh())][:-1])
    return model, layers


losses, gradients = {}, {}
for name, scale in starts.items():
    model, layers = network(scale)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, zero_gradients=True)
    losses[name] = []
    for step in range(60):
        loss = functional.cross_entropy(model(X), y)
        loss.backward()
        if step == 0:
            gradients[name] = [layer.weight.grad.norm().item() for layer in layers]
        optimizer.step()
        losses[name].append(loss.item())

with style.styled():
    picture, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name in starts:
        left.semilogy(range(1, 8), gradients[name], marker="o", label=name)
        right.semilogy(losses[name], label=name)
    left.set(title="norm of the gradient at the start", xlabel="layer")
    right.set(title="loss (nats)", xlabel="step")
    left.legend()
plt.show()

assert gradients["too small"][0] < 1e-4 * gradients["1/√width"][0]
assert losses["1/√width"][-1] < 0.5 * min(losses["too small"][-1], losses["too large"][-1])
