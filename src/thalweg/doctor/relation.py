"""Relation: have targets anything to do with inputs? Asked without the model."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from torch.utils._pytree import tree_leaves

from thalweg.doctor.baseline import constant_loss, loss_of
from thalweg.doctor.checks.data import features, labels
from thalweg.doctor.loaders import Batch, inputs, target
from thalweg.doctor.subject import Subject, first_tensor

__all__ = ["carried", "explained", "explained_by_places", "first_places", "left_by_network"]

_ROWS = 2048  # examples that are used
_FITTED = 1024  # of two parts each
_PLACES = 1024  # of sequences
_COLUMNS = 4096  # of inputs of the plain network
_FEWEST = 100  # examples below which nothing is said
_NUMBERS = 1024  # of a target that count
_STRENGTHS = (0.1, 1.0, 10.0)  # of ridge regressions
_RANDOM = 256  # random features
_KINDS = 2000  # of tokens or categories
_CLASSES = 50  # distinct targets that count as classes
_LEFT_OUT = 0.5  # of the places, which have a class below 0
_FAR = 5.0  # ranges of the middle half, from the median
_WIDTH, _STEPS, _BATCH, _RATE = 128, 300, 32, 3e-3  # of the plain network, trained by Adam


def explained(batches: Sequence[Batch]) -> float | None:
    """Return the share of the targets' variance that ridge regressions explain on other examples.

    Features are the inputs themselves, random rectified sums of them, their spectrum along the last
    dimension, and for tokens their counts and places. The best of several is returned, at least 0:
    near 0 where inputs say nothing about targets that such features show.

    Args:
        batches: pairs (x, y).

    Returns:
        The share, from 0 to 1; None where there are too few examples or no single targets.
    """
    read = _read(batches)
    if read is None or len(read[0]) < _FEWEST or len(read[1].unique()) < 2:
        return None
    x, y = read
    goal = _goal(y, y.unique())
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, goal = x[order], goal[order]
    half = len(x) // 2
    parts = [(slice(None, half), slice(half, None)), (slice(half, None), slice(None, half))]
    return max(0.0, *(_ridge(rows, goal, parts) for rows in _features(x)))


def carried(batches: Sequence[Batch], others: Sequence[Batch]) -> float | None:
    """Return the share of variance that such regressions on some examples explain on others.

    Args:
        batches: pairs (x, y) that regressions are fitted to.
        others: pairs (x, y) on which they are judged.

    Returns:
        The share, from 0 to 1; None where there are too few examples or no single targets.
    """
    known, other = _read(batches), _read(others)
    if known is None or other is None:
        return None
    (x, y), (held, goal) = ((one[:_FITTED], two[:_FITTED]) for one, two in (known, other))
    few = min(len(x), len(held)) < _FEWEST or y.shape[1:] != goal.shape[1:]
    if few or x.shape[1:] != held.shape[1:] or len(y.unique()) < 2 or len(goal.unique()) < 2:
        return None
    distinct = torch.cat([y, goal]).unique()
    goals = torch.cat([_goal(y, distinct), _goal(goal, distinct)])
    parts = [(slice(None, len(x)), slice(len(x), None))]
    return max(0.0, *(_ridge(rows, goals, parts) for rows in _features(torch.cat([x, held]))))


def explained_by_places(batches: Sequence[Batch], most: int) -> dict[int, float] | None:
    """Return what the input some places ahead explains of the target of a place, for each distance.

    Args:
        batches: pairs (x, y) of sequences, with a target for each place.
        most: the largest distance, to both sides.

    Returns:
        The share of variance for each distance, negative ones behind; None for other data.
    """
    x, y = first_tensor(inputs(batches[0])), target(batches[0])
    if x is None or not isinstance(y, Tensor) or y.ndim != 2 or x.ndim not in {2, 3}:
        return None
    shapes = {(inputs(b)[0].shape[1:], target(b).shape[1:]) for b in batches}
    if x.shape[:2] != y.shape or y.shape[1] < 3 * most or len(shapes) > 1:
        return None
    x, y = torch.cat([inputs(b)[0] for b in batches]), torch.cat([target(b) for b in batches])
    places = range(most, y.shape[1] - most)
    goals = y[:, places.start : places.stop].flatten()
    order = torch.randperm(len(goals), generator=torch.Generator().manual_seed(0))[:_PLACES]
    goal = _goal(goals[order], goals.unique())
    if len(goal) < _FEWEST or bool((goal == goal[0]).all()):
        return None
    half = len(goal) // 2
    parts = [(slice(None, half), slice(half, None))]
    found = {}
    for ahead in range(-most, most + 1):
        beside = x[:, places.start + ahead : places.stop + ahead].flatten(0, 1)[order]
        given = beside if beside.ndim > 1 else beside[:, None]
        found[ahead] = max(0.0, *(_ridge(rows, goal, parts) for rows in _features(given)))
    return found


def _read(batches: Sequence[Batch]) -> tuple[Tensor, Tensor] | None:
    """Return inputs and single targets without examples that come again; None: there are none."""
    y = _single_or_rows(batches)
    given = ([t for t in tree_leaves(inputs(b)) if isinstance(t, Tensor)] for b in batches)
    parts = [_together(column) for column in zip(*given, strict=False)]
    known = [part for part in parts if part is not None]
    if y is None or len(known) < len(parts) or any(len(part) != len(y) for part in known):
        return None
    x = known[0] if len(known) == 1 else _joint(known)
    if x.ndim < 2:
        return None
    places = first_places(x)[:_ROWS]  # an example that comes again would tell its own target
    return x[places], y.detach().cpu()[places]


def _joint(parts: Sequence[Tensor]) -> Tensor:
    """Return several inputs as rows of numbers: how two of a kind differ, numbers, and counts."""
    rows = []
    for part in parts:
        one = part.reshape(len(part), -1)
        if not part.is_floating_point() and int(one.min()) >= 0 and int(one.max()) < _KINDS:
            counts = torch.zeros(len(one), int(one.max()) + 1)
            one = counts.scatter_add_(1, one.long(), torch.ones(one.shape))
        rows.append(one.float())
    pairs = itertools.pairwise(rows)
    between = [t for a, b in pairs if a.shape == b.shape for t in ((a - b).abs(), a * b)]
    return torch.cat([*between, *rows], 1)


def _together(tensors: Sequence[Tensor | None]) -> Tensor | None:
    """Return the examples of all batches; sequences that are padded batch by batch, to the longest.

    None where they differ in more than their length.
    """
    known = [t.detach().cpu() for t in tensors if t is not None and t.ndim > 0]
    first = known[0] if known else None
    if first is None or len(known) < len(tensors):
        return None
    if all(t.shape[1:] == first.shape[1:] for t in known):
        return torch.cat(known)
    if any(t.ndim < 2 or t.shape[2:] != first.shape[2:] for t in known):
        return None
    return pad_sequence([row for t in known for row in t], batch_first=True)


def _single_or_rows(batches: Sequence[Batch]) -> Tensor | None:
    """Return the target of each example, a row where it is several numbers; None for others."""
    single = labels(batches)
    if single is not None:
        return single
    found = [target(batch) for batch in batches]
    if not all(isinstance(y, Tensor) and y.ndim > 1 for y in found):
        return None
    if len({(y.shape[1:], y.dtype) for y in found}) > 1:
        return None
    y = torch.cat([y.flatten(1) for y in found])
    if float((y < 0).float().mean()) > _LEFT_OUT and not y.is_floating_point():
        return None  # which places are asked for, as of a masked text, no regression knows
    return (y if y.is_floating_point() else _indicators(y))[:, :_NUMBERS]


def _indicators(y: Tensor) -> Tensor:
    """Return which class each place is of; places that are left out, below 0, are of none."""
    count = int(y.max()) + 1
    if not 1 < count <= _CLASSES:
        return y.float()
    hot = functional.one_hot(y.long().clamp(min=0), count).float()
    return torch.where(y[..., None] < 0, 0.0, hot).flatten(1)


def _goal(y: Tensor, distinct: Tensor) -> Tensor:
    """Return indicators of classes, or numbers as columns, a few far ones drawn in."""
    if y.ndim == 1 and len(distinct) <= _CLASSES:
        return (y[:, None] == distinct[None]).float()
    y = y.float().reshape(len(y), -1)
    low, middle, high = torch.quantile(y, torch.tensor([0.25, 0.5, 0.75]), dim=0)
    # A column whose middle half is one number has no usual distance.
    far = torch.where(high > low, _FAR * (high - low), torch.inf)
    return y.clamp(middle - far, middle + far)


def left_by_network(subject: Subject, steps: int = _STEPS, *, scaled: bool = True) -> float | None:
    """Return what a plain network leaves of the constant's loss on examples it has not seen.

    It has one hidden layer of 128 rectifiers, and is trained by Adam on half of the examples.

    Args:
        subject: the training, whose loss is asked.
        steps: of the network's training, at most 300.
        scaled: whether inputs are standardized.

    Returns:
        The share; None where inputs are no rows of numbers, outputs neither scores nor rows of
        scores, or examples too few.
    """
    rows, output, loss_fn = features(subject.batches), subject.output, subject.loss_fn
    best = constant_loss(subject)
    single = output is not None and output.shape == (subject.examples,)
    if rows is None or output is None or loss_fn is None or not best:
        return None
    if output.ndim != 2 and not single:
        return None
    y = torch.cat([target(batch) for batch in subject.batches])[: len(rows)]
    places = first_places(rows)[:_ROWS]
    if len(y) != len(rows) or len(places) < _FEWEST or rows.shape[1] > _COLUMNS:
        return None
    generator = torch.Generator().manual_seed(0)
    order = torch.tensor(places)[torch.randperm(len(places), generator=generator)]
    x, y = _unit(rows[order]) if scaled else rows[order], y[order]
    half = len(x) // 2
    torch.manual_seed(0)
    layers = (
        nn.Linear(x.shape[1], _WIDTH),
        nn.ReLU(),
        nn.Linear(_WIDTH, 1 if single else output.shape[1]),
    )
    network = nn.Sequential(*layers, *[nn.Flatten(0)] * single)
    optimizer = torch.optim.Adam(network.parameters(), lr=_RATE)
    for _ in range(min(steps, _STEPS)):
        few = torch.randint(0, half, (_BATCH,), generator=generator)
        optimizer.zero_grad()
        loss_fn(network(x[few]), y[few]).backward()
        optimizer.step()
    return loss_of(loss_fn, network(x[half:]), y[half:]) / best


def first_places(x: Tensor) -> list[int]:
    """Return the places of examples that were not there before."""
    rows = x.flatten(1).float().numpy()
    return sorted({row.tobytes(): place for place, row in reversed(list(enumerate(rows)))}.values())


def _features(x: Tensor) -> list[Tensor]:
    """Return several descriptions of inputs, a row an example."""
    if not x.is_floating_point():
        words = int(x.max()) + 1
        if int(x.min()) < 0 or words > _KINDS:
            return [x.flatten(1).float()]
        hot = functional.one_hot(x.flatten(1).long(), words).float()
        places = hot.flatten(1) if hot[0].numel() <= 2000 else hot[:, -1]
        return [
            _unit(hot.sum(1)),
            _unit(places),
            _unit(torch.cat([hot.sum(1), hot[:, 0], hot[:, -1]], 1)),
        ]
    rows = _unit(x.flatten(1).float())[:, :2000]
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(rows.shape[1], _RANDOM, generator=generator) / rows.shape[1] ** 0.5
    found = [rows, torch.relu(rows @ weights + torch.randn(_RANDOM, generator=generator))]
    if x.shape[-1] >= 8:
        found.append(_unit(torch.fft.rfft(x.float()).abs().flatten(1)[:, :2000]))
    return found


def _unit(rows: Tensor) -> Tensor:
    rows = torch.where(rows.isfinite(), rows, 0.0)
    return (rows - rows.mean(0)) / rows.std(0).clamp(min=1e-6)


def _ridge(rows: Tensor, goal: Tensor, parts: Sequence[tuple[slice, slice]]) -> float:
    """Return the share of variance explained by regressions.

    Args:
        rows: descriptions of the inputs.
        goal: what is explained.
        parts: the examples that each regression is fitted to, and those it is judged on.
    """
    error, total = [0.0] * len(_STRENGTHS), 0.0
    for fitted, held in parts:
        a, b = rows[fitted].double(), goal[fitted].double()
        mean, centre = b.mean(0), a.mean(0)
        a, other, b = a - centre, rows[held].double() - centre, b - mean
        total += float((goal[held] - mean).pow(2).sum())
        if rows.shape[1] > len(a):  # a weight for each example is less, and predicts the same
            other, a = other @ a.T, a @ a.T
            square, given = a, b
        else:
            square, given = a.T @ a, a.T @ b
        for place, strength in enumerate(_STRENGTHS):
            damped = square + strength * rows.shape[1] * torch.eye(len(square)).double()
            weights = torch.cholesky_solve(given, torch.linalg.cholesky(damped))
            error[place] += float((other @ weights + mean - goal[held]).pow(2).sum())
    return max(0.0, 1 - min(error) / total) if total > 0 else 0.0
