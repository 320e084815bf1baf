"""From a rule's syntax tree to the lines of its kernel.

Names in a rule come in two kinds. *Varying*: g, x, the state and all computed from them, one value
per element. *Uniform*: hyperparameters, t, uniform state, and every expression of them alone. Each
maximal uniform sub-expression inside a varying one becomes a slot: computed once per step in
float64 and rounded to the element type. The result is two functions of plain arithmetic,
``uniforms`` and ``element``, and ``update``, which runs ``element`` over an array; all of them work
on vectors of lanes (``thalweg.kernels.simd``).
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Literal, NoReturn

from thalweg import elementwise
from thalweg.rule import Rule

__all__ = ["PLAIN", "Body", "Wrap", "names_in", "translate"]

_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)
_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
_FUNCTIONS = {name: getattr(elementwise, name) for name in elementwise.__all__} | {"abs": abs}


# Names that the generated functions use for themselves; a rule's own get an underscore more.
_RESERVED = re.compile(
    r"(u|power|factor)\d+|t|n|i|rest|fresh|hyper|powers|state|slots|places|element|update|uniforms"
    r"|(load|store)(_ahead|_part|_even|_odd|_pair)?(_b?float16)?(_stochastic)?|lost|seed|power|typed|LANES|WIDE|widened|inlined|before|moved|gradient|gradient_scale"
    r"|coupled_decay|shrink|tl|keep|number|place|stochastic|read|write|at_\w+|\w+_new|\w+_call\d+|"
    + "|".join(_FUNCTIONS)
)


@dataclass(frozen=True)
class Wrap:
    """What a step puts around its rule, so that each element is still touched once.

    Attributes:
        scaled: the gradient is multiplied by the uniform value ``gradient_scale`` first (maximize,
            loss scaling, clipping).
        coupled: then ``coupled_decay`` times x is added to it, as L2 regularization does.
        shrunk: x is multiplied by ``shrink`` before the rule: decoupled weight decay.
        cautious: an element that the rule would move up its gradient stays where it is.
        zeroed: the gradient is 0 afterwards.
        values: the format of x and g, "bfloat16" or "float16", which are computed in float32; None:
            that of the computation.
        state: the format of the varying state; None: that of the computation.
        without: states that are not kept: they enter as 0, for their decay is 0.
        rounding: how bfloat16 is stored: to the "nearest"; "stochastic", up or down with the
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
        """The uniform values that follow the rule's hyperparameters in their table."""
        given = {
            "gradient_scale": self.scaled,
            "coupled_decay": self.coupled,
            "shrink": self.shrunk,
        }
        return tuple(name for name, there in given.items() if there)


PLAIN = Wrap()


@dataclass(frozen=True)
class Body:
    """A rule with its wrap as lines of plain text: what the kernels of every machine are made of.

    Attributes:
        hyper: the names in the table of hyperparameters: the rule's, then the wrap's.
        uniform_state: the names of the uniform state.
        varying: g, x and the states that are kept, by name.
        uniform_lines: once per step, in float64: assignments, ``store(slots, index, value)`` and
            ``name = power(powers, index, base, t, fresh)``.
        element_lines: once per element; slot 0 is called u0.
        results: the new x, then the new states, as expressions.
        new_uniform: the new uniform state, as expressions.
        slots: how many values ``uniform_lines`` store.
        powers: how many running powers they keep.
    """

    hyper: tuple[str, ...]
    uniform_state: tuple[str, ...]
    varying: tuple[str, ...]
    uniform_lines: tuple[str, ...]
    element_lines: tuple[str, ...]
    results: tuple[str, ...]
    new_uniform: tuple[str, ...]
    slots: int
    powers: int

    def element(self, decorator: str, dialect: Callable[[str], str] = str) -> Iterator[str]:
        """Yield the lines of the function of one element, in the words of a kind of machine."""
        slots = [f"u{index}" for index in range(self.slots)]
        yield decorator
        yield f"def element({', '.join([*self.varying, *slots])}):"
        for line in self.element_lines:
            yield f"    {dialect(line)}"
        comma = "," if len(self.results) == 1 else ""
        yield f"    return {', '.join(map(dialect, self.results))}{comma}"


@dataclass(frozen=True)
class _Value:
    """An expression and what it depends on."""

    node: ast.expr
    varying: bool
    steady: bool = False  # uniform and the same at every step while the hyperparameters are
    test: bool = False  # a comparison's result

    @property
    def text(self) -> str:
        return ast.unparse(self.node)

    @property
    def literal(self) -> bool:
        return isinstance(self.node, ast.Constant)


def _literal(number: Any) -> _Value:  # noqa: ANN401 - whatever is a real number
    """Return a number as one of floating point: whole ones overflow."""
    plain = number if isinstance(number, bool) else float(number)
    return _Value(ast.Constant(plain), varying=False, steady=True)


class _Translator:
    """Walks a rule's statements, appending to the lines of ``uniforms`` and of ``element``."""

    def __init__(self) -> None:
        self.uniform_lines: list[str] = []
        self.element_lines: list[str] = []
        self.slots: dict[str, int] = {}  # expression -> its slot, while its names keep their values
        self.slot_count = 0
        self.powers: dict[str, str] = {}  # base -> name of the running power
        self.power_count = 0
        self.calls = 0

    def function(
        self, function: Callable[..., Any], given: dict[str, _Value], suffix: str
    ) -> list[_Value]:
        """Translate a function's body with its parameters bound; return the values it returns."""
        scope = _Scope(function, dict(given), suffix)
        for statement in scope.body:
            match statement:
                case ast.Return(value=ast.expr() as value):
                    return self.values(value, scope)
                case ast.Assign(targets=[ast.Name() as target]):
                    self.assign([target], self.values(statement.value, scope), scope)
                case ast.Assign(targets=[ast.Tuple(elts=targets)]):
                    self.assign(targets, self.values(statement.value, scope), scope)
                case ast.AugAssign(target=ast.Name(id=name)):
                    left = ast.copy_location(ast.Name(name), statement)
                    sum_ = ast.copy_location(
                        ast.BinOp(left, statement.op, statement.value), statement
                    )
                    self.assign([statement.target], [self.value(sum_, scope)], scope)
                case _:
                    scope.refuse(statement)
        scope.refuse(scope.body[-1], "the function must end in a return")

    def before(self, given: dict[str, _Value], wrap: Wrap) -> None:
        """Scale the gradient, add the coupled decay, shrink x: what comes ahead of the rule."""

        def uniform(name: str) -> _Value:
            return _Value(ast.Name(name), varying=False, steady=True)

        g, x = given["g"], given["x"]
        if wrap.scaled:
            self.replace(g, self.binary(ast.Mult(), g, uniform("gradient_scale")))
        if wrap.coupled:
            decay = uniform("coupled_decay")
            decayed = self.binary(ast.Add(), g, self.binary(ast.Mult(), decay, x))
            some = self.compare(ast.NotEq(), decay, _literal(0.0))
            self.replace(g, self.pick(some, decayed, g))  # 0 times an infinite x is NaN
        if wrap.shrunk:
            self.replace(x, self.binary(ast.Mult(), x, uniform("shrink")))
        if wrap.cautious:
            self.element_lines.append("gradient, before = g, x")

    def replace(self, name: _Value, value: _Value) -> None:
        self.element_lines.append(f"{name.text} = {value.text}")

    def cautious(self, x: ast.expr) -> ast.expr:
        """Let x move only where it moves down its gradient (Liang et al. 2024, Algorithm 1).

        Or to NaN: an element that stayed where it is would hide that its state is lost.
        """
        self.element_lines.append(f"moved = {ast.unparse(x)}")
        return ast.parse("where((before - moved) * gradient <= 0, before, moved)", mode="eval").body

    def assign(self, targets: Sequence[ast.expr], values: list[_Value], scope: "_Scope") -> None:
        if len(targets) != len(values):
            scope.refuse(targets[0], f"{len(values)} values for {len(targets)} names")
        names = [t.id if isinstance(t, ast.Name) else scope.refuse(t) for t in targets]
        for varying, lines in ((True, self.element_lines), (False, self.uniform_lines)):
            chosen = [(n, v) for n, v in zip(names, values, strict=True) if v.varying is varying]
            if chosen:
                left = ", ".join(scope.own(name) for name, _ in chosen)
                lines.append(f"{left} = {', '.join(value.text for _, value in chosen)}")
        for name, value in zip(names, values, strict=True):
            new = scope.own(name)
            scope.names[name] = replace(value, node=ast.Name(new))
            for known in (self.slots, self.powers):  # they speak of the name's old value
                for text in [k for k in known if new in names_in(k)]:
                    del known[text]

    def values(self, node: ast.expr, scope: "_Scope") -> list[_Value]:
        """Translate what may be several values: a tuple, or a call of another rule."""
        if isinstance(node, ast.Tuple):
            return [self.value(e, scope) for e in node.elts]
        if isinstance(node, ast.Call) and scope.known_function(node) is None:
            return self.inline(node, scope)
        return [self.value(node, scope)]

    def inline(self, node: ast.Call, scope: "_Scope") -> list[_Value]:
        callee = scope.callee(node)
        function = callee.function if isinstance(callee, Rule) else callee
        if not inspect.isfunction(function) or any(k.arg is None for k in node.keywords):
            scope.refuse(node)
        arguments = [self.value(a, scope) for a in node.args]
        keywords = {str(k.arg): self.value(k.value, scope) for k in node.keywords}
        try:
            bound = inspect.signature(function).bind(*arguments, **keywords)
        except TypeError as error:
            scope.refuse(node, str(error))
        bound.apply_defaults()
        for name, default in bound.arguments.items():
            if not isinstance(default, (_Value, Real)):
                scope.refuse(node, f"the default of {name!r} is no number")
        given = {
            name: v if isinstance(v, _Value) else _literal(v) for name, v in bound.arguments.items()
        }
        self.calls += 1
        return self.function(function, given, f"_call{self.calls}")

    def value(self, node: ast.expr, scope: "_Scope") -> _Value:  # noqa: C901, PLR0911 - one case a node
        """Translate an expression; a mixed one gets its uniform operands as slots."""
        match node:
            case ast.Constant(value=bool() | int() | float() as number):
                return _literal(number)
            case ast.Name(id=name):
                return scope.lookup(node, name)
            case ast.BinOp(left, operator, right) if isinstance(operator, _OPERATORS):
                operands = self.value(left, scope), self.value(right, scope)
                tests = all(o.test for o in operands) and any(o.varying for o in operands)
                if tests and isinstance(operator, ast.Add):
                    scope.refuse(node, "arrays of tests do not add up; write where(test, 1.0, 0.0)")
                return self.binary(operator, *operands)
            case ast.UnaryOp(ast.USub(), operand):
                negated = self.number(self.value(operand, scope))
                return self.combine(lambda a: ast.UnaryOp(ast.USub(), a), negated)
            case ast.UnaryOp(ast.UAdd(), operand):
                return self.value(operand, scope)
            case ast.Compare(left, [operator], [right]) if isinstance(operator, _COMPARISONS):
                return self.compare(operator, self.value(left, scope), self.value(right, scope))
            case ast.IfExp(test, body, orelse):
                chosen = self.value(body, scope), self.value(orelse, scope)
                return self.choose(scope, node, self.value(test, scope), *chosen)
            case ast.Call(args=arguments, keywords=[]) if function := scope.known_function(node):
                values = [self.value(a, scope) for a in arguments]
                if function == "where" and len(values) == 3:
                    return self.where(*values)
                numbers = map(self.number, values)
                return self.combine(lambda *a: ast.Call(ast.Name(function), list(a), []), *numbers)
            case ast.Call():
                values = self.inline(node, scope)
                return values[0] if len(values) == 1 else scope.refuse(node)
        scope.refuse(node)

    def combine(self, build: Callable[..., ast.expr], *operands: _Value) -> _Value:
        """Build an expression; beside varying operands the uniform ones become slots."""
        varying = any(o.varying for o in operands)
        nodes = [self.slot(o) if varying and not o.varying else o.node for o in operands]
        steady = not varying and all(o.steady for o in operands)
        return _Value(build(*nodes), varying, steady)

    def number(self, value: _Value) -> _Value:
        """Return a test as 1 or 0; a number is returned as it is."""
        return self.where(value, _literal(1.0), _literal(0.0)) if value.test else value

    def compare(self, operator: ast.cmpop, left: _Value, right: _Value) -> _Value:
        operands = self.number(left), self.number(right)
        made = self.combine(lambda a, b: ast.Compare(a, [operator], [b]), *operands)
        return replace(made, test=True)

    def binary(self, operator: ast.operator, left: _Value, right: _Value) -> _Value:
        left, right = self.number(left), self.number(right)
        if isinstance(operator, ast.Div) and left.varying and not right.varying:
            # One division per step instead of one per element.
            one = _literal(1)
            return self.binary(ast.Mult(), left, self.binary(ast.Div(), one, right))
        if isinstance(operator, ast.Pow):
            if right.text == "t" and left.steady:
                return self.running_power(left)
            if left.varying and right.literal and right.node.value in (2, 3, 4):  # type: ignore[attr-defined]
                return self.product(left, int(right.node.value))  # type: ignore[attr-defined]
        return self.combine(lambda a, b: ast.BinOp(a, operator, b), left, right)

    def running_power(self, base: _Value) -> _Value:
        """base**t as last step's value times base: a power function costs more than the update."""
        name = self.powers.get(base.text)
        if name is None:
            name = f"power{self.power_count}"
            self.uniform_lines.append(
                f"{name} = power(powers, {self.power_count}, {base.text}, t, fresh)"
            )
            self.powers[base.text] = name
            self.power_count += 1
        return _Value(ast.Name(name), varying=False)

    def product(self, base: _Value, times: int) -> _Value:
        """A small whole power as multiplications, which round better than a power function."""
        self.calls += 1
        name = f"factor{self.calls}"
        self.element_lines.append(f"{name} = {base.text}")
        node: ast.expr = ast.Name(name)
        for _ in range(times - 1):
            node = ast.BinOp(node, ast.Mult(), ast.Name(name))
        return _Value(node, varying=True)

    def choose(self, scope: "_Scope", node: ast.expr, test: _Value, a: _Value, b: _Value) -> _Value:
        """``a if test else b``: both are computed, for lanes may differ in their test."""
        if test.varying:
            scope.refuse(node, "the test depends on the gradient; write where(test, a, b)")
        return self.pick(test, a, b)

    def pick(self, test: _Value, a: _Value, b: _Value) -> _Value:
        """Return a or b by a uniform test."""
        if (a.varying or b.varying) and not test.literal:
            flag = self.where(test, _literal(1.0), _literal(0.0))
            test = self.compare(ast.Gt(), _Value(self.store(flag), varying=True), _literal(0))
        return self.where(test, a, b)

    def where(self, test: _Value, a: _Value, b: _Value) -> _Value:
        if test.literal:
            return a if test.node.value else b  # type: ignore[attr-defined]
        if not test.test:
            test = self.compare(ast.NotEq(), test, _literal(0.0))
        a, b = self.number(a), self.number(b)
        if test.varying and a.literal and b.literal:
            a = _Value(self.store(a), varying=True)  # one of the two must carry the element type
        return self.combine(lambda *o: ast.Call(ast.Name("where"), list(o), []), test, a, b)

    def slot(self, value: _Value) -> ast.expr:
        if value.literal:
            return value.node  # a vector gives a literal its own element type
        return self.store(value)

    def element(self, value: _Value) -> ast.expr:
        """Return what an element's new value is; a uniform one becomes a slot."""
        return value.node if value.varying else self.slot(value)

    def store(self, value: _Value) -> ast.expr:
        index = self.slots.get(value.text)
        if index is None:
            index = self.slots[value.text] = self.slot_count
            self.slot_count += 1
            self.uniform_lines.append(f"store(slots, {index}, {value.text})")
        return ast.Name(f"u{index}")


class _Scope:
    """A function being translated: its statements, its names, and where to point in errors."""

    def __init__(self, function: Callable[..., Any], names: dict[str, _Value], suffix: str) -> None:
        self.names = names
        self.suffix = suffix  # of the variables of a function that is called; empty for the rule's
        outside = inspect.getclosurevars(function)
        self.globals = {**outside.globals, **outside.nonlocals}
        self.file = inspect.getsourcefile(function) or "<unknown>"
        try:
            lines, first = inspect.getsourcelines(function)
        except (OSError, TypeError) as error:
            raise ValueError(
                f"the source of {function.__name__!r} cannot be read; "
                "define it in a file or in a notebook cell"
            ) from error
        tree = ast.increment_lineno(ast.parse(textwrap.dedent("".join(lines))), first - 1)
        definition = tree.body[0]
        assert isinstance(definition, ast.FunctionDef)
        documented = ast.get_docstring(definition) is not None
        self.body = definition.body[1:] if documented else definition.body

    def own(self, name: str) -> str:
        """Return the name of a variable in the generated code."""
        return name + self.suffix if self.suffix else _own(name)

    def lookup(self, node: ast.expr, name: str) -> _Value:
        if name in self.names:
            return self.names[name]
        constant = self.globals.get(name)
        if isinstance(constant, Real):
            return _literal(constant)
        self.refuse(
            node, f"{name!r} is neither an argument, nor a name assigned before, nor a number"
        )

    def callee(self, node: ast.Call) -> Any:  # noqa: ANN401 - whatever the name stands for
        if isinstance(node.func, ast.Name):
            return self.globals.get(node.func.id, abs if node.func.id == "abs" else None)
        return None

    def known_function(self, node: ast.Call) -> str | None:
        """Return the name of the element-wise function that is called, if it is one."""
        callee = self.callee(node)
        return next((name for name, f in _FUNCTIONS.items() if f is callee), None)

    def refuse(self, node: ast.AST, why: str = "") -> NoReturn:
        line = getattr(node, "lineno", 0)
        reason = why or (
            "a rule may use assignments to names, + - * / **, comparisons, `a if b else c`, "
            "other rules and " + ", ".join(sorted(_FUNCTIONS))
        )
        raise ValueError(
            f"{self.file}, line {line}: `{ast.unparse(node)}` cannot be compiled: {reason}"
        )


def _own(name: str) -> str:
    """Return the name of a rule's variable in the generated code."""
    return f"{name}_" if _RESERVED.fullmatch(name) or name.endswith("_") else name


def names_in(expression: str) -> set[str]:
    """Return the names that an expression, or lines of code, use."""
    return {n.id for n in ast.walk(ast.parse(expression)) if isinstance(n, ast.Name)}


def translate(rule: Rule, wrap: Wrap = PLAIN) -> Body:
    """Return the lines that a kernel of a rule is written from, for whatever machine.

    Args:
        rule: the rule.
        wrap: what is done around it.

    Raises:
        ValueError: the rule uses a construct that the generator does not know; the message has its
            file and line.
    """
    given = _given(rule, wrap)
    kept = [name for name in rule.state if name not in wrap.without]
    translator = _Translator()
    translator.before(given, wrap)
    results = list(map(translator.number, translator.function(rule.function, given, "")))
    names = ("x", *rule.state, *rule.uniform_state)
    if len(results) != len(names):
        raise ValueError(
            f"rule {rule.name!r} must return {len(names)} values (x and its state), "
            f"not {len(results)}"
        )
    new = dict(zip(names, results, strict=True))
    elements = [translator.element(new[name]) for name in ("x", *kept)]
    if wrap.cautious:
        elements[0] = translator.cautious(elements[0])
    for name in rule.uniform_state:
        if new[name].varying:
            raise ValueError(
                f"rule {rule.name!r}: the uniform state {name!r} must not depend on g or x"
            )
    return Body(
        hyper=(*map(_own, rule.hyperparameters), *wrap.names),
        uniform_state=tuple(map(_own, rule.uniform_state)),
        varying=("g", "x", *map(_own, kept)),
        uniform_lines=tuple(translator.uniform_lines),
        element_lines=tuple(translator.element_lines),
        results=tuple(map(ast.unparse, elements)),
        new_uniform=tuple(new[name].text for name in rule.uniform_state),
        slots=translator.slot_count,
        powers=translator.power_count,
    )


def _given(rule: Rule, wrap: Wrap) -> dict[str, _Value]:
    """Return what the rule's arguments are in its kernel."""
    given = {n: _Value(ast.Name(_own(n)), varying=True) for n in ("g", "x", *rule.state)}
    for name in wrap.without:
        given[name] = _literal(0.0)
    given["t"] = _Value(ast.Name("t"), varying=False)
    for name in rule.uniform_state:
        given[name] = _Value(ast.Name(_own(name)), varying=False)
    for name in rule.hyperparameters:
        given[name] = _Value(ast.Name(_own(name)), varying=False, steady=True)
    return given
