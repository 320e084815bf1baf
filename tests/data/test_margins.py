"""Rows of a table that hold no example."""

from pathlib import Path

import pyarrow as pa
import pytest

from thalweg import data
from thalweg.data.margins import without_margins

TOWNS = ("Bern", "Kiel", "Total", "Oslo")  # one of them is called as a sum is
ROWS = [f"{TOWNS[i % 4]},{i % 7}.5,{(i * 5) % 11}" for i in range(24)]
HEADER = "town,size,price"


def prices(tmp_path: Path, text: str) -> tuple[list[float], tuple[str, ...]]:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    found = data.load(path, target="price", kind="regression")
    return found.y.tolist(), found.notes


EXPECTED = [float((i * 5) % 11) for i in range(24)]


@pytest.mark.parametrize(
    "name",
    [
        *("Subtotal", "Bern Total", "Total Bern", "Sub-total:", "Zwischensumme", "Summe: Kiel"),
        *("TOTAL", "Bern Ergebnis", "Total général", "Celkový součet", "総計"),
    ],
)
def test_sums_among_the_rows_are_left_out_and_a_town_of_that_name_stays(
    tmp_path: Path, name: str
) -> None:
    rows = [*ROWS[:8], f"{name},,99", *ROWS[8:16], f"{name},,98", *ROWS[16:]]
    found, notes = prices(tmp_path, "\n".join([HEADER, *rows]))
    assert found == EXPECTED
    assert notes[0] == f"assumed: 2 sums among the rows, such as {name}, left out"


def test_a_sum_without_a_gap_adds_up_the_rows_since_the_last(tmp_path: Path) -> None:
    rows = [f"a,1,{price:g}" for price in EXPECTED]
    rows[4] = f"Total,1,{EXPECTED[4]:g}"  # a town
    assert prices(tmp_path, "\n".join([HEADER, *rows]))[0] == EXPECTED
    rows[4] = rows[4].replace("Total", "Bern")
    for end in (16, 8):
        rows.insert(end, f"Total,8,{sum(EXPECTED[end - 8 : end]):g}")
    assert prices(tmp_path, "\n".join([HEADER, *rows]))[0] == EXPECTED


@pytest.mark.parametrize("count", ["(24 rows affected)", "24 rows selected.", "24 Zeilen"])
def test_what_a_program_says_of_its_rows_is_none(tmp_path: Path, count: str) -> None:
    lines = [row.replace(",", "  ") for row in (HEADER, *ROWS)]
    assert prices(tmp_path, "\n".join([*lines, "", count]))[0] == EXPECTED


def test_a_sum_may_stand_in_the_second_column(tmp_path: Path) -> None:
    rows = [f"{i % 3},{row}" for i, row in enumerate(ROWS)]
    rows.insert(9, ",Subtotal,,77")
    assert prices(tmp_path, "\n".join([f"group,{HEADER}", *rows]))[0] == EXPECTED


def test_gaps_of_other_rows_make_no_sum_of_a_row(tmp_path: Path) -> None:
    rows = [row.replace(".5,", ",", 1) for row in ROWS]
    for i in (1, 2, 6, 9, 13):  # rows 2 and 6 are of the town Total
        town, _, price = rows[i].split(",")
        rows[i] = f"{town},,{price}"
    assert prices(tmp_path, "\n".join([HEADER, *rows]))[0] == EXPECTED


@pytest.mark.parametrize(
    "below",
    [
        ["m2,EUR", "Avg,Smp"],
        ["How large is it?,How much is it?", '"{""id"": ""Q1""}","{""id"": ""Q2""}"'],
        ["10^9/L,1/min"],
        ["10*3/uL,x10E3/mm3", "Median,Median"],
    ],
)
def test_rows_of_units_and_questions_below_the_names_are_left_out(
    tmp_path: Path, below: list[str]
) -> None:
    rows = [HEADER, *(f",{texts}" for texts in below), *ROWS]
    found, notes = prices(tmp_path, "\n".join(rows))
    assert found == EXPECTED
    assert notes[0].count("left out: no values") == len(below)


@pytest.mark.parametrize("name", ["Total", "", "Sum:", "*", "Итого"])
@pytest.mark.parametrize("first", [True, False])
def test_a_sum_of_all_rows_stands_at_one_end(tmp_path: Path, name: str, *, first: bool) -> None:
    rows = [row.replace("Total", "Rome") for row in ROWS]
    total = f'{name},"{sum(EXPECTED) * 100:,.2f}",{sum(EXPECTED):.0f}'
    found, notes = prices(
        tmp_path, "\n".join([HEADER, *[total] * first, *rows, *[total] * (not first)])
    )
    assert found == EXPECTED
    assert any("left out" in note for note in notes)


@pytest.mark.parametrize(
    ("last", "rows"),
    [
        ("England,,78,", 12),  # the sum of all others, and the only gap
        ("England,,78,5", 13),  # another number is no sum
        ("England,z,78,24", 13),  # no gap
        ("x1,,78,", 13),  # a name that another row has
        ("England,,70,", 13),
    ],
)
def test_a_total_may_have_a_name_of_its_own(tmp_path: Path, last: str, rows: int) -> None:
    lines = [f"x{i % 3},t{i % 5},{i + 1},{i % 2 + 1}.5" for i in range(12)]
    (tmp_path / "t.csv").write_text("\n".join(["region,town,people,share", *lines, last]))
    found = data.load(tmp_path / "t.csv", target="people", kind="regression")
    assert len(found.y) == rows


def test_a_row_without_a_name_that_adds_nothing_up_stays(tmp_path: Path) -> None:
    rows = [row.replace("Total", "Rome") for row in ROWS]
    for name in ("Total", ""):
        found, _ = prices(tmp_path, "\n".join([HEADER, f"{name},2.5,7", *rows]))
        assert found == [7, *EXPECTED]


@pytest.mark.parametrize(
    ("cells", "filled"),
    [
        (["x....y....", "1.21......"], ["xxxxxyyyyy", "1.21......"]),  # none at y
        (["x....y....", "1.2..1...."], ["xxxxxyyyyy", "1122211111"]),
        (["x....x....", "1.2..1.3.."], ["x....x....", "1.2..1.3.."]),  # a word that comes again
        ([".x...y....", "1.2..1.3.."], [".x...y....", "1.2..1.3.."]),
        (["x.yz.xyzxy", "1.2..1.3.."], ["x.yz.xyzxy", "1.2..1.3.."]),  # mostly full
    ],
)
def test_names_of_groups_are_told_from_gaps(cells: list[str], filled: list[str]) -> None:
    columns = [*cells, "0123456789"]
    texts = {str(i): ["" if c == "." else c for c in text] for i, text in enumerate(columns)}
    table, _, said = without_margins(pa.table(texts), [], ["a", "b", "y"], "y")
    found = ["".join(c or "." for c in column.to_pylist()) for column in table.columns]
    assert found == [*filled, columns[-1]]
    assert bool(said) == (cells != filled)
