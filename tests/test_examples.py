"""The examples run, and each asserts what it shows; what takes seconds runs in `make docs`."""

import ast
import os
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from sklearn.linear_model import LinearRegression

from thalweg import data, linear

EXAMPLES = Path(__file__).parents[1] / "examples"
PAGES = {path.stem: path for path in sorted(EXAMPLES.glob("*/*.py"))}
DEAR = {
    "adadelta_rate", "airfoil", "batch_size", "double_descent", "edge_of_stability", "lenet",
    "minibatches", "muon",
    "own_whole_rules", "plateau", "race", "rate", "sensitivity", "shapes", "start", "wiring",
}  # fmt: skip

# All but plain, accelerated and averaged SGD divide by, or take the sign of, what they have seen.
ADAPTIVE = [
    "adagrad", "rmsprop", "centered_rmsprop", "rmsprop_momentum", "adadelta", "adam", "amsgrad",
    "adamw", "adamax", "nadam", "radam", "yogi", "adabelief", "lion", "rprop",
]  # fmt: skip


@pytest.fixture
def _figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Draw nowhere, and close what is left."""
    monkeypatch.setattr(mpl, "rcParams", mpl.rcParams.copy())
    plt.switch_backend("agg")
    plt.close("all")
    yield
    plt.close("all")


@pytest.mark.usefixtures("_figures", "one_thread")
@pytest.mark.parametrize("name", sorted(PAGES.keys() - DEAR))
def test_an_example_shows_what_it_says(name: str) -> None:
    runpy.run_path(str(PAGES[name]), run_name="__main__")
    (number,) = plt.get_fignums()
    assert all(ax.has_data() for ax in plt.figure(number).axes)


@pytest.mark.parametrize("name", PAGES)
def test_an_example_fits_a_page_and_asserts(name: str) -> None:
    text = PAGES[name].read_text(encoding="utf-8")
    assert len([line for line in text.splitlines() if line]) <= 60  # but for blank lines
    title, line = text.splitlines()[1:3]
    assert line == "=" * len(title)
    steps = {
        node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else
        type(node).__name__
        for node in ast.walk(ast.parse(text))
    }  # fmt: skip
    assert steps & {"Assert", "assert_allclose"}


def test_every_folder_is_a_section_of_the_gallery() -> None:
    assert PAGES.keys() >= DEAR
    conf = (EXAMPLES.parent / "docs" / "conf.py").read_text(encoding="utf-8")
    (sections,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(conf).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SECTIONS"
    )
    assert sorted(sections) == sorted({path.parent.name for path in PAGES.values()})
    assert all((EXAMPLES / name / "GALLERY_HEADER.rst").exists() for name in sections)


def whitened_airfoil() -> tuple[Any, Any, float]:
    """Return the first 1,500 rows, and the least loss, by scikit-learn."""
    dataset = data.load("airfoil")
    X = ((dataset.X - dataset.X.mean(axis=0)) / dataset.X.std(axis=0))[:1500]
    y = ((dataset.y - dataset.y.mean()) / dataset.y.std())[:1500]
    return X, y, 0.5 * float(np.mean((LinearRegression().fit(X, y).predict(X) - y) ** 2))


@pytest.mark.parametrize("rule", ADAPTIVE)
def test_every_adaptive_rule_comes_within_1_percent_of_least_squares(rule: str) -> None:
    folder = os.environ.get("THALWEG_DATA")
    if not folder or not Path(folder, "airfoil_self_noise.dat").exists():
        pytest.skip("THALWEG_DATA names no folder with airfoil_self_noise.dat")
    X, y, least = whitened_airfoil()
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
