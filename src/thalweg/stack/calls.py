"""The calls of torch's functions, seen one by one."""

from collections.abc import Callable
from typing import Any

from torch.overrides import TorchFunctionMode


class Calls(TorchFunctionMode):
    """What sees each function of torch that is called within ``with``, and answers for it.

    A subclass says how in ``_call``.
    """

    def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:  # noqa: ANN401 - whatever the function returns
        """Call the function, or what replaces it."""
        raise NotImplementedError

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        return self._call(func, args, kwargs or {})
