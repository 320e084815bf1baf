"""Parts: the examples to train on, to choose by and to be judged on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thalweg.errors import TaskError
from thalweg.stack.batch import Batch, count, each, read
from thalweg.stack.task import TorchTask

__all__ = ["Examples", "Parts"]


@dataclass(frozen=True, eq=False)
class Parts:
    """The three parts of a task's data, each one batch.

    Attributes:
        train: the examples that rules train on.
        validation: the examples by which hyperparameters are chosen.
        test: the examples that are used once, at the end.
    """

    train: Batch
    validation: Batch
    test: Batch

    @property
    def sizes(self) -> dict[str, int]:
        """The number of examples of each part."""
        names = ("train", "validation", "test")
        return {name: count(getattr(self, name), name) for name in names}

    def fold(self, number: int, folds: int, seed: int) -> Batch:
        """Return one of so many folds of the test part; together they have each row once.

        Args:
            number: of the fold, from 0.
            folds: >= 1; at most as many as there are rows.
            seed: it fixes which rows are in which fold.
        """
        rows = np.random.default_rng(seed).permutation(self.sizes["test"])
        folds = min(folds, len(rows))
        return _take(self.test, np.sort(rows[number % folds :: folds]))

    def to(self, device: torch.device) -> "Parts":
        """Return the same on a device."""
        names = ("train", "validation", "test")
        return Parts(*(each(lambda t: t.to(device), getattr(self, name)) for name in names))


@dataclass(frozen=True, eq=False)
class Examples:
    """A task's examples. They are read once, and parts are drawn from them for each repeat.

    Attributes:
        train: a batch. Parts that are given as shares are drawn from it, and the rest is the
            training part.
        validation: a batch, or the share of ``train`` to draw.
        test: the same.
    """

    train: Batch
    validation: Batch | float
    test: Batch | float

    @classmethod
    def of(cls, task: TorchTask) -> "Examples":
        """Read what a task gives.

        Raises:
            TaskError: the data cannot be read.
        """
        most = task.examples_per_epoch
        given = {"train": read(task.train, "train", most)}
        for name in ("test", "validation"):
            share = getattr(task, name)
            given[name] = share
            if not _is_share(share):
                # Copied, because torch aligns its own memory: products round by where numbers lie.
                given[name] = each(torch.clone, read(share, name, most))
        for name, batch in given.items():
            if not _is_share(batch):
                count(batch, name)
        return cls(**given)

    @property
    def drawn(self) -> bool:
        """Whether the test part is drawn."""
        return _is_share(self.test)

    def draw(self, seed: int) -> Parts:
        """Draw the parts that are given as shares, stratified by class.

        The test part is drawn first, so that it does not depend on the other two.

        Args:
            seed: of the draw, in [0, 2^32).

        Raises:
            TaskError: a part would be empty.
        """
        rows: NDArray[np.intp] = np.arange(count(self.train, "train"))
        drawn: dict[str, Batch] = {}
        for name in ("test", "validation"):
            given = getattr(self, name)
            if _is_share(given):
                size = round(given * count(self.train, "train"))
                rows, own = _draw(rows, size, self.train, seed, f"{name}={given}")
                given = _take(self.train, own)
            drawn[name] = given
        return Parts(_take(self.train, rows), drawn["validation"], drawn["test"])


def _is_share(given: object) -> bool:
    return isinstance(given, (int, float))


def _take(batch: Batch, rows: NDArray[np.intp]) -> Batch:
    index = torch.from_numpy(rows)
    return each(lambda tensor: tensor[index], batch)


def _draw(
    rows: NDArray[np.intp], size: int, batch: Batch, seed: int, asked: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split off so many rows."""
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - takes a second to load

    if not 0 < size < len(rows):
        raise TaskError(
            f"{asked} of train leaves {size} of its rows to that part and {len(rows) - size} to "
            "train on; every part needs one"
        )
    classes = _classes(batch)
    stratify: Any = None
    if classes is not None:
        _, counts = np.unique(classes[rows], return_counts=True)
        if counts.min() > 1 and len(counts) <= min(size, len(rows) - size):  # else it cannot be
            stratify = classes[rows]
    kept, drawn = train_test_split(rows, test_size=size, random_state=seed, stratify=stratify)
    return kept, drawn


def _classes(batch: Batch) -> NDArray[Any] | None:
    """Return the class of each example if the batch is a pair with one integer per example."""
    if not (isinstance(batch, tuple) and len(batch) == 2 and isinstance(batch[1], Tensor)):
        return None
    y = batch[1]
    return y.cpu().numpy() if y.ndim == 1 and not y.is_floating_point() else None
