"""Kind: what a rule looks at, found by reading its function and those that it calls."""

import dis
from collections.abc import Iterator
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from thalweg import elementwise, matrices, sums

__all__ = ["ASKING", "ELEMENT_WISE", "MATRICES", "SUMS", "read"]

ELEMENT_WISE, SUMS, MATRICES = "element-wise", "sums", "matrices"
ASKING = "asking"  # for gradients elsewhere: ``Rule.kind`` sees that in its signature

_LANGUAGE = {
    getattr(module, name): kind
    for module, kind in ((elementwise, ELEMENT_WISE), (sums, SUMS), (matrices, MATRICES))
    for name in module.__all__
}


def read(function: Any) -> tuple[str, bool]:  # noqa: ANN401
    """Return what a rule's function looks at, and whether at all tensors of the model at once."""
    called = set(_called(function))
    kinds = {_LANGUAGE[one] for one in called if one in _LANGUAGE}
    if any(_multiplies(one.__code__) for one in called if one not in _LANGUAGE):
        kinds.add(MATRICES)
    kind = next((kind for kind in (MATRICES, SUMS) if kind in kinds), ELEMENT_WISE)
    return kind, sums.total in called


def _called(function: Any, seen: set[Any] | None = None) -> Iterator[FunctionType]:  # noqa: ANN401
    """Yield a function, those that it calls by name, and those that it wraps.

    Functions of ``thalweg.elementwise``, ``sums`` and ``matrices`` are yielded, not looked into.
    """
    seen = set() if seen is None else seen
    function = getattr(function, "function", getattr(function, "func", function))  # rules, partials
    function = getattr(function, "__func__", function)
    if not isinstance(function, FunctionType) or function in seen:
        return
    seen.add(function)
    yield function
    if function in _LANGUAGE:
        return
    around, names = function.__globals__, set(_names(function.__code__))
    found = [around[name] for name in names if name in around]
    modules = [one for one in found if isinstance(one, ModuleType) and _ours(one)]
    found += [getattr(module, name) for module in modules for name in names & {*vars(module)}]
    found += [cell.cell_contents for cell in function.__closure__ or () if cell != CellType()]
    for other in found:
        yield from _called(other, seen)


def _ours(module: ModuleType) -> bool:
    """Return whether what stands in a module may be a part of the language."""
    return module in {elementwise, matrices, sums} or not hasattr(module, "__path__")


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _multiplies(code: CodeType) -> bool:
    """Return whether a code has a product of matrices."""
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    signs = (one.argrepr for one in dis.get_instructions(code) if one.opname == "BINARY_OP")
    return "@" in signs or any(map(_multiplies, inner))
