"""What torch's options make of rules, against torch."""

from typing import Any

import numpy as np

from optim_pairs import BOTH, Configuration, ends


def test_dampening_that_is_set_later_leaves_nesterov() -> None:
    """torch refuses the two together when an optimizer is made, and takes both in a step."""

    def dampen(group: dict[str, Any], t: int) -> None:
        group["dampening"] = 0.2 * t

    configuration = Configuration("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True})
    ours, theirs = (ends(library, configuration, 5, dampen) for library in BOTH)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
