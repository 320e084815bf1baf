"""Models of the suite: features and a head, so that a plant can reach either."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["BODIES", "Attention", "Net", "Recurrent", "Then", "body", "deep", "reader"]

BODIES = ("mlp", "convnet", "sequence")


class Net(nn.Module):
    """Features, then a linear head."""

    def __init__(self, features: nn.Module, width: int, outputs: int) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs."""
        out: Tensor = self.head(self.features(x))
        return out


class Then(nn.Module):
    """A model, and a function of what it returns."""

    def __init__(self, model: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Return the function's value."""
        return self.function(self.model(x))


class Recurrent(nn.Module):
    """A recurrent cell over series (batch, time, features); its last state, or all of them."""

    def __init__(self, cell: nn.RNNBase, *, every: bool = False) -> None:
        super().__init__()
        self.cell = cell
        self.every = every

    def forward(self, x: Tensor) -> Tensor:
        """Return the states (batch, width) or (batch, time, width)."""
        states: Tensor = self.cell(x)[0]
        return states if self.every else states[:, -1]


class Attention(nn.Module):
    """One layer of a transformer over series; the mean over time, or every place."""

    def __init__(
        self,
        inputs: int,
        width: int,
        length: int,
        *,
        every: bool = False,
        causal: bool = False,
        batch_first: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.places = nn.Parameter(0.1 * torch.randn(length, width))
        self.layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout, batch_first=batch_first
        )
        self.every = every
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, width), or (batch, time, width)."""
        x = self.enter(x) + self.places[: x.shape[1]]
        mask = None
        if self.causal:
            mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        x = self.layer(x, src_mask=mask)
        return x if self.every else x.mean(1)


def body(name: str, half: str, size: int, outputs: int) -> Net:
    """Return a model for images of a size: each half has architectures of its own.

    Args:
        name: ``"mlp"`` (takes rows of numbers), ``"convnet"`` (images) or ``"sequence"`` (rows of
            the image, one after the other).
        half: ``"calibration"`` or ``"judging"``.
        size: pixels of a side.
        outputs: how many.
    """
    first = half == "calibration"
    if name == "mlp" and first:
        layers = [nn.Linear(size * size, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
        return Net(nn.Sequential(*layers), 64, outputs)
    if name == "mlp":
        layers = [nn.Linear(size * size, 96), nn.LayerNorm(96), nn.GELU(), nn.Dropout(0.1)]
        return Net(nn.Sequential(*layers, nn.Linear(96, 48), nn.Tanh()), 48, outputs)
    if name == "convnet" and first:
        layers = [nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        return Net(nn.Sequential(*layers), 16 * (size // 4) ** 2, outputs)
    if name == "convnet":
        layers = [nn.Conv2d(1, 12, 3, 2), nn.BatchNorm2d(12), nn.LeakyReLU(0.1)]
        layers += [nn.Conv2d(12, 20, 3, 1), nn.BatchNorm2d(20), nn.LeakyReLU(0.1)]
        layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten()]
        return Net(nn.Sequential(*layers), 80, outputs)
    if first:
        return Net(Recurrent(nn.GRU(size, 32, batch_first=True)), 32, outputs)
    return Net(Attention(size, 32, size, dropout=0.1), 32, outputs)


def deep(
    name: str, size: int, outputs: int, depth: int, activation: type[nn.Module], *, tame: bool
) -> Net:
    """Return a deep MLP or convnet.

    Args:
        name: ``"mlp"`` or ``"convnet"``.
        size: pixels of a side.
        outputs: how many.
        depth: layers before the head.
        activation: follows each.
        tame: each layer has a normalization between it and its activation.
    """
    layers: list[nn.Module] = []
    if name == "mlp":
        for i in range(depth):
            layers += [nn.Linear(size * size if i == 0 else 48, 48)]
            layers += [nn.BatchNorm1d(48)] if tame else []
            layers += [activation()]
        return Net(nn.Sequential(*layers), 48, outputs)
    for i in range(depth):
        layers += [nn.Conv2d(1 if i == 0 else 10, 10, 3, padding=1)]
        layers += [nn.BatchNorm2d(10)] if tame else []
        layers += [activation()]
    layers += [nn.AdaptiveAvgPool2d(4), nn.Flatten()]
    return Net(nn.Sequential(*layers), 160, outputs)


class Reader(nn.Module):
    """A model of a text: letters (batch, time) to scores of the next (batch, time, letters)."""

    def __init__(self, letters: int, width: int, features: nn.Module, out: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(letters, width)
        self.features = features
        self.head = nn.Linear(out, letters)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores."""
        out: Tensor = self.head(self.features(self.embed(x)))
        return out


class Taps(nn.Module):
    """A convolution over time whose padding lies before the text, or on both sides."""

    def __init__(self, width: int, *, causal: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, 48, 3)
        self.before = 2 if causal else 1

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, time, 48)."""
        padded = nn.functional.pad(x.transpose(1, 2), (self.before, 2 - self.before))
        return torch.relu(self.conv(padded)).transpose(1, 2)


def reader(name: str, letters: int, length: int, *, causal: bool) -> Reader:
    """Return a model of a text.

    Args:
        name: ``"transformer"``, ``"recurrent"`` or ``"convnet"``.
        letters: how many there are.
        length: of a text.
        causal: whether no output sees the letters after its place.
    """
    if name == "transformer":
        return Reader(letters, 32, Attention(32, 32, length, every=True, causal=causal), 32)
    if name == "recurrent":
        cell = nn.GRU(24, 32, batch_first=True, bidirectional=not causal)
        return Reader(letters, 24, Recurrent(cell, every=True), 32 if causal else 64)
    return Reader(letters, 24, Taps(24, causal=causal), 48)
