"""Operations on vectors of lanes."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg.elementwise import sign
from thalweg.kernels import Step
from thalweg.kernels.cpu import simd
from thalweg.kernels.cpu.vector import LANES, aligned_zeros
from thalweg.linear import train
from thalweg.rule import rule


def against_the_sign(g, x, *, t):  # noqa: ANN001, ANN201
    return x - sign(g)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_sign_of_a_subnormal_number_is_numpys(dtype: Any) -> None:
    g = np.array([1e-40, -1e-40], dtype)
    x = np.zeros_like(g)
    Step(rule("test")(against_the_sign), [x])([g])
    np.testing.assert_array_equal(x, -np.sign(g))


def test_powers_do_not_become_subnormal() -> None:
    """beta**t runs through 1e-300 at step 6,557 for beta = 0.9; there it must end at 0."""
    X = np.random.default_rng(0).standard_normal((100, 2))
    fit = train(X, X[:, 0], rule="adam", epochs=70, batch_size=1, lr=1e-3, dtype="float64")
    assert math.isclose(fit.coef[0, 0, 0], 1.0, abs_tol=0.05)


def test_powers_of_a_negative_number_alternate() -> None:
    """In a training, where a power is last step's times the base."""

    @rule("test")
    def alternating(g, x, *, t, lr=0.1, base=-0.9):  # noqa: ANN001, ANN202
        return x - lr * (2 + base**t) * g

    X, y = np.ones((1, 1)), np.ones(1)
    fit = train(X, y, rule=alternating, epochs=9, evaluate_every=9, batch_size=1, dtype="float64")
    w = np.zeros(2)  # intercept and weight: the loss is (sum w - 1)^2 / 2
    for t in range(1, 10):
        w = alternating(np.full(2, w.sum() - 1), w, t=t)
    np.testing.assert_allclose(fit.coef.ravel(), w[:1], rtol=1e-12)


def test_compiled_code_of_another_version_is_not_used(tmp_path: Path) -> None:
    """Numba looks at the file of a driver alone, and not at those of the functions in it."""
    folder = Path(simd.__file__).parent
    copy = shutil.copytree(folder, tmp_path / "cpu")
    assert simd._fingerprint(copy) == simd.FINGERPRINT
    for file in copy.glob("*.py"):
        before = file.read_text("utf-8")
        file.write_text(before + "\n", "utf-8")
        assert simd._fingerprint(copy) != simd.FINGERPRINT, file.name
        file.write_text(before, "utf-8")


def test_tables_of_lanes_begin_at_a_line_of_the_cache() -> None:
    tables = [aligned_zeros((3, size, LANES), np.float32) for size in range(1, 9)]
    assert not any(table.ctypes.data % 64 for table in tables)
    assert all(not table.any() and table.flags.c_contiguous for table in tables)
    assert [table.shape for table in tables] == [(3, size, LANES) for size in range(1, 9)]
