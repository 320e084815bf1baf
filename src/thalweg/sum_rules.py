"""Rules that look at a whole tensor, at its rows and columns, or at all tensors of a model.

They are written as those of ``rules.py``, with the functions of ``thalweg.sums`` beside. A state
has the shape that its equation gives it: LAMB's m and v that of x, NovoGrad's v one number,
Adafactor's r a column. The gradient and all states are those of one tensor; a rule that calls
``total``, or asks for a curvature, is called with all tensors of the model at once.
"""

from thalweg.elementwise import maximum, minimum, sqrt, where
from thalweg.rule import rule
from thalweg.sums import mean, norm, rms, total, tsum

__all__ = [
    "adafactor", "adam_mini", "came", "dadapt_adam", "dowg", "lamb", "lars", "mars", "novograd",
    "prodigy", "sophia", "stable_adamw",
]  # fmt: skip


def _over(a, b):
    """Return a / b; 0 where both are 0."""
    return a / where(b == 0, 1.0, b)


@rule("You, Gitman & Ginsburg 2017, Algorithm 1")
def lars(g, x, v, *, t, lr=1.0, beta=0.9, trust=1e-3, eps=1e-8, weight_decay=0.0):
    """Momentum at a rate of each tensor's own: trust ‖x‖ / ‖g‖, so that a step is a share of x.

    Deviations, all as in timm: eps is added to the divisor, the rate is lr alone where x or g is
    0, and lr multiplies the velocity, not what is added to it.
    """
    size, slope = norm(x), norm(g)
    local = where(size * slope > 0, trust * size / (slope + weight_decay * size + eps), 1.0)
    v = beta * v + local * (g + weight_decay * x)
    return x - lr * v, v


@rule("You et al. 2020, Algorithm 2")
def lamb(g, x, m, v, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=1e-2):
    """Adam's direction with decay, at the length lr ‖x‖ in each tensor.

    Deviation: the length is lr times the direction's own where x or the direction is 0, as in the
    authors' code.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    u = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps) + weight_decay * x
    size, length = norm(x), norm(u)
    trust = where(size * length > 0, _over(size, length), 1.0)
    return x - lr * trust * u, m, v


@rule("Ginsburg et al. 2019, Algorithm 1")
def novograd(g, x, m, v, *, t, lr=1e-2, beta1=0.95, beta2=0.98, eps=1e-8, weight_decay=0.0):
    """Momentum of gradients that are divided by their leaky norm, one number for each tensor."""
    size = tsum(g * g)
    v = size if t == 1 else beta2 * v + (1 - beta2) * size
    m = beta1 * m + (g / (sqrt(v) + eps) + weight_decay * x)
    return x - lr * m, m, v


@rule("Wortsman et al. 2023, Algorithm 2")
def stable_adamw(
    g, x, m, v, *, t, lr=1e-3, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=1e-2
):  # fmt: skip
    """AdamW whose rate falls in a tensor whose gradients have outgrown their second moment.

    The averages are corrected for their start at zero by betas that grow, as in Adafactor. The
    divisor of g² is at least eps², as in the paper's experiments.
    """
    fast = beta1 * (1 - beta1 ** (t - 1)) / (1 - beta1**t)
    slow = beta2 * (1 - beta2 ** (t - 1)) / (1 - beta2**t)
    m = fast * m + (1 - fast) * g
    v = slow * v + (1 - slow) * g * g
    rate = lr / maximum(sqrt(mean(g * g / maximum(v, eps * eps))), 1.0)
    return x - rate * (weight_decay * x + m / (sqrt(v) + eps)), m, v


@rule("Yuan et al. 2024, Algorithm 2 (MARS-AdamW)")
def mars(
    g, x, m, v, g_last, *, t,
    lr=3e-3, beta1=0.95, beta2=0.99, gamma=0.025, eps=1e-8, weight_decay=1e-2,
):  # fmt: skip
    """AdamW of the gradient and gamma of its change, which takes noise off, clipped at norm 1.

    gamma is its weight. Deviations: the gradient before is that of the last step's minibatch
    (MARS-approx), and the one before the first counts as 0, both as in the authors' code.
    """
    c = g + gamma * beta1 / (1 - beta1) * (g - g_last)
    c = c / maximum(norm(c), 1.0)
    m = beta1 * m + (1 - beta1) * c
    v = beta2 * v + (1 - beta2) * c * c
    ahead = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps)
    return x - lr * (ahead + weight_decay * x), m, v, g


@rule("Zhang et al. 2025, Algorithm 1")
def adam_mini(g, x, m, v, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2):
    """AdamW with one second moment for each row, the weights of one output.

    Deviation: the paper takes whole heads of attention, and rows of embeddings, as blocks too; here
    a block is a row of any matrix, and an element of a vector.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * mean(g * g, 1)
    ahead = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps)
    return x - lr * weight_decay * x - lr * ahead, m, v


def scaled_by(g, r, c):
    """Return g over the root of its second moment, which has the mean rows r and columns c."""
    return g / sqrt(r / mean(r, 0)) / sqrt(c)


def adafactor_step(u, x, *, t, lr, eps2, clip, weight_decay):
    """Return x after Adafactor's step along a direction: a share of x, of a bounded length."""
    rate = maximum(rms(x), eps2) * minimum(lr, t**-0.5)
    return (1 - lr * weight_decay) * x - rate * u / maximum(rms(u) / clip, 1.0)


@rule("Shazeer & Stern 2018, Algorithms 4 and 5")
def adafactor(
    g, x, r, c, *, t, lr=1e-2, decay=0.8, eps1=1e-30, eps2=1e-3, clip=1.0, weight_decay=0.0
):  # fmt: skip
    """Adam without a first moment, whose second moment is kept as means of its rows and columns.

    lr bounds the share of x that a step may be; the share falls as 1/√t. A vector is a matrix of
    one column, so that its second moment is kept whole. Deviation: weight_decay is added, times lr,
    as in torch.
    """
    forget = t**-decay
    r = (1 - forget) * r + forget * mean(g * g + eps1, 1)
    c = (1 - forget) * c + forget * mean(g * g + eps1, 0)
    u = scaled_by(g, r, c)
    x = adafactor_step(u, x, t=t, lr=lr, eps2=eps2, clip=clip, weight_decay=weight_decay)
    return x, r, c


@rule("Luo et al. 2023, Algorithm 2")
def came(
    g, x, m, r, c, p, q, *, t,
    lr=2e-4, beta1=0.9, beta2=0.999, beta3=0.9999, eps1=1e-30, eps2=1e-16, clip=1.0,
    weight_decay=0.0,
):  # fmt: skip
    """Adafactor with a first moment, divided by how far its updates stray from it.

    p and q are the mean rows and columns of that. A vector is a matrix of one column.
    """
    r = beta2 * r + (1 - beta2) * mean(g * g + eps1, 1)
    c = beta2 * c + (1 - beta2) * mean(g * g + eps1, 0)
    u = scaled_by(g, r, c)
    u = u / maximum(rms(u) / clip, 1.0)
    m = beta1 * m + (1 - beta1) * u
    apart = (u - m) * (u - m) + eps2
    p = beta3 * p + (1 - beta3) * mean(apart, 1)
    q = beta3 * q + (1 - beta3) * mean(apart, 0)
    return (1 - lr * weight_decay) * x - lr * scaled_by(m, p, q), m, r, c, p, q


@rule("Mishchenko & Defazio 2024, Algorithm 4", start={"x0": "x", "d": "d0"})
def prodigy(
    g, x, m, v, s, x0, *, t, d, r,
    lr=1.0, beta1=0.9, beta2=0.999, eps=1e-8, d0=1e-6, weight_decay=0.0,
):  # fmt: skip
    """Adam at a rate that it finds: lr times d, a lower bound of the way to a minimum.

    d is one for the whole model, and never falls. lr is a schedule's factor, usually 1, and may
    differ by group. Deviations, both as in the authors' code: eps is multiplied by the new d, not
    by the old one, and there is a weight_decay.
    """
    slow = sqrt(beta2)
    r = slow * r + (1 - slow) * total(lr * d * d * g * (x0 - x))
    s = slow * s + (1 - slow) * lr * d * d * g
    m = beta1 * m + (1 - beta1) * d * g
    v = beta2 * v + (1 - beta2) * d * d * g * g
    d_next = maximum(d, _over(r, total(abs(s))))
    x = x - lr * d * weight_decay * x - lr * d * m / (sqrt(v) + d_next * eps)
    return x, m, v, s, x0, d_next, r


@rule("Defazio & Mishchenko 2023, Algorithm 5", start={"d": "d0"})
def dadapt_adam(g, x, m, v, s, *, t, d, r, lr=1.0, beta1=0.9, beta2=0.999, eps=1e-8, d0=1e-6):
    """Adam at a rate that it finds, as Prodigy's forerunner: one d for the whole model.

    r is scaled by the v of the step before, as in the authors' code.
    """
    slow = sqrt(beta2)
    r = slow * r + (1 - slow) * total(lr * d * g * s / (sqrt(v) + eps))
    m = beta1 * m + (1 - beta1) * lr * d * g
    v = beta2 * v + (1 - beta2) * g * g
    s = slow * s + (1 - slow) * lr * d * g
    d = maximum(d, _over(r, (1 - slow) * total(abs(s))))
    return x - m / (sqrt(v) + eps), m, v, s, d, r


@rule("Khaled, Mishchenko & Jin 2023, Algorithm 1", start={"x0": "x", "distance": "distance0"})
def dowg(g, x, x0, *, t, distance, s, lr=1.0, distance0=1e-4, eps=1e-8):
    """SGD at a rate that it finds: the squared distance so far over the weighted gradients' norm.

    Deviation: eps is added to that norm; the paper has lr = 1 and no eps.
    """
    distance = maximum(distance, sqrt(total((x - x0) * (x - x0))))
    s = s + distance * distance * total(g * g)
    return x - lr * distance * distance / (sqrt(s) + eps) * g, x0, distance, s


@rule("Liu et al. 2024, Algorithm 3")
def sophia(
    g, x, m, h, *, t, curvature,
    lr=1e-3, beta1=0.96, beta2=0.99, scale=0.01, eps=1e-12, weight_decay=0.2, every=10.0,
):  # fmt: skip
    """Momentum over a leaky average of the Hessian's diagonal, no element moving by more than lr.

    The diagonal is estimated once in ``every`` steps, the paper's k, from the first one on. Where
    it is not positive, the element moves by lr. scale is the paper's gamma.
    """
    m = beta1 * m + (1 - beta1) * g
    if (t - 1) % every == 0:
        h = beta2 * h + (1 - beta2) * curvature(x)
    u = m / maximum(scale * h, eps)
    return x - lr * weight_decay * x - lr * maximum(minimum(u, 1.0), -1.0), m, h
