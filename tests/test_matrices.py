"""What a rule may do with whole matrices, against their definitions, alone and side by side."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from thalweg import matrices
from thalweg.matrices import (
    T,
    columns,
    descending,
    eigenvectors,
    identity,
    orthogonalize,
    power,
    products_in,
    qr,
    rows,
    symmetric,
    take,
)
from thalweg.tensors import Tensors

Of = Callable[[Any], Any]
every_library = pytest.mark.parametrize("of", [np.asarray, torch.as_tensor])
SHAPES = ((6, 4), (4, 6), (5, 5), (3, 4, 2))


def drawn(*shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(1).normal(size=shape)


@every_library
@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values_are_brought_near_one_and_directions_stay(shape: Any, of: Of) -> None:
    a = drawn(*shape)
    left, values, right = np.linalg.svd(a, full_matrices=False)
    assert (values / np.sqrt((values**2).sum(-1, keepdims=True))).min() > 0.05
    found = np.asarray(orthogonalize(of(a)))
    inner = left.swapaxes(-1, -2) @ found @ right.swapaxes(-1, -2)
    near = np.diagonal(inner, axis1=-2, axis2=-1)
    assert (near > 0.68).all()
    assert (near < 1.21).all()
    np.testing.assert_allclose(inner, near[..., None, :] * np.eye(near.shape[-1]), atol=1e-12)
    assert not np.asarray(orthogonalize(of(0 * a))).any()


@every_library
@pytest.mark.parametrize("count", [255, 256, 300])
def test_a_symmetric_product_is_that_product(count: int, of: Of) -> None:
    a = drawn(2, count, 7)
    found = np.asarray(symmetric(of(a), T(of(a))))
    np.testing.assert_allclose(found, a @ a.swapaxes(-1, -2), rtol=1e-12, atol=1e-13)
    if count >= 256:  # below that it is one product
        np.testing.assert_array_equal(found[..., :128, 128:], T(found)[..., :128, 128:])


@every_library
@pytest.mark.parametrize("shape", [(7, 5), (300, 7), (2, 300, 7)])
def test_what_is_added_to_a_symmetric_product_is_added_whole(shape: Any, of: Of) -> None:
    a, b = drawn(*shape), drawn(shape[-2], shape[-2])
    plus, weights = b + b.T, np.linspace(0.25, 0.5, 2).reshape(-1, 1, 1)
    product = a @ a.swapaxes(-1, -2)
    for weight in (0.125, weights) if len(shape) > 2 else (0.125,):
        given = weight if isinstance(weight, float) else of(weight)
        for more in (plus + 0 * product, np.array(3.0)):  # at first a number
            found = np.asarray(symmetric(of(a), T(of(a)), given, of(more)))
            np.testing.assert_allclose(found, weight * product + more, rtol=1e-12, atol=1e-13)


def one_by_one(a: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Newton-Schulz steps of a wide matrix, each on what the last one gave."""
    y = a / np.linalg.norm(a)
    for _ in range(5):
        s = y @ y.T
        y = 3.4445 * y + (-4.775 * s + 2.0315 * s @ s) @ y
    return y


def wide(least: float) -> NDArray[np.float64]:
    """Return a matrix whose singular values fall from 1 to the least one."""
    left, _, right = np.linalg.svd(drawn(40, 64), full_matrices=False)
    return np.asarray(left * np.logspace(0, np.log10(least), 40) @ right)


@every_library
@pytest.mark.parametrize("least", [0.1, 1e-3, 1e-8])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-3)])
def test_all_steps_at_once_give_what_they_give_one_by_one(
    least: float, dtype: Any, tolerance: float, of: Of
) -> None:
    a = wide(least)
    found, wanted = np.asarray(orthogonalize(of(a.astype(dtype)))), one_by_one(a)
    assert found.dtype == dtype
    assert np.linalg.norm(found - wanted) < tolerance * np.linalg.norm(wanted)


@pytest.mark.parametrize("precision", ["high", "medium", "bfloat16"])
def test_where_products_have_few_digits_three_steps_are_taken_at_once(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A square of a square would take an eigenvalue of 0 far below it."""
    a, steps, factor = torch.as_tensor(wide(1e-3)).float(), [], matrices._factor

    def counted(s: Any, coefficients: Any, count: int) -> Any:
        steps.append(count)
        return factor(s, coefficients, count)

    monkeypatch.setattr(matrices, "_factor", counted)
    if precision != "bfloat16":
        monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: precision)
    with products_in(torch.bfloat16 if precision == "bfloat16" else None):
        found = orthogonalize(a)
        assert steps == [3, 2]
        orthogonalize(a[:, :40])
    assert steps[2:] == [1] * 5
    assert found.dtype is torch.float32
    wanted = one_by_one(wide(1e-3))
    assert np.linalg.norm(found.double().numpy() - wanted) < 0.1 * np.linalg.norm(wanted)


@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (300, 300), (2, 20, 60)])
@pytest.mark.parametrize("least", [0.3, 0.02])
def test_singular_values_are_brought_near_one_in_bfloat16(
    shape: tuple[int, ...], least: float
) -> None:
    a = torch.as_tensor(drawn(*shape)).float()
    left, _, right = torch.linalg.svd(a, full_matrices=False)
    near = torch.logspace(0, np.log10(least), left.shape[-1])
    with products_in(torch.bfloat16):
        values = torch.linalg.svdvals(orthogonalize(left * near @ right))
    assert values.min() > 0.66
    assert values.max() < 1.23


def test_the_number_before_a_step_has_more_digits_than_bfloat16() -> None:
    """Else all that is near 1 would be 1 % too small."""
    a = torch.as_tensor(drawn(300, 400)).float()
    a = 0.05 * torch.linalg.qr(a.T)[0].T.contiguous()
    with products_in(torch.bfloat16):
        found = orthogonalize(a)
    wanted = one_by_one(a.double().numpy())
    ratio = np.linalg.norm(found.double().numpy(), 2) / np.linalg.norm(wanted, 2)
    assert abs(ratio - 1) < 0.004


@every_library
@pytest.mark.parametrize("shape", [(5, 5), (4, 7), (7, 4)])
def test_a_matrix_is_changed_only_where_it_may_be(shape: tuple[int, int], of: Of) -> None:
    a = drawn(*shape)
    kept = a.copy()
    wanted = np.asarray(orthogonalize(of(a)))
    np.testing.assert_array_equal(a, kept)
    found = np.asarray(orthogonalize(of(a), overwrite_a=True))
    np.testing.assert_array_equal(found, wanted)
    assert np.shares_memory(found, a)


@every_library
def test_symmetric_matrices_have_powers_and_vectors_in_order(of: Of) -> None:
    a = drawn(2, 4, 4)
    a = a @ a.swapaxes(-1, -2)
    half = np.asarray(power(of(a), -0.5))
    np.testing.assert_allclose(half @ half @ a, np.broadcast_to(np.eye(4), a.shape), atol=1e-9)
    found = np.asarray(eigenvectors(of(a)))
    values = np.diagonal(found.swapaxes(-1, -2) @ a @ found, axis1=-2, axis2=-1)
    assert (np.diff(values) < 0).all()
    np.testing.assert_allclose(values, np.linalg.eigvalsh(a)[..., ::-1], rtol=1e-9)


@every_library
def test_the_rest_is_what_it_says(of: Of) -> None:
    a = drawn(2, 4, 3)
    q = np.asarray(qr(of(a)))
    np.testing.assert_allclose(
        q.swapaxes(-1, -2) @ q, np.broadcast_to(np.eye(3), (2, 3, 3)), atol=1e-12
    )
    np.testing.assert_array_equal(T(of(a)), a.swapaxes(-1, -2))
    np.testing.assert_array_equal(identity(of(a)), np.eye(4))
    assert (rows(of(a)), columns(of(a))) == (4, 3)
    down = descending(of(a[..., 0]))
    sorted_rows = np.asarray(take(of(a), down, 0))
    for one, wanted in zip(sorted_rows, a, strict=True):
        np.testing.assert_array_equal(one, wanted[np.argsort(-wanted[:, 0])])
    across = descending(of(a[:, 0]))
    for one, wanted in zip(np.asarray(take(of(a), across, 1)), a, strict=True):
        np.testing.assert_array_equal(one, wanted[:, np.argsort(-wanted[0])])


def test_matrices_of_a_model_are_treated_one_by_one() -> None:
    a, b = drawn(2, 3), drawn(3, 2)
    for part, wanted in zip(orthogonalize(Tensors([a, b])), (a, b), strict=True):
        np.testing.assert_array_equal(part, orthogonalize(wanted))


@pytest.mark.parametrize(
    "name",
    sorted({*matrices.__all__} - {"descending", "symmetric", "take", "power", "products_in"}),
)
def test_a_vector_is_refused_with_a_remedy(name: str) -> None:
    with pytest.raises(ValueError, match=r"tensor of shape \(3,\), .*otherwise='adamw'"):
        getattr(matrices, name)(np.ones(3))
