"""Columns of plain numbers, read many at a time: as each is by itself."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from thalweg.data import digits
from thalweg.data.numerals import MISSING, numerals_of

TOKENS = (
    ["1", "-2", "30", "0"],
    ["0.5", "-12.25", "1e-3", "7"],
    ["1", "NA", "", "3"],
    ["2.5", "-999", "nan", ".5"],
    ["1.234", "5.678", "9.012"],  # may be thousands
    ["007", "012"],  # may be codes
    ["20240229", "20231231"],  # may be dates
    ["1", "red"],
    ["1", "1e999"],  # beyond float64
    ["", "NA"],
    ["$5", "$6"],
    ["1,5", "2,25"],
    ["+5", "5.", "-0"],
    ["123456789012345678", "1234567890123456789"],
    ["1234567890123456781", "1234567890123456782"],  # that float64 cannot tell apart
    ["9223372036854775808", "1"],  # beyond 64 bits
    [" 4 ", "5"],
    ["-", "5"],
)


def columns(rows: int) -> dict[str, pa.ChunkedArray]:
    rng = np.random.default_rng(0)
    texts = [list(rng.choice(tokens, rows)) for tokens in TOKENS]
    return {str(i): pa.chunked_array([t], pa.large_string()) for i, t in enumerate(texts)}


@pytest.mark.parametrize("na", [(), ("-999",), ("7,0",)])
@pytest.mark.parametrize("cells", [1, 100, 10_000])
def test_each_is_what_it_is_by_itself(
    monkeypatch: pytest.MonkeyPatch, na: tuple[str, ...], cells: int
) -> None:
    monkeypatch.setattr(digits, "_CELLS", cells)
    table = columns(40)
    found = digits.plain_columns(table, na)
    assert list(found) == ["0", "1", "2", "3", "12", "13", "14", "15", "16"]
    lacking = pa.array([*MISSING, *(word for mark in na for word in mark.split(","))])
    for name, (values, style) in found.items():
        text = pc.utf8_trim_whitespace(table[name])
        text = pc.if_else(pc.is_in(text, value_set=lacking.cast(text.type)), None, text)
        alone = numerals_of(text)
        assert alone == style
        assert alone.parse(text).equals(values)
    assert set(found["14"][0].to_pylist()) == {1234567890123456781, 1234567890123456782}


def test_numbers_among_other_texts_further_down_are_found_out() -> None:
    texts = pa.chunked_array([["1"] * 30 + ["red"] * 40], pa.large_string())
    assert digits.plain_columns({"a": texts}, ()) == {}
    assert digits.plain_columns({}, ()) == {}


def test_thousands_of_columns_take_as_many_calls_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    search = pc.match_substring_regex

    def counted(*given: object) -> object:
        calls.append(given)
        return search(*given)

    monkeypatch.setattr(pc, "match_substring_regex", counted)
    column = pa.chunked_array([["1", "2.5"] * 5], pa.large_string())
    counts = []
    for width in (3, 3000):
        calls.clear()
        assert len(digits.plain_columns({str(i): column for i in range(width)}, ())) == width
        counts.append(len(calls))
    assert counts[0] == counts[1] > 0
