"""What a rule looks at is read off its function, however it calls the language."""

# ruff: noqa: ANN001, ANN003, ANN201, ANN202 - of rules

import functools

import pytest

from thalweg import matrices, rules, sums
from thalweg.elementwise import sqrt
from thalweg.kind import read
from thalweg.rules import adam
from thalweg.sums import norm, total

KINDS = {
    "adam": ("element-wise", False), "adamw": ("element-wise", False), "lamb": ("sums", False),
    "prodigy": ("sums", True), "muon": ("matrices", False), "soap": ("matrices", False),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_built_in_rules_are_what_their_equations_say(name: str) -> None:
    found = rules.get(name)
    assert (found.kind, found.joint) == KINDS[name]


def helper(a):
    return norm(a)


def plain(g, x, *, t, lr=0.1):
    return x - lr * sqrt(g * g)


def by_another_rule(g, x, m, v, *, t, lr=0.1):
    return adam(g, x, m, v, t=t, lr=lr)


def by_a_function(g, x, *, t, lr=0.1):
    return x - lr * g / helper(g)


def by_a_module(g, x, *, t, lr=0.1):
    return x - lr * g / sums.rms(g)


def by_a_lambda(g, x, *, t, lr=0.1):
    unit = lambda a: a / total(a * a)  # noqa: E731 - what is tested
    return x - lr * unit(g)


def by_a_product(g, x, *, t, lr=0.1):
    return x - lr * (g @ matrices.T(g)) @ g


def doubled(of):
    @functools.wraps(of)
    def step(g, x, **hyper):
        return of(2 * g, x, **hyper)

    return step


@pytest.mark.parametrize(
    ("function", "kind", "joint"),
    [
        (plain, "element-wise", False),
        (by_another_rule, "element-wise", False),
        (by_a_function, "sums", False),
        (doubled(by_a_function), "sums", False),
        (by_a_module, "sums", False),
        (by_a_lambda, "sums", True),
        (by_a_product, "matrices", False),
        (functools.partial(by_a_product, lr=0.2), "matrices", False),
    ],
)
def test_a_rule_is_what_it_calls(function: object, kind: str, joint: bool) -> None:  # noqa: FBT001 - a row
    assert read(function) == (kind, joint)
