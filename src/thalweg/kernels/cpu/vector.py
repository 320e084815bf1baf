"""A vector of lanes as a Numba type: eight trainings in one machine instruction.

Numba leaves vectorizing to LLVM's loop vectorizer, which must prove that no two arrays overlap
and gives up on inner loops as short as a block of lanes. With an explicit vector type, generated
kernels are scalar code that is typed as vectors: fast by construction, and a lane's bits depend
neither on its neighbours nor on the compiler's choices.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model
from numpy.typing import DTypeLike, NDArray

__all__ = [
    "FEATURES", "LANES", "WIDE", "Vector", "aligned_zeros", "as_vector", "packed", "splat",
    "suffix", "widened",
]  # fmt: skip

LANES = 8  # one 256-bit register of float32; a block of lanes is never split

# The processor for which Numba compiles: this one, unless NUMBA_CPU_NAME names another.
FEATURES = set(cpu_target.target_context.codegen().magic_tuple()[2].split(","))

# The largest register of float32. Loops that compute more than they move, as those of bfloat16,
# use it; others are not faster with it.
WIDE = 2 * LANES if "+avx512f" in FEATURES else LANES

_LINE = 64  # bytes of a line of the cache


class Vector(types.Type):
    """Several values of one element type: float32, float64 or boolean."""

    def __init__(self, element: types.Type, count: int = LANES) -> None:
        self.element, self.count = element, count
        super().__init__(f"vector({element}, {count})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        bits = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
        element = bits.get(fe_type.element, ir.IntType(1))
        super().__init__(dmm, fe_type, ir.VectorType(element, fe_type.count))


def suffix(vector: Any) -> str:
    """Return the ending of LLVM's names of functions on such vectors."""
    return f"v{vector.count}{vector.element.intrinsic_name}"


def splat(builder: Any, scalar: Any, count: int = LANES) -> Any:
    """Return a vector that holds one number in all its lanes."""
    empty = ir.Constant(ir.VectorType(scalar.type, count), ir.Undefined)
    first = builder.insert_element(empty, scalar, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), count), None)
    return builder.shuffle_vector(first, empty, zeros)


def as_vector(context: Any, builder: Any, value: Any, of: Any, to: Vector) -> Any:
    """Make a vector of a scalar. A vector is returned as it is."""
    if isinstance(of, Vector):
        return value
    return splat(builder, context.cast(builder, value, of, to.element), to.count)


@intrinsic
def widened(typingctx: Any, vector: Any) -> Any:
    """Return a vector of WIDE lanes that repeats this one."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = [lane % LANES for lane in range(WIDE)]
        numbers = ir.Constant(ir.VectorType(ir.IntType(32), WIDE), lanes)
        return builder.shuffle_vector(args[0], args[0], numbers)

    return Vector(vector.element, WIDE)(vector), codegen


@intrinsic
def packed(typingctx: Any, numbers: Any) -> Any:
    """Return a vector that holds the numbers of a tuple."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = ir.Constant(context.get_value_type(sig.return_type), ir.Undefined)
        for i in range(len(numbers)):
            number = builder.extract_value(args[0], i)
            vector = builder.insert_element(vector, number, ir.Constant(ir.IntType(32), i))
        return vector

    return Vector(numbers.dtype, len(numbers))(numbers), codegen


def aligned_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return zeros that begin at a line of the cache, so that no vector lies in two of them."""
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    memory = np.zeros(size + _LINE, np.uint8)
    first = -memory.ctypes.data % _LINE
    return memory[first : first + size].view(kind).reshape(shape)
