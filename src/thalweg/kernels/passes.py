"""Passes: how often a step must read its arrays, because a sum is known only after all of them.

Each pass reads the old state and computes again what it needs, and the last one writes; nothing of
the size of an array is kept between them, but for a matrix that is orthogonalized there. Sums of
rows and columns, and what is computed from them, are kept: one number for each row or column.
"""

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from thalweg.kernels.body import Assign, Body, Line, Place, Power, Slot, Sum, names_in
from thalweg.kernels.decisions import assigned

__all__ = ["Loop", "Pass", "Uniforms", "inputs_of", "split"]

_SLOT = re.compile(r"u\d+")


@dataclass(frozen=True)
class Uniforms:
    """What is done once for a tensor.

    Attributes:
        lines: in this order. Each ``Slot`` is stored.
        new: the new states by name.
    """

    lines: tuple[Line, ...]
    new: Mapping[str, ast.expr]

    @property
    def reads(self) -> set[str]:
        """The names that it uses."""
        values = (value for line in self.lines for value in line.values)
        return names_in(*values, *self.new.values())


@dataclass(frozen=True)
class Loop:
    """What is done for every row, every column or every element of a tensor.

    Attributes:
        place: which of them.
        lines: in this order. They assign to the names of ``sums``, and of what is stored.
        reads: the names that it uses: of arrays, and of slots of rows and columns.
        slots: the names of the uniform values that it uses.
        sums: what is added up.
        stores: new values by name: of x, of states, and of slots of rows and columns.
    """

    place: Place
    lines: tuple[Assign, ...]
    reads: tuple[str, ...]
    slots: tuple[str, ...]
    sums: tuple[Sum, ...]
    stores: Mapping[str, ast.expr]


@dataclass(frozen=True)
class Pass:
    """A pass over the elements of all tensors.

    Attributes:
        before: what is done first, tensor by tensor, by which the sums of the last pass are used.
        loop: of elements. None: what is left to do after the last one.
    """

    before: tuple[Uniforms | Loop, ...]
    loop: Loop | None


def inputs_of(lines: Sequence[Line], new: Mapping[str, ast.expr]) -> set[str]:
    """Return the names from which new values are computed by lines of one place."""
    return _needed(lines, set(), new)[1]


def split(body: Body) -> tuple[Pass, ...]:
    """Return the passes of a rule's step, the last of which writes x."""
    return _Split(body).passes()


@dataclass
class _Split:
    """Passes that are being made of a body."""

    body: Body
    stored: set[str] = field(default_factory=set)  # slots that are known already

    def passes(self) -> tuple[Pass, ...]:
        results, states = self.body.written
        whole = self.body.whole
        ours = {s.level for s in self._sums(Place.ELEMENT)} | ({whole.level} if whole else set())
        last = max({results, *ours})
        found, done = [], -1
        for level in sorted({last, *ours}):
            new = self.body.new(Place.ELEMENT) if level == last else {}
            if whole and whole.level == level:
                new = {**new, whole.ARRAY: ast.Name(whole.name)}
            loop = self._loop(Place.ELEMENT, self._sums(Place.ELEMENT, level), (), new)
            write = level == last and states <= last
            found.append(Pass(tuple(self._before(done, level, loop, write=write)), loop))
            done = level
        if states > last:
            found.append(Pass(tuple(self._before(last, states, None, write=True)), None))
        return tuple(found)

    def _sums(self, place: Place, level: int | None = None) -> tuple[Sum, ...]:
        """Return the sums of what is there at a place; of one level, or of all."""
        every = (line for line in self.body.lines(place) if isinstance(line, Sum))
        return tuple(one for one in every if level in {None, one.level})

    def _before(
        self, done: int, level: int, loop: Loop | None, *, write: bool
    ) -> Iterable[Uniforms | Loop]:
        """Yield what is done between the pass of one level and that of another."""
        wanted = {*loop.reads} - self.stored if loop else set()
        for inner in range(done + 1, level + 1):
            for place in (Place.ROW, Place.COLUMN):
                slots: tuple[str, ...] = ()
                new: Mapping[str, ast.expr] = {}
                if inner == level:
                    every = (line for line in self.body.lines(place) if isinstance(line, Slot))
                    slots = tuple(line.name for line in every if line.name in wanted)
                    new = self.body.new(place) if write else {}
                small = self._loop(place, self._sums(place, inner), slots, new)
                if small.sums or small.stores:
                    yield from self._uniforms(small.slots, {})
                    yield small
                    self.stored |= {*slots}
        new = self.body.new(Place.UNIFORM) if write else {}
        yield from self._uniforms(loop.slots if loop else (), new)

    def _uniforms(self, slots: Sequence[str], new: Mapping[str, ast.expr]) -> Iterable[Uniforms]:
        """Yield the lines that compute slots and new states, if there are any."""
        wanted = {*slots} - self.stored
        if wanted or new:
            self.stored |= wanted
            yield Uniforms(tuple(_needed(self.body.uniform, wanted, new)[0]), new)

    def _loop(
        self,
        place: Place,
        sums: tuple[Sum, ...],
        slots: tuple[str, ...],
        new: Mapping[str, ast.expr],
    ) -> Loop:
        names = {*slots, *(one.name for one in sums)}
        lines, reads = _needed(self.body.lines(place), names, new)
        plain = []
        for line in lines:
            assert not isinstance(line, Power)
            names_, values = zip(*assigned(line), strict=True)
            plain.append(Assign(names_, values))
        changed = {name for line in plain for name in line.names}
        moved = {
            name: value
            for name, value in new.items()
            if name in changed or not (isinstance(value, ast.Name) and value.id == name)
        }
        every = sorted(reads, key=_order)
        return Loop(
            place,
            tuple(plain),
            tuple(name for name in every if not _SLOT.fullmatch(name)),
            tuple(name for name in every if _SLOT.fullmatch(name)),
            sums,
            {name: ast.Name(name) for name in slots} | moved,
        )


def _order(name: str) -> tuple[str, int]:
    digits = re.search(r"\d*$", name)
    assert digits is not None
    return name[: digits.start()], int(digits.group() or -1)


def _needed(
    lines: Sequence[Line], names: set[str], new: Mapping[str, ast.expr]
) -> tuple[list[Line], set[str]]:
    """Return the lines by which some names and new values are computed, and what these lines use.

    Args:
        lines: in their order.
        names: of values that are wanted as they are after the last line.
        new: expressions that are computed after it.
    """
    live = _variables(*new.values()) | names
    kept: list[Line] = []
    for line in reversed(lines):
        pairs = [(name, value) for name, value in assigned(line) if name in live]
        if pairs:
            whole = not isinstance(line, Assign) or len(pairs) == len(line.names)
            kept.append(line if whole else Assign(*zip(*pairs, strict=True)))
            live -= {name for name, _ in pairs}
            live |= _variables(*(value for _, value in pairs))
    return kept[::-1], live


def _variables(*nodes: ast.expr) -> set[str]:
    """Return the names in expressions, but for those of functions."""
    parts = [part for node in nodes for part in ast.walk(node)]
    called = {id(part.func) for part in parts if isinstance(part, ast.Call)}
    return {p.id for p in parts if isinstance(p, ast.Name) and id(p) not in called}
