"""The command and the call that repeat a race."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from thalweg import cli, data, racing
from thalweg.data.kept import fingerprint
from thalweg.racing.command import command as command_of
from thalweg.racing.protocol import Protocol, rules_of
from thalweg.tasks import linear


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("iris", "--rules sgd"),
        (
            "iris",
            "--rules sgd,lion --batch-size 8,16 --l2 1e-07 --seed 4294967295 --margin 0.125",
        ),
        ("my data.csv", "--target 'a price' --kind regression --seeds 3 --budget 900epochs"),
        (
            "my data.csv",
            "--target=-b --kind classification --skip-bad-rows --seed 3 --trials 5 --epochs 2",
        ),
        ("iris.csv", "--target -b --skip-bad-rows --budget 2.5min"),  # has a named set's name
        (
            "my data.csv",
            "--target 'a price' --drop a --missing drop --na 3 --na x,y --decimal .",
        ),
        ("my data.csv", "--target -b --keep a --as 'a:category' --delimiter , --header-row 1"),
        ("my data.csv", "--target -b --as 'a:text,a price:number' --comment '#'"),
    ],
)
def test_the_command_of_a_race_asks_for_the_same_race(
    source: str, options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{a},{b},{a + 2 * b}" for a in range(6) for b in range(5)]
    bad = ["1,?,2"] * ("--skip-bad-rows" in options)
    for file in ("my data.csv", "iris.csv"):
        (tmp_path / file).write_text("\n".join(["a,-b,a price", *rows, *bad]))
    monkeypatch.chdir(tmp_path)

    def asked(command: str) -> tuple[data.Dataset, Protocol]:
        told: dict[str, Any] = {}

        def stop(dataset: data.Dataset, **terms: Any) -> None:
            told.update(terms, dataset=dataset)
            raise KeyboardInterrupt

        monkeypatch.setattr(racing, "race", stop)
        assert cli.main(shlex.split(command)[1:]) == 130
        told["rules"] = tuple(r.name for r in rules_of(told["rules"]))
        told["batch_sizes"] = tuple(told.pop("batch_size") or (32,))
        dataset = told.pop("dataset")
        told["l2"] = 1e-4 if told["l2"] is None else told["l2"]
        given = {k: told[k] for k in vars(Protocol(("sgd",))) if told[k] is not None}
        terms = Protocol(**given)
        return dataset, terms if "repeats" in given else terms.repeated()

    dataset, protocol = asked(f"thalweg race {shlex.quote(source)} {options}")
    words = linear.words(dataset)
    assert words
    again, terms = asked(command_of(words, protocol))
    assert vars(terms) == vars(protocol)  # == would leave out the margin
    assert fingerprint(again) == fingerprint(dataset)
    assert {**vars(again), "X": 0, "y": 0} == {**vars(dataset), "X": 0, "y": 0}
