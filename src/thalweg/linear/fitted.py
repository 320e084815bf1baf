"""Fitted: a linear model of a table, and what is known of it: how good it is, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from thalweg import losses
from thalweg.checks import Range, count, number
from thalweg.data import Dataset, Encoder
from thalweg.linear.classifier import LinearClassifier
from thalweg.linear.regressor import LinearRegressor
from thalweg.linear.saved import Saved
from thalweg.words import percent

__all__ = ["Bin", "Fitted", "fit"]

_BINS = 10  # of a calibration: each has as many rows
_SHOWN = 20  # weights


@dataclass(frozen=True)
class Bin:
    """Rows of similar predictions.

    Attributes:
        predicted: the mean of what was predicted for them.
        found: the mean of what they are.
        rows: how many.
    """

    predicted: float
    found: float
    rows: int


@dataclass(frozen=True)
class Fitted:
    """A model, and what rows that it had not seen say of it.

    Attributes:
        saved: the model, of all rows.
        dataset: it was trained on.
        rows: seen, at the end of each piece of one pass.
        losses: the progressive loss of each piece.
        held_out: rows that another model, of the rest, was judged on.
        score: its share of right labels, or its R².
        constant: the score of the most frequent class, or of the mean.
        weights: of standardized features, the largest first, by name.
        calibration: predictions against what was found; empty if there are no probabilities.
    """

    saved: Saved
    dataset: Dataset
    rows: NDArray[np.int64]
    losses: NDArray[np.float64]
    held_out: int
    score: float
    constant: float
    weights: list[tuple[str, float]]
    calibration: list[Bin]

    @property
    def sentence(self) -> str:
        """How good the model is, in a sentence."""
        rows = f"{self.held_out} rows that it had not seen"
        if self.dataset.classes is not None:
            return (
                f"The model is right for {percent(self.score)} of {rows}; the most frequent class "
                f"alone is right for {percent(self.constant)}."
            )
        if self.score <= 0:
            return f"The model predicts {rows} no better than their mean does."
        return f"The model explains {percent(self.score)} of the variance of {rows}."


def fit(dataset: Dataset, *, loss: str | None = None, seed: int = 0, **settings: Any) -> Fitted:  # noqa: ANN401
    """Train a linear model of a data set, and judge another on a fifth of the rows.

    Args:
        dataset: a table and its target.
        loss: of ``LinearClassifier`` or ``LinearRegressor``; by default theirs.
        seed: of the order of rows and of the fifth.
        settings: others of the estimator.

    Raises:
        ValueError: a setting is not legal, or the loss refuses the target.

    Example:
        >>> from thalweg import data
        >>> found = fit(data.load("iris"))
        >>> found.held_out, found.score > 0.9, len(found.calibration)
        (30, True, 10)
    """
    kind: Any = LinearRegressor if dataset.classes is None else LinearClassifier
    _check(kind, dataset, loss, seed, settings)
    named = {} if loss is None else {"loss": loss}
    estimator = kind(**named, random_state=seed, **settings)
    train, test = train_test_split(
        np.arange(len(dataset.y)), test_size=0.2, random_state=seed, stratify=_strata(dataset)
    )
    table = pd.DataFrame(dataset.X, columns=list(dataset.features))
    encoder = Encoder(dataset.features, dataset.options.types)
    judged = kind(**estimator.get_params())
    judged.fit(encoder.fit_transform(table.iloc[train]), dataset.y[train])
    X, y = encoder.transform(table.iloc[test]), dataset.y[test]
    whole = Encoder(dataset.features, dataset.options.types)
    features = whole.fit_transform(table)
    estimator.fit(features, dataset.y)
    most = np.argmax(np.bincount(dataset.y[train])) if dataset.classes else 0
    rows, losses = estimator.learning_curve(features, dataset.y)
    return Fitted(
        Saved.of(estimator, whole, dataset),
        dataset,
        rows,
        losses,
        held_out=len(test),
        score=float(judged.score(X, y)),
        constant=float(np.mean(y == most)) if dataset.classes else 0.0,
        weights=_weights(estimator, whole, dataset.classes),
        calibration=_calibration(judged, X, y),
    )


def _check(
    kind: Any,  # noqa: ANN401
    dataset: Dataset,
    loss: str | None,
    seed: int,
    settings: Mapping[str, Any],
) -> None:
    """Raise ValueError for what is not legal, as a user of the command calls it."""
    count("seed", seed, 0, 2**32 - 1)
    for name, within in (("alpha", Range(0.0, ends="[)")), ("l1_ratio", Range(0.0, 1.0, "[]"))):
        if name in settings:
            number(name, settings[name], within)
    if loss is None:
        return
    options = kind._parameter_constraints["loss"][0].options  # noqa: SLF001 - its own kind
    legal = [name for name in losses.LOSSES if name in options]
    if loss not in legal:
        what = "numbers" if dataset.classes is None else "classes"
        other = loss in losses.LOSSES and dataset.classes is not None
        hint = "; --kind regression takes whole numbers as numbers" if other else ""
        raise ValueError(
            f"loss must be one of {', '.join(legal)} for target {dataset.target!r}, which is "
            f"{what}, got {loss!r}{hint}"
        )
    if dataset.classes is not None:
        return
    try:
        losses.get(loss).outputs(dataset.y, "")
    except ValueError as error:
        said = str(error).partition(" in row ")[0].removeprefix("y")  # of rows that are left
        raise ValueError(f"target {dataset.target!r}{said}") from None


def _strata(dataset: Dataset) -> NDArray[Any] | None:
    """Return the classes, if each has the two rows that a split by class needs."""
    few = dataset.classes is None or np.bincount(dataset.y).min() < 2
    return None if few or len(dataset.y) < 5 * len(dataset.classes or ()) else dataset.y


def _weights(
    estimator: Any,  # noqa: ANN401
    encoder: Encoder,
    classes: tuple[str, ...] | None,
) -> list[tuple[str, float]]:
    """Return the largest weights; of more than two classes with the class that they speak for."""
    coef = np.atleast_2d(estimator.coef_)
    places = np.argsort(-abs(coef), axis=None)[:_SHOWN]
    outputs, columns = np.unravel_index(places, coef.shape)
    several = classes if classes and len(coef) > 1 else None
    return [
        (encoder.features[j] + (f" → {several[c]}" if several else ""), float(coef[c, j]))
        for c, j in zip(outputs, columns, strict=True)
        if coef[c, j]
    ]


def _calibration(estimator: Any, X: NDArray[Any], y: NDArray[Any]) -> list[Bin]:  # noqa: ANN401
    """Compare what is predicted with what is found, in bins of equally many rows.

    Of two classes that is the probability of the second, of more that of the predicted one, of a
    regression the number.
    """
    if isinstance(estimator, LinearRegressor):
        predicted, found = estimator.predict(X), y
    elif not hasattr(estimator, "predict_proba"):
        return []
    else:
        shares = estimator.predict_proba(X)
        two = shares.shape[1] == 2
        predicted = shares[:, 1] if two else shares.max(axis=1)
        found = y if two else (estimator.predict(X) == y)
    order = np.argsort(predicted, kind="stable")
    parts = np.array_split(order, min(_BINS, len(order)))
    return [
        Bin(float(predicted[part].mean()), float(found[part].mean()), len(part)) for part in parts
    ]
