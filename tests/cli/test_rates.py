"""thalweg rates: predictions beside what descents measure."""

import contextlib
import math
import re
from pathlib import Path

import pytest
from PIL import Image

from cli.output import said
from thalweg import cli, plots, rules, theory
from thalweg.cli import rates


def row_of(out: str, rule: str) -> list[float]:
    """Return the numbers at the end of a rule's row: limit, rates and steps."""
    (line,) = (line for line in out.splitlines() if line.startswith(f"{rule} "))
    words = line.replace("≠", "").replace(",", "").replace("> ", "").split()
    return [float(word) for word in words[-5:]]


def test_both_pictures_of_rates_mark_the_same_optimum(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn: list[theory.RateMap] = []
    draw = plots.rate_map
    monkeypatch.setattr(plots, "rate_map", lambda found, ax: draw(drawn.append(found) or found, ax))
    picture = tmp_path / "rates.png"
    said(capsys, f"rates momentum --spectrum 0.2,4 --out {picture}")
    assert _wide(picture)
    best = theory.best("momentum", 0.2, 4.0)
    assert drawn[0].best == pytest.approx(best.hyper, rel=1e-12)
    assert drawn[0].rate.min() == pytest.approx(best.rate, rel=1e-9)


def test_rates_of_an_adaptive_rule_say_that_its_preconditioner_is_held(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    silent = contextlib.nullcontext()
    monkeypatch.setattr(rates, "waiting", lambda doing: shown.append(doing) or silent)
    held = "adam: predicted with the preconditioner held fixed at 1."
    assert held in said(capsys, "rates --compare sgd,adam --kappa 9")
    assert shown == [f"looking for the best rate of {rule}" for rule in ("sgd", "adam")]
    assert "preconditioner" not in said(capsys, "rates sgd --kappa 9")


def test_rates_are_the_closed_forms_beside_what_a_descent_measures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = said(capsys, "rates momentum --spectrum 0.2,4")
    low, high = math.sqrt(0.2), math.sqrt(4)
    rate = (high - low) / (high + low)
    assert f"lr {(2 / (low + high)) ** 2:.6g}" in out
    assert f"beta {rate**2:.6g}" in out
    assert "Polyak 1964" in out
    limit, predicted, measured, steps, counted = row_of(out, "momentum")
    assert limit == pytest.approx((2 + 2 * rate**2) / 4, rel=1e-5)
    assert predicted == pytest.approx(rate, rel=1e-5)
    assert measured == pytest.approx(rate, rel=0.02)  # a double root: k · rate^k
    assert steps == counted
    # The oracle of the count: the error at λ and this double root is (1 + k (1 − rate)) rate^k or
    # nearly so, and falls below 1e-6 where that does.
    k = next(k for k in range(1000) if (1 + k * (1 - rate**2) / rate) * rate**k <= 1e-6)
    assert counted == pytest.approx(k, abs=3)


def test_no_terminal_is_too_narrow_for_numbers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = said(capsys, "rates averaged(momentum) --spectrum 0.2,4")
    monkeypatch.setenv("COLUMNS", "30")
    narrow = said(capsys, "rates averaged(momentum) --spectrum 0.2,4")
    assert "beta 0.402605" in wide
    assert "…" not in narrow
    assert set(wide.split()) == set(narrow.split())


def test_rates_compares_rules_and_marks_an_adaptive_one_that_strays(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "compared.png"
    out = said(capsys, f"rates --compare sgd,nesterov,adam --kappa 100 --beta1 0.9 --out {picture}")
    limit, predicted, measured, steps, counted = row_of(out, "sgd")
    assert (limit, predicted) == (2, pytest.approx(99 / 101, rel=1e-5))
    assert measured == pytest.approx(99 / 101, rel=1e-5)
    assert steps == counted == math.ceil(math.log(1e-6) / math.log(99 / 101))
    nesterov = row_of(out, "nesterov")
    assert nesterov[1] == pytest.approx(1 - 2 / math.sqrt(301), rel=1e-5)
    assert re.search(r"beta1 0\.9 ", out)
    strays = said(capsys, "rates adam --kappa 10")  # at its best by the prediction it diverges
    (adam,) = (line for line in strays.splitlines() if line.startswith("adam "))
    assert "≠" in adam
    assert "preconditioner" in strays
    assert "≠" not in said(capsys, "rates sgd,nesterov --kappa 100")
    with Image.open(picture) as drawn:
        assert drawn.size[0] > 1000


def test_rates_takes_what_is_given_and_says_what_diverges(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = said(capsys, "rates sgd --lr 0.4 --spectrum 4,0.2 --accuracy 0.5")
    assert row_of(given, "sgd") == [0.5, 0.92, 0.92, 9, 9]  # 0.92^9 < 1/2 < 0.92^8
    assert " given " in given
    out = said(capsys, "rates sgd --lr 0.6 --spectrum 0.2,4")
    assert re.search(r"1\.4 +1\.4 +never +> \d+ *$", out, re.MULTILINE)
    for lr, measured in ((1e60, 1e60), (1e120, 1e120), (1e200, math.inf)):
        out = said(capsys, f"rates sgd --lr {lr} --spectrum 1")
        assert float(out.splitlines()[2].split()[6]) == pytest.approx(measured)
    kept = said(capsys, "rates momentum --beta 0.5 --spectrum 1")
    assert row_of(kept, "momentum")[:2] == pytest.approx([3, math.sqrt(0.5)], rel=1e-5)


def test_a_rate_is_far_from_5_percent_of_its_logarithm() -> None:
    for share, far in ((1.04, False), (0.96, False), (1.06, True), (0.94, True)):
        row = cli.rates._Row("sgd", {}, "given", 2.0, 0.9, 10, None, 0.9**share, 10)  # type: ignore[arg-type]
        assert row.far is far


def test_rates_far_from_the_predicted_ones_are_explained_by_what_parts_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.rates, "_MOST_STEPS", 1000)
    cut = said(capsys, "rates nesterov --kappa 1e8")
    assert "≠" in cut
    assert "measured for 1,000" in cut
    assert "preconditioner" not in cut
    adaptive = said(capsys, "rates rmsprop --kappa 1e4")
    assert "preconditioner" in adaptive
    assert "measured for" not in adaptive
    assert "≠" not in said(capsys, "rates sgd --lr 1e200 --spectrum 1")


def test_rates_of_very_stretched_bowls_are_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.rates, "_MOST_STEPS", 2000)  # what is measured does not matter here
    ball, averaged = (
        row_of(said(capsys, f"rates {rule} --kappa 1e11"), rule)[3]
        for rule in ("momentum", "averaged_momentum")
    )
    assert averaged == pytest.approx(ball, rel=1e-2)


def test_rates_are_measured_above_the_least_floats_and_where_one_step_lands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    far = said(capsys, "rates sgd --spectrum 1,3 --accuracy 1e-200")
    assert row_of(far, "sgd")[1:3] == [0.5, 0.5]
    fast = row_of(said(capsys, "rates momentum --spectrum 0.01,1 --lr 0.1 --beta 0.5"), "momentum")
    assert fast[1] == pytest.approx(fast[2], rel=1e-4)  # the coordinate of 1 stands still at 5e-324
    assert row_of(said(capsys, "rates sgd --spectrum 3"), "sgd")[1:] == [0, 0, 1, 1]


def test_rates_that_take_too_long_to_count_are_still_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.rates, "_MOST_STEPS", 2000)
    out = said(capsys, "rates sgd --kappa 1e4")
    _, predicted, measured, steps, counted = row_of(out, "sgd")
    assert predicted == measured == pytest.approx(1 - 2 / 10001, abs=1e-6)
    assert steps > 60_000
    assert counted == 2000
    assert "> 2,000" in out


@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_rates_draws_one_rule_in_two_panels(
    rule: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "rates.png"
    out = said(capsys, f"rates {rule} --spectrum 0.2,4 --out {picture}")
    assert out.endswith(f"picture: {picture}\n")
    assert _wide(picture)


def _wide(picture: Path) -> bool:
    with Image.open(picture) as drawn:
        width, height = drawn.size
    return width > 2 * height


def test_every_rule_has_rates_or_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    without = {
        "lion", "rprop", "asgd", "schedule_free_sgd", "schedule_free_adamw", "lars", "lamb",
        "adafactor", "prodigy", "dadapt_adam", "dowg", *rules.names("matrices", "asking"),
    }  # fmt: skip
    # Those take seconds each; theory's own tests have their limits and optima.
    for rule in set(rules.names()) - {"adan", "ademamix", "mars", "soap"}:
        code = cli.main(["rates", rule, "--spectrum", "1"])
        out, err = capsys.readouterr()
        assert (code, bool(err)) == ((2, True) if rule in without else (0, False))
        assert rule in out + err
