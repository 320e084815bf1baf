"""The page about a fitted model."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from thalweg import data
from thalweg.linear import page
from thalweg.linear.fitted import fit


def test_the_page_shows_the_loss_the_weights_and_the_calibration(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"<b>bold</b>": rng.normal(size=60), "plain": rng.normal(size=60)})
    fitted = fit(data.Dataset.from_arrays(frame, np.where(frame["plain"] > 0, "up", "down")))
    place = page.write(tmp_path / "model.html", fitted)
    text = place.read_text()
    assert page.write(place, fitted) == place  # its own is replaced
    assert "<b>bold" not in text
    assert fitted.sentence in text
    for title in ("Loss against rows seen", "Largest weights", "Calibration"):
        assert text.count(f'aria-label="{title}, ') == 2
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")
    place.write_text("mine")
    with pytest.raises(FileExistsError, match="thalweg did not make it"):
        page.write(place, fitted)


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (["no", "yes"], "speaks for yes where it is high"),
        (["a", "b", "c"], "speaks for the class behind the arrow where it is high"),
        (np.linspace(0, 1, 7), "speaks for a larger price where it is high"),
    ],
)
def test_the_page_says_what_a_bar_speaks_for(tmp_path: Path, y: Any, said: str) -> None:
    x = np.tile(np.arange(float(len(y))), 60 // len(y))
    fitted = fit(
        data.Dataset.from_arrays(
            pd.DataFrame({"size": x}), np.tile(y, 60 // len(y)), target="price"
        )
    )
    name, weight = max(fitted.weights, key=lambda one: one[1])
    assert weight > 0
    assert name.removesuffix(" → c") == "size"
    assert said in " ".join(page.write(tmp_path / "model.html", fitted).read_text().split())
