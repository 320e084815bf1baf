"""``thalweg fit`` and ``thalweg predict``, from files to files."""

import contextlib
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cli.output import said
from thalweg.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=80), "b": rng.choice(["x", "y"], 80)})
    frame["price"] = 3 * frame["a"] + (frame["b"] == "x") + 100
    frame.to_csv("prices.csv", index=False)
    return tmp_path


def test_a_table_becomes_a_model_a_page_and_predictions(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = said(capsys, "fit prices.csv --target price")
    assert "The model explains 100 % of the variance of 16 rows" in out
    assert (folder / "thalweg-fit-prices.html").is_file()
    assert "prices: price is a number; 80 rows; 2 columns → 3 features" in out
    (folder / "new.csv").write_text("b;a\nx;1\nz;2\n")
    assert main(["predict", "thalweg-fit-prices.model", "new.csv"]) == 0
    out, err = capsys.readouterr()
    assert err == "assumed: delimiter ;\nb: the model has not seen z\n"
    name, one, two = out.splitlines()
    assert name == "price"
    assert float(one) == pytest.approx(104, abs=0.1)
    assert 105.5 < float(two) < 107.5  # a word that it has not seen
    assert main(["predict", "thalweg-fit-prices.model", "new.csv", "--out", "answers.csv"]) == 0
    assert (folder / "answers.csv").read_text() == out


@pytest.mark.parametrize("kind", ["sheets", "tables"])
def test_new_rows_are_found_among_other_tables(
    folder: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    frame, other = pd.read_csv("prices.csv"), pd.DataFrame({"a": range(200), "d": range(200)})
    path = folder / kind
    if kind == "tables":
        with contextlib.closing(sqlite3.connect(path)) as connection:
            other.to_sql("visits", connection, index=False)
            frame.to_sql("prices", connection, index=False)
    else:
        with pd.ExcelWriter(path, "openpyxl") as book:
            other.to_excel(book, sheet_name="visits", index=False)
            frame.to_excel(book, sheet_name="prices", index=False)
    assert main(f"fit {kind} --target price".split()) == 0
    capsys.readouterr()
    assert main(f"predict thalweg-fit-{kind}.model {kind}".split()) == 0
    found = [float(line) for line in capsys.readouterr().out.split()[1:]]
    np.testing.assert_allclose(found, frame["price"], atol=0.2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("fit prices.csv", "it needs a target (--target COL)"),
        ("fit prices.csv --target price --loss gama", "--loss must be one of squared, huber, ep"),
        (
            "fit prices.csv --target b --loss huber",
            "target 'b', which is classes, got 'huber'; --k",
        ),
        ("fit prices.csv --target a --loss gamma", "--target 'a' must be > 0 for the gamma loss"),
        ("fit prices.csv --target price --alpha -1", "--alpha must be >= 0, got -1"),
        ("fit prices.csv --target price --alpha nan", "--alpha must be finite, got nan"),
        ("fit prices.csv --target price --l1-ratio 2", "--l1-ratio must be in [0, 1], got 2"),
        ("fit prices.csv --target price --seed -1", "--seed must be an integer in [0, 4294967295]"),
        ("fit prices.csv --target price --out prices.csv", "thalweg did not make it"),
        ("fit prices.csv --target price --out a.html", "--out is the model's file"),
        ("predict prices.csv prices.csv", "prices.csv is no model of thalweg fit"),
        ("predict . prices.csv", ". is no model of thalweg fit; give the .model file that it"),
        ("predict a.model iris", "FILE must be a table of new rows, got the data set 'iris'"),
        ("fit train.py:task", "train.py:task is Python; thalweg race train.py:task"),
        ("fit prices.csv --target price --out none/a.model", "there is no folder none for a.mo"),
        ("fit prices.csv --target price --out .", ". is a folder; name a file in it, such as"),
        ("fit prices.csv --target price --as c:date", "prices.csv: --as names no column 'c'; the"),
        ("predict none.model prices.csv", "there is no file none.model"),
        ("predict none.model prices.csv --out none/a.csv", "there is no folder none for a.csv"),
    ],
)
def test_mistakes_end_in_a_sentence(
    folder: Path, words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "prices.csv").read_bytes()
    assert main(words.split()) in {1, 2}
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert (folder / "prices.csv").read_bytes() == before
    assert len(list(folder.iterdir())) == 1


def test_no_file_is_overwritten_by_predictions(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "fit prices.csv --target price --out p.model")
    assert main(["predict", "p.model", "prices.csv", "--out", "prices.csv"]) == 2
    assert "--out must name a file that is not there yet" in capsys.readouterr().err
    (folder / "few.csv").write_text("a,c\n1,2\n")
    assert main(["predict", "p.model", "few.csv"]) == 2
    assert "few.csv: it has no column 'b', which the model needs" in capsys.readouterr().err
