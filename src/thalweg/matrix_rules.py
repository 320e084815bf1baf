"""Rules that look at whole matrices, with the functions of ``thalweg.matrices``.

They take tensors of two dimensions or more; ``Descent(model, rule, otherwise="adamw")`` gives
vectors, embeddings and heads to another rule. Optimizers show a tensor of more than two dimensions
as one matrix, outputs × rest.
"""

from thalweg.elementwise import maximum, sqrt
from thalweg.matrices import (
    T,
    columns,
    descending,
    eigenvectors,
    identity,
    orthogonalize,
    power,
    qr,
    rows,
    symmetric,
    take,
)
from thalweg.rule import rule
from thalweg.sums import mean

__all__ = ["muon", "normuon", "shampoo", "soap"]


def muon_step(g, x, m, *, lr, beta, weight_decay, factor, nesterov=True, **how):  # noqa: ANN003
    """Return x and m after a step along momentum whose singular values are brought near 1.

    factor is that of the rate; how goes to ``orthogonalize``.
    """
    m = beta * m + (1 - beta) * g
    u = orthogonalize(beta * m + (1 - beta) * g if nesterov else m, **how)
    return x - lr * weight_decay * x - lr * factor * u, m


@rule("Jordan et al. 2024; the rate as Liu et al. 2025, equation 4")
def muon(g, x, m, *, t, lr=1e-3, beta=0.95, weight_decay=0.1):
    """Nesterov's momentum with all singular values brought near 1.

    The factor 0.2 √max(rows, columns) gives steps the size of AdamW's, so that both can have one
    rate. Deviation: m is an average, not a sum, which a step does not tell apart but by rounding.
    """
    factor = 0.2 * maximum(rows(x), columns(x)) ** 0.5
    return muon_step(g, x, m, lr=lr, beta=beta, weight_decay=weight_decay, factor=factor)


@rule("Li et al. 2025, Algorithm 1")
def normuon(g, x, m, v, *, t, lr=1e-3, beta1=0.95, beta2=0.95, eps=1e-8, weight_decay=0.1):
    """Muon whose rows are scaled to equal size by a second moment of each; then 0.2 in the mean."""
    m = beta1 * m + (1 - beta1) * g
    u = orthogonalize(m)
    v = beta2 * v + (1 - beta2) * mean(u * u, 1)
    u = u / (sqrt(v) + eps)
    size = maximum(sqrt(mean(mean(u * u, 1), 0)), 1e-30)
    return x - lr * weight_decay * x - lr * 0.2 / size * u, m, v


@rule("Gupta, Koren & Singer 2018, Algorithm 1")
def shampoo(g, x, L, R, *, t, lr=1e-1, eps=1e-6):
    """Adagrad for matrices: the gradient between inverse fourth roots of GGᵀ and GᵀG, summed."""
    L = symmetric(g, T(g), 1.0, L)
    R = symmetric(T(g), g, 1.0, R)
    left = power(L + eps * identity(L), -0.25)
    right = power(R + eps * identity(R), -0.25)
    return x - lr * left @ g @ right, L, R


def followed(P, L):
    """Return P a QR step nearer to the eigenvectors of L, sorted by their values; and the order."""
    a = L @ P
    order = descending((P * a).sum(-2))
    a = take(a, order, 1)
    return qr(a), order


@rule("Vyas et al. 2025, Algorithm 3")
def soap(
    g, x, m, v, L, R, P, Q, *, t,
    lr=3e-3, beta1=0.95, beta2=0.95, eps=1e-8, weight_decay=1e-2, every=10.0,
):  # fmt: skip
    """Adam in the eigenvectors P and Q of GGᵀ and GᵀG, which follow by a QR step every few steps.

    Where a matrix is not square, eigenvectors of its null space are arbitrary: libraries that find
    other ones take other paths. Deviations, all as in the authors' code: the first step only finds
    P and Q; they are sorted by their values, and v with its rows and columns, before a QR step; m
    is kept in P and Q, and turned with them, in place of being turned there at each step.
    """
    L = symmetric(g, T(g), 1 - beta2, beta2 * L)
    R = symmetric(T(g), g, 1 - beta2, beta2 * R)
    if t == 1:
        return x, m, v, L, R, eigenvectors(L), eigenvectors(R)
    h = T(P) @ g @ Q
    m = beta1 * m + (1 - beta1) * h
    v = beta2 * v + (1 - beta2) * h * h
    u = P @ (m / (sqrt(v) + eps)) @ T(Q)
    x = x - lr * sqrt(1 - beta2 ** (t - 1)) / (1 - beta1 ** (t - 1)) * u
    x = x - lr * weight_decay * x
    if (t - 1) % every == 0:
        m = P @ m @ T(Q)
        (P, i), (Q, j) = followed(P, L), followed(Q, R)
        v = take(take(v, i, 0), j, 1)
        m = T(P) @ m @ Q
    return x, m, v, L, R, P, Q
