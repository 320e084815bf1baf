"""Rules that torch lacks against other libraries, on random tensors of many shapes."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from references import FILE, KEPT, STEPS, Problem
from thalweg import rules
from thalweg.tensors import Tensors

REFERENCES: dict[str, dict[str, Any]] = json.loads(FILE.read_text())


def assert_near(points: list[Any], expected: list[Any], start: list[Any], within: float) -> None:
    """Assert that each tensor is off by that share of the root mean square of its move at most."""
    for x, there, first in zip(points, expected, start, strict=True):
        moved = np.sqrt(np.mean(np.square(np.subtract(there, first))))
        np.testing.assert_allclose(x, there, rtol=0, atol=within * moved)


@pytest.mark.parametrize("of", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("name", REFERENCES)
def test_twenty_steps_end_where_another_library_does(name: str, of: Any) -> None:
    rule, reference, problem = rules.get(name), REFERENCES[name], Problem(name)
    hyper = rule.resolve(reference["hyper"])
    within = 1e-11 if name in {"soap", "shampoo"} else 1e-12
    # A rule that looks at all tensors is called once with all, another one once for each.
    points = [Tensors(map(of, problem.start))] if rule.joint else list(map(of, problem.start))

    def tensors() -> list[Any]:
        return list(points[0]) if rule.joint else points

    states = [rule.first_state(x, hyper) for x in points]
    for t in range(1, STEPS + 1):
        slopes: list[Any] = list(map(of, problem.gradients(t, list(map(np.asarray, tensors())))))
        for i, g in enumerate([Tensors(slopes)] if rule.joint else slopes):
            points[i], states[i] = rule.advance(g, points[i], states[i], t=t, hyper=hyper)
        if t in KEPT:
            assert_near(tensors(), reference["points"][str(t)], problem.start, within)
    assert ("answer" in reference["points"]) is (rule.judged is not None)
    if rule.judged is not None:
        answers = [rule.answer_at(x, own, hyper) for x, own in zip(points, states, strict=True)]
        assert_near(answers, reference["points"]["answer"], problem.start, within)
