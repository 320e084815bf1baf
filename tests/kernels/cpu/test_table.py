"""The blocks of all arrays, shared by threads."""

import numpy as np

from thalweg.kernels import Step


def test_many_threads_and_one_give_the_same_bits() -> None:
    rng = np.random.default_rng(3)
    x, g = rng.standard_normal((2, 100_000))
    halves = [x[:30_000].copy(), x[30_000:].copy()]  # blocks fall elsewhere
    whole = x.copy()
    for step, gradient in (
        (Step("adam", [whole]), [g]),
        (Step("adam", halves), [g[:30_000].copy(), g[30_000:].copy()]),
    ):
        for _ in range(3):
            step(gradient)
    np.testing.assert_array_equal(whole, np.concatenate(halves))
