"""Traced: a NumPy function as JavaScript. It is called once with names in place of numbers.

So problems and schedules are written once, in Python. What a function does with an array that holds
``Expression`` objects is noted; a decision that depends on a value is refused, because a trace sees
only one side of it.
"""

import ast
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from thalweg.kernels.javascript import expression, own

__all__ = ["Expression", "function", "names"]

_FOLDED: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.Pow: operator.pow, ast.Mod: operator.mod,
}  # fmt: skip


class Expression:
    """A number that is not known yet."""

    def __init__(self, node: ast.expr) -> None:
        self.node = node

    def __bool__(self) -> bool:
        text = ast.unparse(self.node)
        raise TypeError(f"a decision depends on {text}; write it with numpy.where")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Do what NumPy's functions do, an element at a time."""
        if method == "__call__" and not options and ufunc.__name__ in _UFUNCS:
            values = [np.asarray(each, dtype=object) for each in inputs]
            result = np.frompyfunc(_UFUNCS[ufunc.__name__], ufunc.nin, 1)(*values)
        else:
            values = [np.asarray(each) if isinstance(each, _Array) else each for each in inputs]
            result = getattr(ufunc, method)(*values, **options)
        return result.view(_Array) if isinstance(result, np.ndarray) else result


class _Array(np.ndarray[Any, Any]):
    """An array of expressions."""

    __array_ufunc__ = Expression.__array_ufunc__

    def __array_function__(
        self, called: Callable[..., Any], types: Any, given: Any, options: Any
    ) -> Any:
        if called in _FUNCTIONS:
            return _FUNCTIONS[called](*given, **options)
        return super().__array_function__(called, types, given, options)


def _node(value: Any) -> ast.expr:
    value = value.item() if isinstance(value, np.ndarray) else value
    return value.node if isinstance(value, Expression) else ast.Constant(float(value))


def _binary(kind: type[ast.operator]) -> Callable[[Any, Any], Expression]:
    def made(a: Any, b: Any) -> Expression:  # noqa: PLR0911 - one case an identity
        left, right = _node(a), _node(b)
        numbers = [n.value if isinstance(n, ast.Constant) else None for n in (left, right)]
        match kind, numbers:
            case _, [float(), float()]:
                return Expression(ast.Constant(_FOLDED[kind](*numbers)))
            case (ast.Mult, [0.0, _] | [_, 0.0]):  # what it is multiplied by is finite
                return Expression(ast.Constant(0.0))
            case (ast.Mult, [1.0, _]) | (ast.Add, [0.0, _]):
                return Expression(right)
            case (ast.Mult | ast.Div | ast.Pow, [_, 1.0]) | (ast.Add | ast.Sub, [_, 0.0]):
                return Expression(left)
            case ast.Pow, [_, 0.0]:
                return Expression(ast.Constant(1.0))
            case ast.Pow, [_, 2.0 | 3.0 as times]:
                square = ast.BinOp(left, ast.Mult(), left)
                return Expression(square if times == 2 else ast.BinOp(square, ast.Mult(), left))
        return Expression(ast.BinOp(left, kind(), right))

    return made


def _compare(kind: type[ast.cmpop]) -> Callable[[Any, Any], Expression]:
    return lambda a, b: Expression(ast.Compare(_node(a), [kind()], [_node(b)]))


def _call(name: str) -> Callable[..., Expression]:
    return lambda *given: Expression(ast.Call(ast.Name(name), list(map(_node, given)), []))


def _swapped(made: Callable[[Any, Any], Expression]) -> Callable[[Any, Any], Expression]:
    return lambda a, b: made(b, a)


def _alone(made: Callable[[Any, Any], Expression]) -> Callable[[Any, Any], Any]:
    """Leave to NumPy what has an array beside it."""
    return lambda a, b: NotImplemented if np.ndim(b) else made(a, b)


_add, _multiply, _divide = map(_binary, (ast.Add, ast.Mult, ast.Div))
_subtract, _power, _modulo = map(_binary, (ast.Sub, ast.Pow, ast.Mod))
_less, _at_least = _compare(ast.Lt), _compare(ast.GtE)
_exp, _floor, _choose = _call("exp"), _call("floor"), _call("where")


def _negative(a: Any) -> Expression:
    return Expression(ast.UnaryOp(ast.USub(), _node(a)))


_UFUNCS: dict[str, Callable[..., Expression]] = {
    "add": _add, "subtract": _subtract, "multiply": _multiply, "divide": _divide,
    "power": _power, "remainder": _modulo, "negative": _negative,
    "floor_divide": lambda a, b: _floor(_divide(a, b)),
    "square": lambda a: _multiply(a, a),
    "less": _less, "greater_equal": _at_least, "less_equal": _compare(ast.LtE),
    "greater": _compare(ast.Gt), "equal": _compare(ast.Eq),
    "minimum": _call("minimum"), "maximum": _call("maximum"), "floor": _floor,
    "sin": _call("sin"), "cos": _call("cos"), "exp": _exp, "log": _call("log"),
    "sqrt": _call("sqrt"), "absolute": _call("abs"),
    "expit": lambda z: _divide(1.0, _add(1.0, _exp(_negative(z)))),
}  # fmt: skip

for _name, _ufunc in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power",
    "mod": "remainder", "floordiv": "floor_divide",
}.items():  # fmt: skip
    setattr(Expression, f"__{_name}__", _alone(_UFUNCS[_ufunc]))
    setattr(Expression, f"__r{_name}__", _alone(_swapped(_UFUNCS[_ufunc])))
for _name, _ufunc in {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "neg": "negative",
}.items():  # fmt: skip
    setattr(Expression, f"__{_name}__", _UFUNCS[_ufunc])


def _where(test: Any, a: Any, b: Any) -> Any:
    parts = [np.asarray(each, dtype=object) for each in (test, a, b)]
    return _array(np.frompyfunc(_choose, 3, 1)(*parts))


def _interp(x: Any, knots: Sequence[Any], values: Sequence[Any]) -> Any:
    """Write numpy.interp: lines between knots, and constant outside of them."""

    def at(t: Any) -> Any:
        result = values[-1]
        for i in reversed(range(len(knots) - 1)):
            slope = _divide(_subtract(values[i + 1], values[i]), _subtract(knots[i + 1], knots[i]))
            line = _add(_multiply(slope, _subtract(t, knots[i])), values[i])
            result = _choose(_less(t, knots[i + 1]), line, result)
        return _choose(_less(t, knots[0]), values[0], result)

    return _array(np.frompyfunc(at, 1, 1)(np.asarray(x, dtype=object)))


_FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {np.where: _where, np.interp: _interp}


def _array(values: Any) -> _Array:
    return np.asarray(values, dtype=object).view(_Array)


def names(*given: str) -> Any:
    """Return an array of numbers that are not known yet, by their names."""
    return _array([Expression(ast.Name(own(name))) for name in given])


def function(arguments: Sequence[str], results: Any) -> str:
    """Return the JavaScript function of the arguments that returns a list of numbers.

    Args:
        arguments: their names.
        results: one expression or number, or an array of them: then the function returns a list.

    Example:
        >>> x, y = names("x", "y")
        >>> print(function(["x", "y"], [x * y + 1, np.sin(x * y)]))
        (x, y) => {
          const c0 = x * y;
          return [c0 + 1, Math.sin(c0)];
        }
    """
    several = np.ndim(results) > 0
    nodes = [_node(each) for each in np.ravel(np.asarray(results, dtype=object))]
    shared = _Shared(nodes)
    written = list(map(shared.written, nodes))
    value = f"[{', '.join(written)}]" if several else written[0]
    head = f"({', '.join(map(own, arguments))}) =>"
    if not shared.lines:
        return f"{head} {value}"
    return "\n".join([f"{head} {{", *shared.lines, f"  return {value};", "}"])


class _Shared:
    """Writes expressions; what occurs twice is computed once.

    Attributes:
        lines: that compute what is shared.
    """

    def __init__(self, nodes: Sequence[ast.expr]) -> None:
        self.keys: dict[tuple[Any, ...], int] = {}
        self.known: dict[int, int] = {}  # by id of a node, the number of what it computes
        self.uses: Counter[int] = Counter()
        self.names: dict[int, ast.Name] = {}
        self.lines: list[str] = []
        self.nodes = nodes  # kept: ids are of living nodes
        for node in nodes:
            self.count(node)

    def count(self, node: ast.expr) -> int:
        """Return the number of what a node computes, and note that it is used once more."""
        if id(node) in self.known:
            number = self.known[id(node)]
            self.uses[number] += 1
            return number
        parts = [self.count(part) for part in _parts(node)]
        key = (*_kind(node), *parts)
        if key in self.keys:  # then its parts are computed no second time
            self.uses.subtract(parts)
        number = self.known[id(node)] = self.keys.setdefault(key, len(self.keys))
        self.uses[number] += 1
        return number

    def written(self, node: ast.expr) -> str:
        return expression(self.replaced(node))

    def replaced(self, node: ast.expr) -> ast.expr:
        """Return the node with names for what is shared."""
        number = self.known[id(node)]
        if number in self.names:
            return self.names[number]
        match node:
            case ast.BinOp(left, kind, right):
                made: ast.expr = ast.BinOp(self.replaced(left), kind, self.replaced(right))
            case ast.UnaryOp(kind, operand):
                made = ast.UnaryOp(kind, self.replaced(operand))
            case ast.Compare(left, kinds, [right]):
                made = ast.Compare(self.replaced(left), kinds, [self.replaced(right)])
            case ast.Call(called, arguments):
                made = ast.Call(called, list(map(self.replaced, arguments)), [])
            case _:
                return node
        if self.uses[number] == 1:
            return made
        name = ast.Name(f"c{len(self.names)}")
        self.lines.append(f"  const {name.id} = {expression(made)};")
        self.names[number] = name
        return name


def _parts(node: ast.expr) -> list[ast.expr]:
    match node:
        case ast.BinOp(left, _, right) | ast.Compare(left, _, [right]):
            return [left, right]
        case ast.UnaryOp(_, operand):
            return [operand]
        case ast.Call(_, arguments):
            return arguments
    return []


def _kind(node: ast.expr) -> tuple[Any, ...]:
    match node:
        case ast.Name(name):
            return "name", name
        case ast.Constant(value):
            return "number", repr(value)
        case ast.BinOp(op=kind) | ast.UnaryOp(op=kind) | ast.Compare(ops=[kind]):
            return (type(kind),)
        case ast.Call(ast.Name(function)):
            return "call", function
    raise TypeError(ast.dump(node))
