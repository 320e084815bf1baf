"""What a race's folder keeps of its data: the bits, or the file with its hash."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from thalweg import data
from thalweg.data import kept

X = np.random.default_rng(0).normal(size=(40, 3))
ARRAYS = data.Dataset.from_arrays(X, X[:, 0] * 2, name="mine")
FRAME = data.Dataset.from_arrays(
    pd.DataFrame({
        "size": [None, *range(1, 40)],
        "town": ["a", "b", None, "<i>"] * 10,
        "when": pd.date_range("2024-01-01", periods=40),
        "new": [True, False] * 20,
    }),
    ["yes", "no"] * 20,
    options=data.Options(types={"town": "text"}),
)  # fmt: skip


def table(path: Path) -> Path:
    path.write_text("a,b\n" + "".join(f"{i},{i * i % 7}.5\n" for i in range(20)))
    return path


def same(one: data.Dataset, two: data.Dataset) -> bool:
    return kept.fingerprint(one) == kept.fingerprint(two) and (
        {**vars(one), "X": 0, "y": 0} == {**vars(two), "X": 0, "y": 0}
    )


@pytest.mark.parametrize("dataset", [ARRAYS, FRAME, data.load("iris")], ids=["X", "frame", "iris"])
def test_data_beside_a_race_are_the_data(tmp_path: Path, dataset: data.Dataset) -> None:
    kept.save(dataset, tmp_path)
    restored = kept.restore(tmp_path)
    assert same(restored, dataset)
    np.testing.assert_array_equal(data.split(restored).test.X, data.split(dataset).test.X)


def test_float32_is_kept_where_it_is_enough(tmp_path: Path) -> None:
    single = data.Dataset.from_arrays(X.astype(np.float32), X[:, 0])
    kept.save(single, tmp_path)
    assert same(kept.restore(tmp_path), single)
    with np.load(tmp_path / "data.npz") as arrays:
        assert arrays["X"].dtype == np.float32


def test_of_a_file_its_place_and_hash_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "t.csv")
    race = tmp_path / "race"
    race.mkdir()
    dataset = data.load("t.csv", target="b", drop=(), na=["-9"], decimal=".")
    kept.save(dataset, race)
    assert [path.name for path in race.iterdir()] == ["data.json"]
    monkeypatch.chdir(race)
    assert same(kept.restore(race), dataset)
    with (tmp_path / "t.csv").open("a") as file:
        file.write("1,2\n")
    with pytest.raises(ValueError, match=r"t.csv has changed since the race began; put it back"):
        kept.restore(race)
    (tmp_path / "t.csv").unlink()
    with pytest.raises(ValueError, match=r"t.csv, with which the race began, does not exist"):
        kept.restore(race)


def test_a_folder_of_parts_has_a_hash_too(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    table(parts / "1.csv")
    table(parts / "2.csv")
    dataset = data.load(parts, target="b")
    kept.save(dataset, tmp_path)
    assert same(kept.restore(tmp_path), dataset)
    (parts / "2.csv").rename(parts / "3.csv")
    with pytest.raises(ValueError, match="has changed since the race began"):
        kept.restore(tmp_path)


@pytest.mark.parametrize(("dataset", "name"), [(ARRAYS, "data.npz"), (FRAME, "data.parquet")])
def test_damaged_data_are_a_sentence_with_the_remedy(
    tmp_path: Path, dataset: data.Dataset, name: str
) -> None:
    kept.save(dataset, tmp_path)
    path = tmp_path / name
    whole = path.read_bytes()
    for content in (b"", b"nonsense", whole[:500], whole[:-40]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{path} is damaged \(.*\); restore it, or repeat"):
            kept.restore(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="does not exist; restore it, or repeat"):
        kept.restore(tmp_path)


FOREIGN: list[Any] = [
    "[]", "{}", '{"loaded": 5}', '{"loaded": "no set"}', '{"loaded": "iris", "more": 1}',
    '{"loaded": "a", "path": "relative.csv", "sha256": ""}',
]  # fmt: skip


@pytest.mark.parametrize("text", FOREIGN)
def test_a_foreign_record_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(ValueError, match=r"is damaged|does not exist; put it back"):
        kept.restore(tmp_path)


def test_a_record_never_waits_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    record = f'{{"loaded": "x", "path": "{tmp_path / "pipe"}", "sha256": ""}}'
    (tmp_path / "data.json").write_text(record)
    with pytest.raises(ValueError, match="does not exist; put it back"):
        kept.restore(tmp_path)
