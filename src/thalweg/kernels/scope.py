"""Scope: a function that is being translated, with what its names stand for."""

import ast
import copy
import re
from numbers import Real
from types import FunctionType
from typing import Any, NoReturn

import numpy as np

from thalweg.kernels import functions
from thalweg.kernels.builder import Value, literal
from thalweg.kernels.remedies import ALLOWED, advice, remedy
from thalweg.wrapper import origin

__all__ = ["Scope", "own_name"]

# Names that a Body uses itself; the same name in a rule gets an underscore.
_RESERVED = re.compile(
    r"t|(u|power|factor|part|sum|row|column)\d+|\w+_call\d+|gradient|before|moved"
    r"|gradient_scale|coupled_decay|shrink|row_count|column_count|whole|argument"
)

_LONGEST = 100  # characters of the rule in a message


class Scope:
    """A function that is being translated: its names, and its place for error messages."""

    def __init__(
        self, function: FunctionType, names: dict[str, Any], suffix: str, caller: str
    ) -> None:
        self.names = names  # a value, several, keywords, or whatever a parameter's default is
        self.suffix = suffix  # added to the variables of a called function; empty for the rule
        self.caller = caller
        self.outside = functions.outside(function)
        self.file = function.__code__.co_filename
        self.local = {*function.__code__.co_varnames, *function.__code__.co_cellvars}
        node = functions.definition(function)
        if isinstance(node, ast.Lambda):
            self.body: list[ast.stmt] = [ast.copy_location(ast.Return(node.body), node)]
        else:
            self.body = node.body

    def own(self, name: str) -> str:
        """Return the name of a variable in the body."""
        return name + self.suffix if self.suffix else own_name(name)

    def branch(self, suffix: str) -> "Scope":
        """Return this for one side of an ``if``: what it assigns gets a name of its own."""
        inner = copy.copy(self)
        inner.names, inner.suffix = dict(self.names), self.suffix + suffix
        return inner

    def lookup(self, node: ast.expr, name: str) -> Value:
        """Return what a name stands for, where that is one value."""
        found = self.names.get(name) if name in self.local else self.outside.get(name)
        if isinstance(found, Value):
            return found
        if isinstance(found, (Real, np.bool_)):
            return literal(found)
        self.refuse(
            node, f"{name!r} is neither an argument, nor a name assigned before, nor a number"
        )

    def keywords(self, node: ast.expr) -> dict[str, Any]:
        """Return the keywords for which ``**name`` stands in a call."""
        found = self.names.get(node.id) if isinstance(node, ast.Name) else None
        return found if isinstance(found, dict) else self.refuse(node, "it is no **parameter")

    def callee(self, node: ast.Call) -> Any:  # noqa: ANN401 - whatever the name stands for
        """Return the function that is called."""
        match node.func:
            case ast.Name(id=name) if name not in self.local and name in self.outside:
                return self.outside[name]
            case ast.Attribute(attr=name):
                self.refuse(node, advice(name))
            case ast.Name(id=name) if name not in self.local:
                unknown = f"{name!r} is the name of nothing here"
                self.refuse(node, f"{unknown}; {advice(name) or ALLOWED}")
        self.refuse(node)

    def place(self, node: ast.AST) -> str:
        """Return the file and line of a node."""
        return origin(self.file, getattr(node, "lineno", 0))

    def refuse(self, node: ast.AST, why: str = "") -> NoReturn:
        """Raise ValueError with the line of a node, and why it cannot be compiled or a remedy."""
        reason = why or remedy(node)
        called = f" (called in {self.caller})" if self.caller else ""
        text = ast.unparse(node).partition("\n")[0]
        text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
        raise ValueError(f"{self.place(node)}: `{text}` cannot be compiled: {reason}{called}")


def own_name(name: str) -> str:
    """Return the name of a rule's variable in its body."""
    return f"{name}_" if _RESERVED.fullmatch(name) or name.endswith("_") else name
