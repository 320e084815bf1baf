"""Equation: the Python code of a rule, and what may not be in it or around it."""

import dis
import re
from collections.abc import Iterator
from itertools import pairwise
from types import CellType, FunctionType
from typing import Any

__all__ = ["BELOW", "check_in_place", "check_outermost", "functions"]

BELOW = "write @rule(...) above all other decorators of a function"


def check_in_place(function: FunctionType) -> None:
    """Raise TypeError at what changes the caller's array: `a += b`, `a[0] = b`, `a.add_(b)`."""
    code = function.__code__
    for one, after in pairwise(dis.get_instructions(code)):
        in_place = one.opname == "BINARY_OP" and one.argrepr.endswith("=")
        if in_place and after.opname.startswith("STORE_FAST"):
            name = after.argval if isinstance(after.argval, str) else after.argval[0]
            line = one.positions.lineno if one.positions else code.co_firstlineno
            raise TypeError(
                f"{code.co_filename}, line {line}: `{name} {one.argrepr}` changes arrays that are "
                f"not its own; write `{name} = {name} {one.argrepr[:-1]} ...`"
            )
        method = one.opname in {"LOAD_METHOD", "LOAD_ATTR"} and re.fullmatch(
            r"[a-z]\w*[^_]_", str(one.argval)
        )
        if method or one.opname == "STORE_SUBSCR":
            line = one.positions.lineno if one.positions else code.co_firstlineno
            what = f".{one.argval}" if method else "[...] ="
            raise TypeError(
                f"{code.co_filename}, line {line}: `{what}` changes arrays that are not its own; "
                "write a new value, such as `a = a * ...`"
            )


def functions(function: Any, seen: set[Any]) -> Iterator[FunctionType]:  # noqa: ANN401
    """Yield a function, those beside it that it calls, and those that it wraps."""
    if not isinstance(function, FunctionType) or function in seen:
        return
    seen.add(function)
    yield function
    around, code = function.__globals__, function.__code__
    called = (around.get(name) for name in code.co_names)
    beside = [other for other in called if getattr(other, "__globals__", None) is around]
    wrapped = [cell.cell_contents for cell in function.__closure__ or () if cell != CellType()]
    for other in (*beside, *wrapped):
        yield from functions(other, seen)


def check_outermost(name: str, function: Any, declared: object) -> None:  # noqa: ANN401
    """Raise ValueError if a decorator above @rule replaced the rule by something else.

    Args:
        name: of the rule.
        function: its equation.
        declared: the rule that was made of it.
    """
    outer = getattr(function, "__globals__", {}).get(name)
    inside = [cell for part in functions(outer, set()) for cell in part.__closure__ or ()]
    wrapped = (cell.cell_contents for cell in inside if cell != CellType())
    if any(one is declared for one in (getattr(outer, "__wrapped__", None), *wrapped)):
        raise ValueError(
            f"rule {name!r} has a decorator above @rule, which changes the function but not the "
            f"rule; {BELOW}"
        )
