"""The page of a race."""

import base64
import copy
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import race_folder
from report.conftest import printed
from thalweg import report, rules, style
from thalweg.racing.protocol import MAX_TRIALS
from thalweg.report import pictures
from thalweg.words import worse

EVIL = "<script>alert('1')</script> & \"q\" [bold]b[/bold]"


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pictures out of pages, for tests of their words: they take most of the time."""
    for draw in ("loss_curves", "learning_rates", "prices", "time_to_target"):
        monkeypatch.setattr(pictures, draw, lambda *_: None)
    monkeypatch.setattr(style, "svg", lambda *_: "")


class Page(HTMLParser):
    """The tags, attributes and text of a page, as a browser sees them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] != ["script"]:  # it is the last tag of a page
            self.text += data + " "


def page(tmp_path: Path, results: dict[str, Any], curves: pa.Table) -> Page:
    return Page(report.write(race_folder.write(tmp_path, results, curves)))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, race: tuple[dict[str, Any], pa.Table]) -> Page:
    """Return the page of the race with its pictures."""
    return page(tmp_path_factory.mktemp("seen"), *race)


def scripts(seen: Page) -> list[str]:
    return re.findall(r"<script>(.*?)</script>", seen.source, re.DOTALL)


def test_page_asks_for_nothing_and_runs_nothing(seen: Page) -> None:
    assert not {"link", "img", "iframe", "object", "image"}.intersection(seen.tags)
    (script,) = scripts(seen)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'\"" in (
        html.unescape(seen.source)
    )
    addresses = [v for k, v in seen.attributes if k in {"src", "href", "xlink:href", "srcset"}]
    assert all(address and address.startswith("#") for address in addresses)
    assert not re.search(r"@import|url\((?!#)|https?:", seen.source)


@pytest.mark.usefixtures("undrawn")
def test_every_cell_of_the_table_says_by_what_it_is_sorted(
    tmp_path: Path, race: tuple[dict[str, Any], pa.Table]
) -> None:
    seen = page(tmp_path, *race)
    values = [value for name, value in seen.attributes if name == "data-value"]
    rows = race[0]["rules"]
    assert len(values) == 10 * len(rows)
    assert values[::10] == [row["rule"] for row in rows]
    assert [float(v or "") for v in values[2::10]] == [row["test_loss"]["typical"] for row in rows]
    for value in set(values) - set(values[::10]) - {"None"}:
        float(value or "")


def test_pictures_say_exact_values_to_a_mouse(
    seen: Page, race: tuple[dict[str, Any], pa.Table]
) -> None:
    tips = re.findall(r'<g class="tip"><title>(.*?)</title>', seen.source)
    for row in race[0]["rules"]:
        cost = worse(row["price"]["low"], row["price"]["high"])
        assert f"{row['rule']}, worse than the best by: {cost}" in tips
        (curve,) = {tip for tip in tips if tip.startswith(f"{row['rule']}, median loss after")}
        assert re.search(r": 0: \d+\.\d+, 1: \d", curve)


@pytest.mark.usefixtures("undrawn")
def test_page_says_the_verdict_first_then_how_sure_then_the_rules(
    tmp_path: Path, race: tuple[dict[str, Any], pa.Table]
) -> None:
    results, curves = race
    text = page(tmp_path, results, curves).text
    order = [text.index(results["sentence"]), text.index("How sure is that?")]
    order += [text.index("The rules rule, tuned")]
    table = text[order[-1] :]
    order += [order[2] + table.index(f"{row['rule']} ") for row in results["rules"]]
    assert order == sorted(order)
    for said in (*results["code"].values(), results["command"], results["target"]["rule"]):
        assert " ".join(said.split()) in text
    assert "3 bad rows were dropped." in text
    assert "sgd: lr widened to" in text
    assert "not reached" in text
    assert f"{results['rules'][0]['test_loss']['typical']:#.3g}" in text


def test_names_from_the_data_are_text(
    tmp_path: Path, race: tuple[dict[str, Any], pa.Table]
) -> None:
    results = copy.deepcopy(race[0])
    results["data"] |= {"name": EVIL, "source": EVIL, "classes": [EVIL, "b"]}
    results |= {"sentence": EVIL, "command": EVIL, "code": {EVIL: EVIL}}
    results["protocol"] |= {"model": EVIL, "metric": EVIL, "selection": EVIL}
    results["rules"][0]["widened"] = [EVIL]
    results["rules"][0]["hyper"][EVIL] = 1.0
    seen = page(tmp_path, results, race[1])
    assert len(scripts(seen)) == 1
    assert seen.text.count(EVIL) >= 10
    assert "[bold]b[/bold]" in printed(results)


def test_page_of_twenty_rules_stays_small(tmp_path: Path) -> None:
    written = report.write(race_folder.write(tmp_path, *race_folder.make(trials=64, epochs=40)))
    assert written.stat().st_size < 1_500_000


def test_a_race_without_numbers_still_has_a_page(
    tmp_path: Path, race: tuple[dict[str, Any], pa.Table]
) -> None:
    results = copy.deepcopy(race[0])
    last = results["rules"][-1]
    nothing = {"typical": None, "low": None, "high": None}
    last |= {"val_loss": None, "test_loss": nothing, "price": nothing, "test_score": None}
    last |= {"diverged": 1.0, "epochs_to_target": None, "seconds_to_target": None}
    last["sensitivity"] = {"within_5_percent": 0, "good_lr": [None, None], "good_lr_decades": None}
    results["data"] |= {"classes": None, "dropped": 0}
    assert "100 %" in page(tmp_path, results, race[1]).text
    assert "– [–, –]" in printed(results)


@pytest.mark.usefixtures("undrawn")
def test_a_damaged_folder_is_a_sentence_and_keeps_the_old_page(
    tmp_path: Path, race: tuple[dict[str, Any], pa.Table]
) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"holds no race: there is neither results\.json nor"
    ):
        report.write(tmp_path)
    (tmp_path / "race.sqlite").touch()
    with pytest.raises(FileNotFoundError, match=r"results.json does not exist: no race has ended"):
        report.write(tmp_path)
    (tmp_path / "race.sqlite").unlink()
    before = report.write(race_folder.write(tmp_path, *race)).read_bytes()
    damages = ('{"rules": [', "[]", "{}", '{"schema": 3}', json.dumps({**race[0], "schema": 1}))
    for damage in damages:
        (tmp_path / "results.json").write_text(damage, encoding="utf-8")
        with pytest.raises(ValueError, match=r"results.json (is not the results|must have schema)"):
            report.write(tmp_path)
    (tmp_path / "race.sqlite").touch()
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ValueError, match=r"thalweg race --resume .* writes it again"):
        report.write(tmp_path)
    (tmp_path / "race.sqlite").unlink()
    race_folder.write(tmp_path, *race)
    (tmp_path / "curves.parquet").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"curves\.parquet is damaged .* thalweg race --resume"):
        report.write(tmp_path)
    (tmp_path / "curves.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"curves\.parquet does not .* race --resume"):
        report.write(tmp_path)
    assert (tmp_path / "report.html").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "report.html"}


@pytest.mark.usefixtures("undrawn")
def test_page_and_table_say_what_holds_at_a_budget_and_how_good_the_defaults_are(
    tmp_path: Path, race: tuple[dict[str, Any], pa.Table]
) -> None:
    results = copy.deepcopy(race[0])
    last = results["rules"][-1]
    last["defaults"] |= {"val_loss": 12.34, "excess": 55.0}
    results["by_budget"] = [
        {"trials": 1, "best": "sgd", "val_loss": {**results["by_budget"][0]["val_loss"]}},
        {
            "trials": 16,
            "best": "lion",
            "val_loss": {row["rule"]: 0.777 for row in race[0]["rules"]},
        },
        {"trials": 64, "best": "lion", "val_loss": {row["rule"]: None for row in race[0]["rules"]}},
    ]
    said = "Lowest validation loss: sgd with 1 trial, its defaults; lion with 16 or 64 trials."
    text = page(tmp_path, results, race[1]).text
    assert said in text
    assert "At your budget" in text
    assert text.count("0.777") == len(results["rules"])
    assert "> 999 % 12.3" in text
    shown = printed(results, 120)
    assert said in " ".join(shown.split())
    assert "> 999 %" in shown
    results["by_budget"] = []  # with halving there is nothing to compare
    assert "At your budget" not in page(tmp_path, results, race[1]).text
    assert "Lowest validation" not in printed(results)


@pytest.mark.usefixtures("undrawn")
def test_batch_sizes_are_compared_where_there_are_several(
    tmp_path: Path, race: tuple[dict[str, Any], pa.Table]
) -> None:
    results = copy.deepcopy(race[0])
    advice = results["batch_sizes"]["advice"]
    text = page(tmp_path, results, race[1]).text
    assert advice in text
    assert advice in " ".join(printed(results).split())
    assert "512 0.512 0.120 not reached 10.5 – 195 µs 1000 KiB" in text
    assert "gradient noise scale of 120 examples" in text
    results["batch_sizes"] |= {"noise_scale": None}
    assert "noise scale (McCandlish" in page(tmp_path, results, race[1]).text
    results["batch_sizes"] = None
    assert "Batch size" not in page(tmp_path, results, race[1]).text
    assert advice not in printed(results)


@pytest.mark.usefixtures("undrawn")
def test_page_says_who_had_how_many_trials(
    tmp_path: Path, race: tuple[dict[str, Any], pa.Table]
) -> None:
    results = copy.deepcopy(race[0])
    results["protocol"]["second_round"] = 8
    said = "The same for every rule: 16 trials spread over its search space, one of them its "
    said += "defaults, then 8 around the best, each of 20 epochs;"
    assert said in page(tmp_path, results, race[1]).text
    results["protocol"]["trials_per_rule"] |= {"adam": 83, "lion": 9}
    said = "The same time for every rule: 9 (lion) to 83 (adam) trials spread over its search "
    said += "space, one of them its defaults, then half as many around the best, each of 20 epochs;"
    assert said in page(tmp_path, results, race[1]).text


@pytest.mark.usefixtures("undrawn")
def test_a_module_s_page_has_its_own_facts(
    tmp_path: Path, race: tuple[dict[str, Any], pa.Table]
) -> None:
    results = copy.deepcopy(race[0])
    split = results["data"]["split"]
    data = {"name": "Net", "source": "TorchTask", "kind": "classification", "rows": 1797}
    results["data"] = data | {"split": split}
    results["protocol"] |= {
        "loss": "cross_entropy", "model": "Net, 4,810 parameters", "l2": 0.0, "halving": True,
        "label_smoothing": 0.1, "clip_norm": 1.0, "device": "cpu", "stacked": EVIL, "roles": EVIL,
        "schedules": ["constant", "cosine"],
    }  # fmt: skip
    results["rules"][0]["schedule"] = "cosine"
    results["rules"][0]["sensitivity"]["within_5_percent"] = None
    seen = page(tmp_path, results, race[1])
    assert len(scripts(seen)) == 1
    for said in (
        "1797 rows. Split into",
        "loss: cross_entropy, label smoothing 0.1, gradients clipped to norm 1;",
        f"computed in float32 on cpu; {EVIL}. {EVIL}.",
        "rate constant or cosine;",
        "the best third of those for a third",
        "cosine, batch",
    ):
        assert said in seen.text
    assert "standardized" not in seen.text


@pytest.mark.usefixtures("undrawn")
def test_page_says_what_a_budget_buys_at_most(
    tmp_path: Path, race: tuple[dict[str, Any], pa.Table]
) -> None:
    said = f"within 60s, at most {MAX_TRIALS} trials spread, and what widens a space on top."
    results = {**race[0], "protocol": {**race[0]["protocol"], "budget": "60s"}}
    assert said in page(tmp_path, results, race[1]).text
    assert "within" not in page(tmp_path, *race).text.partition("How it was done")[2]


def test_the_same_race_gives_the_same_page(
    tmp_path: Path, seen: Page, race: tuple[dict[str, Any], pa.Table]
) -> None:
    assert page(tmp_path, *race).source == seen.source


def test_a_rule_of_the_users_own_is_raced_like_any_other(
    tmp_path: Path, race: tuple[dict[str, Any], pa.Table]
) -> None:
    results = json.loads(json.dumps(race[0]).replace('"lion"', '"my_own_rule"'))
    names = ["my_own_rule" if n == "lion" else n for n in race[1]["rule"].to_pylist()]
    curves = race[1].set_column(0, "rule", pa.array(names))
    assert "my_own_rule" not in rules.names()
    assert "my_own_rule" in page(tmp_path, results, curves).text
