"""
A text classifier with an embedding
===================================

Which optimizer, where most words are rare? This file is what a user writes to ask::

    thalweg race examples/text.py --rules adagrad,adam,sgd --trials 16

The texts are the beginnings of SciPy's own docstrings, and the question is which of five of its
packages each describes. Words that occur once or twice have a gradient in few steps: where Adagrad
earns its name. The examples are a Dataset of tokens and labels with a ``collate_fn`` that pads.
"""

import inspect
import re
from collections import Counter

import torch
from scipy import linalg, optimize, signal, special, stats
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

import thalweg

PACKAGES = (stats, signal, linalg, optimize, special)
WORDS = 40  # of each text


class Classifier(nn.Module):
    """The mean of the embeddings of a text's words, then one hidden layer."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 32, padding_idx=0)
        self.out = nn.Sequential(nn.Dropout(0.2), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 5))

    def forward(self, words: Tensor) -> Tensor:
        """Return a score per package, (texts, 5)."""
        there = (words > 0).sum(1, keepdim=True).clamp(min=1)
        return self.out(self.embedding(words).sum(1) / there)


def texts() -> list[tuple[list[str], int]]:
    """Return the first words of each docstring and the number of its package."""
    found = {}
    for number, package in enumerate(PACKAGES):
        for public in package.__all__:
            documented = inspect.getdoc(getattr(package, public)) or ""
            body = documented.split("Parameters\n")[0]
            words = re.findall(r"[a-z]+", body.lower().replace(public.lower(), ""))[:WORDS]
            if len(words) > 3:
                found[" ".join(words)] = words, number
    return list(found.values())


def pad(examples: list[tuple[list[int], int]]) -> tuple[Tensor, Tensor]:
    """Make one batch of texts of different lengths."""
    padded = nn.utils.rnn.pad_sequence([torch.tensor(own) for own, _ in examples], batch_first=True)
    return padded, torch.tensor([label for _, label in examples])


def task() -> thalweg.TorchTask:
    """Return the classifier on the docstrings."""
    documents = texts()
    counts = Counter(word for words, _ in documents for word in words)
    number = {word: i for i, word in enumerate(sorted(counts), start=1)}
    examples = [([number[word] for word in words], k) for words, k in documents]
    return thalweg.TorchTask(
        model=lambda: Classifier(len(number) + 1),
        loss=functional.cross_entropy,
        train=DataLoader(examples, collate_fn=pad),  # type: ignore[arg-type] # a list is a Dataset
        name="docstrings, embedding",
    )


if __name__ == "__main__":
    print(thalweg.race(task(), rules=["adagrad", "sgd"], trials=4, epochs=5, seeds=4))
