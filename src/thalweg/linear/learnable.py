"""Whether linear models can be trained by a rule: their kernels are of single elements."""

import functools

from thalweg.kernels.translate import translate
from thalweg.kind import ELEMENT_WISE
from thalweg.rule import Rule

__all__ = ["check_learnable"]


def check_learnable(rule: Rule) -> None:
    """Raise ValueError unless linear models can be trained by a rule.

    Args:
        rule: any.

    Raises:
        ValueError: the rule looks at whole tensors or asks for gradients at other points, or its
            function cannot be compiled; that message has the line.

    Example:
        >>> from thalweg import rules
        >>> check_learnable(rules.get("lamb"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: rule 'lamb' looks at whole tensors, but linear models are trained by ...
    """
    if rule.kind != ELEMENT_WISE:
        elsewhere = f"asks for the {' and '.join(rule.inputs)} at other points"
        does = elsewhere if rule.inputs else "looks at whole tensors"
        raise ValueError(
            f"rule {rule.name!r} {does}, but linear models are trained by rules of single "
            "elements, such as adam; races of modules and thalweg.optim take it"
        )
    translated = _known if rule.built_in else translate  # a user's function may change
    translated(rule)


_known = functools.cache(translate)
