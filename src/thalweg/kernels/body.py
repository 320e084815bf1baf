"""Body: what a kernel is written from, for any machine: a rule with its wrap, as syntax nodes.

``translate`` makes a ``Body``, and each kind of machine writes it in its own language. No text is
parsed on the way, because text loses what belongs together: the square of -0.5 would become
-(0.5**2).
"""

import ast
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from thalweg.rule import Rule

__all__ = [
    "PLAIN", "Assign", "Body", "Line", "Place", "Power", "Slot", "Sum", "Whole", "Wrap", "Writer",
    "heading", "names_in",
]  # fmt: skip


class Place(Enum):
    """How often a value is there: once, once for each row or column, or for each element."""

    UNIFORM = "u"
    ROW = "row"
    COLUMN = "column"
    ELEMENT = "element"


@dataclass(frozen=True)
class Wrap:
    """What a step puts around its rule, so that each element is still touched once.

    Attributes:
        scaled: the gradient is multiplied by the uniform value ``gradient_scale`` first (maximize,
            loss scaling, clipping).
        coupled: then ``coupled_decay`` times x is added to the gradient, as in L2 regularization.
        shrunk: x is multiplied by ``shrink`` before the rule: decoupled weight decay.
        cautious: an element that the rule would move up its gradient stays where it is.
        zeroed: the gradient is 0 afterwards.
        values: the format of x and g: "bfloat16" or "float16", with computation in float32. None:
            the format of the computation.
        state: the format of the varying state. None: the format of the computation.
        without: states that are not kept. They are 0 at each step, because their decay is 0.
        rounding: how bfloat16 is rounded: to the "nearest"; "stochastic": up or down, with the
            chances that keep the mean; "kahan": to the nearest, and one more array, after the
            state, keeps what x lost.
    """

    scaled: bool = False
    coupled: bool = False
    shrunk: bool = False
    cautious: bool = False
    zeroed: bool = False
    values: str | None = None
    state: str | None = None
    without: tuple[str, ...] = ()
    rounding: Literal["nearest", "stochastic", "kahan"] = "nearest"

    @property
    def names(self) -> tuple[str, ...]:
        """The wrap's own values: in a row of the table they follow the rule's hyperparameters."""
        given = {
            "gradient_scale": self.scaled,
            "coupled_decay": self.coupled,
            "shrink": self.shrunk,
        }
        return tuple(name for name, there in given.items() if there)

    def column(self, rule: Rule, name: str) -> int:
        """Return the column of one of the wrap's own values."""
        return len(rule.hyperparameters) + self.names.index(name)

    def row(self, rule: Rule, hyper: Mapping[str, float], **own: float) -> list[float]:
        """Return a row of a kernel's table of hyperparameters.

        Args:
            rule: the kernel's.
            hyper: its hyperparameters, all of them.
            own: the wrap's values, by name. It leaves out those that it does not use.

        Example:
            >>> from thalweg.rules import get
            >>> hyper = {"beta": 0.5, "lr": 0.1}
            >>> Wrap(scaled=True).row(get("momentum"), hyper, gradient_scale=-1.0, shrink=0.9)
            [0.1, 0.5, -1.0]
        """
        return [
            *(hyper[name] for name in rule.hyperparameters),
            *(own[name] for name in self.names),
        ]


PLAIN = Wrap()


_Node = Callable[[ast.expr], ast.expr]
_Name = Callable[[str], str]


@dataclass(frozen=True)
class Assign:
    """Names, and the values that they get: all values are computed before a name changes."""

    names: tuple[str, ...]
    values: tuple[ast.expr, ...]

    def renamed(self, name: _Name, node: _Node) -> "Assign":
        """Return the same with other names."""
        return Assign(tuple(map(name, self.names)), tuple(map(node, self.values)))


@dataclass(frozen=True)
class Slot:
    """A value that is used where there are more: elements know the uniform one of index 0 as u0.

    That of a row is called row0, that of a column column0.
    """

    index: int
    value: ast.expr
    place: Place = Place.UNIFORM

    @property
    def name(self) -> str:
        """How it is called where it is used."""
        return f"{self.place.value}{self.index}"

    @property
    def values(self) -> tuple[ast.expr, ...]:
        """What it is computed from."""
        return (self.value,)

    def renamed(self, _: _Name, node: _Node) -> "Slot":
        """Return the same with other names."""
        return replace(self, value=node(self.value))


@dataclass(frozen=True)
class Power:
    """A name for base**t, the running power of that index. Its base is the same at every step."""

    name: str
    index: int
    base: ast.expr

    @property
    def values(self) -> tuple[ast.expr, ...]:
        """What it is computed from."""
        return (self.base, ast.Name("t"))

    def renamed(self, name: _Name, node: _Node) -> "Power":
        """Return the same with other names."""
        return Power(name(self.name), self.index, node(self.base))


@dataclass(frozen=True)
class Sum:
    """A sum of all values, or of those of each row or column.

    Attributes:
        index: its name is sum0 for 0.
        value: what is added up.
        source: where that is there.
        to: where the sum is there.
        total: whether it is over all tensors of the model.
        level: how many sums must be known, one after the other, before this one can be begun.
    """

    index: int
    value: ast.expr
    source: Place
    to: Place
    total: bool
    level: int

    @property
    def name(self) -> str:
        """How it is called where it is used."""
        return f"sum{self.index}"

    @property
    def values(self) -> tuple[ast.expr, ...]:
        """What it is computed from."""
        return (self.value,)

    def renamed(self, _: _Name, node: _Node) -> "Sum":
        """Return the same with other names."""
        return replace(self, value=node(self.value))


@dataclass(frozen=True)
class Whole:
    """A matrix to be orthogonalized between two passes, into an array of the name ``ARRAY``.

    Attributes:
        value: its elements.
        keywords: of ``orthogonalize``, with expressions: numbers and names of hyperparameters.
        level: how many sums must be known before it can be computed.
    """

    ARRAY = "whole"  # where its elements lie, and then those of the result

    value: ast.expr
    keywords: tuple[tuple[str, tuple[ast.expr, ...]], ...]
    level: int

    @property
    def name(self) -> str:
        """How it is called until it lies in its array."""
        return "argument"

    @property
    def values(self) -> tuple[ast.expr, ...]:
        """What it is computed from."""
        return (self.value,)

    def renamed(self, _: _Name, node: _Node) -> "Whole":
        """Return the same with other names."""
        keywords = tuple((name, tuple(map(node, values))) for name, values in self.keywords)
        return replace(self, value=node(self.value), keywords=keywords)


Line = Assign | Slot | Power | Sum | Whole


@dataclass(frozen=True)
class Body:
    """A rule with its wrap.

    Expressions are made of names, floats, ``+ - * / **``, negation, comparisons of two values, and
    calls of ``abs``, of the functions of ``thalweg.elementwise`` and of ``product``: a product that
    is rounded before anything is added to it.

    Attributes:
        hyper: the names in the table of hyperparameters: the rule's, then the wrap's.
        uniform_state: the names of the uniform state.
        varying: g, x and the states that are kept, by name; after them the array of a ``Whole``.
        uniform: what is done once per step, in float64. It also knows t.
        element: what is done once per element. In a rule of sums it has, as row and column, each
            ``Sum`` where it is taken, and each ``Whole``.
        results: the new x, then the new states.
        new_uniform: the new uniform state.
        slots: how many values ``uniform`` stores.
        powers: how many running powers it keeps.
        exact: whether ``element`` or ``results`` call ``product``, because a decision depends on
            it.
        row_state: the names of states with one value for each row.
        column_state: the names of those with one for each column.
        row: what is done once per row.
        column: what is done once per column.
        new_row: the new values of ``row_state``.
        new_column: the new values of ``column_state``.
        written: the level of the results, and that of all other new states; see ``Sum``.
    """

    hyper: tuple[str, ...]
    uniform_state: tuple[str, ...]
    varying: tuple[str, ...]
    uniform: tuple[Assign | Slot | Power, ...]
    element: tuple[Assign, ...]
    results: tuple[ast.expr, ...]
    new_uniform: tuple[ast.expr, ...]
    slots: int
    powers: int
    exact: bool = False
    row_state: tuple[str, ...] = ()
    column_state: tuple[str, ...] = ()
    row: tuple[Line, ...] = ()
    column: tuple[Line, ...] = ()
    new_row: tuple[ast.expr, ...] = ()
    new_column: tuple[ast.expr, ...] = ()
    written: tuple[int, int] = (0, 0)

    @property
    def whole(self) -> Whole | None:
        """The matrix that is orthogonalized, if there is one."""
        every: tuple[Line, ...] = self.element
        return next((line for line in every if isinstance(line, Whole)), None)

    def lines(self, place: Place) -> tuple[Line, ...]:
        """What is done at a place."""
        return {
            Place.UNIFORM: self.uniform, Place.ROW: self.row,
            Place.COLUMN: self.column, Place.ELEMENT: self.element,
        }[place]  # fmt: skip

    def new(self, place: Place) -> dict[str, ast.expr]:
        """The new values of x and the states of a place, by name."""
        names, values = {
            Place.UNIFORM: (self.uniform_state, self.new_uniform),
            Place.ROW: (self.row_state, self.new_row),
            Place.COLUMN: (self.column_state, self.new_column),
            Place.ELEMENT: (self.varying[1:], self.results),
        }[place]
        return dict(zip(names, values, strict=True))

    @property
    def uniform_names(self) -> set[str]:
        """The names that the uniform values are computed from."""
        return names_in(
            *(value for line in self.uniform for value in line.values), *self.new_uniform
        )

    def renamed(self, rename: Callable[[str], str]) -> "Body":
        """Return the same with other names, because each kind of machine reserves some."""
        node = _Renamer(rename).node
        return replace(
            self,
            hyper=tuple(map(rename, self.hyper)),
            uniform_state=tuple(map(rename, self.uniform_state)),
            varying=tuple(map(rename, self.varying)),
            uniform=tuple(line.renamed(rename, node) for line in self.uniform),
            element=tuple(line.renamed(rename, node) for line in self.element),
            results=tuple(map(node, self.results)),
            new_uniform=tuple(map(node, self.new_uniform)),
            row_state=tuple(map(rename, self.row_state)),
            column_state=tuple(map(rename, self.column_state)),
            row=tuple(line.renamed(rename, node) for line in self.row),
            column=tuple(line.renamed(rename, node) for line in self.column),
            new_row=tuple(map(node, self.new_row)),
            new_column=tuple(map(node, self.new_column)),
        )

    def function(self, decorator: str, writer: "Writer") -> Iterator[str]:
        """Yield the lines of ``element``: new values of one element from old ones and the slots."""
        slots = [f"u{index}" for index in range(self.slots)]
        yield decorator
        yield f"def element({', '.join([*self.varying, *slots])}):"
        for line in self.element:
            yield f"    {writer.assign(line)}"
        comma = "," if len(self.results) == 1 else ""
        yield f"    return {', '.join(map(writer.text, self.results))}{comma}"


class Writer:
    """Writes expressions as Python text. A kind of machine overrides what it writes differently."""

    def text(self, node: ast.expr) -> str:
        """Return a whole expression."""
        return ast.unparse(self.whole(node))

    def assign(self, line: Assign) -> str:
        """Return an assignment."""
        return f"{', '.join(line.names)} = {', '.join(map(self.text, line.values))}"

    def whole(self, node: ast.expr) -> ast.expr:
        """Return the node to write for an expression that is not part of another one."""
        return self.node(node)

    def node(self, node: ast.expr) -> ast.expr:
        """Return the node to be written."""
        match node:
            case ast.Constant(value):
                return self.number(float(value))  # type: ignore[arg-type] # a Body has floats alone
            case ast.Name(name):
                return self.name(name)
            case ast.UnaryOp(operator, operand):
                return ast.UnaryOp(operator, self.node(operand))
            case ast.BinOp(left, operation, right):
                return self.binary(operation, self.node(left), self.node(right))
            case ast.Compare(left, [comparison], [right]):
                return ast.Compare(self.node(left), [comparison], [self.node(right)])
            case ast.Call(ast.Name(function), arguments):
                return self.call(function, list(map(self.node, arguments)))
        raise TypeError(ast.dump(node))

    def number(self, value: float) -> ast.expr:
        """Return a number. A negative one becomes a negation, and NaN has no literal."""
        if math.isnan(value):
            return ast.BinOp(ast.Constant(math.inf), ast.Sub(), ast.Constant(math.inf))
        if math.copysign(1.0, value) < 0:
            return ast.UnaryOp(ast.USub(), ast.Constant(-value))
        return ast.Constant(value)

    def name(self, name: str) -> ast.expr:
        """Return a variable."""
        return ast.Name(name)

    def binary(self, operator: ast.operator, left: ast.expr, right: ast.expr) -> ast.expr:
        """Return an operation on two expressions that are written already."""
        return ast.BinOp(left, operator, right)

    def call(self, function: str, arguments: list[ast.expr]) -> ast.expr:
        """Return the call of an element-wise function with what is written already."""
        return ast.Call(ast.Name(function), arguments, [])


class _Renamer(Writer):
    """Keeps everything but the names."""

    def __init__(self, rename: Callable[[str], str]) -> None:
        self.rename = rename

    def name(self, name: str) -> ast.expr:
        return ast.Name(self.rename(name))

    def number(self, value: float) -> ast.expr:
        return ast.Constant(value)


def names_in(*nodes: ast.expr) -> set[str]:
    """Return the names in expressions, those of functions among them."""
    parts = (part for node in nodes for part in ast.walk(node))
    return {part.id for part in parts if isinstance(part, ast.Name)}


def heading(rule: Rule) -> str:
    """Return the first line of a generated file: what it is, whatever the rule's source says."""
    words = f"{rule.name}: {rule.source}. Generated by thalweg from the rule's equation."
    return ast.unparse(ast.Module([ast.Expr(ast.Constant(words))], []))
