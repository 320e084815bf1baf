"""Forms in which people keep one table: each with the exact frame that must come out."""

import bz2
import datetime as dt
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet
import pytest

from mixed_table import FRAME
from thalweg import data
from thalweg.data import delimited


def csv(encoding: str = "utf-8", **how: Any) -> bytes:
    """Return the table as pandas writes it."""
    return FRAME.to_csv(index=False, **how).encode(encoding)


def german(**how: Any) -> bytes:
    """Return the table with decimal commas and points between thousands."""
    frame = FRAME.copy()
    for name in ("size", "price"):
        shown = [f"{value:,.3f}" for value in frame[name]]
        frame[name] = [text.translate(str.maketrans(",.", ".,")) for text in shown]
    return bytes(frame.to_csv(index=False, sep=";", **how).encode())


def money(form: str) -> bytes:
    frame = FRAME.assign(price=[form.format(value) for value in FRAME["price"]])
    return bytes(frame.to_csv(index=False).encode())


def parquet(frame: pd.DataFrame = FRAME, **how: Any) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pandas(frame, **how), buffer)
    return buffer.getvalue()


def arrow(write: Callable[..., Any]) -> bytes:
    buffer = io.BytesIO()
    table = pa.Table.from_pandas(FRAME)
    with write(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def feather() -> bytes:
    buffer = io.BytesIO()
    pyarrow.feather.write_feather(pa.Table.from_pandas(FRAME), buffer)
    return buffer.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("__MACOSX/._t.csv", b"junk")
        archive.writestr("folder/.DS_Store", b"junk")
        archive.writestr(name, content)
    return buffer.getvalue()


LETTERS = [*"xxyyzz"] * 2


def merged(last: str) -> bytes:
    """Return a workbook of which another column holds one word in each two merged cells."""
    book = openpyxl.Workbook()
    for i, row in enumerate([[*FRAME], *FRAME.to_numpy().tolist()]):
        book.active.append([*row[:3], [last, *LETTERS][i], row[3]])
        if i and not i % 2:
            book.active.merge_cells(f"D{i}:D{i + 1}")
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


LINES = csv().decode()
HEADER, ROWS = LINES.split("\n", 1)
SPACED = "size   rooms  town price\n" + "\n".join(
    f'{row["size"]}  {row["rooms"]}\t "{row["town"].replace(chr(34), "")}" {row["price"]}'
    for row in FRAME.to_dict("records")
)
GAPS = FRAME.assign(
    town=["New York", "Bonn", None] * 4, rooms=[None if i % 5 == 0 else i for i in range(12)]
)
FIXED = "size    rooms town       price\n" + "".join(
    f"{row['size']:8.3f}{'' if i % 5 == 0 else i:>4} {row['town'] or '':10}{row['price']:7.2f}\n"
    for i, row in enumerate(GAPS.to_dict("records"))
)
LONG = FRAME.assign(town=["New York", "Santa Fe", "San Diego"] * 4)
LONG_FIXED = "size    rooms town       price\n" + "".join(  # most rows have more words than names
    f"{row['size']:8.3f}{row['rooms']:>4} {row['town']:10}{row['price']:7.2f}\n"
    for row in LONG.to_dict("records")
)
PLAIN = FRAME.assign(town=FRAME["town"].str.replace('"', ""))
MARKDOWN = [f"|{row}|" for row in PLAIN.to_csv(index=False, sep="|").splitlines()]
MARKDOWN.insert(1, "|---|:-:|---|--:|")
LATIN = FRAME.assign(town=FRAME["town"].str.replace("Ž", "É"))
JAPAN = FRAME.assign(town=["東京", "大阪", "きょうと", "ナゴヤ", "札幌市", "福岡"] * 2)
RUSSIA = FRAME.assign(town=["Москва", "Пермь", "Нижний Новгород", "Омск", "Томск", "Уфа"] * 2)
CHINA = FRAME.assign(town=["北京", "上海", "广州", "深圳", "成都", "杭州"] * 2)
GROUPED = FRAME.assign(group=np.repeat(["x", "y", "x"], 4), year=np.repeat([1, 2, 2, 1, 1, 2], 2))
GROUPED = GROUPED[["group", "year", *FRAME]]
ONCE = GROUPED.astype({"year": object})
ONCE.loc[ONCE.index % 4 > 0, "group"] = ONCE.loc[ONCE.index % 2 > 0, "year"] = ""
TWO_ROWS = FRAME.set_axis(["size", "in one", "in two", "price"], axis=1)
DAMAGED = FRAME.assign(town=FRAME["town"].where(FRAME.index != 1, "\ufffdatec"))

PAGES = [f"Report, page {i}\n\n{HEADER}\n" for i in (1, 2, 3)]
RULE = "-" * 30 + "\n"
BARS = [f"|{row}|\n" for row in PLAIN.to_csv(index=False, sep="|").splitlines()]
SAP = [RULE, BARS[0], RULE, *BARS[1:6], RULE, *BARS[6:], RULE]
MIXED = (csv() + ROWS.encode()).split(b"\n")
MIXED[:8] = [line.decode().encode("cp1252") for line in MIXED[:8]]
ANSWERS = FRAME.assign(other="x")[["size", "town", "other", "price"]]

# name: content, and how the frame differs from FRAME
FORMS: dict[str, tuple[bytes, pd.DataFrame]] = {
    "comma": (csv(), FRAME),
    "semicolon": (csv(sep=";"), FRAME),
    "tab": (csv(sep="\t"), FRAME),
    "double colons": (csv(sep="\t").replace(b"\t", b"::"), FRAME),
    "bar": (csv(sep="|"), FRAME),
    "spaces": (SPACED.encode(), PLAIN),
    "every text in quotes": (csv(quoting=2), FRAME),
    "single quotes": (csv(quoting=1, quotechar="'"), FRAME),
    "a space after the comma": (LINES.replace(",", ", ").replace("a, b", "a,b").encode(), FRAME),
    "quotes after a backslash": (csv(escapechar="\\", doublequote=False), FRAME),
    "a comment among the rows": (LINES.replace("\n12.0,", "\n# a note\n12.0,").encode(), FRAME),
    "CRLF": (csv(lineterminator="\r\n"), FRAME),
    "CR": (csv(lineterminator="\r"), FRAME),
    "mixed line ends": (LINES.replace("\n", "\r\n", 4).encode(), FRAME),
    "no line end at the end": (csv().rstrip(b"\n"), FRAME),
    "blank lines": (LINES.replace("\n", "\n\n").encode(), FRAME),
    "UTF-8 with a mark": (csv("utf-8-sig"), FRAME),
    "UTF-16": (csv("utf-16"), FRAME),
    "UTF-16 without a mark": (csv("utf-16-le"), FRAME),
    "UTF-32": (csv("utf-32"), FRAME),
    "files with marks, joined": (f"\ufeff{HEADER}\n\ufeff{ROWS}".encode(), FRAME),
    "cp1252": (csv("cp1252"), FRAME),
    "Latin-1": (LATIN.to_csv(index=False).encode("latin-1"), LATIN),
    "Shift-JIS": (JAPAN.to_csv(index=False).encode("shift_jis"), JAPAN),
    "cp1251": (RUSSIA.to_csv(index=False).encode("cp1251"), RUSSIA),
    "KOI8-R": (RUSSIA.to_csv(index=False).encode("koi8-r"), RUSSIA),
    "GB18030": (CHINA.to_csv(index=False).encode("gb18030"), CHINA),
    "UTF-8 but for a byte": (csv().replace("Ž".encode(), b"\xde", 1), DAMAGED),
    "sep= of Excel": (b"sep=;\n" + csv(sep=";"), FRAME),
    "comments": (b"# of May, 2024\n# in metres\n" + csv(), FRAME),
    "comments of percent signs": (b"% of May\n" + csv(), FRAME),
    "a comment at the end": (b"# of May\n" + csv() + b"# the end\n", FRAME),
    "a header in the comment": (b"# of May\n#" + csv(), FRAME),
    "titles above": (b"Report of May,,,\n,,,\n" + csv(), FRAME),
    "titles of one cell": (b"Report of May\n\n" + csv(), FRAME),
    "a sum below": (csv() + b"Total,56,,102.0\n", FRAME),
    "a source below": (csv() + b"\nSource: somebody\n", FRAME),
    "a note with commas below": (csv(sep=";") + b"\nNote: early; revised, in May\n", FRAME),
    "every line in quotes": (
        "\n".join('"' + line.replace('"', '""') + '"' for line in LINES.splitlines()).encode(),
        FRAME,
    ),
    "files with headers, joined": (csv() * 2, pd.concat([FRAME] * 2, ignore_index=True)),
    "fixed width": (FIXED.encode(), GAPS),
    "fixed width with more words than names": (LONG_FIXED.encode(), LONG),
    "pages": ("".join(PAGES[0] + ROWS + page for page in PAGES[1:]).encode() + ROWS.encode(),
              pd.concat([FRAME] * 3, ignore_index=True)),
    "another table below": (csv() + b"\n\nFit of May\na,b\nx,0.5\ny,1.5\n", FRAME),
    "rules among the rows": ("".join(SAP).encode(), PLAIN),
    "lines of two encodings": (b"\n".join(MIXED), pd.concat([FRAME] * 2, ignore_index=True)),
    "names in two rows, without units": (
        b"size,in,,price\n,one,two,\n" + ANSWERS.to_csv(index=False, header=False).encode(),
        ANSWERS.set_axis(["size", "in one", "in two", "price"], axis=1),
    ),
    "a rule below the names": (
        (f" {HEADER}\n".replace(",", " | ") + "------+--\n" + csv(sep="|", header=False).decode()
         + "(12 rows)\n").encode(),
        FRAME,
    ),
    "Markdown": ("\n".join(MARKDOWN).encode(), PLAIN),
    "units below the names": (f"{HEADER}\nm2,-,,EUR\n{ROWS}".encode(), FRAME),
    "names twice": (f"{HEADER}\nmean,total,name,mean\n{ROWS}".encode(), FRAME),
    "names of groups in their first rows alone": (ONCE.to_csv(index=False).encode(), GROUPED),
    "merged cells": (merged("kind"), FRAME.assign(kind=LETTERS)[[*[*FRAME][:3], "kind", "price"]]),
    "names in two rows": (f"size,in,,price\nm2,one,two,EUR\n{ROWS}".encode(), TWO_ROWS),
    "a comma that ends the header": (f"{HEADER},\n{ROWS}".encode(), FRAME),
    "a comma that ends every row": (ROWS.replace("\n", ",\n").encode(), FRAME),
    "an index without a name": (
        FRAME.to_csv().encode(), pd.concat([pd.Series(range(12), name="Unnamed: 0"), FRAME], axis=1)
    ),
    "an index without a place in the header": (
        (HEADER + "\n" + "\n".join(f"{i},{r}" for i, r in enumerate(ROWS.splitlines()))).encode(),
        pd.concat([pd.Series(range(12), name="Unnamed: 0"), FRAME], axis=1),
    ),
    "decimal comma": (csv(sep=";", decimal=","), FRAME),
    "decimal comma and thousands": (german(), FRAME),
    "thousands": (csv(float_format="{:,.3f}".format), FRAME),
    "dollars": (money("${:,.2f}"), FRAME),
    "euros after": (money("{:.2f} €"), FRAME),
    "a code": (money("USD {:.2f}"), FRAME),
    "rupiah": (money("Rp {:,.2f}"), FRAME),
    "soles": (money("S/. {:,.2f}"), FRAME),
    "percent": (money("{:.2f}%"), FRAME),
    "gzip": (gzip.compress(csv()), FRAME),
    "bzip2": (bz2.compress(csv()), FRAME),
    "xz": (lzma.compress(csv()), FRAME),
    "zip": (zipped("t.csv", csv()), FRAME),
    "zipped Parquet": (zipped("t.parquet", parquet()), FRAME),
    "Parquet": (parquet(), FRAME),
    "Parquet with categories": (parquet(FRAME.astype({"town": "category"})), FRAME),
    "Feather": (feather(), FRAME),
    "Arrow file": (arrow(pyarrow.ipc.new_file), FRAME),
    "Arrow stream": (arrow(pyarrow.ipc.new_stream), FRAME),
}  # fmt: skip
FORMS["a comma that ends every row"] = (
    (HEADER + "\n" + "".join(f"{row},\n" for row in ROWS.splitlines())).encode(), FRAME
)  # fmt: skip


def loaded(path: Path, **how: Any) -> pd.DataFrame:
    """Return what comes out of a file, words as texts."""
    found = data.load(path, target="price", **how)
    frame = found.X.assign(price=found.y)
    words = [name for name in frame if frame[name].dtype.name == "category"]
    return frame.astype(dict.fromkeys(words, "str"))


def agrees(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


@pytest.mark.parametrize("name", FORMS)
def test_the_same_table_comes_out_of_every_form(tmp_path: Path, name: str) -> None:
    content, expected = FORMS[name]
    path = tmp_path / "t"  # the content tells, not the name
    path.write_bytes(content)
    agrees(loaded(path), expected)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("merged cells", "merged cells filled down"),
        ("names of groups in their first rows alone", "names of groups filled down in group, year"),
        ("names in two rows", "names of two rows joined: size, in one, in two, price"),
    ],
)
def test_what_was_filled_in_is_said(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "t").write_bytes(FORMS[name][0])
    assert data.load(tmp_path / "t", target="price").notes[0] == f"assumed: {said}"


def test_a_folder_of_parts_is_one_table(tmp_path: Path) -> None:
    for i, part in enumerate((csv(), gzip.compress(csv(sep=";")), csv("utf-16"))):
        (tmp_path / f"part-{i}").write_bytes(part)
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "README.md").write_text("the parts of May")
    (tmp_path / ".part-0.crc").write_bytes(b"junk")
    (tmp_path / "part-00").touch()
    (tmp_path / "part-01").write_text(f"{HEADER}\n")  # a part without rows
    agrees(loaded(tmp_path), pd.concat([FRAME] * 3, ignore_index=True))
    (tmp_path / "part-3").write_text("size,price\n1,2\n")
    with pytest.raises(ValueError, match=r"part-3 has the columns size, price and .*part-0 size, "):
        loaded(tmp_path)


@pytest.mark.parametrize("content", [parquet(), csv()], ids=["Parquet", "CSV"])
def test_parts_in_folders_of_a_year_have_the_year(tmp_path: Path, content: bytes) -> None:
    for year in (2023, 2024):
        (tmp_path / f"year={year}" / "kind=a%20b").mkdir(parents=True)
        (tmp_path / f"year={year}" / "kind=a%20b" / "0").write_bytes(content)
    found = loaded(tmp_path)
    assert found["year"].tolist() == [2023] * 12 + [2024] * 12
    assert found["kind"].tolist() == ["a b"] * 24


def test_parts_of_parquet_have_the_same_columns_of_types_that_fit(tmp_path: Path) -> None:
    whole = FRAME.assign(size=range(12))
    (tmp_path / "0").write_bytes(parquet(whole))
    (tmp_path / "1").write_bytes(parquet(FRAME))
    expected = pd.concat([whole.astype({"size": "float64"}), FRAME], ignore_index=True)
    agrees(loaded(tmp_path), expected)
    (tmp_path / "2").write_bytes(parquet(FRAME.assign(more=1)))
    message = r"2 has the columns size, rooms, town, price, more and .*0 size, rooms, .*; a folder"
    with pytest.raises(ValueError, match=message):
        loaded(tmp_path)
    (tmp_path / "2").write_bytes(parquet(FRAME.assign(size="x")))
    with pytest.raises(ValueError, match="cannot be read as Parquet: Unable to merge: Field size"):
        loaded(tmp_path)


def test_standard_input_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(csv())))
    agrees(loaded(Path("-")), FRAME)


def test_a_libsvm_file_needs_no_target(tmp_path: Path) -> None:
    lines = [f"{1 if i % 2 else -1} 1:{i}.5 3:1" + " 4:2" * (i % 3 == 0) for i in range(12)]
    (tmp_path / "a9a").write_text("\n".join(lines))
    found = data.load(tmp_path / "a9a")
    assert found.classes == ("-1", "1")
    expected = [[i + 0.5, 0, 1, 2 * (i % 3 == 0)] for i in range(12)]
    np.testing.assert_array_equal(found.X, expected)
    queries = [line.replace(" ", f" qid:{i // 3} ", 1) for i, line in enumerate(lines)]
    (tmp_path / "a9a").write_text("\n".join(queries))
    assert data.load(tmp_path / "a9a").notes[0] == "assumed: format libsvm, qid left out"
    loose = ["# of May", "1  ", *(line.replace(" ", "   ") + " # a note" for line in lines[1:])]
    (tmp_path / "a9a").write_text("\n".join(loose))
    expected[0] = [0, 0, 0, 0]  # an example of which all features are 0
    np.testing.assert_array_equal(data.load(tmp_path / "a9a").X, expected)


def test_of_an_archive_the_one_table_is_read(tmp_path: Path) -> None:
    for name, more in (("README.txt", 0), ("wine.names", 0), ("other.csv", 2)):
        with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
            archive.writestr("wine.data", csv())
            archive.writestr(name, "a,b\n1,2\n")
        if more:
            with pytest.raises(
                ValueError, match=r"must hold one file, got 2 \(wine.data, other.csv"
            ):
                loaded(tmp_path / "t.zip")
        else:
            agrees(loaded(tmp_path / "t.zip"), FRAME)


def test_times_are_numbers_and_dates(tmp_path: Path) -> None:
    day = dt.date(2024, 2, 29)
    times: dict[str, Any] = {
        "stamp": pa.array([dt.datetime(2024, 1, 1, 0, i) for i in range(12)]),  # noqa: DTZ001
        "zoned": pa.array([60 * i for i in range(12)], pa.timestamp("s", "Europe/Paris")),
        "day": pa.array([day + dt.timedelta(i) for i in range(12)]),
        "time": pa.array([dt.time(0, i) for i in range(12)]),
        "seconds": pa.array(range(12), pa.time32("s")),
        "span": pa.array([dt.timedelta(minutes=i) for i in range(12)]),
        "price": [0.5 * i for i in range(12)],
    }
    pyarrow.parquet.write_table(pa.table(times), tmp_path / "t.parquet")
    found = data.load(tmp_path / "t.parquet", target="price").X
    minutes = pd.to_timedelta(range(12), unit="min")
    assert (found["stamp"] == pd.Timestamp("2024-01-01") + minutes).all()
    assert (found["zoned"] == pd.Timestamp("1970-01-01") + minutes).all()
    assert (found["day"] == pd.date_range("2024-02-29", periods=12)).all()
    assert found["time"].tolist() == found["span"].tolist() == [60.0 * i for i in range(12)]
    assert found["seconds"].tolist() == list(range(12))


OVERRIDES: list[tuple[bytes, dict[str, Any]]] = [
    (csv(sep="^"), {"delimiter": "^"}),
    (csv(sep="\t"), {"delimiter": "tab"}),
    (SPACED.encode(), {"delimiter": "space"}),
    (csv("cp1250"), {"encoding": "cp1250"}),
    (csv("utf-16"), {"encoding": "utf-16"}),
    (b"~ of May\n" + csv(), {"comment": "~"}),
    (b"size,rooms,town,price\n" + csv(), {"header_row": 2}),
    (ROWS.encode(), {"header_row": 0}),
    (csv(sep=";", decimal=","), {"decimal": ","}),
    (csv(na_rep="-"), {"decimal": "."}),
]


@pytest.mark.parametrize(("content", "how"), OVERRIDES)
def test_what_is_found_can_be_said(tmp_path: Path, content: bytes, how: dict[str, Any]) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    target = "column4" if how.get("header_row") == 0 else "price"
    found = data.load(tmp_path / "t.csv", target=target, **how)
    np.testing.assert_array_equal(found.X.iloc[:, 0], FRAME["size"])
    np.testing.assert_array_equal(found.y, FRAME["price"])


@pytest.mark.parametrize("target", ["1", "two words"])
def test_no_row_of_data_is_a_header_because_the_target_is_in_it(
    tmp_path: Path, target: str
) -> None:
    assert target not in ROWS.partition("\n")[0].split(",")
    assert f",{target}" in ROWS
    (tmp_path / "t.csv").write_text(ROWS)
    hint = "did you mean column1. " * (target == "1")
    message = f"no column '{target}'; {hint}its columns are: column1, col"
    with pytest.raises(ValueError, match=message):
        data.load(tmp_path / "t.csv", target=target)


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("3", "column3"),
        ("4", "column4"),
        ("-1", "column4"),
        ("last", "column4"),
        ("first", "column1"),
    ],
)
def test_a_column_without_a_name_is_meant_by_its_place(
    tmp_path: Path, target: str, meant: str
) -> None:
    (tmp_path / "t.csv").write_text(ROWS)  # 3 is a value of the first row
    with pytest.raises(ValueError, match=f"no column '{target}'; did you mean {meant}. its"):
        data.load(tmp_path / "t.csv", target=target)


def test_years_as_names_are_no_row_of_data(tmp_path: Path) -> None:
    for years in ("1990,1991,1992", "1990,1995,2000", "2000,2010,2020"):
        rows = "".join(f"x{i % 3},{i}.5,{2 * i}.5,{i}.25\n" for i in range(12))
        (tmp_path / "t.csv").write_text(f"town,{years}\n{rows}")
        found = data.load(tmp_path / "t.csv", target=years[-4:])
        assert found.features == ("town", years[:4], years[5:9])


def test_names_that_come_again_are_joined_to_the_groups_above(tmp_path: Path) -> None:
    rows = "".join(f"x{i % 3};{i};{i}.5;;{2 * i};{i}.25;\n" for i in range(12))
    (tmp_path / "t.csv").write_text(f";2023;;;2024;;\ntown;Q1;Q2;;Q1;Q2;\n{rows}")
    found = data.load(tmp_path / "t.csv", target="2024 Q2")
    assert found.features == ("town", "2023 Q1", "2023 Q2", "2024 Q1")
    assert "names of two rows joined: town, 2023 Q1, 2023 Q2 and" in found.notes[0]


def test_numbers_between_spaces_may_have_words_behind_a_tab(tmp_path: Path) -> None:
    rows = "".join(f'{i}.5   {i}   -{i}.0   7\t"ford torino"\n' for i in range(12))
    (tmp_path / "auto-mpg.data").write_text(rows)
    found = data.load(tmp_path / "auto-mpg.data", target="column1", keep=["column3", "column5"])
    assert found.y.tolist() == [i + 0.5 for i in range(12)]
    assert found.X["column3"].tolist() == [-i for i in range(12)]


def test_double_colons_within_names_part_no_columns(tmp_path: Path) -> None:
    rows = "".join(f"std{'::a' * (1 + i % 2)},{i}.5\n" for i in range(12))
    (tmp_path / "t.csv").write_text(f"ns::name,price\n{rows}")
    assert data.load(tmp_path / "t.csv", target="price").features == ("ns::name",)


def test_a_first_row_of_values_stays(tmp_path: Path) -> None:
    for first in ("NA,?", "unknown,3", "2 kg,3 kg"):
        rows = "".join(f"{i},{i}.5,x\n" for i in range(12))
        (tmp_path / "t.csv").write_text(f"a,b,y\n{first},x\n{rows}")
        found = delimited.read(
            (tmp_path / "t.csv").read_bytes(), delimited.Dialect(), target="y", skip_bad_rows=False
        )
        assert found.table.num_rows == 13


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"delimiter": "ab"}, "delimiter must be one character, got 'ab'"),
        ({"encoding": "utf-9"}, "encoding must be one that Python knows, such as .* got 'utf-9'"),
        ({"encoding": "ascii"}, r"it is not in the encoding ascii \('ascii' codec can't decode"),
        ({"decimal": ";"}, "decimal must be '.' or ',', got ';'"),
        ({"comment": ""}, "comment must be what a comment line begins with, such as '#', got ''"),
        ({"header_row": -1}, "header_row must be an integer >= 0, got -1"),
        ({"header_row": 99}, "header_row 99 holds no column names"),
        ({"missing": "ignore"}, "missing must be one of impute, drop, error, got 'ignore'"),
        ({"types": {"town": "words"}}, "types must be number, category, date, text, got 'words'"),
        ({"types": {"city": "text"}}, "types names no column 'city'; the columns are: size"),
        ({"drop": "city"}, "drop names no column 'city'; the columns are: size, rooms"),
        ({"drop": "towns"}, "drop names no column 'towns'; did you mean town"),
        ({"drop": "price"}, "drop names the target 'price', which is needed"),
        ({"keep": "price"}, "there is no column beside the target 'price'"),
    ],
)
def test_an_option_out_of_bounds_is_named(
    tmp_path: Path, how: dict[str, Any], message: str
) -> None:
    (tmp_path / "t.csv").write_bytes(csv())
    with pytest.raises(ValueError, match=message):
        data.load(tmp_path / "t.csv", target="price", **how)
