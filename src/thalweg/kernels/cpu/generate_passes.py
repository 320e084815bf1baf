"""Generate the source of a rule that looks at whole tensors: two functions for each pass.

``before_0`` does for one tensor what comes before the first pass: uniform values, and loops over
rows and columns. ``update_0`` goes over a block of elements, a range of them or some rows.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thalweg.kernels.body import Assign, Body, Line, Place, Power, Slot, Sum, Wrap, Writer
from thalweg.kernels.cpu.generate import RESERVED, WORDS, Loop, module
from thalweg.kernels.passes import Loop as PassLoop
from thalweg.kernels.passes import Pass, Uniforms, inputs_of, split
from thalweg.kernels.translate import Form, translate_sums
from thalweg.rule import Rule

__all__ = ["Between", "GeneratedPasses", "generate_passes"]

# Names that the functions below use themselves; the same name in a rule gets an underscore.
_RESERVED = re.compile(
    r"\w+_(at|i|parts|total|some|new)|start|(rows|columns|elements|before|update)(_\d+)*|arrays|sums|blocks|partial|width|total|b|row_count|column_count"
)
_SIZES = {"row_count": "rows", "column_count": "columns"}
_writer = Writer()


def _own(name: str) -> str:
    """Return the name of a rule's variable here."""
    if name in _SIZES:
        return name
    taken = name in WORDS or RESERVED.fullmatch(name) or _RESERVED.fullmatch(name)
    return f"{name}_" if taken or name.endswith("_") else name


@dataclass(frozen=True)
class Between:
    """A matrix that is orthogonalized between two passes.

    Attributes:
        passes: how many come before.
        array: the number of its array among those of elements, g the first of them.
        keywords: of ``orthogonalize``, each with numbers or with columns of the table of
            hyperparameters, which are whole ones.
    """

    passes: int
    array: int
    keywords: tuple[tuple[str, tuple[float | int, ...]], ...]

    def given(self, hyper: Sequence[float]) -> dict[str, Any]:
        """Return the keywords for a row of the table."""
        every = {
            name: tuple(hyper[v] if isinstance(v, int) else v for v in values)
            for name, values in self.keywords
        }
        return {name: v if len(v) > 1 else v[0] for name, v in every.items()}


@dataclass(frozen=True)
class GeneratedPasses:
    """The source of a rule's passes and the sizes that their driver needs.

    Attributes:
        text: the Python source.
        passes: how many pairs of functions it has.
        updates: whether the last of them has a loop over elements.
        slots: how many uniform values a tensor has.
        powers: how many powers base**t are kept.
        totals: of each sum, whether it is over all tensors.
        found: of each pass, the numbers of the sums of elements that it adds up.
        row_state: how many states have a number for each row.
        column_state: how many have one for each column.
        row_arrays: how many other arrays have one for each row.
        column_arrays: how many other arrays have one for each column.
        parts: how many sums of columns a pass adds up, at most.
        uniform_state: how many states have one number.
        bound: the columns of the table of hyperparameters on which these states depend otherwise
            than by a sum.
        bound_by_t: whether they depend on t, too.
        between: a matrix that is orthogonalized between two passes; None if there is none.
    """

    text: str
    passes: int
    updates: bool
    slots: int
    powers: int
    totals: tuple[bool, ...]
    found: tuple[tuple[int, ...], ...]
    row_state: int
    column_state: int
    row_arrays: int
    column_arrays: int
    parts: int
    uniform_state: int
    bound: tuple[int, ...]
    bound_by_t: bool
    between: Between | None

    @property
    def small(self) -> int:
        """How many states have a number for each row, or for each column."""
        return self.row_state + self.column_state


def generate_passes(rule: Rule, wrap: Wrap, form: Form) -> GeneratedPasses:
    """Return the source of a rule's passes.

    Args:
        rule: the rule.
        wrap: what is done around it, and the formats of the arrays.
        form: what each tensor is. A vector is a matrix of one column.

    Raises:
        ValueError: as ``translate``.
    """
    body = translate_sums(rule, wrap, form).renamed(_own)
    every = sorted((s for place in Place for s in _sums(body, place)), key=lambda s: s.index)
    passes = split(body)
    made = _Module(body, wrap, form, passes)
    found = [
        tuple(s.index for s in one.loop.sums if s.to is Place.UNIFORM) if one.loop else ()
        for one in passes
    ]
    bound = inputs_of(body.uniform, body.new(Place.UNIFORM))
    return GeneratedPasses(
        module(rule, *made.functions()),
        len(passes),
        passes[-1].loop is not None,
        body.slots,
        body.powers,
        tuple(one.total for one in every),
        tuple(found),
        len(body.row_state),
        len(body.column_state),
        len(made.row_arrays),
        len(made.column_arrays),
        max(len(_of_columns(one)) for one in passes),
        len(body.uniform_state),
        tuple(i for i, name in enumerate(body.hyper) if name in bound),
        "t" in bound,
        _between(body, passes),
    )


def _between(body: Body, passes: Sequence[Pass]) -> Between | None:
    one = body.whole
    if one is None:
        return None
    stores = [bool(each.loop and one.ARRAY in each.loop.stores) for each in passes]

    def told(node: ast.expr) -> float | int:
        if isinstance(node, ast.Name):
            return body.hyper.index(node.id)
        assert isinstance(node, ast.Constant)
        return float(node.value)  # type: ignore[arg-type] # a Body has floats alone

    keywords = tuple((name, tuple(map(told, values))) for name, values in one.keywords)
    return Between(stores.index(True) + 1, body.varying.index(one.ARRAY), keywords)


def _sums(body: Body, place: Place) -> Iterator[Sum]:
    return (line for line in body.lines(place) if isinstance(line, Sum))


def _of_columns(one: Pass) -> list[str]:
    """Return the sums of columns that a pass adds up."""
    return [s.name for s in one.loop.sums if s.to is Place.COLUMN] if one.loop else []


class _Module:
    """The functions of a rule's passes.

    ``arrays``, of a tensor, has the addresses of the states of rows, of those of columns, of
    ``row_arrays``, ``column_arrays`` and the parts of sums of columns; ``addresses``, of a block,
    those of its elements, and all of these but the states.
    """

    def __init__(self, body: Body, wrap: Wrap, form: Form, passes: tuple[Pass, ...]) -> None:
        self.body, self.passes = body, passes
        self.elements = Loop(body, wrap)
        self.matrix = form == "matrix"
        self.row_arrays, self.column_arrays = (
            [s.name for s in _sums(body, Place.ELEMENT) if s.to is place]
            + [line.name for line in body.lines(place) if isinstance(line, Slot)]
            for place in (Place.ROW, Place.COLUMN)
        )

    def functions(self) -> Iterator[Iterator[str]]:
        """Yield the lines of each function."""
        parts: list[str] = []
        for index, one in enumerate(self.passes):
            small = {
                f"{loop.place.value}s_{index}_{i}": loop
                for i, loop in enumerate(one.before)
                if isinstance(loop, PassLoop)
            }
            yield from (_function(name, loop) for name, loop in small.items())
            yield self.before(index, one, small, parts)
            if one.loop:
                yield _function(f"elements_{index}", one.loop)
                yield self.update(index, one.loop)
                parts = _of_columns(one)

    def before(
        self, index: int, one: Pass, small: Mapping[str, PassLoop], parts: list[str]
    ) -> Iterator[str]:
        """Yield the function that is called for each tensor before a pass."""
        arguments = "t, fresh, hyper, powers, state, sums, arrays, rows, columns, blocks, slots"
        yield f"def before_{index}({arguments}):"
        yield '    """Before a pass, once a tensor: uniform values, loops over rows and columns."""'
        names = [
            *self.body.row_state, *self.body.column_state, *self.row_arrays, *self.column_arrays
        ]  # fmt: skip
        used = {name for loop in small.values() for name in (*loop.reads, *loop.stores)}
        for position, name in enumerate(names):
            if name in used or name in parts:
                yield f"    {name}_at = typed(arrays[{position}], slots)"
        for position, name in enumerate(parts):
            yield f"    {name}_parts = typed(arrays[{len(names) + position}], sums)"
        yield from _joined_parts(parts)
        loops = iter(small.items())
        for what in one.before:
            yield from self._uniforms(what) if isinstance(what, Uniforms) else _small(*next(loops))
        yield "    return"

    def _uniforms(self, what: Uniforms) -> Iterator[str]:
        every = (s for place in Place for s in _sums(self.body, place))
        known = {name: f"float({size})" for name, size in _SIZES.items()}
        known |= {name: f"load(hyper, {at})" for at, name in enumerate(self.body.hyper)}
        known |= {name: f"load(state, {at})" for at, name in enumerate(self.body.uniform_state)}
        known |= {s.name: f"load(sums, {s.index})" for s in every if s.to is Place.UNIFORM}
        for name, value in known.items():
            if name in what.reads:
                yield f"    {name} = {value}"
        for line in what.lines:
            yield f"    {_uniform(line)}"
        for at, name in enumerate(self.body.uniform_state):
            if name in what.new:
                yield f"    store(state, {at}, {_writer.text(what.new[name])})"

    def update(self, index: int, loop: PassLoop) -> Iterator[str]:
        """Yield the function that goes over a block of elements."""
        yield f"def update_{index}(addresses, rows, columns, slots, partial):"
        yield f'    """Apply ``elements_{index}`` to some rows of the arrays at these addresses."""'
        every = self.elements
        arrays = [name for name in every.arrays if name in self._touched(loop)]
        for name in arrays:
            address = f"addresses[{every.arrays.index(name)}]"
            yield f"    {name}_at = {address if every.kind(name) else f'typed({address}, slots)'}"
        after = len(every.arrays)
        if every.wrap.rounding == "stochastic":
            yield f"    seed = addresses[{after}]"
            after += 1
        used = {*loop.reads, *(s.name for s in loop.sums)}
        others = [*self.row_arrays, *self.column_arrays]
        for position, name in enumerate(others):
            if name in used:
                yield f"    {name}_at = typed(addresses[{after + position}], slots)"
        parts = [s.name for s in loop.sums if s.to is Place.COLUMN]
        for position, name in enumerate(parts):
            address = f"addresses[{after + len(others) + position}]"
            yield f"    {name}_parts = typed({address}, partial)"
        for name in loop.slots:
            yield f"    {name} = load(slots, {name[1:]})"
        for name in parts:
            yield "    for i in range((columns + LANES - 1) // LANES):"
            yield f"        store({name}_parts, i, 0.0)"
        whole = [s.name for s in loop.sums if s.to is Place.UNIFORM]
        for name in whole:
            yield f"    {name}_total = nothing()"
        yield from self._rows(index, loop, arrays)
        for position, name in enumerate(whole):
            yield f"    put(partial, {position}, added({name}_total))"
        yield "    return"

    def _touched(self, loop: PassLoop) -> set[str]:
        """Return the arrays of elements that a pass reads or writes."""
        every = {*loop.reads, *loop.stores}
        if self.elements.kahan and "x" in every:
            every.add("lost")
        if self.elements.wrap.zeroed and "x" in loop.stores:
            every.add("g")
        return every

    def _rows(self, index: int, loop: PassLoop, arrays: list[str]) -> Iterator[str]:
        """Yield the loop over the rows of a block, or what it does to a block of a vector."""
        space = "    "
        if self.matrix:
            yield "    for k in range(rows):"
            space = "        "
            for name in arrays:
                kind = self.elements.kind(name)
                moved = (
                    f"{name}_at + 2 * k * columns" if kind else f"offset({name}_at, k * columns)"
                )
                yield f"{space}{name}_i = {moved}"
            for name in loop.reads:
                if name in self.row_arrays:
                    yield f"{space}{name}_i = repeated({name}_at, k)"
        rows = [s.name for s in loop.sums if s.to is Place.ROW]
        for name in rows:
            yield f"{space}{name}_total = nothing()"
        inside = [s.name for s in loop.sums if s.to is not Place.COLUMN]
        inner = space
        if inside:
            yield f"{space}for start in range(0, columns // LANES, SOME):"
            inner = f"{space}    "
        for name in inside:
            yield f"{inner}{name}_some = zeros(slots)"
        span = "start, min(start + SOME, columns // LANES)" if inside else "columns // LANES"
        yield f"{inner}for i in range({span}):"
        yield from self._block(index, loop, arrays, "", f"{inner}    ")
        for name in inside:
            yield f"{inner}{name}_total = {name}_total + exact({name}_some)"
        yield f"{space}rest = columns % LANES"
        yield f"{space}if rest:"
        yield f"{space}    i = columns // LANES"
        yield from self._block(index, loop, arrays, "_part", f"{space}    ")
        for name in rows:
            yield f"{space}put({name}_at, k, added({name}_total))"

    def _block(
        self, index: int, loop: PassLoop, arrays: list[str], part: str, space: str
    ) -> Iterator[str]:
        """Yield the step of block i of a row, or of its rest."""
        every, end = self.elements, "_i" if self.matrix else "_at"
        load = {name: every.load(name, f"{name}{end}", part) for name in arrays}
        if every.kahan and "x" in load:
            load["x"] += f" + {load['lost']}"
        load |= {n: f"{n}_i" for n in self.row_arrays}
        load |= {n: f"load({n}_at, i)" for n in self.column_arrays}
        given = [*(load[name] for name in loop.reads), *loop.slots]
        yield f"{space}{_outputs(loop)} = elements_{index}({', '.join(given)})"
        for one in loop.sums:
            name = one.name
            if one.to is Place.COLUMN:
                yield f"{space}store({name}_parts, i, load({name}_parts, i) + exact({name}))"
            elif part:
                yield f"{space}{name}_total = {name}_total + exact(leading({name}, rest))"
            else:
                yield f"{space}{name}_some = {name}_some + {name}"
        for name in loop.stores:
            yield f"{space}{every.store(name, f'{name}{end}', f'{name}_new', part)}"
        if every.kahan and "x" in loop.stores:
            rounded = every.load("x", f"x{end}", part)
            yield f"{space}{every.store('lost', f'lost{end}', f'x_new - {rounded}', part)}"
        if every.wrap.zeroed and "x" in loop.stores:
            yield f"{space}{every.store('g', f'g{end}', '0.0', part)}"


def _uniform(line: Line) -> str:
    match line:
        case Slot(slot, value):
            return f"store(slots, {slot}, {_writer.text(value)})"
        case Power(name, index, base):
            return f"{name} = power_once(powers, {index}, {_writer.text(base)}, t, fresh)"
    assert isinstance(line, Assign)
    return _writer.assign(line)


def _outputs(loop: PassLoop) -> str:
    names = [*(s.name for s in loop.sums), *(f"{name}_new" for name in loop.stores)]
    return ", ".join(names) + ("," if len(names) == 1 else "")


def _function(name: str, loop: PassLoop) -> Iterator[str]:
    """Yield the function that computes the sums' terms and new values of one place."""
    yield "@inlined"
    yield f"def {name}({', '.join([*loop.reads, *loop.slots])}):"
    for line in loop.lines:
        yield f"    {_writer.assign(line)}"
    values = [*(s.name for s in loop.sums), *map(_writer.text, loop.stores.values())]
    yield f"    return {', '.join(values)}{',' if len(values) == 1 else ''}"


def _small(name: str, loop: PassLoop) -> Iterator[str]:
    """Yield a loop over all rows or columns of a tensor."""
    size = "rows" if loop.place is Place.ROW else "columns"
    for slot in loop.slots:
        yield f"    {slot} = load(slots, {slot[1:]})"
    for one in loop.sums:
        yield f"    {one.name}_total = nothing()"
    yield f"    for i in range({size} // LANES):"
    yield from _small_block(name, loop, "")
    yield f"    rest = {size} % LANES"
    yield "    if rest:"
    yield f"        i = {size} // LANES"
    yield from _small_block(name, loop, "_part")
    for one in loop.sums:
        yield f"    store(sums, {one.index}, added({one.name}_total))"


def _small_block(name: str, loop: PassLoop, part: str) -> Iterator[str]:
    rest = ", rest" if part else ""
    given = [*(f"load{part}({array}_at, i{rest})" for array in loop.reads), *loop.slots]
    yield f"        {_outputs(loop)} = {name}({', '.join(given)})"
    for one in loop.sums:
        value = f"leading({one.name}, rest)" if part else one.name
        yield f"        {one.name}_total = {one.name}_total + exact({value})"
    for array in loop.stores:
        yield f"        store{part}({array}_at, i, {array}_new{rest})"


def _joined_parts(names: list[str]) -> Iterator[str]:
    """Yield the loop that adds up sums of columns, block by block."""
    if names:
        yield "    width = (columns + LANES - 1) // LANES"
        yield "    for i in range(width):"
    for name in names:
        yield f"        {name}_total = load({name}_parts, i)"
        yield "        for b in range(1, blocks):"
        yield f"            {name}_total = {name}_total + load({name}_parts, b * width + i)"
        yield f"        store({name}_at, i, {name}_total)"
