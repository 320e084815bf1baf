"""The compiled training of linear models."""

import numpy as np

from thalweg.kernels.cpu.kernel import compiled_loss
from thalweg.kernels.cpu.linear import evaluate_blocks
from thalweg.kernels.cpu.vector import LANES
from thalweg.losses import LOSSES


def test_a_small_logistic_loss_keeps_its_digits() -> None:
    margins = np.array([0.1, 1.0, 10.0, 16.0, 17.0, 20.0, 50.0], np.float32)
    w = np.full((1, 1, 1, LANES), 1, np.float32)
    loss = compiled_loss(LOSSES["logistic"], np.dtype(np.float32)).values, np.float32(0)
    for margin in margins:
        found = np.empty((1, LANES))
        X, y = np.array([[margin]]), np.ones(1, np.float32)
        evaluate_blocks(loss, X, y, w, 0, 1, found)
        np.testing.assert_allclose(found, np.log1p(np.exp(-float(margin))), rtol=3e-7)
