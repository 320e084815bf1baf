"""Files in: held against hand-made tables and pandas."""

import ast
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from thalweg import data
from thalweg.data.margins import NUMBER


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


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".feather"])
def test_columns_become_features(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"houses{ending}", table())
    houses = data.load(path, target="price")
    assert houses.name == "houses"
    assert houses.features == ("size", "rooms", "new", "town")
    assert houses.kind == "regression"
    assert houses.source == houses.loaded == str(path)
    i = np.arange(12)
    columns = [0.5 * i, i + 1, i % 3 == 0]
    np.testing.assert_array_equal(houses.X.iloc[:, :3], np.column_stack(columns))
    assert houses.X["town"].tolist() == table()["town"]
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
    (
        "size",
        2,
        "abc",
        "column 'size' row 3: 'abc' is not a number (na=['abc'] counts it",
    ),
    (
        "size",
        2,
        "a b",
        "column 'size' row 3: 'a b' is not a number (na=['a b'] counts it as missing",
    ),
    ("rooms", 4, "1e999", "column 'rooms' row 5: '1e999' is not a number"),
    ("rooms", 4, "-inf", "column 'rooms' row 5: '-inf' is not finite"),
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
    assert str(caught.value).startswith(f"{path}: {message}")
    kept = data.load(path, target="price", skip_bad_rows=True)
    whole = data.load(write(tmp_path / "whole.csv", table()), target="price")
    assert kept.dropped == 1
    assert kept.X.to_dict("list") == whole.X.drop(index=row).to_dict("list")
    np.testing.assert_array_equal(kept.y, np.delete(whole.y, row))


def test_the_remedies_for_a_bad_value_work(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", table(size=["abc", *range(11)]))
    assert data.load(path, target="price", na="abc").missing == 1
    kept = data.load(path, target="price", types={"size": "category"})
    assert kept.X["size"].tolist() == ["abc", *map(str, range(11))]


@pytest.mark.parametrize("ending", [".parquet", ".feather"])
def test_an_infinite_value_is_named(tmp_path: Path, ending: str) -> None:
    size = [1.0, 2.0, 3.0, float("-inf"), *[5.0] * 8]
    path = write(tmp_path / f"t{ending}", table(size=size))
    with pytest.raises(ValueError, match="column 'size' row 4: -inf is not finite"):
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
    assert loaded.X["rooms"].tolist() == [0, 1, most] * 4


def test_half_numbers_are_categories_and_more_are_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", table(town=["1", "a"] * 6))
    assert data.load(path, target="price").X["town"].tolist() == ["1", "a"] * 6
    path = write(tmp_path / "t.csv", table(town=["1", "a"] * 5 + ["2", "3"]))
    with pytest.raises(ValueError, match="column 'town' row 2: 'a' is not a number"):
        data.load(path, target="price")


def test_a_dictionary_column_is_categorical(tmp_path: Path) -> None:
    codes = pa.array([1, 10, 2] * 4).dictionary_encode()
    text = pa.array(["7", "8"] * 6).dictionary_encode()
    path = write(tmp_path / "t.feather", table(town=codes, new=text))
    loaded = data.load(path, target="price")
    assert loaded.X["town"].tolist() == ["1", "10", "2"] * 4
    assert loaded.X["new"].tolist() == ["7", "8"] * 6


def test_ragged_lines_are_named_or_dropped(tmp_path: Path) -> None:
    lines = ["a,b", *(f"{i},{i * i}.5" for i in range(11)), "1", "", "1,2,3"]
    path = written(tmp_path, "\n".join(lines))
    with pytest.raises(ValueError, match=r"line 13: expected 2 .*, got 1 \(skip_bad_rows=True"):
        data.load(path, target="b")
    kept = data.load(path, target="b", skip_bad_rows=True)
    assert kept.dropped == 2
    np.testing.assert_array_equal(kept.X["a"], np.arange(11))


@pytest.mark.parametrize(("delimiter", "end"), [(",", "\n"), (";", "\r\n")])
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


def test_quotes_stand_for_themselves_where_tabs_alone_part_all_lines(tmp_path: Path) -> None:
    towns = ['"Untitled', '5" gun', "O'Hara", '"whole"'] * 5
    lines = ["town\ty", *(f"{town}\t{i}.5" for i, town in enumerate(towns))]
    found = data.load(written(tmp_path, "\n".join(lines)), target="y")
    assert found.X["town"].tolist() == [*towns[:3], "whole"] * 5
    assert "quotes taken as they stand, for some are open" in found.notes[0]
    with pytest.raises(ValueError, match="row 1: a quote that is not closed on its line"):
        data.load(written(tmp_path, "\n".join([*lines, '"a\tb"\t1.5'])), target="y")


def test_a_text_of_several_lines_is_a_category(tmp_path: Path) -> None:
    texts = ["one\ntwo", "a, b\nc", 'a "quoted"\nword', "1, 2, 3\nnot a row, 4\n5"] * 3
    loaded = data.load(write(tmp_path / "t.csv", table(town=texts)), target="price")
    assert loaded.X["town"].tolist() == texts


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
    assert data.load(folder, target="price").X.shape == (24, 4)


ROWS = "".join(f"{i},{i}.5\n" for i in range(12))
UNUSABLE = [
    ("", "it is empty"),
    (" \n \n", "it is empty"),
    ("\na,b\n", "has no rows of data"),
    ("b\n" + "1\n" * 12, "two or more column names between commas, semicolons, tabs, bars or"),
    ("a,b", "has no rows of data"),
    ("a,b\n", "has no rows of data"),
    ("a,b\n1,2\n", "at least 10 rows are needed, got 1"),
    ("b,b\n" + ROWS, "two columns have the name 'b' of the target; rename one"),
    ("x,y\n" + ROWS, "has no column 'b'; its columns are: x, y"),
    ("B2,bb\n" + ROWS, "has no column 'b'; did you mean bb, B2? its columns are: B2, bb"),
    ("a,b\n" + ",2\n" * 12, "no column beside the target 'b' has a value"),
    ("a,b\n" + "1,2.5\n" * 12, "target 'b' has the one value 2.5 in every row"),
    ("a,b\n" + "1,x\n" * 12, "target 'b' has the one value x in every row"),
    ("a,b\n" + "1,\n" * 12, "none of its 12 rows is left: 12 without b"),
    ("a,b\n1,\0\n", "line 2 has a NUL character"),
    ("a,b\n" + "".join(f"{i},x{i}\n" for i in range(1001)), "1001 distinct values; at most 1000"),
    ("a,b\n" + "".join(f"{i},{i}k-{i}k\n" for i in range(40)), "40 different texts in 40 rows"),
    (
        "a,c\n" + "1,b\n2,d\n" * 12,
        "it is a value of 'c': make columns of them first (pandas: pivot)",
    ),
    (
        "a,c\nb,2\n" + "d,2\n" * 12,
        "it is a value of 'a': turn rows into columns first (pandas: .T)",
    ),
    ("a,b\n" + "".join(f"{i},2021-01-{i % 28 + 1}\n" for i in range(40)), "target 'b' is dates"),
    (b"PAR1\x15\x04\x15", "cannot be read: "),
    (b"ARROW1\x15\x04\x15", "cannot be read: "),
    (b"\x1f\x8b\x08\x00rest", "it cannot be unpacked: "),
    (b"PK\x03\x04rest", "it cannot be unpacked: "),
    (b"BZh9rest", "it cannot be unpacked: "),
    (b"\xfd7zXZ\x00rest", "it cannot be unpacked: "),
    (b"\xd0\xcf\x11\xe0rest", "it is a spreadsheet, which xlrd reads: pip install xlrd, or"),
    ("{'a': 1, 'b': 2}\n" * 9, "it is a dict as Python prints it; write it with json.dumps"),
    ('[{"in": {"b": 1}}]', "it has no column 'b'; did you mean in.b? its columns are"),
    ("<!DOCTYPE html><html>a,b</html>", "it is a web page or XML, not a table"),
    (b"a,b".ljust(257, b"\0") + b"ustar", "it is a tar archive; unpack it, and give the file or"),
    ("\ufeffa,b\n".encode("utf-16-le")[:-1], "it has the byte order mark of UTF-16"),
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


def test_files_that_are_not_there_or_have_no_target(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.csv"):
        data.load(tmp_path / "none.csv", target="b")
    with pytest.raises(ValueError, match=r"needs a target \(target='COL'\); its columns are: size"):
        data.load(write(tmp_path / "t.csv", table()))


NESTED = [
    (pa.list_(pa.int64()), [[1, 2]]),
    (pa.map_(pa.string(), pa.int64()), [[("x", 1)]]),
    (pa.binary(), [b"1"]),
]


@pytest.mark.parametrize(("kind", "value"), NESTED, ids=[str(kind) for kind, _ in NESTED])
def test_nested_columns_are_refused_by_name_and_can_be_dropped(
    tmp_path: Path, kind: pa.DataType, value: list[Any]
) -> None:
    path = write(tmp_path / "t.parquet", table(town=pa.array(value * 12, kind)))
    with pytest.raises(ValueError, match=r"column 'town' has the type .* with drop=\['town'\]"):
        data.load(path, target="price")
    assert data.load(path, target="price", drop="town").features == ("size", "rooms", "new")
    path = write(path, table(town=pa.array(value * 12, kind), rooms=pa.array(value * 12, kind)))
    with pytest.raises(ValueError, match=r"column .* leave all 2 such out with drop=") as told:
        data.load(path, target="price")
    drop = ast.literal_eval(str(told.value).rpartition("drop=")[2])
    assert data.load(path, target="price", drop=drop).features == ("size", "new")


def test_structs_are_columns_of_their_parts_as_objects_of_json_are(tmp_path: Path) -> None:
    rows = [{"x": 0.5 * i, "in": {"y": i}} if i else None for i in range(12)]
    kind = pa.struct([("x", pa.float64()), ("in", pa.struct([("y", pa.int64())]))])
    (tmp_path / "parts").mkdir()
    columns = table(town=pa.array(rows, kind))
    for path in (tmp_path / "t.parquet", tmp_path / "parts" / "0.parquet"):
        write(path, columns)
    for source in ("t.parquet", "parts"):
        found = data.load(tmp_path / source, target="price").X
        assert found["town.in.y"].isna().tolist() == [True] + [False] * 11
        assert found["town.x"].tolist()[1:] == [0.5 * i for i in range(1, 12)]


def test_two_columns_of_one_name_in_parquet_are_refused(tmp_path: Path) -> None:
    columns = [pa.array([1.0] * 12), pa.array([2.0] * 12)]
    pyarrow.parquet.write_table(pa.Table.from_arrays(columns, ["a", "a"]), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"2 columns have the name 'a'; rename one"):
        data.load(tmp_path / "t.parquet", target="a")


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[float]]:
    n = draw(st.integers(10, 15))
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1)
    name = text.filter(lambda s: s == s.strip() and s)
    finite = st.floats(allow_nan=False, allow_infinity=False)
    several = st.lists(name, min_size=2, max_size=4, unique=True)
    names = draw(several.filter(lambda names: not NUMBER.fullmatch(names[0])))  # the target
    column = st.lists(finite, min_size=n, max_size=n)
    return {name: draw(column) for name in names}


@settings(max_examples=60, deadline=None)
@given(tables(), st.sampled_from([".csv", ".parquet", ".feather"]))
@example({"%": [0.0] * 10, "0": [0.0] * 10}, ".csv")
@example({"x": [0.0] * 10, "#1": [0.0] * 10}, ".csv")
@example({"#a": [0.0] * 10, "0": [0.0] * 10}, ".csv")
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
