"""Generate: the source of a rule's kernel, two functions of plain arithmetic and a loop.

``uniforms`` runs once a step, ``element`` on a vector of lanes (``vector.py``), and ``update`` runs
``element`` over arrays. For sparse rows, ``learn`` is a whole pass with both compiled into it.
"""

import builtins
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

from thalweg import elementwise
from thalweg.kernels.body import PLAIN, Assign, Body, Power, Slot, Whole, Wrap, Writer, heading
from thalweg.kernels.cpu import accumulate, half, loss, memory, simd, sparse_rows, vector
from thalweg.kernels.cpu.vector import LANES
from thalweg.kernels.translate import translate
from thalweg.losses import Loss
from thalweg.rule import Rule

__all__ = ["RESERVED", "WORDS", "Generated", "Loop", "generate", "generate_pass", "module"]


_HOMES = (
    accumulate,
    elementwise,
    half,
    loss,
    memory,
    simd,
    sparse_rows,
    vector,
)  # the modules of what the functions below call

# Names that the functions below use themselves; the same name in a rule gets an underscore.
WORDS = {*dir(builtins), *(name for home in _HOMES for name in home.__all__)}
RESERVED = re.compile(
    r"n|i|k|table|rest|fresh|hyper|powers|state|slots|uniform|addresses|element|update|uniforms|lost|seed|\w+_new"
)
_writer = Writer()

WIDTHS = (LANES, 2 * LANES, 4 * LANES, 8 * LANES)  # lanes of a pass over sparse rows


def _own(name: str) -> str:
    """Return the name of a rule's variable here."""
    taken = name in WORDS or RESERVED.fullmatch(name) or name.endswith("_")
    return f"{name}_" if taken else name


@dataclass(frozen=True)
class Generated:
    """The source of a rule's kernel and the sizes that its drivers need.

    Attributes:
        text: the Python source.
        slots: how many uniform values ``element`` takes.
        powers: how many running powers base**t ``uniforms`` keeps.
        steady: whether ``uniforms`` depends on hyperparameters alone, not on t.
    """

    text: str
    slots: int
    powers: int
    steady: bool


def generate(rule: Rule, wrap: Wrap = PLAIN) -> Generated:
    """Return the source of a rule's kernel.

    Args:
        rule: the rule.
        wrap: what is done around it, and the formats of the arrays.

    Raises:
        ValueError: as ``translate``.
    """
    body = translate(rule, wrap).renamed(_own)
    text = module(rule, _uniforms(body), body.function("@inlined", _writer), _update(body, wrap))
    return Generated(text, body.slots, body.powers, _steady(rule, body))


def generate_pass(rule: Rule, loss: Loss, *, single: bool) -> str:
    """Return the source of a pass over sparse rows: ``learn`` is a driver that takes its steps.

    Args:
        rule: the rule, without a wrap.
        loss: whose slopes are learned.
        single: whether each step is that of one row, which has one output.

    Raises:
        ValueError: as ``translate``.
    """
    body = translate(rule, PLAIN).renamed(_own)
    element = body.function("@inlined", _writer)
    return module(
        rule,
        ["@inlined", *_uniforms(body)],
        element,
        _advance(body),
        _learn(rule, body, loss, single=single),
    )


def _steady(rule: Rule, body: Body) -> bool:
    return not rule.uniform_state and "t" not in body.uniform_names


def module(rule: Rule, *parts: Iterable[str]) -> str:
    """Return the text of a module of generated functions."""
    functions = "\n".join(line for part in parts for line in [*part, ""])
    used = set(re.findall(r"\w+", functions))
    imports = (line for home in _HOMES for line in _imports(home, used & set(home.__all__)))
    return "\n".join([heading(rule), "", *imports, "", functions])


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
class Loop:
    """The lines that apply ``element``. Functions that load and store are named by the format."""

    body: Body
    wrap: Wrap

    @property
    def kahan(self) -> bool:
        """Whether an array keeps what rounding takes from x."""
        return self.wrap.rounding == "kahan" and self.wrap.values == "bfloat16"

    @property
    def arrays(self) -> tuple[str, ...]:
        """The arrays of elements, in the order of their addresses."""
        return (*self.body.varying, "lost") if self.kahan else self.body.varying

    @property
    def paired(self) -> bool:
        """Whether neighbours share 32 bits everywhere, so that they come apart without shuffles."""
        formats = set(map(self.kind, self.arrays))
        return formats == {"_bfloat16"} and self.wrap.rounding != "stochastic"

    def kind(self, name: str) -> str:
        """Return the 16-bit format of an array; "" for other formats."""
        if name == Whole.ARRAY:
            return ""
        given = self.wrap.values if name in ("g", "x", "lost") else self.wrap.state
        return f"_{given}" if given and given.endswith("16") else ""

    def block(self, part: str = "") -> Iterator[str]:
        """Write the step of block i, or of the rest that is smaller than a block."""
        load = {name: self.load(name, name, part, "_ahead") for name in self.arrays}
        yield self.call(load, "")
        for name in self.body.varying[1:]:
            yield f"        {self.store(name, name, f'{name}_new', part)}"
        if self.kahan:
            yield f"        {self.store('lost', 'lost', 'x_new - ' + load['x'], part)}"
        if self.wrap.zeroed:
            yield f"        {self.store('g', 'g', '0.0', part)}"

    def load(self, name: str, at: str, part: str, plain: str = "") -> str:
        """Return what reads block i of an array that lies at an address."""
        kind = f"{part}{self.kind(name)}" or plain
        return f"load{kind}({at}, i{', rest' if part else ''})"

    def store(self, name: str, at: str, value: str, part: str) -> str:
        """Return what writes block i of an array that lies at an address."""
        rest = ", rest" if part else ""
        if self.wrap.rounding == "stochastic" and self.kind(name) == "_bfloat16":
            salt = self.arrays.index(name)
            return f"store{part}_bfloat16_stochastic({at}, i, {value}{rest}, seed, {salt})"
        return f"store{part}{self.kind(name)}({at}, i, {value}{rest})"

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
    loop = Loop(body, wrap)
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


def _advance(body: Body) -> Iterator[str]:
    """Write how ``element`` steps vector i of a table whose states follow k vectors further on."""
    slots = [f"u{i}" for i in range(body.slots)]
    states = [f"load(table, i + {2 + n} * k)" for n in range(len(body.varying) - 2)]
    new = [f"{name}_new" for name in body.varying[1:]]
    yield "@inlined"
    yield "def taken(slots):"
    yield f"    return {_tuple([f'load(slots, {i})' for i in range(body.slots)])}"
    yield ""
    yield "@inlined"
    yield "def advance(g, x, table, i, k, uniform):"
    if slots:
        yield f"    {_tuple(slots)} = uniform"
    yield f"    {_tuple(new)} = element({', '.join(['g', 'x', *states, *slots])})"
    for n, name in enumerate(new[1:]):
        yield f"    store(table, i + {2 + n} * k, {name})"
    yield f"    return {new[0]}"


def _tuple(values: Sequence[str]) -> str:
    return f"({', '.join(values)}{',' * (len(values) == 1)})"


def _learn(rule: Rule, body: Body, loss: Loss, *, single: bool) -> Iterator[str]:
    arguments = (
        "parameter, X, rows, batch, t, table, mark, slot, hyper, uniform, penalties, averaged, sums"
    )
    several = loss.name == "softmax"
    steps = "singly" if single else "in_batches"
    yield f"slopes, values = of({loss.name!r}{', single=True' * single})"
    yield ""
    for lanes in WIDTHS:
        yield f"view_{lanes} = wide({lanes})"
        yield "@compiled_driver()"
        yield f"def learn_{lanes}({arguments}):"
        yield "    return learn_rows("
        yield f"        {'table.shape[2]' if several else 1}, {lanes}, view_{lanes},"
        yield f"        uniforms, taken, advance, {steps}, slopes, values,"
        sizes = body.slots, body.powers, 2 + len(rule.state), _steady(rule, body)
        yield f"        {sizes},"
        yield f"        {arguments},"
        yield "    )"
        yield ""
