"""Builder: expressions of a kernel, and the lines that compute their parts.

Each maximal uniform expression inside a varying one becomes a slot: computed once per step in
float64 and rounded to the element type.
"""

import ast
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from thalweg.kernels.body import Assign, Place, Power, Slot, Sum, Whole, names_in

__all__ = ["ARITHMETIC", "COMPARISONS", "Builder", "Value", "joined", "literal"]

ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.Pow: operator.pow,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
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
    place: Place
    steady: bool = False  # uniform and the same at every step while the hyperparameters are
    test: bool = False  # the result of a comparison
    divisor: bool = False  # uniform, and 0 or so large that 1 divided by it is finite
    level: int = 0  # how many sums must be known, one after the other

    @property
    def varying(self) -> bool:
        """Whether it has several values."""
        return self.place is not Place.UNIFORM

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
    return Value(node, Place.UNIFORM, steady=True, divisor=2**-60 <= size <= 2**60)


class Builder:
    """Builds expressions, and appends the lines that are run once per step and once per element.

    Attributes:
        lines: what is done once per step, per row, per column and per element.
        slot_count: how many slots there are of each place.
        sum_count: how many sums.
        power_count: how many running powers.
        quotients: of a varying by a uniform value; they may become products with its reciprocal.
    """

    def __init__(self) -> None:
        self.lines: dict[Place, list[Any]] = {place: [] for place in Place}
        self._slots: dict[tuple[Place, str], Slot] = {}  # by value, while its names keep theirs
        self.slot_count = Counter[Place]()
        self.sum_count = 0
        self._powers: dict[str, Power] = {}  # by base, in the same way
        self.power_count = 0
        self._factors = 0
        self.quotients: set[ast.BinOp] = set()

    def emit(self, names: list[str], values: list[Value]) -> list[Value]:
        """Append an assignment, and return the new names. A number needs no name."""
        for place, lines in self.lines.items():
            chosen = [
                (name, value.node)
                for name, value in zip(names, values, strict=True)
                if value.place is place and not value.literal
            ]
            if chosen:
                lines.append(Assign(*zip(*chosen, strict=True)))
        known: Any
        for known in (self._slots, self._powers):  # some of them mean the old value of a name
            for key in [k for k, line in known.items() if names_in(*line.values) & set(names)]:
                del known[key]
        return [
            value if value.literal else replace(value, node=ast.Name(name))
            for name, value in zip(names, values, strict=True)
        ]

    def combine(self, build: Callable[..., ast.expr], *operands: Value) -> Value:
        """Build an expression. Operands that are there less often than it become slots."""
        place = joined(o.place for o in operands)
        nodes = [o.node if o.place is place else self._slot(o) for o in operands]
        steady = place is Place.UNIFORM and all(o.steady for o in operands)
        return Value(build(*nodes), place, steady, level=max(o.level for o in operands))

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
            self.lines[Place.UNIFORM].append(self._powers[key])
            self.power_count += 1
        return Value(ast.Name(self._powers[key].name), Place.UNIFORM)

    def _product(self, base: Value, times: int) -> Value:
        """A small whole power as multiplications, which round better than a power function."""
        self._factors += 1
        (factor,) = self.emit([f"factor{self._factors}"], [base])
        node = factor.node
        for _ in range(times - 1):
            node = ast.BinOp(node, ast.Mult(), factor.node)
        return replace(factor, node=node)

    def where(self, test: Value, a: Value, b: Value) -> Value:
        """Return a or b by a test. Both are computed, because the test may differ between lanes."""
        if test.literal:
            return a if test.number else b
        if not test.test:
            test = self.compare(ast.NotEq(), test, literal(0.0))
        a, b = self.number(a), self.number(b)
        place = joined(o.place for o in (test, a, b))
        if test.place is not place:  # slots are numbers
            flag = self.where(test, literal(1.0), literal(0.0))
            flag = replace(flag, node=self._store(flag), place=place)
            test = self.compare(ast.Gt(), flag, literal(0))
        if test.varying and a.literal and b.literal:  # one of the two must carry the element type
            a = Value(self._store(a), place)
        return self.combine(lambda *o: ast.Call(ast.Name("where"), list(o), []), test, a, b)

    def sum(self, value: Value, to: Place, *, total: bool = False) -> Value:
        """Return the sum of all values, or of those of each row or column."""
        value = self.number(value)
        made = Sum(self.sum_count, value.node, value.place, to, total, value.level)
        self.lines[value.place].append(made)
        self.sum_count += 1
        return Value(ast.Name(made.name), to, level=value.level + 1)

    def whole(self, value: Value, keywords: Mapping[str, Sequence[Value]]) -> Value:
        """Return what ``orthogonalize`` makes of a matrix."""
        value = self.number(value)
        named = tuple((name, tuple(v.node for v in values)) for name, values in keywords.items())
        self.lines[Place.ELEMENT].append(Whole(value.node, named, value.level))
        return Value(ast.Name(Whole.ARRAY), Place.ELEMENT, level=value.level + 1)

    def _slot(self, value: Value) -> ast.expr:
        """Return the name by which a value is known where there are more."""
        if value.literal:
            return value.node  # a vector gives a literal its own element type
        return self._store(value)

    def _store(self, value: Value) -> ast.expr:
        place = value.place
        key = place, ast.dump(value.node)
        if key not in self._slots:
            self._slots[key] = Slot(self.slot_count[place], value.node, place)
            self.lines[place].append(self._slots[key])
            self.slot_count[place] += 1
        return ast.Name(self._slots[key].name)

    def new(self, value: Value, place: Place = Place.ELEMENT) -> ast.expr:
        """Return a new value of a place. One that is there less often becomes a slot."""
        return value.node if value.place is place else self._slot(value)


def joined(places: Iterable[Place]) -> Place:
    """Return where an expression is there whose parts are there at such places."""
    several = {*places} - {Place.UNIFORM}
    if len(several) == 1:
        return several.pop()
    return Place.ELEMENT if several else Place.UNIFORM


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
