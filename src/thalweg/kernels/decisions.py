"""Decisions: values on which a decision depends are rounded as the rule's function does.

Elsewhere a product and a sum may become one instruction, which rounds once, and a division by a
uniform value may become a multiplication by its reciprocal. Then the last bit differs. But ``sign(v
- g * g)`` is 0 if v is the rounded square of g; it is 1 or -1 if the product is not rounded before
it is subtracted. So neither is done

- in what ``sign``, a comparison or the test of ``where`` looks at: a *decision*;
- in differences under a root, a logarithm or a power, or in a divisor: at 0 they are at an *edge*,
  where what was left of a product makes a NaN of a 0;
- in everything that these are computed from, also in the step before, by way of the state.
"""

import ast
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from thalweg.kernels.body import Assign, Body, Line, Place, Power, Slot, Sum, Whole

__all__ = ["assigned", "rounded"]

NONE, EDGE, DECISION = range(3)

Levels = dict[str, int]  # by name: what depends on the value


def rounded(body: Body, quotients: set[ast.BinOp]) -> Body:
    """Return the body, with everything on which a decision depends rounded as in the function.

    Such products become calls of ``product``, which is never contracted.

    Args:
        body: of the rule.
        quotients: of a varying by a uniform value. If no decision depends on one, it becomes a
            product with the reciprocal, which is computed once per step instead of once per
            element.
    """
    exact: set[ast.BinOp] = set()
    levels: Levels = {}
    for place in (Place.ELEMENT, Place.ROW, Place.COLUMN):
        found, before = _deciding(body.lines(place), body.new(place), levels)
        exact, levels = exact | found, levels | before
    body = _Reciprocals(quotients - exact).written(body)
    uniform, _ = _deciding(body.uniform, body.new(Place.UNIFORM), levels)
    visit = _Products(exact | uniform).visit
    return replace(
        _visited(body, visit),
        uniform=tuple(line.renamed(str, visit) for line in body.uniform),
        new_uniform=tuple(map(visit, body.new_uniform)),
        exact=any(isinstance(node.op, ast.Mult) for node in exact),
    )


def _visited(body: Body, visit: Callable[[ast.expr], ast.expr]) -> Body:
    """Return the body with other expressions everywhere but in what is uniform."""
    return replace(
        body,
        element=tuple(line.renamed(str, visit) for line in body.element),
        results=tuple(map(visit, body.results)),
        row=tuple(line.renamed(str, visit) for line in body.row),
        new_row=tuple(map(visit, body.new_row)),
        column=tuple(line.renamed(str, visit) for line in body.column),
        new_column=tuple(map(visit, body.new_column)),
    )


def _deciding(
    lines: Sequence[Line], results: Mapping[str, ast.expr], stored: Levels
) -> tuple[set[ast.BinOp], Levels]:
    """Return the products and quotients on which a decision depends, and what depends on each name.

    Args:
        lines: of a function.
        results: by name, the values that the next step reads.
        stored: what depends on the other names that the lines assign to.
    """
    levels: Levels = {}
    while True:
        walk = _Backwards(lines, results, stored | levels)
        found = {name: max(walk.levels.get(name, NONE), levels.get(name, NONE)) for name in results}
        if found == levels:
            return walk.exact, walk.levels
        levels = found


def assigned(line: Line) -> list[tuple[str, ast.expr]]:
    """Return the names that a line assigns to, each with its expression."""
    match line:
        case Assign(names, values):
            return list(zip(names, values, strict=True))
        case Slot(value=value) | Sum(value=value) | Whole(value=value):
            return [(line.name, value)]
        case Power(name, _, base):
            return [(name, base)]


def _is_difference(node: ast.expr, names: set[str]) -> bool:
    """Return whether a value may be near 0 because large terms cancel."""
    match node:
        case ast.Name(id=name):
            return name in names
        case ast.Constant(value=int() | float() as number):
            return number < 0
        case ast.BinOp(op=ast.Sub()) | ast.UnaryOp():
            return True
        case ast.BinOp(op=ast.Mult()):
            times = Counter(map(ast.dump, _factors(node)))
            parts = [f for f in _factors(node) if times[ast.dump(f)] % 2]  # all others are squares
        case ast.BinOp(left, _, right):
            parts = [left, right]
        case ast.Call(ast.Name("where" | "minimum" | "maximum"), values):
            parts = values
        case _:  # a test, or a function whose value is above 0 or that has an edge of its own
            parts = []
    return any(_is_difference(part, names) for part in parts)


def _factors(node: ast.expr) -> list[ast.expr]:
    match node:
        case ast.BinOp(left, ast.Mult(), right):
            return [*_factors(left), *_factors(right)]
    return [node]


class _Backwards:
    """Goes from the results of a function back to the values from which they are computed.

    Attributes:
        levels: what depends on each name before the first line.
        exact: the products and quotients on which a decision depends.
    """

    def __init__(
        self, lines: Sequence[Line], results: Mapping[str, ast.expr], after: Levels
    ) -> None:
        self.levels = {name: level for name, level in after.items() if name not in results}
        self.exact: set[ast.BinOp] = set()
        known: list[set[str]] = [set()]  # names of differences, before each line
        for line in lines:
            pairs = assigned(line)
            new = {name for name, value in pairs if _is_difference(value, known[-1])}
            known.append(known[-1] - {name for name, _ in pairs} | new)
        self.differences = known.pop()
        for name, result in results.items():
            self.visit(result, after.get(name, NONE))
        for line in reversed(lines):
            self.differences = known.pop()
            pairs = assigned(line)
            levels = [self.levels.pop(name, NONE) for name, _ in pairs]
            for (_, value), level in zip(pairs, levels, strict=True):
                self.visit(value, level)

    def visit(self, node: ast.expr, level: int) -> None:
        """Note what depends on the parts of an expression, if ``level`` depends on its value."""
        match node:
            case ast.Name(id=name):
                self.levels[name] = max(level, self.levels.get(name, NONE))
            case ast.BinOp():
                self.operation(node, level)
            case ast.UnaryOp(operand=operand):
                self.visit(operand, level)
            case ast.Compare(left, _, [right]):
                self.visit(left, DECISION)
                self.visit(right, DECISION)
            case ast.Call(ast.Name(function), values):
                for position, value in enumerate(values):
                    self.visit(value, max(level, _hangs_on(function, position)))

    def operation(self, node: ast.BinOp, level: int) -> None:
        if level == EDGE and isinstance(node.op, ast.Add | ast.Sub):
            level = DECISION if _is_difference(node, self.differences) else NONE
        if level == DECISION and isinstance(node.op, ast.Mult | ast.Div):
            self.exact.add(node)
        base = EDGE if isinstance(node.op, ast.Pow) else NONE
        divisor = EDGE if isinstance(node.op, ast.Div) else base
        self.visit(node.left, max(level, base))
        self.visit(node.right, max(level, divisor))


def _hangs_on(function: str, position: int) -> int:
    """Return what depends on an argument, if ``level`` depends on the function's value."""
    if function == "where":
        return DECISION if position == 0 else NONE
    return {"sign": DECISION, "sqrt": EDGE, "log": EDGE}.get(function, NONE)


class _Products(ast.NodeTransformer):
    """Writes products as calls of ``product``."""

    def __init__(self, exact: set[ast.BinOp]) -> None:
        self.exact = exact

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        exact = node in self.exact and isinstance(node.op, ast.Mult)
        self.generic_visit(node)
        return ast.Call(ast.Name("product"), [node.left, node.right], []) if exact else node


class _Reciprocals(ast.NodeTransformer):
    """Writes quotients as products with the reciprocal of their divisor."""

    def __init__(self, quotients: set[ast.BinOp]) -> None:
        self.quotients = quotients
        self.names: dict[str, str] = {}  # by divisor, the slot of its reciprocal

    def written(self, body: Body) -> Body:
        several = (Place.ELEMENT, Place.ROW, Place.COLUMN)
        trees = [v for place in several for line in body.lines(place) for v in line.values]
        trees += [v for place in several for v in body.new(place).values()]
        parts = [part for tree in trees for part in ast.walk(tree)]
        uses = Counter(part.id for part in parts if isinstance(part, ast.Name))
        divisors = Counter(
            quotient.right.id
            for quotient in self.quotients.intersection(parts)
            if isinstance(quotient.right, ast.Name)
        )
        slots = body.slots
        lines: list[Assign | Slot | Power] = []
        for line in body.uniform:
            lines.append(line)
            name = line.name if isinstance(line, Slot) else ""
            if name in divisors:
                assert isinstance(line, Slot)
                slot = line.index
                if uses[name] == divisors[name]:  # then nothing needs the divisor itself
                    lines.pop()
                else:
                    slot, slots = slots, slots + 1
                self.names[name] = f"u{slot}"
                lines.append(Slot(slot, ast.BinOp(ast.Constant(1), ast.Div(), line.value)))
        return replace(_visited(body, self.visit), uniform=tuple(lines), slots=slots)

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        if node not in self.quotients:
            return node
        match node.right:
            case ast.Name(id=name):
                node.right = ast.Name(self.names[name])
            case ast.Constant(value=int() | float() as number):
                node.right = ast.Constant(1 / number)
        node.op = ast.Mult()
        return node
