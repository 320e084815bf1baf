"""Examples: do they influence one another, is the target in the input, is padding read."""

from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from thalweg.doctor.baseline import class_dimension
from thalweg.doctor.checks.data import features, labels
from thalweg.doctor.checks.parts import as_in_validation, unlike_in_shape
from thalweg.doctor.finding import Finding
from thalweg.doctor.loaders import inputs, target
from thalweg.doctor.relation import carried, explained, explained_by_places
from thalweg.doctor.subject import Subject
from thalweg.words import digits

__all__ = ["CHECKS", "answer", "labels_of_other_places", "labels_spoiled", "lengths"]

_COLUMNS = 4096
_DUMMIES = 20  # classes that may have a column each
_SEQUENCES = 8  # in one input
_TOLD = 0.2  # share of the targets' variance that must be explained in validation data
_SPOILED = 0.4  # with as many wrong labels as right ones it is a quarter
_CARRIED = 0.1  # of what is explained within the parts
_AWAY, _THERE, _COPIED = 3, 0.3, 0.9  # places; share that one of them explains; of equal numbers
_TELLS, _FEWEST = 0.7, 50  # a correlation; examples
_OTHERS = 8  # examples whose inputs are tried in the place of one
_MOST = 0.5  # of the examples
_READ = 0.7  # of the spread: where the largest of a convolution is taken, a padded end moves half
_MOVED = 1e-4  # relative change of an output that is no rounding


def _plain(subject: Subject) -> tuple[Tensor, Tensor] | None:
    """Return the input and the output of the first batch where both are single tensors."""
    given = inputs(subject.batch)
    if subject.output is None or len(given) != 1 or not isinstance(given[0], Tensor):
        return None
    return given[0], subject.output


def _moved(new: Tensor, old: Tensor) -> Tensor:
    """Return, for each example, how far its outputs moved, relative to their size."""
    return (new - old).abs().flatten(1).amax(1) / old.abs().max().clamp(min=1e-12)


def _tensors(subject: Subject) -> dict[int, Tensor]:
    """Return the input tensors of the first batch, by their place among what the model is given."""
    given = tree_leaves(inputs(subject.batch))
    return {i: t for i, t in enumerate(given) if isinstance(t, Tensor) and t.ndim}


def _evaluated(subject: Subject, x: Tensor, place: int = 0) -> Tensor:
    """Return the outputs with another tensor at a place of the inputs."""
    return answer(subject, {place: x})


def answer(subject: Subject, changed: dict[int, Tensor]) -> Tensor:
    """Return the outputs with other tensors at some places of the inputs, in evaluation mode."""
    model = subject.copy().model.eval()
    given, form = tree_flatten(inputs(subject.batch))
    given = [changed.get(place, own) for place, own in enumerate(given)]
    with torch.no_grad():
        torch.manual_seed(0)
        out = model(*tree_unflatten(given, form))
    assert isinstance(out, Tensor)
    return out


def _rows(subject: Subject) -> dict[int, tuple[Tensor, int]]:
    """Return the input tensors with examples first, and where these were; none where it is unknown.

    So it is where examples follow one another without a dimension of their own, and where a matrix
    says which of them belong together, as in a graph.
    """
    given, n = _tensors(subject), subject.examples
    over = {place: [d for d in range(x.ndim) if x.shape[d] == n] for place, x in given.items()}
    graph = len(given) > 1 and any(x.shape[:2] == (n, n) for x in given.values())
    if graph or not all(over.values()):
        return {}
    return {place: (x.movedim(over[place][0], 0), over[place][0]) for place, x in given.items()}


def _replaced(rows: Tensor, which: int, other: int) -> Tensor:
    rows = rows.clone()
    rows[which] = rows[other]
    return rows


def _touched(
    subject: Subject, rows: dict[int, tuple[Tensor, int]], old: Tensor, which: int
) -> Tensor | None:
    """Return how far outputs of the others move when one example has the inputs of another.

    None where all have the same inputs. What reads memory in the wrong order may forget the first
    example, so that the last is asked about too. The next one is taken, so that sorted ones stay
    so, and others until the example's own output moves: it may differ in what is not read.

    Args:
        subject: the training.
        rows: its inputs, examples first, and where these were.
        old: its outputs.
        which: the example, the first or the last.
    """
    n, most = subject.examples, None
    others = range(1, n) if which == 0 else range(n - 2, -1, -1)
    unlike = (i for i in others if any(not torch.equal(r[i], r[which]) for r, _ in rows.values()))
    for other in islice(unlike, _OTHERS):
        moved = {place: _replaced(r, which, other).movedim(0, d) for place, (r, d) in rows.items()}
        try:
            new = answer(subject, moved)
        except Exception:
            if most is None:
                raise
            break  # they have to be sorted
        change = _moved(new.reshape(n, -1), old.reshape(n, -1))
        own, change[which] = float(change[which]), 0
        most = change if most is None or float(change.max()) > float(most.max()) else most
        if own > _MOVED:
            break
    return most


def batch_dimension_mixed(subject: Subject) -> Finding | None:
    """Look for outputs that change with the other examples of the batch."""
    out, n = subject.output, subject.examples
    rows = _rows(subject)
    if out is None or not rows or n < 3 or len(out) % n or out.shape[:2] == (n, n):
        return None
    old = answer(subject, {})
    if not bool((answer(subject, {}) == old).all()):
        return None  # it draws at random in evaluation mode
    ends = {"first": _touched(subject, rows, old, 0), "last": _touched(subject, rows, old, n - 1)}
    changes = {name: change for name, change in ends.items() if change is not None}
    if not changes:
        return None
    which, change = max(changes.items(), key=lambda one: float(one[1].max()))
    touched = int((change > _MOVED).sum())
    of_one = bool((old == old[:1]).all()) and any(not bool(c.any()) for c in changes.values())
    if not touched or of_one:  # where all have one example's outputs, their inputs are ignored
        return None
    return Finding(
        "batch_dimension_mixed",
        "problem",
        f"Another {which} example changes the outputs of "
        f"{touched} of the {n - 1} other examples of its batch, in evaluation mode.",
        {"examples touched": float(touched), "largest change": float(change.max())},
        f"an output moves by more than {_MOVED} of its size when another example changes",
        "an experiment: one example of a batch replaced",
    )


def target_leaks_into_input(subject: Subject) -> Finding | None:
    """Look for targets that stand in the input, at the same or a later place."""
    given, y = _tensors(subject), target(subject.batch)
    if subject.output is None or not isinstance(y, Tensor):
        return None
    forced = {place: x for place, x in given.items() if len(given) > 1 and _follows(x, y)}
    for place, x in (forced or given).items():  # a text that is to be copied may stand beside it
        for part in _parts(x, y):
            for along in (1, -1) if y.ndim == 3 else (1,):  # channels may come before the time
                leak = _leaking_token(subject, (place, x), y, part, along)
                if leak is not None:
                    return leak
    found = _plain(subject)
    return _leaking_column(subject, found[0], y) if found is not None else None


def _follows(x: Tensor, y: Tensor) -> bool:
    """Return whether an input is the target one place later, as a decoder is given."""
    return x.shape == y.shape and x.ndim > 1 and x.shape[1] > 1 and _equal(x[:, 1:], y[:, :-1])


Part = tuple[int, int] | None  # a dimension and a place in it; None: the whole input


def _parts(x: Tensor, y: Tensor) -> Iterator[Part]:
    """Yield which parts of the inputs have the shape of the targets.

    Several sequences may stand in one input, such as a text and its translation.
    """
    one_more = x.ndim == y.ndim == 2 and x.shape == (len(y), y.shape[1] + 1)  # the last of a text
    if x.shape == y.shape or one_more:
        yield None
    for dimension in range(1, x.ndim):
        count = x.shape[dimension]
        if count <= _SEQUENCES and x.shape[:dimension] + x.shape[dimension + 1 :] == y.shape:
            yield from ((dimension, place) for place in range(count))


def _leaking_token(
    subject: Subject, given: tuple[int, Tensor], y: Tensor, part: Part, along: int
) -> Finding | None:
    """Look for the target of a place at a later place of the input that its output reads.

    Args:
        subject: the training.
        given: an input of the model, and where it stands among them.
        y: its targets.
        part: of the input, that has their shape.
        along: the dimension of the targets along which places follow one another.
    """
    (which, x), out = given, subject.output
    assert out is not None
    if y.ndim < 2 or out.numel() % (y.shape[0] * y.shape[along]):
        return None
    if x.is_floating_point() != y.is_floating_point():
        return None
    time, later = y.shape[along], y.movedim(along, 1)
    whole = (x if part is None else x.select(*part)).movedim(along, 1)
    for ahead in range(4):
        if ahead == 0 and (x.is_floating_point() or whole.shape[1] > time):
            continue  # an autoencoder; or which place an output belongs to is not known
        both = min(whole.shape[1] - ahead, time)
        if time <= ahead + 1 or not _equal(whole[:, ahead : ahead + both], later[:, :both]):
            continue
        place = (time - ahead) // 2
        changed = x.clone()
        ours = (changed if part is None else changed.select(*part)).movedim(along, 1)
        ours[:, place + ahead] = whole[:, place + ahead].roll(1, 0)
        differ = (changed != x).flatten(1).any(1)
        moved = _moves_at(subject, (x, changed), y, place, which=which, along=along)[differ]
        if len(moved) and float(moved.float().mean()) > 0.5:
            where = "the input" if part is None else f"part {part[1]} of the input"
            return Finding(
                "target_leaks_into_input",
                "problem",
                f"The target of place t is {where} at place t{f' + {ahead}' if ahead else ''}, "
                "and the output of place t changes with it: the model can copy its answer.",
                {"places ahead": float(ahead), "outputs that change": float(moved.float().mean())},
                "target and input are equal in 99 % of places, and the output reads that input",
                "an experiment: the input that equals the target is changed",
            )
    return None


def _moves_at(
    subject: Subject,
    given: tuple[Tensor, Tensor],
    y: Tensor,
    place: int,
    *,
    which: int = 0,
    along: int = 1,
) -> Tensor:
    """Return for each example whether the output of a place differs between two inputs."""
    assert subject.output is not None
    classes = class_dimension(subject.output, y, subject.loss_fn)
    outputs = [_evaluated(subject, x, which) for x in given]
    if classes is not None:
        outputs = [out.movedim(classes, -1) for out in outputs]
    n, time = len(y), y.shape[along]
    if outputs[0].shape == y.shape:
        outputs = [out.movedim(along, 1) for out in outputs]
    old, new = (out.reshape(n, time, -1)[:, place] for out in outputs)
    return _moved(new, old) > _MOVED


def labels_of_other_places(subject: Subject) -> Finding | None:
    """Look for targets that belong to a place of the input that their output does not read."""
    found, y = _plain(subject), target(subject.batch)
    shares = explained_by_places(subject.batches, _AWAY) if found is not None else None
    if found is None or shares is None or found[1].numel() % y.numel():
        return None
    x = found[0]
    ahead = max(shares, key=lambda distance: shares[distance])
    if shares[ahead] < _THERE or shares[0] > shares[ahead] / 3:
        return None
    place = y.shape[1] // 2
    there = x[:, place + ahead].reshape(len(x), -1)
    if bool((there == y[:, place, None]).float().mean(0).max() > _COPIED):
        return None  # what comes next is to be told
    changed = x.clone()
    changed[:, place + ahead] = x[:, place + ahead].roll(1, 0)
    if bool(_moves_at(subject, (x, changed), y, place).any()):
        return None
    return Finding(
        "labels_do_not_match_inputs",
        "problem",
        f"The input at place t{ahead:+d} explains {digits(shares[ahead], 2)} of the variance of "
        f"the targets of place t, that at place t {digits(shares[0], 2)}, and the output of place "
        f"t does not read it: targets are {abs(ahead)} place{'s' * (abs(ahead) > 1)} off.",
        {"places ahead": float(ahead), "explained there": shares[ahead], "here": shares[0]},
        f"{_THERE} explained, three times as much as at the place itself, by what is not read",
        "an experiment: ridge regressions on single places, and an input that is changed",
        sure=0.9,
    )


def _equal(a: Tensor, b: Tensor) -> bool:
    varied = bool((b != b.flatten()[0]).any())
    return varied and float((a == b).float().mean()) > 0.99


def _leaking_column(subject: Subject, x: Tensor, y: Tensor) -> Finding | None:
    """Look for a column, or a place of a series, that is the target but for its scale."""
    if x.ndim not in {2, 3} or y.numel() != len(x) or not 2 <= x[0].numel() <= _COLUMNS:
        return None
    rows = torch.cat([inputs(b)[0].flatten(1) for b in subject.batches]).double()
    values = torch.cat([target(b).reshape(-1) for b in subject.batches]).double()
    distinct, counts = values.unique(return_counts=True)
    if len(rows) < 20 or len(distinct) < 2:
        return None
    found, what = _copy_of(rows, values, x), "the target"
    if found is None and 3 <= len(distinct) <= _DUMMIES:  # a column for each class
        one = distinct[counts.argmax()]
        found = _copy_of(rows, (values == one).double(), x)
        what = f"whether the target is {digits(float(one))}"
    if found is None:
        return _column_of_training(subject)
    column, correlation, second, copied = found
    place = column // (x[0].numel() // x.shape[1])  # one before the last may be there to recall
    where = f"Column {column}" if x.ndim == 2 else f"Place {place}"
    sequence = x.ndim == 3 or not x.is_floating_point()
    recalled = sequence and place < x.shape[1] - 1
    return Finding(
        "target_leaks_into_input",
        "warning" if recalled else "problem",
        f"{where} of the inputs is {what}"
        + (" itself" if copied else " but for its scale")
        + f" (correlation {digits(correlation, 5)})"
        + (": a fault, unless the model is there to recall it." if recalled else "."),
        {"column": float(column), "correlation": correlation, "next column": second},
        "equal in 99 % of the examples, or a correlation above 0.999 with the target where no "
        "other column has 0.99",
        "the correlation of each column with the target",
        sure=0.6 if recalled else 0.9,
    )


def _column_of_training(subject: Subject) -> Finding | None:
    """Look for a column that tells the target in training data, and not in validation data.

    The mean of the target by category is such, where most categories have an example or two. Where
    other columns tell nothing there either, it is the validation data that are at fault.
    """
    parts: list[Tensor] = []
    for batches in (subject.batches, subject.validation):
        rows, y = (features(batches), labels(batches)) if batches else (None, None)
        if rows is None or y is None or len(rows) < _FEWEST:
            return None
        rows, y = rows[: len(y)].double(), y[: len(rows)].double()
        if rows.shape[1] > _COLUMNS or (parts and rows.shape[1] != len(parts[0])):
            return None
        rows, y = rows - rows.mean(0), y - y.mean()
        size = (rows.norm(dim=0) * y.norm()).clamp(min=1e-300)
        parts.append((rows * y[:, None]).sum(0) / size)
    train, held = parts
    column = int(train.abs().argmax())
    others = torch.arange(len(train)) != column
    kept = float((train * held)[others].sum() / train[others].pow(2).sum().clamp(min=1e-300))
    there, here = float(train[column].abs()), float(held[column].abs())
    if not (there > _TELLS and here < there / 3 and kept > 0.5):
        return None
    return Finding(
        "target_leaks_into_input",
        "problem",
        f"Column {column} of the inputs tells the target in training data (correlation "
        f"{digits(there)}) and hardly in validation data ({digits(here)}), where other columns "
        "tell as much as before: it was made of the training targets.",
        {"column": float(column), "correlation": there, "in validation data": here},
        f"a correlation above {_TELLS}, of which a third is left in validation data, and half of "
        "that of the other columns or more",
        "the correlation of each column with the target",
        sure=0.8,
    )


def _copy_of(rows: Tensor, values: Tensor, x: Tensor) -> tuple[int, float, float, bool] | None:
    """Return the column that is the target, its correlation, the next one, and if it is equal."""
    same = (rows == values[:, None]).double().mean(0)
    rows, values = rows - rows.mean(0), values - values.mean()
    size = rows.norm(dim=0) * values.norm()
    alike = (rows * values[:, None]).sum(0).abs() / size.clamp(min=1e-300)
    alike = alike.nan_to_num(0.0) + same  # a copy comes before what is like it
    column = int(alike.argmax())
    correlation = float(alike[column] - same[column])
    second = float(alike.topk(2).values[1])
    copied = float(same[column]) > 0.99 and float(same.topk(2).values[1]) < 0.9
    if not copied and (correlation < 0.999 or second > 0.99 or not x.is_floating_point()):
        return None
    return column, correlation, second, copied


def lengths(x: Tensor) -> Tensor | None:
    """Return the lengths of padded sequences: where each begins to be constant to its end.

    None where it does not look like padding: lengths do not differ though the end is no longer
    than what is before it, or what stands behind the end is not one and the same value.

    Args:
        x: (examples, time) or (examples, time, features).

    Example:
        >>> lengths(torch.tensor([[3, 5, 0, 0], [2, 7, 4, 0], [9, 1, 6, 8]] * 4))[:3]
        tensor([2, 3, 4])
    """
    if x.ndim not in {2, 3} or x.shape[1] < 3 or (x.ndim == 2 and x.is_floating_point()):
        return None
    same = x == x[:, -1].mode(0).values if x.ndim == 2 else (x == 0).all(2)
    behind = same.flip(1).int().cummin(1).values.flip(1)
    found = x.shape[1] - behind.sum(1)
    inner = float(same.sum() - behind.sum()) / max(1, int(found.sum()))
    padded = float((found < x.shape[1] - 1).float().mean())
    if padded < 0.3 or inner > 0.05 or int(found.min()) < 1:
        return None
    mostly = x.ndim == 2 and 2 * int(found.max()) < x.shape[1]  # tokens, and more of padding
    if len(found.unique()) < 3 and not mostly:
        return None
    return found


def reads_padding(subject: Subject) -> Finding | None:
    """Look for outputs that change with the padding behind the end of a sequence."""
    given, out, n = _tensors(subject), subject.output, subject.examples
    known = {place: ends for place, x in given.items() if (ends := lengths(x)) is not None}
    if out is None or not known or out.ndim > 2 or len(out) != n:
        return None
    if any(len(x) != n for x in given.values()):
        return None
    ends, x = next((ends, given[place]) for place, ends in known.items())
    shortest = int(ends.argmin())
    one = {place: t[shortest : shortest + 1] for place, t in given.items()}
    cut = {  # a mask beside the sequence is cut, too
        place: t[:, : int(ends[shortest])] if t.shape[1:2] == x.shape[1:2] else t
        for place, t in one.items()
    }
    try:
        old, new = answer(subject, one), answer(subject, cut)
    except Exception:  # noqa: BLE001 - the model takes one length only, and says so in its own way
        return None
    spread = float(out.std(0).mean()) if len(out) > 1 else 0.0
    alone = bool(old.isfinite().all()) and not bool(new.isfinite().all())
    moved = float("inf") if alone else float((new - old).abs().mean())
    if not moved > 0.05 * max(spread, 1e-12):
        return None
    places = x.shape[1] - int(ends[shortest])
    return Finding(
        "reads_padding",
        "problem" if moved > _READ * spread else "warning",
        f"An example of length {int(ends[shortest])} gets "
        + (
            f"no number without the {places} places of padding behind its end: its output is made "
            "of these. In torch's masks of padding, True is what is left out."
            if alone
            else f"another output when the {places} places of padding behind its end are left out."
        ),
        {
            "change of the output": "not a number" if alone else moved,
            "spread of outputs between examples": spread,
            "share of padded examples": float((ends < x.shape[1]).float().mean()),
        },
        "it moves by 5 % of what outputs differ between examples; from 70 % on a problem",
        "an experiment: the same example without its padding",
        sure=0.9,
    )


def _sloped(subject: Subject, given: dict[int, Tensor]) -> bool:
    """Return whether outputs have a slope along the inputs of most examples.

    So have those of a code that is rounded and lets gradients through: it may be alike for all
    at the start, and is learned.
    """
    floats = {
        i: x.detach().clone().requires_grad_() for i, x in given.items() if x.is_floating_point()
    }
    leaves, form = tree_flatten(inputs(subject.batch))
    leaves = [floats.get(place, own) for place, own in enumerate(leaves)]
    out = subject.copy().model.eval()(*tree_unflatten(leaves, form))
    if not floats or not out.requires_grad:
        return False
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(out)
    slopes = torch.autograd.grad(out, list(floats.values()), weights, allow_unused=True)
    alive = [(s != 0).reshape(len(s), -1).any(1).float().mean() for s in slopes if s is not None]
    return any(float(share) > _MOST for share in alive)


def inputs_ignored(subject: Subject) -> Finding | None:
    """Look for outputs that are the same for different inputs."""
    given, out = _tensors(subject), subject.output
    if out is None or not given or subject.examples < 3 or not bool(out.isfinite().all()):
        return None
    rows = [x for x in given.values() if len(x) == len(out)]
    if len(rows) < len(given) or all(bool((x == x[:1]).all()) for x in rows):
        return None
    if not bool((out == out[:1]).all()):
        return None
    twin = subject.copy()
    for batch in subject.batches[:3]:  # a last layer that starts at 0 does not stay so
        twin.take_step(batch)
    with torch.no_grad():
        later = twin.model.eval()(*inputs(subject.batch))
    if bool(later.isfinite().all()) and not bool((later == later[:1]).all()):
        return None
    if _sloped(subject, given):
        return None
    return Finding(
        "inputs_ignored",
        "problem",
        f"The {len(out)} examples of a batch differ, and their outputs are equal to the last bit.",
        {"examples": float(len(out))},
        "outputs of different inputs are equal, before and after three steps",
        "an experiment: a batch",
        sure=0.8,  # dead units may be the reason
    )


def labels_spoiled(subject: Subject) -> Finding | None:
    """Look for training targets that fit their inputs far worse than validation targets do."""
    if not subject.pairs or not subject.validation:
        return None
    held = explained(subject.validation)
    share = None
    if held is not None and held > _TOLD:  # of rare classes inputs explain less
        share = explained(as_in_validation(subject, subject.batches))
    if held is None or share is None or share > _SPOILED * held:
        return None
    return Finding(
        "labels_do_not_match_inputs",
        "warning",
        f"Regressions on the inputs explain {digits(share, 2)} of the variance of the training "
        f"targets, and {digits(held, 2)} of that of the validation targets: many training targets "
        "stand beside inputs that are not theirs.",
        {"share explained in training data": share, "in validation data": held},
        f"less than {_SPOILED} of what is explained in validation data",
        "an experiment: ridge regressions from one half of the examples to the other",
        sure=0.5,  # augmentation of the training data does the same
    )


def validation_unlike(subject: Subject) -> Finding | None:
    """Look for validation data whose targets depend on inputs in another way than in training.

    Such are tokens or classes that have other numbers there.
    """
    if not subject.pairs or not subject.validation:
        return None
    share = carried(subject.batches, subject.validation)
    if share is None or share > _CARRIED * _TOLD:
        return None
    own = [explained(part) for part in (subject.batches, subject.validation)]
    least = min((one for one in own if one is not None), default=0.0)
    if None in own or least < _TOLD or share > _CARRIED * least:
        return None
    train, held = features(subject.batches), features(subject.validation)
    other = train is not None and held is not None and unlike_in_shape(train, held)
    return Finding(
        "validation_of_other_distribution" if other else "validation_preprocessed_differently",
        "problem",
        f"Regressions on the inputs explain {digits(least, 2)} or more of the variance of targets "
        "within training and within validation data, and those from training data "
        f"{digits(share, 2)} of it in validation data"
        + (
            ", and no change of mean and scale makes the inputs of the two alike."
            if other
            else ": were inputs prepared, or tokens or classes numbered, in another way?"
        ),
        {"share explained within the parts": least, "from one to the other": share},
        f"{_TOLD} within both parts, and a {round(1 / _CARRIED)}th of it from one to the other",
        "an experiment: ridge regressions within and between the parts",
        sure=0.85,
    )


CHECKS: tuple[Callable[[Subject], Finding | None], ...] = (
    batch_dimension_mixed,
    target_leaks_into_input,
    reads_padding,
    inputs_ignored,
    labels_spoiled,
    validation_unlike,
)
