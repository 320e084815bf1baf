"""
The rate: too high, too low, and a narrow valley
================================================

Three trainings that fail, or nearly: a rate above the stability limit makes the loss explode; one
far below it makes it crawl; and where directions differ in curvature the highest stable rate
zig-zags along the steep direction, and still crawls along the flat one. The doctor names the first
two and proves the cure on copies; the third is cured by momentum, or by a rule that scales.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import thalweg
from thalweg import descend, plots, style, theory

torch.manual_seed(0)
inputs = torch.randn(512, 8)
targets = inputs @ torch.randn(8, 1) + 0.1 * torch.randn(512, 1)


def train(lr):
    """Train a linear model under the doctor's eyes; return the losses and the first finding."""
    torch.manual_seed(0)
    model, loss_fn, losses = nn.Linear(8, 1), nn.MSELoss(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    doctor = thalweg.Doctor(model, optimizer, loss_fn)
    for rows in (torch.randperm(512)[:64] for _ in range(60)):
        optimizer.zero_grad()
        loss = loss_fn(model(inputs[rows]), targets[rows])
        loss.backward()
        optimizer.step()
        doctor.step(loss, batch=(inputs[rows], targets[rows]))
        losses.append(loss.item())
    return losses, doctor.findings[0] if doctor.findings else None


runs = {"too high": train(1.5), "too low": train(1e-5), "right": train(0.1)}
for name, (_, finding) in runs.items():
    print(f"{name}: {finding.sentence if finding else 'nothing found'}")
assert [f and f.cause for _, f in runs.values()] == ["lr_too_high", "lr_too_low", None]

# %%
# The valley: 0.1x₁² + 2x₂².

zigzag = descend("stretched_bowl", "sgd", lr=0.48)
cured = descend("stretched_bowl", "momentum", **theory.best("momentum", 0.2, 4.0).hyper)
with style.styled():
    picture, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    for name, (losses, _) in runs.items():
        left.semilogy(np.minimum(np.nan_to_num(losses, nan=1e6), 1e6), label=name)
    left.set(title="SGD on a linear model", xlabel="step", ylabel="loss")
    left.legend()
    plots.paths([zigzag, cured], right)
plt.show()

assert cured.f[-1] < 0.01 * zigzag.f[-1]
