"""The table of a race in a terminal."""

import io
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

import race_folder
from report.conftest import printed
from thalweg import report


def test_table_fits_a_hundred_columns_and_groups_its_rows(
    race: tuple[dict[str, Any], pa.Table],
) -> None:
    for results in (race[0], race_folder.make(trials=8, seeds=6)[0]):
        lines = printed(results).splitlines()
        assert max(map(len, lines)) <= 100
        assert "…" not in "".join(lines)
        assert lines[0].startswith(f"Take {results['take']}")
        rows = [line for line in lines if "[" in line and not line.startswith("rule")]
        assert len(rows) == len(results["rules"])
        assert rows[0].startswith("★ ")
        states = [row["state"] for row in results["rules"]]
        assert sum(row.startswith("= ") for row in rows) == states.count("as good") - 1
        beats = ["  –  " in row.split("]")[1].split("0.")[0] for row in rows]
        assert beats == [row["rule"] == results["winner"] for row in results["rules"]]
        heads = [line.strip() for line in lines if line.strip() in {"as good:", "worse:"}]
        assert heads == [f"{state}:" for state in dict.fromkeys(states) if state != "undecided"]


@pytest.mark.parametrize("width", [40, 50, 60, 80, 100, 140])
def test_table_is_cut_by_columns_and_never_inside_a_name_or_number(
    race: tuple[dict[str, Any], pa.Table], width: int
) -> None:
    results = race[0]
    screen = Console(file=io.StringIO(), width=width)
    screen.print(report.table(report.Record.of(results), width))
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined] # a StringIO
    assert max(len(line.rstrip()) for line in lines) <= width
    assert "…" not in "".join(lines)
    for row in results["rules"]:
        assert any(row["rule"] in line and "[" in line for line in lines)
    assert ("No room here for: good lr" in " ".join(lines)) == (width < 140)
    assert "worse by" in "".join(lines)


@pytest.mark.parametrize(
    ("ends", "shown"),
    [((1e-18, 1e23), "[not known]"), ((0.0, None), "[not known]"), ((-0.5, 9.0), "[-0.500, 9.00]")],
)
def test_ends_that_say_nothing_are_not_known(
    race: tuple[dict[str, Any], pa.Table], ends: tuple[float, float | None], shown: str
) -> None:
    first, *others = race[0]["rules"]
    loss = {"typical": 0.1, "low": ends[0], "high": ends[1]}
    results = {**race[0], "rules": [{**first, "test_loss": loss}, *others]}
    assert f"0.100 {shown}" in printed(results)


def test_a_rule_that_diverged_in_every_repeat_has_no_loss(
    race: tuple[dict[str, Any], pa.Table],
) -> None:
    *others, last = race[0]["rules"]
    lost = {**race[0], "rules": [*others, {**last, "test_losses": [None, None, None]}]}
    (row,) = [line for line in printed(lost).splitlines() if line.startswith(last["rule"])]
    assert "diverged" in row
    assert "[" not in row
    assert "diverged" not in printed(race[0])
