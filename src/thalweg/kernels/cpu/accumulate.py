"""Accumulate: sums of what kernels compute, lane by lane, then over the lanes.

SOME terms of a lane are added in the element type, and all else in float64. The order is fixed, so
that a sum has the same bits at every run.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from thalweg.kernels.cpu.memory import first_lanes, load, store
from thalweg.kernels.cpu.simd import inlined
from thalweg.kernels.cpu.vector import LANES, Vector, splat

__all__ = ["SOME", "added", "exact", "leading", "nothing", "power_once", "put", "repeated", "zeros"]

SOME = 64

_WIDE = Vector(types.float64)


@intrinsic
def nothing(typingctx: Any) -> Any:
    """Return a sum of nothing: 0 in all lanes."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(context.get_value_type(_WIDE), None)

    return _WIDE(), codegen


@intrinsic
def zeros(typingctx: Any, like: Any) -> Any:
    """Return a vector of zeros, of the type behind a pointer."""
    vector = Vector(like.dtype)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(context.get_value_type(vector), None)

    return vector(like), codegen


@intrinsic
def exact(typingctx: Any, value: Any) -> Any:
    """Return a vector, or a number in all lanes, as float64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if not isinstance(sig.args[0], Vector):
            return splat(builder, context.cast(builder, args[0], sig.args[0], types.float64))
        if sig.args[0] == _WIDE:
            return args[0]
        return builder.fpext(args[0], context.get_value_type(_WIDE))

    return _WIDE(value), codegen


@intrinsic
def leading(typingctx: Any, value: Any, count: Any) -> Any:
    """Return the first lanes of a vector, and 0 in the others."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        none = ir.Constant(args[0].type, None)
        return builder.select(first_lanes(builder, args[1]), args[0], none)

    return value(value, types.intp), codegen


@intrinsic
def added(typingctx: Any, value: Any) -> Any:
    """Return the sum of a float64 vector's lanes: of halves, of their halves, and so on."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        found, count = args[0], LANES
        while count > 1:
            count //= 2
            halves = [
                ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(at, at + count)))
                for at in (0, count)
            ]
            low, high = (builder.shuffle_vector(found, found, half) for half in halves)
            found = builder.fadd(low, high)
        return builder.extract_element(found, ir.Constant(ir.IntType(32), 0))

    return types.float64(_WIDE), codegen


@intrinsic
def repeated(typingctx: Any, pointer: Any, index: Any) -> Any:
    """Return a number behind a pointer, in all lanes."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return splat(builder, builder.load(builder.gep(args[0], [args[1]])))

    return Vector(pointer.dtype)(pointer, types.intp), codegen


@intrinsic
def put(typingctx: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Write a number behind a pointer, rounded to the element type."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = context.cast(builder, args[2], sig.args[2], sig.args[0].dtype)
        builder.store(number, builder.gep(args[0], [args[1]]))
        return context.get_dummy_value()

    return types.void(pointer, types.intp, value), codegen


@inlined
def power_once(powers: Any, index: Any, base: Any, t: Any, fresh: Any) -> Any:
    """Return base**t, which is computed if it is fresh and has been kept otherwise."""
    if fresh:
        store(powers, index, base**t)
    return load(powers, index)
