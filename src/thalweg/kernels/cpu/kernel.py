"""Kernel: a compiled rule, the addresses of the two functions that drivers call."""

import functools
import hashlib
import inspect
import os
import textwrap
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import NumbaError

from thalweg.files import write
from thalweg.kernels import agreement, functions
from thalweg.kernels.body import PLAIN, Wrap
from thalweg.kernels.cache import load_module
from thalweg.kernels.cpu.generate import Generated, generate, generate_loss, generate_pass
from thalweg.kernels.cpu.generate_passes import GeneratedPasses, generate_passes
from thalweg.kernels.cpu.machine_code import callback
from thalweg.kernels.cpu.simd import FINGERPRINT
from thalweg.kernels.cpu.vector import LANES
from thalweg.kernels.translate import Form, by_rows
from thalweg.kind import MATRICES, SUMS
from thalweg.losses import Loss
from thalweg.rule import Rule
from thalweg.rules import get

__all__ = [
    "Kernel", "KernelStep", "LossKernel", "PassKernel", "check", "compiled", "compiled_loss",
    "compiled_pass", "compiled_passes", "held_over_fork", "source",
]  # fmt: skip

_NUMBERS = {np.dtype(np.float32): "float32", np.dtype(np.float64): "float64"}
_DOUBLES = "CPointer(float64), CPointer(float64), CPointer(float64)"


@dataclass(frozen=True)
class Kernel:
    """The compiled form of a rule for one element type.

    Attributes:
        rule: the rule.
        dtype: float32 or float64, what is computed in.
        wrap: what is done around the rule, and the formats of the arrays.
        passes: over all arrays, one after the other: the addresses of each one's
            ``uniforms(t, fresh, hyper, powers, state, slots)`` and ``update(addresses, n, slots)``.
        slots: rows of the table of uniform values.
        powers: rows of the table of running powers.
        steady: whether the uniform values depend on hyperparameters alone, not on t.
    """

    rule: Rule
    dtype: np.dtype[Any]
    wrap: Wrap
    passes: tuple[tuple[int, int], ...]
    slots: int
    powers: int
    steady: bool
    functions: tuple[Any, ...] = field(repr=False)  # keeps the machine code alive


@dataclass(frozen=True)
class PassKernel:
    """The compiled form of a rule that looks at whole tensors, for one element type.

    Attributes:
        rule: the rule.
        dtype: float32 or float64, what is computed in.
        wrap: what is done around the rule, and the formats of the arrays.
        form: what each tensor is: a "matrix", or a "vector", as which others are taken if the
            rule asks for no rows and columns.
        generated: its source and sizes.
        passes: the addresses of each one's
            ``before(t, fresh, hyper, powers, state, sums, arrays, rows, columns, blocks, slots)``
            and ``update(addresses, rows, columns, slots, partial)``; 0 for none.
    """

    rule: Rule
    dtype: np.dtype[Any]
    wrap: Wrap
    form: Form
    generated: GeneratedPasses
    passes: tuple[tuple[int, int], ...]
    functions: tuple[Any, ...] = field(repr=False)  # keeps the machine code alive


@dataclass(frozen=True)
class LossKernel:
    """The compiled form of a loss for one element type, as ``loss.of`` has it.

    Attributes:
        slopes: the address of ``slopes(parameter, z, y, rows, m, k, scale)``.
        values: that of ``values(parameter, z, y, rows, weights, m, k, total)``, which writes the
            sum to total.
    """

    slopes: int
    values: int
    functions: tuple[Any, ...] = field(repr=False)  # keeps the machine code alive


def source(rule: str | Rule) -> str:
    """Return the source of a rule's kernel, as ``thalweg kernel RULE`` prints it.

    Args:
        rule: a rule or its name.

    Raises:
        ValueError: unknown name, or a construct that cannot be compiled (with its line).

    Example:
        >>> "x - u0 * g" in source("sgd")
        True
    """
    found = get(rule)
    if found.kind in {MATRICES, SUMS}:
        form: Form = "matrix" if found.kind == MATRICES or by_rows(found) else "vector"
        return generate_passes(found, PLAIN, form).text
    return generate(found).text


def compiled(rule: Rule, dtype: np.dtype[Any], wrap: Wrap = PLAIN) -> Kernel:
    """Compile a rule for an element type, or load its machine code from the cache.

    Args:
        rule: the rule.
        dtype: float32 or float64, what is computed in.
        wrap: what is done around the rule, and the formats of the arrays.

    Raises:
        ValueError: a construct that cannot be compiled, an element type other than float32 and
            float64, or a user's rule whose function does not agree with the kernel.
    """
    if dtype not in _NUMBERS:
        raise ValueError(f"dtype must be float32 or float64, got {dtype}")
    with _one_at_a_time:
        if rule.built_in:
            return _compiled(rule, dtype, wrap, _built_in(rule, wrap))
        # Numbers and helpers outside a user's function may have changed.
        _check(rule, generate(rule))
        return _compiled(rule, dtype, wrap, generate(rule, wrap))


def compiled_pass(
    rule: Rule, loss: Loss, lanes: int = LANES, *, single: bool
) -> Callable[..., int]:
    """Return a rule's pass over sparse rows, a driver that is compiled when it is first called.

    Its arguments are those of ``learn_rows`` from the loss's own number on.

    Args:
        rule: the rule.
        loss: whose slopes are learned.
        lanes: that learn side by side, one of WIDTHS.
        single: whether each step is that of one row, which has one output.

    Raises:
        ValueError: as ``compiled``.
    """
    with _one_at_a_time:
        if rule.built_in:
            module = _pass(rule, _built_in_pass(rule, loss, single=single))
        else:
            _check(rule, generate(rule))
            module = _pass(rule, generate_pass(rule, loss, single=single))
    learn: Callable[..., int] = getattr(module, f"learn_{lanes}")
    return learn


def compiled_loss(loss: Loss, dtype: np.dtype[Any]) -> LossKernel:
    """Compile a loss for an element type, or load its machine code from the cache."""
    with _one_at_a_time:
        return _compiled_loss(loss, dtype)


@functools.cache
def _compiled_loss(loss: Loss, dtype: np.dtype[Any]) -> LossKernel:
    module, cached = load_module(loss.name, generate_loss(loss), FINGERPRINT)
    number = _NUMBERS[dtype]
    pointer = f"CPointer({number})"
    rows, counts = f"{pointer}, {pointer}, CPointer(intp)", "intp, intp"
    arguments = {"slopes": f"{counts}, {number}", "values": f"{pointer}, {counts}, {pointer}"}
    made = [
        callback(getattr(module, name), f"void({number}, {rows}, {more})", cached=cached)
        for name, more in arguments.items()
    ]
    slopes, values = (int(one.address) for one in made)  # type: ignore[arg-type] # they have one
    return LossKernel(slopes, values, tuple(made))


def compiled_passes(rule: Rule, dtype: np.dtype[Any], wrap: Wrap, form: Form) -> PassKernel:
    """Compile a rule that looks at whole tensors, or load its machine code from the cache.

    Args:
        rule: the rule.
        dtype: float32 or float64, what is computed in.
        wrap: what is done around the rule, and the formats of the arrays.
        form: what each tensor is.

    Raises:
        ValueError: as ``compiled``.
    """
    with _one_at_a_time:
        return _compiled_passes(rule, dtype, wrap, form, generate_passes(rule, wrap, form))


@functools.cache
def _compiled_passes(
    rule: Rule, dtype: np.dtype[Any], wrap: Wrap, form: Form, generated: GeneratedPasses
) -> PassKernel:
    module, cached = load_module(rule.name, generated.text, FINGERPRINT)
    pointer = f"CPointer({_NUMBERS[dtype]})"
    doubles = ", ".join(["CPointer(float64)"] * 4)
    before = f"void(float64, boolean, {doubles}, CPointer(intp), intp, intp, intp, {pointer})"
    update = f"void(CPointer(intp), intp, intp, {pointer}, CPointer(float64))"
    made: list[Any] = []
    try:
        for index in range(generated.passes):
            made.append(callback(getattr(module, f"before_{index}"), before, cached=cached))
            function = getattr(module, f"update_{index}", None)
            made.append(function and callback(function, update, cached=cached))
    except (NumbaError, RuntimeError) as error:  # LLVM raises RuntimeError
        raise ValueError(_refusal(rule, str(error))) from error
    addresses = [int(one.address) if one else 0 for one in made]
    passes = tuple(zip(addresses[::2], addresses[1::2], strict=True))
    return PassKernel(rule, dtype, wrap, form, generated, passes, tuple(made))


def check(rule: Rule) -> None:
    """Raise ValueError unless a user's rule agrees with the kernel made from its text."""
    if not rule.built_in:  # the tests check these
        with _one_at_a_time:
            _check(rule, generate(rule))


def held_over_fork(lock: Any) -> Any:  # noqa: ANN401 - Numba's lock has no type
    """Return the lock. No other thread holds it at a fork, or the child would wait for ever.

    At a fork, locks are taken in the reverse order of these calls. Threads must take them in that
    order too.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )
    return lock


held_over_fork(global_compiler_lock)  # a driver is compiled when it is first called
_one_at_a_time = held_over_fork(threading.Lock())


_built_in, _built_in_pass = functools.cache(generate), functools.cache(generate_pass)


@functools.cache
def _compiled(rule: Rule, dtype: np.dtype[Any], wrap: Wrap, generated: Generated) -> Kernel:
    module, cached = load_module(rule.name, generated.text, FINGERPRINT)
    number = _NUMBERS[dtype]
    pointer = f"CPointer({number})"
    arguments = f"CPointer(intp), intp, {pointer}"
    try:
        update = callback(module.update, f"void({arguments})", cached=cached)
        uniforms = callback(
            module.uniforms, f"void(float64, boolean, {_DOUBLES}, {pointer})", cached=cached
        )
    except (NumbaError, RuntimeError) as error:  # LLVM raises RuntimeError
        raise ValueError(_refusal(rule, str(error))) from error
    return Kernel(
        rule,
        dtype,
        wrap,
        ((int(uniforms.address), int(update.address)),),  # type: ignore[arg-type] # they have one
        generated.slots,
        generated.powers,
        generated.steady,
        (update, uniforms),
    )


@functools.cache
def _pass(rule: Rule, text: str) -> ModuleType:
    return load_module(rule.name, text, FINGERPRINT)[0]


@functools.cache
def _check(rule: Rule, generated: Generated) -> None:
    """As ``check``, once for each text: a file beside the kernel notes which function agreed."""
    module, cached = load_module(rule.name, generated.text, FINGERPRINT)
    noted = Path(str(module.__file__)).with_suffix(".checked") if cached else None
    code = functions.called(rule.function, [], {}).__code__
    same = hashlib.sha256(code.co_code + repr(code.co_names).encode()).hexdigest().encode()
    with suppress(OSError):
        if noted and noted.read_bytes() == same:
            return
    kernel = _compiled(rule, np.dtype(np.float64), PLAIN, generated)
    agreement.check(rule, KernelStep(kernel))
    if noted:
        with suppress(OSError):  # a full disk
            write(noted, same)


class KernelStep:
    """Steps arrays by a kernel, called as its drivers call it, one setting in all lanes."""

    def __init__(self, kernel: Kernel) -> None:
        self.rule = kernel.rule
        self.update, self.uniforms = (function.ctypes for function in kernel.functions)
        self.slots = np.empty((kernel.slots + 1) * LANES)
        self.powers = np.empty((kernel.powers + 1) * LANES)

    def __call__(self, inputs: agreement.Inputs) -> dict[str, Any]:
        """Return x and the new state, by name."""
        uniform = [inputs.state[name] for name in self.rule.uniform_state]
        hyper, state = (
            np.repeat([*values, 0.0], LANES).astype(np.float64)
            for values in (inputs.hyper.values(), uniform)
        )
        self.uniforms(
            float(inputs.t), inputs.first,
            *map(np.ctypeslib.as_ctypes, (hyper, self.powers, state, self.slots)),
        )  # fmt: skip
        varying = [inputs.g, inputs.x, *(inputs.state[name] for name in self.rule.state)]
        arrays = [np.array(a, np.float64) for a in varying]
        addresses = np.array([a.ctypes.data for a in arrays], np.intp)
        self.update(
            np.ctypeslib.as_ctypes(addresses), inputs.x.size, np.ctypeslib.as_ctypes(self.slots)
        )
        new = dict(zip(("x", *self.rule.state), arrays[1:], strict=True))
        return new | dict(zip(self.rule.uniform_state, state[::LANES], strict=False))


def _refusal(rule: Rule, why: str) -> str:
    """Return a sentence on a rule whose kernel could be written but not compiled."""
    file, line = inspect.getsourcefile(rule.function), rule.function.__code__.co_firstlineno
    reason = next((said for said in why.splitlines() if not said.startswith("Failed in")), why)
    return (
        f"{file}, line {line}: rule {rule.name!r} cannot be compiled, for Numba refuses its kernel "
        f"(thalweg.kernels.source shows it): {textwrap.shorten(reason, 200)}"
    )
