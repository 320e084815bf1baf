"""One step of a rule over all arrays of a model, in one compiled call."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.kernels.cpu.kernel import compiled
from thalweg.kernels.cpu.table import Table
from thalweg.kernels.cpu.vector import LANES
from thalweg.rule import Rule
from thalweg.rules import get

__all__ = ["Step"]


class Step:
    """One step of a rule over all arrays of a model, in place.

    ``x, *state = rule(g, x, *state, t=t, **hyper)`` for every array, computed in one pass over
    memory by all of Numba's threads. Changing a hyperparameter compiles nothing.

    Args:
        rule: a rule or its name.
        arrays: the parameters: C-contiguous, writable, all float32 or all float64; any shapes.
        hyper: hyperparameters by name, each a number or a schedule (step -> value).

    Attributes:
        t: steps taken so far. Set it to continue from another step.
        hyper: the hyperparameters; may be changed between steps.
        state: arrays of the varying state, by name, one per parameter array. Write into them to
            continue with another state.
        uniform_state: float64 value of the uniform state, by name; may be set.

    Raises:
        ValueError: a hyperparameter outside its range, an array that does not fit.
        TypeError: the rule has no hyperparameter of that name.

    Example:
        >>> import numpy as np
        >>> x = np.array([1.0, 2.0])
        >>> step = Step("momentum", [x], lr=0.5, beta=0.5)
        >>> for _ in range(2):
        ...     step([x.copy()])
        >>> x
        array([0., 0.])
    """

    def __init__(
        self,
        rule: str | Rule,
        arrays: Sequence[NDArray[Any]],
        **hyper: float | Callable[[int], float],
    ) -> None:
        self.rule = get(rule)
        self.rule.check_names(hyper)
        self.arrays = tuple(arrays)
        self.hyper: dict[str, float | Callable[[int], float]] = {**self.rule.defaults, **hyper}
        self.t = 0
        self._kernel = compiled(self.rule, _common_dtype(self.arrays))
        self._values: list[float] = []
        self._hyper = np.empty((1, len(self.hyper), LANES))
        self._resolve()
        first = dict(zip(self.hyper, self._values, strict=True))
        state = {
            name: tuple(np.full_like(a, self.rule.start_of(name, first, a)) for a in self.arrays)
            for name in self.rule.state
        }
        self.state = MappingProxyType(state)  # the kernel knows these arrays by address
        starts = [[self.rule.start_of(name, first)] * LANES for name in self.rule.uniform_state]
        self._uniform = np.array(starts).reshape(1, -1, LANES)
        columns = self._columns = [self.arrays, *state.values()]
        self._table = Table(
            self._kernel,
            [array.size for array in self.arrays],
            [[array.ctypes.data for array in row] for row in zip(*columns, strict=True)],
            [self._kernel.dtype.itemsize] * (1 + len(columns)),
        )
        self._gradients: list[NDArray[Any] | None] = [None] * len(self.arrays)
        self._addresses = np.zeros(len(self.arrays), np.intp)
        self._cohort = np.zeros(len(self.arrays), np.intp)

    @property
    def uniform_state(self) -> dict[str, float]:
        """The value of each uniform state."""
        values = self._uniform[0, :, 0].tolist()
        return dict(zip(self.rule.uniform_state, values, strict=True))

    @uniform_state.setter
    def uniform_state(self, values: Mapping[str, float]) -> None:
        self._uniform[0] = [[values[name]] * LANES for name in self.rule.uniform_state]

    def _resolve(self) -> None:
        """Read the hyperparameters of the coming step; check those that have changed."""
        values = [h(self.t) if callable(h) else h for h in self.hyper.values()]
        if values != self._values:
            for (name, given), value in zip(self.hyper.items(), values, strict=True):
                check = self.rule.hyperparameters[name]
                check.check_scheduled(value) if callable(given) else check.check(value)
            self._values = values
            self._hyper[0] = np.array(values)[:, None]

    def __call__(self, gradients: Sequence[NDArray[Any]]) -> None:
        """Take one step.

        Args:
            gradients: one array per parameter array, of its shape and dtype, C-contiguous.

        Raises:
            ValueError: a gradient that does not fit, or a hyperparameter outside its range.
        """
        if len(gradients) != len(self.arrays):
            raise ValueError(f"expected {len(self.arrays)} gradients, got {len(gradients)}")
        for index, (new, old) in enumerate(zip(gradients, self._gradients, strict=True)):
            if new is not old:
                self._take(index, new)
        self._resolve()
        taken = np.array([float(self.t)])
        self._table.step(self._addresses, self._cohort, taken, self._hyper, self._uniform)
        self.t += 1

    def _take(self, index: int, gradient: NDArray[Any]) -> None:
        array = self.arrays[index]
        if gradient.shape != array.shape or gradient.dtype != array.dtype:
            raise ValueError(
                f"gradient {index} must be {array.dtype}{list(array.shape)} like its parameter, "
                f"got {gradient.dtype}{list(gradient.shape)}"
            )
        if not gradient.flags.c_contiguous:
            raise ValueError(f"gradient {index} must be C-contiguous; pass np.ascontiguousarray(g)")
        self._gradients[index] = gradient
        self._addresses[index] = gradient.ctypes.data


def _common_dtype(arrays: Sequence[NDArray[Any]]) -> np.dtype[Any]:
    if not arrays:
        raise ValueError("arrays must hold at least one array, got none")
    for index, array in enumerate(arrays):
        if not isinstance(array, np.ndarray):
            raise ValueError(  # noqa: TRY004 - as of arrays that do not fit
                f"arrays must be a list of NumPy arrays, got {type(array).__name__} in it"
            )
        if array.dtype != arrays[0].dtype:
            raise ValueError(
                f"arrays must share one dtype; array 0 is {arrays[0].dtype}, "
                f"array {index} is {array.dtype}"
            )
        if not (array.flags.c_contiguous and array.flags.writeable):
            raise ValueError(
                f"array {index} must be C-contiguous and writable: it is updated in place"
            )
    return arrays[0].dtype
