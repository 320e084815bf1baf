"""Dates in other languages and calendars, each against the day it was written from."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from thalweg import data
from thalweg.data import dates

DAYS = pd.date_range("2023-01-09 07:05", periods=48, freq="15D9h")
MONTHS = {
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "at": "Jänner Feber März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre "
    "diciembre",
    "it": "gen feb mar apr mag giu lug ago set ott nov dic",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro "
    "dezembro",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "pl": "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października "
    "listopada grudnia",
    "ru": "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
    "tr": "Ocak Şubat Mart Nisan Mayıs Haziran Temmuz Ağustos Eylül Ekim Kasım Aralık",
    "en": "Jan Feb March April May June July Aug Sept Oct Nov Dec",
}
WEEKDAYS = ("Mo", "Di", "Mi", "Do", "Fr", "Sa", "So")
NAMES = {language: names.split() for language, names in MONTHS.items()}


def month(language: str, day: pd.Timestamp) -> str:
    return NAMES[language][day.month - 1]


FORMS: dict[str, tuple[Callable[[pd.Timestamp], str], str]] = {  # and how exact it is
    "German": (lambda d: f"{d.day}. {month('de', d)} {d.year}", "D"),
    "Austrian": (lambda d: f"{d.day}. {month('at', d)} {d.year}", "D"),
    "with a weekday": (lambda d: f"{WEEKDAYS[d.weekday()]}, "
                       f"{d.day}. {month('de', d)} {d.year}", "D"),
    "French": (lambda d: f"{d.day}{'er' * (d.day == 1)} {month('fr', d)} {d.year}", "D"),
    "Spanish": (lambda d: f"{d.day} de {month('es', d)} de {d.year}", "D"),
    "Italian": (lambda d: f"{d.day:02}-{month('it', d).upper()}-{d.year}", "D"),
    "Portuguese": (lambda d: f"{d.day} de {month('pt', d)} de {d.year} {d:%H:%M}", "min"),
    "Dutch": (lambda d: f"{d.day} {month('nl', d)} {d.year}", "D"),
    "Polish": (lambda d: f"{d.day} {month('pl', d)} {d.year}", "D"),
    "Russian": (lambda d: f"{d.day} {month('ru', d)} {d.year}", "D"),
    "Turkish": (lambda d: f"{d.day} {month('tr', d)} {d.year}", "D"),
    "English of all lengths": (lambda d: f"{month('en', d)} {d.day}, {d.year}", "D"),
    "a French month": (lambda d: f"{month('fr', d)} {d.year}", "M"),
    "a Portuguese month": (lambda d: f"{month('pt', d)[:3]}-{d:%y}", "M"),
    "Japanese": (lambda d: f"{d:%Y年%m月%d日}", "D"),
    "Chinese with a time": (
        lambda d: f"{d.year}年{d.month}月{d.day}日 {d.hour}时{d.minute}分", "min"
    ),
    "Japan's years": (lambda d: f"令和{d.year - 2018}年{d.month}月{d.day}日", "D"),
    "Korean": (lambda d: f"{d.year}년 {d.month}월 {d.day}일", "D"),
    "SAS": (lambda d: f"{d:%d%b%Y:%H:%M:%S}".upper(), "min"),
    "a form of Google": (lambda d: f"{d:%Y/%m/%d} {d.hour % 12 or 12}:{d:%M:%S %p} GMT+2", "+2"),
    "JavaScript": (lambda d: f"{d:%a %b %d %Y %H:%M:%S} GMT+0200 (Eastern European Time)", "+2"),
    "a zone by its letters": (lambda d: f"{d:%b %d, %Y %I:%M:%S %p} PST", "min"),
    "a zone in brackets": (lambda d: f"{d:%Y-%m-%dT%H:%M:%S}+02:00[Europe/Athens]", "+2"),
    "UTC": (lambda d: f"{d:%Y-%m-%d %H:%M} UTC", "min"),
    "Apache": (lambda d: f"[{d:%d/%b/%Y:%H:%M:%S} +0200]", "+2"),
    "Oracle": (lambda d: f"{d:%d-%b-%y %I.%M.%S.000000000 %p}".upper(), "min"),
    "RFC 2822": (lambda d: f"{d:%a, %d %b %Y %H:%M:%S} +0200", "+2"),
    "a short year and a half day": (lambda d: f"{d:%m/%d/%y %I:%M:%S %p}", "min"),
    "a short year and a time": (lambda d: f"{d:%d.%m.%y %H:%M}", "min"),
    "no signs": (lambda d: f"{d:%Y%m%dT%H%M%SZ}", "min"),
    "a week": (lambda d: f"{d:%G-W%V}", "W"),
    "a German week": (lambda d: f"KW {d:%V/%G}", "W"),
    "a quarter": (lambda d: f"{d.year}-Q{d.quarter}", "Q"),
    "a quarter before the year": (lambda d: f"Q{d.quarter} {d.year}", "Q"),
}  # fmt: skip


def read(tmp_path: Path, texts: list[str]) -> "pd.Series[pd.Timestamp]":
    frame = pd.DataFrame({"b": texts, "price": [0.5 + i for i in range(len(texts))]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    found = data.load(tmp_path / "t.csv", target="price")
    assert not any("assumed" in note for note in found.notes)
    return found.X["b"]


@pytest.mark.parametrize("name", FORMS)
def test_a_date_is_read_in_other_words(tmp_path: Path, name: str) -> None:
    form, exact = FORMS[name]
    found = read(tmp_path, [form(day) for day in DAYS])
    expected = {
        "D": DAYS.floor("D"),
        "min": DAYS,
        "+2": DAYS - pd.Timedelta(2, "h"),
    }.get(exact)  # fmt: skip
    if expected is None:
        expected = DAYS.to_period(exact).start_time
    assert list(found) == list(expected)


def test_points_follow_the_day_where_the_month_could_as_well(tmp_path: Path) -> None:
    texts = [f"{i % 12 + 1:02}.{i % 3 + 1:02}.2024" for i in range(24)]
    found = read(tmp_path, texts)
    assert list(found.dt.day) == [i % 12 + 1 for i in range(24)]


@pytest.mark.parametrize(
    "texts",
    [
        ["5 marbles", "3 junk", "7 mayday"],
        ["Q5 2024", "W60 2024"],
        ["5 jui 2024", "7 jui 2023"],
        ["1002Q1", "3500-W07"],
    ],
)
def test_words_that_only_look_so_stay_words(tmp_path: Path, texts: list[str]) -> None:
    frame = pd.DataFrame({"b": texts * 12})
    frame["price"] = [0.5 + i for i in range(len(frame))]
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert data.load(tmp_path / "t.csv", target="price").X["b"].dtype.name == "category"


def test_addresses_are_tried_as_dates_in_a_sample_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    times = dates._times
    monkeypatch.setattr(
        dates, "_times", lambda texts, form: (tried.append(len(texts)), times(texts, form))[1]
    )
    text = pa.chunked_array([[f"{i} Main Street" for i in range(1000)]])
    assert dates.may_be(text)
    assert dates.read(text)[0].null_count == 1000
    assert max(tried) <= 300
