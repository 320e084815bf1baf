"""Parts: are validation data like training data?"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from thalweg.doctor.baseline import ignores_targets
from thalweg.doctor.checks.data import features, labels
from thalweg.doctor.finding import Finding
from thalweg.doctor.loaders import Batch, inputs, target
from thalweg.doctor.subject import Subject, first_tensor
from thalweg.words import digits

__all__ = ["CHECKS", "as_in_validation", "unlike_in_shape"]

_STATISTIC = "a statistic of the batches that were read"
_TOKENS, _WORDS = 1_000_000, 10_000  # tokens that are counted, and kinds of them
_CHANNELS, _CERTAIN = 4, 8.0  # at most, and standard errors
_MOVED = 5.0  # deviations
_SHAPE, _UNIT = 0.1, 5.0  # in deviations; times as large, which another unit makes
_FIFTH = 0.2  # of the columns
_WIDER = "share that differs, and is no narrower"
_COLUMNS = 1024  # whose shapes are compared
_OUTLYING = 3.0  # ranges of the middle half, from the median
_QUANTILES, _VALUES = 199, 50_000  # that are compared, of so many values
_FEW, _EVEN = 50, 0.1  # classes; of an equal share
_ALIKE = 0.05  # of the shares of classes
_PLACES, _ORDERED = 8, 0.25  # columns; of the differences, those in the order of size
_SOME, _ENOUGH = 20, 50  # examples whose inputs are compared, and whose losses
_TELLING, _LOOKED = 0.5, 64  # of the rows, distinct numbers of a column; columns
_INSIDE, _OUTSIDE = 1.25, 1.5  # times as far apart, within examples and in all


def validation_differs(subject: Subject) -> Finding | None:
    """Look for validation inputs of another mean, scale or range than training inputs."""
    train, held = features(subject.batches), features(subject.validation)
    if train is None or held is None or train.shape[1] != held.shape[1] or len(held) < 8:
        return None
    alike = _matched(subject, subject.batches)
    if alike is not None and len(alike):  # inputs of other classes have another mean
        train = train[alike[alike < len(train)]]
    train, held = train[train.isfinite().all(1)], held[held.isfinite().all(1)]
    if len(train) < 8 or len(held) < 8:
        return None
    # The same columns, in units of the training data: what a fixed preprocessing would leave alike.
    middle, spread = train.mean(), train.std().clamp(min=1e-12)
    shift = float((held.mean() - middle).abs() / spread)
    scale = float(held.std() / spread)
    fewer = min(len(train), len(held))
    error = float((train.mean(1).std() + held.mean(1).std()) / spread) / fewer**0.5
    first = first_tensor(inputs(subject.batch))
    rows = first is not None and first.ndim <= 3  # tables and series, whose columns have scales
    shapes = _each(train, held) if rows else ()
    if shift < 0.5 + 6 * error and 0.5 < scale < 2:
        columns = _columns_differ(train, held, *shapes)
        if columns is not None and not rows and not float(columns.evidence[_WIDER]) > _FIFTH:
            # Shifts, noise or colours that are drawn anew for training pictures widen theirs.
            columns = replace(columns, severity="warning", sure=0.5)
        return _channels_swapped(subject) or columns or _labels_differ(subject)
    if 0.5 < scale < 2:  # no preprocessing of inputs moves targets, or some columns alone
        found = [_labels_differ(subject), _columns_differ(train, held, *shapes) if rows else None]
        others = next((f for f in found if f is not None and f.severity == "problem"), None)
        if others is not None and others.cause == "validation_of_other_distribution":
            return others
    return Finding(
        _cause(train, held, *shapes),
        "problem",
        f"Validation inputs have mean {digits(float(held.mean()))} and deviation "
        f"{digits(float(held.std()))}, training inputs {digits(float(middle))} and "
        f"{digits(float(spread))}.",
        {"shift in training deviations": shift, "ratio of deviations": scale},
        "a mean more than half a deviation away, or a deviation below half or above twice",
        _STATISTIC,
    )


def _cause(train: Tensor, held: Tensor, *shapes: Tensor) -> str:
    """Return what made validation inputs another: their preparation, or where they come from.

    Args:
        train: inputs, a row an example.
        held: those of the validation data.
        shapes: of both, where each column has a scale of its own; else they are taken as they are.
    """
    scale = float(held.std() / train.std().clamp(min=1e-12))
    moderate = 1 / _UNIT < scale < _UNIT
    unlike = moderate and unlike_in_shape(*(shapes or (train, held)))
    if unlike or _moved_alone(train, held, scale):
        return "validation_of_other_distribution"
    return "validation_preprocessed_differently"


def _moved_alone(train: Tensor, held: Tensor, scale: float) -> bool:
    """Return whether inputs vary as much within examples as before, and otherwise between them.

    A change of scale changes both alike; levels of a series that rises, or falls, move alone.

    Args:
        train: inputs, a row an example.
        held: those of the validation data.
        scale: deviation of all validation inputs over that of all training inputs.
    """
    if train.shape[1] < 3:
        return False
    inside = float(held.std(1).median() / train.std(1).median().clamp(min=1e-12))
    kept, changed = max(inside, 1 / max(inside, 1e-12)), max(scale, 1 / max(scale, 1e-12))
    return kept < _INSIDE and changed > _OUTSIDE


def _each(train: Tensor, held: Tensor) -> tuple[Tensor, ...]:
    """Return both parts, each column from its median and in ranges of its middle half.

    So a scaler of columns that was fitted to each part leaves both alike, outliers or not.
    """
    parts = []
    every = -(-train.shape[1] // _COLUMNS)
    for part in (train[:, ::every], held[:, ::every]):
        low, middle, high = torch.quantile(part, torch.tensor([0.25, 0.5, 0.75]), dim=0)
        parts.append(((part - middle) / (high - low)).clamp(-_OUTLYING, _OUTLYING))
    known = parts[0].isfinite().all(0) & parts[1].isfinite().all(0)
    return tuple(part[:, known] for part in parts) if bool(known.any()) else (train, held)


def unlike_in_shape(train: Tensor, held: Tensor) -> bool:
    """Return whether no change of mean and scale makes the values of two parts alike.

    That is what a preprocessing changes that is left out: what else differs, another origin does.
    Quantiles of the values are compared, each part in units of its own deviation.

    Args:
        train: one part, a row an example.
        held: the other.
    """
    levels = torch.linspace(0, 1, _QUANTILES + 2)[1:-1]
    one, other = (_quantiles(part, levels) for part in (train, held))
    return float((one - other).abs().mean()) > _SHAPE


def _quantiles(part: Tensor, levels: Tensor) -> Tensor:
    """Return quantiles of the values of a part in units of its deviation, from its mean."""
    values = part.flatten()
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))[:_VALUES]
    values = values[order]
    found: Tensor = (values - values.mean()) / values.std().clamp(min=1e-12)
    return found.quantile(levels)


def _channels_swapped(subject: Subject) -> Finding | None:
    """Look for channels of images whose means differ between the parts, and fit in another order.

    Colours that are read in the other order, as OpenCV does, are such.
    """
    means, errors = [], []
    for batches in (subject.batches, subject.validation):
        x = [first_tensor(inputs(batch)) for batch in batches]
        if any(t is None or t.ndim != 4 for t in x):
            return None
        each = torch.cat([t.float().mean((2, 3)) for t in x if t is not None])
        means.append(each.mean(0))
        errors.append(each.std(0) / len(each) ** 0.5)
    if len(means[0]) != len(means[1]) or not 2 <= len(means[0]) <= _CHANNELS:
        return None
    chance = (errors[0] ** 2 + errors[1] ** 2).sqrt().clamp(min=1e-12)
    far = float(((means[1] - means[0]) / chance).abs().max())
    orders = list(itertools.permutations(range(len(means[0]))))[1:]
    best = min(orders, key=lambda order: float((means[1][list(order)] - means[0]).abs().max()))
    swapped = float(((means[1][list(best)] - means[0]) / chance).abs().max())
    if not (far > _CERTAIN and swapped < far / 3):
        return None
    return Finding(
        "validation_preprocessed_differently",
        "problem",
        f"The means of the {len(best)} channels differ between validation and training inputs by "
        f"up to {digits(far)} standard errors; in the order {', '.join(map(str, best))} by "
        f"{digits(swapped)}: the channels are in another order.",
        {"standard errors": far, "in the other order": swapped},
        f"more than {_CERTAIN:.0f} standard errors, and less than a third of it in another order",
        _STATISTIC,
        sure=0.9,
    )


def _columns_differ(*parts: Tensor) -> Finding | None:
    """Look for columns of other mean or scale, beyond chance; see _cause for what it is given."""
    train, held = parts[:2]
    spread = train.std(0)
    alive = spread > 1e-6 * spread.max().clamp(min=1e-12)
    if not bool(alive.any()):
        return None
    train, held, spread = train[:, alive], held[:, alive], spread[alive]
    shift = (held.mean(0) - train.mean(0)) / spread
    scale = held.std(0) / spread
    chance = (1 / len(train) + 1 / len(held)) ** 0.5
    far = (shift.abs() > 0.5 + 5 * chance) | (scale > 3) | (scale < 1 / 3)
    share = float(far.float().mean())
    if share < _FIFTH:
        return None
    rescaled = float((scale.log().abs() > 0.7).float().mean()) > 0.1
    # A trend, or other people, move columns by few deviations; another unit moves them by many.
    moved = float(shift.abs().median()) > _MOVED
    alike = share > 0.5 and (rescaled or moved)
    other = _rearranged(train, held)
    cause = _cause(*parts) if alike else "validation_of_other_distribution"
    return Finding(
        "validation_preprocessed_differently" if other else cause,
        "problem",
        f"{share:.0%} of the input columns have another mean or deviation in the validation data "
        f"than in the training data; the largest shift is {digits(float(shift.abs().max()))} "
        "deviations." + (" In another order the columns would be alike." if other else ""),
        {
            "share of columns": share,
            _WIDER: float((far & (scale >= 1)).float().mean()),
            "largest shift in deviations": float(shift.abs().max()),
        },
        "a fifth of the columns: half a deviation and five standard errors, or a scale of 3",
        _STATISTIC,
        sure=0.9,
    )


def _rearranged(train: Tensor, held: Tensor) -> bool:
    """Return whether columns have the means and deviations of others, which a distribution has not.

    So it is where a reshape took the place of a transpose, or columns were read in another order.
    """
    apart, sorted_apart = 0.0, 0.0
    for one, other in ((train.mean(0), held.mean(0)), (train.std(0), held.std(0))):
        apart += float((one - other).abs().mean())
        sorted_apart += float((one.sort().values - other.sort().values).abs().mean())
    return train.shape[1] >= _PLACES and sorted_apart < _ORDERED * apart


def _apart(one: Tensor, other: Tensor) -> tuple[float, float]:
    """Return half the sum of differences of shares of each value, and what chance makes of it."""
    distinct = torch.cat([one, other]).unique()
    p, q = (torch.stack([(t == c).float().mean() for c in distinct]) for t in (one, other))
    return _distance(p, q, len(one), len(other))


def _distance(p: Tensor, q: Tensor, count: int, other: int) -> tuple[float, float]:
    """Return half the sum of differences of two lists of shares, and what chance makes of it."""
    chance = (p * (1 - p) * (1 / other + 1 / count)).sqrt().sum() / 2
    return float((p - q).abs().sum() / 2), float(chance)


def tokens_differ(subject: Subject) -> Finding | None:
    """Look for tokens of other frequency in the validation data, beyond chance.

    Where they would be alike under other numbers, the vocabulary was made again.
    """
    if _evened(subject):  # words of rare classes come more often
        return None
    tokens: list[list[Tensor]] = []
    for batches in (subject.batches, subject.validation):
        found = [first_tensor(inputs(batch)) for batch in batches]
        if not found or any(t is None or t.dtype != torch.long or t.ndim != 2 for t in found):
            return None
        tokens.append([t for t in found if t is not None])
    # Parts may be padded to other lengths: what most often stands last is no word.
    last = torch.cat([torch.cat([t[:, -1] for t in part]).mode().values[None] for part in tokens])
    parts = [torch.cat([t.flatten() for t in part])[:_TOKENS] for part in tokens]
    parts = [words[~torch.isin(words, last)] for words in parts]
    train, held = parts
    count = int(torch.cat(parts).max()) + 1 if len(train) and len(held) >= 200 else 0
    if not 3 <= count <= _WORDS or int(torch.cat(parts).min()) < 0:
        return None
    p, q = (t.bincount(minlength=count) / len(t) for t in parts)
    # Words of one text come together: chance is taken for a fourth as many.
    chance = float((p * (1 - p) * 4 * (1 / len(held) + 1 / len(train))).sqrt().sum() / 2)
    distance = float((p - q).abs().sum() / 2)
    if distance < 0.15 + 2 * chance:
        return None
    renumbered = float((p.sort().values - q.sort().values).abs().sum() / 2) < 0.5 * distance
    return Finding(
        "validation_preprocessed_differently" if renumbered else "validation_of_other_distribution",
        "problem",
        f"Tokens of the validation inputs have other frequencies than those of the training "
        f"inputs: {digits(distance)} apart"
        + (
            ", and under other numbers they would be alike: was the vocabulary made again?"
            if renumbered
            else "."
        ),
        {"distance": distance, "by chance": chance},
        "half the sum of differences of shares above 0.15 and twice what chance makes",
        _STATISTIC,
        sure=0.85,
    )


def _shares(subject: Subject, batches: Sequence[Batch]) -> tuple[Tensor, ...] | None:
    """Return classes, how often they come in batches and in validation data, and those of batches.

    None where one part has classes that the other lacks, or targets are no classes.
    """
    parts = (batches, subject.validation)
    train, held = (labels(part) if part else None for part in parts)
    if train is None or held is None or train.dtype != held.dtype:
        return None
    distinct, counts = train.unique(return_counts=True)
    others, shares = held.unique(return_counts=True)
    if not 2 <= len(distinct) <= _FEW or not torch.equal(distinct, others):
        return None
    return distinct, counts, shares, train


def _even(counts: Tensor) -> bool:
    """Return whether classes are equally frequent, within chance."""
    share, n = 1 / len(counts), float(counts.sum())
    chance = (len(counts) * n) ** -0.5
    return bool((counts / n - share).abs().max() <= _EVEN * share + 3 * chance)


def _differ(counts: Tensor, others: Tensor) -> bool:
    """Return whether two parts have other shares of classes, beyond chance."""
    n, m = int(counts.sum()), int(others.sum())
    apart, chance = _distance(counts / n, others / m, n, m)
    return bool(apart > _ALIKE + 3 * chance)


def _evened(subject: Subject) -> str:
    """Return the part in which alone classes are equally frequent; empty where there is none.

    A sampler draws rare ones more often, or frequent ones less; or a part was made so that rare
    ones count.
    """
    known = _shares(subject, subject.batches)
    one, other = (_even(known[1]), _even(known[2])) if known else (False, False)
    return "" if one == other else "training" if one else "validation"


def _matched(subject: Subject, batches: Sequence[Batch]) -> Tensor | None:
    """Return training examples whose classes have the shares that they have in validation data.

    None where they have those shares already, within chance; empty where too few examples have.
    """
    known = _shares(subject, batches)
    if known is None or not _differ(*known[1:3]):
        return None
    distinct, counts, shares, train = known
    wanted = shares * float((counts / shares).min())
    places = [torch.nonzero(train == c).flatten() for c in distinct]
    spread = [  # so that all classes come together
        p[torch.linspace(0, len(p) - 1, int(n)).long()] for p, n in zip(places, wanted, strict=True)
    ]
    found = torch.cat(spread).sort().values
    return found if len(found) >= _SOME else found[:0]


def as_in_validation(subject: Subject, batches: Sequence[Batch]) -> Sequence[Batch]:
    """Return training batches in which classes have the shares that they have in validation data.

    Those are all where they have them already, and none where too few examples would be left.

    Args:
        subject: the training.
        batches: of it, inputs and targets.
    """
    rows = _matched(subject, batches)
    if rows is None:
        return batches
    x = [inputs(batch) for batch in batches]
    alike = all(len(one) == 1 and isinstance(one[0], Tensor) for one in x)
    if not alike or len({one[0].shape[1:] for one in x}) > 1 or len(rows) < _ENOUGH:
        return []
    y = torch.cat([target(batch) for batch in batches])
    return [(torch.cat([one[0] for one in x])[rows], y[rows])]


def _labels_differ(subject: Subject) -> Finding | None:
    """Look for classes of other frequency in the validation data, beyond chance."""
    train, held = labels(subject.batches), labels(subject.validation)
    if train is None or held is None or len(held) < 20 or ignores_targets(subject):
        return None
    distinct = torch.cat([train, held]).unique()
    if len(distinct) > 50:
        distance = float((held.float().mean() - train.float().mean()).abs() / train.float().std())
        chance = 5 * (1 / len(held) + 1 / len(train)) ** 0.5
        if distance < 0.5 + chance:
            return None
    else:
        distance, chance = _apart(train, held)
        if distance < 0.25 + 3 * chance:
            return None
    even = _evened(subject)
    return Finding(
        "validation_of_other_distribution",
        "warning" if even else "problem",
        f"Targets of the validation data are distributed otherwise than those of the training "
        f"data: {digits(distance)} apart."
        + (
            f" In {even} data all classes are equally frequent, as a sampler draws them: losses "
            "of the two parts cannot be compared; compare the rates of each class."
            if even
            else ""
        ),
        {"distance": distance},
        "half the sum of differences of class shares above 0.25 and three standard errors, or a "
        "mean half a deviation away",
        _STATISTIC,
        sure=0.4 if even else 0.85,
    )


def _continuous(rows: Tensor) -> bool:
    """Return whether a column hardly repeats a number but where it repeats the whole row.

    Such rows are not equal by chance, however often they are drawn or copied.
    """
    distinct = rows.unique(dim=0)
    least = _TELLING * len(distinct)
    return any(len(column.unique()) > least for column in distinct.T[:_LOOKED])


def duplicates_across_parts(subject: Subject) -> Finding | None:
    """Look for validation examples that are training examples too."""
    train, held = features(subject.batches), features(subject.validation)
    if train is None or held is None or train.shape[1] != held.shape[1] or train.shape[1] < 3:
        return None
    known = {row.numpy().tobytes() for row in train.cpu()}
    rows = {row.numpy().tobytes() for row in held.cpu()}
    if len(rows) < 8 or (len(known) < 0.5 * len(train) and not _continuous(train)):
        return None
    share = len(rows & known) / len(rows)
    if share < 0.1:
        return None
    return Finding(
        "duplicates_across_parts",
        "warning",
        f"{share:.0%} of the validation examples are in the training data too.",
        {"share of validation examples": share},
        "equal inputs, to the last bit, for 10 % or more",
        _STATISTIC,
        sure=0.7,
    )


CHECKS: tuple[Callable[[Subject], Finding | None], ...] = (
    validation_differs,
    tokens_differ,
    duplicates_across_parts,
)
