"""The 16-bit formats: read as float32 and rounded back, by address.

They are not types of their own: memory holds bits, and computation is in float32.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from thalweg.kernels.cpu.memory import fetch_ahead, masked_load, masked_store
from thalweg.kernels.cpu.vector import FEATURES, LANES, WIDE, Vector, as_vector, splat

__all__ = [
    "load_bfloat16", "load_even_bfloat16", "load_float16", "load_odd_bfloat16",
    "load_part_bfloat16", "load_part_float16", "store_bfloat16", "store_bfloat16_stochastic",
    "store_float16", "store_pair_bfloat16", "store_part_bfloat16",
    "store_part_bfloat16_stochastic", "store_part_float16",
]  # fmt: skip

_BITS, _WIDE_BITS = (ir.VectorType(ir.IntType(bits), LANES) for bits in (16, 32))
_SINGLE = ir.VectorType(ir.FloatType(), LANES)
_PAIRS = ir.VectorType(ir.IntType(32), WIDE)  # two bfloat16 each, the even one in the lower half

# Whether the processor rounds to bfloat16, by functions that LLVM has had in this form since 16.
_IN_HARDWARE = "+avx512bf16" in FEATURES and binding.llvm_version_info >= (16,)


class _BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite lacks."""

    def __str__(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


def _from_bfloat16(builder: Any, bits: Any) -> Any:
    wide = builder.zext(bits, _WIDE_BITS)
    return builder.bitcast(builder.shl(wide, _constant(wide, 16)), _SINGLE)


def _bits(builder: Any, value: Any) -> Any:
    return builder.bitcast(value, ir.VectorType(ir.IntType(32), value.type.count))


def _constant(like: Any, number: int) -> Any:
    """Return a vector of as many lanes as another one, all that number."""
    return ir.Constant(like.type, [number] * like.type.count)


def _rounded(builder: Any, value: Any) -> Any:
    """Round to the nearest bfloat16, ties to even: the upper half of each 32 bits.

    NaN stays NaN if its lower half is 0, as in all numbers from bfloat16: nothing is carried.
    """
    bits = _bits(builder, value)
    odd = builder.and_(builder.lshr(bits, _constant(bits, 16)), _constant(bits, 1))
    return builder.add(bits, builder.add(odd, _constant(bits, 0x7FFF)))


def _by_processor(builder: Any, name: str, *values: Any) -> Any:
    """Round to the nearest bfloat16, ties to even, as 16 bits each, those of the last value first.

    NaN stays NaN. Subnormal numbers become 0.
    """
    count = sum(value.type.count for value in values)
    kind = ir.FunctionType(ir.VectorType(_BFloat(), count), [value.type for value in values])
    name = f"llvm.x86.avx512bf16.{name}"
    rounded = builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)
    return builder.bitcast(rounded, ir.VectorType(ir.IntType(16), count))


def _to_bfloat16(builder: Any, value: Any) -> Any:
    """Round to the nearest, ties to even; NaN stays NaN."""
    if _IN_HARDWARE:
        return _by_processor(builder, "cvtneps2bf16.256", value)
    bits = _bits(builder, value)
    nan = builder.fcmp_unordered("uno", value, value)
    quiet = builder.or_(bits, _constant(bits, 0x400000))
    kept = builder.select(nan, quiet, _rounded(builder, value))
    return builder.trunc(builder.lshr(kept, _constant(bits, 16)), _BITS)


def _random_bits(builder: Any, seed: Any, block: Any, salt: Any) -> Any:
    """Return 16 random bits per lane, as 32-bit numbers: a hash of the element's index.

    The mixing is MurmurHash3's finalizer (Appleby 2011, public domain).
    """
    start = builder.add(seed, builder.mul(block, ir.Constant(block.type, LANES)))
    start = builder.add(start, builder.mul(salt, ir.Constant(salt.type, 0x9E3779B9)))
    lanes = ir.Constant(_WIDE_BITS, list(range(LANES)))
    bits = builder.add(splat(builder, builder.trunc(start, ir.IntType(32))), lanes)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed = builder.xor(bits, builder.lshr(bits, _constant(bits, shift)))
        bits = builder.mul(mixed, _constant(bits, factor))
    return builder.lshr(bits, _constant(bits, 16))


def _to_bfloat16_stochastic(builder: Any, value: Any, random: Any) -> Any:
    """Round up or down, with the chances that keep the mean. Numbers that are not finite stay."""
    bits = _bits(builder, value)
    gap = builder.fsub(value, value)
    finite = builder.fcmp_ordered("ord", gap, gap)
    raised = builder.lshr(builder.add(bits, random), _constant(bits, 16))
    raised = builder.trunc(raised, _BITS)
    return builder.select(finite, raised, _to_bfloat16(builder, value))


def _from_float16(builder: Any, bits: Any) -> Any:
    return builder.fpext(builder.bitcast(bits, ir.VectorType(ir.HalfType(), LANES)), _SINGLE)


def _to_float16(builder: Any, value: Any) -> Any:
    return builder.bitcast(builder.fptrunc(value, ir.VectorType(ir.HalfType(), LANES)), _BITS)


def _half_address(builder: Any, address: Any, block: Any) -> Any:
    return builder.gep(builder.inttoptr(address, _BITS.as_pointer()), [block])


def _pair_address(builder: Any, address: Any, block: Any) -> Any:
    """Return the address of the block-th pairs of neighbours."""
    return builder.gep(builder.inttoptr(address, _PAIRS.as_pointer()), [block])


def _one_of_pair(widen: Callable[..., Any]) -> Any:
    """Return a function that loads one neighbour of each pair."""

    @intrinsic
    def load(typingctx: Any, address: Any, block: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            address = _pair_address(builder, args[0], args[1])
            if widen is _even:  # the other one is beside it
                fetch_ahead(builder, address)
            bits = builder.load(address, align=2)
            return builder.bitcast(widen(builder, bits), ir.VectorType(ir.FloatType(), WIDE))

        return Vector(types.float32, WIDE)(types.intp, types.intp), codegen

    return load


def _even(builder: Any, bits: Any) -> Any:
    return builder.shl(bits, _constant(bits, 16))


def _odd(builder: Any, bits: Any) -> Any:
    return builder.and_(bits, _constant(bits, 0xFFFF0000))


load_even_bfloat16, load_odd_bfloat16 = _one_of_pair(_even), _one_of_pair(_odd)


def _pairs(builder: Any, low: Any, high: Any) -> Any:
    """Round two wide vectors to one of pairs."""
    if _IN_HARDWARE:
        both = _by_processor(builder, "cvtne2ps2bf16.512", high, low)
        order = [lane // 2 + WIDE * (lane % 2) for lane in range(2 * WIDE)]
        numbers = ir.Constant(ir.VectorType(ir.IntType(32), 2 * WIDE), order)
        return builder.bitcast(builder.shuffle_vector(both, both, numbers), _PAIRS)
    low, high = _rounded(builder, low), _rounded(builder, high)
    return builder.or_(builder.lshr(low, _constant(low, 16)), _odd(builder, high))


@intrinsic
def store_pair_bfloat16(typingctx: Any, address: Any, block: Any, even: Any, odd: Any) -> Any:
    """Round two vectors computed from bfloat16 alone, and write them as pairs of neighbours."""
    single = Vector(types.float32, WIDE)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        low, high = (
            as_vector(context, builder, value, of, single)
            for value, of in zip(args[2:], sig.args[2:], strict=True)
        )
        bits = _pairs(builder, low, high)
        builder.store(bits, _pair_address(builder, args[0], args[1]), align=2)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, even, odd), codegen


def _half(widen: Callable[..., Any], narrow: Callable[..., Any]) -> tuple[Any, Any, Any, Any]:
    """Return load, store, load_part and store_part by address for a 16-bit format."""
    single = Vector(types.float32)

    @intrinsic
    def load(typingctx: Any, address: Any, block: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            address = _half_address(builder, args[0], args[1])
            fetch_ahead(builder, address)
            return widen(builder, builder.load(address, align=2))

        return single(types.intp, types.intp), codegen

    @intrinsic
    def store(typingctx: Any, address: Any, block: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            vector = as_vector(context, builder, args[2], sig.args[2], single)
            builder.store(
                narrow(builder, vector), _half_address(builder, args[0], args[1]), align=2
            )
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, value), codegen

    @intrinsic
    def load_part(typingctx: Any, address: Any, block: Any, count: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return widen(
                builder, masked_load(builder, _half_address(builder, args[0], args[1]), args[2], 2)
            )

        return single(types.intp, types.intp, types.intp), codegen

    @intrinsic
    def store_part(typingctx: Any, address: Any, block: Any, value: Any, count: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            vector = as_vector(context, builder, args[2], sig.args[2], single)
            masked_store(
                builder,
                narrow(builder, vector),
                _half_address(builder, args[0], args[1]),
                args[3],
                2,
            )
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, value, types.intp), codegen

    return load, store, load_part, store_part


@intrinsic
def store_bfloat16_stochastic(
    typingctx: Any, address: Any, block: Any, value: Any, seed: Any, salt: Any
) -> Any:
    """As ``store_bfloat16``, rounded at random by a seed and the element's index."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        random = _random_bits(builder, args[3], args[1], args[4])
        bits = _to_bfloat16_stochastic(builder, args[2], random)
        builder.store(bits, _half_address(builder, args[0], args[1]), align=2)
        return context.get_dummy_value()

    single = Vector(types.float32)
    return types.void(types.intp, types.intp, single, types.intp, types.intp), codegen


@intrinsic
def store_part_bfloat16_stochastic(
    typingctx: Any, address: Any, block: Any, value: Any, count: Any, seed: Any, salt: Any
) -> Any:
    """As ``store_bfloat16_stochastic``, of the first lanes alone."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        random = _random_bits(builder, args[4], args[1], args[5])
        bits = _to_bfloat16_stochastic(builder, args[2], random)
        masked_store(builder, bits, _half_address(builder, args[0], args[1]), args[3], 2)
        return context.get_dummy_value()

    single = Vector(types.float32)
    kinds = types.intp, types.intp, single, types.intp, types.intp, types.intp
    return types.void(*kinds), codegen


load_bfloat16, store_bfloat16, load_part_bfloat16, store_part_bfloat16 = _half(
    _from_bfloat16, _to_bfloat16
)
load_float16, store_float16, load_part_float16, store_part_float16 = _half(
    _from_float16, _to_float16
)
