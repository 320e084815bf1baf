"""Own: rules of the user's, named by the file that declares them."""

import re
from collections.abc import Sequence
from pathlib import Path

from thalweg import rules
from thalweg.files import absent
from thalweg.rule import Rule
from thalweg.tasks.source import imported

__all__ = ["declared"]

_FILE = re.compile(r"(.+\.py)(?::(\w+))?")


def declared(given: Sequence[str]) -> tuple[list[Rule], dict[str, str]]:
    """Return the rules of these names, and the module that each of the user's own comes from.

    Args:
        given: names, or files with a rule, such as ``"mine.py:signum"``. The file is run.

    Raises:
        FileNotFoundError: there is no such file.
        TaskError: the file fails.
        ValueError: a name is unknown, or the file declares no rule of that name.

    Example:
        >>> chosen, homes = declared(["lion"])
        >>> chosen[0].name, homes
        ('lion', {})
    """
    chosen, homes = [], {}
    for text in given:
        match = _FILE.fullmatch(text)
        if match is None:
            chosen.append(rules.get(text))
            continue
        rule, module = _loaded(Path(match[1]), match[2])
        chosen.append(rule)
        homes[rule.name] = module
    return chosen, homes


def _loaded(file: Path, name: str | None) -> tuple[Rule, str]:
    if not file.is_file():
        raise absent(file, "give the Python file of your rule")
    module = imported(file)
    found = {key: value for key, value in vars(module).items() if isinstance(value, Rule)}
    own = [key for key, rule in found.items() if rule.function.__module__ == module.__name__]
    if name is None and len(own) == 1:
        name = own[0]
    if name is None or name not in found:
        listed = f"declares {', '.join(own)}" if own else "declares none: decorate one with @rule"
        given = f"{file}:{name}" if name else str(file)
        raise ValueError(f"rules must name one of {file}, which {listed}; got {given}")
    return found[name], file.stem
