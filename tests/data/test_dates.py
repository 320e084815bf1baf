"""Dates, times and durations as people write them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from thalweg import data
from thalweg.data import tables

PRICE = np.random.default_rng(0).normal(size=120)


def written(tmp_path: Path, **columns: Sequence[Any]) -> Path:
    path = tmp_path / "t.csv"
    pd.DataFrame({**columns, "price": PRICE}).to_csv(path, index=False)
    return path


def test_a_date_that_may_be_either_is_said(tmp_path: Path) -> None:
    days = [f"{i % 12 + 1:02}/{i % 11 + 1:02}/2024" for i in range(120)]
    found = data.load(written(tmp_path, days=days), target="price")
    assert found.X["days"][1] == pd.Timestamp("2024-02-02")
    assert found.notes == ("assumed: dates as %m/%d/%Y, month before day in days",)


DAYS = pd.Series(pd.Timestamp("2021-01-31") + pd.to_timedelta(range(120), "D"))
WRITTEN_DATES = {
    "%Y%m%d": "D", "%Y-%m": "M", "%m/%Y": "M", "%b-%y": "M", "%b %Y": "M", "%B %Y": "M",
    "%YM%m": "M", "%d %b %Y": "D", "%B %d, %Y": "D", "%A, %d %B %Y": "D", "%Y/%m/%d %I:%M %p": "D",
}  # fmt: skip


@pytest.mark.parametrize("form", WRITTEN_DATES)
def test_a_date_is_understood_however_it_is_written(tmp_path: Path, form: str) -> None:
    path = written(tmp_path, b=DAYS.dt.strftime(form).to_list())
    expected = DAYS.dt.to_period(WRITTEN_DATES[form]).dt.to_timestamp()
    found = data.load(path, target="price")
    assert found.X["b"].tolist() == expected.tolist()
    assert found.notes == (("assumed: dates as %Y%m%d in b",) if form == "%Y%m%d" else ())


@pytest.mark.parametrize(
    "form",
    [
        "{h}:{m:02}:{s:02}",
        "P{d}DT{r}H{m}M{s}S",
        "{h}h {m}m {s}s",
        "{h} hours {m} min {s} sec",
        "{d}d {r:02}:{m:02}:{s:02}",
        "{d}-{r:02}:{m:02}:{s:02}",
        "{d} days, {r}:{m:02}:{s:02}",
        "{n}:{s:02}",
    ],
)
def test_a_duration_is_its_seconds_however_it_is_written(tmp_path: Path, form: str) -> None:
    lengths = [100 + 7919 * i for i in range(120)]
    texts = [
        form.format(
            d=s // 86400, r=s // 3600 % 24, h=s // 3600, m=s // 60 % 60, s=s % 60, n=s // 60
        )
        for s in lengths
    ]
    found = data.load(written(tmp_path, b=texts), target="price")
    assert found.X["b"].tolist() == lengths
    assert found.notes[0] == "assumed: durations in b"
    few = pa.table({"b": [texts[0], "5:00:00", None]})  # which by themselves may be times of day
    new = tables.encodable(few, {"b": "number"}, found.options, comma=False, styles=found.styles)
    assert new["b"].tolist()[:2] == [100, 18000]
    assert new["b"].isna().tolist() == [False, False, True]


@pytest.mark.parametrize(
    "times",
    [["10:05 AM", "11:59 PM", "7:30 am"], ["10.05.00", "23.59.00", "07.30.00"],
     ["10:05:00.000", "23:59:00.000", "07:30:00.0"]],
)  # fmt: skip
def test_a_time_of_day_may_have_a_half(tmp_path: Path, times: list[str]) -> None:
    path = written(tmp_path, b=times * 40)
    hours = data.load(path, target="price").X["b"].dt.strftime("%H:%M")
    assert hours.tolist() == ["10:05", "23:59", "07:30"] * 40
    found = data.load(path, target="b", kind="regression")
    assert found.y[:3].tolist() == [36300, 86340, 27000]
    assert "times taken as seconds in b" in found.notes[0]


def test_a_bad_date_is_named(tmp_path: Path) -> None:
    days = [f"2024-01-{i % 28 + 1:02}" for i in range(120)]
    days[6] = "2024-13-45"
    with pytest.raises(ValueError, match="column 'days' row 7: '2024-13-45' is not a date"):
        data.load(written(tmp_path, days=days), target="price")


def test_dates_of_two_forms_are_read_where_no_text_fits_both(tmp_path: Path) -> None:
    days = pd.date_range("2024-01-01", periods=120)
    texts = [f"{day:%d.%m.%Y}" if i % 3 else f"{day:%Y-%m-%d}" for i, day in enumerate(days)]
    found = data.load(written(tmp_path, days=texts), target="price")
    assert (found.X["days"] == days).all()
    assert found.notes[0] == "assumed: dates as %d.%m.%Y and %Y-%m-%d in days"
    new = tables.encodable(
        pa.table({"days": ["2024-02-01", "03.02.2024"]}), {"days": "date"}, found.options,
        comma=False, styles=found.styles,
    )  # fmt: skip
    assert new["days"].dt.day.tolist() == [1, 3]
    either = [f"{day:%m/%d/%Y}" if i % 3 else f"{day:%d/%m/%Y}" for i, day in enumerate(days)]
    with pytest.raises(ValueError, match="is not a date"):
        data.load(written(tmp_path, days=either), target="price")
