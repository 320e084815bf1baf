"""``thalweg rules`` and ``thalweg kernel``: the rules, and the kernels made from them."""

from typing import Annotated

import typer
from rich.table import Table

from thalweg.cli.terminal import say, show

__all__ = ["kernel", "rules"]


def kernel(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="Name of a rule.")],
    *,
    triton: Annotated[
        bool, typer.Option("--triton", help="Print the Triton kernels for GPUs.")
    ] = False,
) -> None:
    """Print the kernel source that is generated from the equation of a rule."""
    from thalweg import kernels  # noqa: PLC0415
    from thalweg import rules as known  # noqa: PLC0415
    from thalweg.kernels import triton as for_gpus  # noqa: PLC0415

    found = known.get(rule)
    try:
        text = for_gpus.source(found) if triton else kernels.source(found)
    except ValueError as error:  # its line is one of ours, of which the reader can change nothing
        why = str(error).rpartition("cannot be compiled: ")[2]
        raise ValueError(f"rule {found.name!r} has no such kernel: {why}") from error
    say(text)


def rules() -> None:
    """List the update rules: paper, theory, and hyperparameters with defaults and ranges.

    All but the last four make a torch optimizer and can be raced on modules; those that look at
    single elements can be raced on tables too. The column of theory says whether thalweg can
    predict how fast they converge: they must be linear in the gradient, or become so when their
    preconditioner is held constant.

    The last four need the Hessian of a problem or a line search. Only thalweg trace takes them.

    Wrappers follow. They go around any rule, and around each other: "lookahead(cautious(adamw))" is
    a rule too.
    """
    from rich.text import Text  # noqa: PLC0415

    from thalweg import problems, second_order, wrapper  # noqa: PLC0415
    from thalweg import rules as known  # noqa: PLC0415
    from thalweg.faces import faces  # noqa: PLC0415

    listed = _table("rule", "theory", "source")
    problem = problems.get("bowl")  # any problem will do: names and ranges are the same for all
    for name in (*known.names(), *second_order.METHODS):
        rule = second_order.get(name, problem)
        theory = "" if name in second_order.METHODS else faces(rule).theory.partition(" ")[0]
        theory = theory if theory in {"linear", "preconditioned"} else "-"
        shown = map(str, rule.hyperparameters.values())
        listed.add_row(name, Text("\n".join(shown)), theory, Text(rule.source))
    show(listed)
    around = _table("wrapper", "what it does", "source")
    for one in wrapper.declared():
        said = (one.__doc__ or "").partition("\n")[0]
        around.add_row(
            one.name, Text("\n".join(map(str, one.hyperparameters))), Text(said), Text(one.source)
        )
    say("")
    show(around)
    say("\na wrapper goes around a rule or around another wrapper: lookahead(cautious(adamw))")


def _table(first: str, *last: str) -> Table:
    """Return an empty table of names, with their hyperparameters in the second column."""
    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="underline")
    shown.add_column(first, no_wrap=True)
    shown.add_column("hyperparameters: default (range)", no_wrap=True)
    for name in last:
        shown.add_column(name, no_wrap=name == "theory")
    return shown
