"""Compounds: several numbers in a text that are one."""

import pyarrow as pa
import pytest

from thalweg.data.compounds import compounds, spelled_out
from thalweg.data.numerals import Numerals


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["5'11\"", "6'", "6’ 2”", "tall"], [71, 72, 74, None]),
        (["5 ft 11 in", "6 feet", "5ft. 6.5inches"], [71, 72, 66.5]),
        (["7 lb 4 oz", "8 lbs", "6 lbs, 1.5 oz"], [116, 128, 97.5]),
        (["47°30'00\"N", "8°15'S", "10° 0' 36″ W"], [47.5, -8.25, -10.01]),
        (["28.0N", "12.5 S", "N 3"], [28, -12.5, 3]),
        (["80W", "5E", None], [-80, 5, None]),
    ],
)
def test_parts_are_put_together(texts: list[str], numbers: list[float | None]) -> None:
    found = compounds(pa.chunked_array([pa.array(texts, pa.large_string())]))
    assert found
    assert found[0].to_pylist() == pytest.approx(numbers)
    again = compounds(pa.chunked_array([pa.array(texts[1:2], pa.large_string())]), found[1])
    assert again
    assert again[0].to_pylist() == pytest.approx(numbers[1:2])


@pytest.mark.parametrize(
    "texts", [["5 W", "7 W"], ["5 ft", "6 ft"], ["5 lbs"], ["12", "13"], ["6-2"], ["12:30"]]
)
def test_numbers_with_a_unit_are_none(texts: list[str]) -> None:
    assert compounds(pa.chunked_array([pa.array(texts, pa.large_string())])) is None


def test_cr_alone_is_a_sign_where_it_was_one_before() -> None:
    text = pa.chunked_array([pa.array(["3.50 CR"], pa.large_string())])
    assert spelled_out(text) is None  # crore
    assert spelled_out(text, Numerals(unit="Cr")) is None
    signed = spelled_out(text, Numerals())
    assert signed
    assert signed[0].to_pylist() == ["3.50"]
