"""
Wiring: most failures are no fault of the optimizer
===================================================

A softmax before a loss that applies softmax itself; a loss that is summed where it should be
averaged; a layer that the optimizer was not given. ``thalweg.check`` finds such faults before the
training, by experiments on copies of the model. Each fault below is planted, and must be
named. A summed loss acts as a rate that is too high, and that is found too.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import thalweg
from thalweg import style

torch.set_num_threads(1)
torch.manual_seed(0)
X = torch.randn(512, 4)
y = (X[:, 0] > 0.4).long() + (X[:, 1] > 0).long()


def parts(fault=None):
    """Return model, optimizer, loss and batches, with one fault."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 3))
    if fault == "softmax_before_cross_entropy":
        model.append(nn.Softmax(dim=1))
    trained = model[0] if fault == "parameters_not_in_optimizer" else model
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1, momentum=0.9)
    loss_fn = nn.CrossEntropyLoss(reduction="sum" if fault == "loss_not_mean" else "mean")
    return model, optimizer, loss_fn, DataLoader(TensorDataset(X, y), 32, shuffle=True)


faults = ("softmax_before_cross_entropy", "parameters_not_in_optimizer", "loss_not_mean")
with style.styled():
    picture, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for fault in (None, *faults):
        report = thalweg.check(*parts(fault))
        found = [finding.cause for finding in report]
        print(f"planted: {fault}; found: {found}")
        assert fault in found if fault else not found
        model, optimizer, loss_fn, loader = parts(fault)
        losses = []
        for inputs, labels in [batch for _ in range(6) for batch in loader]:
            optimizer.zero_grad()
            loss_fn(model(inputs), labels).backward()
            optimizer.step()
            losses.append(nn.functional.cross_entropy(model(X), y).item())
        ax.semilogy(losses, label=fault or "no fault")
    ax.set(xlabel="step", ylabel="loss (nats)")
    ax.legend(loc="upper left")
plt.show()
