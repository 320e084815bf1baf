"""Functions that a Triton kernel calls beside Triton's own.

Python calls none of them. The text of each function that a kernel uses is copied into the kernel,
so this module does not need Triton.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import triton.language as tl

__all__ = [
    "added",
    "added_up",
    "keep",
    "modulo",
    "number",
    "pointer_to",
    "power",
    "quotient",
    "read",
    "sign",
    "stochastic",
    "write",
]


def added(parts, count, stride, i, inside):
    """Add up partial sums of rows or columns, in their order."""
    total = tl.zeros_like(i).to(tl.float64)
    for b in range(count):
        total += tl.load(parts + b * stride + i, inside, other=0).to(tl.float64)
    return total


def added_up(partial, begin, end, LANES: "tl.constexpr"):
    """Add up the partial sums of some blocks, in one order."""
    total = tl.zeros([LANES], tl.float64)
    for start in range(begin, end, LANES):
        b = start + tl.arange(0, LANES)
        total += tl.load(partial + b, b < end, other=0)
    return tl.sum(total, 0)


def sign(a):
    """Return 1, -1, or a itself where it is 0 or NaN."""
    return tl.where(a > 0, 1.0, tl.where(a < 0, -1.0, a))


def power(a, b):
    """Return a**b; for a negative a, b must be whole."""
    size = tl.exp2(b * tl.log2(tl.abs(a)))
    odd = tl.floor(b / 2) * 2 != b
    whole = tl.where(odd, -size, size)
    of_negative = tl.where(tl.floor(b) == b, whole, float("nan"))
    return tl.where(b == 0, 1.0, tl.where(a < 0, of_negative, size))


def modulo(a, b):
    """Return the rest of a division, with the sign of the divisor."""
    rest = a % b
    return tl.where((rest != 0) & ((rest < 0) != (b < 0)), rest + b, rest)


def quotient(a, b):
    """Return the whole part of a division, rounded down."""
    rest = a % b
    rest = tl.where((rest != 0) & ((rest < 0) != (b < 0)), rest + b, rest)
    return tl.floor((a - rest) / b + 0.5)


def number(address, fresh, FORMAT: "tl.constexpr"):
    """Read a number that is kept between steps; 0 if it is not kept."""
    kept = fresh & (address != 0)
    return tl.load(address.to(tl.pointer_type(FORMAT)), kept, other=0).to(tl.float64)


def keep(address, value, fresh, FORMAT: "tl.constexpr"):
    """Write the number that ``number`` reads in the next step."""
    tl.store(address.to(tl.pointer_type(FORMAT)), value, fresh & (address != 0))


def pointer_to(address, FORMAT: "tl.constexpr", ALIGNED: "tl.constexpr"):
    """Return an address as a pointer; aligned ones are read 16 bytes at a time."""
    pointer = address.to(tl.pointer_type(FORMAT))
    if ALIGNED:
        pointer = tl.multiple_of(pointer, 16)
    return pointer


def read(pointer, inside, WHOLE: "tl.constexpr"):
    """Read a block, without a mask if it is whole: masked blocks are read number by number."""
    if WHOLE:
        return tl.load(pointer)
    else:  # noqa: RET505 - Triton wants one return for each way through
        return tl.load(pointer, inside, other=0)


def write(pointer, value, inside, WHOLE: "tl.constexpr"):
    """Write a block, without a mask if it is whole."""
    if WHOLE:
        tl.store(pointer, value)
    else:
        tl.store(pointer, value, inside)


def stochastic(value, seed, i):
    """Round float32 to bfloat16, up or down with the chances that keep the mean."""
    bits = value.to(tl.int32, bitcast=True)
    raised = bits + (tl.randint(seed, i) & 0xFFFF).to(tl.int32)
    kept = tl.where(value - value == 0, raised, bits)  # what is not finite stays
    return (kept & -65536).to(tl.float32, bitcast=True).to(tl.bfloat16)
