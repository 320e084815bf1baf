"""
LeNet on images of 28 × 28
==========================

Which optimizer, and which batch size? This file is what a user writes to ask::

    thalweg race examples/mnist_lenet.py --rules adamw,momentum --batch-size 32,128 --epochs 4

The images are MNIST's 10,000 test images where the folder that THALWEG_DATA names has them, else
scikit-learn's digits, enlarged. ``task`` takes a Dataset as a user has it, and its last fifth as
the test part, so that nothing but the validation part is drawn.
"""

import gzip
import os
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

import thalweg

FILES = {"t10k-images-idx3-ubyte.gz": 16, "t10k-labels-idx1-ubyte.gz": 8}  # lengths of headers


def load():
    """Return all images and digits."""
    folder = Path(os.environ.get("THALWEG_DATA", ""))
    if all((folder / name).exists() for name in FILES):
        packed = (gzip.decompress((folder / name).read_bytes()) for name in FILES)
        pixels, digits = map(np.frombuffer, packed, 2 * [np.uint8], 2 * [-1], FILES.values())
        return torch.tensor(pixels).reshape(-1, 1, 28, 28) / 255, torch.tensor(digits).long()
    bunch = load_digits()
    small = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16
    return functional.interpolate(small, (28, 28), mode="bilinear"), torch.tensor(bunch.target)


def lenet():
    """Return LeNet-5 (LeCun et al. 1998) with today's output layer."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(),
        nn.Linear(84, 10),
    )  # fmt: skip


def task(images=None):
    """Return LeNet on so many images, all by default."""
    pixels, digits = load()
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))[:images]
    train, test = order[: len(order) * 4 // 5], order[len(order) * 4 // 5 :]
    pixels = (pixels - pixels[train].mean()) / pixels[train].std()
    return thalweg.TorchTask(
        model=lenet,
        loss=functional.cross_entropy,
        label_smoothing=0.05,
        train=TensorDataset(pixels[train], digits[train]),
        validation=0.15,
        test=TensorDataset(pixels[test], digits[test]),
        name="LeNet",
    )


if __name__ == "__main__":
    print(thalweg.race(task(400), rules=["adamw", "momentum"], trials=4, epochs=2, seeds=2))
