"""Named sets: held against scikit-learn's own loaders and the published table."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pooch
import pytest
from sklearn import datasets

from thalweg import data
from thalweg.data import named

URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/00291/airfoil_self_noise.dat"


def test_the_import_loads_no_library_that_it_may_not_need() -> None:
    heavy = ["sklearn", "pyarrow", "pooch", "pandas", "skrub"]
    code = f"import sys, thalweg.data; print({{*{heavy}}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine", "iris"])
def test_bundled_classes_are_scikit_learns(name: str) -> None:
    theirs = getattr(datasets, f"load_{name}")()
    ours = data.load(name)
    np.testing.assert_array_equal(ours.X, theirs.data)
    np.testing.assert_array_equal(ours.y, theirs.target)
    assert ours.X.dtype == np.float64
    assert ours.y.dtype == np.int64
    assert ours.classes == tuple(map(str, theirs.target_names))
    assert ours.features == tuple(theirs.feature_names)
    assert ours.kind == ("binary" if name == "breast_cancer" else "multiclass")


def test_diabetes_is_the_raw_table() -> None:
    theirs = datasets.load_diabetes(scaled=False)
    ours = data.load("diabetes")
    np.testing.assert_array_equal(ours.X, theirs.data)
    np.testing.assert_array_equal(ours.y, theirs.target)
    assert ours.kind == "regression"
    assert ours.y.dtype == np.float64


@pytest.mark.skipif(
    "THALWEG_DATA" not in os.environ, reason="THALWEG_DATA does not name a folder with the data"
)
def test_airfoil_from_the_folder_is_the_published_table() -> None:
    airfoil = data.load("airfoil")
    assert airfoil.X.shape == (1503, 5)
    assert airfoil.features[0] == "frequency"
    assert airfoil.target == "sound_pressure"
    np.testing.assert_array_equal(airfoil.X[0], [800, 0, 0.3048, 71.3, 0.00266337])
    assert airfoil.y[0] == 126.201
    # Brooks, Pope & Marcolini 1989: the ranges that UCI's page gives
    assert (airfoil.X[:, 0].min(), airfoil.X[:, 0].max()) == (200, 20_000)
    assert (airfoil.y.min(), airfoil.y.max()) == (103.38, 140.987)


def test_airfoil_offline_names_the_address_and_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def offline(*_args: object, **_kwargs: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setenv("THALWEG_DATA", str(tmp_path))
    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(FileNotFoundError) as caught:
        data.load("airfoil")
    assert URL in str(caught.value)
    assert "THALWEG_DATA" in str(caught.value)


def test_airfoil_is_downloaded_checked_and_cached(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = b"".join(b"%d\t0\t0.3\t71.3\t0.002\t126.5\n" % i for i in range(12))
    downloads = []

    def download(url: str, output: str, _pooch: object) -> None:
        downloads.append(url)
        Path(output).write_bytes(content)

    monkeypatch.delenv("THALWEG_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda _name: tmp_path)
    monkeypatch.setattr("pooch.core.choose_downloader", lambda *_a, **_k: download)
    with pytest.raises(FileNotFoundError, match="THALWEG_DATA"):  # not the file it should be
        data.load("airfoil")
    monkeypatch.setattr(named, "_AIRFOIL_SHA256", hashlib.sha256(content).hexdigest())
    assert data.load("airfoil").X.shape == (12, 5)
    assert data.load("airfoil").y[0] == 126.5
    assert downloads == [URL, URL]  # the last load found the cached file


def test_airfoil_in_the_folder_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "airfoil_self_noise.dat").write_text("1\t2\t3\t4\t5\t6\n")
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"has the SHA-256 [0-9a-f]{64}, not 74c75fd7"):
        data.load("airfoil")


def test_unknown_name_lists_close_ones() -> None:
    message = (
        r"unknown data set 'digts'; did you mean digits, .*\? give .* path to a \.csv/\.parquet/\."
    )
    with pytest.raises(ValueError, match=message):
        data.load("digts")
    with pytest.raises(TypeError, match=r"a data set, got list; data\.Dataset\.from_arrays"):
        data.load([[1.0]])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'iris' has a target .* leave out target: for"):
        data.load("iris", target="class")
