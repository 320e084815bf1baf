"""Which rules linear models can be trained by, against what the kernels of single elements take."""

import numpy as np
import pytest

from thalweg import rules
from thalweg.linear import LinearClassifier, train
from thalweg.linear.learnable import check_learnable


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lamb", "looks at whole tensors"),
        ("muon", "looks at whole tensors"),
        ("cautious(adam)", "looks at whole tensors"),
        ("sophia", "asks for the curvature at other points"),
        ("sam(adamw)", "asks for the gradient at other points"),
    ],
)
def test_a_rule_of_more_than_elements_is_refused_with_what_it_asks_for(
    name: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=f"{reason}, but linear models are trained by rules of"):
        check_learnable(rules.get(name))
    with pytest.raises(ValueError, match=f"^rule '.*' {reason}"):
        train(np.eye(4), [0.0, 1.0, 0.0, 1.0], rule=name, epochs=1)
    with pytest.raises(ValueError, match=reason):
        LinearClassifier(rule=name).fit(np.eye(4), [0, 1, 0, 1])


def test_rules_of_elements_are_taken() -> None:
    for name in ("sgd", "adan", "schedule_free_adamw", "averaged(adam)"):
        check_learnable(rules.get(name))
