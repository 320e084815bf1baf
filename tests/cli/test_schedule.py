"""thalweg schedule: the Python that makes one, and its values."""

from pathlib import Path

import numpy as np
import pytest

from cli.output import said
from thalweg import schedules


@pytest.mark.parametrize(
    "words",
    [
        "constant", "inverse_time", "inverse_sqrt", "polynomial", "linear", "cosine", "one_cycle",
        "exponential --decay 0.01", "step --every 30 --factor 0.5", "warm_restarts --period 10",
        "piecewise_constant --values 1,0.1,0.01 --boundaries 10,20",
        "warmup_stable_decay --warmup-steps 5 --stable-steps 20 --decay-steps 60",
    ],
)  # fmt: skip
def test_schedule_prints_the_python_that_makes_it_and_its_values(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, bars, steps, values = said(capsys, f"schedule {words} --steps 90").splitlines()
    made = eval(code, vars(schedules))  # noqa: S307 - our own output
    assert isinstance(made, schedules.Schedule)
    assert made(0) == pytest.approx(1, abs=0.99)
    shown = [int(step) for step in steps.split()[1:]]
    assert (shown[0], shown[-1]) == (0, 90)
    assert values.split()[1:] == [f"{made(step):.4g}" for step in shown]
    at = made(np.linspace(0, 90, 64).astype(int))
    heights = np.array(["▁▂▃▄▅▆▇█".index(bar) for bar in bars]) / 7 * at.max()
    np.testing.assert_allclose(heights, at, rtol=0, atol=0.501 / 7 * at.max())


def test_schedule_counts_the_warm_up_in_its_length(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "cosine.png"
    words = f"schedule cosine --initial=0.1 --warmup 10 --steps 50 --out {picture}"
    out = said(capsys, words)
    expected = schedules.warmup(schedules.cosine(0.1, steps=40), steps=10)
    assert out.splitlines()[0] == repr(expected)
    assert picture.read_bytes().startswith(b"\x89PNG")
