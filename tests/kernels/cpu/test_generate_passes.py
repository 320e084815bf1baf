"""The generated module of a rule that looks at whole tensors."""

import pytest

from kernels.own_rules import undeclared
from thalweg import rules
from thalweg.elementwise import sqrt
from thalweg.kernels import source
from thalweg.kernels.body import PLAIN, Wrap
from thalweg.kernels.cpu.generate_passes import generate_passes
from thalweg.sums import mean, norm


@pytest.mark.parametrize("name", rules.names("sums"))
def test_generated_source_is_plain_python(name: str) -> None:
    compile(source(name), name, "exec")


def clashing(g, x, rows, slots_, *, t, arrays=0.1, sum0=2.0, row_count=1.0):  # noqa: ANN001, ANN201
    total = norm(g) * sum0
    rows = 0.5 * rows + mean(g * g, 1) * row_count
    slots_ = slots_ + total
    return x - arrays * g / (sqrt(rows) + slots_), rows, slots_


def test_a_rule_may_call_its_variables_as_the_generated_code_does() -> None:
    made = generate_passes(undeclared(clashing), PLAIN, "matrix")
    compile(made.text, "clashing", "exec")
    for name in ("rows", "slots_", "arrays", "sum0", "row_count"):
        assert f"{name}_" in made.text


def test_sums_see_the_gradient_as_the_rule_does() -> None:
    text = generate_passes(rules.get("lamb"), Wrap(scaled=True, shrunk=True), "vector").text
    for part in ("elements_0", "elements_1"):
        body = text.split(f"def {part}")[1].split("return")[0]
        assert "g = g * u0" in body
        assert "x = x * u1" in body


def test_gradients_are_zeroed_by_the_last_pass_alone() -> None:
    text = generate_passes(rules.get("lamb"), Wrap(zeroed=True), "vector").text
    first, last = (text.split(f"def update_{i}")[1].split("\n\n")[0] for i in (0, 1))
    assert "store(g_at, i, 0.0)" not in first
    assert "store(g_at, i, 0.0)" in last
