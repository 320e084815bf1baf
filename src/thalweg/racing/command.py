"""Command: the command line or the Python call that asks for the same race again."""

import shlex
from collections.abc import Sequence
from typing import Any

from thalweg.racing.protocol import Protocol

__all__ = ["call", "command"]


def command(words: Sequence[str], protocol: Protocol) -> str:
    """Return the command line that repeats a race.

    Args:
        words: the words that name the data or the task on the command line.
        protocol: the terms.

    Example:
        >>> command(["train.py"], Protocol(rules=("sgd", "lion"), l2=None, halving=True))[:54]
        'thalweg race train.py --rules sgd,lion --batch-size 32'
    """
    line = ["thalweg", "race", *words]
    for name, value in _terms(protocol):
        line.append(f"--{name.replace('_', '-')}")
        if value is not True:
            line.append(",".join(map(str, value)) if isinstance(value, tuple) else str(value))
    return shlex.join(line)


def call(arguments: str, protocol: Protocol, **own: str) -> str:
    """Return the call that repeats a race of data or a task that only Python has."""
    terms = (f"{name}={value!r}" for name, value in [*_terms(protocol), *own.items()])
    return f"thalweg.race({', '.join([arguments, *terms])})"


def _terms(protocol: Protocol) -> list[tuple[str, Any]]:
    """Return the terms that were given, by the names of their options."""
    terms = {"batch_size" if k == "batch_sizes" else k: v for k, v in vars(protocol).items()}
    return [(k, v) for k, v in terms.items() if v is not None and v is not False]
