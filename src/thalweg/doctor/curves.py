"""Curves: the training and validation loss in a log, and what they say of the training."""

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from thalweg.doctor import logs, signs
from thalweg.doctor.finding import Report
from thalweg.doctor.logs import Log
from thalweg.doctor.signs import Curves
from thalweg.words import closest, listed, printable

__all__ = ["Curves", "diagnose", "read_curves"]

Floats = NDArray[np.float64]

_TRAINING = {"train", "training", "trn", "tr", "fit", "learn"}
_TEST = {"test", "tst", "te"}
_VALIDATION = _TEST | {
    "val", "valid", "validation", "va", "vl", "vld", "eval", "evaluation", "dev", "holdout",
}  # fmt: skip
_LOSS = {"loss", "losses", "nll", "crossentropy", "mse", "objective", "cost"}
_ROLES = _TRAINING | _VALIDATION | {"loss", "losses"}
_SCORES = {
    "accuracy",
    "acc",
    "auc",
    "auroc",
    "f1",
    "precision",
    "recall",
    "iou",
    "map",
    "bleu",
    "r2",
}
_PARTS = {  # of the loss of a detector, or of a pipeline for texts: the sum is what is trained
    "box", "bbox", "cls", "class", "dfl", "obj", "objectness", "mask", "seg", "rpn", "giou", "reg",
    "pose", "kobj", "centerness", "tok2vec", "ner", "tagger", "morphologizer", "parser", "senter",
    "textcat", "spancat", "transformer", "lemmatizer",
}  # fmt: skip
_PERPLEXED = {"min", "max", "std", "scale", "scaling", "weight", "lr", "best", "smooth"}
_STEP = ("step", "global_step", "_step", "iteration", "iter", "batch", "epoch")


def diagnose(
    log: str | Path | Curves,
    *,
    train: str | None = None,
    validation: str | None = None,
    step: str | None = None,
    constant: float | None = None,
) -> Report:
    """Say what the loss curves of a training show.

    A curve shows signs, seldom causes: what made a loss diverge is asked with ``thalweg.Doctor``.

    Args:
        log: a file or folder, see ``thalweg doctor --help``; or the curves themselves.
        train: the column of the training loss; found by its name by default.
        validation: the column of the validation loss; the same.
        step: the column of steps or epochs; the same.
        constant: loss of the best constant output, such as log(10) for ten classes that are equally
            frequent; None (default): unknown. It tells a training that learned nothing from one
            whose log begins after it had learned.

    Returns:
        What was found, the most likely cause first.

    Raises:
        FileNotFoundError: there is no such log.
        ValueError: it is none, or holds no loss.

    Example:
        >>> import numpy as np
        >>> n = np.arange(40.0)
        >>> curves = Curves("log", n, np.exp(-n / 8), n, np.exp(-n / 8) + (n / 40) ** 2)
        >>> diagnose(curves).findings[0].cause
        'overfitting'
    """
    began = time.monotonic()
    if not isinstance(log, Curves):
        log = read_curves(log, train=train, validation=validation, step=step)
    with np.errstate(all="ignore"):  # losses that are nearly infinite
        findings, looked_at, ruled_out, skipped = signs.look(log, constant)
    seconds = time.monotonic() - began
    return Report(tuple(findings), tuple(looked_at), ruled_out, skipped, seconds)


def read_curves(
    path: str | Path,
    *,
    train: str | None = None,
    validation: str | None = None,
    step: str | None = None,
) -> Curves:
    """Return the curves of a log; see ``diagnose``."""
    log = logs.read(Path(path))
    chosen = {"train": _named(log, "--train", train) or _found(log, "--train", _trained)}
    like = chosen["train"] and _tokens(chosen["train"]) - _TRAINING
    beside = [n for n in log.columns if _validated(n) and _tokens(n) - _VALIDATION == like]
    chosen["validation"] = _named(log, "--validation", validation) or (
        beside[0] if len(beside) == 1 else _found(log, "--validation", _validated)
    )
    if not any(chosen.values()):
        scored = any(map(_is_score, log.columns))
        raise ValueError(
            f"{log.name} has no column that is a loss by its name ({_names(log)}); "
            + ("log the loss too, for a score is none, or " if scored else "")
            + "name it with --train or --validation"
        )
    where = _named(log, "--step", step) or next(
        (name for word in _STEP for name in log.columns if _plain(name) == word), None
    )
    notes = list(log.notes)
    rows, unit, steps = _steps(log, [n for n in chosen.values() if n], where, notes)
    curves = []
    for name in chosen.values():
        own, values = log.columns[name] if name else (np.array([], np.int64), np.array([]))
        values = _unfiltered(log, own, values, notes)
        _, here, there = np.intersect1d(rows, own, assume_unique=True, return_indices=True)
        curves.append((steps[here], values[there]))
    (at, training), (held_at, held) = curves
    notes.append(
        "read: "
        + ", ".join(f"{role} loss from {printable(name)}" for role, name in chosen.items() if name)
    )
    return Curves(log.name, at, training, held_at, held, unit, tuple(notes))


def _unfiltered(log: Log, rows: NDArray[np.int64], values: Floats, notes: list[str]) -> Floats:
    """Return losses with NaN where they are 0 beside a gradient that is not finite.

    transformers leaves NaN out of the mean that it logs, and the mean of nothing is 0.
    """
    for name, (own, norms) in log.columns.items():
        if {"grad", "norm"} <= _tokens(name):
            lost = np.isin(rows, own[~np.isfinite(norms)]) & (values == 0)
            if lost.any():
                notes.append(f"a loss of 0 where {printable(name)} is not finite counts as NaN")
                values = np.where(lost, np.nan, values)
    return values


def _named(log: Log, option: str, name: str | None) -> str | None:
    if name is not None and name not in log.columns:
        meant = closest(name, log.columns) or f"it has {_names(log)}"
        raise ValueError(f"{option} {name}: {log.name} has no such column of numbers; {meant}")
    if name is not None and _is_score(name):
        raise ValueError(
            f"{option} {name}: a score by its name, which rises where a loss falls; name a loss"
        )
    return name


def _names(log: Log) -> str:
    return printable(listed(list(log.columns), 8))


def _plain(name: str) -> str:
    """Return a column's name without its run, as W&B writes it, in lower case and underscores."""
    name = name.rpartition(" - ")[2]
    return re.sub(r"[\W_]+", "_", name.strip().lower()).strip("_") or name.lower()


def _tokens(name: str) -> set[str]:
    plain = _plain(logs.english(_plain(name)))
    return set(plain.replace("cross_entropy", "crossentropy").split("_"))


def _is_loss(tokens: set[str]) -> bool:
    glued = any(token.endswith("loss") for token in tokens)
    return (bool(tokens & _LOSS) or glued) and not tokens & _PERPLEXED


def _is_score(name: str) -> bool:
    tokens = _tokens(name)
    return bool(tokens & _SCORES) and not _is_loss(tokens)


def _validated(name: str) -> bool:
    tokens = _tokens(name)
    glued = any(re.match(r"(val|valid|eval|test)loss", token) for token in tokens)
    return _is_loss(tokens) and (bool(tokens & _VALIDATION) or glued)


def _trained(name: str) -> bool:
    return (_is_loss(_tokens(name)) or _plain(name) == "value") and not _validated(name)


# Among several columns of one role: its plain name first, then epochs' means, then steps' values.
_PREFERRED: tuple[Callable[[set[str]], bool], ...] = (
    lambda rest: not rest,
    lambda rest: rest <= {"epoch", "total", "avg", "mean", "average", "smoothed"},
    lambda rest: rest <= {"step", "batch", "iter", "running"},
    lambda _: True,
)


def _found(log: Log, option: str, fits: Callable[[str], bool]) -> str | None:
    """Return the column of a role by its name.

    Raises:
        ValueError: several columns may be it.
    """
    names = [name for name in log.columns if fits(name)]
    for preferred in _PREFERRED:
        best = [n for n in names if preferred(_tokens(n) - _ROLES)]
        best = [n for n in best if not _TEST & _tokens(n)] or best  # beside a validation part
        if preferred is not _PREFERRED[-1]:
            best = _fullest(log, best)
        if len(best) > 1 and (total := _total(log, best)):
            return total
        if len(best) > 1:
            raise ValueError(
                f"{log.name}: several columns may be meant ({printable(listed(best, 6))}); name "
                f"one with {option}"
            )
        if best:
            return best[0]
    return None


def _total(log: Log, names: Sequence[str]) -> str | None:
    """Add a column of the sum of losses that all are known parts of one, and return its name."""
    rows = [log.columns[name][0] for name in names]
    parts = [_tokens(name) - _ROLES for name in names]
    if not all(part and part <= _PARTS for part in parts) or not all(
        np.array_equal(rows[0], each) for each in rows
    ):
        return None
    total = " + ".join(names)
    log.columns[total] = rows[0], np.sum([log.columns[name][1] for name in names], axis=0)
    return total


def _fullest(log: Log, names: Sequence[str]) -> list[str]:
    """Return the name with most values; all of them where they are one name in several runs."""
    if not names or len({_plain(name) for name in names}) < len(names):
        return list(names)
    return [max(names, key=lambda name: len(log.columns[name][0]))]


def _steps(
    log: Log, losses: Sequence[str], name: str | None, notes: list[str]
) -> tuple[NDArray[np.int64], str, Floats]:
    """Return the rows that count, what their steps count, and the steps, never falling."""
    own = [log.columns[loss][0] for loss in losses]
    any_loss = np.zeros(max(int(each[-1]) for each in own) + 1, bool)
    for each in own:
        any_loss[each] = True
    rows = np.flatnonzero(any_loss)
    lines = rows, "line", np.arange(len(rows), dtype=float)
    if name is None:
        return lines
    with_step, values = log.columns[name]
    both, _, places = np.intersect1d(rows, with_step, assume_unique=True, return_indices=True)
    values = values[places]
    if len(both) < 0.5 * len(rows) or not np.isfinite(values).all():
        notes.append(f"{printable(name)} has gaps: lines are counted instead")
        return lines
    if 2 * len(np.unique(values // 1)) < len(np.unique(values)):  # 0.05, 0.1, ...
        notes.append(f"{printable(name)} has parts of one: lines are counted instead")
        return lines
    unit = "epoch" if "epoch" in _tokens(name) else "step"
    segment = np.concatenate([[0], np.cumsum(np.diff(values) < 0)])
    if not segment[-1]:
        return both, unit, values
    if unit == "step" and _rises(log, "epoch", both):
        notes.append(f"{printable(name)} begins again in each epoch: lines are counted instead")
        return lines
    # Several runs, or one that was resumed from a checkpoint: of each step the last record counts.
    least = np.minimum.reduceat(values, np.flatnonzero(np.diff(segment, prepend=-1)))
    later = np.append(np.minimum.accumulate(least[::-1])[::-1], np.inf)[segment + 1]
    kept = values < later
    notes.append(
        f"{printable(name)} goes back at line {int(both[np.argmax(segment > 0)]) + 1}: another run "
        f"or a resumed one; what was logged last for a step counts, {int(kept.sum())} of "
        f"{len(both)} lines"
    )
    return both[kept], unit, values[kept]


def _rises(log: Log, word: str, rows: NDArray[np.int64]) -> bool:
    """Return whether a log has such a column, and it rises and never falls on these rows."""
    for name, (own, values) in log.columns.items():
        if _plain(name) == word:
            change = np.diff(values[np.isin(own, rows)])
            return bool(len(change) and (change >= 0).all() and (change > 0).any())
    return False
