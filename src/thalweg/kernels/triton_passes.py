"""Triton, of rules that look at whole tensors: two kernels for each pass, from ``passes.split``.

``before_0`` does for each tensor, by one program, what comes before the first pass: it adds up the
partial sums of the pass before, computes uniform values in float64, and goes over rows and columns.
``update_0`` goes over all elements in blocks, each of which leaves its partial sums in memory of
its own. So every sum is added up in one order, that of sizes alone: the bits are the same in each
run.

A block of a matrix is WIDE of its columns in HEIGHT of its rows, read in tiles of TALL rows. A
vector is taken for a matrix of WIDE columns, of which no row or column is looked at.
"""

from collections.abc import Iterator
from itertools import chain
from types import ModuleType

from thalweg.kernels.body import PLAIN, Body, Line, Place, Slot, Sum, Wrap
from thalweg.kernels.cache import load_module
from thalweg.kernels.passes import Loop, Pass, Uniforms, inputs_of, split
from thalweg.kernels.translate import Form, by_rows, translate_sums
from thalweg.kernels.triton_writer import TritonWriter, keeps_lost, module, own, uniform
from thalweg.rule import Rule

__all__ = ["kernels", "source"]

_SMALL = Place.ROW, Place.COLUMN
_SIZES = {"row_count": "rows", "column_count": "columns"}


def source(rule: Rule) -> str:
    """Return the source of a rule's Triton kernels, for matrices if it looks at rows or columns.

    Raises:
        ValueError: a construct that cannot be compiled, with its line.
    """
    form: Form = "matrix" if by_rows(rule) else "vector"
    return _Module(rule, "float32", PLAIN, form, None).text()


def kernels(rule: Rule, real: str, wrap: Wrap, form: Form, numbers: tuple[str, ...]) -> ModuleType:
    """Return a module with the kernels of a rule's passes, and what they need of memory.

    Args:
        rule: the rule.
        real: "float32" or "float64", the format of the computation.
        wrap: what is done around the rule, and the formats of the arrays.
        form: what each tensor is.
        numbers: "float32" or "float64" for t and each state with one number for a tensor.

    Raises:
        ValueError: a construct that cannot be compiled.
        ModuleNotFoundError: Triton is not installed.
    """
    text = _Module(rule, real, wrap, form, numbers).text()
    made, _ = load_module(f"triton_{rule.name}", text, "")
    return made


class _Module:
    """The kernels of a rule's passes.

    ``addresses`` has a row for each name in ``at``, with a column for each tensor: of x, the states
    of elements, and what x lost; of states of rows, then of columns; of t and other numbers; and of
    what is kept between passes: values of rows, of columns, partial sums of rows, of columns.
    """

    def __init__(
        self, rule: Rule, real: str, wrap: Wrap, form: Form, numbers: tuple[str, ...] | None
    ) -> None:
        self.rule, self.real, self.wrap, self.matrix = rule, real, wrap, form == "matrix"
        self.body = body = translate_sums(rule, wrap, form).renamed(own)
        self.passes = split(body)
        self.writer = TritonWriter(real)
        self.sums = {s.name: s for place in Place for s in _sums(body, place)}
        elements = [*_sums(body, Place.ELEMENT)]
        self.partial = [s.name for s in elements if s.to is Place.UNIFORM]
        values, state = wrap.values or real, wrap.state or real
        self.elements = dict.fromkeys(body.varying, state) | {"g": values, "x": values}
        if keeps_lost(wrap):
            self.elements["lost"] = values
        names = ("t", *body.uniform_state)
        self.numbers = dict(zip(names, numbers or ["float32"] * len(names), strict=True))
        small = dict.fromkeys([*body.row_state, *body.column_state], real)
        small |= self.numbers
        of_sums = [[s.name for s in elements if s.to is place] for place in _SMALL]
        of_slots = [
            [line.name for line in body.lines(place) if isinstance(line, Slot)] for place in _SMALL
        ]
        self.arrays = [*map(len, (*of_slots, *of_sums))]
        self.formats = self.elements | small | dict.fromkeys(chain(*of_slots, of_sums[0]), real)
        self.formats |= dict.fromkeys(of_sums[1], "float64")
        self.at = {name: row for row, name in enumerate(self.formats, -1)}
        self.stored: set[str] = set()  # sums that an earlier kernel has stored

    def text(self) -> str:
        """Return the source."""
        code: list[str] = []
        pairs = []
        for index, one in enumerate(self.passes):
            code += self.before(index, one)
            if one.loop:
                code += [*_function(f"elements_{index}", one.loop, self.writer)]
                code += [*self.tile(index, one.loop), *self.update(index, one.loop)]
            pairs.append(f"(before_{index}, {f'update_{index}' if one.loop else None})")
        bound = inputs_of(self.body.uniform, self.body.new(Place.UNIFORM))
        names = "ROW_ARRAYS", "COLUMN_ARRAYS", "ROW_PARTS", "COLUMN_PARTS"
        constants = [
            f"SLOTS = {self.body.slots}  # uniform values of a tensor",
            f"SUMS = {len(self.sums)}  # sums of a tensor",
            f"PARTIAL = {len(self.partial)}  # partial sums of a block",
            *(f"{name} = {count}" for name, count in zip(names, self.arrays, strict=True)),
            f"BOUND = {tuple(at for at, name in enumerate(self.body.hyper) if name in bound)}",
            f"BOUND_BY_T = {'t' in bound}",
            f"FUSED = {not self.body.exact}  # whether a product and a sum may be one instruction",
        ]
        code.append(f"PASSES = ({', '.join(pairs)},)  # one after the other")
        return module(self.rule, constants, code)

    def address(self, name: str) -> str:
        """Return where the address of an array or a number of a tensor lies."""
        return f"tl.load(addresses + {self.at[name]} * n)"

    def pointer(self, name: str, aligned: str) -> str:
        """Return an array of a tensor."""
        address = "gradient" if name == "g" else self.address(name)
        return f"pointer_to({address}, tl.{self.formats[name]}, {aligned})"

    def before(self, index: int, one: Pass) -> Iterator[str]:
        """Yield the kernel that is called before a pass, and the functions that it calls."""
        for i, what in enumerate(one.before):
            if isinstance(what, Loop):
                yield from _function(f"{what.place.value}s_{index}_{i}", what, self.writer)
        yield "@triton.jit"
        yield (
            f"def before_{index}(gradients, addresses, sizes, first, group, hyper, scale, slots, "
            "sums, partial, seed, n, blocks, "
            "LANES: tl.constexpr, WIDE: tl.constexpr, HEIGHT: tl.constexpr):"
        )
        yield '    """Before a pass, for one tensor: sums, uniform values, rows and columns."""'
        yield "    k = tl.program_id(0)"
        if self.wrap.rounding == "stochastic" and index == 0:
            yield "    tl.store(seed, tl.load(seed) + 1, k == 0)"
        yield "    fresh = (tl.load(gradients + k) != 0) & (tl.load(scale + 1) != 0)"
        yield "    if fresh:"
        lines = ["addresses += k", f"hyper += tl.load(group + k) * {len(self.body.hyper)}"]
        lines += [f"slots += k * {self.body.slots}", f"sums += k * {len(self.sums)}"]
        lines += ["rows = tl.load(sizes + k)", "columns = tl.load(sizes + n + k)"]
        lines.append(f"t = {self.number('t')} + 1")
        known: set[str] = set()
        for i, what in enumerate(one.before):
            if isinstance(what, Uniforms):
                lines += self.uniforms(what, known)
            else:
                lines += self.small(f"{what.place.value}s_{index}_{i}", what, known)
        if index == len(self.passes) - 1:
            lines.append(self.keep("t", "t"))
        yield from (f"        {line}" for line in lines)
        yield "\n"

    def number(self, name: str) -> str:
        """Return what reads a number that is kept between steps."""
        return f"number({self.address(name)}, fresh, tl.{self.numbers[name]})"

    def keep(self, name: str, value: str) -> str:
        """Return what keeps a number until the next step."""
        return f"keep({self.address(name)}, {value}, fresh, tl.{self.numbers[name]})"

    def uniforms(self, what: Uniforms, known: set[str]) -> Iterator[str]:
        """Yield what computes uniform values; add to the names that the kernel knows."""
        writer = TritonWriter("float64")
        given = {name: f"{size}.to(tl.float64)" for name, size in _SIZES.items()}
        given |= {name: f"tl.load(hyper + {at})" for at, name in enumerate(self.body.hyper)}
        if "gradient_scale" in given:
            given["gradient_scale"] += " * tl.load(scale)"
        given |= {name: self.number(name) for name in self.body.uniform_state}
        yield from (f"{name} = {value}" for name, value in given.items() if name in what.reads)
        for name in sorted(what.reads & self.sums.keys() - known):
            yield from self.sum(self.sums[name])
            known.add(name)
        for line in what.lines:
            if isinstance(line, Slot):
                yield f"{line.name} = ({writer.text(line.value)}).to(tl.{self.real})"
                yield f"tl.store(slots + {line.index}, {line.name})"
                known.add(line.name)
            else:
                yield uniform(line, writer)
        for name, value in what.new.items():
            yield self.keep(name, writer.text(value))

    def sum(self, one: Sum) -> Iterator[str]:
        """Yield what reads a sum of a tensor; what adds it up, if no kernel has done that."""
        if one.name in self.stored:
            yield f"{one.name} = tl.load(sums + {one.index})"
            return
        span = "0, blocks" if one.total else "tl.load(first + k), tl.load(first + k + 1)"
        at = self.partial.index(one.name)
        yield f"{one.name} = added_up(partial + {at} * blocks, {span}, LANES)"
        yield from self.store(one)

    def store(self, one: Sum) -> Iterator[str]:
        """Yield what stores a sum for later kernels."""
        yield f"tl.store(sums + {one.index}, {one.name})"
        self.stored.add(one.name)

    def small(self, name: str, loop: Loop, known: set[str]) -> Iterator[str]:
        """Yield a loop over all rows or all columns of a tensor."""
        ordered = sorted({*loop.reads, *loop.stores})
        rows = loop.place is Place.ROW
        size, parts = (
            ("rows", "(columns + WIDE - 1) // WIDE")
            if rows
            else ("columns", "(rows + HEIGHT - 1) // HEIGHT")
        )
        for slot in loop.slots:
            if slot not in known:
                yield f"{slot} = tl.load(slots + {slot[1:]})"
        known |= {*loop.slots}
        for array in ordered:
            yield f"at_{array} = {self.pointer(array, 'False')}"
        for one in loop.sums:
            yield f"{one.name}_total = tl.zeros([LANES], tl.float64)"
        yield f"for start in range(0, {size}, LANES):"
        yield "    i = start + tl.arange(0, LANES)"
        yield f"    inside = i < {size}"
        for array in loop.reads:
            read = f"tl.load(at_{array} + i, inside, other=0)"
            if array in self.sums:
                read = f"added(at_{array}, {parts}, {size}, i, inside).to(tl.{self.real})"
            yield f"    {array}_old = {read}"
        given = [*(f"{array}_old" for array in loop.reads), *loop.slots]
        yield f"    {_outputs(loop)} = {name}({', '.join(given)})"
        for one in loop.sums:
            term = f"tl.where(inside, {one.name}_new, 0.0).to(tl.float64)"
            yield f"    {one.name}_total += {term}"
        for array in loop.stores:
            yield f"    tl.store(at_{array} + i, {array}_new, inside)"
        for one in loop.sums:
            yield f"{one.name} = tl.sum({one.name}_total, 0)"
            yield from self.store(one)
            known.add(one.name)
        yield "tl.debug_barrier()  # what one thread has read here, another may write below"

    def tile(self, index: int, loop: Loop) -> Iterator[str]:
        """Yield the function that steps a tile of elements and returns the terms of its sums."""
        arrays = self.touched(loop)
        others = [name for name in loop.reads if name not in arrays]
        names = [*(f"at_{name}" for name in arrays), *others, *loop.slots, "seed", "i", "inside"]
        yield "@triton.jit"
        yield f"def tile_{index}({', '.join(names)}, WHOLE: tl.constexpr):"
        yield '    """Step the elements i of a tensor that are inside, or all if WHOLE."""'
        for name in arrays:
            yield f"    {name}_old = read(at_{name} + i, inside, WHOLE).to(tl.{self.real})"
        if "lost" in arrays:
            yield "    x_old += lost_old"
        given = [f"{name}_old" if name in arrays else name for name in loop.reads]
        yield f"    {_outputs(loop)} = elements_{index}({', '.join([*given, *loop.slots])})"
        for name in loop.stores:
            random = self.wrap.rounding == "stochastic" and self.formats[name] == "bfloat16"
            salt = self.body.varying.index(name) - 1
            value = f"stochastic({name}_new, seed + {salt}, i)" if random else f"{name}_new"
            yield f"    write(at_{name} + i, {value}, inside, WHOLE)"
        if "x" in loop.stores and "lost" in arrays:
            lost = f"x_new - x_new.to(tl.{self.formats['x']}).to(tl.{self.real})"
            yield f"    write(at_lost + i, {lost}, inside, WHOLE)"
        if "x" in loop.stores and self.wrap.zeroed:
            yield "    write(at_g + i, 0.0, inside, WHOLE)"
        terms = [f"tl.where(inside, {one.name}_new, 0.0)" for one in loop.sums]
        if terms:
            yield f"    return {', '.join(terms)}"
        yield "\n"

    def touched(self, loop: Loop) -> list[str]:
        """Return the arrays of elements that a pass reads or writes."""
        every = {*loop.reads, *loop.stores}
        if "x" in every:
            every.add("lost")
        if self.wrap.zeroed and "x" in loop.stores:
            every.add("g")
        return [name for name in self.elements if name in every]

    def update(self, index: int, loop: Loop) -> Iterator[str]:
        """Yield the kernel that takes a pass over the elements of all tensors."""
        yield "@triton.jit"
        yield (
            f"def update_{index}(gradients, addresses, tensor, sizes, first, scale, slots, "
            "partial, seed, n, blocks, TALL: tl.constexpr, WIDE: tl.constexpr, "
            "HEIGHT: tl.constexpr, ALIGNED: tl.constexpr):"
        )
        yield '    """Take a pass over a block of one of the n tensors."""'
        yield "    block = tl.program_id(0)"
        yield "    k = tl.load(tensor + block)"
        yield "    gradient = tl.load(gradients + k)"
        yield "    stepping = (gradient != 0) & (tl.load(scale + 1) != 0)"
        yield "    addresses += k"
        yield from self.extent()
        yield "    if stepping:"
        yield f"        slots += k * {self.body.slots}"
        yield f"        salted = (tl.load(seed) * n + k) * {len(self.body.varying)}"
        yield from (f"        {line}" for line in self.block(index, loop))
        totals = [self.partial.index(one.name) for one in loop.sums if one.total]
        if totals:  # a total is over all tensors
            yield "    else:"
        for at in totals:
            yield f"        tl.store(partial + {at} * blocks + block, 0.0)"
        if self.wrap.zeroed and "x" in loop.stores:
            # Also where the step is skipped: what is not finite would stay for ever.
            yield "    if (gradient != 0) & (tl.load(scale + 1) == 0):"
            yield f"        at_g = {self.pointer('g', 'False')}"
            yield "        for start in range(top, bottom, TALL):"
            yield from (f"            {line}" for line in self.inside())
            yield "            write(at_g + i, 0.0, inside, False)"
        yield "\n"

    def extent(self) -> Iterator[str]:
        """Yield what finds the rows and columns of a block."""
        yield "    b = (block - tl.load(first + k)).to(tl.int64)"
        if self.matrix:
            yield "    rows = tl.load(sizes + k)"
            yield "    columns = tl.load(sizes + n + k)"
            yield "    if ALIGNED:"
            yield "        columns = tl.multiple_of(columns, 16)"
            yield "    across = (columns + WIDE - 1) // WIDE"
            yield "    down = b // across"
            yield "    along = b % across"
            yield "    column = along * WIDE + tl.arange(0, WIDE)"
        else:
            yield "    size = tl.load(sizes + k)"
            yield "    rows = (size + WIDE - 1) // WIDE"
            yield "    down = b"
            yield "    column = tl.arange(0, WIDE)"
        yield "    top = down * HEIGHT"
        yield "    bottom = tl.minimum(top + HEIGHT, rows)"

    def inside(self) -> Iterator[str]:
        """Yield what finds the elements of a tile, and those of them that are there."""
        yield "row = start + tl.arange(0, TALL)"
        if self.matrix:
            yield "i = row[:, None] * columns + column[None, :]"
            yield "inside = (row[:, None] < rows) & (column[None, :] < columns)"
        else:
            yield "i = row[:, None] * WIDE + column[None, :]"
            yield "inside = i < size"

    def block(self, index: int, loop: Loop) -> Iterator[str]:
        """Yield the loop over the tiles of a block, and what it does with their sums."""
        arrays = self.touched(loop)
        small = [name for name in loop.reads if name not in arrays]
        rows = [name for name in small if name.startswith(Place.ROW.value)]
        by_row = [one.name for one in loop.sums if one.to is Place.ROW]
        by_column = [one.name for one in loop.sums if one.to is Place.COLUMN]
        yield from (f"at_{name} = {self.pointer(name, 'ALIGNED')}" for name in arrays)
        kept = (*small, *by_row, *by_column)
        yield from (f"at_{name} = {self.pointer(name, 'False')}" for name in kept)
        yield from (f"{slot} = tl.load(slots + {slot[1:]})" for slot in loop.slots)
        for name in (name for name in small if name not in rows):
            yield f"{name} = tl.load(at_{name} + column, column < columns, other=0)[None, :]"
        for one in loop.sums:
            if one.to is not Place.ROW:
                yield f"{one.name}_total = tl.zeros([WIDE], tl.float64)"
        yield "for start in range(top, bottom, TALL):"
        yield from (f"    {line}" for line in self.inside())
        for name in rows:
            yield f"    {name} = tl.load(at_{name} + row, row < rows, other=0)[:, None]"
        yield from (f"    {line}" for line in self.either(index, loop, arrays, small))
        yield from (f"    {self.add(one)}" for one in loop.sums)
        for name in by_column:
            yield f"tl.store(at_{name} + down * columns + column, {name}_total, column < columns)"
        for one in loop.sums:
            if one.to is Place.UNIFORM:
                at = self.partial.index(one.name)
                yield f"tl.store(partial + {at} * blocks + block, tl.sum({one.name}_total, 0))"

    def add(self, one: Sum) -> str:
        """Return what adds up the terms of a tile."""
        if one.to is not Place.ROW:
            return f"{one.name}_total += tl.sum({one.name}, 0).to(tl.float64)"
        at = f"at_{one.name} + along * rows + row"
        return f"tl.store({at}, tl.sum({one.name}, 1), row < rows)"

    def either(self, index: int, loop: Loop, arrays: list[str], small: list[str]) -> Iterator[str]:
        """Yield the step of a tile: one that is whole is read and written without a mask."""
        given = [*(f"at_{name}" for name in arrays), *small, *loop.slots]
        to = f"{', '.join(one.name for one in loop.sums)} = " if loop.sums else ""
        call = f"{to}tile_{index}({', '.join(given)}, salted, i, inside, {{}})"
        whole = "(start + TALL) * WIDE <= size"
        if self.matrix:
            whole = "(start + TALL <= rows) & ((along + 1) * WIDE <= columns)"
        yield f"if {whole}:"
        yield f"    {call.format('True')}"
        yield "else:"
        yield f"    {call.format('False')}"


def _sums(body: Body, place: Place) -> Iterator[Sum]:
    lines: tuple[Line, ...] = body.lines(place)
    return (line for line in lines if isinstance(line, Sum))


def _outputs(loop: Loop) -> str:
    """Return the names of a sum's terms and of new values, as a kernel has them."""
    names = [*(f"{one.name}_new" for one in loop.sums), *(f"{name}_new" for name in loop.stores)]
    return ", ".join(names)


def _function(name: str, loop: Loop, writer: TritonWriter) -> Iterator[str]:
    """Yield the function that computes the sums' terms and new values of one place."""
    yield "@triton.jit"
    yield f"def {name}({', '.join([*loop.reads, *loop.slots])}):"
    for line in loop.lines:
        yield f"    {writer.assign(line)}"
    values = [*(one.name for one in loop.sums), *map(writer.text, loop.stores.values())]
    yield f"    return {', '.join(values)}"
    yield "\n"
