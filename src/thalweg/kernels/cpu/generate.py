"""Generate: the source of a rule's kernel, two functions of plain arithmetic and a loop.

``uniforms`` runs once a step, ``element`` on a vector of lanes (``vector.py``), and ``update`` runs
``element`` over arrays.
"""

import builtins
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType

from thalweg import elementwise
from thalweg.kernels.body import PLAIN, Assign, Body, Power, Slot, Wrap, Writer, heading
from thalweg.kernels.cpu import half, memory, simd, vector
from thalweg.kernels.translate import translate
from thalweg.rule import Rule

__all__ = ["Generated", "generate"]


_HOMES = elementwise, half, memory, simd, vector  # the modules of what the functions below call

# Names that the functions below use themselves; the same name in a rule gets an underscore.
_WORDS = {*dir(builtins), *(name for home in _HOMES for name in home.__all__)}
_RESERVED = re.compile(
    r"n|i|c|k|at|first|step|before|moved|count|rows|table|so_far|rest|fresh|hyper|powers|state|slots|addresses|element|update|uniforms|lost|seed|\w+_new"
)
_writer = Writer()


def _own(name: str) -> str:
    """Return the name of a rule's variable here."""
    taken = name in _WORDS or _RESERVED.fullmatch(name) or name.endswith("_")
    return f"{name}_" if taken else name


@dataclass(frozen=True)
class Generated:
    """The source of a rule's kernel and the sizes that its drivers need.

    Attributes:
        text: the Python source.
        slots: how many uniform values ``element`` takes.
        powers: how many running powers base**t ``uniforms`` keeps.
        steady: whether ``uniforms`` depends on hyperparameters alone, not on t.
        scattered: whether ``update`` steps rows of a table.
    """

    text: str
    slots: int
    powers: int
    steady: bool
    scattered: bool


def generate(rule: Rule, wrap: Wrap = PLAIN, *, scattered: bool = False) -> Generated:
    """Return the source of a rule's kernel.

    Args:
        rule: the rule.
        wrap: what is done around it, and the formats of the arrays.
        scattered: whether ``update`` steps some rows of a table, of which it also keeps an average,
            instead of whole arrays.

    Raises:
        ValueError: as ``translate``.
    """
    body = translate(rule, wrap).renamed(_own)
    update = _update_rows(body) if scattered else _update(body, wrap)
    parts = _uniforms(body), body.function("@inlined", _writer), update
    functions = "\n".join(line for part in parts for line in [*part, ""])
    used = set(re.findall(r"\w+", functions))
    text = "\n".join(
        [
            heading(rule),
            "",
            *(line for home in _HOMES for line in _imports(home, used & set(home.__all__))),
            "",
            functions,
        ]
    )
    steady = not rule.uniform_state and "t" not in body.uniform_names
    return Generated(text, body.slots, body.powers, steady, scattered)


def _imports(home: ModuleType, names: set[str]) -> Iterator[str]:
    if names:
        yield f"from {home.__name__} import {', '.join(sorted(names))}"


def _uniforms(body: Body) -> Iterator[str]:
    yield "def uniforms(t, fresh, hyper, powers, state, slots):"
    yield '    """Once per step, in float64: what is the same for every element of a lane."""'
    used = body.uniform_names
    for index, name in enumerate(body.hyper):
        if name in used:
            yield f"    {name} = load(hyper, {index})"
    for index, name in enumerate(body.uniform_state):
        yield f"    {name} = load(state, {index})"
    for line in body.uniform:
        yield f"    {_uniform(line)}"
    for index, value in enumerate(body.new_uniform):
        yield f"    store(state, {index}, {_writer.text(value)})"


def _uniform(line: Assign | Slot | Power) -> str:
    match line:
        case Assign():
            return _writer.assign(line)
        case Slot(slot, value):
            return f"store(slots, {slot}, {_writer.text(value)})"
        case Power(name, index, base):
            return f"{name} = power(powers, {index}, {_writer.text(base)}, t, fresh)"


@dataclass(frozen=True)
class _Loop:
    """The lines that apply ``element``. Functions that load and store are named by the format."""

    body: Body
    wrap: Wrap

    @property
    def kahan(self) -> bool:
        return self.wrap.rounding == "kahan" and self.wrap.values == "bfloat16"

    @property
    def arrays(self) -> tuple[str, ...]:
        return (*self.body.varying, "lost") if self.kahan else self.body.varying

    @property
    def paired(self) -> bool:
        """Whether neighbours share 32 bits everywhere, so that they come apart without shuffles."""
        formats = set(map(self.kind, self.arrays))
        return formats == {"_bfloat16"} and self.wrap.rounding != "stochastic"

    def kind(self, name: str) -> str:
        """Return the 16-bit format of an array; "" for other formats."""
        given = self.wrap.values if name in ("g", "x", "lost") else self.wrap.state
        return f"_{given}" if given and given.endswith("16") else ""

    def block(self, part: str = "") -> Iterator[str]:
        """Write the step of block i, or of the rest that is smaller than a block."""
        rest = ", rest" if part else ""

        def store(name: str, value: str) -> str:
            if self.wrap.rounding == "stochastic" and self.kind(name) == "_bfloat16":
                salt = self.arrays.index(name)
                return f"store{part}_bfloat16_stochastic({name}, i, {value}{rest}, seed, {salt})"
            return f"store{part}{self.kind(name)}({name}, i, {value}{rest})"

        kinds = {n: f"{part}{self.kind(n)}" or "_ahead" for n in self.arrays}
        load = {n: f"load{kind}({n}, i{rest})" for n, kind in kinds.items()}
        yield self.call(load, "")
        for name in self.body.varying[1:]:
            yield f"        {store(name, f'{name}_new')}"
        if self.kahan:
            yield f"        {store('lost', 'x_new - ' + load['x'])}"
        if self.wrap.zeroed:
            yield f"        {store('g', '0.0')}"

    def pair(self) -> Iterator[str]:
        """Write the step of the pairs of neighbours of two wide blocks: even ones and odd ones."""
        load = {
            side: {name: f"load{side}_bfloat16({name}, i)" for name in self.arrays}
            for side in ("_even", "_odd")
        }
        for side, loads in load.items():
            yield self.call(loads, side)
        for name in self.body.varying[1:]:
            yield f"        store_pair_bfloat16({name}, i, {name}_even_new, {name}_odd_new)"
        if self.kahan:
            left = [f"x{side}_new - {loads['x']}" for side, loads in load.items()]
            yield f"        store_pair_bfloat16(lost, i, {', '.join(left)})"
        if self.wrap.zeroed:
            yield "        store_pair_bfloat16(g, i, 0.0, 0.0)"

    def call(self, load: Mapping[str, str], side: str) -> str:
        """Return the line that computes the new values."""
        inputs = [load[n] for n in self.body.varying]
        if self.kahan:
            inputs[1] += f" + {load['lost']}"
        names = [f"{name}{side}_new" for name in self.body.varying[1:]]
        new = ", ".join(names) + ("," if len(names) == 1 else "")
        uniform = [f"widened(u{i})" if side else f"u{i}" for i in range(self.body.slots)]
        return f"        {new} = element({', '.join([*inputs, *uniform])})"


def _update(body: Body, wrap: Wrap) -> Iterator[str]:
    loop = _Loop(body, wrap)
    yield "def update(addresses, n, slots):"
    yield '    """Apply ``element`` to n elements of the arrays at these addresses."""'
    for index, name in enumerate(loop.arrays):
        address = f"addresses[{index}]"
        yield f"    {name} = {address if loop.kind(name) else f'typed({address}, slots)'}"
    if wrap.rounding == "stochastic":
        yield f"    seed = addresses[{len(loop.arrays)}]"
    for index in range(body.slots):
        yield f"    u{index} = load(slots, {index})"
    first = ""
    if loop.paired:
        yield "    for i in range(n // (2 * WIDE)):"
        yield from loop.pair()
        first = "n // (2 * WIDE) * (2 * WIDE // LANES), "
    yield f"    for i in range({first}n // LANES):"
    yield from loop.block()
    yield "    rest = n % LANES"
    yield "    if rest:"
    yield "        i = n // LANES"
    yield from loop.block("_part")


def _update_rows(body: Body) -> Iterator[str]:
    names = body.varying
    slots = [f"u{i}" for i in range(body.slots)]
    new = ", ".join(f"{name}_new" for name in names[1:]) + ("," if len(names) == 2 else "")
    state = [f"load(table, at + {2 + i} * k)" for i in range(len(names) - 2)]
    arguments = ", ".join(["table, rows, count, k, g, so_far", *slots])
    yield "@inlined"
    yield f"def step({arguments}):"
    yield "    for i in range(count):"
    yield f"        first = rows[i] * (k * {len(names)})"
    yield "        for c in range(k):"
    yield "            at = first + c"
    yield "            before = load(table, at)"
    given = ["load(g, i * k + c)", "before", *state]
    yield f"            {new} = element({', '.join([*given, *slots])})"
    yield f"            store(table, at, {names[1]}_new)"
    yield f"            moved = load(table, at + k) + so_far * ({names[1]}_new - before)"
    yield "            store(table, at + k, moved)"
    for i, name in enumerate(names[2:]):
        yield f"            store(table, at + {2 + i} * k, {name}_new)"
    yield ""
    yield "def update(table, rows, count, k, g, so_far, slots):"
    yield '    """Apply ``element`` to count rows of a table: k of x, of moved, and of each state.'
    yield ""
    yield "    moved is the sum of the steps' moves, each times the weight of the steps before it."
    yield '    """'
    for index in range(body.slots):
        yield f"    u{index} = load(slots, {index})"
    yield "    if k == 1:"  # the constant lets the compiler drop the loop
    yield f"        step({arguments.replace(' k,', ' 1,')})"
    yield "    else:"
    yield f"        step({arguments})"
