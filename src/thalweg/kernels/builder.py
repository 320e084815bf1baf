"""Builder: expressions of a kernel, and the lines that compute their parts.

Each maximal uniform expression inside a varying one becomes a slot: computed once per step in
float64 and rounded to the element type.
"""

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from thalweg.kernels.body import Assign, Power, Slot, names_in

__all__ = ["ARITHMETIC", "COMPARISONS", "Builder", "Value", "literal"]

ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.Pow: operator.pow,
}  # fmt: skip
COMPARISONS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
_PYTHONS = np.float64, np.int64, np.bool_  # numbers of NumPy that compute as Python's do
_TOO_LARGE = "the number is too large"
_LONGEST = 1100  # bits: more than any float has


@dataclass(frozen=True)
class Value:
    """An expression and what it depends on."""

    node: ast.expr
    varying: bool
    steady: bool = False  # uniform and the same at every step while the hyperparameters are
    test: bool = False  # the result of a comparison
    divisor: bool = False  # uniform, and 0 or so large that 1 divided by it is finite

    @property
    def literal(self) -> bool:
        """Whether it is a number that is written in the rule."""
        return isinstance(self.node, ast.Constant)

    @property
    def number(self) -> Any:  # noqa: ANN401 - a bool, an int or a float
        """The value of a literal in Python, where whole numbers are exact."""
        return self.node.value  # type: ignore[attr-defined]


def literal(number: Any) -> Value:  # noqa: ANN401 - whatever is a real number
    """Return a number that is written in a rule.

    Raises:
        ArithmeticError: a float cannot hold it, or NumPy computes with it otherwise than Python.
    """
    if isinstance(number, np.generic) and not isinstance(number, _PYTHONS):
        kind = type(number).__name__
        raise ArithmeticError(f"a number is NumPy's {kind}, which rounds; make it float(...)")  # noqa: TRY004
    plain = number.item() if isinstance(number, np.generic) else number
    try:
        size = abs(float(plain))
    except OverflowError as error:
        raise OverflowError(_TOO_LARGE) from error
    whole = isinstance(plain, int)  # they are exact, as in Python
    node = ast.Constant(plain if whole else float(plain))
    return Value(node, varying=False, steady=True, divisor=2**-60 <= size <= 2**60)


class Builder:
    """Builds expressions, and appends the lines that are run once per step and once per element.

    Attributes:
        uniform: what is done once per step.
        element: what is done once per element.
        slot_count: how many slots there are.
        power_count: how many running powers.
        quotients: of a varying by a uniform value; they may become products with its reciprocal.
    """

    def __init__(self) -> None:
        self.uniform: list[Assign | Slot | Power] = []
        self.element: list[Assign] = []
        self._slots: dict[str, Slot] = {}  # by value, as long as its names keep theirs
        self.slot_count = 0
        self._powers: dict[str, Power] = {}  # by base, in the same way
        self.power_count = 0
        self._factors = 0
        self.quotients: set[ast.BinOp] = set()

    def emit(self, names: list[str], values: list[Value]) -> list[Value]:
        """Append an assignment, and return the new names. A number needs no name."""
        for varying, lines in ((True, self.element), (False, self.uniform)):
            chosen = [
                (name, value.node)
                for name, value in zip(names, values, strict=True)
                if value.varying is varying and not value.literal
            ]
            if chosen:
                lines.append(Assign(*zip(*chosen, strict=True)))
        for known in (self._slots, self._powers):  # some of them mean the old value of a name
            for key in [k for k, line in known.items() if names_in(*line.values) & set(names)]:
                del known[key]
        return [
            value if value.literal else replace(value, node=ast.Name(name))
            for name, value in zip(names, values, strict=True)
        ]

    def combine(self, build: Callable[..., ast.expr], *operands: Value) -> Value:
        """Build an expression. If one operand is varying, the uniform ones become slots."""
        varying = any(o.varying for o in operands)
        nodes = [self._slot(o) if varying and not o.varying else o.node for o in operands]
        steady = not varying and all(o.steady for o in operands)
        return Value(build(*nodes), varying, steady)

    def number(self, value: Value) -> Value:
        """Return a test as 1 or 0; a number is returned as it is."""
        return self.where(value, literal(1.0), literal(0.0)) if value.test else value

    def negative(self, value: Value) -> Value:
        """Return -value."""
        value = self.number(value)
        if value.literal:
            return literal(-value.number)
        return self.combine(lambda a: ast.UnaryOp(ast.USub(), a), value)

    def compare(self, operator: ast.cmpop, left: Value, right: Value) -> Value:
        """Return a comparison of two values."""
        left, right = self.number(left), self.number(right)
        if left.literal and right.literal:
            return literal(COMPARISONS[type(operator)](left.number, right.number))
        made = self.combine(lambda a, b: ast.Compare(a, [operator], [b]), left, right)
        return replace(made, test=True)

    def binary(self, operator: ast.operator, left: Value, right: Value) -> Value:
        """Return an arithmetic operation on two values."""
        left, right = self.number(left), self.number(right)
        if left.literal and right.literal:
            return literal(_folded(operator, left.number, right.number))
        if isinstance(operator, ast.Pow):
            if isinstance(right.node, ast.Name) and right.node.id == "t" and left.steady:
                return self._running_power(left)
            if left.varying and right.literal and right.number in (2, 3, 4):
                return self._product(left, int(right.number))
        made = self.combine(lambda a, b: ast.BinOp(a, operator, b), left, right)
        if isinstance(operator, ast.Div) and left.varying and right.divisor:
            assert isinstance(made.node, ast.BinOp)
            self.quotients.add(made.node)
        if made.varying or not isinstance(operator, (ast.Add, ast.Sub)):
            return made
        # The difference to a number of usual size is 0, or hardly smaller than its last digit.
        return replace(made, divisor=any(o.literal and o.divisor for o in (left, right)))

    def _running_power(self, base: Value) -> Value:
        """base**t as last step's value times base: a power function costs more than the update."""
        key = ast.dump(base.node)
        if key not in self._powers:
            self._powers[key] = Power(f"power{self.power_count}", self.power_count, base.node)
            self.uniform.append(self._powers[key])
            self.power_count += 1
        return Value(ast.Name(self._powers[key].name), varying=False)

    def _product(self, base: Value, times: int) -> Value:
        """A small whole power as multiplications, which round better than a power function."""
        self._factors += 1
        (factor,) = self.emit([f"factor{self._factors}"], [base])
        node = factor.node
        for _ in range(times - 1):
            node = ast.BinOp(node, ast.Mult(), factor.node)
        return Value(node, varying=True)

    def where(self, test: Value, a: Value, b: Value) -> Value:
        """Return a or b by a test. Both are computed, because the test may differ between lanes."""
        if test.literal:
            return a if test.number else b
        if not test.test:
            test = self.compare(ast.NotEq(), test, literal(0.0))
        a, b = self.number(a), self.number(b)
        if not test.varying and (a.varying or b.varying):  # elements know only numbers
            flag = self.where(test, literal(1.0), literal(0.0))
            test = self.compare(ast.Gt(), Value(self._store(flag), varying=True), literal(0))
        if test.varying and a.literal and b.literal:
            a = Value(self._store(a), varying=True)  # one of the two must carry the element type
        return self.combine(lambda *o: ast.Call(ast.Name("where"), list(o), []), test, a, b)

    def _slot(self, value: Value) -> ast.expr:
        """Return the name by which elements know a uniform value."""
        if value.literal:
            return value.node  # a vector gives a literal its own element type
        return self._store(value)

    def _store(self, value: Value) -> ast.expr:
        key = ast.dump(value.node)
        if key not in self._slots:
            self._slots[key] = Slot(self.slot_count, value.node)
            self.uniform.append(self._slots[key])
            self.slot_count += 1
        return ast.Name(f"u{self._slots[key].index}")

    def new(self, value: Value) -> ast.expr:
        """Return the new value of an element. A uniform one becomes a slot."""
        return value.node if value.varying else self._slot(value)


def _folded(operator: ast.operator, a: Any, b: Any) -> Any:  # noqa: ANN401 - numbers of Python
    """Compute with numbers that are written in the rule, as Python does.

    Raises:
        ArithmeticError: the result is not a number.
    """
    whole = isinstance(a, int) and isinstance(b, int) and b > 0
    if isinstance(operator, ast.Pow) and whole and a.bit_length() * b > _LONGEST:
        raise OverflowError(_TOO_LARGE)
    try:
        result = ARITHMETIC[type(operator)](a, b)
    except OverflowError as error:
        raise OverflowError(_TOO_LARGE) from error
    if isinstance(result, complex):
        raise ArithmeticError("a negative number has no such power")  # noqa: TRY004 - of numbers
    return result
