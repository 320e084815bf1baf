"""A model in a file: new rows are read as those before were."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from thalweg import data
from thalweg.data import tables
from thalweg.linear import saved
from thalweg.linear.fitted import fit

N = 300
RNG = np.random.default_rng(0)
DAYS = np.datetime64("2024-01-01") + RNG.integers(0, 200, N)
TABLE = pa.table(
    {
        "town": pa.array(RNG.choice(["Bern", "Kiel"], N)),
        "size": pa.array(np.where(np.arange(N) % 9, RNG.normal(size=N), np.nan), from_pandas=True),
        "day": pa.array(DAYS),
        "y": pa.array(RNG.choice(["no", "yes"], N)),
    }
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> saved.Saved:
    y = TABLE["y"].to_numpy()
    found = fit(data.Dataset.from_arrays(TABLE.drop_columns("y"), y, target="y"))
    place = found.saved.write(tmp_path_factory.mktemp("model") / "m.model")
    read = saved.load(place)
    X = found.saved.encoder.transform(found.dataset.X)
    shares = read.predict(TABLE)["y is yes"]
    np.testing.assert_array_equal(shares, found.saved.estimator.predict_proba(X)[:, 1])
    return read


def test_new_rows_may_be_texts_lack_values_and_have_new_words(model: saved.Saved) -> None:
    few = TABLE.slice(0, 4)
    texts = pa.table({name: few[name].cast(pa.string()) for name in few.column_names})
    want, got = model.predict(few), model.predict(texts.drop_columns("y"))
    assert want["y"].tolist() == got["y"].tolist()
    np.testing.assert_allclose(want["y is no"], got["y is no"])
    town = pa.array(["Oslo", "Bern", None, "Kiel"])
    strange = model.features(few.set_column(0, "town", town).append_column("more", town))
    known = model.features(few)
    columns = [i for i, name in enumerate(model.encoder.features) if name.startswith("town")]
    zero = (0 - model.encoder.mean[columns]) / model.encoder.scale[columns]
    np.testing.assert_allclose(strange[0, columns], zero)
    rest = [i for i in range(known.shape[1]) if i not in columns]
    np.testing.assert_array_equal(strange[:, rest], known[:, rest])


def test_words_that_are_new_are_told(model: saved.Saved) -> None:
    town = pa.array(["Oslo", "Bern", None, "Kiel"])
    assert model.unseen(TABLE.slice(0, 4).set_column(0, "town", town)) == {"town": ["Oslo"]}
    assert model.unseen(TABLE) == {}
    many = [f"town {i % 50}" for i in range(N)]  # their parts are features, and of new ones too
    large = TABLE.drop_columns("y").set_column(0, "town", [many])
    assert fit(data.Dataset.from_arrays(large, range(N))).saved.unseen(TABLE) == {}


def test_what_the_model_needs_and_the_rows_lack_is_said(model: saved.Saved) -> None:
    with pytest.raises(ValueError, match="it has no column 'size', which the model needs; its"):
        model.predict(TABLE.drop_columns("size"))
    bad = TABLE.set_column(1, "size", pa.array(["1", "x"] * (N // 2)))
    with pytest.raises(ValueError, match="column 'size' row 2: 'x' is not a number, unlike those"):
        model.predict(bad)


def test_a_file_that_is_no_model_stays_and_is_not_read(tmp_path: Path, model: saved.Saved) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    with pytest.raises(FileExistsError, match="thalweg did not make it"):
        model.write(other)
    assert other.read_text() == "mine"
    with pytest.raises(ValueError, match="is no model of thalweg fit"):
        saved.load(other)
    other.write_bytes(saved.MARK + b"broken")
    with pytest.raises(ValueError, match="is broken or of other versions"):
        saved.load(other)


def test_arrays_are_read_by_the_names_of_their_columns() -> None:
    found = fit(data.load("iris")).saved
    iris: Any = data.load("iris")
    table = pa.table(dict(zip(iris.features, iris.X.T, strict=True)))
    answers = found.predict(table)
    assert (answers["class"] == np.array(iris.classes)[iris.y]).mean() > 0.95


@pytest.mark.parametrize(
    ("before", "new", "values"),
    [
        (["25/12/2023", "02/01/2024"], ["03/02/2024"], ["2024-02-03"]),
        (["1.234,50 €", "80 €"], ["1.234", "2.000 €"], [1234.0, 2000.0]),
        (["1.5", "2.25"], ["1.234"], [1.234]),
        (["1.5", "2.25"], ["1,5", "$3"], [1.5, 3.0]),
        (["€565K", "€1.2M"], ["€3K"], [3000.0]),
        (["12 kg", "15 kg"], ["2 kg", "12 g"], [2.0, 0.012]),
        (["TRUE", "FALSE"], ["FALSE", "true"], [0.0, 1.0]),
        (["7", "8"], ["", ""], [np.nan, np.nan]),
    ],
)
def test_new_rows_are_read_as_those_before_were(
    tmp_path: Path, before: list[str], new: list[str], values: list[Any]
) -> None:
    place = tmp_path / "rows.csv"
    cells = [f'"{before[i % 2]}","{i % 3}"' for i in range(30)]
    place.write_text("x,y\n" + "\n".join(cells))
    dataset = data.load(place, target="y", kind="regression")
    held = "date" if dataset.X["x"].dtype.kind == "M" else "number"
    frame = tables.encodable(
        pa.table({"x": new}), {"x": held}, dataset.options, comma=False, styles=dataset.styles
    )
    want = pd.Series(pd.to_datetime(values) if isinstance(values[0], str) else values)
    pd.testing.assert_series_equal(
        frame["x"].astype(want.dtype), want, check_names=False, check_index=False
    )


@pytest.mark.parametrize(
    ("before", "new", "message"),
    [
        (["45%", "50%"], pa.array(["0.45"]), "'0.45' is not in %, unlike those"),
        (["12 kg", "15 kg"], pa.array(["12 cm"]), "'12 cm' is not in kg, unlike those"),
        (["8.3k", "2.1k"], pa.array(["1.2M"]), "'1.2M' is not in k, unlike those that"),
        (["1", "2"], pa.array(DAYS[:1]), "type date32.*, and held numbers when the model was"),
        (["2024-01-05", "2024-01-06"], pa.array([1.5]), "double, and held dates when the model"),
    ],
)
def test_a_number_of_another_unit_is_refused(
    tmp_path: Path, before: list[str], new: pa.Array, message: str
) -> None:
    place = tmp_path / "rows.csv"
    place.write_text("x,y\n" + "\n".join(f"{before[i % 2]},{i % 3}" for i in range(30)))
    found = fit(data.load(place, target="y", kind="regression"))
    with pytest.raises(ValueError, match=message):
        found.saved.predict(pa.table({"x": new}))
