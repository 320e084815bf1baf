"""Data of the suite: scikit-learn's digits, and images, tables and texts that are generated."""

from typing import NamedTuple

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from torch import Tensor

__all__ = ["Parts", "cancer", "diabetes", "draws", "pictures", "rings", "sums", "text"]

VALIDATION = 300  # examples
LETTERS = 12  # of the texts


class Parts(NamedTuple):
    """Training and validation data."""

    x: Tensor
    y: Tensor
    x_val: Tensor
    y_val: Tensor


def draws(seed: int, purpose: int = 0) -> torch.Generator:
    """Return a generator for one purpose under one seed."""
    return torch.Generator().manual_seed(7_919 * seed + purpose)


def _split(x: Tensor, y: Tensor, seed: int, held: int = VALIDATION) -> Parts:
    order = torch.randperm(len(x), generator=draws(seed, 1))
    x, y = x[order], y[order]
    return Parts(x[held:], y[held:], x[:held], y[:held])


def _standardized(parts: Parts) -> Parts:
    mean, deviation = parts.x.mean(0), parts.x.std(0)
    return parts._replace(x=(parts.x - mean) / deviation, x_val=(parts.x_val - mean) / deviation)


def _drawn_images(seed: int) -> tuple[Tensor, Tensor]:
    """Return noisy, shifted copies of 6 smooth templates that are the same under all seeds."""
    templates = torch.randn(6, 1, 5, 5, generator=torch.Generator().manual_seed(77))
    templates = torch.nn.functional.interpolate(templates, size=10, mode="bilinear")
    own = draws(seed, 2)
    y = torch.randint(0, 6, (1500,), generator=own)
    shift = torch.randint(-1, 2, (1500,), generator=own)
    rows = (torch.arange(10)[None] + shift[:, None]) % 10
    x = templates[y].gather(2, rows[:, None, :, None].expand(-1, 1, -1, 10))
    return x + 0.7 * torch.randn(x.shape, generator=own), y


def pictures(kind: str, half: str, seed: int) -> Parts:
    """Return images (N, 1, S, S) of mean 0 and deviation 1, and targets of a kind.

    Args:
        kind: ``"classes"``, ``"binary"``, ``"labels"`` (several per image), ``"regression"`` or
            ``"autoencoder"``.
        half: ``"calibration"``: scikit-learn's digits; ``"judging"``: generated images.
        seed: of the split, and of what is generated.
    """
    if half == "calibration":
        raw, classes = load_digits(return_X_y=True)
        x, y = torch.tensor(raw, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(classes)
    else:
        x, y = _drawn_images(seed)
    x = (x - x.mean()) / x.std()
    count = int(y.max()) + 1
    if kind == "binary":
        target = (y >= count // 2).float()[:, None]
    elif kind == "labels":
        bits = torch.arange(4 if half == "calibration" else 3)
        target = ((y[:, None] >> bits) & 1).float()
    elif kind == "regression":
        flat = x.flatten(1)
        teacher = torch.randn(flat.shape[1], 2, generator=torch.Generator().manual_seed(5))
        u = flat @ teacher / flat.shape[1] ** 0.5
        noise = 0.1 * torch.randn(len(x), generator=draws(seed, 3))
        target = (torch.sin(1.5 * u[:, 0]) + u[:, 1] + noise)[:, None]
        target = (target - target.mean()) / target.std()
    elif kind == "autoencoder":
        target = x.flatten(1)
    else:
        target = y
    return _split(x, target, seed)


def cancer(seed: int) -> Parts:
    """Return scikit-learn's breast cancer table, standardized; targets (N, 1) of 0 and 1."""
    x, y = load_breast_cancer(return_X_y=True)
    table = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)[:, None]
    return _standardized(_split(*table, seed, 140))


def diabetes(seed: int) -> Parts:
    """Return scikit-learn's diabetes table; columns and targets (N, 1) standardized."""
    x, y = load_diabetes(return_X_y=True, scaled=False)
    target = torch.tensor(y, dtype=torch.float32)[:, None]
    target = (target - target.mean()) / target.std()
    return _standardized(_split(torch.tensor(x, dtype=torch.float32), target, seed, 110))


def rings(seed: int) -> Parts:
    """Return points of the plane in two rings, which no straight line parts; targets (N, 1)."""
    own = draws(seed, 4)
    y = torch.randint(0, 2, (1200,), generator=own).float()
    angle = 6.2832 * torch.rand(1200, generator=own)
    radius = 0.7 + 0.9 * y + 0.15 * torch.randn(1200, generator=own)
    x = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
    return _split(x, y[:, None], seed)


def sums(seed: int, length: int) -> Parts:
    """Return series (N, length, 2), and the sum of the first channel less that of the second."""
    own = draws(seed, 5)
    x = torch.rand(1000, length, 2, generator=own)
    y = (x[:, :, 0] - x[:, :, 1]).sum(1, keepdim=True)
    return _split(x, y / y.std(), seed, 200)


def text(seed: int, half: str, length: int = 12) -> Parts:
    """Return letters of a Markov chain (N, length), and the letter that follows each."""
    purpose = 11 if half == "calibration" else 12
    chain = torch.softmax(
        4 * torch.randn(LETTERS, LETTERS, generator=torch.Generator().manual_seed(purpose)), 1
    )
    own = draws(seed, 6)
    letters = torch.randint(0, LETTERS, (1000, 1), generator=own)
    for _ in range(length):
        letters = torch.cat(
            [letters, torch.multinomial(chain[letters[:, -1]], 1, generator=own)], 1
        )
    return _split(letters[:, :-1], letters[:, 1:], seed, 200)
