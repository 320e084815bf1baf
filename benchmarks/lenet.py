"""LeNet on images of 28 x 28 with each class of thalweg.optim, beside torch's class of that name.

Both start from the same weights and see the same minibatches in the same order, so that losses
agree but for rounding. The images are MNIST's 10,000 test images where the folder that
THALWEG_DATA names has them (t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz), else
scikit-learn's digits, enlarged. Four fifths are trained on; loss and accuracy are those of the
last fifth. One thread: for so small a net more of them gain little.
"""

import argparse
import gzip
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.live import Live
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor, nn

from thalweg import optim

BATCH = 50

# Rprop is meant for full gradients; on minibatches, as here, its steps soon become small.
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("SGD", {"lr": 0.2}),
    "SGD momentum": ("SGD", {"lr": 0.02, "momentum": 0.9}),
    "Adagrad": ("Adagrad", {"lr": 0.02}),
    "RMSprop": ("RMSprop", {"lr": 1e-3}),
    "Adafactor": ("Adafactor", {"lr": 2e-2}),
    "Adadelta": ("Adadelta", {"lr": 1.0}),
    "Adam": ("Adam", {"lr": 2e-3}),
    "Adam amsgrad": ("Adam", {"lr": 2e-3, "amsgrad": True}),
    "AdamW": ("AdamW", {"lr": 2e-3}),
    "Adamax": ("Adamax", {"lr": 4e-3}),
    "NAdam": ("NAdam", {"lr": 2e-3}),
    "RAdam": ("RAdam", {"lr": 2e-3}),
    "ASGD": ("ASGD", {"lr": 0.2}),
    "Rprop": ("Rprop", {"lr": 1e-3}),
    "Yogi": ("Yogi", {"lr": 1e-2}),
    "AdaBelief": ("AdaBelief", {"lr": 2e-3}),
    "Lion": ("Lion", {"lr": 5e-4}),
    "Descent nesterov": ("Descent", {"rule": "nesterov", "lr": 0.02}),
}


class Parts(NamedTuple):
    """Images, standardized, and their digits: to train on and to test with."""

    images: Tensor
    digits: Tensor
    test_images: Tensor
    test_digits: Tensor


def mnist(folder: Path) -> tuple[Tensor, Tensor]:
    """Read MNIST's test images; behind headers of 16 and 8 bytes each number is a byte."""
    images, digits = (
        np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8, offset=header)
        for name, header in (("t10k-images-idx3-ubyte.gz", 16), ("t10k-labels-idx1-ubyte.gz", 8))
    )
    return torch.tensor(images).reshape(-1, 1, 28, 28) / 255, torch.tensor(digits)


def enlarged_digits() -> tuple[Tensor, Tensor]:
    """Return scikit-learn's digits of 8 x 8, enlarged."""
    bunch = load_digits()
    small = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16
    return nn.functional.interpolate(small, (28, 28), mode="bilinear"), torch.tensor(bunch.target)


def load(most: int | None) -> Parts:
    """Return so many images, all by default, in an order drawn once."""
    try:
        images, digits = mnist(Path(os.environ.get("THALWEG_DATA", "")))
        name = "MNIST's test images"
    except FileNotFoundError as error:
        print(f"scikit-learn's digits stand in for MNIST: {error}")
        images, digits = enlarged_digits()
        name = "digits"
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:most]
    images, digits = images[order], digits[order].long()
    cut = len(order) * 4 // 5
    images = (images - images[:cut].mean()) / images[:cut].std()
    print(f"{name}: {cut} to train on, {len(order) - cut} to test with\n")
    return Parts(images[:cut], digits[:cut], images[cut:], digits[cut:])


def lenet() -> nn.Sequential:
    """Return LeNet-5 (LeCun et al. 1998) with today's output layer."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(),
        nn.Linear(84, 10),
    )  # fmt: skip


def train(
    library: Any,
    name: str,
    options: dict[str, Any],
    parts: Parts,
    epochs: int,
) -> tuple[float, float, float]:
    """Return the test loss in nats, the test accuracy and the seconds per epoch."""
    torch.manual_seed(0)
    model, criterion = lenet(), nn.CrossEntropyLoss()
    optimizer = getattr(library, name)(model.parameters(), **options)
    generator = torch.Generator().manual_seed(1)
    start = time.perf_counter()
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(parts.digits), generator=generator), BATCH):
            optimizer.zero_grad()
            criterion(model(parts.images[rows]), parts.digits[rows]).backward()
            optimizer.step()
    seconds = (time.perf_counter() - start) / epochs
    with torch.no_grad():
        scores = model(parts.test_images)
        accuracy = (scores.argmax(dim=1) == parts.test_digits).float().mean()
        return criterion(scores, parts.test_digits).item(), accuracy.item(), seconds


def compile_all() -> None:
    """Take a step with every class, so that no epoch is charged with compiling."""
    for name, options in CLASSES.values():
        weights = torch.ones(100_000, requires_grad=True)
        weights.grad = torch.ones_like(weights)
        getattr(optim, name)([weights], **options).step()


def main() -> None:
    """Train with every class of either library and print what comes out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=2, help="default: 2")
    parser.add_argument("--images", type=int, metavar="N", help="take fewer; default: all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    parts = load(args.images)
    compile_all()
    table = Table("", "lr", title=f"LeNet, batch {BATCH}, epochs: {args.epochs}")
    for who in ("thalweg", "torch"):
        for column in (f"{who}: loss", "accuracy", "s/epoch"):
            table.add_column(column, justify="right")
    with Live(table, console=Console(width=104)):
        for title, (name, options) in CLASSES.items():
            cells = []
            for library in (optim, torch.optim):
                if hasattr(library, name):
                    loss, accuracy, seconds = train(library, name, options, parts, args.epochs)
                    cells += [f"{loss:.4f}", f"{accuracy:.3f}", f"{seconds:.2f}"]
            table.add_row(title, f"{options['lr']:g}", *cells)


if __name__ == "__main__":
    main()
