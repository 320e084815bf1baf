"""The faces of a rule: what it can be used for, found by trying."""

from dataclasses import dataclass

from thalweg import rules
from thalweg.kernels.body import PLAIN
from thalweg.kernels.translate import by_rows, translate, translate_sums
from thalweg.kind import MATRICES, SUMS
from thalweg.rule import Rule
from thalweg.theory.linearization import adaptive, linearize

__all__ = ["Faces", "faces"]


@dataclass(frozen=True)
class Faces:
    """What a rule can be used for; a sentence says why where it cannot.

    Attributes:
        kernel: "compiled", "in passes" or why not. Optimizers for torch
            (``thalweg.optim.Descent``), lanes of linear models and lanes of modules use a compiled
            kernel, so this is the answer for them too. Kernels in passes, of rules that look at
            whole tensors or orthogonalize a matrix, are used by optimizers alone.
        theory: "linear", "preconditioned", or why ``thalweg.theory`` has no matrix of it.
    """

    kernel: str
    theory: str


def faces(rule: str | Rule) -> Faces:
    """Return what a rule can be used for; ``descend`` takes every rule.

    Args:
        rule: a rule or its name.

    Raises:
        ValueError: no rule has that name.

    Example:
        >>> faces("momentum")
        Faces(kernel='compiled', theory='linear')
        >>> faces("adam").theory
        'preconditioned'
        >>> faces("lamb").kernel
        'in passes'
    """
    rule = rules.get(rule)
    try:
        if rule.kind in {MATRICES, SUMS}:
            matrix = rule.kind == MATRICES or by_rows(rule)
            translate_sums(rule, PLAIN, "matrix" if matrix else "vector")
            kernel = "in passes"
        else:
            translate(rule)
            kernel = "compiled"
    except ValueError as error:
        kernel = str(error)
    try:
        linearize(rule, rule.defaults)
        theory = "preconditioned" if adaptive(rule) else "linear"
    except ValueError as error:
        theory = str(error)
    return Faces(kernel, theory)
