"""The examples run as a stranger runs them, and what they print is held against an oracle."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import platformdirs
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression

from thalweg import data, linear, rules

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "common")

# All but plain, accelerated and averaged SGD divide by, or take the sign of, what they have seen.
ADAPTIVE = [
    "adagrad", "rmsprop", "centered_rmsprop", "rmsprop_momentum", "adadelta", "adam", "amsgrad",
    "adamw", "adamax", "nadam", "radam", "yogi", "adabelief", "lion", "rprop",
]  # fmt: skip

Array = NDArray[Any]


def run(name: str, folder: Path, **environment: str) -> str:
    """Run an example without network; check its picture and return what it printed."""
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    picture = folder / f"{name}.png"
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{name}.py", "--quick", "--out", picture],
        env={**os.environ, **nowhere, "MPLBACKEND": "Agg", "PYTHONUTF8": "1", **environment},
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pixels = matplotlib.image.imread(picture)
    assert min(pixels.shape[:2]) > 500
    assert pixels[..., :3].std() > 0.05, "the picture is blank"
    return done.stdout


@pytest.fixture(scope="module")
def printed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return run(request.param, tmp_path_factory.mktemp(request.param))


def example(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("printed", [name], indirect=True)


def number(pattern: str, text: str) -> float:
    found = re.search(pattern.replace("#", r"(-?[\d.]+(?:e[-+]?\d+)?)"), text)
    assert found, f"{pattern} is not in:\n{text}"
    return float(found[1])


def table(text: str, first_word: str) -> list[list[str]]:
    """Return the cells of the lines that begin with such a word."""
    return [line.split() for line in text.splitlines() if re.match(rf" *{first_word}\b", line)]


def whitened(text: str) -> tuple[Array, Array, float]:
    """Return the data that an example says it used, and the least loss, by scikit-learn."""
    name = "airfoil" if text.startswith("airfoil:") else "diabetes"
    dataset = data.load(name)
    X = (dataset.X - dataset.X.mean(axis=0)) / dataset.X.std(axis=0)
    y = (dataset.y - dataset.y.mean()) / dataset.y.std()
    X, y = X[:1500], y[:1500]
    return X, y, 0.5 * float(np.mean((LinearRegression().fit(X, y).predict(X) - y) ** 2))


def losses_of_sgd(X: Array, y: Array, batch_size: int, lr: float, epochs: int) -> list[float]:
    """Return the loss after each epoch of SGD in the order of the rows."""
    A, w, losses = np.column_stack([X, np.ones(len(X))]), np.zeros(X.shape[1] + 1), []
    for _ in range(epochs):
        for first in range(0, len(A), batch_size):
            rows = slice(first, first + batch_size)
            w = w - lr * A[rows].T @ (A[rows] @ w - y[rows]) / len(A[rows])
        losses.append(0.5 * float(np.mean((A @ w - y) ** 2)))
    return losses


@example("minibatches")
def test_standard_error_falls_as_the_root_of_the_batch_size(printed: str) -> None:
    X, y, least = whitened(printed)
    assert number("least loss #", printed) == pytest.approx(least, abs=1e-4)
    n = len(X)
    gradients = -y[:, None] * np.column_stack([X, np.ones(n)])
    sigma = math.sqrt(gradients.var(axis=0).sum())
    assert number("σ of one example's = #", printed) == pytest.approx(sigma, abs=1e-3)
    assert number("to the power #", printed) == pytest.approx(-0.5, abs=0.05)
    assert number("exact: error #", printed) < 1e-12
    rows = table(printed, r"\d+")
    assert len(rows) >= 9
    for row in rows:
        batch_size = int(row[0])
        measured, expected, measured_without, expected_without, bias = map(float, row[-5:])
        assert expected == pytest.approx(sigma / math.sqrt(batch_size), abs=1e-3)
        left = math.sqrt((n - batch_size) / (n - 1))
        assert expected_without == pytest.approx(sigma / math.sqrt(batch_size) * left, abs=1e-3)
        # 100 draws and more; the fewer examples in each, the heavier the tails
        share = 0.3 if batch_size < 10 else 0.15
        assert measured == pytest.approx(expected, rel=share)
        assert measured_without == pytest.approx(expected_without, rel=share, abs=1e-9)
        assert bias < 3


@example("sampling")
def test_replacement_misses_one_in_e_and_sequential_is_sgd_in_order(printed: str) -> None:
    rows = {row[0]: [float(cell) for cell in row[1:]] for row in table(printed, "[a-z]+ +0")}
    assert list(rows) == ["shuffle", "replacement", "sequential"]
    assert rows["replacement"][0] == pytest.approx(1 / math.e, abs=0.02)
    assert rows["shuffle"][0] == rows["sequential"][0] == 0
    X, y, least = whitened(printed)
    for lr, excess in zip((0.003, 0.01, 0.03, 0.1), rows["sequential"][1:], strict=True):
        losses = losses_of_sgd(X, y, 10, lr, epochs=20)
        expected = 100 * (np.median(losses[-10:]) / least - 1)
        assert excess == pytest.approx(expected, rel=1e-3, abs=2e-3)
    # at a rate where noise decides, a fresh order each epoch leaves less of it
    assert rows["shuffle"][2] < rows["replacement"][2]


@example("batch_size")
def test_the_advice_is_the_batch_size_whose_time_to_the_target_is_least(printed: str) -> None:
    X, y, least = whitened(printed)
    rows = [[float(cell) for cell in row] for row in table(printed, r"\d+")]
    assert [row[0] for row in rows] == [1, 10, 100, len(X)]
    for _, _, milliseconds, epochs, total, _ in rows:
        assert total == pytest.approx(milliseconds * epochs, rel=0.01, abs=1e-3)
    first = min(rows, key=lambda row: row[4])
    assert number("batch size # reaches the target first", printed) == first[0]
    assert first[5] <= 1
    # gradient descent does not depend on the order of rows: count its epochs again
    _, lr, _, epochs, _, _ = rows[-1]
    losses = losses_of_sgd(X, y, len(X), lr, epochs=30)
    assert epochs == 1 + next(i for i, loss in enumerate(losses) if loss <= 1.01 * least)
    for name in ("element", "column", "block of 64", "whole"):
        assert number(f"\n{name} +#", printed) > 0


@example("airfoil")
def test_every_rule_is_in_the_table_the_closest_to_least_squares_first(printed: str) -> None:
    _, _, least = whitened(printed)
    assert number("least loss #", printed) == pytest.approx(least, abs=1e-4)
    built_in = [name for name in rules.names("element-wise") if name in rules.__all__]
    rows = [row for row in table(printed, "[a-z_]+") if row[0] in built_in]
    assert sorted(row[0] for row in rows) == sorted(built_in)
    excess = [float(row[3]) for row in rows]
    assert excess == sorted(excess)
    assert min(excess) > -0.01
    for row in rows:
        assert float(row[5]) > 0
        if printed.startswith("airfoil:"):
            assert float(row[3]) < 1
            assert 1 <= int(row[4]) <= 20


@example("own_rule")
def test_a_rule_of_ones_own_descends_compiles_and_races(printed: str) -> None:
    x, m = [-5.0, -2.0], [0.0, 0.0]
    for step in range(20):
        g = [2 * x[0], 4 * x[1]]
        m = [0.5 * a + 0.5 * b for a, b in zip(m, g, strict=True)]
        x = [a - math.copysign(1, b) / math.sqrt(step + 1) for a, b in zip(x, m, strict=True)]
    assert number("f = 33 to #", printed) == pytest.approx(x[0] ** 2 + 2 * x[1] ** 2, abs=1e-4)
    assert number("apart by #", printed) < 1e-5
    for rule in ("signum", "sgd", "adam"):
        assert number(f"{rule} +in 49 lanes:  best validation loss #", printed) < 0.2
    assert re.search(r"race:\nTake (signum|sgd|adam), lr ", printed)
    assert {
        row[0] for row in re.findall(r"(?m)^(?:★ |= )?(signum|sgd|adam)( +[\d.]+)", printed)
    } == {"signum", "sgd", "adam"}


def test_without_airfoil_diabetes_stands_in_and_says_so(tmp_path: Path) -> None:
    kernels = os.environ.get("THALWEG_CACHE") or platformdirs.user_cache_dir("thalweg")
    caches = {"XDG_CACHE_HOME": str(tmp_path), "THALWEG_CACHE": kernels}
    printed = run("sampling", tmp_path, THALWEG_DATA=str(tmp_path), **caches)
    assert printed.startswith("diabetes stands in for airfoil:")
    assert "THALWEG_DATA" in printed
    assert "diabetes: 442 examples, 10 features" in printed


def test_every_example_is_tested() -> None:
    files = Path(__file__).parent.glob("test_example*.py")
    tested = "".join(path.read_text(encoding="utf-8") for path in files)
    missing = [n for n in NAMES if f'@example("{n}")' not in tested and f'"{n}.py"' not in tested]
    assert missing == []


@pytest.mark.parametrize("rule", ADAPTIVE)
def test_every_adaptive_rule_comes_within_1_percent_of_least_squares(rule: str) -> None:
    folder = os.environ.get("THALWEG_DATA")
    if not folder or not Path(folder, "airfoil_self_noise.dat").exists():
        pytest.skip("THALWEG_DATA names no folder with airfoil_self_noise.dat")
    X, y, least = whitened("airfoil:")
    rates = np.geomspace(1e-5, 10, 49).tolist()
    batch_size = len(X) if rule == "rprop" else 10  # it is meant for full gradients
    fit = linear.train(X, y, rule=rule, epochs=20, batch_size=batch_size, lr=rates)
    # in float64 from the parameters, so that the loss that training reports is checked as well
    residuals = X @ fit.coef[:, 0].T.astype(float) + fit.intercept[:, 0] - y[:, None]
    with np.errstate(all="ignore"):  # lanes at rates that are too high have diverged
        losses = 0.5 * np.mean(residuals**2, axis=0)
    best = int(np.nanargmin(fit.train_loss[-1]))
    assert fit.train_loss[-1, best] == pytest.approx(losses[best], rel=1e-5)
    assert least * (1 - 1e-9) <= losses[best] <= 1.01 * least
