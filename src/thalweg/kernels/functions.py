"""Functions: which function a name in a rule calls, and the syntax tree of its source.

If a decorator put one function around another, the outer one is followed: ``__wrapped__`` is for
readers, and is not what runs.
"""

import ast
import builtins
import functools
import inspect
import linecache
import warnings
from collections import ChainMap
from collections.abc import Iterator, Mapping
from dis import get_instructions
from types import CodeType, FunctionType
from typing import Any

from thalweg.kernels.remedies import KNOWN, advice
from thalweg.rule import Rule
from thalweg.words import closest
from thalweg.wrapper import Wrapped, origin, text_of

__all__ = ["bound", "called", "check_alone", "check_names", "definition", "known", "outside"]

Definition = ast.FunctionDef | ast.Lambda


def known(callee: object) -> str | None:
    """Return the name of an element-wise function; None for anything else."""
    return next((name for name, function in KNOWN.items() if function is callee), None)


def called(callee: Any, args: list[Any], keywords: dict[str, Any]) -> FunctionType:  # noqa: ANN401
    """Return the Python function that a call runs. The arguments of a ``partial`` are added.

    Raises:
        ValueError: it runs none, or one that cannot be followed. The message has the remedy.
    """
    while not isinstance(callee, FunctionType):
        match callee:
            case Rule(function=function):
                callee = function
            case staticmethod():
                callee = callee.__func__
            case functools.partial():
                args[:0] = callee.args
                for name, value in callee.keywords.items():
                    keywords.setdefault(name, value)
                callee = callee.func
            case _:
                raise ValueError(_remedy(callee))
    return callee


def check_alone(rule: Rule) -> None:
    """Raise ValueError if a rule asks for what a kernel has not; the message has the line."""
    while isinstance(rule, Wrapped) and rule.inner.inputs:
        rule = rule.inner
    if rule.inputs:
        code = rule.function.__code__
        raise ValueError(
            f"{origin(code.co_filename, code.co_firstlineno)}: `{rule.name}` cannot be compiled: "
            f"it asks for the {' and the '.join(rule.inputs)} at other points, and a kernel has "
            "none; thalweg.optim.Descent with step(closure) and races of modules take the rule as "
            "it is"
        )


def check_names(rule: Rule) -> None:
    """Raise ValueError if a rule reads a name that nothing has, or asks whether a tensor is true.

    The message has the line. A kernel's text is checked when it is translated. This is for rules
    that are called.
    """
    if isinstance(rule, Wrapped):
        check_names(rule.inner)
    _check_tests(rule.function)  # type: ignore[arg-type] # a rule's is one
    known, file = outside(rule.function), rule.function.__code__.co_filename  # type: ignore[arg-type] # it has a source
    for one in (each for code in _codes(rule.function.__code__) for each in get_instructions(code)):
        if one.opname == "LOAD_GLOBAL" and one.argval not in known:
            line = (one.positions and one.positions.lineno) or 0
            hint = advice(one.argval) or closest(one.argval, rule.function.__code__.co_varnames)
            raise ValueError(
                f"{origin(file, line)}: {one.argval!r} is neither an argument, nor a name assigned "
                f"before, nor one of the file{f'; {hint}' if hint else ''}"
            )


def _check_tests(function: FunctionType) -> None:
    try:
        body = definition(function)
    except ValueError:  # there is no text of it
        return
    names = [n for n in ast.walk(body) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    for node in ast.walk(body):
        if not isinstance(node, ast.If | ast.IfExp | ast.While):
            continue
        other = {n.id for n in names if n.lineno < node.lineno}  # perhaps a number by now
        if ({"g", "x"} - other) & {*_bare(node.test)}:
            line = origin(function.__code__.co_filename, node.lineno)
            raise ValueError(
                f"{line}: the test `{ast.unparse(node.test)}` is one of a whole tensor, which is "
                "neither true nor false; write `name = where(test, a, b)`"
            )


def _bare(node: ast.AST) -> Iterator[str]:
    """Yield the names in an expression that are no arguments of a call and no parts of a name."""
    if isinstance(node, ast.Name):
        yield node.id
    elif not isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        for part in ast.iter_child_nodes(node):
            yield from _bare(part)


def _remedy(callee: Any) -> str:  # noqa: ANN401 - whatever is called
    if found := advice(getattr(callee, "__name__", "")):
        return found
    if isinstance(callee, functools._lru_cache_wrapper):  # noqa: SLF001 - its type has no other name
        return "it keeps its results, which no kernel can; take the cache away"
    return (
        f"it is {_kind(callee)}; a rule may call other rules, functions that def or lambda "
        f"declares, and {', '.join(sorted(KNOWN))}"
    )


def _kind(callee: Any) -> str:  # noqa: ANN401 - whatever is called
    if inspect.ismethod(callee):
        return "a method"
    if isinstance(callee, type):
        return "a class"
    if inspect.isbuiltin(callee):
        return "not written in Python"
    return f"an object of the class {type(callee).__name__}"


def outside(function: FunctionType) -> Mapping[str, Any]:
    """Return the names that a function can see: its closure, its module and Python's own."""
    cells = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            cells[name] = cell.cell_contents
        except ValueError:  # it is still empty
            continue
    return ChainMap(cells, function.__globals__, vars(builtins))


def bound(function: FunctionType, args: list[Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """Return a call's arguments by parameter, with defaults.

    Raises:
        TypeError: the arguments do not fit.
    """
    bare = FunctionType(
        function.__code__, {}, function.__name__, function.__defaults__, function.__closure__
    )
    bare.__kwdefaults__ = function.__kwdefaults__
    arguments = inspect.signature(bare).bind(*args, **keywords)  # of itself: it wraps nothing
    arguments.apply_defaults()
    return arguments.arguments


_definitions: dict[CodeType, Definition] = {}  # a file may be edited while a training runs


def definition(function: FunctionType) -> Definition:
    """Return the syntax node that declares a function.

    Raises:
        ValueError: there is no source, or the function was made from another one.
    """
    code = function.__code__
    if code not in _definitions:
        _definitions[code] = _found(function)
    return _definitions[code]


def _found(function: FunctionType) -> Definition:
    code, name = function.__code__, function.__name__
    nodes, codes = _source(function)
    if not any(_same(code, other) for other in codes):  # what was read first may be too old
        linecache.checkcache(code.co_filename)
        nodes, codes = _source(function)
    if not codes:
        raise ValueError(
            f"the source of {name!r} cannot be read; define it in a file or in a notebook cell"
        )
    if not any(_same(code, other) for other in codes):
        raise ValueError(
            f"{code.co_filename}: {name!r} is not what stands there now; load the file again"
        )
    found = sorted((node for node in nodes if _declares(node, code)), key=_size)
    # A lambda's code lies in the lambdas around it, too.
    if not found or not isinstance(found[0], Definition) or (_unplaced(code) and len(found) > 1):
        raise ValueError(
            f"{code.co_filename}, line {code.co_firstlineno}: {name!r} cannot be compiled; declare "
            "it with def"
        )
    return found[0]


def _source(function: FunctionType) -> tuple[list[ast.AST], list[CodeType]]:
    file = function.__code__.co_filename
    text = text_of(file) or "".join(linecache.getlines(file, function.__globals__))
    try:
        return _parsed(text) if text else ([], [])
    except (SyntaxError, ValueError):
        return [], []


@functools.lru_cache(maxsize=16)
def _parsed(text: str) -> tuple[list[ast.AST], list[CodeType]]:
    """Return the functions of a file, and the codes that Python makes from them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warned when it read the file
        tree = ast.parse(text)
        whole = compile(text, "", "exec", dont_inherit=True)
    kinds = ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda
    return [node for node in ast.walk(tree) if isinstance(node, kinds)], list(_codes(whole))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _same(a: CodeType, b: CodeType) -> bool:
    """Return whether two codes from the same place do the same."""
    return (
        (a.co_firstlineno, a.co_name, a.co_code) == (b.co_firstlineno, b.co_name, b.co_code)
        and (a.co_names, a.co_varnames, a.co_freevars) == (b.co_names, b.co_varnames, b.co_freevars)
        and len(a.co_consts) == len(b.co_consts)
        and all(map(_same_constant, a.co_consts, b.co_consts))
    )


def _same_constant(a: Any, b: Any) -> bool:  # noqa: ANN401 - whatever is a constant
    if isinstance(a, CodeType) and isinstance(b, CodeType):
        return _same(a, b)
    return type(a) is type(b) and repr(a) == repr(b)  # so is NaN, and 0.0 is not -0.0


def _declares(node: ast.AST, code: CodeType) -> bool:
    """Return whether the code may be that of a syntax node."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            return (name, first) == (code.co_name, code.co_firstlineno)
        case ast.Lambda(body=body) if code.co_name == "<lambda>":
            start, end = (body.lineno, body.col_offset), (body.end_lineno, body.end_col_offset)
            inside = all(start <= first and last <= end for first, last in _places(code))
            return node.lineno == code.co_firstlineno and inside
    return False


def _places(code: CodeType) -> list[tuple[Any, Any]]:
    """Return the first and the last line and column of each instruction that has a place."""
    return [
        ((line, column), (last, end))
        for line, last, column, end in code.co_positions()
        if column is not None and (column, end) != (0, 0)
    ]


def _unplaced(code: CodeType) -> bool:
    return code.co_name == "<lambda>" and not _places(code)


def _size(node: ast.AST) -> tuple[int, int]:
    return node.end_lineno - node.lineno, node.end_col_offset - node.col_offset  # type: ignore[attr-defined] # those found have places
