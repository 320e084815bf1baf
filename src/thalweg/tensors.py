"""Tensors: all tensors of a model as one value, so that one rule serves one tensor or all."""

import operator
from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from typing import Any

__all__ = ["SeveralTruthsError", "Tensors", "each", "tensorwise"]


class SeveralTruthsError(ValueError):
    """An ``if`` asked for the truth of several tensors."""


def each(function: Callable[..., Any], *values: Any) -> Any:  # noqa: ANN401 - arrays and tensors
    """Return what a function makes of values, tensor by tensor if some are ``Tensors``.

    Raises:
        ValueError: they are not equally many.

    Example:
        >>> each(max, Tensors([1.0, 5.0]), 3.0).parts
        (3.0, 5.0)
    """
    counts = {len(value.parts) for value in values if isinstance(value, Tensors)}
    if not counts:
        return function(*values)
    if len(counts) > 1:
        raise ValueError(f"these are not equally many tensors: {sorted(counts)}")
    rows = ([v.parts[i] if isinstance(v, Tensors) else v for v in values] for i in range(*counts))
    return Tensors(function(*row) for row in rows)


def tensorwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of arrays take ``Tensors`` too."""

    @wraps(function)
    def taking(*values: Any, **named: Any) -> Any:  # noqa: ANN401
        return each(partial(function, **named) if named else function, *values)

    return taking


def _one(name: str) -> Any:  # noqa: ANN401 - a method
    function = getattr(operator, name)
    return lambda self, *other: each(function, self, *other)


def _turned(name: str) -> Any:  # noqa: ANN401 - a method
    function = getattr(operator, name)
    return lambda self, other: each(function, other, self)


class Tensors:
    """All tensors of a model; what is done to it is done to each tensor.

    Args:
        parts: the tensors.

    Example:
        >>> (2 * Tensors([1.0, 2.0]) + Tensors([10.0, 20.0])).parts
        (12.0, 24.0)
    """

    __array_ufunc__ = None  # a number of NumPy leaves its operations to this class
    __hash__ = None  # type: ignore[assignment] # it compares tensor by tensor

    def __init__(self, parts: Iterable[Any]) -> None:
        self.parts = tuple(parts)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.parts)

    def __bool__(self) -> bool:
        raise SeveralTruthsError("the truth of several tensors is not one: use where, or a total")

    __neg__, __abs__ = _one("neg"), _one("abs")
    __add__, __radd__ = _one("add"), _turned("add")
    __sub__, __rsub__ = _one("sub"), _turned("sub")
    __mul__, __rmul__ = _one("mul"), _turned("mul")
    __truediv__, __rtruediv__ = _one("truediv"), _turned("truediv")
    __floordiv__, __rfloordiv__ = _one("floordiv"), _turned("floordiv")
    __mod__, __rmod__ = _one("mod"), _turned("mod")
    __pow__, __rpow__ = _one("pow"), _turned("pow")
    __matmul__, __rmatmul__ = _one("matmul"), _turned("matmul")
    __lt__, __le__, __gt__, __ge__ = _one("lt"), _one("le"), _one("gt"), _one("ge")
    __eq__, __ne__ = _one("eq"), _one("ne")
