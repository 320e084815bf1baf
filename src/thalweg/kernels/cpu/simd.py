"""SIMD: computing with vectors of lanes, and compiling the drivers that do so.

The functions of ``thalweg.elementwise`` are taught to Numba here, for scalars and for vectors.
"""

import hashlib
import math
import operator
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from llvmlite import binding, ir
from numba import njit
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, overload

from thalweg import elementwise, losses
from thalweg.kernels.cpu.machine_code import IntoCallers, keep_on_disk
from thalweg.kernels.cpu.memory import load, store
from thalweg.kernels.cpu.vector import FEATURES, LANES, WIDE, Vector, as_vector, suffix

__all__ = [
    "FINGERPRINT", "FLAGS", "SUBNORMALS_ARE_ZERO", "any_not_finite", "call", "compiled_driver",
    "float_mode", "inlined", "power", "product", "set_float_mode", "spliced",
]  # fmt: skip

SUBNORMALS_ARE_ZERO = 0x8040  # bits of ``float_mode``: subnormal numbers are read and written as 0

# Division by zero gives infinity, as in NumPy and torch; compiled code runs beside Python threads.
OPTIONS = {"error_model": "numpy", "nogil": True}

# Multiply-add may be contracted, as in torch's own kernels, but for a ``product``; nothing is
# reassociated.
FLAGS = ("contract",)


@intrinsic
def call(typingctx: Any, address: Any, arguments: Any) -> Any:
    """Call the compiled function at an address, so that drivers take any rule as they are."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        values = cgutils.unpack_tuple(builder, args[1])
        kinds = [context.get_value_type(kind) for kind in sig.args[1]]
        function = ir.FunctionType(ir.VoidType(), kinds).as_pointer()
        builder.call(builder.inttoptr(args[0], function), values)
        return context.get_dummy_value()

    return types.void(types.intp, arguments), codegen


@intrinsic
def any_not_finite(typingctx: Any, value: Any) -> Any:
    """Return whether a lane is infinite or NaN."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        gap = builder.fsub(args[0], args[0])  # 0 where finite, NaN elsewhere
        mask = builder.fcmp_unordered("uno", gap, gap)
        bits = builder.bitcast(mask, ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(value), codegen


_HAS_MXCSR = platform.machine() in {"x86_64", "AMD64"}


def _control_register(builder: Any, name: str, address: Any) -> None:
    byte = builder.bitcast(address, ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [byte.type])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [byte])


@intrinsic
def float_mode(typingctx: Any) -> Any:
    """Return the thread's floating-point control register (0 on machines without this one)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address = cgutils.alloca_once_value(builder, ir.Constant(ir.IntType(32), 0))
        if _HAS_MXCSR:
            _control_register(builder, "stmxcsr", address)
        return builder.load(address)

    return types.int32(), codegen


@intrinsic
def set_float_mode(typingctx: Any, mode: Any) -> Any:
    """Set the register that ``float_mode`` returns."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if _HAS_MXCSR:
            _control_register(builder, "ldmxcsr", cgutils.alloca_once_value(builder, args[0]))
        return context.get_dummy_value()

    return types.void(types.int32), codegen


def _common(args: tuple[Any, ...]) -> Vector | None:
    """Return the vector type of an operation on these operands; None if none is a vector."""
    vectors = {a for a in args if isinstance(a, Vector)}
    rest = [a for a in args if not isinstance(a, Vector)]
    if len(vectors) == 1 and all(isinstance(a, (types.Number, types.Boolean)) for a in rest):
        return vectors.pop()
    return None


def _declare(function: Any, build: Callable[..., Any], *, to_mask: bool = False) -> None:
    """Teach Numba an operation on vectors. Scalar operands become vectors."""

    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            vector = _common(args)
            result = Vector(types.boolean, vector.count) if vector and to_mask else vector
            return result and signature(result, *args)

    infer_global(function)(Template)

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = _common(sig.args)
        operands = [
            as_vector(context, builder, a, of, vector) for a, of in zip(args, sig.args, strict=True)
        ]
        return build(builder, *operands)

    any_scalar = types.Any
    arities = [(Vector,)] if function is operator.neg or function is abs else [
        (Vector, Vector), (Vector, any_scalar), (any_scalar, Vector)
    ]  # fmt: skip
    for operand_types in arities:
        lower_builtin(function, *operand_types)(lower)


def _call(name: str) -> Callable[..., Any]:
    """An LLVM intrinsic of that name."""

    def build(builder: Any, *operands: Any) -> Any:
        kind = ir.FunctionType(operands[0].type, [o.type for o in operands])
        full_name = f"llvm.{name}.{suffix(operands[0].type)}"
        function = cgutils.get_or_insert_function(builder.module, kind, full_name)
        return builder.call(function, operands)

    return build


def _vector_library() -> bool:
    """Load the C library's vector mathematics, if this machine has it for AVX2."""
    if not (sys.platform == "linux" and "+avx2" in FEATURES):
        return False
    try:
        binding.load_library_permanently("libmvec.so.1")
    except RuntimeError:  # the C library is not GNU's
        return False
    return True


VECTOR_LIBRARY = _vector_library()


def _fingerprint(folder: Path) -> str:
    """Return a hash of what compiled code depends on beside the file of its driver.

    Args:
        folder: of this package; any of its files may be part of a driver.
    """
    depends = (
        [file.read_text("utf-8") for file in sorted(folder.glob("*.py"))],
        Path(losses.__file__).read_text("utf-8"),
        VECTOR_LIBRARY,
        WIDE,
        sys.version_info,
        numba.__version__,
        llvmlite.__version__,
    )
    return hashlib.sha256(repr(depends).encode()).hexdigest()[:16]


FINGERPRINT = _fingerprint(Path(__file__).parent)


def _transcendental(name: str) -> Callable[..., Any]:
    """exp, log or pow, by the C library's vector functions or else one lane at a time."""
    if not VECTOR_LIBRARY:
        return _call(name)

    def build(builder: Any, *operands: Any) -> Any:
        single = isinstance(operands[0].type.element, ir.FloatType)
        count, width = operands[0].type.count, 8 if single else 4  # of a 256-bit register
        vector = ir.VectorType(operands[0].type.element, width)
        full_name = f"_ZGVdN{width}{'v' * len(operands)}_{name}{'f' if single else ''}"
        kind = ir.FunctionType(vector, [vector] * len(operands))
        function = cgutils.get_or_insert_function(builder.module, kind, full_name)
        if count == width:
            return builder.call(function, operands)
        parts = [
            builder.call(
                function,
                [builder.shuffle_vector(o, o, _numbers(range(i, i + width))) for o in operands],
            )
            for i in range(0, count, width)
        ]
        while len(parts) > 1:
            both = _numbers(range(2 * parts[0].type.count))
            parts = [
                builder.shuffle_vector(*pair, both)
                for pair in zip(parts[::2], parts[1::2], strict=True)
            ]
        return parts[0]

    return build


def _numbers(lanes: range) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))


def _arithmetic(name: str) -> Callable[..., Any]:
    return lambda builder, *operands: getattr(builder, name)(*operands, flags=FLAGS)


def _comparison(symbol: str) -> Callable[..., Any]:
    ordered = symbol != "!="  # NaN differs from everything

    def build(builder: Any, a: Any, b: Any) -> Any:
        compare = builder.fcmp_ordered if ordered else builder.fcmp_unordered
        return compare(symbol, a, b)

    return build


def _modulo(builder: Any, a: Any, b: Any) -> Any:
    """The rest of a division, with the sign of the divisor."""
    rest, zero = builder.frem(a, b), ir.Constant(a.type, [0.0] * a.type.count)
    turned = builder.xor(builder.fcmp_ordered("<", rest, zero), builder.fcmp_ordered("<", b, zero))
    turned = builder.and_(turned, builder.fcmp_ordered("!=", rest, zero))
    return builder.select(turned, builder.fadd(rest, b), rest)


def _quotient(builder: Any, a: Any, b: Any) -> Any:
    """The whole part of a division, rounded down."""
    half = ir.Constant(a.type, [0.5] * a.type.count)
    whole = builder.fdiv(builder.fsub(a, _modulo(builder, a, b)), b)
    return _call("floor")(builder, builder.fadd(whole, half))


_declare(operator.add, _arithmetic("fadd"))
_declare(operator.sub, _arithmetic("fsub"))
_declare(operator.mul, _arithmetic("fmul"))
_declare(operator.truediv, _arithmetic("fdiv"))
_declare(operator.neg, _arithmetic("fneg"))
_declare(operator.pow, _transcendental("pow"))
_declare(operator.mod, _modulo)
_declare(operator.floordiv, _quotient)
_declare(abs, _call("fabs"))
for _operator, _symbol in [
    (operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"),
    (operator.ge, ">="), (operator.eq, "=="), (operator.ne, "!="),
]:  # fmt: skip
    _declare(_operator, _comparison(_symbol), to_mask=True)


def product(a: Any, b: Any) -> Any:
    """Return a * b, rounded before anything is added to it."""
    return a * b


@intrinsic
def _product_of_vectors(typingctx: Any, a: Any, b: Any) -> Any:
    vector = _common((a, b))

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        operands = (
            as_vector(context, builder, v, of, vector) for v, of in zip(args, sig.args, strict=True)
        )
        return builder.fmul(*operands)  # without the flag that allows contraction

    return vector(a, b), codegen


@overload(product, strict=False)
def _product(a: Any, b: Any) -> Any:
    if _common((a, b)):
        return lambda a, b: _product_of_vectors(a, b)  # noqa: PLW0108 - as above
    return lambda a, b: a * b


@intrinsic
def _select(typingctx: Any, condition: Any, a: Any, b: Any) -> Any:
    count = condition.count if isinstance(condition, Vector) else LANES
    vector = _common((a, b)) or Vector(types.float64, count)  # two numbers: uniform values

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b = (
            as_vector(context, builder, v, of, vector)
            for v, of in zip(args[1:], sig.args[1:], strict=True)
        )
        return builder.select(args[0], a, b)

    return vector(condition, a, b), codegen


def _overload_unary(name: str, build: Callable[..., Any], scalar: Callable[[Any], Any]) -> None:
    @intrinsic
    def vector(typingctx: Any, a: Any) -> Any:
        return a(a), lambda context, builder, sig, args: build(builder, *args)

    @overload(getattr(elementwise, name), strict=False)
    def implement(a: Any) -> Any:
        function = vector if isinstance(a, Vector) else scalar
        return lambda a: function(a)  # noqa: PLW0108 - Numba compiles Python functions only


_overload_unary("sqrt", _call("sqrt"), math.sqrt)
_overload_unary("exp", _transcendental("exp"), math.exp)
_overload_unary("log", _transcendental("log"), math.log)


@overload(losses.exp_of_negative, strict=False)
def _exp_of_negative(x: Any) -> Any:
    low = -87.33 if x.element == types.float32 else -708.39  # log of the smallest normal number

    def implement(x: Any) -> Any:
        normal = x >= low
        e = elementwise.exp(elementwise.where(normal, x, low))
        return elementwise.where(normal, e, elementwise.where(x < low, 0.0, x))

    return implement


@overload(elementwise.where, strict=False)
def _where(condition: Any, a: Any, b: Any) -> Any:
    if any(isinstance(value, Vector) for value in (condition, a, b)):
        return lambda condition, a, b: _select(condition, a, b)  # noqa: PLW0108 - the same
    return lambda condition, a, b: a if condition else b


@intrinsic
def _sign_of(typingctx: Any, vector: Any) -> Any:
    """Return the sign of each element, 1 or -1; the element itself where it is 0 or NaN."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a = args[0]
        one, zero = (ir.Constant(a.type, [number] * a.type.count) for number in (1.0, 0.0))
        signed = _call("copysign")(builder, one, a)
        return builder.select(builder.fcmp_ordered("!=", a, zero), signed, a)

    return vector(vector), codegen


@overload(elementwise.sign, strict=False)
def _sign(a: Any) -> Any:
    if isinstance(a, Vector):
        return lambda a: _sign_of(a)  # noqa: PLW0108 - Numba compiles Python functions only
    one = a(1)
    return lambda a: one if a > 0 else (-one if a < 0 else a)


# Where neither comparison is true, one of the two is NaN, and so is their sum.
@overload(elementwise.maximum, strict=False)
def _maximum(a: Any, b: Any) -> Any:
    return lambda a, b: elementwise.where(a > b, a, elementwise.where(a <= b, b, a + b))


@overload(elementwise.minimum, strict=False)
def _minimum(a: Any, b: Any) -> Any:
    return lambda a, b: elementwise.where(a < b, a, elementwise.where(a >= b, b, a + b))


def compiled_driver(**options: Any) -> Callable[..., Any]:
    """Compile a driver when it is first called; its machine code is kept beside the package."""

    def decorate(function: Callable[..., Any]) -> Any:
        # Numba stores machine code under this name, and checks only the driver's own file.
        function.__qualname__ += f"_{FINGERPRINT}"
        compiled = njit(**{**OPTIONS, **options})(function)
        keep_on_disk(compiled, function)
        return compiled

    return decorate


# Called by compiled code alone: a way in from Python and one from C would be compiled for nothing.
inlined = njit(
    forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, pipeline_class=IntoCallers,
    **OPTIONS,
)  # fmt: skip

# A long function that is called in few places is written into its callers before they are compiled.
# Else it would be optimized by itself, and once more with each caller around it.
spliced = njit(inline="always", **OPTIONS)


@inlined
def power(powers: Any, index: Any, base: Any, t: Any, fresh: Any) -> Any:
    """Return base**t: last step's value times base, or computed afresh.

    It is 0 if it is nearer to 0 than 1e-300: repeated products would stay subnormal for ever, and
    processors are slow on such numbers.
    """
    if fresh:
        store(powers, index, base**t)
    else:
        product = load(powers, index) * base
        store(powers, index, elementwise.where(abs(product) < 1e-300, 0.0, product))
    return load(powers, index)
