"""
Double descent: more parameters than examples
=============================================

A model that can just fit all examples, wrong labels too, does so in one contorted way: its error on
new data peaks there. Wider models can fit them in many ways. Least squares of least norm, or a
descent from small weights, picks a smooth one, and the error falls again (Belkin et al. 2019). It
peaks where random features are as many as the examples, and where an MLP begins to fit them.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from thalweg import optim, style

torch.set_num_threads(1)
random, n = np.random.default_rng(0), 100
images, digits = load_digits(return_X_y=True)
order = random.permutation(len(images))
X, labels = images[order] / 16 - 0.3, digits[order]
given = np.where(np.arange(n) < n // 5, random.integers(10, size=n), labels[:n])  # a fifth is noise
Y, targets = np.eye(10)[given], np.eye(10)[labels[n:]]


def error(outputs):
    """Return the squared error per image on those that were not trained on."""
    return float(np.sum((outputs - targets) ** 2, axis=1).mean())


# %%
# Random features: rectified random projections, then least squares of least norm.

widths = [10, 30, 60, 80, 100, 120, 150, 200, 400, 1000, 2000]
projection = random.standard_normal((64, widths[-1])) / 8
features = np.maximum(X @ projection, 0)
linear = [error(features[n:, :w] @ np.linalg.pinv(features[:n, :w]) @ Y) for w in widths]

# %%
# An MLP with one hidden layer, trained on the same labels by Adam on all examples.

hidden, trained = [2, 5, 10, 20, 40, 80, 160], []
inputs, outputs = torch.tensor(X, dtype=torch.float32), torch.tensor(Y, dtype=torch.float32)
for width in hidden:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    optimizer = optim.Adam(model.parameters(), lr=0.01, zero_gradients=True)
    for _ in range(1000):
        (model(inputs[:n]) - outputs).square().mean().backward()
        optimizer.step()
    trained.append(error(model(inputs[n:]).detach().numpy()))

with style.styled():
    picture, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    panels[0].loglog(widths, linear, "o-")
    panels[0].axvline(n, color=style.MUTED, linestyle=":")
    panels[0].set(title=f"random features; dotted: {n} examples", xlabel="features")
    panels[1].loglog(hidden, trained, "o-")
    panels[1].set(title="an MLP", xlabel="hidden units")
    panels[0].set_ylabel("squared error on new images")
plt.show()

for errors in (linear, trained):  # down, up to a peak inside, and below where it was before
    assert errors[0] < 0.6 * max(errors)
    assert errors[-1] < min(errors[: int(np.argmax(errors))])
assert widths[int(np.argmax(linear))] == n
