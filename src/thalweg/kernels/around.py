"""What a step does around its rule, in the rule's own kernel; see ``Wrap``."""

import ast
from dataclasses import replace

from thalweg.kernels.body import Body, Place, Wrap
from thalweg.kernels.builder import Builder, Value, literal

__all__ = ["before", "cautious"]


def before(builder: Builder, given: dict[str, Value], wrap: Wrap) -> None:
    """Do what comes before the rule: scale the gradient, add the coupled decay, shrink x."""

    def uniform(name: str) -> Value:
        return Value(ast.Name(name), Place.UNIFORM, steady=True)

    g, x = given["g"], given["x"]
    if wrap.scaled:
        builder.emit(["g"], [builder.binary(ast.Mult(), g, uniform("gradient_scale"))])
    if wrap.coupled:
        decay = uniform("coupled_decay")
        decayed = builder.binary(ast.Add(), g, builder.binary(ast.Mult(), decay, x))
        some = builder.compare(ast.NotEq(), decay, literal(0.0))
        builder.emit(["g"], [builder.where(some, decayed, g)])  # 0 times an infinite x is NaN
    if wrap.shrunk:
        builder.emit(["x"], [builder.binary(ast.Mult(), x, uniform("shrink"))])
    if wrap.cautious:
        builder.emit(["gradient", "before"], [g, x])


def cautious(body: Body) -> Body:
    """Let x move only where it moves down its gradient (Liang et al. 2024, Algorithm 1).

    It may also move to NaN: if it stayed, nobody would see that its state is lost.
    """
    gradient, before, moved = (
        Value(ast.Name(name), Place.ELEMENT) for name in ("gradient", "before", "moved")
    )
    x, *states = body.results
    builder = Builder()
    builder.emit(["moved"], [Value(x, Place.ELEMENT)])
    climb = builder.binary(ast.Mult(), builder.binary(ast.Sub(), before, moved), gradient)
    chosen = builder.where(builder.compare(ast.LtE(), climb, literal(0.0)), before, moved)
    return replace(
        body, element=(*body.element, *builder.lines[Place.ELEMENT]), results=(chosen.node, *states)
    )
