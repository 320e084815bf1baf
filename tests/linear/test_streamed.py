"""Training on streams: from every source alike, killed and taken up, by many workers."""

import copy
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
from sklearn.datasets import dump_svmlight_file
from sklearn.metrics import log_loss

from thalweg.data.blocks import shards
from thalweg.linear import LinearClassifier, LinearRegressor
from thalweg.linear.streamed import Place, Stream

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2000, 4)).round(4)
Z = X @ [1, -1, 0.5, 0] + 3
LABELS = np.where(RNG.random(2000) < 1 / (1 + np.exp(3 - Z)), "yes", "no")
TABLE = pa.table({**{f"x{j}": X[:, j] for j in range(4)}, "y": Z})


def test_all_sources_teach_the_same(tmp_path: Path) -> None:
    pyarrow.csv.write_csv(TABLE, tmp_path / "a.csv")
    pyarrow.parquet.write_table(TABLE, tmp_path / "a.parquet")
    pyarrow.feather.write_feather(TABLE, tmp_path / "a.feather")
    dump_svmlight_file(X, Z, str(tmp_path / "a.txt"))
    streamed: Any = LinearRegressor(random_state=0).fit_stream([(X, Z)])
    for source in ("a.csv", "a.parquet", "a.feather"):
        other = LinearRegressor(random_state=0).fit_stream(tmp_path / source, target="y")
        np.testing.assert_allclose(other.coef_, streamed.coef_, rtol=1e-6)
        assert other.encoding_.numbers == ("x0", "x1", "x2", "x3")
    sparse = LinearRegressor(random_state=0).fit_stream(tmp_path / "a.txt")
    np.testing.assert_allclose(sparse.coef_, [1, -1, 0.5, 0], atol=0.02)
    np.testing.assert_allclose(streamed.coef_, [1, -1, 0.5, 0], atol=0.02)


def test_windows_hold_every_row_once_in_an_order_of_their_own() -> None:
    blocks = [(X[i : i + 100], Z[i : i + 100]) for i in range(0, 2000, 100)]
    windows = list(Stream(shards(blocks), None, 250, 0).windows(Place()))
    assert [len(y) for _, (_, y, _) in windows] == [300] * 6 + [200]
    for i, (_, (rows, y, _)) in enumerate(windows):
        own = slice(300 * i, 300 * i + 300)
        assert sorted(y) == sorted(Z[own])
        assert (y != Z[own]).any()
        np.testing.assert_allclose(rows @ [1, -1, 0.5, 0] + 3, y)
    assert windows[0][1][1][:3].tolist() != windows[1][1][1][:3].tolist()


KILLED = """
import os, signal, sys
from thalweg.linear import LinearRegressor

def window(model):
    if model.rows_seen_ > 3000:  # in the second pass
        os.kill(os.getpid(), signal.SIGKILL)

LinearRegressor(max_iter=2, random_state=0).fit_stream(
    sys.argv[1], target="y", window=500, checkpoint=sys.argv[2], checkpoint_every=0,
    on_window=window,
)
"""


def test_a_training_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    source, checkpoint = tmp_path / "a.feather", tmp_path / "kept"
    pyarrow.feather.write_feather(TABLE, source, chunksize=250)
    arguments: dict[str, Any] = {"target": "y", "window": 500}
    whole: Any = LinearRegressor(max_iter=2, random_state=0).fit_stream(source, **arguments)
    ended = subprocess.run([sys.executable, "-c", KILLED, source, checkpoint], check=False)
    assert ended.returncode == -signal.SIGKILL
    windows: list[int] = []
    model = LinearRegressor(max_iter=2, random_state=0)
    model.fit_stream(
        source, **arguments, checkpoint=checkpoint,
        on_window=lambda model: windows.append(model.rows_seen_),
    )  # fmt: skip
    assert windows == [4000]
    np.testing.assert_array_equal(model.coef_, whole.coef_)
    assert model.stream_curve_ == whole.stream_curve_
    again = LinearRegressor(max_iter=2, random_state=0)
    again.fit_stream(source, **arguments, checkpoint=checkpoint, on_window=windows.append)
    assert len(windows) == 1  # it had ended
    np.testing.assert_array_equal(again.coef_, whole.coef_)
    with pytest.raises(ValueError, match="is of another training: settings, source"):
        LinearRegressor(alpha=0.1).fit_stream(source, **arguments, checkpoint=checkpoint)
    with pytest.raises(FileExistsError, match="thalweg did not make it"):
        model.fit_stream(source, **arguments, checkpoint=source)


def parts(folder: Path) -> Path:
    for i in range(4):
        pyarrow.parquet.write_table(TABLE[i * 500 : i * 500 + 500], folder / f"{i}.parquet")
    return folder


@contextmanager
def dask() -> Iterator[None]:
    distributed = pytest.importorskip("distributed")
    settings: dict[str, Any] = {
        "threads_per_worker": 1,
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": 50,
    }
    settings |= {"processes": False, "protocol": "tcp://"}  # threads that send what they compute
    with (
        distributed.LocalCluster(n_workers=2, **settings) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        yield


@pytest.mark.filterwarnings("ignore")
def test_workers_of_dask_find_the_average_of_what_each_finds_alone(tmp_path: Path) -> None:
    own: dict[str, Any] = {"target": "y", "interval": 500, "n_jobs": 2}
    with dask():
        model = LinearRegressor(random_state=0).fit_stream(parts(tmp_path), **own)
    # By hand: file 0 begins; then worker one has file 2, and worker two files 1 and 3.
    first, second = (
        Stream(shards([tmp_path / f"{i}.parquet" for i in files]), model.encoding_, 1 << 16, seed)
        for seed, files in enumerate(((0, 2), (1, 3)))
    )
    (_, one), (_, three) = first.windows(Place())
    (_, two), (_, four) = second.windows(Place())
    by_hand: Any = LinearRegressor(random_state=0).partial_fit(*one[:2])
    for left, right in ((three, two), (None, four)):
        copies = [copy.deepcopy(by_hand).partial_fit(*rows[:2]) for rows in (left, right) if rows]
        by_hand._average([(each, 500) for each in copies])
    np.testing.assert_array_equal(model.coef_, by_hand.coef_)
    assert model.rows_seen_ == 2000
    np.testing.assert_allclose(model.coef_, [1, -1, 0.5, 0], atol=0.02)


def test_classes_weigh_the_same_by_the_labels_that_have_come() -> None:
    rare = LABELS == "yes"
    rows = np.flatnonzero(~rare | (np.arange(2000) % 10 == 0))
    blocks = [(X[part], LABELS[part]) for part in np.array_split(rows, 8)]
    settings: dict[str, Any] = {"max_iter": 2, "random_state": 0}
    plain, balanced = (
        LinearClassifier(class_weight=weight, **settings).fit_stream(blocks, window=300)
        for weight in (None, "balanced")
    )
    whole = LinearClassifier(class_weight="balanced").fit(X[rows], LABELS[rows])
    means = [model.predict_proba(X)[:, 1].mean() for model in (plain, balanced, whole)]
    assert abs(means[1] - means[2]) < 0.05 < means[2] - means[0]


def test_a_classifier_says_what_it_has_not_seen() -> None:
    blocks = [(X[:1000], LABELS[:1000]), (X[1000:], np.full(1000, "perhaps"))]
    with pytest.raises(ValueError, match="got \\['perhaps'\\]; classes must name all"):
        LinearClassifier().fit_stream(blocks, window=500)
    names = ["no", "perhaps", "yes"]
    model: Any = LinearClassifier().fit_stream(blocks, window=500, classes=names)
    assert model.classes_.tolist() == names
    table = pa.table({"x": X[:, 0], "y": LABELS})
    with pytest.raises(ValueError, match="target must name the column to predict, one of x, y"):
        LinearClassifier().fit_stream([table])
    with pytest.raises(ValueError, match="target is for tables"):
        LinearClassifier().fit_stream(blocks, target="y")
    with pytest.raises(ValueError, match="source has no rows"):
        LinearClassifier().fit_stream([])


def test_a_stream_is_learned_nearly_as_well_as_what_is_in_memory() -> None:
    blocks = [(X[i : i + 100], LABELS[i : i + 100]) for i in range(0, 1500, 100)]
    streamed: Any = LinearClassifier(random_state=0).fit_stream(blocks, window=300)
    exact = LinearClassifier().fit(X[:1500], LABELS[:1500])
    found, best = (
        log_loss(LABELS[1500:], model.predict_proba(X[1500:])) for model in (streamed, exact)
    )
    assert found < 1.05 * best
    rows, losses = zip(*streamed.stream_curve_, strict=True)
    assert rows == (300, 600, 900, 1200, 1500)
    assert losses[0] > losses[-1]
