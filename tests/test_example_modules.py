"""The files of examples/ that a user would write: digits_mlp.py, mnist_lenet.py, text.py."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from thalweg.rules import get
from thalweg.stack import Examples
from thalweg.tasks.modules import ModuleTask
from thalweg.tasks.task import Lane

pytestmark = pytest.mark.usefixtures("one_thread")

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Import from examples/ as it is, without MNIST."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path))

    def load(name: str) -> ModuleType:
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return load


@pytest.mark.parametrize(
    ("file", "given", "least"),  # of the accuracy: ten digits are equally frequent
    [("digits_mlp.py", {}, 0.5), ("mnist_lenet.py", {"images": 400}, 0.3), ("text.py", {}, 0.5)],
)
def test_they_learn(file: str, given: dict[str, int], least: float, examples: Any) -> None:
    task = ModuleTask(examples(Path(file).stem).task(**given), 0)
    task.lanes = 2
    adam = get("adam")
    rates = adam.defaults | {"lr": 0.003}
    lanes = task.run([Lane(adam, rates, 0, 32, 5)], should_stop=lambda: False)
    assert lanes.judge()[1] > least


def test_the_text_example_pads_and_has_every_package(examples: Any) -> None:
    text = examples("text")
    parts = Examples.of(text.task()).draw(0)
    words, packages = parts.train
    assert words.shape[1] == text.WORDS
    assert packages.unique().tolist() == [0, 1, 2, 3, 4]
    assert 0 < (words == 0).float().mean() < 0.5  # what is padded


def test_lenet_keeps_the_test_images_apart(examples: Any) -> None:
    parts = Examples.of(examples("mnist_lenet").task(images=100)).draw(0)
    assert parts.sizes == {"train": 68, "validation": 12, "test": 20}
