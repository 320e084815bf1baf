"""Translate: from a rule's syntax tree to the body of its kernel.

There are two kinds of names in a rule. *Varying* names have one value per element: g, x, the state,
and everything that is computed from them. *Uniform* names are hyperparameters, t, uniform state,
and what is computed from these alone. Each
maximal uniform sub-expression inside a varying one becomes a slot: computed once per step in
float64 and rounded to the element type.

A sum of a whole tensor is uniform, too, and known once all its elements have been read; one of its
rows or columns has one value for each. What such values are used for is in ``passes.py``.
"""

import ast
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from types import FunctionType
from typing import Any, Literal

import numpy as np

from thalweg import matrices, sums
from thalweg.kernels import functions
from thalweg.kernels.around import before, cautious
from thalweg.kernels.body import PLAIN, Body, Line, Place, Sum, Whole, Wrap
from thalweg.kernels.builder import ARITHMETIC, COMPARISONS, Builder, Value, joined, literal
from thalweg.kernels.decisions import rounded
from thalweg.kernels.remedies import WHOLE
from thalweg.kernels.scope import Scope, own_name
from thalweg.rule import AT_X, Rule, check_count

__all__ = ["Form", "answer", "as_written", "by_rows", "places", "translate", "translate_sums"]

_ARGUMENTS = {"where": 3, "maximum": 2, "minimum": 2}  # of a function; 1 for the others

_DEEPEST = 60  # nested expressions: Python can walk only so deep a tree
_MOST_CALLS = 1000

_OF_MATRICES = [getattr(matrices, name) for name in matrices.__all__]
_SIZES = {matrices.rows: "row_count", matrices.columns: "column_count"}
_WHOLES = [*_OF_MATRICES, *(getattr(sums, name) for name in sums.__all__)]

Form = Literal["vector", "matrix"]

# Of each axis, and of where a value is there: where its sum is there, and how many are added up.
_SUMS: dict[tuple[int | None, Place], tuple[Place, tuple[str, ...]]] = {
    (None, Place.ELEMENT): (Place.UNIFORM, ("row_count", "column_count")),
    (None, Place.ROW): (Place.UNIFORM, ("row_count",)),
    (None, Place.COLUMN): (Place.UNIFORM, ("column_count",)),
    (0, Place.ELEMENT): (Place.COLUMN, ("row_count",)),
    (0, Place.ROW): (Place.UNIFORM, ("row_count",)),
    (1, Place.ELEMENT): (Place.ROW, ("column_count",)),
    (1, Place.COLUMN): (Place.UNIFORM, ("column_count",)),
}


class _Translator(Builder):
    """Walks a rule's statements.

    Args:
        form: what the tensor is; None if the kernel is of single elements.
        settled: whether it is known where each state is there.
    """

    def __init__(self, form: Form | None = None, *, settled: bool = True) -> None:
        super().__init__()
        self.form, self.settled = form, settled
        self.calls = self.parts = self.depth = 0
        self.running: list[FunctionType] = []
        self.options: set[str] = set()  # the names of hyperparameters

    def function(
        self, function: FunctionType, given: dict[str, Any], suffix: str, caller: str
    ) -> list[Value]:
        """Translate a function's body with its parameters bound; return the values it returns."""
        scope = Scope(function, given, suffix, caller)
        self.running.append(function)
        returned = self.block(scope.body, scope)
        self.running.pop()
        if returned is None:
            scope.refuse(scope.body[-1], "the function must end in a return")
        return returned

    def block(self, statements: Sequence[ast.stmt], scope: Scope) -> list[Value] | None:
        """Translate statements; return the values that they return, None if they return none."""
        for index, statement in enumerate(statements):
            match statement:
                case ast.Return(value=ast.expr() as value):
                    return self.values(value, scope)
                case ast.If(test=test):
                    condition = self.value(test, scope)
                    rest = statements[index + 1 :]
                    returned = self.choose(statement, condition, rest, scope)
                    if returned is not None:
                        return returned
                case ast.Assign(targets=targets, value=value):
                    values = self.values(value, scope)
                    if len(targets) > 1:  # the first may change what the value is made of
                        values = self.emit([self.part() for _ in values], values)
                    for target in targets:
                        self.assign(target, values, scope)
                case ast.AnnAssign(target=target, value=ast.expr() as value):
                    self.assign(target, self.values(value, scope), scope)
                case ast.Expr(ast.Constant()) | ast.Pass():  # a docstring
                    continue
                case _:
                    scope.refuse(statement)
        return None

    def choose(
        self, node: ast.If, condition: Value, rest: Sequence[ast.stmt], scope: Scope
    ) -> list[Value] | None:
        """Translate both sides of an ``if``, and choose between what they assign or return.

        If there is a return in it, each side goes on with the rest.
        """
        if condition.varying:
            scope.refuse(node, "the test depends on the gradient; write `name = where(test, a, b)`")
        returns = any(isinstance(part, ast.Return) for part in ast.walk(node))
        after = rest if returns else []
        if condition.literal:
            return self.block([*(node.body if condition.number else node.orelse), *after], scope)
        (condition,) = self.emit([self.part()], [self.number(condition)])
        names, ends = [], []
        self.depth += 1
        for statements in (node.body, node.orelse):
            self.calls += 1
            if self.calls > _MOST_CALLS or self.depth > _DEEPEST // 2:
                scope.refuse(node, "too many ways lead through it; write `where(test, a, b)`")
            inner = scope.branch(f"_call{self.calls}")
            ends.append(self.block([*statements, *after], inner))
            names.append(inner.names)
        self.depth -= 1
        if not returns:
            self.merge(node, condition, names, scope)
            return None
        first, second = ends
        if first is None or second is None or len(first) != len(second):
            scope.refuse(node, "both ways must end in a return, of as many values")
        return [self.where(condition, *both) for both in zip(first, second, strict=True)]

    def merge(
        self, node: ast.If, condition: Value, sides: Sequence[Mapping[str, Any]], scope: Scope
    ) -> None:
        """Give the names that a side of an ``if`` assigned what they stand for behind it."""
        chosen: dict[str, Value] = {}
        for name in dict.fromkeys([*sides[0], *sides[1]]):
            before, first, second = (names.get(name) for names in (scope.names, *sides))
            if first is before and second is before:
                continue
            if first is None or second is None:  # whoever reads it is told that it is unknown
                scope.names.pop(name, None)
                continue
            if not (isinstance(first, Value) and isinstance(second, Value)):
                scope.refuse(node, f"{name!r} is several values; choose between each")
            chosen[name] = self.where(condition, first, second)
        scope.names |= zip(
            chosen, self.emit([*map(scope.own, chosen)], [*chosen.values()]), strict=True
        )

    def assign(self, target: ast.expr, values: list[Value], scope: "Scope") -> None:
        """Give names to values. Several values of one name are kept together, for ``*name``."""
        targets = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
        several = isinstance(target, ast.Name) and len(values) != 1
        stars = [i for i, one in enumerate(targets) if several or isinstance(one, ast.Starred)]
        if len(values) < len(targets) - len(stars) or (len(values) > len(targets) and not stars):
            scope.refuse(target, f"{len(values)} values for {len(targets)} names")
        spare = len(values) - len(targets) + 1
        names: list[str] = []
        kept: dict[str, Any] = {}
        for index, one in enumerate(targets):
            inner = one.value if isinstance(one, ast.Starred) else one
            if not isinstance(inner, ast.Name):
                scope.refuse(inner)
            if index in stars:
                kept[inner.id] = slice(len(names), len(names) + spare)
                names += [self.part() for _ in range(spare)]
            else:
                kept[inner.id] = len(names)
                names.append(scope.own(inner.id))
        values = self.emit(names, values)
        scope.names |= {name: values[where] for name, where in kept.items()}

    def values(self, node: ast.expr, scope: "Scope") -> list[Value]:
        """Translate what may have several values: a tuple, a name of several values, or a call."""
        match node:
            case ast.Tuple(elts=parts):
                return self.arguments(parts, scope)
            case ast.Name(id=name) if isinstance(several := scope.names.get(name), list):
                return several
            case ast.Call() if functions.known(scope.callee(node)) is None:
                return self.inline(node, scope)
        return [self.value(node, scope)]

    def summed(self, node: ast.Call, scope: "Scope") -> Value:
        """Translate a sum or mean of a tensor, or of its rows or columns."""
        function = scope.callee(node)
        value, *rest = self.arguments([*node.args, *(k.value for k in node.keywords)], scope)
        axis = rest[0].number if rest and rest[0].literal else None
        if len(rest) > (function is sums.mean) or (rest and axis not in {0, 1}):
            scope.refuse(node, "only mean takes an axis, which is 0 or 1")
        if function is sums.total and value.place is not Place.ELEMENT and self.settled:
            scope.refuse(node, "a total is of what has a value for each element")
        if self.form == "vector" and axis == 0:  # it is one column
            axis = None
        to, counts = _SUMS.get((axis, value.place), (value.place, ()))
        if to is value.place or (self.form == "vector" and axis == 1):
            return value
        found = self.sum(value, to, total=function is sums.total)
        if function is not sums.mean:
            return found
        several = [Value(ast.Name(count), Place.UNIFORM) for count in counts]
        number = functools.reduce(functools.partial(self.binary, ast.Mult()), several)
        return self.binary(ast.Div(), found, number)

    def of_matrix(self, callee: Any, node: ast.Call, scope: "Scope") -> Value:  # noqa: ANN401
        """Translate the size of a matrix of the parameter's shape, or what orthogonalizes one."""
        value, *rest = self.arguments(node.args, scope)
        if value.place is not Place.ELEMENT and self.settled:
            scope.refuse(node, "it is of what has a value for each element")
        if callee in _SIZES:
            return Value(ast.Name(_SIZES[callee]), Place.UNIFORM)
        if rest or any(isinstance(line, Whole) for line in self.lines[Place.ELEMENT]):
            scope.refuse(node, "a kernel has one call of it, whose options are keywords")
        given: dict[str, Any] = {}
        for keyword in node.keywords:
            named = {keyword.arg: self.values(keyword.value, scope)} if keyword.arg else None
            given |= named or scope.keywords(keyword.value)
        keywords = {n: v if isinstance(v, list) else [v] for n, v in given.items()}
        for each in (one for values in keywords.values() for one in values):
            if not (isinstance(each, Value) and (each.literal or _name(each) in self.options)):
                scope.refuse(node, "its options must be numbers or hyperparameters")
        return self.whole(value, keywords)

    def arguments(self, nodes: Sequence[ast.expr], scope: "Scope") -> list[Value]:
        """Translate the parts of a tuple, or the arguments of a call, with their stars."""
        found = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                found += self.values(node.value, scope)
            else:
                found.append(self.value(node, scope))
        return found

    def inline(self, node: ast.Call, scope: "Scope") -> list[Value]:
        """Translate the call of a function by writing its body there."""
        callee = scope.callee(node)
        if self.form == "matrix" and (callee in _SIZES or callee is matrices.orthogonalize):
            return [self.of_matrix(callee, node, scope)]
        if any(callee is one for one in (_WHOLES if self.form is None else _OF_MATRICES)):
            scope.refuse(node, WHOLE)
        if any(callee is one for one in (sums.mean, sums.total, sums.tsum)):
            return [self.summed(node, scope)]
        arguments: list[Any] = self.arguments(node.args, scope)
        keywords: dict[str, Any] = {}
        for keyword in node.keywords:
            if keyword.arg is not None:
                several = isinstance(keyword.value, ast.Tuple)
                read = self.values if several else self.value
                keywords[keyword.arg] = read(keyword.value, scope)
            else:
                keywords |= scope.keywords(keyword.value)
        self.calls += 1
        suffix = f"_call{self.calls}"
        try:
            function = functions.called(callee, arguments, keywords)
            bound = functions.bound(function, arguments, keywords)
            given = {n: self.argument(n + suffix, v) for n, v in bound.items()}
        except (TypeError, ValueError, ArithmeticError) as error:
            scope.refuse(node, str(error))
        if function in self.running:
            scope.refuse(node, "the function calls itself; write its steps out")
        if self.calls > _MOST_CALLS:
            scope.refuse(node, f"there are more than {_MOST_CALLS:,} calls of functions")
        values = self.function(function, given, suffix, scope.place(node))
        if isinstance(callee, Rule):
            check_count(callee, len(values))
        return values

    def argument(self, name: str, given: Any) -> Any:  # noqa: ANN401 - or what a default is
        """Return what a parameter stands for; what is computed gets a name, to be computed once."""
        match given:
            case Value(node=ast.Name() | ast.Constant()):
                return given
            case Value():
                return self.emit([name], [given])[0]
            case tuple():
                return [self.argument(self.part(), one) for one in given]
            case dict():
                return {key: self.argument(self.part(), one) for key, one in given.items()}
            case Real() | np.bool_():
                return literal(given)
        return given

    def part(self) -> str:
        """Return a name for one of several values."""
        self.parts += 1
        return f"part{self.parts}"

    def value(self, node: ast.expr, scope: "Scope") -> Value:
        """Translate an expression. In a varying one, uniform operands become slots."""
        self.depth += 1
        if self.depth > _DEEPEST:
            scope.refuse(node, "too many expressions lie inside each other; give some a name")
        try:
            return self.expression(node, scope)
        except ArithmeticError as error:
            scope.refuse(node, str(error))
        finally:
            self.depth -= 1

    def expression(self, node: ast.expr, scope: "Scope") -> Value:  # noqa: C901, PLR0911 - one case a node
        """Translate one node and its parts."""
        match node:
            case ast.Constant(value=bool() | int() | float() as number):
                return literal(number)
            case ast.Name(id=name):
                return scope.lookup(node, name)
            case ast.BinOp(left, operator, right) if type(operator) in ARITHMETIC:
                operands = self.value(left, scope), self.value(right, scope)
                if isinstance(operator, ast.FloorDiv | ast.Mod) and any(
                    o.varying for o in operands
                ):
                    scope.refuse(node)
                tests = all(o.test for o in operands) and any(o.varying for o in operands)
                if tests and isinstance(operator, ast.Add):
                    scope.refuse(node, "arrays of tests do not add up; write where(test, 1.0, 0.0)")
                return self.binary(operator, *operands)
            case ast.UnaryOp(ast.USub(), operand):
                return self.negative(self.value(operand, scope))
            case ast.UnaryOp(ast.UAdd(), operand):
                return self.value(operand, scope)
            case ast.Compare(left, [operator], [right]) if type(operator) in COMPARISONS:
                return self.compare(operator, self.value(left, scope), self.value(right, scope))
            case ast.IfExp(test, body, orelse):
                condition = self.value(test, scope)
                if condition.varying:
                    scope.refuse(node, "the test depends on the gradient; write where(test, a, b)")
                return self.where(condition, self.value(body, scope), self.value(orelse, scope))
            case ast.Call():
                return self.call(node, scope)
        scope.refuse(node)

    def call(self, node: ast.Call, scope: "Scope") -> Value:
        """Translate a call that has one value, of an element-wise function or of another one."""
        function = functions.known(scope.callee(node))
        if function is None:
            values = self.inline(node, scope)
            return values[0] if len(values) == 1 else scope.refuse(node, "it has several values")
        values = self.arguments(node.args, scope)
        count = _ARGUMENTS.get(function, 1)
        if node.keywords or len(values) != count:
            scope.refuse(node, f"{function} takes {count} values, without their names")
        if function == "where":
            return self.where(*values)
        numbers = list(map(self.number, values))
        made = self.combine(lambda *a: ast.Call(ast.Name(function), list(a), []), *numbers)
        least = [one.number for one in numbers if one.literal and one.divisor]
        large = function == "maximum" and not made.varying and any(one > 0 for one in least)
        return replace(made, divisor=large)


def _name(value: Value) -> str:
    return value.node.id if isinstance(value.node, ast.Name) else ""


def translate(rule: Rule, wrap: Wrap = PLAIN) -> Body:
    """Return the body of a rule's kernel, for any machine.

    Args:
        rule: the rule.
        wrap: what is done around it.

    Raises:
        ValueError: the rule uses a construct that cannot be translated. The message has its file
            and line.
    """
    body, quotients = _translated(rule, wrap)
    body = rounded(body, quotients)
    return cautious(body) if wrap.cautious else body


def as_written(rule: Rule) -> Body:
    """Return the body of a rule for a machine that rounds each operation of the function by itself.

    Raises:
        ValueError: as ``translate``.
    """
    return _translated(rule, PLAIN)[0]


def answer(rule: Rule) -> Body:
    """Return the body of a rule's answer, as written: its one result is where x is judged.

    Raises:
        ValueError: as ``translate``.
    """
    where, translator = dict.fromkeys(rule.state, Place.ELEMENT), _Translator()
    given = _given(rule, PLAIN, where)
    at = given["x"]
    if rule.judged is not None:
        keywords = {n: given[n] for n in inspect.signature(rule.judged).parameters}
        (at,) = _called(translator, rule, rule.judged, [], keywords)
    return _body(rule, where, translator, {"x": at})


def translate_sums(rule: Rule, wrap: Wrap, form: Form) -> Body:
    """Return the body of a rule that looks at whole tensors, each a vector or a matrix.

    Raises:
        ValueError: as ``translate``.
    """
    body, quotients = _translated(rule, wrap, _Translator(form), places(rule, wrap, form))
    body = rounded(body, quotients)
    return cautious(body) if wrap.cautious else body


def places(rule: Rule, wrap: Wrap = PLAIN, form: Form = "matrix") -> dict[str, Place]:
    """Return where each state is there: once, for each row, column or element.

    It is where the equation returns it.

    Raises:
        ValueError: as ``translate``.
    """
    found = {n: Place.ELEMENT if rule.start.get(n) == AT_X else Place.UNIFORM for n in rule.state}
    while True:
        before = found
        new = _results(_Translator(form, settled=False), rule, wrap, before)
        found = {name: joined((place, new[name].place)) for name, place in before.items()}
        if found == before:
            return found


@functools.lru_cache(maxsize=64)
def by_rows(rule: Rule) -> bool:
    """Return whether a rule looks at the rows or columns of a matrix.

    Raises:
        ValueError: as ``translate``.
    """
    body = translate_sums(rule, PLAIN, "matrix")
    lines: tuple[Line, ...] = body.element
    of_rows = any(isinstance(line, Sum) and line.to is not Place.UNIFORM for line in lines)
    return of_rows or bool(body.row or body.column or body.row_state or body.column_state)


def _translated(
    rule: Rule,
    wrap: Wrap,
    translator: _Translator | None = None,
    where: Mapping[str, Place] | None = None,
) -> tuple[Body, set[ast.BinOp]]:
    """Return a rule's body as written, and its quotients of a varying by a uniform value."""
    translator = translator or _Translator()
    where = where or dict.fromkeys(rule.state, Place.ELEMENT)
    new = _results(translator, rule, wrap, where)
    for name in rule.uniform_state:
        if new[name].varying:
            raise ValueError(
                f"rule {rule.name!r}: the uniform state {name!r} must not depend on g or x; one "
                "that does is declared before the *"
            )
    kept = {name: place for name, place in where.items() if name not in wrap.without}
    body = _body(rule, kept, translator, new)
    return replace(body, hyper=(*body.hyper, *wrap.names)), translator.quotients


def _results(
    translator: _Translator, rule: Rule, wrap: Wrap, where: Mapping[str, Place]
) -> dict[str, Value]:
    """Translate a rule: return x and the new states by name."""
    given = _given(rule, wrap, where)
    translator.options = {*map(own_name, rule.hyperparameters)}
    before(translator, given, wrap)
    results = list(map(translator.number, _call(translator, rule, given)))
    names = ("x", *rule.state, *rule.uniform_state)
    check_count(rule, len(results))
    return dict(zip(names, results, strict=True))


def _body(
    rule: Rule, kept: Mapping[str, Place], builder: Builder, values: Mapping[str, Value]
) -> Body:
    """Return the body of what was built, with its new values of elements and uniform states."""
    named = {
        place: [name for name, of in kept.items() if of is place and name in values]
        for place in Place
    }
    named[Place.ELEMENT].insert(0, "x")
    named[Place.UNIFORM][:0] = [name for name in rule.uniform_state if name in values]
    new = {
        place: tuple(builder.new(values[name], place) for name in names)
        for place, names in named.items()
    }
    levels = [values[name].level for name in named[Place.ELEMENT]]
    whole = [one.ARRAY for one in builder.lines[Place.ELEMENT] if isinstance(one, Whole)]
    return Body(
        hyper=tuple(map(own_name, rule.hyperparameters)),
        uniform_state=(
            *map(own_name, rule.uniform_state),
            *(own_name(name) for name, of in kept.items() if of is Place.UNIFORM),
        ),
        varying=(
            "g",
            "x",
            *(own_name(name) for name, of in kept.items() if of is Place.ELEMENT),
            *whole,
        ),
        uniform=tuple(builder.lines[Place.UNIFORM]),
        element=tuple(builder.lines[Place.ELEMENT]),
        results=(*new[Place.ELEMENT], *map(ast.Name, whole)),
        new_uniform=tuple(value for value in new[Place.UNIFORM]),
        slots=builder.slot_count[Place.UNIFORM],
        powers=builder.power_count,
        row_state=tuple(map(own_name, named[Place.ROW])),
        column_state=tuple(map(own_name, named[Place.COLUMN])),
        row=tuple(builder.lines[Place.ROW]),
        column=tuple(builder.lines[Place.COLUMN]),
        new_row=new[Place.ROW],
        new_column=new[Place.COLUMN],
        written=(max(levels), max(value.level for value in values.values())),
    )


def _given(rule: Rule, wrap: Wrap, where: Mapping[str, Place]) -> dict[str, Value]:
    """Return the values of the rule's arguments in its kernel."""
    given = {n: Value(ast.Name(n), Place.ELEMENT) for n in ("g", "x")}
    given |= {n: Value(ast.Name(own_name(n)), place) for n, place in where.items()}
    for name in wrap.without:
        given[name] = literal(0.0)
    given["t"] = Value(ast.Name("t"), Place.UNIFORM, divisor=True)
    for name in rule.uniform_state:
        given[name] = Value(ast.Name(own_name(name)), Place.UNIFORM)
    for name in rule.hyperparameters:
        given[name] = Value(ast.Name(own_name(name)), Place.UNIFORM, steady=True)
    return given


def _call(translator: _Translator, rule: Rule, given: dict[str, Value]) -> list[Value]:
    """Translate the call of a rule that ``Rule.advance`` makes."""
    functions.check_alone(rule)
    values = list(given.values())
    count = 2 + len(rule.state)
    arguments: list[Any] = values[:count]
    keywords: dict[str, Any] = dict(list(given.items())[count:])
    return _called(translator, rule, rule.function, arguments, keywords)


def _called(
    translator: _Translator,
    rule: Rule,
    called: Callable[..., Any],
    arguments: list[Any],
    keywords: dict[str, Any],
) -> list[Value]:
    try:
        function = functions.called(called, arguments, keywords)
        bound = functions.bound(function, arguments, keywords)
    except (TypeError, ValueError) as error:
        raise ValueError(f"rule {rule.name!r} cannot be compiled: {error}") from error
    arguments_of = {"g", "x", *rule.state, "t", *rule.uniform_state, *rule.hyperparameters}
    own = bound.keys() == arguments_of  # an answer, or a decorator, has other names
    suffix = "" if own else "_call0"
    names = {name: translator.argument(name, value) for name, value in bound.items()}
    return translator.function(function, names, suffix, "")
