"""
LeNet on images: Adagrad and RMSProp
====================================

LeNet-5 (LeCun et al. 1998) on digits of 28 × 28 pixels, with two rules that give each weight a rate
of its own. Adagrad's rates only fall, for its sum of squares only grows. RMSProp's average forgets,
so that its rates recover, and its noise stays. The images are scikit-learn's digits, enlarged.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from thalweg import optim, style

torch.set_num_threads(1)
bunch = load_digits()
small = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16
images, digits = (
    functional.interpolate(small, (28, 28), mode="bilinear"),
    torch.tensor(bunch.target),
)
order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
train, test = order[:1000], order[1000:]


def lenet():
    """Return LeNet-5 with today's output layer; always the same weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(),
        nn.Linear(84, 10),
    )  # fmt: skip


# %%
losses, accuracies = {}, {}
for name, lr in (("Adagrad", 0.02), ("RMSprop", 0.001)):
    model = lenet()
    optimizer = getattr(optim, name)(model.parameters(), lr=lr)
    losses[name] = []
    for rows in (train[torch.randperm(1000)] for _ in range(3)):
        for batch in rows.split(50):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images[batch]), digits[batch])
            loss.backward()
            optimizer.step()
            losses[name].append(loss.item())
    with torch.no_grad():
        right = model(images[test]).argmax(1) == digits[test]
    accuracies[name] = right.float().mean().item()

with style.styled():
    picture, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for name, values in losses.items():
        ax.semilogy(values, label=f"{name}: {accuracies[name]:.1%} of new digits right")
    ax.set(xlabel="step of 50 images", ylabel="training loss (nats)")
    ax.legend()
plt.show()

assert min(accuracies.values()) > 0.85
