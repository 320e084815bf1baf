"""What the parser complains of is said in our words, with the value and a remedy."""

from pathlib import Path

import pytest

from thalweg import cli

MISTAKES = {
    "race digits --epochs abc": "--epochs must be an integer, got 'abc'",
    "race digits --epochs=1.5": "--epochs must be an integer, got '1.5'",
    "fit iris --alpha 1e": "--alpha must be a number, got '1e'",
    "rates adam --kappa": "--kappa needs a value; see thalweg rates --help",
    "race digits --quiet=yes": "--quiet takes no value, got 'yes'; write it alone",
    "race digits --rule adam": "thalweg race has no option --rule; did you mean --rules?",
    "race digits --xyz 1": "thalweg race has no option --xyz; see thalweg race --help",
    "--xyz": "thalweg has no option --xyz; see thalweg --help",
    "rase digits": "there is no command 'rase'; did you mean race, trace, rates?",
    "bogus": "there is no command 'bogus'; see thalweg --help",
    "race my prices.csv": "thalweg race takes no 'prices.csv'; quote what has spaces, or see "
    "thalweg race --help",
    "predict": "MODEL is missing: a file that thalweg fit wrote; see thalweg predict --help",
    "race price.csv": "there is no file price.csv; did you mean prices.csv?",
    "predict none.model prices.csv": "there is no file none.model; relative paths begin at {here}",
    "predict /none.model prices.csv": "there is no file /none.model; check it",
    "trace sgd --lr 0.1 --bata 3": "--bata is neither an option (see thalweg trace --help) nor a "
    "hyperparameter of sgd, which has: lr",
    "check train.py": "there is no file train.py; give the Python file of your task",
}


@pytest.mark.parametrize(("words", "message"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_is_a_sentence_of_ours(
    words: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("prices.csv").touch()
    assert cli.main(words.split()) in {1, 2}
    assert capsys.readouterr().err == f"error: {message.format(here=tmp_path)}\n"
