"""Reading arguments: lists with commas, and options that are a rule's own hyperparameters."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from thalweg.rule import Rule

__all__ = [
    "AS", "COMMENT", "DECIMAL", "DELIMITER", "DROP", "ENCODING", "HEADER_ROW", "KEEP", "KIND",
    "MISSING", "NA", "SKIP_BAD_ROWS", "TARGET", "column_types", "names", "numbers",
    "positional_and_options", "rules_and_hyper",
]  # fmt: skip


# How a table is read, for every command that takes one.
TARGET = Annotated[str | None, typer.Option(help="The column of a file to predict.")]
KIND = Annotated[
    str | None,
    typer.Option(help="regression or classification, if the target column does not make it clear."),
]
SKIP_BAD_ROWS = Annotated[
    bool, typer.Option("--skip-bad-rows", help="Drop rows with bad values and count them.")
]
DROP = Annotated[
    list[str] | None, typer.Option(metavar="COL,…", help="Columns of a file to leave out.")
]
KEEP = Annotated[
    list[str] | None,
    typer.Option(metavar="COL,…", help="The only columns of a file to use beside the target."),
]
AS = Annotated[
    list[str] | None,
    typer.Option(
        "--as",
        metavar="COL:TYPE,…",
        help="Take columns as number, category (a 0/1 feature for each value), date or text.",
    ),
]
MISSING = Annotated[
    str,
    typer.Option(
        help="What to do about missing values: impute (median and an indicator, or the category "
        "missing), drop their rows, or error."
    ),
]
NA = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEXT,…", help="Texts that stand for a missing value, beside NA, ?, null and so on."
    ),
]
DECIMAL = Annotated[
    str | None, typer.Option(help="Decimal mark of a text file: . or , (each column shows it).")
]
DELIMITER = Annotated[
    str | None,
    typer.Option(help="Delimiter of a text file: one character, tab or space; found by default."),
]
ENCODING = Annotated[
    str | None, typer.Option(help="Encoding of a text file, such as cp1252; found by default.")
]
COMMENT = Annotated[
    str | None, typer.Option(help="What a comment line of a text file begins with.")
]
HEADER_ROW = Annotated[
    int | None,
    typer.Option(help="Line of the column names in a text file, counted from 1; 0 for none."),
]


def names(text: str) -> list[str]:
    """Read ``sgd,adam``. A comma inside of parentheses parts nothing.

    Example:
        >>> names("sgd, cautious(adam)")
        ['sgd', 'cautious(adam)']
    """
    return [word.strip() for word in re.split(r",(?![^(]*\))", text) if word.strip()]


def column_types(given: Sequence[str]) -> dict[str, str]:
    """Read ``--as zip:category --as a:date,b:text``: what columns are, by name.

    Raises:
        ValueError: a word is not COL:TYPE.

    Example:
        >>> column_types(["zip:category", "a:date,rent, net:number"])
        {'zip': 'category', 'a': 'date', 'rent, net': 'number'}
    """
    found: dict[str, str] = {}
    for text in given:
        pairs = re.findall(r"(.+?):(number|category|date|text)(?:,|$)", text)
        if ",".join(f"{name}:{kind}" for name, kind in pairs) != text:
            raise ValueError(
                f"--as must be COL:TYPE, where TYPE is number, category, date or text, got {text!r}"
            )
        found |= dict(pairs)
    return found


def numbers(name: str, text: str, such_as: str) -> list[float]:
    """Read ``-5,-2``.

    Raises:
        ValueError: a word is not a number.

    Example:
        >>> numbers("start", "1,b", "-5,-2")
        Traceback (most recent call last):
        ...
        ValueError: start must be numbers such as -5,-2, got '1,b'
    """
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(f"{name} must be numbers such as {such_as}, got {text!r}") from None


def rules_and_hyper(
    words: Sequence[str], command: str, get: "Callable[[str], Rule]"
) -> "list[tuple[Rule, dict[str, Any]]]":
    """Read ``momentum --lr 0.6 --beta=0.5``: each rule, and the values that belong to it.

    Args:
        words: one list of rules, and options before or after it.
        command: the command whose help lists the other options.
        get: name -> rule.

    Raises:
        ValueError: there is not one list, a rule or a hyperparameter is unknown, or a value is not
            a number.

    Example:
        >>> from thalweg import rules
        >>> found = rules_and_hyper(["sgd,adam", "--lr", "1"], "trace", rules.get)
        >>> [(rule.name, hyper) for rule, hyper in found]
        [('sgd', {'lr': 1.0}), ('adam', {'lr': 1.0})]
    """
    listed, values = positional_and_options(words)
    if len(listed) != 1 or not names(listed[0]):
        raise ValueError(f"give one RULE, or several separated by commas, got {' '.join(listed)!r}")
    chosen = [get(name) for name in names(listed[0])]
    for name in values:
        if not any(name in rule.hyperparameters for rule in chosen):
            own = dict.fromkeys(h for rule in chosen for h in rule.hyperparameters)
            raise ValueError(
                f"--{name.replace('_', '-')} is neither an option (see thalweg {command} --help) "
                f"nor a hyperparameter of {listed[0]}, which has: {', '.join(own)}"
            )
    found = {name: _number(name, value) for name, value in values.items()}
    return [
        (rule, {name: number for name, number in found.items() if name in rule.hyperparameters})
        for rule in chosen
    ]


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, got {text!r}") from None


def positional_and_options(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Separate words that stand alone from options and their values.

    Raises:
        ValueError: an option has no value.

    Example:
        >>> positional_and_options(["adam", "--weight-decay", "0.1", "--lr=1"])
        (['adam'], {'weight_decay': '0.1', 'lr': '1'})
    """
    positional, values = [], {}
    rest = iter(words)
    for word in rest:
        if not word.startswith("--"):
            positional.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        if not equals and (value := next(rest, "")) == "":
            raise ValueError(f"{word} needs a value, such as {word} 0.5")
        values[name.replace("-", "_")] = value
    return positional, values
