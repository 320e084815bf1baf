"""What is known of a fitted model, against scikit-learn's own measures of it."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from thalweg import data
from thalweg.linear import LinearClassifier
from thalweg.linear.fitted import fit

RNG = np.random.default_rng(0)
TOWN = RNG.choice(["Bern", "Kiel"], 2000)
SIZE = RNG.normal(100, 20, 2000)
Z = 0.1 * (SIZE - 100) + 2 * (TOWN == "Bern") - 1
FRAME = pd.DataFrame({"town": TOWN, "size": SIZE})
LABELS = np.where(RNG.random(2000) < 1 / (1 + np.exp(-Z)), "yes", "no")


def test_of_classes_the_score_the_weights_and_the_calibration_are_of_rows_not_seen() -> None:
    found = fit(data.Dataset.from_arrays(FRAME, LABELS))
    assert found.held_out == 400
    assert found.score > found.constant + 0.1
    assert found.sentence.startswith("The model is right for 8")
    weights = dict(found.weights)
    assert next(iter(weights)) == "size"
    np.testing.assert_allclose(weights["size"], 0.1 * SIZE.std(), rtol=0.25)
    assert weights["town_Bern"] > 0 > weights["town_Kiel"]
    assert [each.rows for each in found.calibration] == [40] * 10
    gaps = [each.predicted - each.found for each in found.calibration]
    assert max(map(abs, gaps)) < 0.25  # of forty rows: three standard deviations
    assert abs(np.mean(gaps)) < 0.1


def test_the_curve_is_the_loss_of_rows_before_they_are_learned() -> None:
    y = (LABELS == "yes").astype(int)
    X = np.column_stack([SIZE, TOWN == "Bern"])
    model: Any = LinearClassifier(random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="pieces must be an integer >= 1, got 0"):
        model.learning_curve(X, y, pieces=0)
    with pytest.raises(ValueError, match=r"y must hold labels of the fit, \[0 1\]"):
        model.learning_curve(X, LABELS)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.learning_curve(X, y[:-1])
    rows, losses = model.learning_curve(X, y, pieces=10)
    assert rows.tolist() == list(range(200, 2001, 200))
    np.testing.assert_allclose(losses[5:].mean(), log_loss(y, model.predict_proba(X)), rtol=0.15)
    assert losses[0] > losses[5:].mean()


def test_of_numbers_r2_and_means() -> None:
    found = fit(data.Dataset.from_arrays(FRAME, Z + RNG.normal(size=2000)))
    assert 0.7 < found.score < 0.95
    assert found.sentence.startswith("The model explains")
    for each in found.calibration:
        assert each.predicted == pytest.approx(each.found, abs=1)
    noise = fit(data.Dataset.from_arrays(FRAME, RNG.normal(size=2000)))
    assert (
        noise.sentence
        == "The model predicts 400 rows that it had not seen no better than their mean does."
    )


def test_a_loss_without_probabilities_has_no_calibration() -> None:
    found = fit(data.load("iris"), loss="hinge")
    assert found.calibration == []
    assert found.weights[0][0].split(" → ")[1] in {"setosa", "versicolor", "virginica"}
