"""Gradients: finite where the loss is, and right where the user wrote the backward pass."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.utils._pytree import tree_leaves

from thalweg.doctor.allowance import Allowance
from thalweg.doctor.finding import Finding
from thalweg.doctor.loaders import Batch
from thalweg.doctor.replay import finite
from thalweg.doctor.subject import Copy, Subject, let_step, nodes, operation_of
from thalweg.stack.calls import Calls
from thalweg.words import digits

__all__ = ["CHECKS", "gradient_not_finite", "rectified", "surrogate"]

_STEPS = 64
_SECONDS = 0.5  # of work
_WAYS = (1e-3, 1e-4)  # steps along the gradient, in norms of the parameters
_UNLIKE = 0.5  # of a gradient's norm: further from it, the slope of the loss is another one
_CLOSE = 0.1  # of it: two slopes so close together are those of a smooth loss
_ROUNDING = 1e-5  # of the loss
_HUGE = 1e6  # a loss or a weight so large may overflow by itself
_ROOTS = (  # infinite derivative at 0; that of acos and asin is 1 over such a root
    *("Sqrt", "Pow", "Norm", "LinalgVectorNorm", "Std", "Cdist"),
    *("Acos", "Asin"),
)
_LOGARITHMS = {"Log", "Log2", "Log10"}
_DIVISIONS = {"div", "divide", "truediv", "true_divide"}
_OTHERS = 32  # batches, of which one has a finite loss
_UNDEFINED = {  # functions that give NaN of a number outside of where they are defined
    **dict.fromkeys(("sqrt", "rsqrt", "log", "log2", "log10"), "a number below 0"),
    **dict.fromkeys(("pow", "rpow"), "a fractional power of a number below 0"),
    **dict.fromkeys(("acos", "arccos", "asin", "arcsin"), "a number beyond -1 and 1"),
    **dict.fromkeys(("atanh", "arctanh"), "a number beyond -1 and 1"),
    "log1p": "a number below -1",
}
_RECTIFIERS = {"Relu", "Threshold", "Hardtanh", "Clamp", "ClampMin"}
_ZERO_STAYS = {  # operations after which a 0 is a 0 still
    *("Alias", "Cat", "Clone", "Div", "Expand", "Gather", "Index", "Mul", "Permute", "Select"),
    *("Slice", "Split", "Squeeze", "Stack", "T", "ToCopy", "Transpose", "Unbind", "UnsafeView"),
    *("Unsqueeze", "View"),
}


def gradient_not_finite(subject: Subject, steps: int = _STEPS) -> Finding | None:
    """Look for operations whose derivative is not finite, in plain steps on a copy."""
    twin, allowance = subject.copy(), Allowance(_SECONDS)
    for step, batch in enumerate(subject.batches[:steps]):
        with allowance:
            twin.optimizer.zero_grad()
            loss = twin.loss(batch)
            if not loss.requires_grad:
                return None
            if not float(loss.detach().abs()) < _HUGE:
                return None if finite(loss) else _broken(subject, twin, loss, step)
            if not all(map(_sound, twin.parameters)):
                return None
            loss.backward()
        named = dict(twin.model.named_parameters())
        bad = [name for name, p in named.items() if p.grad is not None and not finite(p.grad)]
        if bad:
            return _finding(float(loss.detach()), bad, _first(twin.loss(batch)), step)
        let_step(twin.optimizer, partial(twin.gradients, batch))
        bad = [name for name, p in named.items() if not finite(p)]
        if bad:
            return _made_by_step(twin, bad, step)
        if allowance.over:
            break
    return None


def _broken(subject: Subject, twin: Copy, loss: Tensor, step: int) -> Finding | None:
    """Look for what makes a loss of sound weights infinite or NaN."""
    return (
        _logarithm_of_zero(loss, step) or _made_by_batch(subject, step)
        or _undefined(twin, subject.batches[step], step)
    )  # fmt: skip


def _undefined(twin: Copy, batch: Batch, step: int) -> Finding | None:
    """Look for a function of a finite number that it has no value for, as a root of -1."""
    breaks = _Breaks()
    with torch.no_grad(), breaks:
        twin.loss(batch)
    if breaks.name not in _UNDEFINED or not breaks.finite:
        return None
    return Finding(
        "loss_not_finite",
        "problem",
        f"The loss is NaN, and all weights and inputs are finite: {breaks.name} takes "
        f"{_UNDEFINED[breaks.name]}. Keep its argument where it is defined, as softplus or a clamp "
        "does.",
        {"function": breaks.name},
        "the first function that gives NaN, of finite numbers",
        "an experiment: plain steps on a copy",
        onset=step,
        sure=0.9,
    )


def _made_by_step(twin: Copy, bad: list[str], step: int) -> Finding:
    """Return the finding of weights that a rule makes NaN of finite weights and gradients.

    In half precision the square of a gradient is 0 soon, and so is an eps of 1e-8.
    """
    first = twin.model.get_parameter(bad[0])
    kind, rule = str(first.dtype).removeprefix("torch."), type(twin.optimizer).__name__
    eps = float(twin.optimizer.param_groups[0].get("eps", 0.0))
    lost = eps > 0 and float(torch.tensor(eps, dtype=first.dtype)) == 0
    return Finding(
        "loss_not_finite",
        "problem",
        f"The step of {rule} makes {len(bad)} parameters NaN or infinite, though weights, "
        f"gradients and loss are finite. The weights are {kind}"
        + (
            f", in which its eps of {eps:.0e} is 0, and so is the square of a small gradient: 0/0. "
            "Use torch.autocast with weights in float32, or a larger eps, such as 1e-4."
            if lost
            else ": train weights in float32, and compute in half precision under torch.autocast."
        ),
        {"parameters": float(len(bad)), "weights": kind, "eps": eps},
        "a parameter that is finite before a step and not after it",
        "an experiment: plain steps on a copy",
        onset=step,
        sure=0.9,
    )


def _sound(parameter: Tensor) -> bool:
    """Return whether weights are far from what may overflow by itself."""
    most = min(_HUGE, 0.01 * torch.finfo(parameter.dtype).max)
    return not parameter.numel() or float(parameter.detach().abs().amax()) < most


def _finding(loss: float, bad: list[str], operation: str, step: int) -> Finding:
    root = operation.startswith(_ROOTS)
    behind = f"the derivative of {operation}" if operation else "a derivative"
    return Finding(
        "nan_gradient_of_sqrt_at_zero" if root else "gradient_not_finite",
        "problem",
        f"The loss is {digits(loss)}, and the gradients of {len(bad)} parameters are NaN or "
        f"infinite: {behind} is not finite where it is taken.",
        {"loss": loss, "parameters": float(len(bad)), "operation": operation or "not found"},
        "a gradient that is not finite, of a finite loss",
        "an experiment: plain steps on a copy",
        onset=step,
    )


def _logarithm_of_zero(loss: Tensor, step: int) -> Finding | None:
    """Look for a logarithm of zeros that a rectifier made, anywhere in a loss that is not finite.

    So one column of the outputs is seen, such as a variance beside a mean, and one of several.
    """
    for node in nodes(loss):
        if operation_of(node) not in _LOGARITHMS:
            continue
        share = float((node._saved_self == 0).float().mean())  # noqa: SLF001 - torch documents it
        if share > 0 and _rectified([given for given, _ in node.next_functions if given]):
            value = "NaN" if bool(loss.isnan()) else "infinite"
            return Finding(
                "relu_output_into_log",
                "problem",
                f"{share:.0%} of the numbers that a logarithm takes are exactly 0 (a ReLU made "
                f"them), and the loss is {value}.",
                {"share that is 0": share, "loss": str(float(loss.detach()))},
                "a logarithm takes zeros of a rectifier, and the loss is not finite",
                "an experiment: plain steps on a copy",
                onset=step,
            )
    return None


class _Breaks(Calls):
    """Notes the first function that makes NaN of numbers without NaN, and if they are finite."""

    def __init__(self) -> None:
        super().__init__()
        self.name, self.finite = "", False

    def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:  # noqa: ANN401
        out = function(*args, **named)
        if not self.name and _any(out, torch.isnan) and not _any((args, named), torch.isnan):
            self.name = getattr(function, "__name__", "").strip("_")
            self.finite = not _any((args, named), torch.isinf)
        return out


def _any(tree: Any, of: Callable[[Tensor], Tensor]) -> bool:  # noqa: ANN401 - tuples and dicts
    """Return whether any number of the tensors in a tree is so."""
    floats = (t for t in tree_leaves(tree) if isinstance(t, Tensor) and t.is_floating_point())
    return any(bool(of(t).any()) for t in floats)


def _made_by_batch(subject: Subject, step: int) -> Finding | None:
    """Look for a batch whose loss is not finite with weights with which those of others are."""
    others = [batch for place, batch in enumerate(subject.batches) if place != step][:_OTHERS]
    twin, breaks = subject.copy(), _Breaks()
    with torch.no_grad():
        found = (float(twin.loss(batch)) for batch in others)
        usual = next(filter(math.isfinite, found), math.nan)
        with breaks:
            own = float(twin.loss(subject.batches[step]))
    if not math.isfinite(usual) or math.isfinite(own):
        return None
    name = breaks.name
    told = f" The first function to give NaN is {name}." if name else ""
    if name in _DIVISIONS:
        told += " It divides by 0, as a mean over an empty mask and a vector over its norm do."
    return Finding(
        "loss_not_finite",
        "problem",
        f"The loss of batch {step} is {own}, and that of another batch {digits(usual)}, with the "
        f"same weights, those before any step: what this batch holds, or lacks, makes it so.{told}",
        {"loss": str(own), "loss of another batch": usual, "function": name},
        "a loss that is not finite on one batch and finite on another, with the same weights",
        "an experiment: plain steps on a copy",
        onset=step,
        sure=0.92,
    )


def rectified(tensor: Tensor) -> bool:
    """Return whether a tensor comes from a rectifier, whose zeros are in it as they are."""
    return tensor.grad_fn is not None and _rectified([tensor.grad_fn])


def _rectified(ahead: list[Any]) -> bool:
    """Return whether a rectifier is among nodes, or behind those after which a 0 is a 0 still."""
    for given in ahead:
        if operation_of(given) in _RECTIFIERS:
            return True
        if operation_of(given) in _ZERO_STAYS:
            ahead += [one for one, _ in given.next_functions if one not in (None, *ahead)]
    return False


def _first(loss: Tensor) -> str:
    """Return the first operation of the backward pass that makes numbers that are not finite."""
    found: list[str] = []

    def note(given: tuple[Tensor | None, ...], taken: tuple[Tensor | None, ...], name: str) -> None:
        if all(t is None or finite(t) for t in taken) and not all(
            t is None or finite(t) for t in given
        ):
            found.append(name)

    for node in nodes(loss):
        node.register_hook(partial(note, name=operation_of(node)))
    loss.backward()
    return found[0] if found else ""


def surrogate(subject: Subject) -> bool:
    """Return whether the loss has another derivative than its gradient: its value says little.

    A part of such a loss is detached on purpose: probabilities of a policy that acted, targets that
    the model itself gives. Asked by differences of the loss along the gradient, at the start.
    """
    twin = subject.copy()
    torch.manual_seed(0)
    loss = twin.loss(subject.batch)
    own = [p for p in twin.model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, own, allow_unused=True)
    pairs = [(p, g) for p, g in zip(own, gradients, strict=True) if g is not None]
    size = float(nn.utils.get_total_norm([g for _, g in pairs]))
    length = float(nn.utils.get_total_norm([p.detach() for p, _ in pairs]))
    told = min(_WAYS) * length * size  # the change that is to be seen
    if not _ROUNDING * abs(float(loss.detach())) < told < float("inf"):
        return False
    far, near = (_slope(subject, twin, pairs, way * length / size) for way in _WAYS)
    return abs(near - 1) > _UNLIKE and abs(far - near) < _CLOSE


def _slope(
    subject: Subject, twin: Copy, pairs: list[tuple[nn.Parameter, Tensor]], step: float
) -> float:
    """Return by how much the loss changes along its gradient, by how much it should."""
    starts, ends = [p.detach().clone() for p, _ in pairs], []
    for side in (-step, step):
        with torch.no_grad():
            for (p, g), start in zip(pairs, starts, strict=True):
                p.copy_(start + side * g)
        torch.manual_seed(0)
        ends.append(float(twin.loss(subject.batch).detach()))
    squares = sum(float(g.pow(2).sum()) for _, g in pairs)
    return (ends[1] - ends[0]) / (2 * step * squares)


def gradient_wrong(subject: Subject) -> Finding | None:
    """Look for a backward pass of the user's that is not the derivative of its forward pass.

    What is the identity forward, or piecewise constant, has another gradient on purpose: gradient
    reversal, and straight-through estimators.
    """
    own = {
        node._forward_cls  # type: ignore[attr-defined] # noqa: SLF001 - torch names it nowhere
        for node in nodes(subject.copy().loss(subject.batch))
        if isinstance(node, BackwardCFunction)
    }
    for function in own:
        for given in _calls(subject, function):
            slope, told = _derivatives(function, given)
            if abs(slope) > 1e-6 and abs(told - slope) > 0.05 * max(abs(slope), abs(told)):
                return Finding(
                    "gradient_wrong",
                    "problem",
                    f"backward() of {function.__name__} gives {digits(told)} along a direction in "
                    f"which forward() rises by {digits(slope)}.",
                    {"backward": told, "differences of forward": slope},
                    "more than 5 % apart, along a random direction",
                    "an experiment: central differences of forward in float64",
                )
    return None


def _calls(subject: Subject, function: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - a class
    """Return what a function of the user's is called with in one pass, at most twice."""
    given: list[tuple[Any, ...]] = []
    apply = function.apply

    def noting(*args: Any) -> Any:  # noqa: ANN401 - what the function takes and returns
        given.append(args)
        return apply(*args)

    function.apply = noting
    try:
        with torch.no_grad():
            subject.copy().loss(subject.batch)
    finally:
        del function.apply
    return given[:2]


def _derivatives(function: Any, given: tuple[Any, ...]) -> tuple[float, float]:  # noqa: ANN401
    """Return the slope of forward along a random direction, and what backward says of it."""
    floats = [isinstance(a, Tensor) and a.is_floating_point() for a in given]
    generator = torch.Generator().manual_seed(0)
    start = [a.detach().double() if f else a for a, f in zip(given, floats, strict=True)]
    way = [
        torch.randn(a.shape, generator=generator).to(a) if f else None
        for a, f in zip(start, floats, strict=True)
    ]
    leaf = [a.clone().requires_grad_() if f else a for a, f in zip(start, floats, strict=True)]
    out = function.apply(*leaf)
    if not isinstance(out, Tensor) or any(
        f and a.shape == out.shape and torch.equal(a, out)
        for a, f in zip(start, floats, strict=True)
    ):
        return 0.0, 0.0
    weights = torch.randn(out.shape, generator=generator).to(out)
    taken = [a for a, f in zip(leaf, floats, strict=True) if f]
    grads = torch.autograd.grad((out * weights).sum(), taken, allow_unused=True)
    ways = [w for w in way if w is not None]
    told = sum(float((g * w).sum()) for g, w in zip(grads, ways, strict=True) if g is not None)
    ends = []
    for step in (-1e-6, 1e-6):
        moved = [a if w is None else a + step * w for a, w in zip(start, way, strict=True)]
        with torch.no_grad():
            ends.append(float((function.apply(*moved) * weights).sum()))
    return (ends[1] - ends[0]) / 2e-6, told


CHECKS: tuple[Callable[[Subject], Finding | None], ...] = (gradient_not_finite, gradient_wrong)
