"""JavaScript: a rule as a function for browsers, written from the body of ``translate``.

Each operation of the rule's function is one operation here, and JavaScript rounds each by itself:
the numbers are those of Python. Powers, exp and log are our own (``powers.js``) and rounded
correctly: those of browsers may be wrong in the last digit, those of a C library now and then.
"""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

from thalweg.kernels.body import Assign, Body, Power, Slot
from thalweg.kernels.translate import answer, as_written
from thalweg.rule import Rule
from thalweg.rules import get

__all__ = ["POWERS", "expression", "own", "source", "text"]

POWERS = Path(__file__).parent / "powers.js"
"""The module with the functions that generated code calls: ``power``, ``modulo``, ``exp``, ..."""

# Words of the language, and what generated code calls; the same name in a rule gets an underscore.
# Names of our own end in $, which no name of Python has.
_RESERVED = {
    "arguments", "await", "break", "case", "catch", "class", "const", "continue", "debugger",
    "default", "delete", "do", "else", "enum", "eval", "export", "extends", "false", "finally",
    "for", "function", "if", "implements", "import", "in", "instanceof", "interface", "let", "new",
    "null", "package", "private", "protected", "public", "return", "static", "super", "switch",
    "this", "throw", "true", "try", "typeof", "undefined", "var", "void", "while", "with", "yield",
    "Infinity", "Math", "NaN", "exp", "log", "modulo",
    "power", "quotient",
}  # fmt: skip
_FUNCTIONS = {
    "abs": "Math.abs", "maximum": "Math.max", "minimum": "Math.min", "sign": "Math.sign",
    "sqrt": "Math.sqrt", "sin": "Math.sin", "cos": "Math.cos", "floor": "Math.floor",
    "exp": "exp", "log": "log",
}  # fmt: skip
_ARITHMETIC: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/",
}  # fmt: skip
_CALLED: dict[type[ast.AST], str] = {
    ast.Pow: "power", ast.Mod: "modulo", ast.FloorDiv: "quotient",
}  # fmt: skip
_COMPARISONS: dict[type[ast.AST], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "===", ast.NotEq: "!==",
}  # fmt: skip


def own(name: str) -> str:
    """Return the name of a variable here."""
    return f"{name}_" if name in _RESERVED or name.endswith("_") else name


def text(value: object) -> str:
    r"""Return a value as JavaScript, so that it may stand in a page: no text can end its script.

    Example:
        >>> text({"a": "</script>"})
        '{"a":"\\u003c/script>"}'
    """
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def expression(node: ast.expr) -> str:  # noqa: PLR0911 - one case a node
    """Return an expression of a ``Body`` in JavaScript. It is a whole one: parts have parentheses.

    Example:
        >>> expression(ast.parse("a ** 2 + where(b > 0, 1, 2)", mode="eval").body)
        'power(a, 2) + ((b > 0) ? 1 : 2)'
    """
    match node:
        case ast.Constant(value=bool() as truth):
            return str(truth).lower()
        case ast.Constant(value=int() | float() as number):
            return _number(float(number))
        case ast.Name(name):
            return name
        case ast.UnaryOp(ast.USub(), operand):
            return f"-{_part(operand)}"
        case ast.BinOp(left, ast.Pow() | ast.Mod() | ast.FloorDiv() as operator, right):
            return f"{_CALLED[type(operator)]}({expression(left)}, {expression(right)})"
        case ast.BinOp(left, operator, right):
            return f"{_part(left)} {_ARITHMETIC[type(operator)]} {_part(right)}"
        case ast.Compare(left, [operator], [right]):
            return f"{_part(left)} {_COMPARISONS[type(operator)]} {_part(right)}"
        case ast.Call(ast.Name("where"), [test, a, b]):
            return f"{_part(test)} ? {_part(a)} : {_part(b)}"
        case ast.Call(ast.Name(function), arguments):
            return f"{_FUNCTIONS[function]}({', '.join(map(expression, arguments))})"
    raise TypeError(ast.dump(node))


def _number(value: float) -> str:
    """Return a number; Python and JavaScript read the same shortest digits."""
    if value != value:  # noqa: PLR0124 - NaN
        return "NaN"
    whole = repr(value).removesuffix(".0")
    return whole.replace("inf", "Infinity")


def _part(node: ast.expr) -> str:
    """Return an expression as a part of another one."""
    written = expression(node)
    match node:
        case ast.Call(ast.Name(function)):
            whole = function != "where"
        case ast.BinOp(op=ast.Pow() | ast.Mod() | ast.FloorDiv()) | ast.Name():
            whole = True
        case _:
            whole = isinstance(node, ast.Constant) and not written.startswith("-")
    return written if whole else f"({written})"


def source(rule: str | Rule) -> str:
    """Return a rule as a JavaScript object: what it is, and its function.

    ``step(n, g, x, s, t, u, h)`` takes step t of n parameters in place: g has their gradients, x
    their values, s an array of n numbers for each state, u the uniform states and h the
    hyperparameters. ``answer(n, x, s, u, h, out)`` puts where the model is judged into ``out``.

    Args:
        rule: a rule or its name.

    Raises:
        ValueError: unknown name, or a construct that cannot be translated (with its line).

    Example:
        >>> "x - (u0 * g)" in source("sgd")
        True
    """
    rule = get(rule)
    names = {
        "name": rule.name,
        "state": rule.state,
        "uniform": rule.uniform_state,
        "hyper": list(rule.hyperparameters),
        "defaults": list(rule.defaults.values()),
        "start": dict(rule.start),
    }
    about = ",\n".join(f"  {name}: {text(value)}" for name, value in names.items())
    step, at = as_written(rule).renamed(own), answer(rule).renamed(own)
    results = ["x$", *(f"s$[{i}]" for i in range(len(rule.state)))]
    lines = [
        "{",
        f"{about},",
        "  step(n$, g$, x$, s$, t, u$, h$) {",
        *_function(step, results),
        "  },",
        "  answer(n$, x$, s$, u$, h$, out$) {",
        *(_function(at, ["out$"]) if rule.judged else ["    out$.set(x$);"]),
        "  },",
        "}",
    ]
    return "\n".join(lines)


def _function(body: Body, results: list[str]) -> Iterator[str]:
    """Yield the lines of a function, with a loop over the elements."""
    used = _read(body)
    for index, name in enumerate(body.hyper):
        yield from _declared(name, f"h$[{index}]", used)
    for index, name in enumerate(body.uniform_state):
        yield from _declared(name, f"u$[{index}]", used)
    given = {*body.hyper, *body.uniform_state, "t"}
    yield from _assignments(body.uniform, given, "    ")
    yield "    for (let i$ = 0; i$ < n$; i$ += 1) {"
    arrays = dict(zip(body.varying, ["g$", "x$", *_states(body)], strict=True))
    for name, array in arrays.items():
        yield from _declared(name, f"{array}[i$]", used, "      ")
    yield from _assignments(body.element, {*body.varying}, "      ")
    yield from _kept([f"{array}[i$]" for array in results], body.results, "      ")
    yield "    }"
    places = [f"u$[{index}]" for index in range(len(body.new_uniform))]
    yield from _kept(places, body.new_uniform, "    ")


def _states(body: Body) -> list[str]:
    return [f"s$[{index}]" for index in range(len(body.varying) - 2)]


def _read(body: Body) -> set[str]:
    """Return every name that is read or changed."""
    lines = [*body.uniform, *body.element]
    values = [value for line in lines for value in line.values]
    nodes = [*values, *body.results, *body.new_uniform]
    read = {part.id for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name)}
    return read | {name for line in lines if isinstance(line, Assign) for name in line.names}


def _declared(name: str, value: str, used: set[str], indent: str = "    ") -> Iterator[str]:
    if name in used:
        yield f"{indent}let {name} = {value};"


def _assignments(
    lines: tuple[Assign | Slot | Power, ...] | tuple[Assign, ...], known: set[str], indent: str
) -> Iterator[str]:
    """Yield what is computed before the results. Of several values none sees another's new name."""
    for line in lines:
        match line:
            case Slot(index, uniform):
                pairs = [(f"u{index}", expression(uniform))]
            case Power(power, _, base):
                pairs = [(power, f"power({expression(base)}, t)")]
            case Assign(names, values):
                pairs = list(zip(names, map(expression, values), strict=True))
        if len(pairs) > 1:
            for name, value in pairs:
                yield f"{indent}const {name}$new = {value};"
            pairs = [(name, f"{name}$new") for name, _ in pairs]
        for name, value in pairs:
            yield f"{indent}{'' if name in known else 'let '}{name} = {value};"
            known.add(name)


def _kept(places: list[str], values: tuple[ast.expr, ...], indent: str) -> Iterator[str]:
    """Yield the stores of new values; all are computed from names, which no store changes."""
    for place, value in zip(places, values, strict=True):
        yield f"{indent}{place} = {expression(value)};"
