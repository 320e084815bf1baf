"""Data: held against scikit-learn's own loaders, hand-made tables and closed forms."""

import csv
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.model_selection import train_test_split

from thalweg import data
from thalweg.data import named

URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/00291/airfoil_self_noise.dat"


def table(**changes: Any) -> dict[str, Any]:
    """Return a table of 12 rows and four kinds of columns, with columns replaced by name."""
    columns = {
        "size": [0.5 * i for i in range(12)],
        "rooms": list(range(1, 13)),
        "new": [i % 3 == 0 for i in range(12)],
        "town": ["Köln", "<b>", "a,b"] * 4,
        "price": [1.5 * i + 0.25 for i in range(12)],
    }
    return columns | changes


def write(path: Path, columns: dict[str, Any]) -> Path:
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pa.table(columns), path)
    else:
        pyarrow.feather.write_feather(pa.table(columns), path)
    return path


def written(tmp_path: Path, text: Any) -> Path:
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_import_loads_no_library_that_it_may_not_need() -> None:
    code = "import sys, thalweg.data; print({'sklearn', 'pyarrow', 'pooch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# Named sets


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine", "iris"])
def test_bundled_classes_are_scikit_learns(name: str) -> None:
    theirs = getattr(datasets, f"load_{name}")()
    ours = data.load(name)
    np.testing.assert_array_equal(ours.X, theirs.data)
    np.testing.assert_array_equal(ours.y, theirs.target)
    assert ours.X.dtype == np.float64
    assert ours.y.dtype == np.int64
    assert ours.classes == tuple(map(str, theirs.target_names))
    assert ours.features == tuple(theirs.feature_names)
    assert ours.kind == ("binary" if name == "breast_cancer" else "multiclass")


def test_diabetes_is_the_raw_table() -> None:
    theirs = datasets.load_diabetes(scaled=False)
    ours = data.load("diabetes")
    np.testing.assert_array_equal(ours.X, theirs.data)
    np.testing.assert_array_equal(ours.y, theirs.target)
    assert ours.kind == "regression"
    assert ours.y.dtype == np.float64


@pytest.mark.skipif(
    "THALWEG_DATA" not in os.environ, reason="THALWEG_DATA does not name a folder with the data"
)
def test_airfoil_from_the_folder_is_the_published_table() -> None:
    airfoil = data.load("airfoil")
    assert airfoil.X.shape == (1503, 5)
    assert airfoil.features[0] == "frequency"
    assert airfoil.target == "sound_pressure"
    np.testing.assert_array_equal(airfoil.X[0], [800, 0, 0.3048, 71.3, 0.00266337])
    assert airfoil.y[0] == 126.201
    # Brooks, Pope & Marcolini 1989: the ranges that UCI's page gives
    assert (airfoil.X[:, 0].min(), airfoil.X[:, 0].max()) == (200, 20_000)
    assert (airfoil.y.min(), airfoil.y.max()) == (103.38, 140.987)


def test_airfoil_offline_names_the_address_and_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def offline(*_args: object, **_kwargs: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setenv("THALWEG_DATA", str(tmp_path))
    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(FileNotFoundError) as caught:
        data.load("airfoil")
    assert URL in str(caught.value)
    assert "THALWEG_DATA" in str(caught.value)


def test_airfoil_is_downloaded_checked_and_cached(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = b"".join(b"%d\t0\t0.3\t71.3\t0.002\t126.5\n" % i for i in range(12))
    downloads = []

    def download(url: str, output: str, _pooch: object) -> None:
        downloads.append(url)
        Path(output).write_bytes(content)

    monkeypatch.delenv("THALWEG_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda _name: tmp_path)
    monkeypatch.setattr("pooch.core.choose_downloader", lambda *_a, **_k: download)
    with pytest.raises(FileNotFoundError, match="THALWEG_DATA"):  # not the file it should be
        data.load("airfoil")
    monkeypatch.setattr(named, "_AIRFOIL_SHA256", hashlib.sha256(content).hexdigest())
    assert data.load("airfoil").X.shape == (12, 5)
    assert data.load("airfoil").y[0] == 126.5
    assert downloads == [URL, URL]  # the last load found the cached file


def test_airfoil_in_the_folder_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "airfoil_self_noise.dat").write_text("1\t2\t3\t4\t5\t6\n")
    monkeypatch.setenv("THALWEG_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"has the SHA-256 [0-9a-f]{64}, not 74c75fd7"):
        data.load("airfoil")


def test_unknown_name_lists_close_ones() -> None:
    message = (
        r"unknown data set 'digts'; did you mean digits, .*\? give .* path to a \.csv/\.parquet/\."
    )
    with pytest.raises(ValueError, match=message):
        data.load("digts")
    with pytest.raises(ValueError, match="'iris' has its own target"):
        data.load("iris", target="class")


# Files


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".feather"])
def test_columns_become_features(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"houses{ending}", table())
    houses = data.load(path, target="price")
    assert houses.name == "houses"
    assert houses.features == ("size", "rooms", "new", "town=<b>", "town=Köln", "town=a,b")
    assert houses.kind == "regression"
    assert houses.source == str(path)
    i = np.arange(12)
    columns = [0.5 * i, i + 1, i % 3 == 0, i % 3 == 1, i % 3 == 0, i % 3 == 2]
    np.testing.assert_array_equal(houses.X, np.column_stack(columns))
    np.testing.assert_array_equal(houses.y, 1.5 * i + 0.25)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("target", "kind", "classes"),
    [
        ("town", "multiclass", ("<b>", "Köln", "a,b")),
        ("new", "binary", ("False", "True")),
        ("grade", "multiclass", ("2", "9", "10")),
        ("rooms", "regression", None),  # 12 distinct integers in 12 rows
        ("price", "regression", None),
    ],
)
def test_kind_is_guessed_from_the_target(
    tmp_path: Path, ending: str, target: str, kind: str | None, classes: tuple[str, ...] | None
) -> None:
    path = write(tmp_path / f"t{ending}", table(grade=[9, 10, 2, 10] * 3))
    loaded = data.load(path, target=target)
    assert (loaded.kind, loaded.classes) == (kind, classes)
    if classes:
        np.testing.assert_array_equal(np.unique(loaded.y), np.arange(len(classes)))


def test_kind_overrides_the_guess(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", table(grade=[9, 10, 2, 10] * 3, half=[0.5, 1.5] * 6))
    grade = data.load(path, target="grade", kind="regression")
    assert grade.classes is None
    np.testing.assert_array_equal(grade.y, [9, 10, 2, 10] * 3)
    assert data.load(path, target="half", kind="classification").classes == ("0.5", "1.5")
    with pytest.raises(ValueError, match="'town' has values such as Köln; a regression needs"):
        data.load(path, target="town", kind="regression")
    with pytest.raises(ValueError, match="kind must be 'regression' or 'classification', got"):
        data.load(path, target="town", kind="binary")


BAD = [
    ("size", 2, "abc", "column 'size' row 3: 'abc' is not a number (use --skip-bad-rows"),
    ("size", 0, "", "column 'size' row 1: the value is missing"),
    ("size", 11, "NaN", "column 'size' row 12: the value is missing"),
    ("rooms", 4, "1e999", "column 'rooms' row 5: 1e999 is not finite"),
    ("rooms", 4, "-inf", "column 'rooms' row 5: '-inf' is not a number"),
    ("town", 1, "  ", "column 'town' row 2: the value is missing"),
    ("price", 5, "1,5", "column 'price' row 6: '1,5' is not a number"),
    ("price", 5, "<i>", "column 'price' row 6: '<i>' is not a number"),
]


@pytest.mark.parametrize(("column", "row", "value", "message"), BAD)
def test_a_bad_value_is_named_or_its_row_dropped(
    tmp_path: Path, column: str, row: int, value: Any, message: str
) -> None:
    columns = table()
    columns[column] = [*columns[column][:row], value, *columns[column][row + 1 :]]
    path = write(tmp_path / "t.csv", columns)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared below
        data.load(path, target="price")
    assert str(caught.value).startswith(message)
    kept = data.load(path, target="price", skip_bad_rows=True)
    whole = data.load(write(tmp_path / "whole.csv", table()), target="price")
    assert kept.dropped == 1
    np.testing.assert_array_equal(kept.X, np.delete(whole.X, row, axis=0))
    np.testing.assert_array_equal(kept.y, np.delete(whole.y, row))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "column 'size' row 4: the value is missing"),
        (float("nan"), "column 'size' row 4: the value is missing"),
        (float("-inf"), "column 'size' row 4: -inf is not finite"),
    ],
)
@pytest.mark.parametrize("ending", [".parquet", ".feather"])
def test_a_bad_typed_value_is_named(tmp_path: Path, ending: str, value: Any, message: str) -> None:
    size = [1.0, 2.0, 3.0, value, *[5.0] * 8]
    path = write(tmp_path / f"t{ending}", table(size=size))
    with pytest.raises(ValueError, match=message):
        data.load(path, target="price")
    assert data.load(path, target="price", skip_bad_rows=True).dropped == 1


def test_the_first_bad_row_is_the_one_named(tmp_path: Path) -> None:
    columns = table(price=[*range(9), "late", 1, 2], rooms=[1, "early", *range(10)])
    with pytest.raises(ValueError, match="column 'rooms' row 2: 'early'"):
        data.load(write(tmp_path / "t.csv", columns), target="price")


def test_integer_classes_stay_classes_when_a_bad_row_goes(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", table(grade=[0, 1, 2, 1, "?", 0, 1, 2, 1, 0, 1, 2]))
    assert data.load(path, target="grade", skip_bad_rows=True).classes == ("0", "1", "2")


UNSIGNED = [pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]


@pytest.mark.parametrize("kind", UNSIGNED, ids=str)
@pytest.mark.parametrize("ending", [".parquet", ".feather"])
def test_unsigned_integers_are_integers(tmp_path: Path, ending: str, kind: pa.DataType) -> None:
    most = np.iinfo(kind.to_pandas_dtype()).max
    grade = pa.array([0, 1, most] * 4, kind)
    path = write(tmp_path / f"t{ending}", table(grade=grade, rooms=grade))
    loaded = data.load(path, target="grade")
    assert (loaded.kind, loaded.classes) == ("multiclass", ("0", "1", str(most)))
    np.testing.assert_array_equal(loaded.X[:, 1], [0.0, 1.0, float(most)] * 4)


def test_half_numbers_are_categories_and_more_are_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", table(town=["1", "a"] * 6))
    assert data.load(path, target="price").features[-2:] == ("town=1", "town=a")
    path = write(tmp_path / "t.csv", table(town=["1", "a"] * 5 + ["2", "3"]))
    with pytest.raises(ValueError, match="column 'town' row 2: 'a' is not a number"):
        data.load(path, target="price")


def test_a_dictionary_column_is_categorical(tmp_path: Path) -> None:
    codes = pa.array([1, 10, 2] * 4).dictionary_encode()
    text = pa.array(["7", "8"] * 6).dictionary_encode()
    path = write(tmp_path / "t.feather", table(town=codes, new=text))
    expected = ("new=7", "new=8", "town=1", "town=10", "town=2")
    assert data.load(path, target="price").features[2:] == expected


def test_ragged_lines_are_named_or_dropped(tmp_path: Path) -> None:
    lines = ["a,b", *(f"{i},{i * i}.5" for i in range(11)), "1", "", "1,2,3"]
    path = written(tmp_path, "\n".join(lines))
    with pytest.raises(ValueError, match=r"row 12: expected 2 .*, got 1 \(use --skip-bad-rows"):
        data.load(path, target="b")
    kept = data.load(path, target="b", skip_bad_rows=True)
    assert kept.dropped == 2
    np.testing.assert_array_equal(kept.X[:, 0], np.arange(11))


@pytest.mark.parametrize(("delimiter", "end"), [(",", "\n"), ("\t", "\r\n")])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(
    ("lines", "first", "count"),
    [
        ({3: '3.5,"t0,3'}, 4, 37),  # to the end of the file, too few values
        ({3: '3.5,t0,"3'}, 4, 37),  # to its end, as the last value
        ({3: '3.5,"t0,3', 9: '9.5,"t1,9'}, 4, 7),
        ({3: '3.5,"t0', 9: '9.5,"t1,9'}, 4, 7),  # the line of the quote is too short besides
        ({3: '3.5,"t0,3', 4: '4.5,"t1,4'}, 4, 2),
        ({3: '3.5,"t0,3', 9: '"9.5,t1,9'}, 4, 7),  # closed in another column
        ({1: "1.5", 3: '"3.5,t0,3', 9: '"9.5,t1,9'}, 4, 7),  # after a row that could be skipped
    ],
)
def test_rows_within_an_open_quote_are_never_lost(  # noqa: PLR0917 - one row of the table
    tmp_path: Path,
    lines: dict[int, str],
    first: int,
    count: int,
    skip: bool,  # noqa: FBT001
    delimiter: str,
    end: str,
) -> None:
    rows = ["a,b,c", *(lines.get(i, f"{i}.5,t{i % 3},{i}") for i in range(40)), ""]
    path = written(tmp_path, end.join(rows).replace(",", delimiter))
    message = f"row {first}: a quote that is not closed on its line makes one row of {count} lines"
    with pytest.raises(ValueError, match=message):
        data.load(path, target="c", skip_bad_rows=skip)


def test_a_text_of_several_lines_is_a_category(tmp_path: Path) -> None:
    texts = ["one\ntwo", "a, b\nc", 'a "quoted"\nword'] * 4
    loaded = data.load(write(tmp_path / "t.csv", table(town=texts)), target="price")
    assert loaded.features[3:] == tuple(f"town={text}" for text in sorted(set(texts)))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_dialects(tmp_path: Path, delimiter: str, start: bytes, end: str) -> None:
    lines = [f" a{delimiter} b", *(f" {i}{delimiter} {i}.5" for i in range(12))]
    loaded = data.load(written(tmp_path, start + end.join(lines).encode()), target="b")
    assert loaded.features == ("a",)
    np.testing.assert_array_equal(loaded.y, np.arange(12) + 0.5)


def test_a_parquet_folder_is_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "many.parquet"
    folder.mkdir()
    for part in ("1.parquet", "2.parquet"):
        write(folder / part, table())
    assert data.load(folder, target="price").X.shape == (24, 6)


ROWS = "".join(f"{i},{i}.5\n" for i in range(12))
UNUSABLE = [
    ("", "must begin with a line of two or more column names"),
    ("\na,b\n", "must begin with a line of two or more column names"),
    ("b\n" + "1\n" * 12, "between commas, semicolons or tabs, got 'b'"),
    ("a,b", "has no rows of data"),
    ("a,b\n", "has no rows of data"),
    ("a,b\n1,2\n", "at least 10 rows are needed, got 1"),
    ("a, a\n" + ROWS, "two columns have the name 'a'; rename one"),
    (",b\n" + ROWS, "column 1 has no name"),
    ("x,y\n" + ROWS, "has no column 'b'; its columns are: x, y"),
    ("B2,bb\n" + ROWS, "has no column 'b'; did you mean bb? its columns are: B2, bb"),
    ("a;b\n" + "1,5;1\n" * 12, "column 'a' row 1: '1,5' is not a number"),
    ("a,b\n" + ",2\n" * 12, "column 'a' has no values; leave it out"),
    ("a,b\n" + "1,2.5\n" * 12, "target 'b' has the one value 2.5 in every row"),
    ("a,b\n" + "1,x\n" * 12, "target 'b' has the one value x in every row"),
    (b"a,b\n1,\xff\n", "cannot be read as CSV in UTF-8"),
    ("a,b\n1,2\n".encode("utf-16"), "cannot be read as CSV in UTF-8"),
    (b"PAR1\x15\x04\x15", "must begin with a line of two or more column names"),
    ("a,b\n" + "".join(f"x{i},{i}.5\n" for i in range(1001)), "has 1001 distinct texts and at"),
    ("a,b\n" + "".join(f"{i},x{i}\n" for i in range(1001)), "1001 distinct values; at most 1000"),
]


@pytest.mark.parametrize(("text", "message"), UNUSABLE)
def test_an_unusable_file_gets_one_clear_line(tmp_path: Path, text: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        data.load(written(tmp_path, text), target="b")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_few_good_rows_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", table(size=["x", "y", "z", *range(9)]))
    message = "at least 10 rows are needed, got 9 after 3 bad ones were dropped"
    with pytest.raises(ValueError, match=message):
        data.load(path, target="price", skip_bad_rows=True)


def test_a_file_that_is_not_what_its_ending_says(tmp_path: Path) -> None:
    for ending, kind in ((".parquet", "Parquet"), (".feather", "Feather")):
        path = tmp_path / f"t{ending}"
        for content in ("a,b\n1,2\n", ""):
            path.write_text(content)
            with pytest.raises(ValueError, match=f"cannot be read as {kind}"):
                data.load(path, target="b")


def test_files_that_are_not_there_or_not_data(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.csv"):
        data.load(tmp_path / "none.csv", target="b")
    other = tmp_path / "t.xlsx"
    other.touch()
    with pytest.raises(ValueError, match=r"its name must end in \.csv, \.parquet or \.feather"):
        data.load(other, target="b")
    with pytest.raises(ValueError, match=r"needs a target \(--target COL\); its columns are: size"):
        data.load(write(tmp_path / "t.csv", table()))


def test_types_without_a_number_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", table(town=pa.array(range(12), pa.timestamp("ms"))))
    with pytest.raises(ValueError, match=r"column 'town' has the type timestamp\[ms\]; make it"):
        data.load(path, target="price")
    columns = [pa.array([1.0] * 12), pa.array([2.0] * 12)]
    pyarrow.parquet.write_table(pa.Table.from_arrays(columns, ["a", "a"]), path)
    with pytest.raises(ValueError, match=r"cannot be read as Parquet: .* duplicate"):
        data.load(path, target="a")
    with pytest.raises(ValueError, match="has no column beside the target 'b'"):
        data.load(write(tmp_path / "t.parquet", {"b": [1.0, 2.0]}), target="b")


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[float]]:
    n = draw(st.integers(10, 15))
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1)
    name = text.filter(lambda s: s == s.strip() and s)
    finite = st.floats(allow_nan=False, allow_infinity=False)
    names = draw(st.lists(name, min_size=2, max_size=4, unique=True))
    column = st.lists(finite, min_size=n, max_size=n)
    return {name: draw(column) for name in names}


@settings(max_examples=60, deadline=None)
@given(tables(), st.sampled_from([".csv", ".parquet", ".feather"]))
def test_finite_floats_and_any_names_survive_the_file(
    tmp_path_factory: pytest.TempPathFactory, columns: dict[str, Any], ending: str
) -> None:
    target = next(iter(columns))
    columns[target] = [0.1 + i for i in range(len(columns[target]))]
    path = write(tmp_path_factory.mktemp("round") / f"t{ending}", columns)
    loaded = data.load(path, target=target)
    others = [name for name in columns if name != target]
    assert loaded.features == tuple(others)
    np.testing.assert_array_equal(loaded.X, np.column_stack([columns[name] for name in others]))


# Arrays


def test_from_arrays_takes_lists_and_copies() -> None:
    X = np.arange(24.0).reshape(12, 2)
    made = data.Dataset.from_arrays(X, list(range(12)), name="mine")
    X[0, 0] = -1
    assert made.X[0, 0] == 0
    assert (made.name, made.kind, made.features) == ("mine", "regression", ("x0", "x1"))
    assert data.Dataset.from_arrays(X, [True, False] * 6).classes == ("False", "True")
    assert data.Dataset.from_arrays(X, [3, 1, 2] * 4).y.tolist() == [2, 0, 1] * 4
    assert data.Dataset.from_arrays(X, np.array(["b", "a"] * 6, object)).classes == ("a", "b")
    assert data.Dataset.from_arrays(X, np.array([3, 1, 2] * 4, object)).classes == ("1", "2", "3")
    assert data.Dataset.from_arrays(X, np.array([0.5, 1] * 6, object)).kind == "regression"


X12 = np.zeros((12, 2))
Y12 = [0.5 * i for i in range(12)]


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (X12, Y12[:11], "X has 12 rows and y has 11; they must agree"),
        (X12[:9], Y12[:9], "at least 10 rows are needed, got 9"),
        (X12[:, 0], Y12, r"X must have the shape \(rows, features\), got \(12,\); use X.reshape"),
        (X12[:, :0], Y12, r"X must have the shape \(rows, features\), got \(12, 0\)"),
        (X12 + np.inf, Y12, r"X must be finite, got X\[0, 0\] = inf"),
        ([["a", 1.0]] * 12, Y12, "X must be a table of numbers: could not convert string"),
        ([[1.0], [1.0, 2.0]], Y12, "X must be an array: "),
        (X12 + 1j, Y12, "X must be real, got complex128; use X.real"),
        (X12, np.array(Y12) + 1j, "y must be real, got complex128; use y.real"),
        (X12, [Y12] * 12, r"y must have the shape \(rows,\), got \(12, 12\); use y.ravel\(\)"),
        (X12, [*Y12[:11], np.nan], r"y must be finite, got y\[11\] = nan"),
        (X12, [None, *["a"] * 11], r"y must be all numbers or all text, got y\[0\] = None"),
        (X12, [1.5, *[None] * 11], r"y must be all numbers or all text, got y\[1\] = None"),
        (X12, [1] * 12, "target 'y' has the one value 1 in every row; nothing can be learned"),
    ],
)
def test_from_arrays_names_what_is_wrong(X: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data.Dataset.from_arrays(X, y)


def test_from_arrays_refuses_sparse_and_misnamed_tables() -> None:
    class Sparse:
        def toarray(self) -> NDArray[np.float64]:
            return X12

    with pytest.raises(ValueError, match=r"X must be dense, got Sparse; use X.toarray\(\)"):
        data.Dataset.from_arrays(Sparse(), Y12)
    with pytest.raises(ValueError, match="X has 2 columns and features 1 names"):
        data.Dataset.from_arrays(X12, Y12, features=("a",))


# Splits


@pytest.mark.parametrize("name", ["digits", "diabetes"])
def test_parts_are_disjoint_whole_and_standardized_by_the_training_part(name: str) -> None:
    whole = data.load(name)
    parts = data.split(whole, seed=3)
    train, validation, test = parts.train, parts.validation, parts.test
    rows = np.concatenate([train.rows, validation.rows, test.rows])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(whole.y)))
    n = len(whole.y)
    assert (len(validation.y), len(test.y)) == (round(0.2 * n), round(0.2 * n))
    mean, scale = whole.X[train.rows].mean(axis=0), whole.X[train.rows].std(axis=0)
    scale[scale == 0] = 1
    for part in (train, validation, test):
        np.testing.assert_allclose(part.X, (whole.X[part.rows] - mean) / scale, atol=1e-12)
        restored = part.y * parts.y_scale + parts.y_mean
        np.testing.assert_allclose(restored, whole.y[part.rows], rtol=1e-12)
    if whole.classes is None:
        np.testing.assert_allclose([train.y.mean(), train.y.std()], [0, 1], atol=1e-12)
    else:
        assert (parts.y_mean, parts.y_scale, train.y.dtype) == (0.0, 1.0, np.int64)


def test_the_other_parts_cannot_reach_the_standardization() -> None:
    X, y = np.random.default_rng(0).normal(size=(2, 50, 3))
    one = data.Dataset.from_arrays(X, y[:, 0])
    rest = np.concatenate([data.split(one).validation.rows, data.split(one).test.rows])
    X[rest] *= 1e6
    two = data.split(data.Dataset.from_arrays(X, y[:, 0]))
    np.testing.assert_array_equal(two.train.X, data.split(one).train.X)


def test_parts_are_stratified_as_scikit_learn_does_it() -> None:
    cancer = data.load("breast_cancer")
    parts = data.split(cancer, seed=5)
    _, test = train_test_split(
        np.arange(569), test_size=114, random_state=5, stratify=datasets.load_breast_cancer().target
    )
    np.testing.assert_array_equal(parts.test.rows, test)
    for part in (parts.train, parts.validation, parts.test):
        assert abs(part.y.mean() - cancer.y.mean()) < 1 / len(part.y)


def test_the_seed_decides_the_rows() -> None:
    iris = data.load("iris")
    rows = [data.split(iris, seed=seed).train.rows for seed in (0, 0, 1)]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert (rows[0] != rows[2]).any()


def test_constant_columns_keep_scale_one() -> None:
    X = np.column_stack([np.full(20, 7.25), np.arange(20.0)])
    parts = data.split(data.Dataset.from_arrays(X, [0.0] * 19 + [1.0]))
    assert parts.x_scale[0] == 1
    assert parts.y_scale == 1  # the seed puts row 19 outside the training part
    assert 19 not in parts.train.rows
    np.testing.assert_array_equal(parts.test.X[:, 0], 0)


@pytest.mark.parametrize("count", [1, 2])
def test_a_class_too_rare_for_three_parts_is_named(count: int) -> None:
    y = ["a"] * (30 - count) + ["b"] * count
    message = f"class 'b' of 'y' has {count} of 30 rows, too few to be in the training, validation"
    with pytest.raises(ValueError, match=message):
        data.split(data.Dataset.from_arrays(np.zeros((30, 1)), y))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fractions": (0.5, 0.5, 0.5)}, "fractions must be three numbers > 0 of sum 1, got"),
        ({"fractions": (1.0, 0.0, 0.0)}, "fractions must be three numbers > 0 of sum 1, got"),
        ({"fractions": (0.5, 0.5)}, "fractions must be three numbers > 0 of sum 1, got"),
        ({"fractions": (0.98, 0.01, 0.01)}, "of 20 rows leave a part empty"),
        ({"seed": -1}, r"seed must be in \[0, 2\^32\), got -1"),
    ],
)
def test_split_names_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    regression = data.Dataset.from_arrays(np.zeros((20, 1)), np.arange(20) / 2)
    with pytest.raises(ValueError, match=message):
        data.split(regression, **changes)


def test_what_float64_cannot_standardize_is_refused() -> None:
    X = np.array([[1e300], [-1e300]] * 10)
    with pytest.raises(ValueError, match="column 'x0' overflows float64 when it is standardized"):
        data.split(data.Dataset.from_arrays(X, np.arange(20) / 2))
