"""The stream of minibatches, and the order of single rows: which rows each step uses."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thalweg.kernels.cpu.linear import shuffle, shuffle_nearby

__all__ = ["SAMPLINGS", "Stretch", "orders", "stream"]

_BLOCK = 16  # neighbours that ``orders`` keeps together first
_WINDOW = 8192  # rows among which it then shuffles, which a near cache holds
SAMPLINGS = ("shuffle", "replacement", "sequential")


@dataclass(frozen=True)
class Stretch:
    """The rows of some epochs: step s uses ``order[bounds[s] : bounds[s + 1]]``."""

    order: NDArray[np.intp]
    bounds: NDArray[np.intp]
    epochs: int


def stream(
    n: int, batch_size: int, lengths: Iterable[int], sampling: str, seed: np.random.SeedSequence
) -> Iterator[Stretch]:
    """Yield the minibatches of a training, some epochs at a time.

    "shuffle" takes a fresh random permutation each epoch, "replacement" draws n rows with
    replacement, so that a row is missed with probability (1 - 1/n)^n ≈ 1/e, "sequential" keeps the
    order of the data. The last batch of an epoch is smaller where batch_size does not divide n.

    Args:
        n: rows of the data, >= 1.
        batch_size: rows per step, 1 to n.
        lengths: epochs of each stretch; how a training is cut changes no minibatch.
        sampling: "shuffle", "replacement" or "sequential".
        seed: seeds the order; the stream depends on nothing else.

    Example:
        >>> stretch = next(stream(5, 2, [1], "sequential", np.random.SeedSequence(0)))
        >>> stretch.order.tolist(), stretch.bounds.tolist()
        ([0, 1, 2, 3, 4], [0, 2, 4, 5])
    """
    generator = np.random.SFC64(seed)
    starts = np.arange(0, n, batch_size, dtype=np.intp)
    for epochs in lengths:
        if sampling == "sequential":
            order = np.tile(np.arange(n, dtype=np.intp), (epochs, 1))
        else:
            # As many raw numbers per epoch however the epochs are cut; each gives two of 32 bits.
            raw = generator.random_raw(epochs * (n + n % 2) // 2)
            random = raw.view(np.uint32).reshape(epochs, -1)[:, :n]
            if sampling == "shuffle":
                order = np.empty((epochs, n), np.intp)
                shuffle(order, random)
            else:
                order = (random * np.uint64(n) >> np.uint64(32)).astype(np.intp)
        bounds = (starts + n * np.arange(epochs)[:, None]).ravel()
        yield Stretch(order.ravel(), np.append(bounds, order.size), epochs)


def orders(n: int, epochs: int, seed: np.random.SeedSequence) -> Iterator[NDArray[np.intp]]:
    """Yield the order of n rows in each epoch, at random but kind to memory.

    Blocks of 16 neighbours are shuffled, and then the rows in each window of 8192, so that what
    memory brings along with a row is used soon. Up to 8192 rows it is a random permutation.

    Args:
        n: rows of the data, >= 1.
        epochs: how many orders.
        seed: seeds the orders.

    Example:
        >>> (order,) = orders(4, 1, np.random.SeedSequence(0))
        >>> sorted(order.tolist())
        [0, 1, 2, 3]
    """
    if n <= _WINDOW:
        yield from (stretch.order for stretch in stream(n, 1, [1] * epochs, "shuffle", seed))
        return
    generator = np.random.SFC64(seed)
    count = n + -(-n // _BLOCK)
    for _ in range(epochs):
        order = np.empty(n, np.intp)
        random = generator.random_raw((count + 1) // 2).view(np.uint32)
        shuffle_nearby(order, random, _BLOCK, _WINDOW)
        yield order
