"""Estimates of the Hessian's diagonal, against the diagonal itself."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from thalweg.optim import gauss_newton_bartlett, hutchinson
from thalweg.optim.curvature import by_differences
from thalweg.tensors import Tensors


def diagonal(loss: Tensor, params: Sequence[Tensor]) -> list[Tensor]:
    """Return the diagonal of a loss's Hessian, an element at a time."""
    slopes = torch.autograd.grad(loss, params, create_graph=True)
    rows = [
        [torch.autograd.grad(e, p, retain_graph=True)[0].flatten()[i] for i, e in enumerate(g)]
        for g, p in zip((g.flatten() for g in slopes), params, strict=True)
    ]
    return [torch.stack(row).reshape(p.shape) for row, p in zip(rows, params, strict=True)]


def test_both_estimates_have_the_diagonal_as_their_mean() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    x, y = torch.randn(8, 5, dtype=torch.float64), torch.arange(8) % 3
    params = list(model.parameters())
    exact = torch.cat([d.flatten() for d in diagonal(cross_entropy(model(x), y), params)])

    def mean_agrees(one: Callable[[], list[Tensor]], exact: Tensor) -> bool:
        drawn = torch.stack([torch.cat([d.flatten() for d in one()]) for _ in range(64)])
        noise = drawn.std(0).norm() / 8
        return bool((drawn.mean(0) - exact).norm() < 1.6 * noise < exact.norm())

    assert mean_agrees(lambda: hutchinson(cross_entropy(model(x), y), params), exact)
    # Of a linear model, whose Hessian is Gauss and Newton's: the mean of p (1 - p) x².
    linear = nn.Linear(5, 3).double()
    p = torch.softmax(linear(x), dim=1).detach()
    whole = torch.einsum("bk,bi->ki", p * (1 - p), x**2) / 8
    own = list(linear.parameters())
    assert mean_agrees(lambda: gauss_newton_bartlett(linear(x), own)[:1], whole.flatten())


def test_differences_of_a_quadratic_are_its_diagonal() -> None:
    """Whatever the size of x, where the Hessian is diagonal every draw is exact."""
    bends = torch.tensor([1.0, 10.0, -3.0], dtype=torch.float64)
    for size in (0.0, 1e-6, 1.0, 1e6):
        x = Tensors([torch.full((3,), size, dtype=torch.float64)])
        (found,) = by_differences(lambda y: Tensors(bends * part for part in y), x)
        torch.testing.assert_close(found, bends, rtol=1e-9, atol=0)
