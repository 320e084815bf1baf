"""Losses: what torch's own loss functions are given, wherever they are called.

So a term of a sum, one output of several and a loss within the user's own step are seen too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thalweg.doctor.checks.outputs import SCALES, enlarge, normalized
from thalweg.doctor.exchange import PAIRS
from thalweg.doctor.finding import Finding
from thalweg.doctor.subject import Subject
from thalweg.stack.calls import Calls
from thalweg.words import digits

__all__ = ["CHECKS"]

_DIFFERENCES = {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"}
_LOGARITHMS = {"nll_loss", "kl_div", "ctc_loss"}
_SIDES = {**PAIRS, "soft_margin_loss": 1}  # targets are -1 and 1; the place of the argument
_SCORES = {"cross_entropy", "binary_cross_entropy_with_logits"}
_DISTANCES = {"hinge_embedding_loss"}
_NOTED = {*_DIFFERENCES, *_LOGARITHMS, *_SIDES, *_SCORES, *_DISTANCES}
_JOINS = {"add", "div", "mul", "multiply", "radd", "rmul", "rsub", "sub", "subtract", "truediv"}
_ROUNDING, _EXACT = 1e-4, 1e-5  # the latter relative to a loss
_SIZES = 4  # of the parameters
_FEWEST = 4  # examples
_SEVERAL = 0.05  # of the examples with several true labels
_EXPERIMENT = "an experiment: what the loss function is given, with parameters of several sizes"


@dataclass(frozen=True)
class _Call:
    """One call of a loss function.

    Args:
        name: of the function.
        given: its first argument, for each size of the parameters; that of the model first.
        goal: its targets.
    """

    name: str
    given: tuple[Tensor, ...]
    goal: Tensor


class _Notes(Calls):
    """Notes the calls of loss functions."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, Tensor, Tensor]] = []

    def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:  # noqa: ANN401
        name = getattr(function, "__name__", "")
        if name in _NOTED:
            place = _SIDES.get(name, 1)
            given = args[0] if args else named.get("input", named.get("input1"))
            goal = args[place] if len(args) > place else named.get("target")
            if name == "ctc_loss":
                given, goal = _of_sequences(*args, **named)
            if name == "kl_div" and isinstance(goal, Tensor) and named.get("log_target"):
                goal = goal.exp()
            if isinstance(given, Tensor) and isinstance(goal, Tensor):
                self.calls.append((name, given.detach(), goal.detach()))
        return function(*args, **named)


def _of_sequences(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,  # noqa: ANN401, ARG001 - the arguments of torch's ctc_loss
    target_lengths: Any,  # noqa: ANN401
    blank: int = 0,
    *_: object,
    **__: object,
) -> tuple[Tensor, Tensor]:
    """Return what a CTC loss is given, and the labels that count, less the number of the blank."""
    lengths = torch.as_tensor(target_lengths)
    if targets.ndim == 1:
        return log_probs, targets[: int(lengths.sum())] - blank
    return log_probs, targets[torch.arange(targets.shape[1]) < lengths[:, None]] - blank


def _calls(subject: Subject) -> list[_Call]:
    """Return the calls of torch's loss functions in the loss of the first batch."""
    found: list[list[tuple[str, Tensor, Tensor]]] = []
    for scale in SCALES[:_SIZES]:
        twin, notes = subject.copy(), _Notes()
        twin.model.eval()
        enlarge(twin.model, scale)
        try:
            with torch.no_grad(), notes:
                twin.loss(subject.batch)
        except Exception:  # noqa: BLE001, S112 - it refuses outputs of that size
            continue
        found.append(notes.calls)
        if not {name for name, *_ in notes.calls} & (_SCORES | _LOGARITHMS | _DISTANCES):
            break  # what the others are given says one pass
    kinds = [[(name, given.shape) for name, given, _ in calls] for calls in found]
    alike = [calls for calls, kind in zip(found, kinds, strict=True) if kind == kinds[0]]
    return [
        _Call(each[0][0], tuple(given for _, given, _ in each), each[0][2])
        for each in zip(*alike, strict=True)
    ]


def losses_given(subject: Subject) -> Finding | None:
    """Look for loss functions that are given what they do not expect."""
    for call in _calls(subject):
        for look in _LOOKS:
            finding = look(call)
            if finding is not None:
                return finding
    return None


def _probabilities(call: _Call) -> Finding | None:
    """Look for probabilities where the function makes probabilities of what it is given."""
    if call.name not in _SCORES or len(call.given) < 2:
        return None
    along = normalized(call.given)
    if call.name == "cross_entropy":
        hot = call.goal.shape == call.given[0].shape and call.goal.ndim > 1
        counts = call.goal.sum(1) if hot else torch.ones(1)
        whole = bool(((call.goal == 0) | (call.goal == 1)).all())
        if hot and whole and float((counts > 1).float().mean()) > _SEVERAL:
            return _found(
                call,
                "softmax_for_multi_label",
                f"targets of which up to {int(counts.max())} are true at once, and its softmax "
                "makes their probabilities sum to 1",
            )
        return (
            _found(
                call,
                "softmax_before_cross_entropy",
                "probabilities that sum to 1, and applies a softmax to them again",
            )
            if along == 1
            else None
        )
    inside = all(bool(((t >= 0) & (t <= 1)).all()) for t in call.given)
    low, high = (float(e) for e in torch.cat([t.flatten() for t in call.given]).aminmax())
    if not inside or along is not None or not low < 0.5 < high:
        return None
    return _found(
        call,
        "sigmoid_before_bce_with_logits",
        f"numbers from {digits(low)} to {digits(high)}, whatever the parameters are, and applies a "
        "sigmoid to them again: it sees probabilities from 0.5 to 0.73 only",
    )


def _logarithms(call: _Call) -> Finding | None:
    """Look for numbers above 0 where logarithms of probabilities are expected."""
    most = max(float(t.max()) for t in call.given[:2])  # with the parameters, and with minus them
    if call.name not in _LOGARITHMS or not most > _ROUNDING:
        return None
    what = "probabilities" if normalized(call.given) is not None else "plain scores"
    return _found(
        call,
        "loss_unsuited",
        f"{what}, up to {digits(most)}, and expects logarithms of probabilities, which are at "
        "most 0: return log_softmax of the scores",
    )


def _shares(call: _Call) -> Finding | None:
    """Look for scores, or logarithms, as targets where probabilities are expected."""
    least, most = float(call.goal.min()), float(call.goal.max())
    soft = call.goal.is_floating_point() and call.goal.shape == call.given[0].shape
    far = call.name == "kl_div" and most > 1 + _ROUNDING
    if call.name not in {"kl_div", "cross_entropy"} or not soft or not (least < 0 or far):
        return None
    return _found(
        call,
        "loss_unsuited",
        f"targets from {digits(least)} to {digits(most)}, and expects probabilities, from 0 to 1"
        + (
            " (log_target=True takes the exponential of targets first; else they are taken as "
            "they are)"
            if call.name == "kl_div"
            else ": give the softmax of scores"
        ),
    )


def _distances(call: _Call) -> Finding | None:
    """Look for numbers below 0 where distances are expected."""
    least = min(float(t.min()) for t in call.given)
    if call.name not in _DISTANCES or least >= 0:
        return None
    return _found(
        call,
        "loss_unsuited",
        f"plain scores, down to {digits(least)}, and expects distances, which are at least 0: for "
        "targets of 1 it falls without end. The hinge loss of scores is max(0, 1 - y s)",
    )


def _sides(call: _Call) -> Finding | None:
    """Look for targets other than -1 and 1 where the function knows these two."""
    if call.name not in _SIDES or bool((call.goal.abs() == 1).all()):
        return None
    values = call.goal.unique()
    return _found(
        call,
        "labels_out_of_range",
        f"targets from {digits(float(values.min()))} to {digits(float(values.max()))}, and expects "
        "-1 and 1: others count for nothing, or for the wrong side",
    )


def _blanks(call: _Call) -> Finding | None:
    """Look for labels with the number of the blank, which CTC puts between labels itself."""
    if call.name != "ctc_loss" or bool((call.goal != 0).all()):
        return None
    share = float((call.goal == 0).float().mean())
    return _found(
        call,
        "labels_out_of_range",
        f"labels of which {share:.0%} have the number of the blank, which stands for no label: "
        "number the classes so that none is blank, or give the lengths of targets without padding",
    )


def _shapes(call: _Call) -> Finding | None:
    """Look for a difference of every output with every target."""
    one, other = call.given[0].shape, call.goal.shape
    if call.name not in _DIFFERENCES or one == other or one.numel() != other.numel():
        return None
    pairs = torch.broadcast_shapes(one, other)
    if pairs.numel() <= one.numel():
        return None
    return _found(
        call,
        "loss_broadcasts",
        f"outputs of the shape {list(one)} and targets of {list(other)}: it compares {list(pairs)} "
        f"pairs instead of {one.numel()}",
    )


_LOOKS: Sequence[Callable[[_Call], Finding | None]] = (
    _probabilities,
    _logarithms,
    _shares,
    _distances,
    _sides,
    _blanks,
    _shapes,
)


class _Joined(Calls):
    """Notes where a row of n numbers meets a column of the same n: n times n pairs come of it.

    Args:
        examples: n; rows of several numbers may be meant to meet, as sets that are compared.
        place: of such a pair whose row is changed; None: none is.
        change: of that row and the shape of the column.
    """

    def __init__(
        self,
        examples: int,
        place: int | None = None,
        change: Callable[[Tensor, torch.Size], Tensor] = lambda row, _: row,
    ) -> None:
        super().__init__()
        self._examples, self._place, self._change = examples, place, change
        self.shapes: list[tuple[torch.Size, torch.Size]] = []

    def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:  # noqa: ANN401
        given = list(args)
        if getattr(function, "__name__", "").strip("_") in _JOINS and self._squares(given[:2]):
            row, column = sorted((0, 1), key=lambda i: given[i].ndim)
            self.shapes.append((given[row].shape, given[column].shape))
            if self._place == len(self.shapes) - 1:
                given[row] = self._change(given[row], given[column].shape)
        return function(*given, **named)

    def _squares(self, pair: list[Any]) -> bool:
        """Return whether every example of one side meets every example of the other."""
        if len(pair) < 2 or not all(isinstance(t, Tensor) and t.ndim for t in pair):
            return False
        n, (one, other) = self._examples, pair
        # What meets itself, as in the spread of outputs, is meant to.
        return {one.shape, other.shape} == {(n,), (n, 1)} and not torch.equal(
            one.flatten(), other.flatten()
        )


def every_pair(subject: Subject) -> Finding | None:
    """Look for a product or difference of every example with every other one within the loss.

    So what broadcasts in a loss of the user's own is seen, in whatever form targets come. A loss
    of pairs on purpose is another when examples of one side change places.
    """
    if subject.examples < _FEWEST:
        return None
    known = _Joined(subject.examples)
    plain = _loss_within(subject, known)
    for place, (row, column) in enumerate(known.shapes):
        changes = (lambda t, _: t.roll(1, 0)), (lambda t, shape: t.reshape(shape))
        moved, paired = (
            _loss_within(subject, _Joined(subject.examples, place, change)) for change in changes
        )
        size = max(abs(plain), abs(paired))
        if not abs(moved - plain) <= _EXACT * size < _EXACT * 10 * size < abs(paired - plain):
            continue
        pairs = torch.broadcast_shapes(row, column)
        return Finding(
            "loss_broadcasts",
            "problem",
            f"Tensors of the shapes {list(column)} and {list(row)} meet in the loss: that makes "
            f"{list(pairs)} pairs of {subject.examples} examples, each with every other one. The "
            f"loss is {digits(plain)}, also when the second one's examples change places, and "
            f"{digits(paired)} where shapes are equal.",
            {"loss": plain, "loss of equal shapes": paired},
            "the loss stays as it is when examples of one side change places, and is another when "
            "shapes are equal",
            "an experiment: the loss with one side changed where the two meet",
        )
    return None


def _loss_within(subject: Subject, mode: Calls) -> float:
    twin = subject.copy()
    twin.model.eval()
    torch.manual_seed(0)
    with torch.no_grad(), mode:
        return float(twin.loss(subject.batch))


def _found(call: _Call, cause: str, told: str) -> Finding:
    return Finding(
        cause,
        "problem",
        f"{call.name} is given {told}.",
        {"function": call.name},
        "the documented arguments of the function",
        _EXPERIMENT,
    )


CHECKS: tuple[Callable[[Subject], Finding | None], ...] = (losses_given, every_pair)
