"""The LeNet benchmark runs as a stranger runs it: torch's classes and the data are its oracles."""

import math
import os
import runpy
import sys
from pathlib import Path

import pytest

from thalweg import optim

EXAMPLE = Path(__file__).parents[1] / "benchmarks" / "lenet.py"
IMAGES = "t10k-images-idx3-ubyte.gz"


# LeNet has vectors, which Muon does not take.
CLASSES = {n for n in optim.__all__ if isinstance(getattr(optim, n), type)} - {
    "LBFGS",
    "Muon",
    "Optimizer",
    "SparseAdam",
}


def rows(printed: str) -> dict[str, list[str]]:
    """Return the cells of each class: lr; loss, accuracy and seconds of ours, then of torch's."""
    cells = [[c.strip() for c in line.split("│")[1:-1]] for line in printed.splitlines()]
    return {row[0]: row[1:] for row in cells if row}


def check(printed: str) -> None:
    found = rows(printed)
    assert {title.split()[0] for title in found} == CLASSES
    for loss, accuracy, seconds, *theirs in (row[1:] for row in found.values()):
        assert float(loss) < math.log(10)  # what knowing nothing costs
        assert 0 <= float(accuracy) <= 1
        assert float(seconds) > 0
        if theirs[0]:
            assert float(loss) == pytest.approx(float(theirs[0]), abs=2e-3)
            assert float(accuracy) == pytest.approx(float(theirs[1]), abs=0.011)
    assert [title for title, row in found.items() if not row[4]] == [
        "Yogi", "AdaBelief", "Lion", "Descent nesterov",
    ]  # fmt: skip
    assert max(float(row[2]) for row in found.values()) > 0.75


def test_it_reads_mnist(capsys: pytest.CaptureFixture[str]) -> None:
    folder = os.environ.get("THALWEG_DATA")
    if not folder or not Path(folder, IMAGES).exists():
        pytest.skip(f"THALWEG_DATA names no folder with {IMAGES}")
    images, digits, test_images, test_digits = runpy.run_path(str(EXAMPLE))["load"](100)
    said = "MNIST's test images: 80 to train on, 20 to test with"
    assert capsys.readouterr().out.startswith(said)
    assert (len(digits), len(test_digits)) == (80, 20)
    assert {*digits.tolist(), *test_digits.tolist()} == set(range(10))
    assert images.shape == (80, 1, 28, 28)
    assert test_images.shape == (20, 1, 28, 28)
    assert images.mean().item() == pytest.approx(0, abs=1e-5)
    assert images.std().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("one_thread")
def test_each_class_learns_as_torch_does_and_digits_stand_in_for_mnist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["lenet.py", "--epochs", "1", "--images", "500"])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed.startswith("scikit-learn's digits stand in for MNIST:")
    assert IMAGES in printed.splitlines()[0]
    assert "digits: 400 to train on, 100 to test with" in printed
    check(printed)
