"""A function's names while it is translated."""

import ast

import pytest

from thalweg.kernels.builder import literal
from thalweg.kernels.scope import Scope, own_name


def halved(a):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    return a / 2


def test_a_side_of_an_if_has_names_of_its_own() -> None:
    scope = Scope(halved, {"a": literal(1.0)}, "_call1", "")
    inner = scope.branch("_call2")
    inner.names["a"] = literal(2.0)
    name = ast.Name("a")
    assert (scope.lookup(name, "a").number, inner.lookup(name, "a").number) == (1.0, 2.0)
    assert (scope.own("a"), inner.own("a")) == ("a_call1", "a_call1_call2")


def test_a_name_of_the_kernels_own_is_another_in_it() -> None:
    assert [own_name(name) for name in ("t", "u3", "row_count", "beta")] == [
        "t_", "u3_", "row_count_", "beta",
    ]  # fmt: skip


def test_what_is_refused_has_its_line_and_who_called() -> None:
    scope = Scope(halved, {}, "", "mine.py, line 3")
    node = ast.Name("b", lineno=12)
    with pytest.raises(
        ValueError, match=r"test_scope.py, line 12: `b` cannot .* \(called in mine.py, line 3\)"
    ):
        scope.lookup(node, "b")
