"""Tables as people have them: what each column is, what is left out and what is said."""

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg import cli, data
from thalweg.data import tables

RNG = np.random.default_rng(0)
A = RNG.normal(size=120).round(3)
B = RNG.uniform(1, 10, 120).round(3)
COLOUR = RNG.choice(["red", "green", "blue"], 120)
PRICE = (3 * A + B / 5 + (COLOUR == "red")).round(3)


def written(tmp_path: Path, delimiter: str = ",", **columns: Sequence[Any]) -> Path:
    path = tmp_path / "t.csv"
    columns = {"a": A, "colour": COLOUR, "price": PRICE, **columns}
    pd.DataFrame(columns).to_csv(path, index=False, sep=delimiter)
    return path


def score(dataset: data.Dataset) -> float:
    """Return R² of least squares on the test part."""
    parts = data.split(dataset)
    X, y = np.c_[parts.train.X, np.ones(len(parts.train.y))], parts.train.y
    w = np.linalg.lstsq(X, y, rcond=None)[0]
    test = parts.test
    residual = test.y - np.c_[test.X, np.ones(len(test.y))] @ w
    return float(1 - residual.var() / test.y.var())


WRITTEN = {
    "as it is": [f"{b}" for b in B],
    "currency": [f"${1000 * b:,.0f}" for b in B],
    "euros": [f"€ {1000 * b:,.2f}".translate(str.maketrans(",.", ".,")) for b in B],
    "kroner": [f"{1000 * b:,.2f} kr".translate({44: " ", 46: ","}) for b in B],
    "percent": [f"{10 * b:.0f}%" for b in B],
    "decimal comma": [f"{b:.2f}".replace(".", ",") for b in B],
    "thousands": [f"{1000 * b:,.0f}" for b in B],
    "parentheses": [f"({b})" for b in B],
    "a unit": [f"{b} kg" for b in B],
    "mostly missing marks": [f"{b}" if i % 5 else "?" for i, b in enumerate(B)],
    "dashes": [f"{b}" if i % 9 else "-" for i, b in enumerate(B)],
    "dates": [str(pd.Timestamp("2023-01-01") + pd.Timedelta(b, "D")) for b in B],
    "two digits for the year": [
        f"{pd.Timestamp('2023-01-01') + pd.Timedelta(30 * b, 'D'):%d.%m.%y}" for b in B
    ],
    "hours": [f"{int(b):02}:{int(b * 60) % 60:02}" for b in B],
    "days first": [f"{pd.Timestamp('2023-01-01') + pd.Timedelta(30 * b, 'D'):%d.%m.%Y}" for b in B],
}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("form", WRITTEN)
def test_a_column_is_understood_however_it_is_written(
    tmp_path: Path, form: str, delimiter: str
) -> None:
    found = data.load(written(tmp_path, delimiter, b=WRITTEN[form]), target="price")
    assert found.X["b"].dtype.kind in "iufM"
    assert score(found) > (0.98 if form in ("mostly missing marks", "dashes") else 0.999)
    plain = {"as it is", "mostly missing marks", "dashes", "dates", "days first", "hours"}
    plain |= {"two digits for the year"}
    assert any("in b" in note for note in found.notes) is (form not in plain)


def test_a_target_is_understood_however_it_is_written(tmp_path: Path) -> None:
    path = written(tmp_path, b=B, price=[f"${1000 * p:,.2f}" for p in PRICE])
    np.testing.assert_allclose(data.load(path, target="price").y, 1000 * PRICE, atol=0.01)


def test_commas_are_decimal_where_another_column_shows_it(tmp_path: Path) -> None:
    whole = [f"{b:.3f}".replace(".", ",") for b in B]  # 9,661 alone may be thousands
    half = [f"{a:.2f}".replace(".", ",") for a in A]
    path = written(tmp_path, ";", a=half, b=whole, price=half)
    np.testing.assert_array_equal(data.load(path, target="price").X["b"], B)
    path = written(tmp_path, ",", b=whole)
    np.testing.assert_allclose(data.load(path, target="price").X["b"], 1000 * B)
    path = written(tmp_path, ",", a=range(120), b=whole, price=range(120))
    np.testing.assert_array_equal(data.load(path, target="price", decimal=",").X["b"], B)


def test_missing_values_are_imputed_and_counted(tmp_path: Path) -> None:
    gaps = np.where(np.arange(120) % 2, B, np.nan)
    others = np.where(np.arange(120) % 2, np.nan, B)
    town = np.where(np.arange(120) % 10, COLOUR, "")
    path = written(tmp_path, b=gaps, c=others, colour=town)
    found = data.load(path, target="price")
    assert (found.missing, found.dropped, len(found.y)) == (132, 0, 120)
    assert "120 rows (132 values imputed)" in found.summary(9)
    with pytest.raises(ValueError, match="none of its 120 rows is left: 120 with a missing value"):
        data.load(path, target="price", missing="drop")
    with pytest.raises(ValueError, match=r"row 1: the value is missing \(missing='impute' fills"):
        data.load(path, target="price", missing="error")
    kept = data.load(path, target="price", missing="drop", drop="c")
    assert (kept.missing, kept.dropped) == (0, 60)
    assert kept.notes[0] == "rows left out: 60 with a missing value"


def test_rows_that_are_left_out_are_counted_by_the_reason(tmp_path: Path) -> None:
    price = [*map(str, PRICE[:-2]), "", ""]
    path = written(tmp_path, b=["abc", *B[1:]], price=price)
    with path.open("a") as file:
        file.write("1,red\n" + "1,red,2,3\n")
    found = data.load(path, target="price", skip_bad_rows=True)
    assert found.dropped == 4
    assert found.notes == (
        "rows left out: 1 of the wrong length, 1 with a bad value, 2 without price",
    )


SUSPECTS: list[tuple[str, Any, str]] = [
    ("", range(120), r"column 'Unnamed: 3' only counts the rows; drop=\['Unnamed: 3'\] leaves"),
    ("nr", range(7, 127), r"column 'nr' only counts the rows; drop=\['nr'\] leaves it out"),
    ("id", [f"C{i:06}" for i in range(120)], "column 'id' is another one in every row, as a name"),
    ("user_id", RNG.permutation(9999)[:120], "column 'user_id' is another one in every row"),
    ("order_id", RNG.permutation(9999)[:120] + 0.0, "column 'order_id' is another one in every"),
    ("invoice no", RNG.permutation(9999)[:120], "column 'invoice no' is another one in every row"),
    ("k", [5] * 120, r"column 'k' has one value in every row; drop=\['k'\] leaves it out"),
    ("k", [""] * 120, "assumed: columns without a value left out: k"),
    ("leak", PRICE * 2 + 1, "column 'leak' tells the target all alone; if .* with drop=.'leak'"),
    ("rank", PRICE.argsort().argsort() ** 2 / 3, "column 'rank' tells the target all alone"),
    (
        "near",
        PRICE + RNG.normal(0, 0.02 * PRICE.std(), 120),
        "column 'near' tells nearly all of the",
    ),
    ("a,b", [5] * 120, r"column 'a,b' has one value in every row; drop=\['a,b'\] leaves it"),
]


@pytest.mark.parametrize(("name", "values", "message"), SUSPECTS)
def test_a_suspicious_column_is_named_with_the_argument_that_drops_it(
    tmp_path: Path, name: str, values: Any, message: str
) -> None:
    path = written(tmp_path, **{name: values})
    found = data.load(path, target="price")
    (note,) = found.notes
    assert pd.Series([note]).str.match(message).all()
    if "drop=" in note:  # followed word for word
        drop = ast.literal_eval(note.partition("drop=")[2].removesuffix(" leaves it out"))
        left = data.load(path, target="price", drop=drop)
        assert left.notes == ()
        assert left.features == ("a", "colour")


def test_classes_and_their_leaks(tmp_path: Path) -> None:
    path = written(tmp_path, price=np.where(A > 0, "yes", "no"))
    found = data.load(path, target="price")
    counts = f"no {(A <= 0).sum()}, yes {(A > 0).sum()}"
    assert f"price is one of 2 classes ({counts}); 120 rows; 2 columns → 4 feat" in found.summary(4)
    assert found.notes[0].startswith("column 'a' tells the target all alone")


@pytest.mark.parametrize(
    "mark",
    ["\\N", "(null)", "[NULL]", "NAN", "#DIV/0!", "#VALUE!", "#NAME?", "#NV", "#N/D", "#¡VALOR!"],
)
def test_what_databases_and_excel_write_for_no_value_is_missing(tmp_path: Path, mark: str) -> None:
    values = [mark if i % 3 == 0 else b for i, b in enumerate(B)]
    found = data.load(written(tmp_path, b=values), target="price")
    assert found.X["b"].isna().tolist() == [i % 3 == 0 for i in range(len(B))]


@pytest.mark.parametrize(
    ("values", "mark"),
    [
        ([20.5, 31.0, 44.0, -999, 25.0, -999], "-999"),
        ([1, 2, 3, -9, 8, -9], "-9"),
        ([0, 1, 0, 99, 1, 99], "99"),
        ([3.5, 2.5, -99.9, 4.5, -99.9, 3.0], "-99.9"),
        ([*range(20, 40), -1, -1], "-1"),
        ([0.5, 1.5, 9.9e37, 2.5, 3.5, 0.0], "9.9e+37"),
        ([*range(119), 1e20], "1e+20"),
        ([300, 65535, 12, 65535, 40, 7], "65535"),
    ],
)
def test_a_number_of_nines_far_from_all_others_is_named_and_may_be_missing(
    tmp_path: Path, values: list[float], mark: str
) -> None:
    values = (values * 20)[:120]
    path = written(tmp_path, b=values)
    found = data.load(path, target="price")
    count = values.count(float(mark))
    cells = f"({count} cell{'s' * (count > 1)})"
    note = f"the number {mark} in column 'b' may be a missing value {cells}; na=['{mark}'] count"
    assert any(said.startswith(note) for said in found.notes)
    pd.read_csv(path).to_parquet(tmp_path / "t.parquet")
    for source in (path, tmp_path / "t.parquet"):
        given = data.load(source, target="price", na=mark)
        assert given.X["b"].isna().tolist() == [value == float(mark) for value in values]
        assert not any("may be a missing" in said for said in given.notes)


@pytest.mark.parametrize(
    "values",
    [
        [90, 95, 99, 12, 99, 40],  # no farther than others are
        [1, 99, 1, 99, 1, 99],  # one of two values
        [9, 1, 9, 2, 3, 9],
        [0.5, 1.5, -998, -998, 2.5, 3.5],
        [*range(28), -3, -4] * 2,
    ],
)
def test_what_may_be_a_number_is_not_named(tmp_path: Path, values: list[float]) -> None:
    path = written(tmp_path, b=(values * 20)[:120], once=[-999, *B[1:]])
    assert "may be a missing" not in " ".join(data.load(path, target="price").notes)


def test_rows_that_belong_together_are_named(tmp_path: Path) -> None:
    drawn = "have alike targets, but the parts are drawn at random: expect a higher loss on"
    days = pd.date_range("2024-01-01", periods=120)
    for price in (np.sin(np.arange(120) / 9), np.repeat(["yes", "no", "yes"], 40)):
        path = written(tmp_path, day=days, price=price)
        said = f"rows stand in the order of 'day' and neighbours {drawn} later rows"
        assert data.load(path, target="price").notes == (said,)
        mixed = written(tmp_path, day=days, price=RNG.permutation(price))
        assert data.load(mixed, target="price").notes == ()
    groups = np.arange(120) % 10
    path = written(tmp_path, **{"subject#": groups, "price": groups**2 % 7 + RNG.random(120)})
    assert data.load(path, target="price").notes == (f"rows of one 'subject#' {drawn} new ones",)
    path = written(tmp_path, **{"subject#": groups})
    assert data.load(path, target="price").notes == ()


def test_words_that_differ_in_capitals_alone_are_named(tmp_path: Path) -> None:
    said = "' has {} as different words; write them alike if they mean the same"
    colour = ["Kiel", "KIEL", "Bern", "A-1", "Bern.", "A-2"]
    path = written(tmp_path, colour=colour * 20, k=["yes", "Yes", "no"] * 40)
    notes = " ".join(data.load(path, target="k").notes)
    assert "'colour" + said.format("Kiel and KIEL, Bern and Bern.") in notes
    assert "'k" + said.format("Yes and yes") in notes
    path = written(tmp_path, k=["yes", "Y", "no"] * 40)
    assert "'k" + said.format("Y and yes") in " ".join(data.load(path, target="k").notes)
    assert "different words" not in " ".join(data.load(written(tmp_path), target="price").notes)


def test_what_predicts_well_is_no_leak(tmp_path: Path) -> None:
    assert data.load(written(tmp_path, b=B), target="price").notes == ()
    paid = RNG.permutation(9999)[:120]  # ends in id
    assert data.load(written(tmp_path, paid=paid), target="price").notes == ()
    path = written(tmp_path, price=np.where(A + RNG.normal(size=120) / 9 > 0, "yes", "no"))
    assert data.load(path, target="price").notes == ()
    tiny = written(tmp_path, b=[f"{i % 9}e-310" for i in range(120)])  # beyond what divides by 1
    assert data.load(tiny, target="price").notes == ()


def test_types_are_as_they_are_told(tmp_path: Path) -> None:
    codes = np.arange(120) % 3
    days = [f"{i % 12 + 1:02}/{i % 28 + 1:02}/2024" for i in range(120)]
    path = written(tmp_path, codes=codes, days=days)
    found = data.load(path, target="price", types={"codes": "category", "days": "text"})
    assert found.X["codes"].tolist() == [str(code) for code in codes]
    assert found.X["days"].tolist() == days
    assert data.load(path, target="codes", types={"codes": "category"}).classes == ("0", "1", "2")
    with pytest.raises(ValueError, match="column 'days' row 1: '01/01/2024' is not a number"):
        data.load(path, target="price", types={"days": "number"})
    with pytest.raises(ValueError, match=r"column 'colour' row 1: '.*' is not a date"):
        data.load(path, target="price", types={"colour": "date"})
    assert "dates as %m/%d/%Y" not in str(data.load(path, target="price").notes)  # days are past 12


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["4.5/5", "3/5", "1/5"], "words, though they begin with numbers, in b"),
        (["1. male", "2. female", "1. male"], "words, though they begin with numbers, in b"),
        (["$5", "€6", "£7"], "words, though they begin with numbers, in b"),
        (['{"a": 1}', "[1, 2]", "{}"], "lists or objects of JSON, taken as words, in b"),
        (["01234", "90210", "00501"], "codes with leading zeros, taken as words, in b"),
        (["0100", "0200", "1000"], "codes with leading zeros, taken as words, in b"),
        (["007", "012", "100"], "leading zeros left out in b"),
        (["5*", "7*", "-1.5*"], "* behind a number left out in b"),
        (["5 kg", "300 g", "2 kg"], "decimal point and kg left out, g turned into kg in b"),
        (["6'2\"", "5'11\"", "6'"], "feet and inches, as inches in b"),
        (["25:10", "18:32", "31:45"], "durations in b"),
        (["(1994)", "(2008)", "(1972)"], "brackets of years left out in b"),
        (["1st", "2nd", "23rd"], "st, nd, rd and th left out in b"),
        (["5.0 CR", "7.5 DR", "9 Cr"], "DR is negative in b"),
        (["1.2×10^3", "5 x 10^-2", "2"], "powers of 10 in b"),
        (["1.2×10³", "5·10⁻²", "2"], "powers of 10 in b"),
        (["1 1/2", "3/4", "2"], "fractions in b"),
        (["1½ cup", "¾ cup", "2 cup"], "fractions, decimal point and cup left out in b"),
        (['1 3/8"', '5/8"', '2"'], "fractions in b"),
        (["120/80", "1/2", "3/4"], "words, though they begin with numbers, in b"),
        (["1 1/2", "1 3/1", "2"], "words, though they begin with numbers, in b"),
        (["6.0 ± 0.1", "5 +/- 2", "7"], "± and the number behind it left out in b"),
        (["9 / 10", "7.5 / 10", "10 / 10"], "of 10 left out in b"),
        (["9 / 10", "1 / 5", "3 / 20"], "words, though they begin with numbers, in b"),
        (['27"', '32"', '24.5"'], "the mark of inches left out in b"),
        (["2003/04", "2011/12", "2010/11"], "words, though they begin with numbers, in b"),
        (["1.0.3", "2.0.1", "1.12.0"], "words, though they begin with numbers, in b"),
    ],
)
def test_what_may_not_be_meant_so_is_said(tmp_path: Path, values: list[str], said: str) -> None:
    path = written(tmp_path, b=values * 40)
    assert data.load(path, target="price").notes == (f"assumed: {said}",)
    told = data.load(path, target="price", types={"b": "category"})
    assert (told.notes, told.X["b"].tolist()) == ((), values * 40)


def test_padded_digits_that_count_or_tell_the_time_are_numbers(tmp_path: Path) -> None:
    texts = {
        "a counter": [f"{i:07}" for i in range(120)],
        "times": [f"{7 + i // 10:02}{6 * (i % 10):02}" for i in range(60)] * 2,
        "lengths": ["01234", "90210", "00501", "123456"] * 30,
    }
    for name, values in texts.items():
        found = data.load(written(tmp_path, b=values), target="price")
        assert found.X["b"].tolist() == [int(value) for value in values], name
    path = written(tmp_path, b=["01234", "90210", "00501"] * 40)
    told = data.load(path, target="price", types={"b": "number"})
    assert told.X["b"].tolist() == [1234, 90210, 501] * 40


def test_a_limit_is_the_number_beside_it_where_most_are_numbers(tmp_path: Path) -> None:
    texts = ["<5", "12", "> 500", "7.5", "88", "≤1,024", "c. 3", *"123456789012345678901234"] * 4
    texts = texts[:120]
    found = data.load(written(tmp_path, b=texts), target="price")
    assert found.X["b"].tolist()[:8] == [5, 12, 500, 7.5, 88, 1024, 3, 1]
    said = "<, >, c., ≤ before a number left out in b"
    assert found.notes[0].startswith(f"assumed: {said}")
    new = tables.encodable(
        pa.table({"b": ["<5", "<0.5"]}), {"b": "number"}, found.options, comma=False,
        styles=found.styles,
    )  # fmt: skip
    assert new["b"].tolist() == [5, 0.5]
    words = ["<20k", "20k-40k", ">40k"] * 40
    assert data.load(written(tmp_path, b=words), target="price").X["b"].tolist() == words
    with pytest.raises(ValueError, match="row 120: '<much' is not a number"):
        data.load(written(tmp_path, b=[*texts[:119], "<much"]), target="price")


def test_a_note_behind_a_number_is_left_out_where_most_have_none(tmp_path: Path) -> None:
    texts = ["5*", "12 e", "1,500.5 bp", "7 [2]", "8†", "9 (est.)", *"12345678901234"] * 6
    found = data.load(written(tmp_path, b=texts), target="price")
    assert found.X["b"].tolist()[:7] == [5, 12, 1500.5, 7, 8, 9, 1]
    assert "(est.), *, [2], bp, e, † behind a number left out in b" in found.notes[0]
    with pytest.raises(ValueError, match="'5 m' is not a number"):  # metres
        data.load(written(tmp_path, b=["5 m", *texts[1:]]), target="price")


def test_a_unit_alone_is_missing_and_another_one_is_named(tmp_path: Path) -> None:
    texts = ["bhp", "null bhp", *(f"{i} bhp" for i in range(118))]
    assert data.load(written(tmp_path, b=texts), target="price").missing == 2
    message = r"row 9: '5 kW' is not in bhp \(write all of them in bhp, na="
    with pytest.raises(ValueError, match=message):
        data.load(written(tmp_path, b=[*texts[:8], "5 kW", *texts[9:]]), target="price")


def test_names_that_lack_two_columns_are_refused(tmp_path: Path) -> None:
    rows = "".join(f"{i} {i}.5 24 {i}.25 24\n" for i in range(12))
    (tmp_path / "t").write_text(f"day temp wind\n{rows}")
    with pytest.raises(ValueError, match="line 1: 5 values stand below 3 names, and nobody") as e:
        data.load(tmp_path / "t", target="temp")
    assert "header_row=0" in str(e.value)
    assert data.load(tmp_path / "t", target="column2", header_row=0).y[:2].tolist() == [0.5, 1.5]


def test_a_message_counts_what_else_is_wrong(tmp_path: Path) -> None:
    path = written(tmp_path, b=[*B[:100], *(f"{i} q" for i in range(20))])
    with pytest.raises(
        ValueError, match=r"row 101: '0 q' is not a number, nor are 19 more of its t"
    ):
        data.load(path, target="price")
    path = written(tmp_path, b=[*B[:119], "x"], c=[*B[:119], "y"], d=[*B[:119], "z"])
    with pytest.raises(
        ValueError, match=r"'x' is not a number; 'c', 'd' have such values too \(na="
    ):
        data.load(path, target="price")


def test_one_message_has_all_texts_that_stand_for_missing_values(tmp_path: Path) -> None:
    path = written(tmp_path, b=[*B[:100], *(["nil", "unknown"] * 10)])
    with pytest.raises(ValueError, match="row 101: 'nil' is not a number") as caught:
        data.load(path, target="price")
    found = re.search(r"\(na=(.*) counts them as missing, types=", str(caught.value))
    assert found
    assert data.load(path, target="price", na=ast.literal_eval(found[1])).missing == 20


def test_integers_of_a_typed_file_may_be_dates(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": A, "day": 20240101 + np.arange(120) % 28, "price": PRICE})
    path = tmp_path / "t.parquet"
    frame.to_parquet(path)
    found = data.load(path, target="price", types={"day": "date"})
    assert found.X["day"][27] == pd.Timestamp("2024-01-28")


def test_keep_leaves_all_others_out(tmp_path: Path) -> None:
    path = written(tmp_path, b=B, **{"c,d": B})
    assert data.load(path, target="price", keep="a,b").features == ("a", "b")
    assert data.load(path, target="price", keep=["c,d"]).features == ("c,d",)


FRAME = pd.DataFrame({"a": A, "b": WRITTEN["currency"], "colour": COLOUR})


def test_a_frame_takes_the_same_way_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    FRAME.assign(price=PRICE).to_csv(path, index=False)
    of_file = data.load(path, target="price")
    made = data.Dataset.from_arrays(FRAME, PRICE, target="price")
    pd.testing.assert_frame_equal(made.X, of_file.X)
    assert (made.notes, made.features) == (of_file.notes, of_file.features)
    polars = pl.from_pandas(FRAME)
    for frame in (polars, polars.lazy(), polars.to_arrow()):
        other = data.Dataset.from_arrays(frame, pl.Series(PRICE), target="price")
        pd.testing.assert_frame_equal(other.X, of_file.X)


def test_columns_that_only_pandas_has_are_taken() -> None:
    whole = pd.Series([1, 0, 0] * 40)
    frame = pd.DataFrame({
        "month": pd.period_range("2024-01", periods=120, freq="M"),
        "bins": pd.cut(B, [0, 5, 8]),  # those above 8 have none
        "zeros": whole.astype("Sparse[int]"),
        "few": whole.where(whole.index > 0).astype("Int64"),
    })  # fmt: skip
    found = data.Dataset.from_arrays(frame, frame["few"], target="y")
    X = found.X
    assert X["month"].tolist() == list(frame["month"].dt.to_timestamp())[1:]
    bins = np.where(B <= 5, "(0, 5]", np.where(B <= 8, "(5, 8]", None))[1:]
    assert X["bins"].astype(object).where(X["bins"].notna(), None).tolist() == bins.tolist()
    assert X["zeros"].tolist() == whole.tolist()[1:]
    assert (found.classes, found.dropped) == (("0", "1"), 1)  # integers, though one is missing


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (FRAME, PRICE[:5], "X has 120 rows and y has 5; they must agree"),
        (FRAME, FRAME, r"y must have the shape \(rows,\), got \(120, 3\)"),
        (FRAME.assign(y=A), PRICE, "X has a column 'y'; name the target otherwise"),
        (FRAME.assign(a=[[1]] * 120), PRICE, "column 'a' has the type list"),
        (FRAME.assign(a=[1, "x"] * 60), PRICE, "X must be a frame of numbers, texts and dates"),
        (FRAME, [1, "x"] * 60, "y must be all numbers or all text"),
        (FRAME, ["None", "NA"] * 60, r"left: 120 without y \(NA, None counts as missing"),
        (FRAME, [None] * 120, "none of its 120 rows is left: 120 without y"),
    ],
)
def test_an_unusable_frame_is_a_sentence(X: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data.Dataset.from_arrays(X, np.array(y, dtype=object) if isinstance(y, list) else y)


def test_the_command_line_says_what_it_races_on_and_what_it_assumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, b=WRITTEN["percent"], id=range(120))
    line = f"race {path} --target price --rules sgd,adam --trials 4 --seeds 3 --epochs 3 --as "
    line += f"colour:category --missing drop --out {tmp_path / 'race'}"
    assert cli.main(line.split()) == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "t: price is a number; 120 rows; 4 columns → 6 features",
        "assumed: decimal point and % left out in b",
        "column 'id' only counts the rows; --drop id leaves it out",
    ]
    scope: dict[str, Any] = {}  # the lines to paste read the raw file
    lines = out[out.index("# thalweg") :].partition("\nreport: ")[0]
    exec(lines, scope)  # noqa: S102 - they are there to be pasted
    assert scope["split"].encoder.types == {"colour": "category"}
    losses = scope["training"].validation_loss.ravel()
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "it needs a target (--target COL); its columns are: a, colour, price"),
        ("--target prices", "it has no column 'prices'; did you mean price?"),
        ("--target price --drop nothing", "--drop names no column 'nothing'"),
        ("--target price --encoding x", "error: --encoding must be one that Python knows, such"),
        ("--target price --as colour:words", "--as must be COL:TYPE, where TYPE is number, categ"),
        ("--target price --as colour", "--as must be COL:TYPE, where TYPE is number, category"),
        ("--target price --missing mean", "--missing must be one of impute, drop, error, got 'mea"),
        ("--target price --delimiter ab", "--delimiter must be one character, got 'ab'"),
        ("--target price --header-row -2", "--header-row must be an integer >= 0, got -2"),
    ],
)
def test_the_command_line_names_an_option_as_it_was_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, message: str
) -> None:
    path = written(tmp_path)
    assert cli.main(["race", str(path), *options.split(), "--out", str(tmp_path / "race")]) == 2
    err = capsys.readouterr().err
    assert message in err.replace(f"{path}: ", "")
    assert err.count("\n") == 1
    assert not (tmp_path / "race").exists()


CELLS = st.sampled_from([
    "1", "2.5", "1,5", "$3", "", "?", "x", '"', "'", '"a,b"', '"open', "2024-01-01", "#", "NA", "é",
    "1e400", "-", "\t", ";", "|", " ", "\0", "5%", "Total", "\r", "\\",
])  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(CELLS, max_size=5), max_size=16), st.binary(max_size=8), st.booleans())
def test_a_mutated_file_is_read_or_refused_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory,
    cells: list[list[str]],
    junk: bytes,
    skip: bool,  # noqa: FBT001 - Hypothesis gives it
) -> None:
    rows = [["a", "b", "y"], *([str(i), f"{i}.5", str(i * i % 7)] for i in range(12)), *cells]
    content = "\n".join(",".join(row) for row in rows).encode() + junk
    path = tmp_path_factory.mktemp("fuzz") / "t.csv"
    path.write_bytes(content)
    try:
        found = data.load(path, target="y", skip_bad_rows=skip)
    except ValueError as error:
        said = str(error)
    else:
        said = f"{path}: read"
        assert len(found.y) + found.dropped >= 10
        assert np.isfinite(data.split(found).train.X).all() if found.classes is None else True
    assert said.startswith(str(path))
    assert "\n" not in said
