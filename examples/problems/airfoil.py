"""
Every rule on one regression
============================

Linear regression on NASA's airfoil data (1,500 rows, 5 features, whitened), loss ½(ŷ − y)², batch
10, by the twenty rules of a race; Rprop, which is meant for full gradients, takes all rows at once.
A rule's rate is constant: of 49 in lanes, the one that ends lowest. Its time per epoch is that of
one lane on one thread.
"""

import timeit

import matplotlib.pyplot as plt
import numpy as np

from thalweg import data, rules, style
from thalweg.linear import train

try:
    dataset = data.load("airfoil")
except FileNotFoundError as error:
    print(f"diabetes stands in for airfoil: {error}")
    dataset = data.load("diabetes")
table = np.column_stack([dataset.X, dataset.y])
table = ((table - table.mean(axis=0)) / table.std(axis=0))[:1500]
X, y = table[:, :-1], table[:, -1]
least = np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), y)[1][0] / len(X) / 2
rates = np.geomspace(1e-5, 10, 49).tolist()

rows = []
for rule in rules.names()[:20]:
    settings = {"rule": rule, "batch_size": len(X) if rule == "rprop" else 10}
    losses = train(X, y, epochs=20, lr=rates, **settings).train_loss
    above = 100 * (np.nan_to_num(losses, nan=np.inf, posinf=np.inf) / least - 1)
    lane = int(above[-1].argmin())
    alone = {"epochs": 50, "evaluate_every": 50, "lr": rates[lane], "threads": 1, **settings}
    seconds = min(timeit.repeat(lambda s=alone: train(X, y, **s), number=1, repeat=3)) / 50
    rows.append((rule, rates[lane], above[:, lane], 1e6 * seconds))

# %%
# The closest to least squares first: the loss above the least after 20 epochs, and the time of one.

rows.sort(key=lambda row: row[2][-1])
for rule, lr, above, microseconds in rows:
    print(f"{rule:17} lr {lr:8.2g}  {above[-1]:7.3f} % above  {microseconds:6.1f} µs per epoch")

with style.styled():
    picture, panels = plt.subplots(
        4, 5, figsize=(10, 8), sharex=True, sharey=True, layout="constrained"
    )
    sgd = next(above for rule, _, above, _ in rows if rule == "sgd")
    for panel, (rule, lr, above, _) in zip(panels.flat, rows, strict=True):
        panel.semilogy(sgd, color=style.MUTED, linestyle="-", linewidth=0.7)
        panel.semilogy(above, color=style.WINNER, linestyle="-")
        panel.set_title(f"{rule}\nlr {lr:.2g}")
    picture.supxlabel("epoch (thin: sgd)")
    picture.supylabel("loss above the least-squares optimum (%)")
plt.show()

assert all(-0.01 < above[-1] < 2 for _, _, above, _ in rows)
