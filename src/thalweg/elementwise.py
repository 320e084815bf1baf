"""The functions of elements that a rule may call: one name for floats, arrays and tensors.

From Python numbers they return Python floats. These do not change the type of an array: what is
float32 stays float32. The kernel generator maps the same names to compiled instructions.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from thalweg.tensors import tensorwise

__all__ = ["exp", "log", "maximum", "minimum", "sign", "sqrt", "where"]


def _torch_of(*values: Any) -> Any:  # noqa: ANN401 - the torch module or None; torch is optional
    """Return the torch module if a value is a tensor. It never imports torch."""
    torch = sys.modules.get("torch")
    is_tensor = getattr(torch, "is_tensor", None)  # torch may be half imported by another thread
    return torch if is_tensor is not None and any(map(is_tensor, values)) else None


def _unary(name: str) -> Callable[[Any], Any]:
    def function(a: Any) -> Any:  # noqa: ANN401 - a float, an array or a tensor
        result = getattr(_torch_of(a) or np, name)(a)
        return float(result) if isinstance(a, (int, float)) else result

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Return {name} of each element."
    return tensorwise(function)


sqrt = _unary("sqrt")
exp = _unary("exp")
log = _unary("log")


@tensorwise
def sign(a: Any) -> Any:  # noqa: ANN401
    """Return the sign of each element, 1 or -1; the element itself where it is 0 or NaN."""
    library = _torch_of(a) or np
    signed = library.copysign(library.sign(a), a)  # NumPy loses the sign of 0
    result = library.where(a == a, signed, a)  # noqa: PLR0124 - torch makes 0 of NaN
    return float(result) if isinstance(a, (int, float)) else result


@tensorwise
def where(condition: Any, a: Any, b: Any) -> Any:  # noqa: ANN401
    """Return ``a`` where the condition is true, or a number other than 0, and ``b`` elsewhere."""
    if isinstance(condition, (bool, int, float, np.generic)):
        return a if condition else b
    torch = _torch_of(condition)
    if torch is None:
        return np.where(condition, a, b)
    if not any(map(torch.is_tensor, (a, b))):  # of two numbers torch makes float32
        kind = torch.float32 if condition.device.type == "mps" else torch.float64
        a = torch.tensor(a, dtype=kind, device=condition.device)
    return torch.where(condition.bool(), a, b)


@tensorwise
def maximum(a: Any, b: Any) -> Any:  # noqa: ANN401
    """Return the larger of the two in each element; NaN if one is NaN; of 0 and -0 any of them."""
    return _extremum("maximum", a, b)


@tensorwise
def minimum(a: Any, b: Any) -> Any:  # noqa: ANN401
    """Return the smaller of the two in each element; NaN if one is NaN; of 0 and -0 any of them."""
    return _extremum("minimum", a, b)


def _extremum(name: str, a: Any, b: Any) -> Any:  # noqa: ANN401
    if torch := _torch_of(a, b):
        like = a if torch.is_tensor(a) else b
        a, b = (torch.as_tensor(v, dtype=like.dtype, device=like.device) for v in (a, b))
        return getattr(torch, name)(a, b)
    result = getattr(np, name)(a, b)
    scalars = isinstance(a, (int, float)) and isinstance(b, (int, float))
    return float(result) if scalars else result
