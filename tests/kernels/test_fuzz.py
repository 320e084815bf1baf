"""Random rules: their kernels compute what their functions do.

THALWEG_FUZZ=5000 tries so many of each kind, other ones at each run.
"""

import itertools
import linecache
import operator
import os
from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from thalweg import elementwise
from thalweg.kernels import agreement
from thalweg.kernels.cpu import kernel
from thalweg.rule import Rule, read_signature

EXAMPLES = int(os.environ.get("THALWEG_FUZZ", "0"))
_numbers = itertools.count()


def of_text(text: str) -> Rule:
    """Return the rule whose module has this text."""
    file = f"<fuzz {next(_numbers)}>"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    module: dict[str, Any] = {name: getattr(elementwise, name) for name in elementwise.__all__}
    module["__name__"] = "fuzz"
    exec(compile(text, file, "exec"), module)  # noqa: S102 - made here
    starts = {name: 0.5 for name in ("m",) if "m, " in text}
    return read_signature(module["fuzzed"], "fuzz", starts, {})


LITERALS = ["0", "1", "2", "3.0", "-1", "-0.5", "1e8", "-1e8", "1e-8", "0.1", "True", "7", "-2"]
CONSTANTS = {"NEGATIVE": -0.5, "WHOLE": 3, "LARGE": -1e6, "SMALL": 1e-7, "FLAG": True}
EXPONENTS = ["2", "3", "4", "5", "-1", "-2", "0.5", "1.5", "0", "1", "True", "2.0"]
UNIFORM = {"t", "lr", "k", "s"}
COMPARISONS = ["<", "<=", ">", ">=", "==", "!="]


FORMS = [
    *[f"(#) {operator} (#)" for operator in "++--***//"],
    *["(#) ** (^)", "-(#)", "abs(#)", "sign(#)", "sign(#)", "log(#)", "sqrt(abs(#))"],
    *["exp(-abs(#))", "maximum(#, #)", "minimum(#, #)", "where(#, #, #)"],
    *["where(# ~ #, #, #)", "where(# ~ #, #, #)", "((#) ~ (#)) * (#)", "(# if (_) ~ (_) else #)"],
]


@st.composite
def expressions(draw: Any, names: list[str], helpers: list[str], depth: int) -> str:
    """An expression of the names, some of which are uniform."""
    leaf = st.sampled_from(names * 3 + LITERALS[:7] + list(CONSTANTS))
    if depth == 0 or draw(st.integers(0, 5)) == 0:
        return draw(leaf)
    uniform = [name for name in names if name in UNIFORM] or LITERALS
    parts = {
        "#": expressions(names, helpers, depth - 1),
        "_": st.sampled_from(uniform),
        "^": st.sampled_from([*EXPONENTS, *uniform]),
        "~": st.sampled_from(COMPARISONS),
    }
    called = [f"{helper}({given})" for helper in helpers for given in ("#", "#, #")]
    form = draw(st.sampled_from([*FORMS, *called]))
    return "".join(draw(parts[c]) if c in parts else c for c in form)


@st.composite
def rules(draw: Any) -> str:
    """The text of a module with a rule called ``fuzzed``, and its helpers."""
    lines = [f"{name} = {value}" for name, value in CONSTANTS.items()]
    helpers: list[str] = []
    for index in range(draw(st.integers(0, 2))):
        body = draw(expressions(["a", "b", "c"], helpers, 2))
        default = draw(st.sampled_from([*CONSTANTS, "-2", "0.3"]))
        name = f"helper{index}"
        if draw(st.booleans()):
            first = draw(expressions(["a", "b"], helpers, 1))
            lines += [f"def {name}(a, b={default}):", f"    c = {first}", f"    return {body}"]
        else:
            lines += [f"{name} = lambda a, b={default}, c=2: {body}"]
        helpers.append(name)
    state = draw(st.sampled_from([[], ["m"], ["m", "v"]]))
    uniform = draw(st.sampled_from([[], [], ["s"]]))
    hyper = [
        f"lr={draw(st.sampled_from([0.1, 1e-3]))}",
        f"k={draw(st.sampled_from([-0.7, 0.9, 3]))}",
    ]
    head = ", ".join(["g", "x", *state, "*", "t", *uniform, *hyper])
    lines.append(f"def fuzzed({head}):")
    names = ["g", "x", *state, *uniform, "t", "lr", "k"]
    own = ["y", "z", "g", *state, "element", "u0"]
    for _ in range(draw(st.integers(0, 3))):
        expression = expressions(names, helpers, 2)
        if draw(st.integers(0, 3)):
            new = [draw(st.sampled_from(own))]
            lines.append(f"    {new[0]} = {draw(expression)}")
        else:
            new = draw(st.lists(st.sampled_from(own), min_size=2, max_size=2, unique=True))
            lines.append(f"    {', '.join(new)} = {draw(expression)}, {draw(expression)}")
        names = list(dict.fromkeys([*names, *new]))
    results = [f"x - lr * ({draw(expressions(names, helpers, 3))})"]
    results += [draw(expressions(names, helpers, 2)) for _ in state]
    results += [draw(expressions(["t", "lr", "k", *uniform], [], 2)) for _ in uniform]
    return "\n".join([*lines, f"    return {', '.join(results)}", ""])


# What Python itself does not compute, and what cannot be written otherwise than a message says.
REFUSED = (
    "do not add up", "division by zero", "no such power", "too large", "negative power",
    "must not depend on g or x", "the test depends on the gradient", "lie inside each other",
)  # fmt: skip


class Interpreted:
    """The text of a kernel, run by Python; every result is rounded in a way of its own."""

    def __init__(self, rule: Rule, text: str, slots: int) -> None:
        self.rule, self.slots = rule, slots
        self.module: dict[str, Any] = {
            name: getattr(elementwise, name) for name in elementwise.__all__
        }
        self.module |= {
            "inlined": lambda function: function,
            "load": operator.getitem,
            "store": operator.setitem,
            "power": lambda *given: given[2] ** given[3],
            "product": operator.mul,
        }
        lines = [line for line in text.splitlines() if not line.startswith("from")]
        exec("\n".join(lines), self.module)  # noqa: S102 - the generator's

    def __call__(self, inputs: agreement.Inputs) -> dict[str, Any]:
        def array(value: Any) -> Any:
            made = np.array(value, np.float64).view(agreement._Traced)
            made.noted = noise
            return made

        noise = agreement._Coarse(2.0**-52, 99)
        state = dict(enumerate(array(inputs.state[name]) for name in self.rule.uniform_state))
        slots: dict[int, Any] = {}
        hyper = list(map(array, inputs.hyper.values()))
        varying = map(array, [inputs.g, inputs.x, *(inputs.state[n] for n in self.rule.state)])
        with np.errstate(all="ignore"):
            self.module["uniforms"](array(inputs.t), True, hyper, None, state, slots)  # noqa: FBT003
            new = self.module["element"](*varying, *(slots[i] for i in range(self.slots)))
        named = zip(
            [*self.rule.state, *self.rule.uniform_state], [*new[1:], *state.values()], strict=True
        )
        return {n: np.asarray(v) for n, v in [("x", new[0]), *named]}


def generated(rule: Rule) -> kernel.Generated:
    try:
        return kernel.generate(rule)
    except ValueError as error:
        assume(not any(reason in str(error) for reason in REFUSED))
        raise


def quick(examples: int) -> settings:
    return settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@quick(100)
@given(rules())
def test_the_text_of_a_random_rules_kernel_is_the_rule(text: str) -> None:
    rule = of_text(text)
    made = generated(rule)
    assume(agreement.check(rule, Interpreted(rule, made.text, made.slots)))


@quick(10)
@given(rules())
def test_a_random_rules_kernel_is_the_rule(text: str) -> None:
    rule = of_text(text)
    made = kernel._compiled(rule, np.dtype(np.float64), kernel.PLAIN, generated(rule))
    assume(agreement.check(rule, kernel.KernelStep(made)))
