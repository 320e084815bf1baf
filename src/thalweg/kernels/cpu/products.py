"""Products of some rows of X with vectors of lanes: the outputs of a model, and its gradient.

Both are computed in tiles of a few rows by a few columns, whose sums stay in registers. A tile is
written as LLVM has it: Numba would read each one's Python for longer than LLVM compiles it.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from thalweg.kernels.cpu.memory import vector_behind
from thalweg.kernels.cpu.simd import FLAGS, inlined
from thalweg.kernels.cpu.vector import splat

__all__ = ["add_gradient", "add_gradient_of_one", "outputs", "outputs_of_one"]

_WHOLE = ir.IntType(64)


class _Tile:
    """Sums of products of numbers and vectors, each of some numbers with each of some vectors.

    Args:
        builder: of the function that the tile is written into.
        kind: of the vectors, LLVM's.
        rows: how many numbers.
        columns: how many vectors.

    Attributes:
        places: the numbers of number and vector of each sum.
    """

    def __init__(self, builder: Any, kind: Any, rows: int, columns: int) -> None:
        self._builder, self._kind, self._columns = builder, kind, range(columns)
        self._align = 4 if isinstance(kind.element, ir.FloatType) else 8
        self.places = list(product(range(rows), self._columns))
        self._sums = [cgutils.alloca_once(builder, kind) for _ in self.places]

    def sum(self, *terms: Any) -> Any:
        """Return the sum of whole numbers, of which some may be Python's."""
        total = _WHOLE(0)
        for term in terms:
            total = self._builder.add(total, _WHOLE(term) if isinstance(term, int) else term)
        return total

    def number(self, pointer: Any, index: Any) -> Any:
        """Return a number behind a pointer."""
        return self._builder.load(self._builder.gep(pointer, [index]))

    def vector(self, pointer: Any, index: Any) -> Any:
        """Return a vector behind a pointer."""
        return self._builder.load(self._address(pointer, index), align=self._align)

    def _address(self, pointer: Any, index: Any) -> Any:
        place = self._builder.mul(index, _WHOLE(self._kind.count))
        return self._builder.bitcast(self._builder.gep(pointer, [place]), self._kind.as_pointer())

    def times(self, number: Any, vector: Any) -> Any:
        """Return the product of a number and a vector."""
        return self._builder.fmul(splat(self._builder, number), vector, flags=FLAGS)

    def products(self, numbers: Sequence[Any], pointer: Any, first: Any) -> list[Any]:
        """Return the products of the numbers with the vectors behind a pointer from one on."""
        vectors = [self.vector(pointer, self.sum(first, c)) for c in self._columns]
        return [self.times(numbers[i], vectors[c]) for i, c in self.places]

    def start(self, values: Sequence[Any]) -> None:
        """Let the sums begin at these values."""
        for value, total in zip(values, self._sums, strict=True):
            self._builder.store(value, total)

    def add(self, values: Sequence[Any]) -> None:
        """Add values to the sums."""
        for value, total in zip(values, self._sums, strict=True):
            added = self._builder.fadd(self._builder.load(total), value, flags=FLAGS)
            self._builder.store(added, total)

    def write(self, pointer: Any, indices: Sequence[Any]) -> None:
        """Write the sums as vectors behind a pointer."""
        for total, index in zip(self._sums, indices, strict=True):
            value = self._builder.load(total)
            self._builder.store(value, self._address(pointer, index), align=self._align)


def _compiled(write: Callable[..., None], *shape: int) -> Any:
    """Return the function of one tile, of a tuple of its arguments, of which X is the first."""

    @intrinsic
    def tile(typingctx: Any, given: Any) -> Any:
        vector = vector_behind(given[0])

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            own = cgutils.unpack_tuple(builder, args[0])
            write(builder, context.get_value_type(vector), shape, *own)
            return context.get_dummy_value()

        plain = {types.Integer: types.intp, types.Float: vector.element}
        kinds = [
            next((to for kind, to in plain.items() if isinstance(each, kind)), each)
            for each in given
        ]
        return types.void(types.Tuple(kinds)), codegen

    return tile


def _write_outputs(
    builder: Any, kind: Any, shape: tuple[int, int],
    X: Any, rows: Any, d: Any, k: Any, w: Any, z: Any, p: Any, c: Any,
) -> None:  # fmt: skip
    """Write z[p + i, c + q] = sum_j X[rows[p + i], j] w[j, c + q]."""
    tile, multiply = _Tile(builder, kind, *shape), builder.mul
    starts = [multiply(tile.number(rows, tile.sum(p, i)), d) for i in range(shape[0])]

    def products(j: Any) -> list[Any]:
        numbers = [tile.number(X, tile.sum(start, j)) for start in starts]
        return tile.products(numbers, w, tile.sum(multiply(j, k), c))

    tile.start(products(_WHOLE(0)))
    with cgutils.for_range_slice(builder, _WHOLE(1), d, _WHOLE(1)) as (j, _):
        tile.add(products(j))
    tile.write(z, [tile.sum(multiply(tile.sum(p, i), k), c, q) for i, q in tile.places])


def _write_gradient(
    builder: Any, kind: Any, shape: tuple[int, int],
    X: Any, rows: Any, m: Any, d: Any, k: Any, r: Any, g: Any, fresh: Any, w: Any, l2: Any,
    penalized: Any, j: Any, c: Any,
) -> None:  # fmt: skip
    """Write g[j + i, c + q] += sum_p X[rows[p], j + i] r[p, c + q].

    Before the first stretch of rows the gradient is that of the penalty.
    """
    tile, multiply = _Tile(builder, kind, *shape), builder.mul
    indices = [tile.sum(multiply(tile.sum(j, i), k), c, q) for i, q in tile.places]
    with builder.if_else(fresh) as (first, later):
        with first:
            none = builder.fsub(l2, l2)
            counts = [builder.icmp_signed("<", tile.sum(j, i), penalized) for i, _ in tile.places]
            weights = [builder.select(each, l2, none) for each in counts]
            pairs = zip(weights, indices, strict=True)
            tile.start([tile.times(weight, tile.vector(w, index)) for weight, index in pairs])
        with later:
            tile.start([tile.vector(g, index) for index in indices])
    with cgutils.for_range(builder, m) as loop:
        start = tile.sum(multiply(tile.number(rows, loop.index), d), j)
        numbers = [tile.number(X, tile.sum(start, i)) for i in range(shape[0])]
        tile.add(tile.products(numbers, r, tile.sum(multiply(loop.index, k), c)))
    tile.write(g, indices)


def _write_rest(builder: Any, kind: Any, _: tuple[int, ...], *args: Any) -> None:
    """Write the gradient of the columns of X that tiles of eight leave.

    A sum waits for its last addition, so they are one tile and not several smaller ones.
    """
    rest = builder.and_(args[3], _WHOLE(7))
    for i in range(1, 8):
        with builder.if_then(builder.icmp_signed("==", rest, _WHOLE(i))):
            _write_gradient(builder, kind, (i, 1), *args)


# Eight sums keep the multipliers busy.
_outputs_4x2, _outputs_1x2 = _compiled(_write_outputs, 4, 2), _compiled(_write_outputs, 1, 2)
_outputs_8, _outputs_4, _outputs_2, _outputs_1 = (
    _compiled(_write_outputs, i, 1) for i in (8, 4, 2, 1)
)
_gradient_4x2, _gradient_1x2 = _compiled(_write_gradient, 4, 2), _compiled(_write_gradient, 1, 2)
_gradient_8, _gradient_4, _gradient_1 = (_compiled(_write_gradient, i, 1) for i in (8, 4, 1))
_gradient_rest = _compiled(_write_rest)


@inlined
def outputs(X, rows, m, d, k, w, z):
    """z[p, c] = sum_j X[p, j] w[j, c]."""
    for p in range(0, m - 3, 4):
        for c in range(0, k - 1, 2):
            _outputs_4x2((X, rows, d, k, w, z, p, c))
    for p in range(m & ~3, m):
        for c in range(0, k - 1, 2):
            _outputs_1x2((X, rows, d, k, w, z, p, c))
    if k & 1:
        for p in range(0, m - 3, 4):
            _outputs_4((X, rows, d, k, w, z, p, k - 1))
        for p in range(m & ~3, m):
            _outputs_1((X, rows, d, k, w, z, p, k - 1))


@inlined
def outputs_of_one(X, rows, m, d, k, w, z):
    """As ``outputs``, for k = 1."""
    for p in range(0, m - 7, 8):
        _outputs_8((X, rows, d, 1, w, z, p, 0))
    if m & 4:
        _outputs_4((X, rows, d, 1, w, z, m & ~7, 0))
    if m & 2:
        _outputs_2((X, rows, d, 1, w, z, m & ~3, 0))
    if m & 1:
        _outputs_1((X, rows, d, 1, w, z, m & ~1, 0))


@inlined
def add_gradient(X, rows, m, d, k, r, g, fresh, w, l2, penalized):
    """g[j, c] += sum_p X[p, j] r[p, c]."""
    for j in range(0, d - 3, 4):
        for c in range(0, k - 1, 2):
            _gradient_4x2((X, rows, m, d, k, r, g, fresh, w, l2, penalized, j, c))
    for j in range(d & ~3, d):
        for c in range(0, k - 1, 2):
            _gradient_1x2((X, rows, m, d, k, r, g, fresh, w, l2, penalized, j, c))
    if k & 1:
        for j in range(0, d - 3, 4):
            _gradient_4((X, rows, m, d, k, r, g, fresh, w, l2, penalized, j, k - 1))
        for j in range(d & ~3, d):
            _gradient_1((X, rows, m, d, k, r, g, fresh, w, l2, penalized, j, k - 1))


@inlined
def add_gradient_of_one(X, rows, m, d, k, r, g, fresh, w, l2, penalized):
    """As ``add_gradient``, for k = 1."""
    for j in range(0, d - 7, 8):
        _gradient_8((X, rows, m, d, 1, r, g, fresh, w, l2, penalized, j, 0))
    if d & 7:
        _gradient_rest((X, rows, m, d, 1, r, g, fresh, w, l2, penalized, d & ~7, 0))
