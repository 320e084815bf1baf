"""A rule, compiled: the addresses of its two functions, which the drivers call."""

import functools
import inspect
import os
import textwrap
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import NumbaError

from thalweg.kernels.body import PLAIN, Wrap
from thalweg.kernels.cache import load_module
from thalweg.kernels.cpu.generate import Generated, generate
from thalweg.kernels.cpu.machine_code import callback
from thalweg.kernels.cpu.simd import FINGERPRINT
from thalweg.rule import Rule, get

__all__ = ["Kernel", "compiled", "held_over_fork", "source"]

_NUMBERS = {np.dtype(np.float32): "float32", np.dtype(np.float64): "float64"}
_DOUBLES = "CPointer(float64), CPointer(float64), CPointer(float64)"


@dataclass(frozen=True)
class Kernel:
    """The compiled form of a rule for one element type.

    Attributes:
        rule: the rule.
        dtype: float32 or float64, what is computed in.
        wrap: what is done around the rule, and the formats of the arrays.
        update: address of ``update(places, n, slots)``.
        uniforms: address of ``uniforms(t, fresh, hyper, powers, state, slots)``.
        slots: rows of the table of uniform values.
        powers: rows of the table of running powers.
        steady: whether the uniform values depend on hyperparameters alone, not on t.
    """

    rule: Rule
    dtype: np.dtype[Any]
    wrap: Wrap
    update: int
    uniforms: int
    slots: int
    powers: int
    steady: bool
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
    return generate(get(rule)).text


def compiled(rule: Rule, dtype: np.dtype[Any], wrap: Wrap = PLAIN) -> Kernel:
    """Compile a rule for an element type, or load its machine code from the cache.

    Args:
        rule: the rule.
        dtype: float32 or float64, what is computed in.
        wrap: what is done around the rule, and the formats of the arrays.

    Raises:
        ValueError: a construct that cannot be compiled, or an element type other than float32 and
            float64.
    """
    if dtype not in _NUMBERS:
        raise ValueError(f"dtype must be float32 or float64, got {dtype}")
    with _one_at_a_time:
        # What a user's function sees around it may have changed: another number, another helper.
        generated = _built_in(rule, wrap) if rule.built_in else generate(rule, wrap)
        return _compiled(rule, dtype, wrap, generated)


def held_over_fork(lock: Any) -> Any:  # noqa: ANN401 - Numba's lock has no type
    """Return the lock; no other thread will hold it at a fork: the child would wait for ever.

    Locks are taken in the reverse order of these calls, which must be the order in which a thread
    takes them.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )
    return lock


held_over_fork(global_compiler_lock)  # a driver is compiled when it is first called
_one_at_a_time = held_over_fork(threading.Lock())


_built_in = functools.cache(generate)


@functools.cache
def _compiled(rule: Rule, dtype: np.dtype[Any], wrap: Wrap, generated: Generated) -> Kernel:
    module, cached = load_module(rule.name, generated.text, FINGERPRINT)
    pointer = f"CPointer({_NUMBERS[dtype]})"
    try:
        update = callback(module.update, f"void(CPointer(intp), intp, {pointer})", cached=cached)
        uniforms = callback(
            module.uniforms, f"void(float64, boolean, {_DOUBLES}, {pointer})", cached=cached
        )
    except (NumbaError, RuntimeError) as error:  # LLVM raises the latter
        raise ValueError(_refusal(rule, str(error))) from error
    return Kernel(
        rule,
        dtype,
        wrap,
        int(update.address),  # type: ignore[arg-type] # compiled, so it has one
        int(uniforms.address),  # type: ignore[arg-type]
        generated.slots,
        generated.powers,
        generated.steady,
        (update, uniforms),
    )


def _refusal(rule: Rule, why: str) -> str:
    """Return a sentence on a rule whose kernel could be written but not compiled."""
    file, line = inspect.getsourcefile(rule.function), rule.function.__code__.co_firstlineno
    reason = next((said for said in why.splitlines() if not said.startswith("Failed in")), why)
    return (
        f"{file}, line {line}: rule {rule.name!r} cannot be compiled, for Numba refuses its kernel "
        f"(thalweg.kernels.source shows it): {textwrap.shorten(reason, 200)}"
    )
