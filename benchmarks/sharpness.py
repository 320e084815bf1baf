"""The edge of stability: where the sharpness that a rule feels settles, against the rule's limit.

A tanh network learns 500 digits, 30 % of them with another's label, with all of them in each step.
Its largest curvature grows until the rate is the rule's limit, and stays there (Cohen et al. 2021;
of the preconditioned Hessian for RMSProp and Adam, Cohen et al. 2022). `critical_rate` measures it
as the training goes; the limit is `thalweg.theory.max_lr`. Printed is the rate over its limit: at
the start, and the quartiles over the last third of the steps. The script fails if a median is not
within 10 % of 1.
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

RULES: dict[str, Make] = {
    "full-batch GD": lambda p: torch.optim.SGD(p, lr=0.7),
    "heavy ball": lambda p: torch.optim.SGD(p, lr=0.6, momentum=0.9),
    "Nesterov": lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.9, nesterov=True),
    "RMSProp": lambda p: torch.optim.RMSprop(p, lr=2e-4),
    "Adam": lambda p: torch.optim.Adam(p, lr=6e-3),
}
NEAR = 0.1
MEASURED = 60  # times along a training


def data(examples: int) -> tuple[Tensor, Tensor]:
    """Return standardized digits and their classes as 0 and 1, some of them exchanged."""
    X, y = load_digits(return_X_y=True)
    x = torch.tensor(X[:examples], dtype=torch.float32)
    draws = np.random.default_rng(0)
    wrong = np.flatnonzero(draws.random(examples) < 0.3)
    labels = y[:examples].copy()
    labels[wrong] = labels[draws.permutation(wrong)]
    return (x - x.mean()) / x.std(), nn.functional.one_hot(torch.tensor(labels), 10).float()


def ratios(make: Make, steps: int, x: Tensor, y: Tensor) -> list[float]:
    """Return the rate over its limit along a training."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 10)
    )
    optimizer, loss_fn = make(model.parameters()), nn.MSELoss()
    found = []
    for number in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        if number % (steps // MEASURED) == 0:
            found.append(critical_rate(model, optimizer, loss_fn, (x, y)).ratio)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rules", nargs="*", default=list(RULES), choices=list(RULES))
    arguments = parser.parse_args()
    x, y = data(500)
    table = Table("rule", "at the start", "lower quartile", "median", "upper quartile")
    far = []
    for name in arguments.rules:
        found = ratios(RULES[name], arguments.steps, x, y)
        low, median, high = np.quantile(found[-MEASURED // 3 :], [0.25, 0.5, 0.75])
        table.add_row(name, *(f"{value:.3f}" for value in (found[0], low, median, high)))
        if abs(median - 1) > NEAR:
            far.append(name)
    Console().print(table)
    if far:
        sys.exit(f"not within {NEAR:.0%} of the limit: {', '.join(far)}")


if __name__ == "__main__":
    main()
