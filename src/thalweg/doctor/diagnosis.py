"""Diagnosis: which change of a failing training, tried on copies, makes it learn."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from thalweg.doctor.checks.gradients import surrogate
from thalweg.doctor.finding import Finding, Severity
from thalweg.doctor.layers import fading, fading_along
from thalweg.doctor.rates import evened, higher_rates, rates, warmed
from thalweg.doctor.subject import Subject
from thalweg.doctor.treatment import Treatment
from thalweg.doctor.treatments import (
    DECORRELATED,
    adam,
    clipping,
    decorrelating,
    elementary,
    larger_batches,
    one_batch,
    treatments,
)
from thalweg.doctor.trials import Course, Trials
from thalweg.words import digits

__all__ = ["Verdict", "compare", "treat", "unscaled"]

_CALM = 1.1  # times the first loss: batches differ
_HALF = 0.5  # what the plain course learned, of what the treated one did, at most
_LEAST = 0.1  # more than the plain course, in shares of the constant's loss
_STUCK = 0.05  # of the loss of a constant: less is nothing learned
_FADED = 0.01  # of the last layer's gradient, by the first one's
_MAYBE = 0.3  # how sure what helped a little is
_SOME = 0.05  # more, where a sign was seen and only an adaptive rule helps more
_REUSED = 2  # rank of clipping where weights are used again and again
_ANY = 5  # rank of what helps many a training
_AHEAD = 0.8  # of the plain course's loss, from a tenth of the steps to a quarter of them
_LONGER = 5  # times the steps, in which a training that is only slow gets there
_SOUND = 2  # of the loss of a constant: a course that leaves less has not exploded
_MUCH = 0.2  # of the loss of a constant, where something is left to win
_NEAR = 0.75  # of the best gain: another treatment that helps as much
_WORSE = 1.5  # times what the plain course leaves, or the loss of a constant
_FAR = 1000.0  # times the rate; more is tried where so much is best
_DECIDED = 0.9  # learned at another rate, where little is without: no further rate is tried
_FIRST, _FIRST_SECONDS = 80, 1.0  # steps and seconds of a course before the training
_TELLING = 3  # losses, of fewer of which a course tells nothing of its treatment
_SCALES = ("inputs_not_scaled", "inputs_and_targets_not_scaled")
_TRIED = "an experiment: the same steps on copies, as it is and treated"


def helps(course: Course, learned: float) -> bool:
    """Return whether a treatment makes the training learn where it did not."""
    return course.learned - learned >= _LEAST and learned < _HALF * course.learned


def betters(course: Course, plain: Course, left: float) -> bool:
    """Return whether a treatment leaves half of the loss, where the training learns without it.

    Args:
        course: the treated one.
        plain: the one that was left as it is.
        left: what the training leaves.
    """
    if course.treatment.cause == "lr_too_high":
        # A rate that is too high only for the noise of batches learns faster at first.
        return course.left < _HALF * left and _early(course) < _AHEAD * _early(plain)
    if course.treatment.rank == DECORRELATED or course.treatment.cause == "constant_init":
        # Their sign was seen.
        return left - course.left > _SOME and course.left < _AHEAD * left
    return left > _MUCH and course.left < _HALF * left


def _early(course: Course) -> float:
    """Return the mean loss from a tenth of the steps to a quarter of them."""
    part = course.losses[len(course.losses) // 10 : max(1, len(course.losses) // 4)]
    return sum(part) / len(part) if part else math.inf


class Verdict:
    """What treatments on copies say.

    Args:
        findings: the most likely cause first.
        ruled_out: causes whose treatment did not help, with what was measured.
        rivals: warnings of what helped a little: it may be true beside them, or in their place.
    """

    def __init__(
        self, findings: list[Finding], ruled_out: dict[str, str], rivals: list[Finding]
    ) -> None:
        self.findings = findings
        self.ruled_out = ruled_out
        self.rivals = rivals


def treat(
    trials: Trials, left: float, norms: Sequence[float], most: float, onset: int | None
) -> Verdict:
    """Try the treatments whose sign is seen, and those of the rate.

    Args:
        trials: has the plain course.
        left: what the user's own training leaves of the loss.
        norms: of gradients of the user's training.
        most: seconds of work after which no course is begun.
        onset: the step at which the trouble began, where it is known.
    """
    plain, own = trials.plain, 1 - min(1.0, left)
    learned = max(plain.learned, own)
    trials.hurried = learned > _HALF  # then only what halves the loss that is left is told
    courses = trials.all(_without_rate(trials, norms), most)
    courses += trials.all([*evened(trials.subject), *warmed(trials.subject)], most)
    certain = _certain(courses, learned)
    rated = _rated(trials, most, learned, certain=certain)
    best = _best_rate(rated, learned, certain=certain)
    courses += [best] if best is not None else []
    others = larger_batches if _lower_helps(best, plain, learned) else decorrelating
    courses += trials.all(others(trials.subject), most)
    if 1 - learned > _MUCH and not any(helps(course, learned) for course in courses):
        courses += trials.all(adam(trials.subject), most)
    good = sorted((c for c in courses if helps(c, learned)), key=lambda c: -c.learned)
    good = _ranked(good, courses, learned) if good else []
    if not good:
        good = [c for c in courses if betters(c, plain, 1 - learned)]
        good.sort(key=lambda c: (c.treatment.rank, c.left))
        findings = [_finding(c, plain, 0, onset, "warning") for c in good[:1]]
        findings = findings or _tamed(courses, rated, plain, onset)
    else:
        findings = [_finding(c, plain, place, onset) for place, c in enumerate(good)]
        faster = {"lr_too_low", *(_SCALES if learned > _STUCK else ())}
        slow = good[0].treatment.cause in faster and _only_slow(trials, good[0])
        findings = [replace(f, severity="warning") for f in findings] if slow else findings
    mends = good and (good[0].treatment.rank >= _ANY or good[0].treatment.rank == DECORRELATED)
    if mends and learned > 0.2:  # it learns, only slowly
        findings = [replace(finding, severity="warning") for finding in findings]
    if learned < _STUCK and (not findings or (good and good[0].treatment.rank >= _ANY)):
        sign, share = _faded(trials.subject, courses)
        if not good:
            findings = [_vanishing(sign, share)] if share < _FADED else []
        else:
            # A rule that bounds steps bounds those of gradients that explode, too.
            flat = "plateau" if plain.left < math.inf else "exploding_gradient_no_clipping"
            cause = "vanishing_gradient_sigmoid" if share < _FADED else flat
            findings[0] = replace(findings[0], cause=cause)
    ruled_out = {
        c.treatment.cause: f"with {c.treatment.words}, {digits(c.left)} of the loss of a constant "
        f"is left, as it is {digits(plain.left)}"
        for c in [*courses, *rated.values()]
        if c not in good
    }
    rivals = also_helped(courses, findings, plain, learned, onset)
    for finding in [*findings, *rivals]:
        ruled_out.pop(finding.cause, None)
    return Verdict(_doubted(findings, trials.subject), ruled_out, rivals)


def _doubted(findings: list[Finding], subject: Subject) -> list[Finding]:
    """Return findings as warnings where the loss need not fall when the model learns.

    Where a part of the loss is detached, that is so of rates: what is wrong by itself stays.
    """
    told = [f for f in findings if f.severity == "problem"]
    rated = [f for f in told if f.cause in {"lr_too_high", "lr_too_low"}]
    doubted = told if subject.game else rated if rated and surrogate(subject) else []
    return [replace(f, severity="warning") if f in doubted else f for f in findings]


def also_helped(
    courses: list[Course],
    findings: list[Finding],
    plain: Course,
    learned: float,
    onset: int | None,
) -> list[Finding]:
    """Return warnings of what helped a little where little is learned, two causes at most."""
    told = {finding.cause for finding in findings}
    if learned > _HALF:  # it learns: more of the same is no finding
        return []
    some = [c for c in courses if c.learned - learned > _SOME and c.treatment.cause not in told]
    some.sort(key=lambda course: course.learned)
    best = list({course.treatment.cause: course for course in some}.values())
    best.sort(key=lambda course: -course.learned)
    threshold = f"the treated copy leaves less, by more than {_SOME} of the loss of a constant"
    return [
        replace(_finding(c, plain, 0, onset, "warning"), threshold=threshold, sure=_MAYBE - i / 100)
        for i, c in enumerate(best[:2])
    ]


def first_steps(subject: Subject) -> list[Finding]:
    """Try, before a training, what is wrong by itself, and what keeps it from learning at all."""
    trials = Trials(subject, _FIRST, _FIRST_SECONDS)
    short = math.isfinite(trials.plain.left) and len(trials.plain.losses) < _TELLING
    if trials.plain.learned >= 0.05 or short:
        return []
    given = list(_given(trials))
    lower = [one for factor, one in rates() if factor < 1]
    decays = [one for one in given if one.rank > 0]
    stages = ([one for one in given if one.rank <= 0], decays, lower)
    for number, stage in enumerate(stages):
        good = [c for c in map(trials.run, stage) if c.learned > 0.3]
        if not good:
            continue
        best = max(c.learned for c in good)
        good.sort(key=lambda c: (min(0, c.treatment.rank) * (c.learned > _NEAR * best), -c.learned))
        found = [_finding(c, trials.plain, i, None) for i, c in enumerate(good)]
        clipped = _clipped(trials) if stage is lower else None
        if clipped and clipped.treatment.rank == _REUSED and clipped.left < _SOUND:
            return [replace(_finding(clipped, trials.plain, 0, None, "warning"), sure=0.4)]
        if (clipped and clipped.learned > 0.3) or (stage is lower and _accumulated(trials)):
            return [replace(found[0], severity="warning", sure=0.4)]
        # The first steps tell less of a rate than the whole training, which Doctor sees.
        found = found if number == 0 else [replace(found[0], sure=0.5)]
        if number == 0 and _only_slow(trials, good[0]):
            found = [replace(finding, severity="warning") for finding in found]
        return _doubted(found, subject)
    heart = min(map(trials.run, one_batch()), key=lambda course: course.left)
    # A loss that is not finite has another cause, and is another finding.
    learns = heart.learned > 0.3 or not math.isfinite(heart.left)
    return [] if learns else [_not_by_heart(heart, trials.subject)]


def _clipped(trials: Trials) -> Course | None:
    """Return a course with clipping where the training as it is explodes.

    A loop that clips is not seen before it runs. Where that keeps the course sound, the rate alone
    is no problem yet; where weights are used again and again, clipping is usual.
    """
    return trials.run(clipping(trials.subject, 1.0)) if trials.plain.left >= 1 else None


def _accumulated(trials: Trials) -> bool:
    """Return whether larger batches learn: a loop that accumulates gradients has them.

    That is not seen before it runs.
    """
    return any(c.learned > 0.3 for c in map(trials.run, larger_batches(trials.subject)))


def _not_by_heart(course: Course, subject: Subject) -> Finding:
    return Finding(
        "underfitting",
        "warning",
        f"One batch of {subject.examples} examples cannot be learned by heart: "
        f"{course.treatment.words} leaves {digits(course.left)} of the loss of a constant output "
        f"after {len(course.losses)} steps.",
        {"left": course.left, "steps": float(len(course.losses))},
        "70 % of the loss of the best constant of that batch",
        "an experiment: one batch, again and again",
        sure=0.4,
    )


def _faded(subject: Subject, courses: Sequence[Course]) -> tuple[str, float]:
    """Return where gradients fade, and the size of the first one over that of the last.

    Args:
        subject: the training.
        courses: those with another activation say that several bounded ones follow one another.
    """
    signs = [c.treatment.sign for c in courses if c.treatment.cause == "vanishing_gradient_sigmoid"]
    if signs:
        gradients = [g for g in subject.backward.gradients.values() if g is not None and g.ndim > 1]
        sizes = [float(g.pow(2).mean().sqrt()) for g in gradients]
        layers = sizes[0] / sizes[-1] if len(sizes) > 1 and sizes[-1] > 0 else 1.0
        return signs[0], min(layers, fading(subject))
    return "A recurrent network goes along sequences.", fading_along(subject)


def _vanishing(sign: str, share: float) -> Finding:
    """Return a warning of gradients that fade, where no change that was tried helps."""
    return Finding(
        "vanishing_gradient_sigmoid",
        "warning",
        f"{sign} The gradient at the first of them is {digits(share)} times that at the last, and "
        "nothing has been learned.",
        {"gradient at the first over that at the last": share},
        f"less than {_FADED} times as large, at the first of three or more activations with a "
        "bounded range, or at the first element of a sequence",
        "one backward pass at the start",
        sure=0.6,
    )


def _without_rate(trials: Trials, norms: Sequence[float]) -> Iterator[Treatment]:
    yield from _given(trials)
    yield from _clipping(trials, norms)


def _given(trials: Trials) -> Iterator[Treatment]:
    yield from treatments(trials.subject)
    if not math.isfinite(trials.plain.left):
        yield from elementary()


def _clipping(trials: Trials, norms: Sequence[float]) -> Iterator[Treatment]:
    """Yield clipping where some gradients are far larger than the others, or the loss explodes."""
    finite = sorted(n for n in norms if math.isfinite(n))
    usual = finite[len(finite) // 2] if finite else 0.0
    broken = len(finite) < len(norms) or not trials.plain.left < math.inf
    explodes = broken or not trials.plain.left < 1
    spikes = len(finite) >= 8 and finite[-1] > 20 * usual
    if trials.subject.clip is None and usual > 0 and (explodes or spikes):
        yield clipping(trials.subject, 1.0 if explodes else usual)
        if broken:
            yield clipping(trials.subject, 0.1)


def _ranked(good: list[Course], courses: list[Course], learned: float) -> list[Course]:
    """Return what helps in the order of what it explains, of those that help nearly as much.

    Args:
        good: courses that help, the best first.
        courses: all of them.
        learned: what the training as it is learned.
    """
    line = learned + _NEAR * (good[0].learned - learned)
    # Where weights are used again and again, clipping that helps at all explains more than a
    # rate that has to be far lower.
    # Decorrelated inputs leave the rate as it is, so that half of the gain says as much.
    middle = (learned + good[0].learned) / 2
    lines = {_REUSED: 0.0, DECORRELATED: middle}
    near = [c for c in good if c.learned >= lines.get(c.treatment.rank, line)]
    if all(c.treatment.rank >= _ANY for c in near):  # what helps anything explains the least
        own = (0, _REUSED)  # of what was seen in this training
        signed = [c for c in courses if c.treatment.rank in own and c.learned - learned > _SOME]
        return [*signed, *(c for c in good if c not in signed)]
    return [*sorted(near, key=lambda c: c.treatment.rank), *(c for c in good if c not in near)]


def _tamed(
    courses: list[Course], rated: dict[float, Course], plain: Course, onset: int | None
) -> list[Finding]:
    """Return what alone keeps a loss finite that explodes, though nothing is learned yet.

    A course on copies is short. That no lower rate stays finite says that rates are not the cause.
    """
    lower = [course for factor, course in rated.items() if factor < 1]
    if plain.left < math.inf or not lower or any(course.left < math.inf for course in lower):
        return []
    finite = [c for c in courses if c.left < _SOUND and c.treatment.rank < _ANY]
    finite.sort(key=lambda c: (c.treatment.rank != _REUSED, c.left), reverse=True)
    finite = list({course.treatment.cause: course for course in finite}.values())[::-1]
    threshold = (
        "the treated copy keeps a finite loss, and one with a thousandth of the rate does not"
    )
    return [
        replace(_finding(c, plain, i, onset), threshold=threshold, sure=0.6 - i / 20)
        for i, c in enumerate(finite[:2])
    ]


def _certain(courses: Sequence[Course], learned: float) -> bool:
    """Return whether what is wrong by itself explains so much that no rate could explain more."""
    least = learned + _NEAR * (1 - learned)
    own = [c for c in courses if c.treatment.rank <= 1 and helps(c, learned)]
    return any(course.learned >= least for course in own)


def _rated(trials: Trials, most: float, learned: float, *, certain: bool) -> dict[float, Course]:
    """Return courses by the factor of their rate, further ones where the largest helps most.

    A side ends with a course that is far worse than the plain one: those behind it are worse still.
    Both end with one that decides. Where a higher rate can be no finding, it is tried beside a
    lower one that helps alone. Where no loss was larger than the first, higher rates come first.

    Args:
        trials: has the plain course.
        most: seconds of work after which no course is begun.
        learned: what the training as it is learned.
        certain: whether something else explains more: then rates that are too high are told beside
            it, and one that helps is enough.
    """
    found: dict[float, Course] = {}
    both, plain = [*rates(), *higher_rates()], trials.plain
    sides = [[one for one in both if (one[0] > 1) is higher] for higher in (False, True)]
    calm = max(plain.losses) <= _CALM * plain.losses[0]
    for side in reversed(sides) if calm and 1 - learned > _MUCH else sides:
        lower = [c for c in found.values() if helps(c, learned) or betters(c, plain, 1 - learned)]
        if side[0][0] > 1 and (certain or (1 - learned <= _MUCH and not lower)):
            continue
        for factor, one in side:
            best = min(found, key=lambda f: found[f].left, default=0.0)
            if trials.used >= most or (factor > _FAR and best != max(found)):
                break
            course = found[factor] = trials.run(one)
            if _decides(course, learned) or (certain and helps(course, learned)):
                return found
            slower = factor < 1 and plain.learned > _LEAST
            if course.learned < _HALF * plain.learned if slower else _breaks(course, plain, factor):
                break
    return found


def _decides(course: Course, learned: float) -> bool:
    """Return whether a course learns nearly all where less than half is learned without it."""
    return learned <= _HALF and course.learned >= max(_DECIDED, learned + _LEAST)


def _breaks(course: Course, plain: Course, factor: float) -> bool:
    """Return whether a higher rate makes a loss larger by far than it is without it."""
    without = plain.left if math.isfinite(plain.left) else 1.0
    return factor > 1 and not course.left <= _WORSE * max(1.0, without)


def _best_rate(rated: dict[float, Course], learned: float, *, certain: bool) -> Course | None:
    """Return the course of the rate that helps most, of both directions unless one decides.

    Where something else is certain, higher rates are not asked for; where no loss was larger than
    the first, lower ones may not have been tried.
    """
    lower = [c for factor, c in rated.items() if factor < 1]
    higher = [c for factor, c in rated.items() if factor > 1]
    deciding = next((c for c in rated.values() if _decides(c, learned)), None)
    if deciding is not None:
        return deciding
    if lower and certain:
        return max(lower, key=lambda c: c.learned)
    if not higher:
        return None
    return max([*lower, *higher], key=lambda c: c.learned)


def _lower_helps(best: Course | None, plain: Course, learned: float) -> bool:
    """Return whether the rate that helps most is a lower one, and helps."""
    if best is None or best.treatment.cause != "lr_too_high":
        return False
    return helps(best, learned) or betters(best, plain, 1 - learned)


def unscaled(trials: Trials, left: float) -> Finding | None:
    """Return a warning of inputs or targets that are not scaled, where scaled ones leave half."""
    scaled = (one for one in treatments(trials.subject) if one.cause in _SCALES)
    good = [c for c in map(trials.run, scaled) if c.left < _HALF * left]
    return _finding(good[0], trials.plain, 0, None, "warning") if good else None


def _only_slow(trials: Trials, cured: Course) -> bool:
    """Return whether more steps of the user's own training learn half as much as the cured one."""
    longer = trials.longer(_LONGER)
    return longer.learned > _HALF * cured.learned


def _finding(
    course: Course,
    plain: Course,
    place: int,
    onset: int | None,
    severity: Severity = "problem",
) -> Finding:
    one = course.treatment
    did = "not a number" if not math.isfinite(plain.left) else digits(plain.left)
    return Finding(
        one.cause,
        severity,
        f"{one.sign} ".lstrip() + f"With {one.words}, {digits(course.left)} of the loss of a "
        f"constant output is left after {len(course.losses)} steps; as it is, {did}.",
        {"left with the cure": course.left, "left as it is": str(did)},
        "the treated copy learns more than twice as much as the one that is left as it is"
        if severity == "problem"
        else "the treated copy leaves less than half of the loss that the other leaves",
        _TRIED,
        onset=onset,
        sure=max(0.5, 0.9 - 0.1 * place),
    )


def compare(plain: Course, left: float) -> float | None:
    """Return what a plain loop leaves of the loss, where it learns and the user's does not.

    Args:
        plain: its course.
        left: what the user's own training leaves.
    """
    learned = min(1.0, max(0.0, 1 - left)) if math.isfinite(left) else 0.0
    fails = plain.learned - learned >= 0.2 and learned < _HALF * plain.learned
    return plain.left if fails else None
