"""The commands that need no data: trace, rates and schedule."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from PIL import Image

from thalweg import cli, plots, problems, rules, schedules, theory
from thalweg.second_order import METHODS


def said(capsys: pytest.CaptureFixture[str], words: str) -> str:
    """Return what a command prints; it must succeed, without a word of complaint."""
    code = cli.main(words.split())
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


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
    said(capsys, f"rates momentum --spectrum 0.2,4 --out {tmp_path / 'rates.png'}")
    best = theory.best("momentum", 0.2, 4.0)
    assert drawn[0].best == pytest.approx(best.hyper, rel=1e-12)
    assert drawn[0].rate.min() == pytest.approx(best.rate, rel=1e-9)


def test_rates_of_an_adaptive_rule_say_that_its_preconditioner_is_held(
    capsys: pytest.CaptureFixture[str],
) -> None:
    held = "adam: predicted with the preconditioner held fixed at 1."
    assert held in said(capsys, "rates --compare sgd,adam --kappa 9")
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


def test_rates_of_very_stretched_bowls_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
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


@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam"])
def test_rates_draws_one_rule_in_two_panels(
    rule: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "rates.png"
    out = said(capsys, f"rates {rule} --spectrum 0.2,4 --out {picture}")
    assert out.endswith(f"picture: {picture}\n")
    with Image.open(picture) as drawn:
        width, height = drawn.size
    assert width > 2 * height


@pytest.mark.parametrize(
    "words",
    [
        "constant", "inverse_time", "inverse_sqrt", "polynomial", "linear", "cosine", "one_cycle",
        "exponential --decay 0.01", "step --every 30 --factor 0.5", "warm_restarts --period 10",
        "piecewise_constant --values 1,0.1,0.01 --boundaries 10,20",
        "warmup_stable_decay --warmup-steps 5 --stable-steps 20 --decay-steps 60",
    ],
)  # fmt: skip
def test_schedule_prints_the_python_that_makes_it_and_its_values(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, bars, steps, values = said(capsys, f"schedule {words} --steps 90").splitlines()
    made = eval(code, vars(schedules))  # noqa: S307 - our own output
    assert isinstance(made, schedules.Schedule)
    assert made(0) == pytest.approx(1, abs=0.99)
    shown = [int(step) for step in steps.split()[1:]]
    assert (shown[0], shown[-1]) == (0, 90)
    assert values.split()[1:] == [f"{made(step):.4g}" for step in shown]
    at = made(np.linspace(0, 90, 64).astype(int))
    heights = np.array(["▁▂▃▄▅▆▇█".index(bar) for bar in bars]) / 7 * at.max()
    np.testing.assert_allclose(heights, at, rtol=0, atol=0.501 / 7 * at.max())


def test_schedule_counts_the_warm_up_in_its_length(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "cosine.png"
    words = f"schedule cosine --initial=0.1 --warmup 10 --steps 50 --out {picture}"
    out = said(capsys, words)
    expected = schedules.warmup(schedules.cosine(0.1, steps=40), steps=10)
    assert out.splitlines()[0] == repr(expected)
    assert picture.read_bytes().startswith(b"\x89PNG")


def help_of(command: str) -> str:
    app: Any = typer.main.get_command(cli.app)
    return " ".join(parameter.help for parameter in app.commands[command].params)


def test_help_names_what_there_is() -> None:
    known = {name for name in schedules.__all__ if name not in {"Schedule", "values", "warmup"}}
    assert known == {*re.findall(r"\w+", help_of("schedule"))} & {*schedules.__all__} - {"warmup"}
    words = {*re.findall(r"\w+", help_of("trace"))}
    assert words >= {*problems.names(), *METHODS}


def test_trace_takes_second_order_methods_and_animates(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    still, moving = tmp_path / "a.png", tmp_path / "a.gif"
    words = f"trace newton,bfgs,lbfgs,sgd --problem rotated_bowl --lr 0.25 --steps 3 --out {still}"
    out = said(capsys, f"{words} --animate {moving}")
    # The error of damped Newton on a quadratic is (1 − lr)^k.
    x = [f"{0.75**3 * start:.6g}" for start in (-5, -2)]
    assert f"newton (lr 0.25, damping 0) on rotated_bowl, 3 steps:\n  x = ({', '.join(x)})" in out
    assert "bfgs (curvature 0.9)" in out
    assert "lbfgs (memory 10, curvature 0.9)" in out
    assert out.startswith(f"picture: {moving}\n")
    assert out.endswith(f"picture: {still}\n")
    with Image.open(moving) as frames:
        assert frames.n_frames == 4  # type: ignore[attr-defined] # of a GIF
    assert {each.name for each in tmp_path.iterdir()} == {"a.png", "a.gif"}


def test_trace_says_how_it_ended(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = f"--out {tmp_path / 'a.png'}"
    converged = said(capsys, f"trace newton --problem bowl --tolerance 1e-6 {out}")
    assert ", 1 steps:" in converged
    assert "; converged" in converged
    indefinite = said(capsys, f"trace newton --problem saddle --steps 7 {out}")
    assert "the Hessian had a negative eigenvalue at 7 of the steps" in indefinite
    noisy = said(capsys, f"trace sgd --start=0,0 --noise 1 --lr 0.1 {out}")
    assert noisy.splitlines()[1].endswith("; f grew")  # to its floor: it does not diverge


def test_trace_tells_of_an_animation_though_the_picture_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    moving, nowhere = tmp_path / "a.gif", tmp_path / "none" / "a.png"
    assert cli.main(f"trace sgd --steps 2 --animate {moving} --out {nowhere}".split()) == 1
    out, err = capsys.readouterr()
    assert moving.exists()
    assert out == f"picture: {moving}\n"
    assert "No such file or directory" in err


@pytest.mark.parametrize(
    "line",
    [
        "trace sgd --steps 1 --out picture.png",
        "trace sgd --steps 1 --out picture.svg",
        "trace sgd --steps 1 --out picture.pdf",
        "trace sgd --steps 1 --animate picture.gif --out other.png",
        "trace sgd --steps 1 --animate other.gif --out picture.png",
        "rates sgd --spectrum 1 --out picture.png",
        "schedule cosine --steps 9 --out picture.svg",
    ],
)
def test_a_picture_replaces_pictures_of_ours_and_no_other_file(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (picture,) = (Path(word) for word in line.split() if word.startswith("picture"))
    for _ in range(2):  # the second time in the place of the first
        said(capsys, line)
    if picture.suffix not in {".svg", ".pdf"}:
        with Image.open(picture) as seen:  # the mark leaves it what it is
            seen.load()
    made = picture.read_bytes()
    for name in (picture, Path("other.png"), Path("other.gif")):
        name.unlink(missing_ok=True)
    picture.write_bytes(b"the user's own")
    assert cli.main(line.split()) == 1
    out, err = capsys.readouterr()
    assert err == (
        f"error: {picture} is there already, and thalweg did not make it; remove it, or name "
        "another file\n"
    )
    assert "picture:" not in out
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"the user's own"]
    said(capsys, line.replace("picture", "named"))  # one remedy, and the other
    picture.unlink()
    said(capsys, line)
    assert len(picture.read_bytes()) == pytest.approx(len(made), rel=0.01)


def test_trace_draws_parts_of_a_sum(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = f"--out {tmp_path / 'a.png'}"
    words = f"trace sgd --problem reddi --lr 0.5 --steps 1 --batch-size 1 {out}"
    first = said(capsys, f"{words} --sampling sequential")
    part = problems.get("reddi").parts[0]
    x = np.clip(0 - 0.5 * part.gradient(np.zeros(1)), -1, 1).item()
    assert f"x = ({x:.6g})" in first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rates sgd", "give either --spectrum, such as 0.2,4, or --kappa, such as 1e4"),
        ("rates sgd --kappa 3 --spectrum 1,3", "give either --spectrum"),
        ("rates --kappa 3", "give one RULE, or several separated by commas, got ''"),
        ("rates , --kappa 3", "give one RULE, or several separated by commas, got ','"),
        ("rates sgd --kappa 0.5", "kappa must be >= 1, got 0.5"),
        ("rates sgd --spectrum=-1,2", "spectrum must be finite and > 0, got -1"),
        ("rates sgd --spectrum 1,b", "spectrum must be numbers such as 0.2,4, got '1,b'"),
        ("rates momentum --beta 1 --kappa 3", "beta must be in [0, 1), got 1.0"),
        ("rates lion --kappa 3", "rule 'lion' is not linear"),
        ("rates asgd --kappa 3", "set lambd = 0"),
        ("rates adma --kappa 3", "did you mean adamax, adan, adam?"),
        ("rates sgd --kappa 3 --accuracy 2", "accuracy must be in (0, 1), got 2"),
        ("rates sgd --kappa 3 --step 2", "--step is neither an option (see thalweg rates --help)"),
        ("rates sgd --kappa 3 --out a.xyz", "a picture's name must end in ."),
        ("schedule", "NAME"),
        ("schedule cosin", "unknown schedule 'cosin'; did you mean cosine?"),
        ("schedule cosine linear", "give one NAME of a schedule, got 'cosine linear'"),
        (
            "schedule cosine --fianl 1",
            "nor an argument of cosine, which has: initial, steps, final",
        ),
        ("schedule cosine --initial big", "initial must be a number, got 'big'"),
        ("schedule cosine --initial 1,2", "initial must be a number, got '1,2'"),
        ("schedule cosine --steps 0", "steps must be an integer in [1, 1000000], got 0"),
        (
            "schedule cosine --steps 9999999",
            "steps must be an integer in [1, 1000000], got 9999999",
        ),
        ("schedule cosine --warmup 9 --steps 9", "warmup must be >= 0 and < steps"),
        ("schedule exponential", "schedule 'exponential' needs --decay, a number"),
        ("schedule one_cycle --rise 2", "rise must be in [0, 1), got 2"),
        ("schedule step --every 1 --factor 10", "is not finite from step 309 on"),
        ("schedule cosine --out a.xyz", "a picture's name must end in ."),
        ("trace newto", "unknown rule 'newto'; did you mean newton, nesterov?"),
        ("trace newton --dampin 1", "nor a hyperparameter of newton, which has: lr, damping"),
        ("trace sgd --batch-size 1", "--batch-size needs a problem with parts"),
        ("trace sgd --tolerance=-1", "tolerance must be >= 0, got -1"),
        ("trace sgd --steps 1000000000", "steps must be an integer in [1, 100000], got 1000000000"),
        ("trace sgd --steps 0", "steps must be an integer in [1, 100000], got 0"),
        ("trace ,", "give one RULE, or several separated by commas, got ','"),
        ("trace sgd --animate a.mp4", "an animation's name must end in .gif, got a.mp4"),
        ("trace sgd --animate a.gif --out a.xyz", "a picture's name must end in ."),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    words: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(words.split()) == 2
    out, err = capsys.readouterr()
    assert not out
    assert len(err.splitlines()) == 1
    assert message in err
    assert not list(tmp_path.iterdir())


def test_every_rule_has_rates_or_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    for rule in rules.names():
        code = cli.main(["rates", rule, "--spectrum", "1"])
        out, err = capsys.readouterr()
        assert (code, bool(err)) == ((2, True) if rule in {"lion", "rprop", "asgd"} else (0, False))
        assert rule in out + err
