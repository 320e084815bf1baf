"""What the parser of the command line complains of, in our words: the value, and a remedy."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from thalweg.cli.terminal import say
from thalweg.files import absent
from thalweg.words import closest

__all__ = ["complain", "sentence"]

_KINDS = {"integer": "an integer", "number": "a number", "float": "a number"}


def complain(error: object) -> None:
    """Print what is wrong; of a file its name comes first."""
    if isinstance(error, FileNotFoundError) and error.filename:
        error = absent(error.filename)
    elif isinstance(error, OSError) and error.filename and error.strerror:
        error = f"{error.filename}: {error.strerror}"
    say(f"error: {error}", err=True)


def sentence(error: Any, words: Sequence[str]) -> str:  # noqa: ANN401 - Typer carries its own Click
    """Return what to say of a usage error, which has the classes and attributes of Click's.

    Args:
        error: what the parser raised.
        words: the words after ``thalweg``.
    """
    command = " ".join(["thalweg", *[w for w in words if not w.startswith("-")][:1]])
    remedy = f"see {command} --help"
    match type(error).__name__:
        case "BadParameter":
            said = _bad_value(error, words)
        case "MissingParameter":
            said = f"{_metavar(error.param)} is missing: {_about(error.param)}; {remedy}"
        case "NoSuchOption":
            name = error.option_name
            known = [word for each in error.ctx.command.params for word in each.opts]
            said = f"{command} has no option {name}; {closest(name, known, 0.7) or remedy}"
        case "BadOptionUsage" if "requires" in error.message:
            said = f"{error.option_name} needs a value; {remedy}"
        case "BadOptionUsage":
            value = next(_values([error.option_name], words), "")
            said = f"{error.option_name} takes no value, got {value!r}; write it alone"
        case _:
            said = _misplaced(error, command)
    return said


def _misplaced(error: Any, command: str) -> str:  # noqa: ANN401
    """Return what to say of a command that is not there, or of a word too many."""
    name = command.rpartition(" ")[2]
    if commands := getattr(getattr(error.ctx, "command", None), "commands", None):
        return f"there is no command {name!r}; {closest(name, commands) or 'see thalweg --help'}"
    message: str = error.format_message()
    if extra := re.search(r"unexpected extra argument.*? \((.*)\)", message):
        return f"{command} takes no {extra[1]!r}; quote what has spaces, or see {command} --help"
    return message


def _metavar(parameter: Any) -> str:  # noqa: ANN401
    """Return how the help calls an argument, without the options after it."""
    return str(parameter.metavar or parameter.name.upper()).partition(" ")[0]


def _about(parameter: Any) -> str:  # noqa: ANN401
    """Return a parameter's help within a sentence."""
    text = (getattr(parameter, "help", None) or "give one").rstrip(".")
    return str(text[:1].lower() + text[1:])


def _bad_value(error: Any, words: Sequence[str]) -> str:  # noqa: ANN401
    """Return what to say of a value that is of another kind than its option's."""
    name = error.param.opts[0]
    found = re.search(r"valid (\w+)", error.message)
    kind = _KINDS.get(found[1]) if found else None
    must = f"must be {kind}" if kind else f"cannot be taken: {error.message}"
    *_, value = "", *_values(error.param.opts, words)
    return f"{name} {must}, got {value!r}"


def _values(names: Sequence[str], words: Sequence[str]) -> Iterator[str]:
    """Yield the values that were given to an option."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name in names:
            yield value if equals else after
