"""What a rule is: a plain function whose signature declares its state and hyperparameters.

``thalweg.rules`` holds the equations; this module reads their signatures.
"""

import inspect
import linecache
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from types import FunctionType
from typing import Any

import numpy as np

from thalweg.checks import Hyperparameter, Range
from thalweg.equation import check_in_place, check_outermost, functions
from thalweg.kind import ASKING, ELEMENT_WISE, MATRICES, read

__all__ = [
    "AT_X",
    "INPUTS",
    "RANGES",
    "RESERVED_HYPERPARAMETERS",
    "RESERVED_STATE",
    "SECOND_ORDER",
    "STEPS",
    "Hyperparameter",
    "Range",
    "Rule",
    "adopt",
    "check_count",
    "check_source",
    "declared_names",
    "read_signature",
    "registered",
    "rule",
    "with_default",
]


# A hyperparameter's name means the same in every rule, so its range is declared once.
RANGES: dict[str, Range] = {
    "lr": Range(0.0, ends="()"),
    "beta": Range(0.0, 1.0, "[)"),
    "beta1": Range(0.0, 1.0, "[)"),
    "beta2": Range(0.0, 1.0, "[)"),
    "beta3": Range(0.0, 1.0, "[)"),
    "rho": Range(0.0, 1.0, "[)"),
    "gamma": Range(0.0, 1.0, "[)"),
    "eps": Range(0.0, ends="[)"),
    "weight_decay": Range(0.0, ends="[)"),
    "momentum_decay": Range(0.0, ends="[)"),
    "lambd": Range(0.0, ends="[)"),
    "alpha": Range(0.0, ends="[)"),
    "t0": Range(0.0, ends="[)"),
    "eta_minus": Range(0.0, 1.0, "()"),
    "eta_plus": Range(1.0, ends="()"),
    "step_min": Range(0.0, ends="[)"),
    "step_max": Range(0.0, ends="()"),
    "slow_weight": Range(0.0, ends="[)"),
    "warmup": Range(0.0, ends="[)"),
    "trust": Range(0.0, ends="()"),
    "decay": Range(0.0, ends="()"),
    "eps1": Range(0.0, ends="[)"),
    "eps2": Range(0.0, ends="[)"),
    "clip": Range(0.0, ends="()"),
    "d0": Range(0.0, ends="()"),
    "distance0": Range(0.0, ends="()"),
    "every": Range(1.0, ends="[)"),
    "scale": Range(0.0, ends="()"),
}

# What a rule may ask for beside g, x and t, by the name of a keyword without a default. Functions
# of x, from whoever takes the step; and the length of the training, which goes as a hyperparameter.
INPUTS = ("gradient", "curvature")
_COUNTED = 120  # steps over which gradients are counted
STEPS = Hyperparameter("steps", math.nan, Range(1.0, ends="[)"))


@dataclass(frozen=True, eq=False)  # a rule is itself: hashable, equal to nothing else
class Rule:
    """An update rule: the paper's equation and what its signature declares.

    Calling it calls the function: ``x, *state = rule(g, x, *state, t=t, **hyper)``.

    Attributes:
        name: the function's name.
        source: paper and equation or algorithm number.
        function: the equation itself.
        state: names of the varying state, one value per element of x.
        uniform_state: names of the uniform state, one value per tensor or lane.
        hyperparameters: by name, in the order of the signature.
        start: first value of a state that does not start at zero: a number, the name of the
            hyperparameter whose value it takes, or "x", the parameters.
        judged: where the model is judged, if not at x; see ``answer``.
        inputs: names of the functions of x that it asks for: "gradient", "curvature".
    """

    name: str
    source: str
    function: Callable[..., Any] = field(repr=False)
    state: tuple[str, ...]
    uniform_state: tuple[str, ...]
    hyperparameters: Mapping[str, Hyperparameter] = field(repr=False)
    start: Mapping[str, float | str] = field(repr=False)
    judged: Callable[..., Any] | None = field(default=None, repr=False)
    inputs: tuple[str, ...] = ()

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle by name, because a rule is code; with the equation if another has the name."""
        if self.built_in:
            return self.name  # its module declares it when it is loaded
        if _rules.get(self.name) is self:
            return _restored, (self.name,)
        return object.__new__, (Rule,), vars(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the equation
        """Call the equation itself; one that forgets a state would let a tensor be unpacked."""
        result = self.function(*args, **kwargs)
        check_count(self, len(result) if isinstance(result, tuple) else 1)
        return result

    def first_state(self, x: Any, hyper: Mapping[str, float]) -> dict[str, Any]:  # noqa: ANN401
        """Return the state before the first step, by name.

        It is shaped like x, or one number if it is uniform. A state of a rule that is not
        element-wise starts as a number, too: its first step gives it the shape that its equation
        has.

        Example:
            >>> from thalweg import rules
            >>> rules.get("rprop").first_state(0.0, {"lr": 0.1})
            {'step_size': 0.1, 'g_last': 0.0}
        """
        starts = {name: self.start_of(name, hyper, x * 1) for name in self.state}
        if self.kind == ELEMENT_WISE:
            starts = {name: x * 0 + start for name, start in starts.items()}
        return starts | {name: self.start_of(name, hyper) for name in self.uniform_state}

    @cached_property
    def kind(self) -> str:
        """What it looks at: "element-wise", "sums" of tensors, or whole "matrices".

        Or "asking", if it asks for a gradient or a curvature and looks at no matrices.
        """
        kind = read(self.function)[0]
        return ASKING if self.inputs and kind != MATRICES else kind

    @cached_property
    def joint(self) -> bool:
        """Whether a step looks at all tensors of the model at once.

        It does so by ``sums.total``, or by a gradient elsewhere, which needs all of that point.
        """
        return read(self.function)[1] or bool(self.inputs)

    @cached_property
    def gradients(self) -> float:
        """How many gradients a step takes, at the defaults: 1 and those that it asks for.

        A curvature takes two, as where it is estimated from gradients.

        Example:
            >>> from thalweg import rules
            >>> [rules.get(name).gradients for name in ("adam", "sam(adam)", "sophia")]
            [1.0, 2.0, 1.2]
        """
        asked = 0

        def asking(price: int) -> Callable[[Any], Any]:
            def answer(x: Any) -> Any:  # noqa: ANN401
                nonlocal asked
                asked += price
                return x

            return answer

        inputs = {"gradient": asking(1), "curvature": asking(2)}
        hyper = self.defaults | {STEPS.name: _COUNTED}
        hyper = {name: hyper[name] for name in self.hyperparameters}
        x = np.eye(2)
        state = self.first_state(x, hyper)
        for t in range(1, 1 + _COUNTED if self.inputs else 1):
            _, state = self.advance(x, x, state, t=t, hyper=hyper, inputs=inputs)
        return 1 + asked / _COUNTED

    def advance(
        self,
        g: Any,  # noqa: ANN401 - a float, an array or a tensor
        x: Any,  # noqa: ANN401
        state: Mapping[str, Any],
        *,
        t: int,
        hyper: Mapping[str, float],
        inputs: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Take step t: return the new x and the new state, by name.

        Raises:
            ValueError: the function returns more or fewer values than x and its states, or asks for
                a function that ``inputs`` has not.

        Example:
            >>> from thalweg import rules
            >>> momentum, hyper = rules.get("momentum"), {"lr": 0.5, "beta": 0.5}
            >>> momentum.advance(2.0, 1.0, {"v": 4.0}, t=1, hyper=hyper)
            (-1.0, {'v': 4.0})
        """
        varying = [state[name] for name in self.state]
        uniform = {name: state[name] for name in self.uniform_state}
        given = {name: _asked(self, name, inputs or {}) for name in self.inputs}
        result = self.function(g, x, *varying, t=t, **given, **uniform, **hyper)
        values = result if isinstance(result, tuple) else (result,)
        check_count(self, len(values))
        if len(values) == 1:
            return values[0], {}
        return values[0], dict(zip([*self.state, *self.uniform_state], values[1:], strict=True))

    def answer(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Declare where the model is to be judged: a function of x, states and hyperparameters.

        Its arguments go by their names. Races judge there, and ``thalweg.optim`` goes there with
        ``optimizer.answer()``. Without a declaration, and before the first step, it is x.

        Raises:
            TypeError: an argument has none of these names, or an array is changed in place.

        Example:
            >>> @rule("Polyak & Juditsky 1992")
            ... def averaged_sgd(g, x, mean, *, t, lr=0.1):
            ...     x = x - lr * g
            ...     return x, mean + (x - mean) / t
            >>> @averaged_sgd.answer
            ... def _(mean):
            ...     return mean
            >>> averaged_sgd.answer_at(1.0, {"mean": 0.5}, {"lr": 0.1})
            0.5
        """
        known = ("x", *self.state, *self.uniform_state, *self.hyperparameters)
        for name, parameter in inspect.signature(function).parameters.items():
            if name not in known or parameter.kind is parameter.POSITIONAL_ONLY:
                raise TypeError(
                    f"the answer of rule {self.name!r} takes {', '.join(known)}, got {name!r}"
                )
        if isinstance(function, FunctionType):
            check_in_place(function)
        vars(self)["judged"] = function  # a rule that was declared gets no other field
        return function

    def answer_at(self, x: Any, state: Mapping[str, Any], hyper: Mapping[str, float]) -> Any:  # noqa: ANN401
        """Return where the model is judged when it is at x with this state, by name."""
        if self.judged is None:
            return x
        known = {**hyper, **state, "x": x}
        return self.judged(**{n: known[n] for n in inspect.signature(self.judged).parameters})

    @property
    def built_in(self) -> bool:
        """Whether thalweg declares it, and not its user."""
        home = self.function.__module__ or ""  # code given to exec() has none
        return home.partition(".")[0] == __package__

    @property
    def defaults(self) -> dict[str, float]:
        """The default of each hyperparameter."""
        return {h.name: h.default for h in self.hyperparameters.values()}

    def start_of(self, state: str, hyper: Mapping[str, float], x: Any = 0.0) -> Any:  # noqa: ANN401
        """Return a state's first value, zero unless declared, where the parameters are x."""
        start = self.start.get(state, 0.0)
        if start == AT_X:
            return x
        return hyper[start] if isinstance(start, str) else start

    def check_names(self, given: Mapping[str, Any]) -> None:
        """Raise TypeError if a name is none of this rule's hyperparameters."""
        for name in given:
            if name not in self.hyperparameters:
                known = ", ".join(self.hyperparameters)
                raise TypeError(
                    f"rule {self.name!r} has no hyperparameter {name!r}; it has: {known}"
                )

    def lasting(self, hyper: Mapping[str, Any], steps: int) -> dict[str, Any]:
        """Return hyperparameters with the length of the training, if this rule asks for it."""
        return {**hyper, **({STEPS.name: steps} if STEPS.name in self.hyperparameters else {})}

    def resolve(self, given: Mapping[str, float]) -> dict[str, float]:
        """Return the value of every hyperparameter: given values, checked, and defaults.

        Example:
            >>> from thalweg import rules
            >>> rules.get("momentum").resolve({"beta": 0.5})
            {'lr': 0.001, 'beta': 0.5}
        """
        self.check_names(given)
        return {
            h.name: h.check(given.get(h.name, h.default)) for h in self.hyperparameters.values()
        }


def check_count(rule: Rule, count: int) -> None:
    """Raise ValueError if a rule's function does not return x and each state."""
    names = ("x", *rule.state, *rule.uniform_state)
    if count != len(names):
        code, uniform = rule.function.__code__, ", ".join(rule.uniform_state)
        raise ValueError(
            f"{code.co_filename}, line {code.co_firstlineno}: rule {rule.name!r} must return "
            f"{_counted(len(names))}, {', '.join(names)}, and returns {count}"
            + (f"; a keyword without a default is a state, as {uniform} here" if uniform else "")
        )


def _counted(values: int) -> str:
    return "one value" if values == 1 else f"{values} values"


def _asked(rule: Rule, name: str, inputs: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a function
    if name in inputs:
        return inputs[name]
    raise ValueError(
        f"rule {rule.name!r} asks for the {name} at other points, which is not to be had here: "
        "thalweg.descend, optim.Descent with step(closure), and races of modules have it"
    )


# Names that mean something else where a rule is used, and what they belong to.
RESERVED_STATE = {"thalweg.optim's own state": {"step", "lost", "training_point"}}
RESERVED_HYPERPARAMETERS = {
    "an option of thalweg.optim": {
        "capturable", "cautious", "clip_norm", "decoupled", "decoupled_weight_decay",
        "differentiable", "foreach", "fused", "independent_decay", "keys", "maximize",
        "nonfinite", "otherwise", "param_names", "params", "product_dtype", "report", "roles",
        "rounding", "rule", "schedule", "schedule_lr", "schedule_step", "split", "state_dtype",
        "zero_gradients",
    },
    "an argument of thalweg.descend": {
        "batch_size", "noise", "problem", "sampling", "seed", "steps", "tolerance", "x0",
    },
    "an argument of thalweg.linear.train": {
        "X", "dtype", "epochs", "evaluate_every", "initial", "intercept", "l2", "lanes", "loss",
        "should_stop", "threads", "validation", "y",
    },
}  # fmt: skip

AT_X = "x"  # where a state may start

_rules: dict[str, Rule] = {}

# What thalweg.second_order makes of a problem are rules, too.
SECOND_ORDER = ("newton", "diagonal_newton", "bfgs", "lbfgs")


def rule(
    source: str,
    *,
    start: Mapping[str, float | str] | None = None,
    ranges: Mapping[str, Range] | None = None,
) -> Callable[[Callable[..., Any]], Rule]:
    """Turn an equation into a Rule and register it under the function's name.

    The signature is the declaration: ``g`` and ``x`` first, then the varying state; after ``*``
    come ``t`` (the step, counted from 1), the uniform state (keywords without a default) and the
    hyperparameters (keywords with one). It returns x, then each state in the order of the
    signature. Three keywords without a default are no state but what the rule asks for: ``steps``,
    the length of the training; ``gradient``, a function of x that returns the gradient there, of
    the same minibatch; and ``curvature``, one that returns an estimate of the diagonal of the
    Hessian there. What it may call is in ``thalweg.elementwise``, ``thalweg.sums`` and
    ``thalweg.matrices``; which of them it does call decides what the rule can be used for.

    Args:
        source: paper and equation number.
        start: first values of states that do not start at zero; a hyperparameter's name means
            that hyperparameter's value, and "x" the parameters, of a varying state.
        ranges: legal ranges of hyperparameters. A name that ``RANGES`` has needs none. Any other
            name may take every finite value by default.

    Raises:
        ValueError: a hyperparameter's default is outside its range.
        TypeError: the signature is not of that form, a state or hyperparameter has a reserved name,
            the equation changes an array in place, or a built-in rule or a second-order method has
            the name of this one.

    Example:
        >>> from thalweg.elementwise import sign
        >>> @rule("Bernstein et al. 2018, Algorithm 1")
        ... def signsgd(g, x, *, t, lr=1e-3):
        ...     return x - lr * sign(g)
        >>> signsgd(-2.0, 1.0, t=1, lr=0.5)
        1.5
    """
    check_source("rule", source)

    def declare(function: Callable[..., Any]) -> Rule:
        declared = read_signature(function, source, start or {}, ranges or {})
        if not declared.built_in:
            for part in functions(declared.function, set()):
                check_in_place(part)
                # A kernel is made from the text, and that may have been edited by then.
                linecache.getlines(part.__code__.co_filename, part.__globals__)
        home = _home(declared)
        if home not in {None, function.__module__}:
            raise TypeError(
                f"a rule {declared.name!r} exists already in {home}; give yours another name"
            )
        # Documentation tools and doctest treat the rule as the function that it wraps.
        vars(declared).update(
            __doc__=function.__doc__, __module__=function.__module__, __wrapped__=function
        )
        _rules[declared.name] = declared
        return declared

    return declare


def check_source(decorator: str, source: Any) -> None:  # noqa: ANN401 - what a user gave
    """Raise TypeError if a decorator was given no text, as it is without its parentheses."""
    if not isinstance(source, str):
        raise TypeError(
            f'write @{decorator}("paper, equation") above the function, with a text of where it is '
            f"from, got {source!r}"
        )


def _home(declared: Rule) -> str | None:
    """Return the module of the rule or second-order method of that name; None if there is none."""
    if declared.name in SECOND_ORDER and not declared.built_in:
        return "thalweg.second_order"
    existing = _rules.get(declared.name)
    return existing.function.__module__ if existing else None


def registered(name: str) -> Rule | None:
    """Return the rule that was declared under a name, if one was; see ``thalweg.rules.get``."""
    declared = _rules.get(name)
    if declared:
        check_outermost(declared.name, declared.function, declared)
    return declared


def _restored(name: str) -> Rule:
    """Return the user's rule that a pickle names."""
    declared = registered(name)
    if declared is None:
        raise ValueError(f"unknown rule {name!r}; declare it in this process, too")
    return declared


def declared_names() -> tuple[str, ...]:
    """Return the names of all rules declared so far; see ``thalweg.rules.names``."""
    return tuple(_rules)


def adopt(rules: Iterable[Rule]) -> None:
    """Register rules that another process declared. They replace rules of the same names."""
    _rules.update({rule.name: rule for rule in rules})


def read_signature(
    function: Callable[..., Any],
    source: str,
    start: Mapping[str, float | str],
    ranges: Mapping[str, Range],
) -> Rule:
    """Return the Rule that a function's signature declares; it is not registered. See ``rule``."""
    function = function.__func__ if isinstance(function, staticmethod) else function
    name = getattr(function, "__name__", repr(function))
    if not name.isidentifier():
        raise TypeError(f"a rule must be a function that def declares, got {name}")
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    if positional[:2] != ["g", "x"] or len(positional) + len(keywords) != len(parameters):
        raise TypeError(f"rule {name!r} must have the signature (g, x, <state>, *, t, <hyper>=...)")
    if "t" not in [p.name for p in keywords]:
        raise TypeError(f"rule {name!r} must take the step t as a keyword: (g, x, ..., *, t, ...)")
    _check_defaults(name, parameters)
    bare = [p.name for p in keywords if p.default is p.empty and p.name != "t"]
    inputs = tuple(name for name in bare if name in INPUTS)
    uniform = [name for name in bare if name not in {*INPUTS, STEPS.name}]
    hyper = _hyperparameters(name, keywords, ranges)
    known = {*positional[2:], *uniform}
    for state, value in start.items():
        at_x = value == AT_X and state not in uniform
        if state not in known or (isinstance(value, str) and value not in hyper and not at_x):
            raise TypeError(
                f"rule {name!r}: start={{{state!r}: {value!r}}} must map a state to a number, to "
                "the name of a hyperparameter, or a varying state to 'x'"
            )
    states, uniforms = tuple(positional[2:]), tuple(uniform)
    declared = Rule(name, source, function, states, uniforms, hyper, start, inputs=inputs)
    if not declared.built_in:
        _check_names(declared)
    return declared


def _check_defaults(name: str, parameters: Iterable[inspect.Parameter]) -> None:
    """Raise TypeError if t or a state has a default."""
    for p in parameters:
        if p.default is p.empty:
            continue
        if p.name == "t":
            raise TypeError(f"rule {name!r}: the step t must have no default: it is always given")
        if p.kind is p.POSITIONAL_OR_KEYWORD:
            raise TypeError(
                f"rule {name!r}: {p.name} must have no default; start={{{p.name!r}: "
                f"{p.default!r}}} says where a state starts"
            )


def with_default(whose: str, name: str, default: Any, within: Range) -> Hyperparameter:  # noqa: ANN401
    """Return a hyperparameter that was declared.

    Raises:
        TypeError: its default is no number.
        ValueError: it is outside the range. NaN is none: such a value must be given.
    """
    if isinstance(default, bool) or not isinstance(default, Real):
        raise TypeError(f"{whose}: the default of {name} must be a number, got {default!r}")
    plain = float(default)
    if not math.isnan(plain) and plain not in within:
        raise ValueError(
            f"{whose}: the default of {name} must be {within}, got {default}; "
            f"ranges={{{name!r}: thalweg.rule.Range(low, high)}} declares another range"
        )
    return Hyperparameter(name, plain, within)


def _hyperparameters(
    name: str, keywords: Iterable[inspect.Parameter], ranges: Mapping[str, Range]
) -> dict[str, Hyperparameter]:
    """Return the keywords that have a default, and the length of the training."""
    defaults = {p.name: p.default for p in keywords if p.default is not p.empty}
    for given, legal in ranges.items():
        if given not in defaults or not isinstance(legal, Range):
            raise TypeError(
                f"rule {name!r}: ranges={{{given!r}: {legal!r}}} must map a hyperparameter to its "
                "thalweg.rule.Range, such as Range(0.0, 1.0)"
            )
    every = {**RANGES, **ranges}
    found = {
        own: with_default(f"rule {name!r}", own, default, every.get(own, Range()))
        for own, default in defaults.items()
    }
    asked = (p.name for p in keywords if p.name == STEPS.name and p.name not in found)
    return found | dict.fromkeys(asked, STEPS)


def _check_names(declared: Rule) -> None:
    """Raise TypeError if a name of the rule means something else where the rule is used."""
    state = dict.fromkeys((*declared.state, *declared.uniform_state), ("state", RESERVED_STATE))
    own = [name for name, h in declared.hyperparameters.items() if h is not STEPS]
    hyper = dict.fromkeys(own, ("hyperparameter", RESERVED_HYPERPARAMETERS))
    for name, (kind, reserved) in (state | hyper).items():
        for whose, names in reserved.items():
            if name in names:
                raise TypeError(
                    f"rule {declared.name!r} has a {kind} {name!r}, which is a name of {whose}; "
                    "give it another"
                )
