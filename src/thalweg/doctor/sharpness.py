"""Sharpness: how steep the loss is for the rule that descends it, against what the rule allows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor, nn
from torch.optim import Optimizer

from thalweg.doctor.loaders import Batch, untouched
from thalweg.doctor.preconditioner import Felt, felt
from thalweg.doctor.subject import Copy, LossFn, Step, bare
from thalweg.errors import TaskError, blamed

__all__ = ["CriticalRate", "critical_rate", "dot"]

Vector = list[Tensor]  # a member for each parameter
Product = Callable[[Vector], Vector]

_UNEQUAL = 0.1  # of a product's norm: rounding makes less of a difference between uᵀHv and vᵀHu
_STEP = 1e-3  # of a difference of gradients, as a share of the parameters' norm


@dataclass(frozen=True)
class CriticalRate:
    """The rate of an optimizer beside the one at which its rule becomes unstable.

    Args:
        lr: the rate of the next step; of several groups, of the one with the most elements.
        limit: ``theory.max_lr`` of the rule at this sharpness; inf where no direction curves up.
        sharpness: the largest eigenvalue of P⁻¹H, where H is the Hessian of the loss and P the
            rule's preconditioner; 1 for rules without one.
        rule: the rule's name.
        method: how products with H were computed: by ``"second derivatives"``, or by
            ``"differences of gradients"`` where those are missing.
        products: how many products with H it took.

    Full-batch training drives ``limit`` down to ``lr`` and then holds it there: this edge of
    stability is normal.
    """

    lr: float
    limit: float
    sharpness: float
    rule: str
    method: str
    products: int

    @property
    def ratio(self) -> float:
        """The rate over its limit: above 1 the largest curvature is not stable."""
        return self.lr / self.limit


def critical_rate(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: LossFn | None,
    batch: Batch,
    *,
    step: Step | None = None,
    tolerance: float = 0.01,
    products: int = 40,
) -> CriticalRate:
    """Measure the sharpness that an optimizer's rule feels on a batch, and the rate it allows.

    λ_max(P⁻¹H) by Lanczos' method on products of a vector with the Hessian, without storing more
    than three vectors; the limit is the least lr at which the rule's iteration matrix has the
    spectral radius 1.

    Args:
        model: the module, in the mode in which it is trained.
        optimizer: of torch.optim or thalweg.optim, at its state.
        loss_fn: of outputs and targets; None where ``step`` has it.
        batch: (x, y), or what ``step`` takes. The curvature is that of its loss: a small batch has
            a larger one than all data.
        step: the user's own (model, batch) -> loss.
        tolerance: bound of the error of the eigenvalue, as a share of it, at which to stop.
        products: the most products with the Hessian.

    Returns:
        The rate, its limit and the sharpness. Model, optimizer and random state are left as they
        were. A model that draws at random is taken with one draw.

    Raises:
        TaskError: the optimizer's rule is not known or not linear, or the loss cannot be computed.

    Example:
        >>> import torch
        >>> w = torch.nn.Linear(2, 1, bias=False)
        >>> optimizer = torch.optim.SGD(w.parameters(), lr=0.1, momentum=0.9)
        >>> x, y = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.zeros(2, 1)
        >>> measured = critical_rate(w, optimizer, torch.nn.functional.mse_loss, (x, y))
        >>> round(measured.sharpness, 4), round(measured.limit, 4)  # (2 + 2 * 0.9) / 4
        (4.0, 0.95)

    Cohen et al. 2021, "Gradient Descent on Neural Networks Typically Occurs at the Edge of
    Stability"; for adaptive rules Cohen et al. 2022, "Adaptive Gradient Methods at the Edge of
    Stability".
    """
    module = bare(model)
    training = Copy(module, optimizer, loss_fn, step)  # it is not stepped
    held = {p: None for group in optimizer.param_groups for p in group["params"] if p.requires_grad}
    with untouched([module]):
        gradients, product = _differentiated(training, batch, list(held))
        as_felt = felt(optimizer, {p: g.detach() for p, g in gradients.items()})
        roots = [s.sqrt() for s in as_felt.scales]
        start = _start(roots, gradients)
        method, seen = "second derivatives", _Felt(as_felt, roots, product)
        try:
            _refuse_once_differentiable(gradients.values())
            sharpness = _largest(seen, start, tolerance, products)
        except RuntimeError:  # torch lacks a second derivative, or a user's function gives none
            method = "differences of gradients"
            seen = _Felt(as_felt, roots, _differences(training, batch, list(gradients)))
            sharpness = _largest(seen, start, tolerance, products)
    limit = as_felt.max_lr(sharpness)
    return CriticalRate(as_felt.lr, limit, sharpness, as_felt.rule.name, method, seen.count)


class _Felt:
    """v → P^-½ (±H + decay) P^-½ v, which has the eigenvalues of P⁻¹ times the middle."""

    def __init__(self, as_felt: Felt, roots: Vector, product: Product) -> None:
        self._sign = -1.0 if as_felt.climbs else 1.0
        self._decays, self._roots, self._product = as_felt.decays, roots, product
        self.count = 0

    def __call__(self, v: Vector) -> Vector:
        self.count += 1
        scaled = [r * each for r, each in zip(self._roots, v, strict=True)]
        curved = self._product(scaled)
        return [
            r * (self._sign * c + decay * s)
            for r, c, s, decay in zip(self._roots, curved, scaled, self._decays, strict=True)
        ]


def _differentiated(
    training: Copy, batch: Batch, held: Vector
) -> tuple[dict[Tensor, Tensor], Product]:
    """Return the gradient by parameter, and the product with the Hessian by second derivatives."""
    with blamed("the loss"):
        loss = _loss(training, batch)
        if loss.numel() != 1 or not bool(loss.isfinite()):
            raise TaskError(f"the loss must be one finite number, got {loss.detach()}")
        if not loss.requires_grad:
            raise TaskError("the loss does not depend on any parameter in the optimizer")
        found = torch.autograd.grad(loss, held, create_graph=True, allow_unused=True)
    gradients = {p: g for p, g in zip(held, found, strict=True) if g is not None}
    if not gradients:
        raise TaskError("the loss does not depend on any parameter in the optimizer")

    def product(v: Vector) -> Vector:
        pairs = [(g, each) for g, each in zip(gradients.values(), v, strict=True)]
        pairs = [(g, each) for g, each in pairs if g.requires_grad]
        if not pairs:
            return [torch.zeros_like(each) for each in v]
        outputs, weights = zip(*pairs, strict=True)
        return list(
            torch.autograd.grad(
                outputs, list(gradients), weights, retain_graph=True, materialize_grads=True
            )
        )

    return gradients, product


def _refuse_once_differentiable(gradients: Iterable[Tensor]) -> None:
    """Raise RuntimeError if a function says that its backward pass has no derivative.

    torch leaves such a part out without a word where derivatives by given tensors are asked for.
    """
    seen, waiting = set(), [g.grad_fn for g in gradients]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]
    if any(node.name() == "Error" for node in seen):
        raise RuntimeError("a function is differentiable once")


def _loss(training: Copy, batch: Batch) -> Tensor:
    """Return the loss with the same draws each time."""
    torch.manual_seed(0)
    return training.loss(batch)


def _differences(training: Copy, batch: Batch, parameters: Vector) -> Product:
    """Return the product with the Hessian by central differences of gradients."""

    def gradient(v: Vector, scale: float) -> Vector:
        with _moved(parameters, v, scale), blamed("the loss"):
            loss = _loss(training, batch)
            return list(torch.autograd.grad(loss, parameters, materialize_grads=True))

    def product(v: Vector) -> Vector:
        length = _norm(v)
        if length == 0:
            return [torch.zeros_like(each) for each in v]
        h = _STEP * max(_norm(parameters), 1e-3) / length
        pairs = zip(gradient(v, h), gradient(v, -h), strict=True)
        return [(up - down) / (2 * h) for up, down in pairs]

    return product


@contextmanager
def _moved(parameters: Vector, v: Vector, scale: float) -> Iterator[None]:
    """Let parameters be others, in other memory; afterwards they are what and where they were."""
    own = [p.data for p in parameters]
    try:
        for p, each in zip(parameters, v, strict=True):
            p.data = p.data + scale * each
        yield
    finally:
        for p, data in zip(parameters, own, strict=True):
            p.data = data


def _start(roots: Vector, gradients: dict[Tensor, Tensor]) -> Vector:
    """Return where Lanczos' method begins: the gradient, and as much of a random direction.

    Where a training oscillates, the gradient lies along the largest curvature; the random part
    keeps it from missing a direction that has no gradient.
    """
    generator = torch.Generator().manual_seed(0)
    sloped = [r * g.detach() for r, g in zip(roots, gradients.values(), strict=True)]
    drawn = [torch.randn(g.shape, generator=generator).to(g) for g in sloped]
    slope, size = _norm(sloped) or 1.0, _norm(drawn)
    return [s / slope + d / size for s, d in zip(sloped, drawn, strict=True)]


def _largest(product: Product, start: Vector, tolerance: float, most: int) -> float:
    """Return the largest eigenvalue of a symmetric product, a bound from below.

    Lanczos' method without stored vectors: what it finds twice by rounding does not disturb the
    largest.

    Raises:
        RuntimeError: the product is not symmetric, as where a second derivative is wrong.
    """
    diagonal: list[float] = []
    beside: list[float] = []
    last = [torch.zeros_like(v) for v in start]
    size = _norm(start)
    now = [v / size for v in start]
    while True:
        following = product(now)
        diagonal.append(dot(now, following))
        kept = beside[-1] if beside else 0.0
        if beside and abs(dot(last, following) - kept) > _UNEQUAL * _norm(following):
            raise RuntimeError("the product with the Hessian is not symmetric")
        following = [
            f - diagonal[-1] * n - kept * p for f, n, p in zip(following, now, last, strict=True)
        ]
        size = _norm(following)
        values, vectors = eigh_tridiagonal(np.array(diagonal), np.array(beside))
        if not np.isfinite(size):
            raise TaskError("the curvature of the loss is not finite")
        error = size * abs(vectors[-1, -1])  # some eigenvalue is as near to values[-1]
        if error <= tolerance * abs(values[-1]) or len(diagonal) == most:
            return float(values[-1])
        beside.append(size)
        last, now = now, [f / size for f in following]


def dot(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Return the inner product of two lists of tensors, summed in double precision."""
    pairs = zip(one, other, strict=True)
    return float(torch.stack([(a * b).sum(dtype=torch.float64).cpu() for a, b in pairs]).sum())


def _norm(v: Sequence[Tensor]) -> float:
    return float(np.sqrt(dot([e.detach() for e in v], [e.detach() for e in v])))
