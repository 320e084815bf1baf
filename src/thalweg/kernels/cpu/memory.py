"""Memory by address: read and written as vectors of lanes, or as numbers."""

import functools
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

from thalweg.kernels.cpu.vector import LANES, Vector, as_vector, splat, suffix

__all__ = [
    "address", "fetch", "fetch_ahead", "first_lanes", "get_float32", "get_float64", "get_int32",
    "get_int64", "load", "load_ahead", "load_part", "masked_load", "masked_store", "offset",
    "pointer", "put_float32", "put_float64", "store", "store_part", "typed", "vector_behind",
    "wide",
]  # fmt: skip

_AHEAD = 1024  # bytes by which a loop over memory asks ahead


class _Wide(types.CPointer):
    """A pointer behind which vectors have more lanes than LANES."""

    def __init__(self, dtype: types.Type, count: int) -> None:
        super().__init__(dtype)
        self.count = count
        self.name = f"{self.name} x {count}"

    @property
    def key(self) -> Any:
        return self.dtype, self.count


register_model(_Wide)(models.PointerModel)


def vector_behind(pointer: Any) -> Vector:
    """Return the type of the vectors behind a pointer."""
    return Vector(pointer.dtype, getattr(pointer, "count", LANES))


@functools.cache
def wide(count: int) -> Any:
    """Return a compiled function: of a pointer, it returns one to vectors of so many lanes."""

    @intrinsic
    def view(typingctx: Any, pointer: Any) -> Any:
        kind = pointer if count == LANES else _Wide(pointer.dtype, count)
        return kind(pointer), lambda context, builder, sig, args: args[0]

    return view


@intrinsic
def pointer(typingctx: Any, array: Any) -> Any:
    """Return the address of a contiguous array's first element, typed.

    Compiled helpers take pointers, because each call would count an array argument atomically. A
    pointer keeps nothing alive, and Numba frees a driver's own array after its last use. So
    write pointer(array) where it is used, inside the loop, and keep no pointer to such an
    array.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


def _vector_at(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Return the address of the block-th vector behind a pointer."""
    vector = vector_behind(sig.args[0])
    index = builder.mul(args[1], ir.Constant(args[1].type, vector.count))
    vector = context.get_value_type(vector)
    return builder.bitcast(builder.gep(args[0], [index]), vector.as_pointer())


@intrinsic
def load(typingctx: Any, pointer: Any, block: Any) -> Any:
    """Return the block-th vector behind a pointer."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address = _vector_at(context, builder, sig, args)
        return builder.load(address, align=sig.args[0].dtype.bitwidth // 8)

    return vector_behind(pointer)(pointer, types.intp), codegen


def _prefetch(builder: Any, address: Any, near: int) -> None:
    """Ask for memory, into the nearest cache, 3, or the next one, 2."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    there = builder.bitcast(address, byte)
    builder.call(function, [there, number(0), number(near), number(1)])  # read, data


def fetch_ahead(builder: Any, address: Any) -> None:
    """Ask for the memory _AHEAD bytes behind an address. Nothing needs to be there."""
    start = builder.bitcast(address, ir.IntType(8).as_pointer())
    _prefetch(builder, builder.gep(start, [ir.Constant(ir.IntType(64), _AHEAD)]), 3)


@intrinsic
def fetch(typingctx: Any, address: Any) -> Any:
    """Ask for the memory at an address, a number. Nothing needs to be there.

    It comes into the second cache: what is computed meanwhile needs all of the first.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _prefetch(builder, builder.inttoptr(args[0], ir.IntType(8).as_pointer()), 2)
        return context.get_dummy_value()

    return types.void(types.intp), codegen


@intrinsic
def address(typingctx: Any, pointer: Any) -> Any:
    """Return the address that a pointer holds, a number."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], ir.IntType(64))

    return types.intp(pointer), codegen


@intrinsic
def load_ahead(typingctx: Any, pointer: Any, block: Any) -> Any:
    """As ``load``, in a loop over memory: it also asks for what comes later."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address = _vector_at(context, builder, sig, args)
        fetch_ahead(builder, address)
        return builder.load(address, align=sig.args[0].dtype.bitwidth // 8)

    return Vector(pointer.dtype)(pointer, types.intp), codegen


@intrinsic
def store(typingctx: Any, pointer: Any, block: Any, value: Any) -> Any:
    """Write a vector, or one number into all its lanes, as the block-th vector behind a pointer.

    A float64 vector is rounded to the element type.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        to = vector_behind(sig.args[0])
        value = as_vector(context, builder, args[2], sig.args[2], to)
        if isinstance(sig.args[2], Vector) and sig.args[2] != to:
            value = builder.fptrunc(value, context.get_value_type(to))
        address = _vector_at(context, builder, sig, args)
        builder.store(value, address, align=to.element.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(pointer, types.intp, value), codegen


def _number(number: types.Type, kind: Any) -> tuple[Any, Any]:
    """Return functions that read and write one number at an address."""

    @intrinsic
    def get(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.load(builder.inttoptr(args[0], kind.as_pointer()))

        return number(types.intp), codegen

    @intrinsic
    def put(typingctx: Any, address: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            value = context.cast(builder, args[1], sig.args[1], number)
            builder.store(value, builder.inttoptr(args[0], kind.as_pointer()))
            return context.get_dummy_value()

        return types.void(types.intp, value), codegen

    return get, put


get_float32, put_float32 = _number(types.float32, ir.FloatType())
get_float64, put_float64 = _number(types.float64, ir.DoubleType())
get_int32, _ = _number(types.int32, ir.IntType(32))
get_int64, _ = _number(types.int64, ir.IntType(64))


def first_lanes(builder: Any, count: Any) -> Any:
    """Return the mask of the first lanes, as many as count."""
    numbers = ir.Constant(ir.VectorType(count.type, LANES), list(range(LANES)))
    return builder.icmp_signed("<", numbers, splat(builder, count))


def masked_load(builder: Any, address: Any, count: Any, item: int) -> Any:
    """Return the first elements of a vector in memory, as many as count, and 0 for the others."""
    vector = address.type.pointee
    mask = first_lanes(builder, count)
    align = ir.Constant(ir.IntType(32), item)
    kind = ir.FunctionType(vector, [address.type, align.type, mask.type, vector])
    name = f"llvm.masked.load.{suffix(vector)}.p0"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, [address, align, mask, ir.Constant(vector, None)])


def masked_store(builder: Any, value: Any, address: Any, count: Any, item: int) -> None:
    """Write the first elements of a vector, as many as count."""
    mask = first_lanes(builder, count)
    align = ir.Constant(ir.IntType(32), item)
    kind = ir.FunctionType(ir.VoidType(), [value.type, address.type, align.type, mask.type])
    name = f"llvm.masked.store.{suffix(value.type)}.p0"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    builder.call(function, [value, address, align, mask])


@intrinsic
def load_part(typingctx: Any, pointer: Any, block: Any, count: Any) -> Any:
    """As ``load``, for the first lanes only. The others are 0, and their memory is not read."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address = _vector_at(context, builder, sig, args)
        return masked_load(builder, address, args[2], sig.args[0].dtype.bitwidth // 8)

    return Vector(pointer.dtype)(pointer, types.intp, types.intp), codegen


@intrinsic
def store_part(typingctx: Any, pointer: Any, block: Any, value: Any, count: Any) -> Any:
    """As ``store``, for the first lanes only. The memory of the others is not touched."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address = _vector_at(context, builder, sig, args)
        value = as_vector(context, builder, args[2], sig.args[2], Vector(sig.args[0].dtype))
        masked_store(builder, value, address, args[3], sig.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(pointer, types.intp, value, types.intp), codegen


@intrinsic
def typed(typingctx: Any, address: Any, like: Any) -> Any:
    """Turn an address into a pointer of the type of another one."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return like(types.intp, like), codegen


@intrinsic
def offset(typingctx: Any, pointer: Any, count: Any) -> Any:
    """Return the pointer moved by so many elements."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.intp), codegen
