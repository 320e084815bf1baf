"""What is said of a construct that no kernel can be made of."""

import ast
import inspect

import pytest

from thalweg import elementwise, matrices, sums
from thalweg.kernels import remedies


@pytest.mark.parametrize(
    "code",
    ["a and b", "a % b", "not a", "[a]", "a[0]", "a.b", "(a := b)", "a < b < c", "lambda: a"],
)
def test_a_construct_has_a_remedy_of_its_own(code: str) -> None:
    assert remedies.remedy(ast.parse(code, mode="eval").body) != remedies.ALLOWED


@pytest.mark.parametrize("module", [elementwise, sums, matrices])
def test_a_name_of_another_library_leads_to_ours(module: object) -> None:
    for name in module.__all__:  # type: ignore[attr-defined]
        assert remedies.advice(name) == f"call {name}, of {inspect.getmodule(module).__name__}"  # type: ignore[union-attr]
    assert not remedies.advice("tanh")
