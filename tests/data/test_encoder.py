"""The encoder, held against skrub's and scikit-learn's own."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import skrub
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from thalweg import data
from thalweg.data import Encoder

RNG = np.random.default_rng(0)
N = 200
FRAME = pd.DataFrame({
    "size": np.where(RNG.random(N) < 0.2, np.nan, RNG.normal(size=N)),
    "town": pd.Categorical(RNG.choice(["Köln", "<b>", "x"], N)),
    "street": pd.Categorical([f"street {i % 61}" for i in range(N)]),
    "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(RNG.integers(0, 10_000, N), unit="h"),
    "rooms": RNG.integers(1, 9, N),
})  # fmt: skip


def scaled(train: Any, other: Any) -> Any:
    return StandardScaler().fit(train).transform(other)


def test_numbers_are_scikit_learns_imputed_and_scaled() -> None:
    train, other = FRAME[["size", "rooms"]][:150], FRAME[["size", "rooms"]][150:]
    encoder = Encoder(["size", "rooms"]).fit(train)
    imputer = SimpleImputer(strategy="median", add_indicator=True).fit(train.to_numpy())
    expected = scaled(imputer.transform(train.to_numpy()), imputer.transform(other.to_numpy()))
    np.testing.assert_allclose(encoder.transform(other), expected, atol=1e-12)
    assert encoder.features == ("size", "rooms", "size missing")


def test_words_are_scikit_learns_one_hot_with_missing_as_a_category() -> None:
    frame = FRAME[["town"]].copy()
    frame.loc[::5, "town"] = None
    words = frame.astype("str").fillna("missing").to_numpy()
    hot = OneHotEncoder(sparse_output=False, handle_unknown="ignore").fit(words[:150])
    encoder = Encoder(["town"]).fit(frame[:150])
    expected = scaled(hot.transform(words[:150]), hot.transform(words[150:]))
    np.testing.assert_allclose(encoder.transform(frame[150:]), expected, atol=1e-6)
    assert encoder.features == ("town_<b>", "town_Köln", "town_missing", "town_x")


def test_many_words_are_skrubs_string_encoder() -> None:
    theirs = skrub.StringEncoder(random_state=0)
    train = theirs.fit_transform(FRAME["street"][:150].astype("str"))
    other = theirs.transform(FRAME["street"][150:].astype("str"))
    encoder = Encoder(["street"]).fit(FRAME[["street"]][:150])
    found = encoder.transform(FRAME[["street"]][150:])
    assert found.shape == (50, 30)
    np.testing.assert_allclose(found, scaled(train, other), atol=1e-4)


def test_the_other_parts_cannot_reach_the_encoder() -> None:
    poisoned = FRAME.copy()
    poisoned.loc[150:, ["size", "rooms"]] = 10**6
    poisoned["town"] = poisoned["town"].cat.add_categories(["new"])
    poisoned.loc[150:, "town"] = "new"
    encoders = [Encoder(list(FRAME)).fit(frame[:150]) for frame in (FRAME, poisoned)]
    assert encoders[0].features == encoders[1].features
    found = [encoder.transform(FRAME[:150]) for encoder in encoders]
    np.testing.assert_array_equal(*found)
    towns = [name.startswith("town_") for name in encoders[1].features]
    unseen = encoders[1].transform(poisoned[150:])[:, towns]
    np.testing.assert_allclose(
        unseen, np.tile(encoders[1].transform(poisoned[150:151])[:, towns], (50, 1))
    )


@pytest.mark.parametrize("kind", ["int64", "uint64", "float64", "datetime"])
def test_columns_far_from_zero_are_scaled_all_the_same(kind: str) -> None:
    steps = RNG.permutation(100)
    start = {"int64": 10**17, "uint64": 2**64 - 1000, "float64": 4.2e15, "datetime": 0}[kind]
    values: Any = np.array(
        [start + int(i) for i in steps], dtype=kind if kind != "datetime" else "int64"
    )
    if kind == "datetime":
        values = pd.Timestamp("2024-01-01") + pd.to_timedelta(steps, unit="s")
    frame = pd.DataFrame({"id": values})
    encoder = Encoder(["id"]).fit(frame)
    expected = (steps - steps.mean()) / steps.std()
    np.testing.assert_allclose(encoder.transform(frame)[:, 0], expected, rtol=1e-9)


def test_what_is_told_to_be_words_is_encoded_so() -> None:
    frame = FRAME[["street"]]
    assert len(Encoder(["street"], {"street": "category"}).fit(frame).features) == 61
    towns = Encoder(["town"], {"town": "text"}).fit(FRAME[["town"]])
    assert all(name.startswith("town_") for name in towns.features)
    assert towns.features != Encoder(["town"]).fit(FRAME[["town"]]).features


def test_missing_dates_have_the_median_and_an_indicator() -> None:
    frame = FRAME[["when"]].copy()
    frame.loc[::4, "when"] = pd.NaT
    encoder = Encoder(["when"]).fit(frame)
    assert "when_seconds missing" in encoder.features
    found = pd.DataFrame(encoder.transform(frame), columns=encoder.features)
    assert found.notna().all(axis=None)
    filled = frame.fillna(frame["when"].median())
    own = pd.DataFrame(Encoder(["when"]).fit(filled).transform(filled))
    np.testing.assert_allclose(found.drop(columns="when_seconds missing"), own, atol=1e-9)


def test_an_array_is_standardized_and_left_as_it_is() -> None:
    X = RNG.normal(size=(50, 3))
    before = X.copy()
    encoder = Encoder(["a", "b", "c"])
    np.testing.assert_array_equal(encoder.fit_transform(X), StandardScaler().fit_transform(X))
    np.testing.assert_array_equal(X, before)
    assert encoder.features == ("a", "b", "c")


def test_a_split_s_encoder_takes_new_rows() -> None:
    dataset = data.Dataset.from_arrays(FRAME, FRAME["rooms"] * 1.5)
    parts = data.split(dataset, seed=1)
    again = parts.encoder.transform(dataset.X.iloc[parts.test.rows])
    np.testing.assert_array_equal(again, parts.test.X)
    by_hand = FRAME.iloc[parts.test.rows].astype({"town": "str", "street": "str"})
    np.testing.assert_array_equal(parts.encoder.transform(by_hand), parts.test.X)
