"""Numerals: every way to write a number that is known, and texts that are none."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.data.numerals import Numerals, numerals_of

READ: list[tuple[list[str], list[float | None]]] = [
    (["$5,120", "$80", "$1,200.50"], [5120, 80, 1200.5]),
    (["€ 1.234,50", "€ 3,5"], [1234.5, 3.5]),
    (["1 234,5 kr", "12 kr"], [1234.5, 12]),
    (["1\u00a0234,5", "2\u202f000"], [1234.5, 2000]),
    (["(1,200)", "3,500", "-1"], [-1200, 3500, -1]),
    (["-$5", "$-5", "($5)", "$5-", "−$5"], [-5] * 5),
    (["R$ 5,00", "R$ 6,50"], [5, 6.5]),
    (["USD 5", "7 USD"], [5, 7]),
    (["CHF 1'200.50", "1'000"], [1200.5, 1000]),
    (["1,23,456.00", "2"], [123456, 2]),
    (["1.234.567", "2.345.678"], [1234567, 2345678]),
    (["1.234,50-", "3"], [-1234.5, 3]),
    (["45%", "3.5 %"], [45, 3.5]),
    (["12 kg", "13.5 kg"], [12, 13.5]),
    (["0,126", "9,661"], [0.126, 9.661]),
    (["9,661", "1,234"], [9661, 1234]),
    (["9.661", "1.234"], [9.661, 1.234]),
    (["€ 9.661", "€ 950"], [9661, 950]),
    (["€ 9.661", "€ 1.234", "€ 0"], [9.661, 1.234, 0]),
    (["9.661 kg", "950 kg"], [9.661, 950]),
    (["1,5", "2,75", "1.5"], [1.5, 2.75, None]),
    (["1e5", "2.5E-3", ".5", "5."], [1e5, 2.5e-3, 0.5, 5]),
    (["+5", "007"], [5, 7]),
    (["$(762.81)", "$ (1,200.00)", "$  5", "(5.00) $", "$ -"], [-762.81, -1200, 5, -5, 0]),
    (["( 1,200 )", "(12)", "-", "5"], [-1200, -12, None, 5]),
    (["(12)%", "5%"], [-12, 5]),
    (["CHF 5.-", "CHF 17.–", "3.50-"], [5, 17, -3.5]),
    (["5,-", "17,--", "3,50"], [5, 17, 3.5]),
    (["€110.5M", "€565K", "€0"], [110.5e6, 565e3, 0]),
    (["1,5 Mio. €", "500 Tsd. €", "3 €"], [1.5e6, 500e3, 3]),
    (["$1.2bn", "$300m", "-$5k"], [1.2e9, 300e6, -5e3]),
    (["19M", "201k", "Varies with device"], [19e6, 201e3, None]),
    (["5M", "6M"], [5, 6]),
    (["1.5万", "9800", "2亿"], [15e3, 9800, 2e8]),
    (["5 тыс. ₽", "1,5 млн ₽", "3 ₽"], [5e3, 1.5e6, 3]),
    (["12㎡", "7.5㎡"], [12, 7.5]),
    (["5 m", "7 m", "3"], [5, 7, None]),
    (["10,000+", "500+", "0"], [10000, 500, 0]),
    (["12 m2", "13,5 m2"], [12, 13.5]),
    (["12 m3/h", "13.5 m3/h"], [12, 13.5]),
    (["700,50 € / Monat", "1.200,00 € / Monat"], [700.5, 1200]),
    (["$5 per month", "$7.50 per month"], [5, 7.5]),
    (["1.52D+02", "-2.0D-01", "1E3"], [152, -0.2, 1000]),
    (["1", "2", "abc"], [1, 2, None]),
    (["1", "2", "inf"], [1, 2, None]),
    (["1", "2", "1e999"], [1, 2, None]),
    (["-", "?!", "5"], [None, None, 5]),
    (["USD 5", "EUR 5", "EUR 6"], [None, 5, 6]),
    (["12 kg", "13 kg", "14"], [12, 13, None]),
    (["< 1 year", "10+ years", "3 years", "5 years"], [None, 10, 3, 5]),
    (["1.2万元", "8000元"], [12e3, 8000]),
    (["12.5 -", "3.0"], [-12.5, 3]),
    (["12 kg", "13.5 Kg", "500 g"], [12, 13.5, 0.5]),
    (["5 kB", "9 MB"], [5, 9000]),
    (["1 year", "2 years", "6 months", "3 stars"], [1, 2, 0.5, None]),
    (["1 star", "5 stars"], [1, 5]),
    (["5", "(X)", "[x]", "(NA)"], [5, None, None, None]),
]


@pytest.mark.parametrize(("texts", "numbers"), READ, ids=[" ".join(texts) for texts, _ in READ])
def test_numbers_as_people_write_them(texts: list[str], numbers: list[float | None]) -> None:
    column = pa.chunked_array([pa.array(texts, pa.large_string())])
    style = numerals_of(column)
    assert style is not None
    assert style.parse(column).to_pylist() == numbers


NONE = [
    ["C0001", "C0002"], ["12 kg", "900 m"], ["5 mW", "9 MW"], ["2023-01-01", "2023-02-01"],
    ["1.5.2023", "2.6.2023"], ["192.168.1.1", "10.0.0.1"], ["12:30", "13:30"], ["1/2", "3/4"],
    ["555-1234", "555-9876"], ["<=50K", ">50K"], ["25-34", "35-44"], ["A1", "5"], ["$", "€"], ["-"],
    ["10D3", "11D4"], ["5pm", "6pm"], ["5 m23", "6 m23"],
]  # fmt: skip


@pytest.mark.parametrize("texts", NONE, ids=[" ".join(texts) for texts in NONE])
def test_what_is_no_number_stays_text(texts: list[str]) -> None:
    assert numerals_of(pa.chunked_array([pa.array(texts, pa.large_string())])) is None


UNITS = st.sampled_from(["", "$", "$ ", " $", "%", " kg", "kg", "+", "USD", "kr"])
SIGNS, MARKS = st.sampled_from(["", "-", "+", "(", "--"]), st.sampled_from(["", ",", ".", "'", " "])


@given(
    st.lists(
        st.tuples(SIGNS, UNITS, SIGNS, st.integers(0, 9999999), MARKS, MARKS, UNITS), min_size=1
    ),
    UNITS.map(str.strip),  # as a column's own is, and its texts are stripped
    st.sampled_from([".", ","]),
)
def test_what_is_read_all_at_once_is_read_as_one_by_one(
    parts: list[tuple[Any, ...]], unit: str, decimal: str
) -> None:
    texts = [
        (f"{sign}{before}{inner}{number:,}".replace(",", mark) + f"{point}5{after}").strip()
        for sign, before, inner, number, mark, point, after in parts
    ]
    style = Numerals(decimal, unit)
    found = style.parse(pa.chunked_array([pa.array(texts, pa.large_string())])).to_pylist()
    assert found == [style.number(text) for text in texts]


def test_integers_stay_exact() -> None:
    column = pa.chunked_array([pa.array(["4200000000000001", "100000000000000003"])])
    style = numerals_of(column)
    assert style == Numerals()
    assert style.parse(column).to_pylist() == [4200000000000001, 100000000000000003]


@pytest.mark.parametrize(
    ("texts", "shown", "open_mark"),
    [(["1,234"], 0, ","), (["1.234"], 0, "."), (["1.5"], 1, ""), (["15"], 0, ""), (["1,5"], 1, "")],
)
def test_what_leaves_the_decimal_mark_open_is_known(
    texts: list[str],
    shown: int,
    open_mark: str,
) -> None:
    style = numerals_of(pa.chunked_array([pa.array(texts, pa.large_string())]))
    assert style
    assert (style.shown, style.open) == (shown, open_mark)
