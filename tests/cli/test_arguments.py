"""Arguments of commands that cannot be: each gets a sentence."""

from pathlib import Path

import pytest

from thalweg import cli


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rates sgd", "give either --spectrum, such as 0.2,4, or --kappa, such as 1e4"),
        ("rates sgd --kappa 3 --spectrum 1,3", "give either --spectrum"),
        ("rates --kappa 3", "give one RULE, or several separated by commas, got ''"),
        ("rates , --kappa 3", "give one RULE, or several separated by commas, got ','"),
        ("rates sgd --kappa 0.5", "kappa must be in [1, 1e+12], got 0.5"),
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
        ("schedule piecewise_constant", "needs --values, numbers such as 1,0.1"),
        ("rates momentum --kappa 1e300", "--kappa must be in [1, 1e+12], got 1e+300"),
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
