"""Terms: a loss that is a sum, and whether one of its terms drowns the others."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from thalweg.doctor.allowance import Allowance
from thalweg.doctor.finding import Finding
from thalweg.doctor.loaders import Batch, inputs, target
from thalweg.doctor.subject import Copy, Subject, let_step
from thalweg.stack.calls import Calls
from thalweg.words import digits, percent

__all__ = ["lags", "terms_unbalanced"]

_ADDING, _TAKING = {"add", "radd", "iadd"}, {"sub", "isub"}
_LINEAR = {"mean", "sum", "mul", "rmul", "div", "truediv", "true_divide"}
_MOST = 8  # terms
_RATIO = 30.0  # between the gradients of two terms
_STAYS, _FALLS = 0.8, 0.6  # of its first value
_SLOW, _HALF = 0.5, 0.5  # of its first value; of what is left of it as it is
_NOTHING, _SOME = 0.05, 0.2  # of a term, what the inputs of each example take off it
_TENTH = 0.1  # of what they take off it without another term
_LESSER = 0.1  # of a term's gradient, of those of the others
_DEEP = 10.0  # times what all terms were at first
_ASIDE = 1e-6  # weight of a term that is all but left out
_HELD = 8  # batches
_SHAKEN = 1e-3  # by which inputs are moved
_LEAST = 1e-30  # in place of 0, to divide by


class _Terms(Calls):
    """Notes which numbers a loss is the sum of, also where examples are summed or it is scaled."""

    def __init__(self) -> None:
        super().__init__()
        self._sums: dict[int, list[Tensor]] = {}
        self._held: list[Tensor] = []  # so that no id is used twice

    def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:  # noqa: ANN401
        out = function(*args, **named)
        name = getattr(function, "__name__", "").strip("_")
        if not isinstance(out, Tensor) or out.ndim > 1:
            return out
        if name in _ADDING | _TAKING:
            parts = [self.of(a) if _counts(a) else [] for a in args[:2]]
            if name in _TAKING:
                parts[1:] = [[-term for term in part] for part in parts[1:]]
            self._note(out, [term for part in parts for term in part])
        elif name in _LINEAR:
            whole = next((a for a in args[:2] if id(a) in self._sums), None)
            if whole is not None and not any(_counts(a) for a in args[:2] if a is not whole):
                given = (
                    [t.expand_as(whole) if a is whole else a for a in args] for t in self.of(whole)
                )
                self._note(out, [function(*each, **named) for each in given])
        return out

    def _note(self, out: Tensor, terms: list[Tensor]) -> None:
        self._sums[id(out)] = terms
        self._held += [out, *terms]

    def of(self, total: Tensor) -> list[Tensor]:
        """Return the terms of a number; itself where it is no sum."""
        return self._sums.get(id(total), [total])


def _counts(part: object) -> bool:
    return isinstance(part, Tensor) and part.requires_grad


def _every_term(twin: Copy, batch: Any) -> list[Tensor]:  # noqa: ANN401
    mode = _Terms()
    with mode:
        return mode.of(twin.loss(batch))


class _Sum:
    """A loss as a sum of terms; those that no batch changes, penalties of weights, are one.

    Args:
        subject: whose loss it is.
    """

    def __init__(self, subject: Subject) -> None:
        twin = subject.copy()
        here, there, near = (
            [float(t.detach()) for t in _every_term(twin, batch)]
            for batch in (subject.batch, subject.batches[-1], _shaken(subject))
        )
        moves = [a != b or a != c for a, b, c in zip(here, there, near, strict=False)]
        still = [i for i, moved in enumerate(moves) if not moved]
        self._count = len(here) if len(here) == len(there) else 0
        self._groups = [[i] for i, moved in enumerate(moves) if moved] + ([still] if still else [])
        self.count = len(self._groups)
        self.penalty = self.count - 1 if still else None

    @property
    def known(self) -> bool:
        """Whether it has several terms, not too many, and the same for each batch."""
        return self._count > 0 and 2 <= self.count <= _MOST

    def terms(self, twin: Copy, batch: Any) -> list[Tensor]:  # noqa: ANN401
        """Return the terms on a batch; none where they are others than they were."""
        found = _every_term(twin, batch)
        if len(found) != self._count:
            return []
        return [torch.stack([found[i] for i in group]).sum() for group in self._groups]


def _shaken(subject: Subject) -> Batch:
    """Return the first batch with inputs a little aside, where they are numbers.

    Where all examples are one batch, no other one tells what depends on them.
    """
    torch.manual_seed(0)
    aside = lambda x: x + _SHAKEN * torch.randn_like(x)  # noqa: E731
    if not subject.pairs:
        return subject.batch
    moved = tree_map(
        lambda x: aside(x) if isinstance(x, Tensor) and x.is_floating_point() else x,
        inputs(subject.batch),
    )
    return (*moved, target(subject.batch))


def _sizes(twin: Copy, terms: list[Tensor]) -> list[float]:
    """Return the norm of each term's gradient."""
    parameters = [p for p in twin.parameters if p.requires_grad]
    found = []
    for term in terms:
        grads = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        found.append(math.sqrt(sum(float(g.pow(2).sum()) for g in grads if g is not None)))
    return found


def lags(subject: Subject) -> bool:
    """Return whether a term that reads targets is hardly less than at the start, as the sum hides.

    Args:
        subject: a training whose loss has fallen.
    """
    total = _Sum(subject)
    if not total.known:
        return False
    sums = []
    for twin in (subject.copy(), subject.now().copy()):
        twin.model.eval()
        found = [total.terms(twin, batch) for batch in subject.batches[:_HELD]]
        if not all(found):
            return False
        sums.append([float(sum(values).detach()) for values in zip(*found, strict=True)])
    stays = [i for i, (begin, end) in enumerate(zip(*sums, strict=True)) if end > _STAYS * begin]
    return any(_reads_targets(subject, total, i) for i in stays)


def terms_unbalanced(
    subject: Subject, steps: int, seconds: float, *, broken: bool = False
) -> Finding | None:
    """Look for a term of the loss that keeps the others from being learned.

    Args:
        subject: the training.
        steps: of each of some courses.
        seconds: of work for each, at most.
        broken: whether the loss ends as not a number, and no lower rate learns.
    """
    total = _Sum(subject)
    if not total.known:
        return None
    drowned = None if broken else _drowned(subject, total, steps, seconds)
    return drowned or _stifled(subject, total, steps, seconds, broken=broken)


def _drowned(subject: Subject, total: _Sum, steps: int, seconds: float) -> Finding | None:
    """Look for a term that stays where it is, and falls when terms are balanced."""
    twin = subject.copy()
    sizes = _sizes(twin, total.terms(twin, subject.batch))
    small = [
        i for i, size in enumerate(sizes)
        if 0 < _RATIO * size < max(sizes) and i != total.penalty
        and _reads_targets(subject, total, i)  # a penalty is meant to be small
    ]  # fmt: skip
    plain = _course(subject, total, [1.0] * len(sizes), steps, seconds) if small else []
    stays = [i for i in small if plain and plain[i] > _STAYS]
    lies = bool(stays)
    stays = stays or [i for i in small if plain and plain[i] > _SLOW]
    if not stays:
        return None
    which = min(stays, key=sizes.__getitem__)
    enough = _FALLS if lies else _HALF * plain[which]
    weights = [min(1.0, sizes[which] / size) if size > 0 else 1.0 for size in sizes]
    most = 1 / min(weights)

    def falls(weights: list[float]) -> float | None:
        balanced = _course(subject, total, weights, steps, seconds)
        return balanced[which] if balanced and balanced[which] < enough else None

    left = falls([w * most**0.5 for w in weights])
    if left is not None and not lies and falls([most**0.5] * len(sizes)) is not None:
        return None  # it falls as it is, and a higher rate is all that it lacks
    if left is None and falls([most] * len(sizes)) is None:  # nor does a higher rate help it
        left = falls([w * most for w in weights])
    if left is None:  # gradients that are even at the start are so no more when it has fallen
        left = falls([w if i == which else _LESSER * w for i, w in enumerate(weights)])
    if left is None:
        return None
    return Finding(
        "loss_terms_unbalanced",
        "problem" if lies else "warning",
        f"The loss is a sum of {len(sizes)} terms, and the gradient of one is "
        f"{digits(max(sizes) / sizes[which])} times that of another, of which "
        f"{digits(plain[which])} is left after {steps} steps; with balanced gradients "
        f"{digits(left)}.",
        {
            "ratio of gradients": max(sizes) / sizes[which],
            "left": plain[which],
            "left balanced": left,
        },
        f"gradients {_RATIO:.0f}-fold apart, and a term that falls only when they are balanced",
        "an experiment: the same steps on copies, with the terms as they are and balanced",
        sure=0.92,
    )


def _stifled(
    subject: Subject, total: _Sum, steps: int, seconds: float, *, broken: bool = False
) -> Finding | None:
    """Look for a term without which the others learn from the inputs, where they do not.

    Terms that read no target, such as differences along both sides of images, may do it together.
    """
    if not subject.pairs or subject.start_model is subject.model:
        return None
    own = [0.0] * total.count if broken else _heeded(subject.now().copy(), subject, total)
    silent = tuple(i for i in range(len(own)) if not _reads_targets(subject, total, i))
    # What asks examples to be alike is made of inputs, too: then those count that read targets.
    alone = any(not heeded < _TENTH for heeded in own)
    judged = [i for i in range(len(own)) if not alone or i not in silent]
    if not judged or any(not own[i] < _TENTH for i in judged):
        return None

    def course(aside: tuple[int, ...]) -> tuple[float, list[list[float]]]:
        weights = [_ASIDE if i in aside else 1.0 for i in range(len(own))]
        twin, values = _train(subject, total, weights, steps, seconds)
        heeded = enumerate(_heeded(twin, subject, total))
        heed = (h for i, h in heeded if i in judged and i not in aside and math.isfinite(h))
        return max(heed, default=0.0), values

    singles = silent if alone else range(len(own))
    best: dict[tuple[int, ...], float] = {(i,): course((i,))[0] for i in singles}
    if not max(best.values(), default=0.0) > _SOME and 1 < len(silent) < len(own):
        best[silent] = course(silent)[0]
    which = max(best, key=lambda aside: best[aside], default=())
    if not which or not best[which] > _SOME:
        return None
    (whole, values), used = course(()), max(own[i] for i in judged)
    if max(used, whole) > max(_NOTHING, _TENTH * best[which]):
        return None
    penalty = which == (total.penalty,)
    found = _stifling(len(own), len(which), None if broken else used, best[which], penalty=penalty)
    return _endless(found, values, which) or found


def _endless(found: Finding, values: list[list[float]], which: tuple[int, ...]) -> Finding | None:
    """Return the finding of a wrong sign, where the terms that stifle others fall far below 0."""
    if not values:
        return None
    begin, end = (sum(each[i] for i in which) for each in (values[0], values[-1]))
    others = sum(abs(value) for value in values[0])
    if not end < -_DEEP * max(others, abs(begin)):
        return None
    return replace(
        found,
        cause="loss_sign_wrong",
        sentence=f"A term of the loss falls from {digits(begin)} to {digits(end)}, and the whole "
        f"loss was {digits(others)} at most: a minus is missing, or one too many. {found.sentence}",
        evidence={**found.evidence, "term at first": begin, "term at the end": end},
        threshold=f"{_DEEP:.0f} times as far below 0 as all terms were from it at first; "
        f"{found.threshold}",
    )


def _stifling(
    count: int, aside: int, own: float | None, others: float, *, penalty: bool
) -> Finding:
    """Return the finding of terms that stifle others; own is None where the loss is not finite."""
    what = f"{aside} of its {count} terms" if aside > 1 else f"one of its {count} terms"
    what = "the penalty of the weights" if penalty else what
    as_it_is = (
        "The loss ends as not a number, and no lower rate learns. "
        if own is None
        else "The model makes next to no use of its inputs: with those of another example in their "
        f"place no term that asks for it is more than {percent(max(0.0, own))} higher. "
    )
    inputs_of_others = "" if own is not None else " with inputs of another example"
    return Finding(
        "weight_decay_too_high" if penalty else "loss_terms_unbalanced",
        "problem",
        f"{as_it_is}With {what} weighted {_ASIDE} another is {percent(others)} higher"
        f"{inputs_of_others}.",
        {"made of inputs": own or 0.0, "made of inputs without the term": others},
        f"below {percent(_NOTHING)}, or a tenth, as it is, and above {percent(_SOME)} without the "
        "term",
        "an experiment: a copy with the term all but left out, and inputs that change places",
        sure=0.92,
    )


def _heeded(twin: Copy, subject: Subject, total: _Sum) -> list[float]:
    """Return which share of each term is owed to every example's having its own inputs."""
    twin.model.eval()
    own, other = torch.zeros(1), torch.zeros(1)
    for batch in subject.batches[:_HELD]:
        x = inputs(batch)
        if not all(isinstance(one, Tensor) and one.ndim for one in tree_leaves(x)):
            return []
        torch.manual_seed(0)
        here = total.terms(twin, batch)
        torch.manual_seed(0)
        there = total.terms(twin, (*_rolled(x), target(batch)))
        if not here or not there:
            return []
        own, other = own + torch.stack(here).detach(), other + torch.stack(there).detach()
    comparable = (own == other) | (own * other > 0)  # a score's value has no sign of its own
    share = (other - own) / torch.maximum(own.abs(), other.abs()).clamp(min=_LEAST)
    shares: list[float] = torch.where(comparable, share, math.nan).tolist()
    return shares


def _rolled(tree: Any) -> Any:  # noqa: ANN401 - tensors in tuples and dicts
    """Return examples in which each has what the one before it had."""
    return tree_map(lambda t: t.roll(1, 0) if isinstance(t, Tensor) and t.ndim else t, tree)


def _reads_targets(subject: Subject, total: _Sum, which: int) -> bool:
    """Return whether a term of the loss is another when targets change places."""
    y = target(subject.batch)
    if not subject.pairs:
        return False
    values = []
    for one in (y, _rolled(y)):
        twin = subject.copy()
        torch.manual_seed(0)
        values.append(float(total.terms(twin, (*inputs(subject.batch), one))[which].detach()))
    return values[0] != values[1]


def _train(
    subject: Subject, total: _Sum, weights: list[float], steps: int, seconds: float
) -> tuple[Copy, list[list[float]]]:
    """Return a copy trained with weights of the terms, and the terms before each step."""
    twin, allowance = subject.copy(), Allowance(seconds)
    values: list[list[float]] = []
    for step in range(steps):
        batch = subject.batches[step % len(subject.batches)]

        def gradients(batch: Batch = batch) -> Tensor:
            twin.optimizer.zero_grad()
            terms = total.terms(twin, batch)
            values.append([float(t.detach()) for t in terms])
            loss = torch.stack([w * t for w, t in zip(weights, terms, strict=False)]).sum()
            loss.backward()
            if twin.clip is not None:
                torch.nn.utils.clip_grad_norm_(twin.parameters, twin.clip)
            return loss

        with allowance:
            gradients()
            let_step(twin.optimizer, gradients)
        del values[step + 1 :]
        if len(values[-1]) != len(weights):
            return twin, []
        if allowance.over:
            break
    return twin, values


def _course(
    subject: Subject, total: _Sum, weights: list[float], steps: int, seconds: float
) -> list[float]:
    """Return what is left of each term after steps with weights, over its first value."""
    _, values = _train(subject, total, weights, steps, seconds)
    if not values:
        return []
    tenth = max(1, len(values) // 10)
    ends = [sum(v[i] for v in values[-tenth:]) / tenth for i in range(len(weights))]
    return [
        e / s if s > 0 and math.isfinite(e) else 1.0 for e, s in zip(ends, values[0], strict=True)
    ]
