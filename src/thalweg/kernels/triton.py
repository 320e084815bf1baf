"""Triton: a rule as kernels for GPUs, written in Triton's language from the body of ``translate``.

``uniforms`` runs once per step and computes, for each tensor, what all its elements share; then
``update`` steps every element of every tensor. Tensors are found by address, so one launch of each
serves a whole model. Everything that changes between steps is in the memory of the device. So a
changed hyperparameter compiles nothing, and a CUDA graph can replay a step.

Division and root are IEEE's. Deviation from kernels of the CPU: exp, log and powers of elements in
float32 are the GPU's fast ones, correct to about six digits. No built-in rule uses them.
"""

from collections.abc import Iterator
from types import ModuleType

from thalweg.kernels import triton_passes
from thalweg.kernels.body import PLAIN, Body, Slot, Wrap
from thalweg.kernels.cache import load_module
from thalweg.kernels.translate import translate
from thalweg.kernels.triton_writer import TritonWriter, keeps_lost, module, own, uniform
from thalweg.kind import SUMS
from thalweg.rule import Rule
from thalweg.rules import get

__all__ = ["kernels", "source"]


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
    found = get(rule)
    if found.kind == SUMS:
        return triton_passes.source(found)
    return write(found, "float32", PLAIN, "float32")


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
    made, _ = load_module(f"triton_{rule.name}", write(rule, real, wrap, number), "")
    return made


def write(rule: Rule, real: str, wrap: Wrap, number: str) -> str:
    """Return the source of the module that ``kernels`` loads."""
    body = translate(rule, wrap).renamed(own)
    code = [
        *body.function("@triton.jit", TritonWriter(real)),
        "\n",
        *_uniforms(body, wrap, number),
        *_step(body, real, wrap),
        *_update(body, real, wrap),
    ]
    constants = [
        f"SLOTS = {body.slots}  # uniform values of a tensor",
        f"FUSED = {not body.exact}  # whether a product and a sum of update may be one instruction",
    ]
    return module(rule, constants, code)


def _uniforms(body: Body, wrap: Wrap, number: str) -> Iterator[str]:
    writer = TritonWriter("float64")
    arrays = len(body.varying) - 1 + keeps_lost(wrap)
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
        if isinstance(line, Slot):
            yield f"    tl.store(slots + {line.index}, {writer.text(line.value)}, fresh)"
        else:
            yield f"    {uniform(line, writer)}"
    new = dict(zip(body.uniform_state, body.new_uniform, strict=True))
    for name in rows:
        value = writer.text(new[name]) if name in new else name
        yield f"    keep(at_{name}, {value}, fresh, tl.{number})"
    yield "\n"


def _step(body: Body, real: str, wrap: Wrap) -> Iterator[str]:
    """Write the function that steps elements of one tensor."""
    values, state = wrap.values or real, wrap.state or real
    formats = dict.fromkeys(body.varying, state) | {"g": values, "x": values}
    if keeps_lost(wrap):
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
