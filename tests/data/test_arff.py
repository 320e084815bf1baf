"""ARFF: quotes, missing values, dates, texts and sparse rows."""

import pytest

from thalweg.data import arff

HEADER = """% of May
@RELATION 'of May'

@ATTRIBUTE 'the town' {Bern, "New York", 'L\\'Aquila'}
@attribute size NUMERIC
@attribute note string
@attribute day date "yyyy-MM-dd"
@attribute\tok {no, yes}
@DATA
"""


def test_a_dense_file_has_words_numbers_and_texts() -> None:
    rows = "Bern,1.5,'red, or so','2024-05-01',yes\n% a remark\n\n'L\\'Aquila', ?,\"it's\", ?,no\n"
    found = arff.read((HEADER + rows + "'New York',-2e3,plain text,2024-05-02,?\n").encode())
    assert found.to_pydict() == {
        "the town": ["Bern", "L'Aquila", "New York"],
        "size": [1.5, None, -2000.0],
        "note": ["red, or so", "it's", "plain text"],
        "day": ["2024-05-01", None, "2024-05-02"],
        "ok": ["yes", "no", None],
    }
    assert [str(kind)[:10] for kind in found.schema.types] == [
        "dictionary", "double", "large_stri", "large_stri", "dictionary",
    ]  # fmt: skip


def test_what_a_sparse_row_leaves_out_is_0_or_the_first_word() -> None:
    text = "@relation r\n@attribute a real\n@attribute b {'x y',z}\n@attribute c integer\n@data\n"
    found = arff.read((text + "{0 2.5, 1 z}\n{}\n{ 1 'x y',2 7 }\n{1 ?}\n").encode())
    assert found.to_pydict() == {
        "a": [2.5, 0.0, 0.0, 0.0],
        "b": ["z", "x y", "x y", None],
        "c": [0.0, 0.0, 7.0, 0.0],
    }


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("Bern,1\n", "row 1: expected 5 values, got 2"),
        ("Bern,1,'open,2024-05-01,yes\n", "row 1: a quote in .* is not closed"),
        ("{7 1}\n", "row 1: '7 1' is no attribute's number and value"),
        ("Bern,much,a,2024-05-01,yes\n", "much"),
    ],
)
def test_a_wrong_row_is_named(rows: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arff.read((HEADER + rows).encode())


def test_a_file_without_data_is_told() -> None:
    with pytest.raises(ValueError, match="no @attribute or no @data"):
        arff.read(b"@relation r\n@attribute a real\n")
