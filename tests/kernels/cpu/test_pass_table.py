"""Tensors in groups and blocks: the same bits for any number of threads, and little memory."""

from collections.abc import Iterator

import numba
import numpy as np
import pytest
import torch

from thalweg import optim
from thalweg.kernels.body import PLAIN
from thalweg.kernels.cpu.accumulate import added, exact, nothing
from thalweg.kernels.cpu.kernel import compiled_passes
from thalweg.kernels.cpu.memory import load
from thalweg.kernels.cpu.pass_table import PassTable
from thalweg.rules import get

SHAPES = [(700, 300), (5, 60_000), (150_000,), (20, 30), (30,), (90_000, 3)]


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def trained(rule: str, count: int) -> list[torch.Tensor]:
    torch.set_num_threads(count)
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(s, generator=generator) for s in SHAPES]
    parameters = [value.requires_grad_() for value in values]
    optimizer = optim.Descent(parameters, rule, lr=0.01)
    for _ in range(2):
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
    states = (optimizer.state[p][k] for p in parameters for k in sorted(optimizer.state[p]))
    return [*(p.detach() for p in parameters), *states]


@pytest.mark.skipif(numba.get_num_threads() < 2, reason="Numba has started one thread alone")
@pytest.mark.parametrize("rule", ["adafactor", "prodigy"])
def test_many_threads_and_one_give_the_same_bits(rule: str, threads: None) -> None:
    one, two = trained(rule, 1), trained(rule, 2)
    assert all(map(torch.equal, one, two))


def test_a_tensor_is_stepped_alike_whatever_is_beside_it() -> None:
    together = torch.linspace(-1, 1, 40_000, dtype=torch.float64).reshape(200, 200)
    alone = together.clone().requires_grad_()
    together.requires_grad_()
    other = torch.ones(70, 7_000, dtype=torch.float64, requires_grad=True)
    many, one = optim.Descent([other, together], "came"), optim.Descent([alone], "came")
    for step in (1, 2):
        other.grad = torch.full_like(other, 0.5)
        together.grad = together.detach().mul(step).sin()
        alone.grad = together.grad.clone()
        many.step()
        one.step()
    assert torch.equal(together, alone)


@pytest.mark.parametrize(
    ("shapes", "most"),
    [
        ([(50_257, 768), (1_024, 768), *[(768, 3_072)] * 3, (3_072, 768)], 1_500_000),
        ([(512, 4_608)] * 20, 1_200_000),
        ([(768, 50_257)], 1_500_000),
    ],
)
def test_between_passes_little_is_kept(shapes: list[tuple[int, int]], most: int) -> None:
    kernel = compiled_passes(get("came"), np.dtype("float32"), PLAIN, "matrix")
    count = len(shapes)
    table = PassTable(kernel, shapes, [[0, 0]] * count, [[0] * 4] * count, [4] * 3)
    kept = (table._scratch, table._sums, table._slots, table._partial)
    assert sum(array.nbytes for array in kept) < most


@numba.njit
def _summed(numbers):  # noqa: ANN001, ANN202
    return added(nothing() + exact(load(numbers, 0)))


def test_lanes_are_added_in_one_order() -> None:
    from thalweg.kernels.cpu.memory import pointer  # noqa: PLC0415 - beside what it is used with

    @numba.njit
    def of(array):  # noqa: ANN001, ANN202
        return _summed(pointer(array))

    lanes = np.array([1e8, 1.0, -1e8, 3.0, 0.25, 1e-3, 7.0, 1e4], np.float32)
    a = lanes.astype(np.float64)
    halves = a[:4] + a[4:]
    quarters = halves[:2] + halves[2:]
    assert of(lanes) == quarters[0] + quarters[1]
