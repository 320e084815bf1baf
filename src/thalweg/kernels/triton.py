"""Triton: a rule as kernels for GPUs, written in Triton's language from the body of ``translate``.

``uniforms`` runs once per step and computes, for each tensor, what all its elements share; then
``update`` steps every element of every tensor. Tensors are found by address, so one launch of each
serves a whole model. Everything that changes between steps is in the memory of the device. So a
changed hyperparameter compiles nothing, and a CUDA graph can replay a step.

Division and root are IEEE's. Deviation from kernels of the CPU: exp, log and powers of elements in
float32 are the GPU's fast ones, correct to about six digits. No built-in rule uses them.
"""

import ast
import builtins
import inspect
import math
import re
from collections.abc import Iterator
from types import ModuleType

from thalweg.kernels import triton_functions
from thalweg.kernels.body import PLAIN, Assign, Body, Power, Slot, Wrap, Writer, heading
from thalweg.kernels.cache import load_module
from thalweg.kernels.translate import translate
from thalweg.rule import Rule
from thalweg.rules import get

__all__ = ["kernels", "source"]


# Names that the kernels use themselves; the same name in a rule gets an underscore.
_WORDS = {*dir(builtins), *triton_functions.__all__}
_RESERVED = re.compile(
    r"tl|n|i|fresh|gradients|addresses|group|hyper|scale|slots|seed|stepping|lost|element"
    r"|at_\w+|\w+_(new|old)|[A-Z]+"
)


def _own(name: str) -> str:
    """Return the name of a rule's variable here."""
    taken = name in _WORDS or _RESERVED.fullmatch(name) or name.endswith("_")
    return f"{name}_" if taken else name


class _Writer(Writer):
    """Writes for Triton: it has other names and no ``**``, and numbers in its text are float32."""

    def __init__(self, real: str) -> None:
        self.real = real
        precise = real == "float32"  # without this Triton's division and root are approximate
        self.divide = "tl.div_rn" if precise else None
        self.names = {
            "abs": "tl.abs", "exp": "tl.exp", "log": "tl.log", "where": "tl.where",
            "maximum": "tl.maximum", "minimum": "tl.minimum", "sign": "sign",
            "sqrt": "tl.sqrt_rn" if precise else "tl.sqrt",
        }  # fmt: skip

    def whole(self, node: ast.expr) -> ast.expr:
        return self.typed(self.node(node))

    def number(self, value: float) -> ast.expr:
        if math.isfinite(value):
            return super().number(value)
        return ast.Call(ast.Name("float"), [ast.Constant(str(value))], [])

    def binary(self, operator: ast.operator, left: ast.expr, right: ast.expr) -> ast.expr:
        if isinstance(operator, ast.Pow):
            return self.made("power", left, right)
        if isinstance(operator, ast.Div) and self.divide:
            return self.made(self.divide, left, right)
        return super().binary(operator, left, right)

    def call(self, function: str, arguments: list[ast.expr]) -> ast.expr:
        if function == "product":  # see FUSED
            return super().binary(ast.Mult(), *arguments)
        made = self.made(self.names[function], *arguments)
        if function in {"maximum", "minimum"}:
            made.keywords = [ast.keyword("propagate_nan", ast.Name("tl.PropagateNan.ALL"))]
        return made

    def made(self, name: str, *arguments: ast.expr) -> ast.Call:
        return ast.Call(ast.Name(name), list(map(self.typed, arguments)), [])

    def typed(self, node: ast.expr) -> ast.expr:
        """Give a number its type."""
        names = (part for part in ast.walk(node) if isinstance(part, ast.Name))
        if any(name.id != "float" for name in names):
            return node
        kind = ast.Name(f"tl.{self.real}")
        return ast.Call(ast.Name("tl.full"), [ast.Tuple([], ast.Load()), node, kind], [])


def source(rule: str | Rule) -> str:
    """Return the source of a rule's Triton kernels. Triton need not be installed.

    Args:
        rule: a rule or its name.

    Raises:
        ValueError: unknown name, or a construct that cannot be compiled (with its line).

    Example:
        >>> "x - u0 * g" in source("sgd")
        True
    """
    return write(get(rule), "float32", PLAIN, "float32")


def kernels(rule: Rule, real: str, wrap: Wrap, number: str) -> ModuleType:
    """Return a module with the kernels ``uniforms`` and ``update`` of a rule.

    Args:
        rule: the rule.
        real: "float32" or "float64", the format of the computation.
        wrap: what is done around the rule, and the formats of the arrays.
        number: "float32" or "float64", the format in which t and the uniform state are kept.

    Raises:
        ValueError: a construct that cannot be compiled.
        ModuleNotFoundError: Triton is not installed.
    """
    module, _ = load_module(f"triton_{rule.name}", write(rule, real, wrap, number), "")
    return module


def write(rule: Rule, real: str, wrap: Wrap, number: str) -> str:
    """Return the source of the module that ``kernels`` loads."""
    body = translate(rule, wrap).renamed(_own)
    code = "\n".join(
        [
            *body.function("@triton.jit", _Writer(real)),
            "\n",
            *_uniforms(body, wrap, number),
            *_step(body, real, wrap),
            *_update(body, real, wrap),
            "",
            "PASSES = ((uniforms, update),)  # over all tensors, one after the other",
        ]
    )
    used = [name for name in triton_functions.__all__ if re.search(rf"\b{name}\(", code)]
    functions = [
        line
        for name in used
        for line in ("@triton.jit", inspect.getsource(getattr(triton_functions, name)), "")
    ]
    header = [
        heading(rule),
        "",
        "import triton",
        "import triton.language as tl",
        "",
        f"SLOTS = {body.slots}  # uniform values of a tensor",
        f"FUSED = {not body.exact}  # whether a product and a sum of update may be one instruction",
        "",
        "",
    ]
    return "\n".join([*header, *functions, code, ""]).replace('"tl.constexpr"', "tl.constexpr")


def _uniforms(body: Body, wrap: Wrap, number: str) -> Iterator[str]:
    writer = _Writer("float64")
    arrays = len(body.varying) - 1 + _keeps_lost(wrap)
    rows = {name: row for row, name in enumerate(("t", *body.uniform_state), arrays)}
    yield "@triton.jit"
    yield (
        "def uniforms(gradients, addresses, group, hyper, scale, slots, seed, n, "
        "LANES: tl.constexpr):"
    )
    yield '    """Once per step, in float64: what is the same for every element of a tensor."""'
    yield "    i = tl.program_id(0) * LANES + tl.arange(0, LANES)"
    yield "    stepping = tl.where(tl.load(scale + 1) != 0, n, 0)"
    yield "    fresh = tl.load(gradients + i, i < stepping, other=0) != 0"
    yield f"    hyper += tl.load(group + i, fresh, other=0) * {len(body.hyper)}"
    yield f"    slots += i * {body.slots}"
    for name, row in rows.items():
        yield f"    at_{name} = tl.load(addresses + {row} * n + i, fresh, other=0)"
    yield "    gradient_scale = tl.load(scale)"
    if wrap.rounding == "stochastic":
        yield "    tl.store(seed, tl.load(seed) + 1, tl.program_id(0) == 0)"
    for index, name in enumerate(body.hyper):
        scaled = f"{name} * " if name == "gradient_scale" else ""
        yield f"    {name} = {scaled}tl.load(hyper + {index}, fresh, other=0)"
    for name in rows:
        yield f"    {name} = number(at_{name}, fresh, tl.{number}){' + 1' if name == 't' else ''}"
    for line in body.uniform:
        yield f"    {_uniform(line, writer)}"
    new = dict(zip(body.uniform_state, body.new_uniform, strict=True))
    for name in rows:
        value = writer.text(new[name]) if name in new else name
        yield f"    keep(at_{name}, {value}, fresh, tl.{number})"
    yield "\n"


def _uniform(line: Assign | Slot | Power, writer: _Writer) -> str:
    match line:
        case Assign():
            return writer.assign(line)
        case Slot(slot, value):
            return f"tl.store(slots + {slot}, {writer.text(value)}, fresh)"
        case Power(name, _, base):
            return f"{name} = {writer.text(ast.BinOp(base, ast.Pow(), ast.Name('t')))}"


def _keeps_lost(wrap: Wrap) -> bool:
    return wrap.rounding == "kahan" and wrap.values == "bfloat16"


def _step(body: Body, real: str, wrap: Wrap) -> Iterator[str]:
    """Write the function that steps elements of one tensor."""
    values, state = wrap.values or real, wrap.state or real
    formats = dict.fromkeys(body.varying, state) | {"g": values, "x": values}
    if _keeps_lost(wrap):
        formats["lost"] = values
    yield "@triton.jit"
    yield (
        "def step(gradient, addresses, n, slots, seed, i, rest, "
        "WHOLE: tl.constexpr, ALIGNED: tl.constexpr):"
    )
    yield '    """Step the elements i of a tensor, as far as rest says or WHOLE."""'
    for row, (name, kind) in enumerate(formats.items(), -1):
        address = "gradient" if name == "g" else f"tl.load(addresses + {row} * n)"
        yield f"    at_{name} = pointer_to({address}, tl.{kind}, ALIGNED) + i"
    for name in formats:
        yield f"    {name}_old = read(at_{name}, rest, WHOLE).to(tl.{real})"
    slots = [f"u{index}" for index in range(body.slots)]
    for index, slot in enumerate(slots):
        yield f"    {slot} = tl.load(slots + {index})"
    old = [f"{name}_old" for name in body.varying]
    if "lost" in formats:
        old[1] += " + lost_old"
    new = [f"{name}_new" for name in body.varying[1:]]
    comma = "," if len(new) == 1 else ""
    yield f"    {', '.join(new)}{comma} = element({', '.join([*old, *slots])})"
    for salt, name in enumerate(body.varying[1:]):
        random = wrap.rounding == "stochastic" and formats[name] == "bfloat16"
        value = f"stochastic({name}_new, seed + {salt}, i)" if random else f"{name}_new"
        yield f"    write(at_{name}, {value}, rest, WHOLE)"
    if "lost" in formats:
        yield f"    lost_new = x_new - x_new.to(tl.{values}).to(tl.{real})"
        yield "    write(at_lost, lost_new, rest, WHOLE)"
    if wrap.zeroed:
        yield "    write(at_g, 0.0, rest, WHOLE)"
    yield "\n"


def _update(body: Body, real: str, wrap: Wrap) -> Iterator[str]:
    yield "@triton.jit"
    yield (
        "def update(gradients, addresses, tensor, first, size, scale, slots, seed, n, "
        "BLOCK: tl.constexpr, ALIGNED: tl.constexpr):"
    )
    yield '    """Step a block of one of the n tensors."""'
    yield "    block = tl.program_id(0)"
    yield "    k = tl.load(tensor + block)"
    yield "    gradient = tl.load(gradients + k)"
    yield "    if (gradient != 0) & (tl.load(scale + 1) != 0):"
    yield "        start = (block - tl.load(first + k)).to(tl.int64) * BLOCK"
    yield "        i = start + tl.arange(0, BLOCK)"
    yield "        end = tl.load(size + k)"
    yield "        addresses += k"
    yield f"        slots += k * {body.slots}"
    yield f"        salted = (tl.load(seed) * n + k) * {len(body.varying)}"
    step = "step(gradient, addresses, n, slots, salted, i, i < end, {}, ALIGNED)"
    yield "        if start + BLOCK <= end:"
    yield f"            {step.format('True')}"
    yield "        else:"
    yield f"            {step.format('False')}"
    if wrap.zeroed:  # also where the step is skipped: what is not finite would stay for ever
        yield "    if (gradient != 0) & (tl.load(scale + 1) == 0):"
        yield "        start = (block - tl.load(first + k)).to(tl.int64) * BLOCK"
        yield "        i = start + tl.arange(0, BLOCK)"
        yield f"        at_g = pointer_to(gradient, tl.{wrap.values or real}, False) + i"
        yield "        write(at_g, 0.0, i < tl.load(size + k), False)"
    yield ""
