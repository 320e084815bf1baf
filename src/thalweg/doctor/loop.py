"""The loop: what the hooks saw of the user's own training loop."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count

import torch
from torch import nn

from thalweg.doctor.finding import Finding
from thalweg.doctor.loaders import merged
from thalweg.doctor.signals import Signals
from thalweg.doctor.subject import Copy, Subject
from thalweg.doctor.treatment import Treatment
from thalweg.doctor.treatments import clipping
from thalweg.doctor.trials import Course, Trials, tail
from thalweg.words import digits, listed

__all__ = [
    "kept_at_top",
    "look_at_loop",
    "schedule_ended",
    "too_early",
    "undivided",
    "unlike_plain",
]

_SEEN = "hooks of the optimizer's step"
_HALF = 0.5  # of what the plain course learns, or of what a step changes
_ENDED = 0.02  # of the largest rate
_RAISED = 2.0  # times the first rate
_TINY = 0.05  # of the norm of a gradient
_STAYS = 0.8  # of its first value
_ASKED = 8  # batches
_FADED = 1e-6  # of the norm of all gradients
_NOTED = 3  # steps, fewer of which say little of a gradient
_MANY = 20  # steps, after which something should have changed
_ROUNDED = torch.finfo(torch.float32).eps  # of the norm of the parameters


def look_at_loop(
    signals: Signals, subject: Subject
) -> Iterator[tuple[str, Callable[[], Finding | None]]]:
    """Yield the checks of what the hooks saw of the loop, by name."""
    looks = (
        gradients_not_zeroed,
        trained_in_eval_mode,
        loss_made_anew,
        gradients_lost,
        graph_partly_cut,
        parameters_unchanged,
    )
    for look in looks:
        yield look.__name__, partial(look, signals, subject)


def gradients_not_zeroed(signals: Signals, _: Subject) -> Finding | None:
    if signals.asked < 3 or signals.kept < 0.5 * signals.asked:
        return None
    return Finding(
        "gradients_not_zeroed",
        "problem",
        f"After {signals.kept} of {signals.asked} steps that were asked about, the next backward "
        "pass met the gradient of the step before, and added to it.",
        {"steps asked about": float(signals.asked), "gradient kept": float(signals.kept)},
        "half of the steps",
        _SEEN,
        onset=1,
    )


def trained_in_eval_mode(signals: Signals, subject: Subject) -> Finding | None:
    if signals.eval_steps < max(1, 0.1 * signals.steps) or not _mode_matters(subject):
        return None
    part = len(signals.asleep)  # still, where training mode never reached them
    return Finding(
        "trained_in_eval_mode",
        "problem",
        f"{signals.eval_steps} of {signals.steps} steps were taken while "
        + (
            f"batch normalization was in evaluation mode, in {part} layers: it used the mean 0 and "
            "the variance 1 that it was made with, whatever the batch was like."
            if part
            else "the model was in evaluation mode, and its outputs differ between the modes."
        ),
        {"steps in evaluation mode": float(signals.eval_steps), "steps": float(signals.steps)},
        "a tenth of the steps",
        _SEEN,
        onset=signals.first_eval,
    )


def _mode_matters(subject: Subject) -> bool:
    """Return whether the loss on a batch differs between training and evaluation mode."""
    kinds = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)  # noqa: SLF001
    if any(isinstance(m, kinds) and getattr(m, "p", 1) for m in subject.model.modules()):
        return True
    twin = subject.copy()
    with torch.no_grad():
        torch.manual_seed(0)
        one = float(twin.loss(subject.batch))
        twin.model.eval()
        torch.manual_seed(0)
        return float(twin.loss(subject.batch)) != one


def loss_made_anew(signals: Signals, _: Subject) -> Finding | None:
    if signals.rootless < max(1, 0.5 * len(signals.losses)):
        return None
    return Finding(
        "graph_cut_by_detach",
        "problem",
        f"{signals.rootless} of {len(signals.losses)} losses ask for a gradient and come of no "
        "operation, as torch.tensor(loss.item(), requires_grad=True) does: their backward pass "
        "reaches no parameter.",
        {"losses": float(len(signals.losses)), "of no operation": float(signals.rootless)},
        "half of the losses",
        "the loss itself: requires_grad and is_leaf",
        onset=0,
    )


def gradients_lost(signals: Signals, subject: Subject) -> Finding | None:
    looked = len(signals.norms)
    if signals.rootless or looked < 3 or signals.empty < 0.5 * looked:
        return None
    if not _given(subject) or not _given(subject.now()):  # the model may be dead by now
        return None
    held = {id(p) for p in signals.held}
    if not any(id(p) in held for p in subject.model.parameters()):
        return None
    if signals.traced and not signals.rooted:
        return _from_elsewhere(signals, subject)
    return Finding(
        "gradients_lost_before_step",
        "problem",
        f"At {signals.empty} of {looked} steps that were looked at every gradient was 0, though a "
        "backward pass on a copy gives gradients.",
        {"steps looked at": float(looked), "without gradient": float(signals.empty)},
        "half of the steps",
        _SEEN,
        onset=0,
    )


def _given(subject: Subject) -> set[str]:
    """Return the parameters that get a gradient on a copy."""
    return {n for n, g in subject.backward.gradients.items() if g is not None and bool(g.any())}


def _from_elsewhere(signals: Signals, subject: Subject) -> Finding:
    """Return the finding of losses whose graph reaches no parameter of the model."""
    wanted = Counter(tuple(p.shape) for p in subject.model.parameters() if p.requires_grad)
    another = wanted <= Counter(signals.reached)
    told = (
        "but parameters of the same shapes: another model is trained, made anew or copied after "
        "the optimizer."
        if another
        else "though a backward pass on a copy gives gradients: the loop cuts it on the way."
    )
    return Finding(
        "parameters_not_in_optimizer" if another else "graph_cut_by_detach",
        "problem",
        f"The graphs of {signals.traced} losses that were followed reach no parameter of the "
        f"model, {told}",
        {"losses followed": float(signals.traced), "tensors reached": float(len(signals.reached))},
        "no loss that was followed reaches a parameter, and the gradients are 0 at half of the "
        "steps",
        "a walk through the graph of the loop's own loss",
        onset=0,
    )


def graph_partly_cut(signals: Signals, subject: Subject) -> Finding | None:
    """Look for parameters that get no gradient in the loop, and get one on a copy."""
    if len(signals.notes) < _NOTED:
        return None
    names = {id(p): name for name, p in subject.model.named_parameters() if p.requires_grad}
    gradients, silent = subject.backward.gradients, []
    whole = float(nn.utils.get_total_norm([g for g in gradients.values() if g is not None]))
    reached = [
        any(n.gradients[place] > 0 for n in signals.notes) for place in range(len(signals.noted))
    ]
    for p, some in zip(signals.noted, reached, strict=True):
        known = gradients.get(names.get(id(p), ""))
        # One that has all but faded has no norm that float32 can hold.
        if known is not None and float(known.norm()) > _FADED * whole:
            silent += [names[id(p)]] if not some and bool(p.isfinite().all()) else []
    # Behind units that died or saturated at the first step there is none on a copy any more.
    silent = sorted(_given(subject.now()).intersection(silent), key=silent.index) if silent else []
    if not silent or not any(reached):
        return None
    return Finding(
        "graph_cut_by_detach",
        "problem",
        f"{len(silent)} of {len(signals.noted)} parameters had no gradient at any of "
        f"{len(signals.notes)} steps that were looked at, and a backward pass on a copy gives "
        f"them one: {listed(silent, 4)}. The loop cuts the graph on the way.",
        {"without gradient": float(len(silent)), "steps": float(len(signals.notes))},
        "no gradient at any step that was looked at",
        _SEEN,
        onset=0,
    )


def parameters_unchanged(signals: Signals, subject: Subject) -> Finding | None:
    """Look for a training that leaves the parameters as they were, but for what rounding is."""
    steps = len(signals.losses)
    pairs = list(zip(subject.start_model.parameters(), subject.model.parameters(), strict=True))
    if steps < 3 or not pairs or subject.start_model is subject.model:
        return None
    same = all(torch.equal(before, now) for before, now in pairs)
    whole = math.hypot(*(float(before.detach().norm()) for before, _ in pairs))
    moved = math.hypot(*(float((now - before).detach().norm()) for before, now in pairs))
    if not same and not (steps >= _MANY and moved < _ROUNDED * whole):
        return None
    never = signals.steps == 0
    rate = max(signals.rates, default=0.0)
    return Finding(
        "step_changes_nothing",
        "problem",
        f"After {steps} steps of the loop "
        + (
            "every parameter is what it was at the start, to the last bit"
            if same
            else f"the parameters have changed by {digits(moved / whole)} of their size, which is "
            "less than float32 rounds by"
        )
        + f": the optimizer's step() was called {signals.steps} times"
        + ("." if never else f", at a rate of {digits(rate)} at most."),
        {"steps": float(steps), "calls of step()": float(signals.steps), "largest rate": rate},
        "no parameter has changed, or in 20 steps all together by less than float32 rounds by",
        "parameters at the start and now",
        onset=0,
        sure=1.0 if never or not same else 0.9,
    )


def schedule_ended(signals: Signals) -> tuple[int, float] | None:
    """Return the step at which the rate fell below 2 % of its largest for good, and its share.

    None where it did so for less than 30 % of the steps.
    """
    rates = signals.rates
    if len(rates) < 10:
        return None
    top = max(rates)
    last = next((i for i in range(len(rates) - 1, -1, -1) if rates[i] >= _ENDED * top), -1)
    share = 1 - (last + 1) / len(rates)
    return (last + 1, share) if share > 0.3 and top > 0 else None


def kept_at_top(signals: Signals, trials: Trials) -> Course:
    """Return the course that follows the loop's rates up to the largest, and keeps that."""
    first = float(trials.subject.copy().optimizer.param_groups[0].get("lr", 0.0))
    rates = list(signals.rates)
    if not first > 0 or not max(rates) > _RAISED * first:
        return trials.plain
    factors = [rate / first for rate in rates[: rates.index(max(rates)) + 1]]
    return trials.run(Treatment("", 0, "", "", partial(_scheduled, factors=factors)))


def too_early(ended: tuple[int, float], left: float, plain: float) -> Finding:
    """Return the finding of a schedule that ended before the loss had fallen."""
    begin, share = ended
    return Finding(
        "schedule_ends_too_early",
        "problem",
        f"From step {begin} on, {share:.0%} of the training, the rate was below {_ENDED:.0%} of "
        f"its largest value; {digits(left)} of the loss of a constant was left, and "
        f"{digits(plain)} on a copy that kept the rate.",
        {"share of steps": share, "loss left": left, "loss left with the rate kept": plain},
        f"30 % of the steps below {_ENDED:.0%} of the rate, and a copy that keeps it learns more",
        "an experiment: the same steps at the first rate, or at the largest from there on",
        onset=begin,
    )


def unlike_plain(signals: Signals, trials: Trials, left: float) -> Iterator[Finding]:
    """Yield what the user's loop does and a plain one does not, where only the plain one learns.

    Args:
        signals: of the loop.
        trials: has the plain course, which learns.
        left: what the user's training leaves.
    """
    other = _other_term(signals, trials, left)
    other = other or _shrunk(signals, trials, left) or _decayed(signals, trials, left)
    if other is not None:
        yield other
        return
    first = float(trials.subject.copy().optimizer.param_groups[0].get("lr", 0.0))
    undone = sorted(signals.undone)
    if len(undone) >= _NOTED and undone[len(undone) // 2] > _HALF:
        yield _taken_back(undone[len(undone) // 2], left, trials.plain.left)
    elif _added(signals) > 1:
        found = undivided(signals, trials, left)
        if found is not None:
            yield found
    elif first > 0 and max(signals.rates, default=0.0) != min(signals.rates, default=0.0):
        factors = [rate / first for rate in signals.rates]
        course = trials.run(Treatment("", 0, "", "", partial(_scheduled, factors=factors)))
        if not _explains(course, trials.plain):
            return
        if max(factors) > _RAISED:
            yield _raised(max(signals.rates), first, trials, course)
        elif max(factors) < 1 / _RAISED:
            yield _held_down(max(signals.rates), first, trials, course)
        else:
            low = sum(factor < 1 / _RAISED for factor in factors) / len(factors)
            yield too_early((factors.index(min(factors)), low), left, trials.plain.left)


def _other_term(signals: Signals, trials: Trials, left: float) -> Finding | None:
    """Look for what the loop adds to the loss, such as a penalty of weights, and lowers instead."""
    subject = trials.subject
    with torch.no_grad():
        begin = float(subject.copy().loss(subject.batch))
        now = subject.now().copy()
        end = sum(float(now.loss(batch)) for batch in subject.batches[:_ASKED])
    end /= len(subject.batches[:_ASKED])
    first, last = signals.losses[0] - begin, tail(signals.losses) - end
    # A loss that is scaled keeps its share; a penalty that drowns the loss falls in its place.
    if not (first > begin > 0 and last < _HALF * first and end > _STAYS * begin):
        return None
    return Finding(
        "loss_terms_unbalanced",
        "problem",
        f"The loss of the loop is {digits(signals.losses[0])} at first, and loss_fn "
        f"{digits(begin)}: something is added to it. That falls from {digits(first)} to "
        f"{digits(max(last, 0.0))}, and loss_fn goes to {digits(end)}. {digits(left)} of the loss "
        f"of a constant is left, and {digits(trials.plain.left)} on a copy without that term: "
        "give it a smaller weight.",
        {
            "loss_fn at first": begin,
            "loss_fn at the end": end,
            "added at first": first,
            "added at the end": last,
            "loss left on a copy without it": trials.plain.left,
        },
        f"more is added than the loss, it falls to less than half, and loss_fn keeps {_STAYS:.0%}",
        "an experiment: loss_fn at the start and now, and the same steps without what is added",
        onset=0,
    )


def _shrunk(signals: Signals, trials: Trials, left: float) -> Finding | None:
    """Look for gradients that the loop makes far smaller, as clipping of each number does."""
    found = [g for g in trials.subject.backward.gradients.values() if g is not None]
    own = float(nn.utils.get_total_norm(found))
    seen = max(signals.norms[:_NOTED], default=0.0)
    if _added(signals) > 1 or not 0 < seen < _TINY * own:
        return None
    course = trials.run(clipping(trials.subject, seen))
    if not _explains(course, trials.plain):
        return None
    return Finding(
        "gradient_clipped_too_hard",
        "problem",
        f"The norm of the first gradients is {digits(seen)} at the optimizer's step, and "
        f"{digits(own)} on a copy: the loop clips or scales them. {digits(left)} of the loss of a "
        f"constant is left; a copy with gradients of that norm leaves {digits(course.left)}, one "
        f"whose gradients stay as they are {digits(trials.plain.left)}.",
        {
            "norm at the step": seen,
            "norm on a copy": own,
            "loss left with that norm": course.left,
            "loss left on a copy": trials.plain.left,
        },
        f"less than {_TINY:.0%} of the norm, and a copy with that norm learns less than half",
        "an experiment: the same steps with gradients of that norm and without",
        onset=0,
    )


def _decayed(signals: Signals, trials: Trials, left: float) -> Finding | None:
    """Look for parameters that the loop itself makes smaller between two steps."""
    shares = sorted(signals.shrunk)
    share = shares[len(shares) // 2] if len(shares) >= _NOTED else 0.0
    if not share > 0:
        return None
    course = trials.run(Treatment("", 0, "", "", partial(_shrinking, share=share)))
    if not _explains(course, trials.plain):
        return None
    return Finding(
        "weight_decay_too_high",
        "problem",
        f"Between two steps of the optimizer the loop takes {digits(100 * share)} % off the "
        f"parameters. {digits(left)} of the loss of a constant is left; a copy whose parameters "
        f"lose as much leaves {digits(course.left)}, one whose parameters are left alone "
        f"{digits(trials.plain.left)}.",
        {
            "share taken off": share,
            "loss left with that share": course.left,
            "loss left on a copy": trials.plain.left,
        },
        "parameters shrink along themselves, and a copy that shrinks them learns less than half",
        "an experiment: the same steps with parameters that are made smaller and without",
        onset=0,
    )


def _shrinking(twin: Copy, share: float) -> None:
    """Make the parameters of a copy smaller before each step."""

    @torch.no_grad()
    def shrink(*_: object) -> None:
        for p in twin.parameters:
            p.mul_(1 - share)

    twin.optimizer.register_step_pre_hook(shrink)


def _taken_back(share: float, left: float, plain: float) -> Finding:
    return Finding(
        "step_changes_nothing",
        "problem",
        f"{share:.0%} of what a step of the optimizer changes is taken back before the next one: "
        "something writes the parameters, as a copy of a target network or of a moving average "
        f"does. {digits(left)} of the loss of a constant is left, and {digits(plain)} on a copy "
        "whose parameters are left alone.",
        {"share taken back": share, "loss left": left, "loss left on a copy": plain},
        "half of the change, at half of the steps that were looked at, and a plain copy learns",
        _SEEN,
        onset=0,
    )


def _explains(course: Course, plain: Course) -> bool:
    """Return whether a course that ran learns less than half of what the plain one learns."""
    return bool(course.losses) and course.learned < _HALF * plain.learned


def _accumulated(batches: int, factor: int) -> Treatment:
    words = f"gradients of {batches} batches"
    scaled = partial(_scheduled, factors=[factor])
    return Treatment("", 0, words, "", scaled, partial(merged, times=batches))


def _scheduled(twin: Copy, factors: Sequence[float]) -> None:
    """Let the rates of a copy follow factors of the first one, step by step, then the last."""
    own, steps = [float(group["lr"]) for group in twin.optimizer.param_groups], count()

    def scale(*_: object) -> None:
        factor = factors[min(next(steps), len(factors) - 1)]
        for group, rate in zip(twin.optimizer.param_groups, own, strict=True):
            group["lr"] = rate * factor

    twin.optimizer.register_step_pre_hook(scale)


def _added(signals: Signals) -> int:
    """Return how many losses there are for each step of the optimizer."""
    return round(len(signals.losses) / signals.steps) if signals.steps else 0


def undivided(signals: Signals, trials: Trials, left: float) -> Finding | None:
    """Look for gradients that are accumulated, and not divided by their number.

    Args:
        signals: of the loop.
        trials: of the training.
        left: what the user's training leaves.
    """
    added = _added(signals)
    if added < 2:
        return None
    mean, total = (trials.run(_accumulated(added, factor)) for factor in (1, added))
    if not _explains(total, mean):
        return None
    return Finding(
        "lr_too_high",
        "problem",
        f"The optimizer takes a step after every {added} losses, and their gradients are added: "
        f"that is {added} times the rate. {digits(left)} of the loss of a constant is left; a copy "
        f"that adds them leaves {digits(total.left)}, one that divides the sum by {added} "
        f"{digits(mean.left)}. Divide each loss by {added} before its backward pass.",
        {
            "losses for each step": float(added),
            "loss left with the sum": total.left,
            "loss left with the mean": mean.left,
        },
        "a copy with the sum learns less than half of what one with the mean does",
        "an experiment: the same steps with the sum and with the mean",
        onset=0,
    )


def _held_down(top: float, first: float, trials: Trials, course: Course) -> Finding:
    return Finding(
        "lr_too_low",
        "problem",
        f"The loop keeps the rate at or below {digits(top)}, as a warm-up that is longer than the "
        f"training does; the optimizer was made with {digits(first)}. A copy that follows the loop "
        f"leaves {digits(course.left)} of the loss of a constant, one with the optimizer's rate "
        f"{digits(trials.plain.left)}.",
        {
            "largest rate": top,
            "the optimizer's rate": first,
            "loss left with the loop's rates": course.left,
            "loss left with the optimizer's rate": trials.plain.left,
        },
        "less than half of the optimizer's rate at every step, and a copy with it learns more",
        "an experiment: the same steps with the loop's rates and with the optimizer's",
        onset=0,
    )


def _raised(top: float, first: float, trials: Trials, course: Course) -> Finding:
    return Finding(
        "lr_too_high",
        "problem",
        f"The schedule raises the rate from {digits(first)} to {digits(top)}. A copy that follows "
        f"it leaves {digits(course.left)} of the loss of a constant, one that keeps the first rate "
        f"{digits(trials.plain.left)}.",
        {
            "largest rate": top,
            "first rate": first,
            "loss left with the schedule": course.left,
            "loss left with the first rate": trials.plain.left,
        },
        "a copy that follows the schedule learns less than half of what one without it does",
        "an experiment: the same steps with the schedule and without",
        onset=0,
    )
