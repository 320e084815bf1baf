"""``thalweg rules`` and ``thalweg kernel``: the rules, and the kernels made from them."""

from typing import Annotated

import typer

from thalweg.cli.terminal import console, say

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
    from thalweg.kernels import triton as for_gpus  # noqa: PLC0415

    say(for_gpus.source(rule) if triton else kernels.source(rule))


def rules() -> None:
    """List the update rules: paper, theory, and hyperparameters with defaults and ranges.

    All but the last four have a kernel, so there is a torch optimizer for them and they can be
    raced. The column of theory says whether thalweg can predict how fast they converge: they must
    be linear in the gradient, or become so when their preconditioner is held constant.

    The last four need the Hessian of a problem or a line search. Only thalweg trace takes them.
    """
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from thalweg import problems, second_order  # noqa: PLC0415
    from thalweg import rules as known  # noqa: PLC0415
    from thalweg.faces import faces  # noqa: PLC0415

    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="underline")
    shown.add_column("rule", no_wrap=True)
    shown.add_column("hyperparameters: default (range)", no_wrap=True)
    shown.add_column("theory", no_wrap=True)
    shown.add_column("source")
    problem = problems.get("bowl")  # any problem will do: names and ranges are the same for all
    for name in (*known.names(), *second_order.METHODS):
        rule = second_order.get(name, problem)
        ranges = (f"{h.name} {h.default:g} ({h.range})" for h in rule.hyperparameters.values())
        theory = "" if name in second_order.METHODS else faces(rule).theory.partition(" ")[0]
        shown.add_row(
            name,
            Text("\n".join(ranges)),
            theory if theory in {"linear", "preconditioned"} else "-",
            Text(rule.source),
        )
    console().print(shown)
