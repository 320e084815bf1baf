"""Unread: parts of the inputs that no output depends on, though they tell the target."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from thalweg.doctor.checks.examples import answer
from thalweg.doctor.finding import Finding
from thalweg.doctor.loaders import Batch, inputs, target
from thalweg.doctor.relation import explained
from thalweg.doctor.subject import Subject
from thalweg.words import digits, listed

__all__ = ["input_unread", "part_unread"]

_PIECES = 16  # of the places of one input, at most
_TELLS, _LESS = 0.1, 0.5  # share of the targets' variance; of what the unread part explains

Piece = tuple[int, slice]
"""Which of the tensors that the model is given, and which places or columns of it."""


def part_unread(subject: Subject) -> Finding | None:
    """Look for places or columns that no output depends on, and that tell more than the others."""
    pieces = _pieces(subject)
    if subject.output is None or len(pieces) < 2:
        return None
    old = answer(subject, {})
    read = [piece for piece in pieces if _moves(subject, piece, old)]
    unread = [piece for piece in pieces if piece not in read]
    if not read or not unread or not bool((answer(subject, {}) == old).all()):
        return None
    there, here = (explained([_only(b, part) for b in subject.batches]) for part in (unread, read))
    if there is None or there < _TELLS or (here or 0.0) > _LESS * there:
        return None
    told = (
        "what is read is of too few kinds to ask"
        if here is None
        else f"on what is read {digits(here, 2)}"
    )
    return Finding(
        "inputs_ignored",
        "problem",
        f"No output depends on {_told(unread)}. Regressions on that explain {digits(there, 2)} of "
        f"the targets' variance on other examples, and {told}: is it a wrong index?",
        {"explained by what is not read": there, "explained by what is read": here or 0.0},
        f"{_TELLS} explained by what is not read, and half as much or less by what is",
        "an experiment: parts of the inputs are exchanged between examples; ridge regressions",
        sure=0.85,
    )


def input_unread(subject: Subject) -> Finding | None:
    """Look for one input of several no place of which is read, as of a graph without messages.

    What it tells together with the others no regression says.

    Args:
        subject: a training that leaves most of the loss.
    """
    pieces, given = _pieces(subject), tree_leaves(inputs(subject.batch))
    if subject.output is None or not pieces or len(given) < 2:
        return None
    old = answer(subject, {})
    known = {piece[0] for piece in pieces if _moves(subject, piece, old)}
    differ = (n for n, t in enumerate(given) if not bool((t == t[:1]).all()))
    whole = [n for n in differ if n not in known]
    if not known or not whole or not bool((answer(subject, {}) == old).all()):
        return None
    told = listed([f"input {n}" for n in whole], 4)
    return Finding(
        "inputs_ignored",
        "warning",
        f"No output depends on {told}, of the {len(given)} that "
        "the model is given, and most of the loss is left: is it multiplied by 0, or another used "
        "in its place?",
        {"inputs that are not read": float(len(whole)), "inputs": float(len(given))},
        "outputs are the same when examples exchange it",
        "an experiment: parts of the inputs are exchanged between examples",
        sure=0.65,  # it may be given for another use
    )


def _pieces(subject: Subject) -> list[Piece]:
    """Return the places or columns of each input, in pieces, where examples come first."""
    given = tree_leaves(inputs(subject.batch))
    if not all(isinstance(t, Tensor) and t.shape[:1] == (subject.examples,) for t in given):
        return []
    found = []
    for number, tensor in enumerate(given):
        places = tensor.shape[1] if tensor.ndim > 1 else 1
        size = -(-places // _PIECES)
        found += [(number, slice(at, min(at + size, places))) for at in range(0, places, size)]
    return found


def _part(tensor: Tensor, places: slice) -> Tensor:
    return tensor[:, places] if tensor.ndim > 1 else tensor


def _moves(subject: Subject, piece: Piece, old: Tensor) -> bool:
    """Return whether an output is another when examples exchange a piece of their inputs."""
    number, places = piece
    changed = tree_leaves(inputs(subject.batch))[number].clone()
    part = _part(changed, places)
    part.copy_(part.roll(1, 0))
    return not torch.equal(answer(subject, {number: changed}), old)


def _only(batch: Batch, pieces: Sequence[Piece]) -> Batch:
    """Return a batch with some pieces of its inputs alone."""
    given = tree_leaves(inputs(batch))
    numbers = sorted({number for number, _ in pieces})
    parts = [[_part(given[n], places) for m, places in pieces if m == n] for n in numbers]
    return (*(torch.cat(part, min(1, part[0].ndim - 1)) for part in parts), target(batch))


def _told(pieces: Sequence[Piece]) -> str:
    """Return words for pieces, those that follow one another together."""
    runs: list[list[int]] = []
    for number, places in pieces:
        if runs and runs[-1][0] == number and runs[-1][2] == places.start:
            runs[-1][2] = places.stop
        else:
            runs.append([number, places.start, places.stop])
    return listed([f"places {low} to {high - 1} of input {n}" for n, low, high in runs], 4)
