"""Blocks: what a source holds, from every place on, and what is refused."""

import gzip
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
from scipy.sparse import csr_array, vstack
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from thalweg.data import blocks
from thalweg.data.blocks import first_of, shards

TABLE = pa.table(
    {
        "a": np.arange(5000) / 7,
        "b": [None if i % 50 == 3 else f"w{i % 9}" for i in range(5000)],
        "c": np.arange(5000) % 2 == 0,
    }
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_ROWS", 700)
    monkeypatch.setattr(blocks, "_BYTES", 20_000)
    monkeypatch.setattr(blocks, "_HEAD", 5_000)


def written(folder: Path, kind: str) -> Path:
    path = folder / f"table.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(TABLE, path, row_group_size=1500)
    elif kind == "feather":
        pyarrow.feather.write_feather(TABLE, path, chunksize=900)
    else:
        pyarrow.csv.write_csv(TABLE, folder / "table.csv")
    if kind == "csv.gz":
        path.write_bytes(gzip.compress((folder / "table.csv").read_bytes()))
    return path


@pytest.mark.parametrize("kind", ["parquet", "feather", "csv", "csv.gz"])
def test_a_file_is_read_whole_and_from_every_place_between_two_blocks(
    kind: str, tmp_path: Path
) -> None:
    (shard,) = shards(written(tmp_path, kind))
    read = list(shard.read(0))
    assert len(read) > 4
    whole = pa.concat_tables([block for _, block in read])
    assert whole.cast(TABLE.schema).equals(TABLE)
    assert first_of(shard).equals(read[0][1])
    for i, (place, _) in enumerate(read):
        rest = [block for _, block in shard.read(place)]
        assert len(rest) == len(read) - i - 1
        assert all(a.equals(b) for a, (_, b) in zip(rest, read[i + 1 :], strict=True))


def test_parts_in_libsvm_form_have_the_columns_that_scikit_learn_finds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = csr_array(rng.normal(size=(900, 30)) * (rng.random((900, 30)) < 0.2))
    X.data = X.data.round(3)
    for i, part in enumerate((X[:500], X[500:, :29])):
        dump_svmlight_file(
            part, np.arange(part.shape[0]) % 2, str(tmp_path / f"{i}"), zero_based=False
        )
    found = [block for shard in shards(tmp_path) for _, block in shard.read(0)]
    assert len(found) > 2
    expected = [load_svmlight_file(str(tmp_path / f"{i}"), n_features=30) for i in range(2)]
    np.testing.assert_array_equal(
        vstack([x for x, _ in found]).toarray(), vstack([x for x, _ in expected]).toarray()
    )
    np.testing.assert_array_equal(
        np.concatenate([y for _, y in found]), np.concatenate([y for _, y in expected])
    )


def test_an_iterable_is_read_again_if_it_can_be() -> None:
    batches = TABLE.to_batches(max_chunksize=2000)
    for source in (batches, lambda: iter(batches)):
        (shard,) = shards(source)
        assert [place for place, _ in shard.read(0)] == [1, 2, 3]
        assert [block.num_rows for _, block in shard.read(1)] == [2000, 1000]

    def once() -> Iterator[Any]:
        yield from batches

    (shard,) = shards(once())
    assert first_of(shard).num_rows == 2000
    assert len(list(shard.read(0))) == 3
    with pytest.raises(ValueError, match="source can be read once alone: give a function"):
        list(shard.read(0))


def test_frames_are_tables() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", None]}, index=[7, 7])
    for block in (frame, pl.DataFrame({"a": [1.0, 2.0], "b": ["x", None]})):
        table = first_of(shards([block])[0])
        assert table.to_pydict() == {"a": [1.0, 2.0], "b": ["x", None]}


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        shards(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="has no file"):
        shards(tmp_path)
    with pytest.raises(TypeError, match=r"source must be a path, .* got int"):
        shards(7)
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n" + "1,2\n" * 6000 + "x,2\n")
    with pytest.raises(ValueError, match=re.escape(f"{bad}, in the lines after byte")):
        list(shards(bad)[0].read(0))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", "a,b\n1,2\n")
    with pytest.raises(ValueError, match="packed in a way that cannot be streamed; unpack it"):
        shards(tmp_path / "a.zip")
    (tmp_path / "a.json").write_text('[{"a": 1}]')
    with pytest.raises(ValueError, match="it is JSON"):
        shards(tmp_path / "a.json")
    spaced = tmp_path / "spaced.txt"
    spaced.write_text("a  b\n1  2\n3  4\n")
    with pytest.raises(ValueError, match="columns between spaces cannot be streamed"):
        shards(spaced)
