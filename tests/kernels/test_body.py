"""Names and words: a rule may call its variables as it likes, and its paper."""

import numpy as np
import pytest

from kernels.own_rules import assert_same, in_memory, posing
from thalweg.kernels import Step, source
from thalweg.rule import RESERVED_HYPERPARAMETERS, RESERVED_STATE, read_signature, rule

WORDS = (
    "range", "float", "abs", "element", "update", "uniforms", "load", "store", "typed", "LANES",
    "slots", "addresses", "n", "i", "rest", "fresh", "hyper", "powers", "state", "u0", "power0",
    "factor1", "part1", "x_new", "x_old", "at_x", "tl", "lost", "seed", "gradient", "before",
    "moved", "shrink", "gradient_scale", "match", "print", "half", "power", "sign", "where",
    "scale", "group", "stepping", "keep", "number", "read", "write", "step", "triton", "name_",
)  # fmt: skip


def rows(words: list[str]) -> list[list[str]]:
    """Return the words in rows, each for one rule: a kernel for each took longest to compile."""
    return [words[first : first + 8] for first in range(0, len(words), 8)]


@pytest.mark.parametrize(
    "words", rows([w for w in WORDS if w not in set().union(*RESERVED_STATE.values())]), ids=str
)
def test_a_state_may_have_any_name(words: list[str]) -> None:
    names = ", ".join(words)
    code = f"def named(g, x, {names}, *, t, lr=0.1):\n"
    code += "".join(f"    {word} = 0.5 * {word} + {i} * g\n" for i, word in enumerate(words, 1))
    powers = " + ".join(f"{word}**2 * 0.9**t" for word in words)
    assert_same(in_memory(f"{code}    return x - lr * ({powers}), {names}\n"))


@pytest.mark.parametrize(
    "words",
    rows([w for w in WORDS if w not in {"x_new", "u0"}.union(*RESERVED_HYPERPARAMETERS.values())]),
    ids=str,
)
def test_a_hyperparameter_may_have_any_name(words: list[str]) -> None:
    given = ", ".join(f"{word}=0.{i}" for i, word in enumerate(words, 1))
    powers = " + ".join(f"{word}**t" for word in words)
    code = f"def named(g, x, m, *, t, {given}, lr=0.1):\n"
    code += f"    m = ({' + '.join(words)}) / 9 * m + g\n    return x - lr * m**2 * ({powers}), m\n"
    assert_same(in_memory(code))


def test_names_of_the_generated_code_are_free_for_rules() -> None:
    @rule("test")
    def clashing(g, x, n, n_, *, t, slots=0.1, load=0.5):  # noqa: ANN001, ANN202
        u0 = load * n_ + g
        x_new = x - slots * u0 * load
        return x_new, n + 1, u0

    x = np.array([1.0])
    step = Step(clashing, [x])
    step([np.array([2.0])])
    assert x[0] == pytest.approx(0.9)
    assert step.state["n_"][0] == 2.0


@pytest.mark.parametrize(
    "words", ['a"""b', "ends in \\", 'says "so"', "\0", "\ud800", "two\nlines"]
)
def test_whatever_a_rules_source_is_called_it_is_words(words: str) -> None:
    of = read_signature(posing, words, {}, {})
    compile(source(of), "kernel", "exec")
    assert_same(of)
