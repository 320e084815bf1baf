"""The page about a fitted model."""

from pathlib import Path

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
