"""Memory as vectors of lanes."""

import numpy as np

from thalweg.kernels import Step


def test_what_lies_behind_an_array_is_not_touched() -> None:
    buffer = np.arange(24, dtype=np.float32)
    Step("adam", [buffer[:11]])([np.ones(11, np.float32)])
    np.testing.assert_array_equal(buffer[11:], np.arange(11, 24))
