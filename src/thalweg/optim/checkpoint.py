"""Checkpoints: whether one is of the optimizer that loads it, which torch does not ask."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch

from thalweg import catalog, rules
from thalweg.catalog import TorchClass
from thalweg.optim.variants import every_class
from thalweg.rule import Rule

__all__ = ["check_origin"]


def check_origin(
    own: str,
    rule: Rule,
    names: TorchClass,
    group: Mapping[str, Any],
    states: Sequence[Mapping[str, Any]],
) -> None:
    """Raise ValueError if a group of a checkpoint is of another rule, or of another class.

    ``Descent``, ``Yogi``, ``AdaBelief`` and ``Lion`` write the name of the rule. What torch's
    classes wrote is known by the names of options and states, and so are old checkpoints.

    Args:
        own: the class of the optimizer that loads it.
        rule: of the group that is to be loaded.
        names: of its options and states.
        group: of the checkpoint.
        states: of the parameters of that group, in the checkpoint.
    """
    named, theirs = group.get("rule"), _classes_of(group)
    needed = [*names.arguments] if names.in_torch else [*names.arguments, "weight_decay"]
    missing = [name for name in needed if name not in group]
    foreign = _foreign(rule, names, states)
    if named in {None, rule.name} and not (missing or foreign) and not _other(rule, names, theirs):
        return
    if named:
        origin = _named(named, group)
    else:
        origin = " or ".join(theirs) or "another optimizer"
        if missing or foreign:
            sign = f"has no option {missing[0]!r}" if missing else f"has the state {foreign[0]!r}"
            origin += f", which {sign}"
    whole = f"Descent with rule {rule.name!r}" if own == "Descent" else own
    raise ValueError(
        f"the checkpoint is of {origin}; this optimizer is {whole}: load it into the optimizer "
        "that wrote it"
    )


def _named(rule: str, group: Mapping[str, Any]) -> str:
    """Return which of our own classes wrote a group that names its rule."""
    known = catalog.of(rules.get(rule)).torch if rule in rules.names() else None
    if known and not known.in_torch and known.arguments.keys() <= group.keys():
        return known.name
    return f"Descent with rule {rule!r}"


def _other(rule: Rule, names: TorchClass, theirs: Sequence[str]) -> bool:
    """Return whether options are all those of classes of torch's, none of which is this one."""
    known = catalog.of(rule).torch
    return bool(theirs) and not {names.name, known.name if known else ""} & set(theirs)


def _foreign(rule: Rule, names: TorchClass, states: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the states that other rules have, and this class has not.

    A class may have those of each of its rules; a subclass may have states of its own.
    """
    own = {*names.state.values(), *rule.state, "step"}
    if names.in_torch:
        own = {s for each in every_class() if each.name == names.name for s in each.state.values()}
        own |= {"step"}
    others = {state for each in every_class() for state in each.state.values()}
    others |= {state for name in rules.names() for state in rules.get(name).state}
    return sorted({name for state in states for name in state} & (others - own))


def _classes_of(group: Mapping[str, Any]) -> list[str]:
    """Return the classes of torch that have most of a group's options; none if none has all."""
    found = {name: keys for name, keys in _options().items() if keys <= group.keys()}
    most = max(map(len, found.values()), default=0)
    return [name for name, keys in found.items() if len(keys) == most]


@cache
def _options() -> dict[str, set[str]]:
    """Return the options of torch's classes that some rule has."""
    known = dict.fromkeys(each.name for each in every_class() if each.in_torch)
    matrix = torch.zeros(1, 1)
    # To add parameters would load torch's compiler.
    bare = {"add_param_group": lambda _, __: None}
    classes = {name: type(name, (getattr(torch.optim, name),), bare) for name in known}
    return {name: {*each([matrix]).defaults} for name, each in classes.items()}
