"""Data: values, labels, their order, and whether validation data are like training data."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from thalweg.doctor.baseline import class_dimension, ignores_targets, loss_of, scores
from thalweg.doctor.finding import Finding
from thalweg.doctor.loaders import Batch, inputs, target
from thalweg.doctor.subject import Subject, first_tensor
from thalweg.words import digits

__all__ = ["CHECKS", "classes", "features", "labels", "tagged", "unlike_in_shape"]

_STATISTIC = "a statistic of the batches that were read"
_TOKENS, _WORDS = 1_000_000, 10_000  # tokens that are counted, and kinds of them
_CHANNELS, _CERTAIN = 4, 8.0  # at most, and standard errors
_DEARER = 1.5  # times the cost of mistaking another class
_MOVED = 5.0  # deviations
_SHAPE, _UNIT = 0.1, 5.0  # in deviations; times as large, which another unit makes
_QUANTILES, _VALUES = 199, 50_000  # that are compared, of so many values
_ROWS = 4096  # examples that statistics are taken of
_FEW, _EVEN = 50, 0.1  # classes; of an equal share


def features(batches: Sequence[Batch]) -> Tensor | None:
    """Return the inputs of batches, one row an example; None where they are no numbers."""
    rows: list[Tensor] = []
    for batch in batches:
        x = first_tensor(inputs(batch))
        if (
            x is None
            or not x.is_floating_point()
            or x.ndim < 1
            or (rows and x.shape[1:] != rows[0].shape[1:])
        ):
            return None
        rows.append(x.detach())
        if sum(map(len, rows)) >= _ROWS:
            break
    return torch.cat(rows).flatten(1).float() if rows and rows[0].ndim > 1 else None


def labels(batches: Sequence[Batch]) -> Tensor | None:
    """Return the class or number of each example; None where a target is more than one."""
    found = []
    for batch in batches:
        y = target(batch)
        if not isinstance(y, Tensor) or y.ndim == 0 or y.numel() != len(y):
            return None
        found.append(y.detach().reshape(-1))
    return torch.cat(found)


def nan_in_inputs(subject: Subject) -> Finding | None:
    """Look for values that are not finite in inputs and targets."""
    for part, batches in (("training", subject.batches), ("validation", subject.validation)):
        for what, of in (("inputs", inputs), ("targets", target)):
            bad = [t for t in (_not_finite(of(batch)) for batch in batches) if t is not None]
            if not bad:
                continue
            rows = sum(int(t.reshape(len(t), -1).any(1).sum()) for t in bad)
            return Finding(
                "nan_in_inputs",
                "problem",
                f"{rows} {part} examples have {what} that are NaN or infinite, in {len(bad)} of "
                f"{len(batches)} batches: the loss of such a batch is not a number.",
                {"examples": float(rows), "batches": float(len(bad))},
                "a value that is not finite",
                _STATISTIC,
            )
    return None


def _not_finite(tree: Any) -> Tensor | None:  # noqa: ANN401 - tensors in tuples and dicts
    """Return where the first tensor with a value that is not finite has such; None: none has.

    Of several tensors those behind the first may be infinite on purpose, as a mask is.
    """
    tensors = [t for t in tree_leaves(tree) if isinstance(t, Tensor) and t.ndim]
    found = [t.isnan() if place else ~t.isfinite() for place, t in enumerate(tensors)]
    return next((t for t in found if bool(t.any())), None)


def _same(tensors: list[Tensor | None], least: int) -> Tensor | None:
    """Return the first tensor if it and all others hold one example again and again.

    Args:
        tensors: a batch each.
        least: fewer examples tell nothing.
    """
    known = [tensor for tensor in tensors if tensor is not None and tensor.ndim > 0]
    if not known or len(known) < len(tensors) or sum(map(len, known)) < least:
        return None
    first = known[0]
    same = all(t.shape[1:] == first.shape[1:] and bool((t == first[:1]).all()) for t in known)
    return first if same else None


def inputs_constant(subject: Subject) -> Finding | None:
    """Look for inputs that are the same for all examples."""
    first = _same([first_tensor(inputs(batch)) for batch in subject.batches], least=3)
    if first is None:
        return None
    parts = zip(*(tree_leaves(inputs(batch)) for batch in subject.batches), strict=False)
    tensors = ([t if isinstance(t, Tensor) else None for t in part] for part in parts)
    if any(_same(part, least=3) is None for part in tensors):
        return None  # one of several inputs, such as a graph that all examples share
    return Finding(
        "inputs_constant",
        "problem",
        "All examples have the same inputs"
        + (
            f", and all are {digits(float(first.flatten()[0]))}."
            if bool((first == first.flatten()[0]).all())
            else "."
        ),
        {"first value": float(first.flatten()[0])},
        "inputs of all examples are equal",
        _STATISTIC,
    )


def labels_all_equal(subject: Subject) -> Finding | None:
    """Look for targets that are the same for all examples."""
    first = _same([first_tensor(target(batch)) for batch in subject.batches], least=8)
    if first is None or ignores_targets(subject):
        return None
    return Finding(
        "labels_all_equal",
        "problem",
        f"All targets are the same, {digits(float(first.flatten()[0]))}: a constant fits them.",
        {"target": float(first.flatten()[0])},
        "targets of all examples are equal",
        _STATISTIC,
    )


def data_sorted_not_shuffled(subject: Subject) -> Finding | None:
    """Look for batches whose targets are far more alike than those of different batches."""
    y = labels(subject.batches)
    if y is None or len(subject.batches) < 4:
        return None
    sizes = [len(target(batch)) for batch in subject.batches]
    if min(sizes[:-1]) < 4:
        return None
    values = _ranked(y)
    total = float(values.var(0).sum())
    parts = values.split(sizes)
    within = sum(float(part.var(0, correction=0).sum()) * len(part) for part in parts) / len(values)
    if total == 0:
        return None
    share = within / total
    if share > 0.4:
        return None
    return Finding(
        "data_sorted_not_shuffled",
        "problem",
        f"Targets within a batch are alike: their variance there is {share:.0%} of that of all. "
        "The data are sorted, and not shuffled.",
        {"variance within batches over all": share},
        "in shuffled data that share is 1 - 1 / batch size on average; sorted is below 40 %",
        _STATISTIC,
    )


def _ranked(y: Tensor) -> Tensor:
    """Return classes as indicator columns, or numbers as a column."""
    distinct: Tensor = y.unique()
    if len(distinct) <= 50:
        return (y[:, None] == distinct[None]).float()
    return y.float()[:, None].argsort(0).argsort(0).float()


def classes(subject: Subject, batches: Sequence[Batch]) -> Tensor | None:
    """Return the class of each example, of each place of a map, or whether each tag is true."""
    found = labels(batches)
    if found is not None or subject.output is None:
        return found
    first = target(subject.batch)
    if not isinstance(first, Tensor) or first.ndim < 2:
        return None
    maps = class_dimension(subject.output, first, subject.loss_fn) is not None
    alike = first.shape == subject.output.shape and (first.ndim > 2 or tagged(batches))
    if not maps and not alike:
        return None
    return torch.cat([target(batch).detach().flatten() for batch in batches])


def tagged(batches: Sequence[Batch]) -> bool:
    """Return whether targets say of several tags which are true, of any number of them."""
    found = [target(batch) for batch in batches]
    if not all(isinstance(y, Tensor) and y.ndim == 2 and y.shape[1] > 1 for y in found):
        return False
    y = torch.cat(found)
    return bool(((y == 0) | (y == 1)).all()) and not bool((y.sum(1) == 1).all())


def class_imbalance(subject: Subject) -> Finding | None:
    """Look for a class so frequent that the loss asks for little else."""
    y = classes(subject, subject.batches)
    if y is None or subject.output is None or subject.loss_fn is None or ignores_targets(subject):
        return None
    distinct, counts = y.unique(return_counts=True)
    if not 2 <= len(distinct) <= 50 or bool((distinct != distinct.round()).any()):
        return None
    first = target(subject.batch)
    scored = class_dimension(subject.output, first, subject.loss_fn) is not None
    if not scored and first.numel() != subject.output.numel():
        return None  # a flag beside outputs of another kind
    share = float(counts.max()) / len(y)
    rare, often = _costs(subject, distinct, counts)
    dear = 0 < _DEARER * rare < often  # the loss counts the frequent class more than others
    counted = share * often / (share * often + (1 - share) * rare) if dear else share
    if counted < 0.85 or rare > _DEARER * often:
        return None
    what = "examples" if len(y) == sum(len(target(b)) for b in subject.batches) else "places"
    what = "tags" if tagged(subject.batches) else what
    return Finding(
        "class_imbalance",
        "warning",
        f"{share:.1%} of the {what} are of one class ({int(distinct[counts.argmax()])}), and "
        + (
            f"mistaking it costs {digits(often / rare)} times as much as mistaking the rarest: "
            "the weights of the classes are the wrong way round."
            if dear
            else f"the loss weights all {what} alike: naming that class always is nearly as good."
        ),
        {"share of the largest class": share, "classes": float(len(distinct))},
        f"the largest class has 85 % of the {what} or more as the loss counts them, and the loss "
        "does not weight the rare ones more",
        _STATISTIC,
        sure=0.6,
    )


def _costs(subject: Subject, distinct: Tensor, counts: Tensor) -> tuple[float, float]:
    """Return what mistaking the rarest class costs, and what mistaking the most frequent one."""
    out, first = subject.output, target(subject.batch)
    assert out is not None
    assert subject.loss_fn is not None
    most, least = distinct[counts.argmax()], distinct[counts.argmin()]
    y = torch.full_like(first, most)  # type: ignore[arg-type] # a number of the targets' type
    y.view(-1)[: y.numel() // 2] = least
    dimension = class_dimension(out, first, subject.loss_fn)
    if dimension is None:
        right = (2 * (y == distinct.max()).to(out.dtype) - 1).reshape(out.shape)
    else:
        right = scores(out, y.long(), dimension)
    costs = []
    for label in (least, most):
        wrong = (
            (y == label).reshape(out.shape)
            if dimension is None
            else (y == label).unsqueeze(dimension)
        )
        costs.append(loss_of(subject.loss_fn, 5 * torch.where(wrong, -right, right), y))
    return costs[0], costs[1]


def validation_differs(subject: Subject) -> Finding | None:
    """Look for validation inputs of another mean, scale or range than training inputs."""
    train, held = features(subject.batches), features(subject.validation)
    if train is None or held is None or train.shape[1] != held.shape[1] or len(held) < 8:
        return None
    even = _evened(subject)
    if even is not None:  # rare classes move the mean of inputs where they are drawn more often
        train = train[even[even < len(train)]]
    train, held = train[train.isfinite().all(1)], held[held.isfinite().all(1)]
    if len(train) < 8 or len(held) < 8:
        return None
    # The same columns, in units of the training data: what a fixed preprocessing would leave alike.
    middle, spread = train.mean(), train.std().clamp(min=1e-12)
    shift = float((held.mean() - middle).abs() / spread)
    scale = float(held.std() / spread)
    error = float((train.mean(1).std() + held.mean(1).std()) / spread) / len(held) ** 0.5
    if shift < 0.5 + 6 * error and 0.5 < scale < 2:
        return _channels_swapped(subject) or _columns_differ(train, held) or _labels_differ(subject)
    if 0.5 < scale < 2:  # no preprocessing of inputs moves targets, or some columns alone
        first = first_tensor(inputs(subject.batch))
        rows = first is not None and first.ndim <= 3  # tables and series
        found = [_labels_differ(subject), _columns_differ(train, held) if rows else None]
        others = next((f for f in found if f is not None and f.severity == "problem"), None)
        if others is not None and others.cause == "validation_of_other_distribution":
            return others
    return Finding(
        _cause(train, held),
        "problem",
        f"Validation inputs have mean {digits(float(held.mean()))} and deviation "
        f"{digits(float(held.std()))}, training inputs {digits(float(middle))} and "
        f"{digits(float(spread))}.",
        {"shift in training deviations": shift, "ratio of deviations": scale},
        "a mean more than half a deviation away, or a deviation below half or above twice",
        _STATISTIC,
    )


def _cause(train: Tensor, held: Tensor) -> str:
    """Return what made validation inputs another: their preparation, or where they come from."""
    scale = float(held.std() / train.std().clamp(min=1e-12))
    moderate = 1 / _UNIT < scale < _UNIT
    if moderate and unlike_in_shape(train, held):
        return "validation_of_other_distribution"
    return "validation_preprocessed_differently"


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


def _columns_differ(train: Tensor, held: Tensor) -> Finding | None:
    """Look for columns of other mean or scale, beyond chance."""
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
    if share < 0.2:
        return None
    rescaled = float((scale.log().abs() > 0.7).float().mean()) > 0.1
    # A trend, or other people, move columns by few deviations; another unit moves them by many.
    moved = float(shift.abs().median()) > _MOVED
    alike = share > 0.5 and (rescaled or moved)
    return Finding(
        _cause(train, held) if alike else "validation_of_other_distribution",
        "problem",
        f"{share:.0%} of the input columns have another mean or deviation in the validation data "
        f"than in the training data; the largest shift is {digits(float(shift.abs().max()))} "
        "deviations.",
        {"share of columns": share, "largest shift in deviations": float(shift.abs().max())},
        "a fifth of the columns: half a deviation and five standard errors, or a scale of 3",
        _STATISTIC,
        sure=0.9,
    )


def _apart(one: Tensor, other: Tensor) -> tuple[float, float]:
    """Return half the sum of differences of shares of each value, and what chance makes of it."""
    distinct = torch.cat([one, other]).unique()
    p, q = (torch.stack([(t == c).float().mean() for c in distinct]) for t in (one, other))
    chance = (p * (1 - p) * (1 / len(other) + 1 / len(one))).sqrt().sum() / 2
    return float((p - q).abs().sum() / 2), float(chance)


def tokens_differ(subject: Subject) -> Finding | None:
    """Look for tokens of other frequency in the validation data, beyond chance.

    Where they would be alike under other numbers, the vocabulary was made again.
    """
    if _evened(subject) is not None:  # words of rare classes come more often
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


def _evened(subject: Subject) -> Tensor | None:
    """Return training examples whose classes have the shares that they have in validation data.

    None unless classes are equally frequent in training data, and all there but not so in
    validation data: a sampler has drawn rare ones more often, or frequent ones less.
    """
    parts = (subject.batches, subject.validation)
    train, held = (labels(part) if part else None for part in parts)
    if train is None or held is None or train.dtype != held.dtype:
        return None
    distinct, counts = train.unique(return_counts=True)
    others, shares = held.unique(return_counts=True)
    if not 2 <= len(distinct) <= _FEW or not torch.equal(distinct, others):
        return None
    even, chance = 1 / len(distinct), (len(distinct) * len(train)) ** -0.5
    if float((counts / len(train) - even).abs().max()) > _EVEN * even + 3 * chance:
        return None
    if float((shares / len(held) - even).abs().max()) <= _EVEN * even + 3 * chance:
        return None
    wanted = shares * float((counts / shares).min())
    places = [torch.nonzero(train == c).flatten() for c in distinct]
    return torch.cat([p[: int(n)] for p, n in zip(places, wanted, strict=True)]).sort().values


def _labels_differ(subject: Subject) -> Finding | None:
    """Look for classes of other frequency in the validation data, beyond chance."""
    train, held = labels(subject.batches), labels(subject.validation)
    if train is None or held is None or len(held) < 20:
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
    even = _evened(subject) is not None
    return Finding(
        "validation_of_other_distribution",
        "warning" if even else "problem",
        f"Targets of the validation data are distributed otherwise than those of the training "
        f"data: {digits(distance)} apart."
        + (
            " In training data all classes are equally frequent, as a sampler draws them: losses "
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


def duplicates_across_parts(subject: Subject) -> Finding | None:
    """Look for validation examples that are training examples too."""
    train, held = features(subject.batches), features(subject.validation)
    if train is None or held is None or train.shape[1] != held.shape[1] or train.shape[1] < 3:
        return None
    known = {row.numpy().tobytes() for row in train.cpu()}
    rows = {row.numpy().tobytes() for row in held.cpu()}
    if len(known) < 0.5 * len(train) or len(rows) < 8:
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


def targets_turned(subject: Subject) -> Finding | None:
    """Look for maps of targets that fit the mirrored or turned image better than the image."""
    x, y = first_tensor(inputs(subject.batch)), target(subject.batch)
    if x is None or not isinstance(y, Tensor) or x.ndim != 4 or not x.is_floating_point():
        return None
    if y.ndim not in {3, 4} or y.shape[-2:] != x.shape[-2:] or len(y) != len(x):
        return None
    images = torch.cat([inputs(b)[0] for b in subject.batches if len(target(b)) == len(y)]).float()
    maps = torch.cat([target(b) for b in subject.batches if len(target(b)) == len(y)]).float()
    maps = maps if maps.ndim == 3 else maps.mean(1)
    turned = {"as they are": maps, "mirrored": maps.flip(2), "upside down": maps.flip(1)}
    turned |= {"turned by 180 degrees": maps.flip(1, 2)}
    if maps.shape[1] == maps.shape[2]:
        turned |= {"transposed": maps.transpose(1, 2)}
    middle = images - images.mean((2, 3), keepdim=True)
    shown = torch.cat([middle, middle.abs()], 1)  # brightness of each channel, and contrast
    fits = torch.stack([_alike(shown, one) for one in turned.values()])  # way, example, channel
    best = int(fits.abs().mean(1).amax(0).argmax())
    fits = fits[..., best].abs()
    better = (fits[1:].amax(0) > fits[0] + 0.2) & (fits[1:].amax(0) > 0.3)
    share = float(better.float().mean())
    if share < 0.2:
        return None
    way = list(turned)[1 + int(fits[1:, better].mean(1).argmax())]
    return Finding(
        "labels_do_not_match_inputs",
        "problem",
        f"In {share:.0%} of the examples the map of targets fits the image better when it is "
        f"{way}: images are turned, and their targets are not.",
        {"share of examples": share, "fit as they are": float(fits[0].mean())},
        "a correlation with the image that is 0.2 higher when turned, in 20 % of the examples",
        "the correlation of each map with its image",
        sure=0.9,
    )


def _alike(shown: Tensor, maps: Tensor) -> Tensor:
    """Return the correlation of each example's map with each channel."""
    a = shown.flatten(2)
    a = a - a.mean(2, keepdim=True)
    b = maps.flatten(1)[:, None]
    b = b - b.mean(2, keepdim=True)
    found: Tensor = (a * b).sum(2) / (a.norm(dim=2) * b.norm(dim=2)).clamp(min=1e-12)
    return found


CHECKS: tuple[Callable[[Subject], Finding | None], ...] = (
    nan_in_inputs,
    inputs_constant,
    labels_all_equal,
    data_sorted_not_shuffled,
    targets_turned,
    class_imbalance,
    validation_differs,
    tokens_differ,
    duplicates_across_parts,
)
