"""Remedies: what to write instead of what no kernel can be made of."""

import ast

from thalweg import elementwise, matrices, sums

__all__ = ["ALLOWED", "KNOWN", "WHOLE", "advice", "remedy"]

KNOWN = {name: getattr(elementwise, name) for name in elementwise.__all__} | {"abs": abs}

WHOLE = (
    "it looks at a whole tensor, and this kernel is of single elements; "
    "thalweg.optim.Descent and races of modules take the rule as it is"
)
ALLOWED = (
    "a rule may use assignments to names, + - * / ** // %, comparisons, `a if b else c`, `if` "
    "on t and hyperparameters, other rules, "
    "functions of its own and abs, exp, log, maximum, minimum, sign, sqrt, where"
)
_TESTS = "write `(a) * (b)` for `a and b`, `where(a, 1.0, b)` for `a or b`"
_COUNT = (
    "count by a state, as `n = where(n < 9, n + 1, 0.0)`; // and % are for t and hyperparameters"
)
_ELSEWHERE = "leave it out, or do it outside of the rule, which has equations alone"
_TUPLE = "return x and its state with commas between, as `return x, m`"
_REMEDIES: dict[type[ast.AST], str] = {
    ast.AugAssign: "it changes arrays in place, the caller's among them",
    ast.For: "write its steps out",
    ast.While: "write its steps out",
    ast.FunctionDef: "declare it outside of the rule",
    ast.Lambda: "declare it outside of the rule, with a name",
    ast.BoolOp: _TESTS,
    ast.BitAnd: _TESTS,
    ast.BitOr: _TESTS,
    ast.MatMult: WHOLE,
    ast.Mod: _COUNT,
    ast.FloorDiv: _COUNT,
    ast.Not: "write `where(test, 0.0, 1.0)`",
    ast.Invert: "write `where(test, 0.0, 1.0)`",
    ast.Compare: "compare two values; `(a < b) * (b < c)` is `a < b < c`",
    ast.NamedExpr: "give it its name in a line of its own, with `=`",
    ast.Subscript: "a rule sees no part of an array; give each number a name of its own",
    ast.Attribute: "give it a name outside of the rule, as `pi = math.pi`; a rule sees no shapes",
    ast.List: _TUPLE,
    ast.Dict: _TUPLE,
} | dict.fromkeys(
    (ast.Assert, ast.Raise, ast.Try, ast.With, ast.Delete, ast.Global, ast.Import, ast.ImportFrom),
    _ELSEWHERE,
)

_SAME = {"max": "maximum", "min": "minimum", "absolute": "abs", "fabs": "abs"}
_WRITTEN = {
    "clamp": "minimum(maximum(a, low), high)", "clip": "minimum(maximum(a, low), high)",
    "square": "a * a", "pow": "a**b", "rsqrt": "1 / sqrt(a)", "reciprocal": "1 / a",
    "neg": "-a", "add": "a + b", "sub": "a - b", "mul": "a * b", "div": "a / b",
    "lerp": "a + weight * (b - a)", "zeros_like": "0.0", "ones_like": "1.0",
}  # fmt: skip


def advice(name: str) -> str:
    """Return what to write instead of another library's function of that name; "" if unknown.

    Example:
        >>> advice("max"), advice("norm"), advice("square")
        ('call maximum, of thalweg.elementwise', 'call norm, of thalweg.sums', 'write `a * a`')
    """
    own = _SAME.get(name, name)
    if own in KNOWN:
        return f"call {own}, of {'Python' if own == 'abs' else 'thalweg.elementwise'}"
    for module in (sums, matrices):
        if own in module.__all__:
            return f"call {own}, of {module.__name__}"
    return f"write `{_WRITTEN[name]}`" if name in _WRITTEN else ""


def remedy(node: ast.AST) -> str:
    """Return what to write instead of a syntax node.

    Example:
        >>> remedy(ast.parse("m = (n := 1)").body[0].value)
        'give it its name in a line of its own, with `=`'
    """
    if isinstance(node, ast.Expr):  # a call whose value is not used
        return _ELSEWHERE
    kind = type(node.op if isinstance(node, ast.UnaryOp | ast.BinOp) else node)
    found = _REMEDIES.get(kind, ALLOWED)
    if isinstance(node, ast.AugAssign):
        value = ast.BinOp(node.target, node.op, node.value)
        found += f"; write `{ast.unparse(node.target)} = {ast.unparse(value)}`"
    return found
