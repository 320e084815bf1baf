"""Writing for Triton: expressions in its language, and the module that kernels are."""

import ast
import builtins
import inspect
import math
import re
from collections.abc import Iterable

from thalweg.kernels import triton_functions
from thalweg.kernels.body import Assign, Line, Power, Wrap, Writer, heading
from thalweg.rule import Rule

__all__ = ["TritonWriter", "keeps_lost", "module", "own", "uniform"]


# Names that the kernels use themselves; the same name in a rule gets an underscore.
_WORDS = {*dir(builtins), *triton_functions.__all__}
_RESERVED = re.compile(
    r"tl|n|i|k|fresh|gradients?|addresses|group|hyper|scale|slots|seed|salted|stepping|lost|element"
    r"|sizes?|first|sums|partial|blocks?|rows?|columns?|start|inside"
    r"|at_\w+|(elements|rows|columns|tile)_\w+|\w+_(new|old|total)|[A-Z]+"
)


def own(name: str) -> str:
    """Return the name of a rule's variable here."""
    taken = name in _WORDS or _RESERVED.fullmatch(name) or name.endswith("_")
    return f"{name}_" if taken else name


class TritonWriter(Writer):
    """Writes for Triton: it has other names and no ``**``, and numbers in its text are float32.

    Args:
        real: "float32" or "float64", the format of the computation.
    """

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
        """As that of ``Writer``, with a type."""
        return self.typed(self.node(node))

    def number(self, value: float) -> ast.expr:
        """As that of ``Writer``."""
        if math.isfinite(value):
            return super().number(value)
        return ast.Call(ast.Name("float"), [ast.Constant(str(value))], [])

    def binary(self, operator: ast.operator, left: ast.expr, right: ast.expr) -> ast.expr:
        """As that of ``Writer``."""
        if name := {ast.Pow: "power", ast.Mod: "modulo", ast.FloorDiv: "quotient"}.get(
            type(operator)
        ):
            return self.made(name, left, right)
        if isinstance(operator, ast.Div) and self.divide:
            return self.made(self.divide, left, right)
        return super().binary(operator, left, right)

    def call(self, function: str, arguments: list[ast.expr]) -> ast.expr:
        """As that of ``Writer``."""
        if function == "product":  # see FUSED
            return super().binary(ast.Mult(), *arguments)
        made = self.made(self.names[function], *arguments)
        if function in {"maximum", "minimum"}:
            made.keywords = [ast.keyword("propagate_nan", ast.Name("tl.PropagateNan.ALL"))]
        return made

    def made(self, name: str, *arguments: ast.expr) -> ast.Call:
        """Return a call of one of Triton's functions, or of ours."""
        return ast.Call(ast.Name(name), list(map(self.typed, arguments)), [])

    def typed(self, node: ast.expr) -> ast.expr:
        """Give a number its type."""
        names = (part for part in ast.walk(node) if isinstance(part, ast.Name))
        if any(name.id != "float" for name in names):
            return node
        kind = ast.Name(f"tl.{self.real}")
        return ast.Call(ast.Name("tl.full"), [ast.Tuple([], ast.Load()), node, kind], [])


def uniform(line: Line, writer: TritonWriter) -> str:
    """Return what computes a name that is the same for all elements."""
    if isinstance(line, Power):
        return f"{line.name} = {writer.text(ast.BinOp(line.base, ast.Pow(), ast.Name('t')))}"
    assert isinstance(line, Assign)
    return writer.assign(line)


def keeps_lost(wrap: Wrap) -> bool:
    """Return whether one more array keeps what x lost to rounding."""
    return wrap.rounding == "kahan" and wrap.values == "bfloat16"


def module(rule: Rule, constants: Iterable[str], code: Iterable[str]) -> str:
    """Return the source of a module of kernels.

    Args:
        rule: the rule that they are made from.
        constants: lines of what the module tells beside.
        code: the lines of the kernels. The functions that they call are put before them.
    """
    written = "\n".join(code)
    used = [name for name in triton_functions.__all__ if re.search(rf"\b{name}\(", written)]
    functions = [
        line
        for name in used
        for line in ("@triton.jit", inspect.getsource(getattr(triton_functions, name)), "")
    ]
    header = [
        heading(rule), "", "import triton", "import triton.language as tl", "", *constants, "", "",
    ]  # fmt: skip
    return "\n".join([*header, *functions, written, ""]).replace('"tl.constexpr"', "tl.constexpr")
