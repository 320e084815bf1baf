"""What a wrapper is: a plain function of a rule's step, which makes a rule of any other.

``thalweg.wrappers`` holds those that are known. The equations of wrapper and rule are put together
as the text of one function, so that a wrapped rule is a rule like any other.
"""

import ast
import functools
import hashlib
import inspect
import linecache
import re
import textwrap
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from thalweg.checks import Hyperparameter, Range
from thalweg.equation import check_in_place
from thalweg.rule import (
    INPUTS,
    RANGES,
    STEPS,
    Rule,
    check_source,
    read_signature,
    with_default,
)
from thalweg.words import closest

__all__ = [
    "Wrapped", "Wrapper", "declared", "named", "origin", "split", "text_of", "unknown", "wrapper",
]  # fmt: skip

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_FORM = "(step, g, x, <state>, *, t, <hyper>=...)"
_wrappers: dict[str, "Wrapper"] = {}
_origins: dict[str, tuple[str, list[int]]] = {}  # of texts put together: the wrapper's file, lines
_texts: dict[str, str] = {}  # put together; others, such as torch's compiler, empty the line cache


@dataclass(frozen=True, eq=False)  # as a rule, it is itself
class Wrapper:
    """What goes around the step of any rule. Calling it with a rule returns the wrapped rule.

    Attributes:
        name: the function's name.
        source: paper and equation or algorithm number.
        function: the equation itself.
        start: first values of its states; see ``wrapper``.
        ranges: legal ranges of its hyperparameters.
        judged: where the model is judged, if not at x; see ``answer``.
    """

    name: str
    source: str
    function: Callable[..., Any] = field(repr=False)
    start: Mapping[str, float | str] = field(repr=False)
    ranges: Mapping[str, Range] = field(repr=False)
    judged: Callable[..., Any] | None = field(default=None, repr=False)

    @property
    def hyperparameters(self) -> tuple[Hyperparameter, ...]:
        """Its own hyperparameters."""
        parameters = inspect.signature(self.function).parameters.values()
        return tuple(
            with_default(
                f"wrapper {self.name!r}",
                p.name,
                p.default,
                self.ranges.get(p.name, RANGES.get(p.name, Range())),
            )
            for p in parameters
            if p.default is not p.empty
        )

    def __call__(self, rule: Rule) -> "Wrapped":
        """Return the rule with this around it.

        Raises:
            TypeError: it is not a rule, or the wrapper is not of the form that ``wrapper`` names.
            ValueError: both have a state or hyperparameter of one name, the wrapper reads a
                hyperparameter that the rule lacks, or the rule is judged elsewhere than it trains
                and the wrapper changes its step.
        """
        if not isinstance(rule, Rule):
            raise TypeError(f"{self.name} takes a Rule, such as rules.get('adamw'), got {rule!r}")
        return _wrapped(self, rule)

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle by name if it is thalweg's own, for it is code."""
        if _ours(self.function):
            return self.name
        return object.__new__, (Wrapper,), vars(self)

    def answer(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Declare where the model is to be judged; see ``Rule.answer``."""
        vars(self)["judged"] = function
        return function


@dataclass(frozen=True, eq=False)
class Wrapped(Rule):
    """A rule with a wrapper around it.

    Attributes:
        wrapper: what is around it.
        inner: the rule inside.
    """

    wrapper: Wrapper = field(kw_only=True, repr=False)
    inner: Rule = field(kw_only=True, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as what it is made of."""
        return _wrapped, (self.wrapper, self.inner)


def wrapper(
    source: str,
    *,
    start: Mapping[str, float | str] | None = None,
    ranges: Mapping[str, Range] | None = None,
) -> Callable[[Callable[..., Any]], Wrapper]:
    """Turn a function around a step into a Wrapper, and register it under the function's name.

    ``step``, ``g`` and ``x`` come first: ``step(g, x)`` is the x to which the rule would go, and is
    called once. The names from there to ``*`` are the wrapper's own state. After ``*`` come ``t``,
    its uniform state (keywords without a default that ``start`` has), hyperparameters of the rule
    that it reads (the other keywords without one) and its own (keywords with one). It returns x,
    then each state of its own. It may use what a rule may, and ask for what a rule may ask for.

    Args:
        source: paper and equation number.
        start: first values of states: numbers, or "x" for the parameters. A varying state begins
            at 0 unless it is named here; a uniform one must be.
        ranges: as those of ``thalweg.rule.rule``.

    Raises:
        TypeError: the signature is not of that form, or an array is changed in place.

    Example:
        >>> from thalweg.rules import momentum
        >>> @wrapper("half of each step")
        ... def halved(step, g, x, *, t):
        ...     return (x + step(g, x)) / 2
        >>> halved(momentum)(2.0, 1.0, 0.0, t=1, lr=0.5, beta=0.9)
        (0.5, 2.0)
    """
    check_source("wrapper", source)

    def declare(function: Callable[..., Any]) -> Wrapper:
        if not inspect.isfunction(function) or not function.__name__.isidentifier():
            raise TypeError(f"a wrapper must be a function that def declares, got {function!r}")
        name, parameters = function.__name__, inspect.signature(function).parameters.values()
        first = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        after = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
        whole = len(first) + len(after) == len(parameters)
        if first[:3] != ["step", "g", "x"] or "t" not in after or not whole:
            raise TypeError(f"wrapper {name!r} must have the signature {_FORM}")
        for p in parameters:
            if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is not p.empty:
                raise TypeError(
                    f"wrapper {name!r}: {p.name} must have no default; start={{{p.name!r}: "
                    f"{p.default!r}}} says where a state starts"
                )
        for state in {*(start or {})} - {*first[3:], *after}:
            raise TypeError(f"wrapper {name!r}: start names {state!r}, which is no state of it")
        known = _wrappers.get(name)
        if known and _ours(known.function) and not _ours(function):
            raise TypeError(f"thalweg has a wrapper {name!r}; give yours another name")
        check_in_place(function)
        made = Wrapper(name, source, function, start or {}, ranges or {})
        made.hyperparameters  # noqa: B018 - whose defaults are looked at
        # Documentation tools and doctest treat the wrapper as the function.
        vars(made).update(__doc__=function.__doc__, __module__=function.__module__)
        vars(made).update(__wrapped__=function)
        _wrappers[name] = made
        return made

    return declare


def split(text: str) -> tuple[str, str] | None:
    """Return wrapper and rule of a name such as "cautious(adamw)"; None of that of a rule.

    Raises:
        ValueError: it has parentheses and is not of that form.
    """
    if not {"(", ")"} & {*text}:
        return None
    found = re.fullmatch(r"\s*(\w+)\s*\((\s*\w.*)\)\s*", text)
    if found is None or text.count("(") != text.count(")"):
        raise ValueError(f"write a wrapper around a rule as cautious(adamw), got {text!r}")
    return found[1], found[2].strip()


def origin(file: str, line: int) -> str:
    """Return where a line stands: that of a wrapped rule in its wrapper's own file.

    Example:
        >>> origin("mine.py", 3)
        'mine.py, line 3'
    """
    if file in _origins:
        file, lines = _origins[file]
        line = lines[min(line, len(lines)) - 1]
    return f"{file}, line {line}"


def text_of(file: str) -> str:
    """Return the text that was put together under this name; "" if none was."""
    return _texts.get(file, "")


def declared() -> tuple[Wrapper, ...]:
    """Return all wrappers declared so far."""
    return tuple(_wrappers.values())


def named(name: str) -> Wrapper | None:
    """Return the wrapper of a name, if there is one."""
    return _wrappers.get(name)


def unknown(name: str) -> str:
    """Return the sentence that no wrapper has a name."""
    hint = closest(name, _wrappers) or f"the wrappers are: {', '.join(_wrappers)}"
    return f"unknown wrapper {name!r}; {hint}"


def _inside_out(name: str, rule: str) -> str:
    """Return what may be meant by a wrapper around a rule that has an answer."""
    outer, parenthesis, inner = rule.partition("(")
    return f"{outer}({name}({inner})" if parenthesis else f"{name}(adamw)"


def _ours(function: Callable[..., Any]) -> bool:
    return (function.__module__ or "").partition(".")[0] == __package__


@functools.cache
def _wrapped(wrapper: Wrapper, rule: Rule) -> Wrapped:
    """Return a wrapped rule, the same one each time."""
    name = f"{wrapper.name}({rule.name})"
    text, around, lines = _composed(wrapper, rule)
    file = f"<{name} {hashlib.sha256(text.encode()).hexdigest()[:16]}>"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    _texts[file], _origins[file] = text, (wrapper.function.__code__.co_filename, lines)
    exec(compile(text, file, "exec", dont_inherit=True), around)  # noqa: S102 - of their own text
    function = around[_identifier(name)]
    ranges = {**wrapper.ranges, **{h.name: h.range for h in rule.hyperparameters.values()}}
    source = f"{wrapper.source}, around {rule.source}"
    read = read_signature(function, source, {**rule.start, **wrapper.start}, ranges)
    whole = Wrapped(**vars(read) | {"name": name}, wrapper=wrapper, inner=rule)
    if judged := wrapper.judged or rule.judged:
        whole.answer(judged)
    return whole


def _identifier(name: str) -> str:
    return name.replace("(", "_").replace(")", "")


class _Own(NamedTuple):
    """A wrapper's own names: its varying and uniform state, hyperparameters, what it asks for."""

    varying: tuple[str, ...]
    uniform: tuple[str, ...]
    hyper: Mapping[str, float]
    asked: tuple[str, ...]


def _own(wrapper: Wrapper, rule: Rule) -> _Own:
    """Return a wrapper's own names.

    Raises:
        ValueError: they do not go with those of the rule.
    """
    parameters = inspect.signature(wrapper.function).parameters.values()
    bare = {p.name: p.kind for p in parameters if p.default is p.empty and p.name != "t"}
    varying = tuple(name for name, kind in bare.items() if kind is not _KEYWORD)[3:]
    asked = tuple(name for name in (*INPUTS, STEPS.name) if name in bare)
    keywords = [name for name, kind in bare.items() if kind is _KEYWORD and name not in asked]
    uniform = tuple(name for name in keywords if name in wrapper.start)
    hyper = {h.name: h.default for h in wrapper.hyperparameters}
    for name in keywords:
        if name not in uniform and name not in rule.hyperparameters:
            raise ValueError(
                f"wrapper {wrapper.name!r} reads the rule's {name}, and rule {rule.name!r} has none"
            )
    for name in (*varying, *uniform, *hyper):
        if name in _names_of(rule):
            raise ValueError(
                f"wrapper {wrapper.name!r} and rule {rule.name!r} both have a {name!r}, which "
                "would be one: they do not go together"
            )
    return _Own(varying, uniform, hyper, asked)


def _asked(rule: Rule) -> tuple[str, ...]:
    """Return the names of what a rule asks for."""
    return (*rule.inputs, *(h.name for h in rule.hyperparameters.values() if h is STEPS))


def _names_of(rule: Rule) -> tuple[str, ...]:
    return (*rule.state, *rule.uniform_state, *rule.hyperparameters)


def _composed(wrapper: Wrapper, rule: Rule) -> tuple[str, dict[str, Any], list[int]]:
    """Return the text of one function, with the rule's call in place of ``step``, and its globals.

    And the line in the wrapper's file of each of its lines.

    Raises:
        ValueError: see ``Wrapper.__call__``.
        TypeError: the wrapper is not of the form.
    """
    own, function = _own(wrapper, rule), wrapper.function
    theirs, kept = (
        {*_names_of(rule), *rule.inputs},
        {"step", *inspect.signature(function).parameters},
    )
    body = _statements(wrapper)
    nodes = [node for statement in body for node in ast.walk(statement)]
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    taken = used | kept | theirs
    renamed = {name: _free(name, taken) for name in (used - kept) & theirs}
    inner, inside = _free(_identifier(rule.name), taken), _Inside(renamed, _free("stepped", taken))
    first = function.__code__.co_firstlineno - 1
    parts = [(part, s.lineno) for s in body for part in inside.around(s, rule, inner)]
    body, at = [part for part, _ in parts], [line + first for _, line in parts]
    named_step = sum(isinstance(node, ast.Name) and node.id == "step" for node in nodes)
    if len(inside.calls) != 1 or named_step != 1:
        raise TypeError(f"wrapper {wrapper.name!r} must call step(g, x) once, in no if and no loop")
    returns = sum(isinstance(node, ast.Return) for node in nodes)
    x, *states = _returned(body.pop(), wrapper, own, several=returns > 1)
    if rule.judged and x != inside.stepped:
        raise ValueError(
            f"rule {rule.name!r} is judged elsewhere than it trains, at a point that belongs to "
            f"its own steps; {wrapper.name} goes around rules without an answer, as in "
            f"{_inside_out(wrapper.name, rule.name)}"
        )
    cut = len(own.varying)
    results = [x, *rule.state, *states[:cut], *rule.uniform_state, *states[cut:]]
    asked = dict.fromkeys((*_asked(rule), *own.asked))
    values = {n: v for n, v in {**rule.defaults, **own.hyper}.items() if n not in asked}
    hyper = (f"{name}={value!r}" for name, value in values.items())
    keywords = ["t", *asked, *rule.uniform_state, *own.uniform, *hyper]
    head = ", ".join(["g", "x", *rule.state, *own.varying, "*", *keywords])
    lines = [*map(ast.unparse, body), f"return {', '.join(results)}"]
    origins = [n for line, n in zip(lines, at, strict=True) for _ in line.splitlines()]
    text = f"def {_identifier(f'{wrapper.name}({rule.name})')}({head}):\n"
    text += textwrap.indent("\n".join(lines), "    ") + "\n"
    around = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    around |= {new: around[old] for old, new in renamed.items() if old in around}
    home = rule.function if _ours(function) else function  # it is thalweg's if both are
    origins = [function.__code__.co_firstlineno, *origins]
    return text, around | {inner: rule, "__name__": home.__module__}, origins


class _Inside(ast.NodeTransformer):
    """Puts a name in place of the call of ``step``, and other names in place of some."""

    def __init__(self, names: Mapping[str, str], stepped: str) -> None:
        self.names, self.stepped = names, stepped
        self.calls: list[list[ast.expr]] = []

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """Rename."""
        return ast.Name(self.names.get(node.id, node.id), node.ctx)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Keep what ``step`` is called with."""
        self.generic_visit(node)
        called = isinstance(node.func, ast.Name) and node.func.id == "step"
        if not called or len(node.args) != 2 or node.keywords:
            return node
        self.calls.append(node.args)
        return ast.Name(self.stepped)

    def around(self, statement: ast.stmt, rule: Rule, inner: str) -> list[ast.stmt]:
        """Return a statement, and the call of the rule before it if it called ``step``."""
        before = len(self.calls)
        changed: ast.stmt = self.visit(statement)
        if len(self.calls) == before:
            return [changed]
        if not isinstance(statement, ast.Assign | ast.AnnAssign | ast.Return):
            self.calls.append([])  # as if there were a second one
        given = [*map(ast.unparse, self.calls[before]), *rule.state]
        given += [
            f"{n}={n}" for n in ("t", *rule.inputs, *rule.uniform_state, *rule.hyperparameters)
        ]
        returned = ", ".join((self.stepped, *rule.state, *rule.uniform_state))
        return [*ast.parse(f"{returned} = {inner}({', '.join(given)})").body, changed]


def _returned(last: ast.stmt, wrapper: Wrapper, own: _Own, *, several: bool) -> list[str]:
    """Return the text of x and of each state that a wrapper returns."""
    value = last.value if isinstance(last, ast.Return) else None
    parts = value.elts if isinstance(value, ast.Tuple) else [value] if value else []
    count = 1 + len(own.varying) + len(own.uniform)
    if len(parts) != count or several:
        raise TypeError(
            f"wrapper {wrapper.name!r} must end in a return, its only one, of {count} "
            f"{'value' if count == 1 else 'values'}: x and its own state"
        )
    return [ast.unparse(part) for part in parts]


def _statements(wrapper: Wrapper) -> list[ast.stmt]:
    """Return the statements of a wrapper, without its docstring."""
    try:
        text = textwrap.dedent(inspect.getsource(wrapper.function))
    except OSError as error:
        raise TypeError(
            f"the source of wrapper {wrapper.name!r} cannot be read; define it in a file or in a "
            "notebook cell"
        ) from error
    (found,) = ast.parse(text).body
    assert isinstance(found, ast.FunctionDef)
    return found.body[ast.get_docstring(found) is not None :]


def _free(name: str, taken: Container[str]) -> str:
    while name in taken:
        name += "_"
    return name
