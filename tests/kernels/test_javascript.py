import ast
import contextlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings

from kernels import test_fuzz
from kernels.own_rules import counting, every_so_often, mixed, undeclared
from node import needs_node, run
from thalweg import rules
from thalweg.kernels import javascript
from thalweg.rule import Rule

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test draw the same numbers, whichever ran before it."""
    monkeypatch.setitem(globals(), "RANDOM", np.random.default_rng(0))


STEPS, N = 200, 2


class Exact(float):
    """A float whose powers are rounded correctly; those of a C library nearly always are."""

    def __pow__(self, other: float) -> "Exact":  # type: ignore[override]
        return exact(lambda: mpmath.mpf(float(self)) ** mpmath.mpf(float(other)))

    def __rpow__(self, other: float) -> "Exact":  # type: ignore[override]
        return Exact(other) ** self


def _operation(name: str) -> Callable[..., Exact]:
    return lambda *given: Exact(getattr(float, name)(*map(float, given)))


for _name in ("add", "sub", "mul", "truediv"):
    for _each in (f"__{_name}__", f"__r{_name}__"):
        setattr(Exact, _each, _operation(_each))
for _each in ("__neg__", "__abs__"):
    setattr(Exact, _each, _operation(_each))


def exact(compute: Callable[[], Any]) -> Exact:
    with mpmath.workprec(200):
        return Exact(compute())


def hyper_of(rule: Rule) -> dict[str, float]:
    """Values that are drawn: memories close to 1, rates and the like over some decades."""
    found = {}
    for name, each in rule.hyperparameters.items():
        low, high = each.range.low, each.range.high
        if (low, high) == (0, 1):
            found[name] = 1 - 10 ** RANDOM.uniform(-4, -0.1)
        elif low == 1:
            found[name] = 1 + RANDOM.uniform(0.1, 1)
        elif name in {"t0", "warmup"}:
            found[name] = 10 ** RANDOM.uniform(0, 2)
        elif name == "k":
            found[name] = each.default
        else:
            found[name] = 10 ** RANDOM.uniform(-4, -0.5)
    return {name: Exact(value) for name, value in found.items()}


def chain(rule: Rule, case: Mapping[str, Any]) -> list[list[float]]:
    """x and the state after each step, of each element in turn, then what is uniform."""
    hyper = dict(zip(rule.hyperparameters, map(Exact, case["h"]), strict=True))
    uniform = dict(zip(rule.uniform_state, map(Exact, case["u"]), strict=True))
    x = [Exact(value) for value in case["x"]]
    states = [
        {name: Exact(case["s"][row][i]) for row, name in enumerate(rule.state)} for i in range(N)
    ]
    path = []
    for t, g in enumerate(case["g"], 1):
        for i in range(N):
            step = rule.advance(
                Exact(g[i]), x[i], states[i] | uniform, t=Exact(t), hyper=hyper,
            )  # fmt: skip
            x[i], states[i] = Exact(step[0]), {n: Exact(v) for n, v in step[1].items()}
        uniform = {name: states[0][name] for name in uniform}
        path.append([*x, *(states[i][n] for n in rule.state for i in range(N)), *uniform.values()])
    return path


def drawn(rule: Rule) -> dict[str, Any]:
    hyper = hyper_of(rule)
    return {
        "name": rule.name,
        "g": RANDOM.standard_normal((STEPS, N)).tolist(),
        "x": RANDOM.standard_normal(N).tolist(),
        "s": np.abs(RANDOM.standard_normal((len(rule.state), N))).tolist(),
        "u": [float(rule.start_of(name, hyper)) for name in rule.uniform_state],
        "h": list(map(float, hyper.values())),
    }


NAMES = "exp, log, modulo, power, quotient"
IMPORTS = f"import {{ {NAMES} }} from {javascript.text(javascript.POWERS.as_uri())};\n\n"
RUN = """
const found = cases.map(({name, g, x, s, u, h}) => {
  const [at, states] = [Float64Array.from(x), s.map((each) => Float64Array.from(each))];
  return g.map((each, t) => {
    rules[name].step(x.length, each, at, states, t + 1, u, h);
    return [...at, ...states.flatMap((state) => [...state]), ...u];
  });
});
console.log(JSON.stringify(found));
"""


def both(
    chosen: list[Rule], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, Any, Any]]:
    """For each rule its path in JavaScript, and in Python with exact powers."""
    written = ",\n".join(f"{rule.name}: {javascript.source(rule)}" for rule in chosen)
    cases = [(rule, drawn(rule)) for rule in chosen]
    text = f"{IMPORTS}const rules = {{\n{written}\n}};{RUN}"
    found = run(folder, text, cases=[case for _, case in cases])
    for home in {rule.function.__globals__["__name__"]: rule for rule in chosen}.values():
        for name in ("exp", "log"):
            function = getattr(mpmath, name)
            wrapped = lambda a, function=function: exact(lambda: function(mpmath.mpf(float(a))))  # noqa: E731
            monkeypatch.setitem(home.function.__globals__, name, wrapped)
    return [
        (rule.name, path, chain(rule, case))
        for (rule, case), path in zip(cases, found, strict=True)
    ]


@needs_node
def test_every_rule_has_the_bits_of_its_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = map(undeclared, (mixed, counting, every_so_often))
    chosen = [*map(rules.get, rules.names("element-wise")), *own]
    for name, path, wanted in both(chosen, tmp_path, monkeypatch):
        assert np.isfinite(wanted).all(), name
        if name == "mixed":  # its cubes are products here and powers there
            np.testing.assert_allclose(path, wanted, rtol=1e-9, err_msg=name)
        else:
            np.testing.assert_array_equal(path, wanted, err_msg=name)


@needs_node
def test_powers_are_rounded_correctly(tmp_path: Path) -> None:
    memories = 1 - 10 ** RANDOM.uniform(-8, 0, 300)
    given = {
        "power": [
            *zip(memories, np.round(2 ** RANDOM.uniform(0, 14, 300)), strict=True),
            *zip(10 ** RANDOM.uniform(-5, 5, 300), RANDOM.normal(0, 4, 300), strict=True),
            *zip(10 ** RANDOM.uniform(-3, 3, 300), -RANDOM.integers(1, 20, 300), strict=True),
            *[(-2.0, 3.0), (-2.0, -2.0), (0.5, 2.0**40), (2.0, 0.5), (1.0, 7.0), (3.0, 0.0)],
        ],
        "exp": [(value,) for value in RANDOM.normal(0, 1, 300) * 10 ** RANDOM.uniform(-5, 2, 300)],
        "log": [(value,) for value in [*memories, *10 ** RANDOM.uniform(-200, 200, 300)]],
    }
    cases = [(name, *map(float, values)) for name in given for values in given[name]]
    text = f"{IMPORTS}const functions = {{ exp, log, power }};\n"
    text += "console.log(JSON.stringify(cases.map(([name, ...v]) => functions[name](...v))));"
    found = run(tmp_path, text, cases=cases)
    for (name, *values), value in zip(cases, found, strict=True):
        numbers = [mpmath.mpf(number) for number in values]
        wanted = exact(lambda: getattr(mpmath, name)(*numbers))  # noqa: B023
        if name == "log" or 1e-250 < abs(wanted) < 1e250:
            assert float(value) == wanted, (name, values)
        else:  # the browser's own
            assert abs(float(value) - float(wanted)) <= 2 * math.ulp(float(wanted)), (name, values)
        with np.errstate(all="ignore"):
            library = values[0] ** values[1] if name == "power" else getattr(math, name)(values[0])
        assert abs(float(value) - library) <= math.ulp(library)  # of C


@needs_node
def test_powers_have_the_special_values_of_python(tmp_path: Path) -> None:
    calls = "power(0, 0), power(0, 2), power(-8, 1/3), exp(-1e4), exp(1e4), log(0), log(-1), "
    calls += "power(0, -1), power(1e200, 2)"
    text = f"{IMPORTS}console.log(JSON.stringify([{calls}].map(String)));"
    wanted = ["1", "0", "NaN", "0", "Infinity", "-Infinity", "NaN", "Infinity", "Infinity"]
    assert run(tmp_path, text) == wanted


def random_rules() -> list[Rule]:
    """Rules that are drawn, of all that a rule may use."""
    found: list[Rule] = []

    @seed(5)
    @settings(
        max_examples=40, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(test_fuzz.rules())
    def collect(text: str) -> None:
        with contextlib.suppress(ValueError, ArithmeticError):  # what Python refuses, too
            rule = test_fuzz.of_text(text)
            javascript.source(rule)
            found.append(rule)

    collect()
    return found


@needs_node
def test_random_rules_compute_what_their_functions_do(tmp_path: Path) -> None:
    chosen = random_rules()
    assert len(chosen) > 30
    cases, wanted = [], []
    for index, rule in enumerate(chosen):
        drawn_ = RANDOM.standard_normal((2 + len(rule.state), 6)) * 3
        drawn_[:, 2:] = RANDOM.choice([0.0, 1.0, -1.0, 0.5, 2.0], drawn_[:, 2:].shape)  # equal ones
        g, x, *states = drawn_
        u = [0.5] * len(rule.uniform_state)
        state = dict(zip((*rule.state, *rule.uniform_state), [*states, *u], strict=True))
        hyper = {name: np.float64(value) for name, value in rule.defaults.items()}
        with np.errstate(all="ignore"):
            new, after = rule.advance(g, x, state, t=3, hyper=hyper)
        wanted.append([np.broadcast_to(v, 6) for v in (new, *(after[n] for n in rule.state))])
        rows = [g.tolist(), x.tolist(), [each.tolist() for each in states]]
        cases.append([index, *rows, u, list(rule.defaults.values())])
    text = f"{IMPORTS}const rules = [{','.join(map(javascript.source, chosen))}];"
    text += """
console.log(JSON.stringify(cases.map(([index, g, x, s, u, h]) => {
  const [at, states] = [Float64Array.from(x), s.map((each) => Float64Array.from(each))];
  rules[index].step(x.length, g, at, states, 3, u, h);
  return [at, ...states].map((each) => [...each].map(String));
})));
"""
    found = run(tmp_path, text, cases=cases)
    for rule, rows, right in zip(chosen, found, wanted, strict=True):
        values = [[float(v.replace("Infinity", "inf")) for v in row] for row in rows]
        np.testing.assert_allclose(values, right, 1e-9, 1e-12, err_msg=javascript.source(rule))


def test_a_rule_that_cannot_be_written_is_refused_with_its_line() -> None:
    def looping(g: float, x: float, *, t: int, lr: float = 0.1) -> float:
        for _ in range(3):
            x = x - lr * g
        return x

    line = looping.__code__.co_firstlineno + 1
    with pytest.raises(ValueError, match=rf"line {line}: `for .* cannot be compiled"):
        javascript.source(undeclared(looping))


@pytest.mark.parametrize(
    ("python", "written"),
    [
        ("a == b", "a === b"),
        ("a != b", "a !== b"),
        *[(f"a {o} b", f"a {o} b") for o in ["<", "<=", ">", ">="]],
    ],
)
def test_comparisons_are_those_of_python(python: str, written: str) -> None:
    assert javascript.expression(ast.parse(python, mode="eval").body) == written


def test_the_words_of_javascript_may_be_names_in_a_rule() -> None:
    def clash(g, x, new, *, t, let=0.1, power=2.0, Math=1.0, typeof_=1.0):  # noqa: ANN001, ANN202
        new = let * new + g
        return x - power * Math * typeof_ * new, new

    text = javascript.source(undeclared(clash))
    for name in ("let_", "power_", "Math_", "typeof___", "new_"):
        assert f"let {name} = " in text


def test_text_for_a_page_ends_no_script() -> None:
    hostile = undeclared(mixed)
    vars(hostile)["source"] = "</script><script>alert(1)//"
    assert "</script" not in javascript.text([hostile.source, "<!--"])
    assert ast.literal_eval(javascript.text("\u2028\\\"'")) == "\u2028\\\"'"
