"""Rules that torch lacks against other libraries, on random tensors of many shapes."""

import json
from typing import Any

import numpy as np
import pytest

from references import FILE, KEPT, STEPS, Problem
from thalweg import rules

REFERENCES: dict[str, dict[str, Any]] = json.loads(FILE.read_text())


def assert_near(points: list[Any], expected: list[Any], start: list[Any]) -> None:
    """Assert that each tensor is off by 1e-12 of the root mean square of its move at most."""
    for x, there, first in zip(points, expected, start, strict=True):
        moved = np.sqrt(np.mean(np.square(np.subtract(there, first))))
        np.testing.assert_allclose(x, there, rtol=0, atol=1e-12 * moved)


@pytest.mark.parametrize("name", REFERENCES)
def test_twenty_steps_end_where_another_library_does(name: str) -> None:
    rule, reference, problem = rules.get(name), REFERENCES[name], Problem()
    hyper = rule.resolve(reference["hyper"])
    points = list(problem.start)
    states = [rule.first_state(x, hyper) for x in points]
    for t in range(1, STEPS + 1):
        for i, g in enumerate(problem.gradients(t, points)):
            points[i], states[i] = rule.advance(g, points[i], states[i], t=t, hyper=hyper)
        if t in KEPT:
            assert_near(points, reference["points"][str(t)], problem.start)
    assert ("answer" in reference["points"]) is (rule.judged is not None)
    if rule.judged is not None:
        answers = [rule.answer_at(x, own, hyper) for x, own in zip(points, states, strict=True)]
        assert_near(answers, reference["points"]["answer"], problem.start)
