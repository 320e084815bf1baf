"""Maps of rates against the rate at every point."""

import numpy as np
import pytest

from thalweg import theory
from theory.literature import memory_of, users_rules


@pytest.mark.parametrize("name", ["momentum", "adam", "nesterov", "rmsprop"])
def test_a_map_is_the_rate_at_every_point(name: str) -> None:
    lrs, second = np.geomspace(0.01, 3, 7), np.array([0.9, 0.1, 0.5])
    other = (memory_of(name) or ["eps"])[0]
    found = theory.rate_map(name, [0.2, 4.0], over={"lr": lrs, other: second})
    expected = [[theory.rate(name, [0.2, 4], lr=a, **{other: b}) for b in second] for a in lrs]
    np.testing.assert_allclose(found.rate, expected, rtol=1e-14)
    assert list(found.over) == ["lr", other]
    np.testing.assert_array_equal(found.over[other], second)
    assert theory.rate(name, [0.2, 4.0], **found.best) == pytest.approx(found.rate.min())


def test_a_map_keeps_what_is_given_and_takes_three_states() -> None:
    mine = users_rules()["aggregated"]
    grid = {"beta": [0.3, 0.8], "beta1": [0.0, 0.5, 0.9]}
    found = theory.rate_map(mine, [1.0, 2.0], grid, lr=0.2)
    for i, beta in enumerate(grid["beta"]):
        for j, beta1 in enumerate(grid["beta1"]):
            expected = theory.rate(mine, [1.0, 2.0], lr=0.2, beta=beta, beta1=beta1)
            assert found.rate[i, j] == pytest.approx(expected, rel=1e-12)
