"""Every update rule, an equation each: here those that look at single elements.

Those that look at whole tensors are in ``sum_rules.py``, those of matrices in ``matrix_rules.py``.

``g`` is the gradient, ``x`` the parameters, ``t`` the step counted from 1; the names between ``x``
and ``*`` are the state, zero at the start unless declared; each function returns the new x, then
the new state. All operations are element-wise. Defaults are those of ``torch.optim`` where torch
has the rule. The functions are called with floats, NumPy arrays or torch tensors, and are the
only source of every compiled kernel.
"""

import re

from thalweg.elementwise import exp, log, maximum, minimum, sign, sqrt, where
from thalweg.equation import BELOW
from thalweg.rule import SECOND_ORDER, Rule, declared_names, registered, rule
from thalweg.words import closest
from thalweg.wrapper import named, split, unknown

__all__ = [
    "adabelief", "adadelta", "adafactor", "adagrad", "adam", "adam_mini", "adamax", "adamw", "adan",
    "ademamix", "adopt", "amsgrad", "asgd", "averaged_momentum", "came", "centered_rmsprop",
    "dadapt_adam", "dowg", "get", "lamb", "laprop", "lars", "lion", "mars", "momentum", "muon",
    "nadam", "nadamw", "names", "nesterov", "normuon", "novograd", "prodigy", "radam", "rmsprop",
    "rmsprop_momentum", "rprop", "rule", "schedule_free_adamw", "schedule_free_sgd", "sgd",
    "shampoo", "soap", "sophia", "stable_adamw", "yogi",
]  # fmt: skip


@rule("Robbins & Monro 1951")
def sgd(g, x, *, t, lr=1e-3):
    """Stochastic gradient descent; gradient descent when g is the full gradient.

    Example:
        >>> sgd(2.0, 1.0, t=1, lr=0.25)
        0.5
    """
    return x - lr * g


@rule("Polyak 1964; Sutskever et al. 2013")
def momentum(g, x, v, *, t, lr=1e-3, beta=0.9):
    """Heavy ball: a leaky sum of past gradients, of effective window 1/(1 - beta).

    Deviation: the rate multiplies the velocity, not the gradient, as in torch; the path is the
    same while the rate is constant.
    """
    v = beta * v + g
    return x - lr * v, v


@rule("Polyak 1964; Kingma & Ba 2015, Algorithm 1 without v")
def averaged_momentum(g, x, m, *, t, lr=1e-3, beta=0.9):
    """Momentum as a leaky average: it has the path of ``momentum`` with lr * (1 - beta)."""
    m = beta * m + (1 - beta) * g
    return x - lr * m, m


@rule("Nesterov 1983; Sutskever et al. 2013, equations 3-4")
def nesterov(g, x, v, *, t, lr=1e-3, beta=0.9):
    """Nesterov's accelerated gradient, the gradient taken at the look-ahead point.

    Deviation: written in shifted variables, as in torch: x here is the paper's look-ahead point
    x - lr * beta * v, so g is the gradient at x itself.
    """
    v = beta * v + g
    return x - lr * (g + beta * v), v


@rule("Duchi, Hazan & Singer 2011, Figure 1 (diagonal)")
def adagrad(g, x, s, *, t, lr=1e-2, eps=1e-10):
    """Adagrad: each coordinate's rate falls with the squares of its own gradients so far.

    Other texts put eps under the root: lr * g / sqrt(s + eps).
    """
    s = s + g * g
    return x - lr * g / (sqrt(s) + eps), s


@rule("Tieleman & Hinton 2012, lecture 6.5")
def rmsprop(g, x, s, *, t, lr=1e-2, gamma=0.99, eps=1e-8):
    """RMSProp: Adagrad with a leaky average of the squares, so that the rate can recover.

    The lecture has gamma = 0.9 and no eps; gamma is called alpha in torch. Other texts put eps
    under the root.
    """
    s = gamma * s + (1 - gamma) * g * g
    return x - lr * g / (sqrt(s) + eps), s


@rule("Graves 2013, equations 38-41")
def centered_rmsprop(g, x, s, m, *, t, lr=1e-2, gamma=0.99, eps=1e-8):
    """RMSProp by the variance of the gradient: the squared mean is taken off the mean square.

    Deviations: eps stands outside the root, as in torch; Graves has it under the root, and adds
    momentum. A variance that rounding takes below 0 counts as 0; torch's root is NaN there.
    """
    s = gamma * s + (1 - gamma) * g * g
    m = gamma * m + (1 - gamma) * g
    variance = maximum(s - m * m, 0.0)
    return x - lr * g / (sqrt(variance) + eps), s, m


@rule("Tieleman & Hinton 2012, lecture 6.5; Graves 2013, equations 38-41")
def rmsprop_momentum(g, x, s, v, *, t, lr=1e-2, gamma=0.99, beta=0.9, eps=1e-8):
    """RMSProp whose preconditioned gradient feeds a heavy ball."""
    s = gamma * s + (1 - gamma) * g * g
    v = beta * v + g / (sqrt(s) + eps)
    return x - lr * v, s, v


@rule("Zeiler 2012, Algorithm 1")
def adadelta(g, x, s, u, *, t, lr=1.0, rho=0.9, eps=1e-6):
    """Adadelta: the step's scale is the leaky root mean square of past steps (u is the paper's Δ).

    Here eps stands under both roots, as in the paper. Deviations: the paper has no lr; the factor
    is torch's, 1 by default; the paper's ratio of two roots is one root of a ratio, which float32
    loses where |g| > 1e19·√eps.
    """
    s = rho * s + (1 - rho) * g * g
    d = g * sqrt((u + eps) / (s + eps))
    return x - lr * d, s, rho * u + (1 - rho) * d * d


@rule("Kingma & Ba 2015, Algorithm 1")
def adam(g, x, m, v, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam: leaky averages of g and g², each corrected for its start at zero.

    Example:
        >>> x, m, v = adam(4.0, 1.0, 0.0, 0.0, t=1, lr=0.5, eps=0.0)
        >>> round(x, 12)
        0.5
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return x - lr * m_hat / (sqrt(v_hat) + eps), m, v


@rule("Reddi, Kale & Kumar 2018, Algorithm 2")
def amsgrad(g, x, m, v, v_max, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """AMSGrad: Adam whose second moment never falls.

    Deviation: both moments are bias-corrected and eps is added, as in torch; the paper has
    neither.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    v_max = maximum(v_max, v)
    m_hat = m / (1 - beta1**t)
    return x - lr * m_hat / (sqrt(v_max / (1 - beta2**t)) + eps), m, v, v_max


@rule("Loshchilov & Hutter 2019, Algorithm 2")
def adamw(g, x, m, v, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2):
    """Adam with decoupled weight decay: x shrinks by the factor 1 - lr * weight_decay first.

    Deviation: the decay is multiplied by lr, as in torch; the paper's schedule multiplier stands
    for it.
    """
    x = x - lr * weight_decay * x
    return adam(g, x, m, v, t=t, lr=lr, beta1=beta1, beta2=beta2, eps=eps)


@rule("Kingma & Ba 2015, Algorithm 2")
def adamax(g, x, m, u, *, t, lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam in the infinity norm: a leaky maximum in place of the root mean square.

    Deviation: eps is added to |g|, as in torch; the paper has none.
    """
    m = beta1 * m + (1 - beta1) * g
    u = maximum(beta2 * u, abs(g) + eps)
    return x - lr / (1 - beta1**t) * m / u, m, u


@rule("Dozat 2016, Algorithm 8", start={"mu_product": 1.0})
def nadam(
    g, x, m, v, *, t, mu_product,
    lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, momentum_decay=4e-3,
):  # fmt: skip
    """Adam with Nesterov's look-ahead in its first moment.

    The growing momentum mu_t = beta1 (1 - 0.5 * 0.96^(t momentum_decay)) is the paper's; its
    running product is uniform state.
    """
    mu = beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))
    mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * momentum_decay))
    mu_product = mu * mu_product
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_bar = (1 - mu) / (1 - mu_product) * g + mu_next / (1 - mu_product * mu_next) * m
    v_hat = v / (1 - beta2**t)
    return x - lr * m_bar / (sqrt(v_hat) + eps), m, v, mu_product


@rule("Liu et al. 2020, Algorithm 2")
def radam(g, x, m, v, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    """Rectified Adam: averaged momentum until the variance of 1/√v̂ is known to be finite.

    Deviations: it waits until rho_t > 5 and adds eps to √v before the bias correction, both as in
    torch; the paper waits until rho_t > 4 and has no eps.
    """
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat = m / (1 - beta1**t)
    rho_inf = 2 / (1 - beta2) - 1
    rho_t = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
    r = (
        sqrt((rho_t - 4) * (rho_t - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho_t))
        if rho_t > 5
        else 0.0
    )
    adaptive = r * sqrt(1 - beta2**t) * m_hat / (sqrt(v) + eps)
    return x - lr * (adaptive if rho_t > 5 else m_hat), m, v


@rule("Zaheer et al. 2018, Algorithm 2")
def yogi(g, x, m, v, *, t, lr=1e-2, beta1=0.9, beta2=0.999, eps=1e-3):
    """Adam whose second moment moves by at most (1 - beta2) g² per step, whatever v is.

    Deviation: both moments are bias-corrected, as in Adam, and start at zero; the paper corrects
    neither and starts v at 1e-6 in its experiments.
    """
    m = beta1 * m + (1 - beta1) * g
    v = v - (1 - beta2) * sign(v - g * g) * g * g
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return x - lr * m_hat / (sqrt(v_hat) + eps), m, v


@rule("Zhuang et al. 2020, Algorithm 2")
def adabelief(g, x, m, s, *, t, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-16):
    """Adam scaled by the gradient's deviation from its own prediction m, not by its square.

    eps enters twice, as in the paper: in s at every step and outside the root.
    """
    m = beta1 * m + (1 - beta1) * g
    s = beta2 * s + (1 - beta2) * (g - m) * (g - m) + eps
    m_hat = m / (1 - beta1**t)
    s_hat = s / (1 - beta2**t)
    return x - lr * m_hat / (sqrt(s_hat) + eps), m, s


@rule("Chen et al. 2023, Algorithm 2")
def lion(g, x, m, *, t, lr=1e-4, beta1=0.9, beta2=0.99, weight_decay=0.0):
    """Lion: the sign of an interpolated momentum; every coordinate moves by lr."""
    c = sign(beta1 * m + (1 - beta1) * g)
    return x - lr * (c + weight_decay * x), beta2 * m + (1 - beta2) * g


@rule("Riedmiller & Braun 1993", start={"step_size": "lr"})
def rprop(
    g, x, step_size, g_last, *, t,
    lr=1e-2, eta_minus=0.5, eta_plus=1.2, step_min=1e-6, step_max=50.0,
):  # fmt: skip
    """Rprop: a step size per coordinate, grown while the gradient's sign holds, cut when it flips.

    Meant for full gradients. lr is the first step size. Deviation: after a flip the coordinate
    rests for one step and the step before is not taken back, as in torch. A gradient that is NaN
    has no direction: the coordinate rests until one has.
    """
    agreement = g * g_last
    grown = where(agreement > 0, eta_plus * step_size, step_size)
    step_size = where(agreement < 0, eta_minus * step_size, grown)
    step_size = minimum(maximum(step_size, step_min), step_max)
    g = where(agreement < 0, 0.0, g)
    step = where(g > 0, step_size, where(g < 0, -step_size, 0.0))
    return x - step, step_size, g


@rule("Polyak & Juditsky 1992; Bottou 2012, section 5", start={"eta": "lr", "mu": 1.0})
def asgd(g, x, ax, *, t, eta, mu, lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6):
    """Averaged SGD: SGD at a falling rate, and ax, the average of its points from step t0 on.

    The rate eta of step t is lr / (1 + lambd * lr * (t - 1))^alpha; lambd also shrinks x, as L2
    regularization does. Deviation: eta and the weight mu are computed one step ahead and kept as
    uniform state, as in torch. So a scheduled lr takes effect one step late.
    """
    x = x - eta * lambd * x - eta * g
    ax = ax + mu * (x - ax)
    eta = lr / (1 + lambd * lr * t) ** alpha
    mu = 1 / maximum(1, t - t0)
    return x, ax, eta, mu


@asgd.answer
def _(ax):
    return ax


@rule("Dozat 2016, Algorithm 8; Loshchilov & Hutter 2019", start={"mu_product": 1.0})
def nadamw(
    g, x, m, v, *, t, mu_product,
    lr=2e-3, beta1=0.9, beta2=0.999, eps=1e-8, momentum_decay=4e-3, weight_decay=1e-2,
):  # fmt: skip
    """Adam with Nesterov's look-ahead and decoupled weight decay, as torch's NAdam has it."""
    x = x - lr * weight_decay * x
    return nadam(
        g, x, m, v, t=t, mu_product=mu_product,
        lr=lr, beta1=beta1, beta2=beta2, eps=eps, momentum_decay=momentum_decay,
    )  # fmt: skip


@rule("Ziyin, Wang & Ueda 2020, Algorithm 1")
def laprop(g, x, m, v, *, t, lr=4e-4, beta1=0.9, beta2=0.999, eps=1e-15):
    """Adam that averages the preconditioned gradient, instead of preconditioning the average.

    Deviation: the rate multiplies the average, not what is averaged; the path is the same while
    the rate is constant.
    """
    v = beta2 * v + (1 - beta2) * g * g
    m = beta1 * m + (1 - beta1) * g / (sqrt(v / (1 - beta2**t)) + eps)
    return x - lr * m / (1 - beta1**t), m, v


@rule("Taniguchi et al. 2024, Algorithm 2")
def adopt(g, x, m, v, *, t, lr=1e-3, beta1=0.9, beta2=0.9999, eps=1e-6):
    """Adam that divides by the second moment of the steps before, and clips what comes out.

    The first gradient is v's first value. The bound of the clip is 0 there, so that x rests; in
    the next step it is 1. The paper counts steps from the one after: its t is t - 1 here.
    """
    bound = (t - 1) ** 0.25
    m = beta1 * m + (1 - beta1) * minimum(maximum(g / maximum(sqrt(v), eps), -bound), bound)
    v = g * g if t == 1 else beta2 * v + (1 - beta2) * g * g
    return x - lr * m, m, v


@rule("Xie et al. 2024, Algorithm 1")
def adan(
    g, x, m, v, n, g_last, *, t,
    lr=1e-3, beta1=0.98, beta2=0.92, beta3=0.99, eps=1e-8, weight_decay=0.0,
):  # fmt: skip
    """Nesterov's look-ahead from differences of gradients: v averages them, n is scaled by.

    Each beta is one minus the paper's. Deviation: the averages are corrected for their start at
    zero, as in the authors' code.
    """
    d = 0.0 if t == 1 else g - g_last
    u = g + beta2 * d
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * d
    n = beta3 * n + (1 - beta3) * u * u
    ahead = m / (1 - beta1**t) + beta2 * v / (1 - beta2**t)
    x = x - lr * ahead / (sqrt(n / (1 - beta3**t)) + eps)
    return x / (1 + lr * weight_decay), m, v, n, g


@rule("Pagliardini, Ablin & Grangier 2025, Algorithm 1 and equation 2")
def ademamix(
    g, x, m, n, v, *, t,
    lr=1e-3, beta1=0.9, beta2=0.999, beta3=0.9999, slow_weight=5.0, warmup=0.0,
    eps=1e-8, weight_decay=0.0,
):  # fmt: skip
    """AdamW with a second average of gradients, n, which remembers ten thousand of them.

    slow_weight, the paper's α, is its weight. Over the first warmup steps the weight grows from 0,
    and n's memory from that of m; by default they are there from the start.
    """
    part = minimum(t / maximum(warmup, 1.0), 1.0)
    fast, slow = log(maximum(beta1, 1e-300)), log(maximum(beta3, 1e-300))
    beta = minimum(exp(1 / ((1 - part) / fast + part / slow)), beta3)
    beta = where(t < warmup, beta, beta3)
    m = beta1 * m + (1 - beta1) * g
    n = beta * n + (1 - beta) * g
    v = beta2 * v + (1 - beta2) * g * g
    ahead = m / (1 - beta1**t) + slow_weight * part * n
    v_hat = v / (1 - beta2**t)
    return x - lr * (ahead / (sqrt(v_hat) + eps) + weight_decay * x), m, n, v


@rule("Defazio et al. 2024, equations 3-5; weights as in their code")
def schedule_free_sgd(
    g, x, e, *, t, weights, top, lr=1.0, beta=0.9, weight_decay=0.0, warmup=0.0
):  # fmt: skip
    """SGD from z, the gradient taken between z and the average of all z, which is the answer.

    x is the paper's y, and e is z less the average, which starts at zero. The rate is constant but
    for a rise over the first warmup steps. Each z weighs as the square of the largest rate so far.
    """
    rate = lr * minimum(t / maximum(warmup, 1.0), 1.0)
    top = maximum(top, rate)
    weights = weights + top * top
    c = top * top / maximum(weights, 1e-300)
    step = rate * (g + weight_decay * x)
    e_new = (1 - c) * (e - step)
    return x - step + beta * (e - e_new), e_new, weights, top


@schedule_free_sgd.answer
def _(x, e, beta):
    return x - (1 - beta) * e


@rule("Defazio et al. 2024, Algorithm 1")
def schedule_free_adamw(
    g, x, e, v, *, t, weights, top,
    lr=2.5e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, warmup=0.0,
):  # fmt: skip
    """Schedule-free SGD on the gradient that Adam's second moment has scaled; beta1 is its beta."""
    v = beta2 * v + (1 - beta2) * g * g
    scaled = g / (sqrt(v / (1 - beta2**t)) + eps)
    x, e, weights, top = schedule_free_sgd(
        scaled, x, e, t=t, weights=weights, top=top,
        lr=lr, beta=beta1, weight_decay=weight_decay, warmup=warmup,
    )  # fmt: skip
    return x, e, v, weights, top


@schedule_free_adamw.answer
def _(x, e, beta1):
    return x - (1 - beta1) * e


# After those above, so that names() has the simpler ones first. Wrappers are there for get().
import thalweg.wrappers  # noqa: E402, F401 - it declares them
from thalweg.matrix_rules import muon, normuon, shampoo, soap  # noqa: E402
from thalweg.sum_rules import (  # noqa: E402
    adafactor,
    adam_mini,
    came,
    dadapt_adam,
    dowg,
    lamb,
    lars,
    mars,
    novograd,
    prodigy,
    sophia,
    stable_adamw,
)


def names(*kinds: str) -> tuple[str, ...]:
    """Return the names of all rules, the built-in ones first; of some kinds alone if given.

    Example:
        >>> names()[:3], names("matrices")
        (('sgd', 'momentum', 'averaged_momentum'), ('muon', 'normuon', 'shampoo', 'soap'))
    """
    return tuple(name for name in declared_names() if not kinds or get(name).kind in kinds)


def get(rule: str | Rule) -> Rule:
    """Return the rule of that name, also of one such as "cautious(adamw)"; a Rule as it is.

    Raises:
        ValueError: no rule has that name; the message lists the closest ones. Or a decorator was
            put around the rule, which would do nothing. Or wrapper and rule do not go together.
            Or it is a second-order method, which ``descend`` alone takes.
        TypeError: it is neither.

    Example:
        >>> get("adma")
        Traceback (most recent call last):
        ...
        ValueError: unknown rule 'adma'; did you mean adamax, adan, adam?
    """
    if isinstance(rule, Rule):
        return rule
    if not isinstance(rule, str):
        advice = f"; {BELOW}" if callable(rule) else ""  # type: ignore[unreachable] # a user may
        raise TypeError(f"a rule must be a Rule or the name of one, got {rule!r}{advice}")
    if found := registered(rule):
        return found
    if parts := split(rule):
        if around := named(parts[0]):
            return around(get(parts[1]))
        if registered(parts[0]):
            raise ValueError(
                f"rule {parts[0]!r} takes no parentheses, got {rule!r}; name it alone, without "
                "hyperparameters"
            )
        raise ValueError(unknown(parts[0]))
    if named(re.split(r"\W", rule)[0]):
        first, _, rest = re.sub(r"\W+", " ", rule).strip().partition(" ")
        raise ValueError(
            f"{rule!r} must be a wrapper around a rule: write '{first}({rest or 'adamw'})'"
        )
    if rule in SECOND_ORDER:
        raise ValueError(
            f"rule {rule!r} needs the Hessian of a problem or a search along a line: thalweg trace "
            "and thalweg.descend alone take it, without a wrapper"
        )
    hint = closest(rule, names()) or f"the rules are: {', '.join(names())}"
    raise ValueError(f"unknown rule {rule!r}; {hint}")
