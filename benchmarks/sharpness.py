"""The edge of stability: where the sharpness that a rule feels settles, against the rule's limit.

A tanh network learns 500 digits with all of them in each step. Its largest curvature grows until
the rate is the rule's limit, and stays there (Cohen et al. 2021; of the preconditioned Hessian for
RMSProp and Adam, Cohen et al. 2022). `thalweg.doctor.critical_rate` measures it as the training
goes; the limit is `thalweg.theory.max_lr`. Printed is the rate over its limit: the median over the
last third of the steps, and the quartiles. The script fails if one is not within 10 % of 1.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor, nn

from thalweg.doctor.sharpness import critical_rate

Make = Callable[[Any], torch.optim.Optimizer]

RULES: dict[str, tuple[Make, int]] = {
    "full-batch GD": (lambda p: torch.optim.SGD(p, lr=0.1), 3000),
    "heavy ball": (lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9), 3000),
    "Nesterov": (lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True), 3000),
    "RMSProp": (lambda p: torch.optim.RMSprop(p, lr=1e-4, alpha=0.99), 3000),
    "Adam": (lambda p: torch.optim.Adam(p, lr=1e-3), 3000),
}
NEAR = 0.1


def data(examples: int) -> tuple[Tensor, Tensor]:
    """Return standardized digits and their classes as 0 and 1."""
    X, y = load_digits(return_X_y=True)
    x = torch.tensor(X[:examples], dtype=torch.float32)
    x = (x - x.mean()) / x.std()
    return x, nn.functional.one_hot(torch.tensor(y[:examples]), 10).float()


def ratios(make: Make, steps: int, x: Tensor, y: Tensor) -> list[float]:
    """Return the rate over its limit, measured 60 times along a training."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10)
    )
    optimizer, loss_fn = make(model.parameters()), nn.MSELoss()
    found = []
    for number in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        if number % (steps // 60) == 0:
            found.append(critical_rate(model, optimizer, loss_fn, (x, y)).ratio)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--rules", nargs="*", default=list(RULES), choices=list(RULES))
    arguments = parser.parse_args()
    x, y = data(arguments.examples)
    table = Table("rule", "steps", "at the start", "lower quartile", "median", "upper quartile")
    far = []
    for name in arguments.rules:
        make, steps = RULES[name]
        found = ratios(make, steps, x, y)
        low, median, high = np.quantile(found[-20:], [0.25, 0.5, 0.75])
        table.add_row(name, f"{steps:,}", *(f"{v:.3f}" for v in (found[0], low, median, high)))
        if abs(median - 1) > NEAR:
            far.append(name)
    Console().print(table)
    if far:
        sys.exit(f"not within {NEAR:.0%} of the limit: {', '.join(far)}")


if __name__ == "__main__":
    main()
