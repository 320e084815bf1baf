"""The split into training, validation and test parts, encoded by the training part alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg import checks
from thalweg.data.dataset import Dataset
from thalweg.data.encoder import Encoder

__all__ = ["Part", "Split", "split"]


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a data set, encoded and standardized.

    Attributes:
        X: features, float64 (n, d).
        y: float64 (n,), standardized, for regression; else int64 class codes (n,).
        rows: int64 (n,): which rows of the data set these are.
    """

    X: NDArray[np.float64]
    y: NDArray[Any]
    rows: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """The three parts and what the training part fixed.

    Attributes:
        train: what rules are fitted to.
        validation: what hyperparameters are chosen by.
        test: what is judged once.
        encoder: columns to features; ``encoder.transform`` takes new rows of ``Dataset.X``.
        y_mean: 0 for classes; a standardized target is (value - mean) / scale.
        y_scale: > 0; 1 for classes and a constant target.
    """

    train: Part
    validation: Part
    test: Part
    encoder: Encoder
    y_mean: float
    y_scale: float


def split(
    dataset: Dataset, *, fractions: tuple[float, float, float] = (0.6, 0.2, 0.2), seed: int = 0
) -> Split:
    """Split into training, validation and test parts, stratified by class.

    An encoder fitted to the training part alone makes features of the columns and standardizes
    them (``Encoder``), and the target of a regression: nothing of the other parts leaks into it.

    Args:
        dataset: the data.
        fractions: shares of training, validation and test part, each > 0, of sum 1.
        seed: of the shuffle, in [0, 2^32).

    Returns:
        The parts; their rows are in shuffled order and together are all rows, each once.

    Raises:
        ValueError: a part would have no row, or would lack a class.

    Example:
        >>> from thalweg.data import load
        >>> parts = split(load("iris"))
        >>> len(parts.train.y), len(parts.validation.y), len(parts.test.y)
        (90, 30, 30)
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(f"dataset must be a Dataset, as data.load returns, got {dataset!r:.40}")
    rows = _rows(dataset, fractions, seed)
    encoder = Encoder(dataset.features, dataset.options.types)
    parts = [encoder.fit_transform(_taken(dataset, rows[0]))]
    parts += [encoder.transform(_taken(dataset, each)) for each in rows[1:]]
    y_mean, y_scale = 0.0, 1.0
    targets = [dataset.y[each] for each in rows]
    if dataset.classes is None:
        scaler = Encoder((dataset.target,)).fit(targets[0][:, None])
        y_mean, y_scale = float(scaler.mean[0]), float(scaler.scale[0])
        targets = [scaler.transform(y[:, None])[:, 0] for y in targets]
    train, validation, test = map(Part, parts, targets, rows)
    return Split(train, validation, test, encoder, y_mean, y_scale)


def _taken(dataset: Dataset, rows: NDArray[np.int64]) -> Any:  # noqa: ANN401 - an array or a frame
    return dataset.X[rows] if isinstance(dataset.X, np.ndarray) else dataset.X.iloc[rows]


def _rows(
    dataset: Dataset, fractions: Sequence[float], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Draw the rows of the three parts; the test part does not depend on the other two."""
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - takes a second to load

    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions must be three numbers > 0 of sum 1, got {fractions}")
    seed = checks.count("seed", seed, 0, 2**32 - 1)
    n = len(dataset.y)
    n_validation, n_test = (round(n * fraction) for fraction in fractions[1:])
    if min(n - n_validation - n_test, n_validation, n_test) < 1:
        raise ValueError(f"fractions {fractions} of {n} rows leave a part empty")

    def draw(rows: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
        stratify = None if dataset.classes is None else dataset.y[rows]
        drawn: list[NDArray[np.int64]] = train_test_split(
            rows, test_size=count, random_state=seed, stratify=stratify
        )
        return drawn

    try:
        rest, test = draw(np.arange(n), n_test)
        train, validation = draw(rest, n_validation)
    except ValueError as error:  # scikit-learn's own words name neither the class nor a remedy
        raise _too_few(dataset) from error
    for rows in (train, validation, test):
        if dataset.classes and len(np.unique(dataset.y[rows])) < len(dataset.classes):
            raise _too_few(dataset)
    return train, validation, test


def _too_few(dataset: Dataset) -> ValueError:
    counts = np.bincount(dataset.y)
    smallest = int(counts.argmin())
    name = (dataset.classes or ())[smallest]
    return ValueError(
        f"class {name!r} of {dataset.target!r} has {counts[smallest]} of {len(dataset.y)} rows, "
        "too few to be in the training, validation and test part; merge it with another class or "
        "drop its rows"
    )
