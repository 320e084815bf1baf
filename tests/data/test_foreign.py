"""Files of other programs: the same table must come out of each."""

import gzip
import io
import json
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pytest
import scipy.io
import scipy.sparse
from pyarrow import orc

from mixed_table import FRAME
from thalweg import data

RECORDS = FRAME.to_dict("records")
NUMBERS = FRAME.drop(columns="town").to_numpy()
UNNAMED = pd.DataFrame(NUMBERS, columns=["column1", "column2", "column3"])
MATRIX = pd.DataFrame({"X1": NUMBERS[:, 0], "X2": NUMBERS[:, 1], "price": NUMBERS[:, 2]})


def written(write: Callable[[io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def as_json(held: object) -> bytes:
    return json.dumps(held).encode()


def workbook(*sheets: list[list[Any]]) -> bytes:
    book = openpyxl.Workbook()
    for i, rows in enumerate(sheets):
        sheet = book.active if i == 0 else book.create_sheet()
        for row in rows:
            sheet.append(row)
    return written(book.save)


def database(*names: str) -> bytes:
    with sqlite3.connect(":memory:") as connection:
        for name in names:
            FRAME.to_sql(name, connection, index=False)
        return bytes(connection.serialize())


ROWS = [list(FRAME), *FRAME.to_numpy().tolist()]
REPORT = [["Report of May"], [], ROWS[0], ["m", "", "", "EUR"], *ROWS[1:], ["Total", 52, None, 9.5]]
NESTED = [{"price": r["price"], "in": {"size": r["size"], "a": {"t": r["town"]}}} for r in RECORDS]
ARFF = (
    "% of May\n@relation 'of May'\n@attribute size numeric\n@attribute rooms {1,2,3,4,5,6,8,9}\n"
    "@attribute price real\n@data\n"
    + "".join(f"{r['size']},{'?' if i == 1 else r['rooms']},{r['price']}\n"
              for i, r in enumerate(RECORDS))
)  # fmt: skip
ROOMS = [None if i == 1 else str(rooms) for i, rooms in enumerate(FRAME["rooms"])]

PAIRS = "".join(
    f'town="{r["town"]}" size={r["size"]}'
    + f" rooms={r['rooms']}" * (i != 1)
    + f" price={r['price']}\n"
    for i, r in enumerate(FRAME.replace({"town": {'say "so"': "a=b"}}).to_dict("records"))
)
GAPS = FRAME.replace({"town": {'say "so"': "a=b"}}).assign(rooms=ROOMS).astype({"rooms": float})

# name: content, the frame, and what is said
FORMS: dict[str, tuple[bytes, pd.DataFrame, str]] = {
    "JSON of records": (as_json(RECORDS), FRAME, "format JSON"),
    "JSON of columns": (as_json(FRAME.to_dict("list")), FRAME, "format JSON"),
    "JSON of pandas": (FRAME.to_json().encode(), FRAME, "format JSON"),
    "JSON by names": (as_json({f"r{i}": r for i, r in enumerate(RECORDS)}), FRAME, "format JSON"),
    "JSON in two parts": (FRAME.to_json(orient="split").encode(), FRAME, "format JSON"),
    "JSON of rows": (as_json(ROWS), FRAME, "format JSON"),
    "JSON lines of rows": ("\n".join(map(json.dumps, ROWS)).encode(), FRAME, "format JSON"),
    "JSON of rows of numbers": (as_json(NUMBERS.tolist()), UNNAMED, "format JSON"),
    "JSON within an object": (as_json({"n": 12, "data": RECORDS}), FRAME, "rows in data"),
    "JSON within two objects": (
        as_json({"meta": {"n": 1}, "data": {"of": RECORDS}}), FRAME, "rows in data.of"
    ),
    "JSON behind its page": (as_json([{"page": 1}, RECORDS]), FRAME, "rows in item 2"),
    "JSON of pandas with a schema": (
        FRAME.to_json(orient="table").encode(), FRAME, "rows in data"
    ),
    "key=value": (PAIRS.encode("cp1252"), GAPS, "format key=value"),
    "key=value in a log": (
        PAIRS.replace("town=", "2024-01-03 12:00:00 INFO town=").encode("cp1252"), GAPS,
        "format key=value, what stands before the first key left out",
    ),
    "JSON lines": (FRAME.to_json(orient="records", lines=True).encode(), FRAME, "format JSON"),
    "JSON on several lines each": (
        "\n".join(json.dumps(record, indent=1) for record in RECORDS).encode(), FRAME, "format JSON"
    ),
    "JSON of nested records": (
        as_json(NESTED),
        FRAME[["price", "size", "town"]].set_axis(["price", "in.size", "in.a.t"], axis=1),
        "format JSON",
    ),
    "ORC": (
        written(lambda f: orc.write_table(pa.Table.from_pandas(FRAME), f)), FRAME, "format ORC"
    ),
    "Stata": (
        written(lambda f: FRAME.to_stata(f, write_index=False, version=118)), FRAME, "format Stata"
    ),
    "Stata before 13": (
        written(lambda f: FRAME.replace("Žatec", "Brno").to_stata(f, write_index=False)),
        FRAME.replace("Žatec", "Brno"),
        "format Stata",
    ),
    "SQLite": (database("may"), FRAME, "format SQLite, table may"),
    "ARFF": (ARFF.encode(), FRAME.drop(columns="town").assign(rooms=ROOMS), "format ARFF"),
    "npy": (written(lambda f: np.save(f, NUMBERS)), UNNAMED, "format NumPy"),
    "npy of records": (
        written(lambda f: np.save(f, FRAME.drop(columns="town").to_records(index=False))),
        FRAME.drop(columns="town"),
        "format NumPy",
    ),
    "npz": (
        written(lambda f: np.savez(f, X=NUMBERS[:, :2], price=NUMBERS[:, 2], n=12, X_old=[0] * 15)),
        MATRIX,
        "format NumPy, without X_old, not of 12 rows of numbers",
    ),
    "MATLAB": (
        written(lambda f: scipy.io.savemat(f, {"X": NUMBERS[:, :2], "price": NUMBERS[:, 2:]})),
        MATRIX,
        "format MATLAB",
    ),
    "Excel": (workbook(ROWS), FRAME, ""),
    "Excel with a preview": (workbook(ROWS[:3], ROWS), FRAME, "sheet Sheet1 of Sheet, Sheet1"),
    "Excel with notes": (workbook([["by me"]] * 3, REPORT), FRAME, "sheet Sheet1 of Sheet, Sheet1"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_the_same_table_comes_out_of_every_format(tmp_path: Path, name: str) -> None:
    content, expected, said = FORMS[name]
    path = tmp_path / "t"  # the content tells, not the name
    path.write_bytes(content)
    target = "price" if "price" in expected else "column3"
    found = data.load(path, target=target)
    assert said in " ".join(found.notes)
    words = [n for n in found.X if found.X[n].dtype.name == "category"]
    frame = found.X.astype(dict.fromkeys(words, object)).assign(**{target: found.y})
    expected = expected.astype(dict.fromkeys(words, object))
    pd.testing.assert_frame_equal(frame[list(expected)], expected, check_dtype=False)


def test_excel_keeps_days_and_says_what_it_left_out(tmp_path: Path) -> None:
    days = pd.date_range("2024-02-28", periods=12)
    rows = [["day", "price"], *([d.to_pydatetime(), float(i)] for i, d in enumerate(days))]
    (tmp_path / "t.xlsx").write_bytes(workbook(rows))
    found = data.load(tmp_path / "t.xlsx", target="price", kind="regression")
    assert (found.X["day"] == days).all()
    (tmp_path / "t.xlsx").write_bytes(workbook(REPORT))
    note = data.load(tmp_path / "t.xlsx", target="price").notes[0]
    assert note == (
        "assumed: header in line 3; 1 closing line left out; the row below the names, m, EUR, left "
        "out: no values"
    )


def test_texts_among_numbers_are_named(tmp_path: Path) -> None:
    records = [{"a": "unknown" if i == 5 else i, "y": float(i)} for i in range(20)]
    (tmp_path / "t.json").write_bytes(as_json(records))
    with pytest.raises(ValueError, match="column 'a' row 6: 'unknown' is not a number"):
        data.load(tmp_path / "t.json", target="y", kind="regression")


def test_a_database_is_read_where_one_table_has_the_target(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    path.write_bytes(database("may", "june"))
    with pytest.raises(ValueError, match="file of SQLite that has the tables may, june; export"):
        data.load(path, target="price")
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE june RENAME COLUMN price TO paid")
    connection.close()
    assert data.load(path, target="paid").notes[0] == "assumed: format SQLite, table june"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1, "b": {}}', "file of JSON that holds no list of records; write its table as"),
        (b'{"a": 1, "b": "x"}', "it has no column 'price'; its columns are: a, b .assumed: "),
        (b'[{"a": 1}, {"a": ', "it cannot be read as JSON: Expecting value: line 1 column 18"),
        (b"ORC" + b"\0" * 50, "it cannot be read as ORC: "),
        (b"<stata_dta>rest", "it cannot be read as Stata: "),
        (b"SQLite format 3\0rest", "it cannot be read as SQLite: file is not a database; write it"),
        (ARFF.replace("numeric", "string", 1).encode() + b"1,2", "as ARFF: row 13: expected 3 val"),
        (written(lambda f: np.save(f, np.zeros((2, 3, 4)))), r"no columns \(column \(2, 3,"),
        (written(lambda f: np.save(f, np.array([{}]))), "cannot be read as NumPy: Object arrays"),
        (
            workbook([["a", "price"], *([i, f"=A{i}"] for i in range(12))]),
            "12 without price .assumed: formulas without values, which Excel or LibreOffice",
        ),
        (workbook([["only"]]), "none of its sheets has rows of data"),
        (workbook(ROWS)[:-300], "it cannot be unpacked"),
        (
            written(lambda f: scipy.sparse.save_npz(f, scipy.sparse.csr_matrix(np.eye(3)))),
            "holds a sparse matrix without a target; in Python, thalweg.race",
        ),
        (b"-- of May\n/* a dump */\nCREATE TABLE t (a INT);\n", "it is SQL; read it into a SQLite"),
        (b"---\n- size: 1\n  price: 2\n", "it is YAML; write it as JSON or CSV"),
        (b"$FL2rest", r"it is an SPSS file; save it as CSV or Stata \(.dta\)"),
        (
            gzip.compress(b"X\n\0\0\0\3rest", mtime=0),
            "it is an object of R; write the table with write.csv",
        ),
        (b"HEADER RECORD*******LIBV8   HEADER", "SAS transport file of version 8; write version 5"),
        (b"size,1.5,2\nrooms,3,4\nprice,a,b\n", "begins with 'price'; if the names stand in the"),
        (b"\x80\x04\x95rest", "it is a pickle, which can run code; write it as Parquet"),
        (b"<table><tr>", "it is a web page or XML, not a table"),
    ],
)  # fmt: skip
def test_what_holds_no_table_is_a_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        data.load(tmp_path / "t", target="price")


def test_a_package_that_is_not_there_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.ods", "w") as archive:
        archive.writestr("content.xml", "<xml/>")
    with pytest.raises(ValueError, match="which odfpy reads: pip install odfpy, or save it as CSV"):
        data.load(tmp_path / "t.ods", target="price")
