"""A step of the user's own, parted into inputs, outputs, and a loss of outputs and targets.

Most checks ask what a model returns and what the loss compares it with. A step hides both. Of the
members of a batch, those that what its last call of a module returns is made of are inputs. Where
this call is answered with the same, those that the loss is still made of are targets.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_map, tree_unflatten

from thalweg.doctor.loaders import Batch
from thalweg.doctor.subject import Step, Subject, cloned, first_tensor
from thalweg.stack.calls import Calls

__all__ = ["parted"]

_SAME = 1e-6  # of a loss: rounding
_SHIFTED = (
    ((0, 1), (1, 0)),  # what is left out of a text at the begin and the end: of input, of target
    ((1, 0), (1, 0)),  # a decoder is given its target
)


@dataclass(frozen=True)
class _Read:
    """What of a batch is read: a member of it, or the columns but its first or its last one."""

    place: int
    begin: int = 0
    left_out: int = 0

    def of(self, members: Sequence[Any]) -> Any:  # noqa: ANN401
        """Return what is read."""
        member = members[self.place]
        if self == _Read(self.place):
            return member
        return member[:, self.begin : member.shape[1] - self.left_out]

    def put(self, members: list[Any], read: Any) -> None:  # noqa: ANN401
        """Put in its place what is read."""
        if self != _Read(self.place):
            member = members[self.place]
            first, last = member[:, : self.begin], member[:, member.shape[1] - self.left_out :]
            read = torch.cat([first, read, last], 1)
        members[self.place] = read


class _Returned(Exception):  # noqa: N818 - no error: the rest of the step is not needed
    """The last call of a module has returned."""


@dataclass(frozen=True)
class _Way:
    """How a step goes: which call its outputs come from, and what of a batch it reads.

    Args:
        step: the user's.
        place: of the module that is called last.
        call: which of the calls of this module is the last, from 1.
        form: of a batch.
        sample: the members of one batch.
        given: what is read for the outputs.
        compared: what is read for the loss of these.
        cut: whether the outputs' last place is left out, as that of a text, which has no target.
        turned: whether what is called returns time first, as a CTC loss wants it; outputs have
            examples first.
        start: the state of random numbers in which outputs were last asked for: their loss may
            compare them with numbers that were drawn on the way.
    """

    step: Step
    place: str
    call: int
    form: TreeSpec
    sample: tuple[Any, ...]
    given: tuple[_Read, ...]
    compared: tuple[_Read, ...]
    cut: bool = False
    turned: bool = False
    start: list[Tensor] = field(default_factory=list)

    def __deepcopy__(self, _: object) -> "_Way":
        return self

    def outputs(self, model: nn.Module, given: Sequence[Any]) -> Any:  # noqa: ANN401
        """Return what the last call returns for inputs."""
        found: list[Any] = []
        self.start[:] = [torch.get_rng_state()]

        def note(_: nn.Module, __: object, out: Any) -> None:  # noqa: ANN401
            found.append(out)
            if len(found) == self.call:
                raise _Returned

        handle = model.get_submodule(self.place).register_forward_hook(note)
        try:
            count = next(len(one) for one in given if _rows(one))
            self.step(model, self._batch(self.given, given, count))
        except _Returned:
            out = found[-1].transpose(0, 1) if self.turned else found[-1]
            return out[:, :-1] if self.cut else out
        finally:
            handle.remove()
        raise RuntimeError("the step does not call the model as before")

    def loss(self, model: nn.Module, out: Any, compared: Sequence[Any]) -> Tensor:  # noqa: ANN401
        """Return the loss of what the last call returned."""
        first = first_tensor(out)
        assert first is not None
        whole = torch.cat([out, torch.zeros_like(out[:, :1])], 1) if self.cut else out
        whole = whole.transpose(0, 1) if self.turned else whole
        now = torch.get_rng_state()
        torch.set_rng_state(self.start.pop() if self.start else now)  # a second loss draws anew
        try:
            with _answering(model.get_submodule(self.place), whole, self.call):
                return self.step(model, self._batch(self.compared, compared, len(first)))
        finally:
            torch.set_rng_state(now)
            torch.rand(())  # else the next step would draw the same numbers

    def pair(self, batch: Batch) -> Batch:
        """Return a batch as inputs and target; its rows are numbered where no target is read."""
        members = tree_leaves(batch)
        given = tuple(one.of(members) for one in self.given)
        compared = tuple(one.of(members) for one in self.compared) or (torch.arange(len(given[0])),)
        return (*given, compared if len(compared) > 1 else compared[0])

    def _batch(self, read: Sequence[_Read], members: Sequence[Any], count: int) -> Batch:
        """Return a batch with what is read, and so many rows of the sample's in other places."""
        whole = [_sized(one, count) if _rows(one) else one for one in self.sample]
        for each, one in zip(read, members, strict=True):
            each.put(whole, one)
        return tree_unflatten(whole, self.form)


class _Outputs(nn.Module):
    """A model as what makes a step's outputs of its inputs."""

    def __init__(self, model: nn.Module, way: _Way) -> None:
        super().__init__()
        self.model, self._way = model, way
        self.training = model.training

    def forward(self, *given: Any) -> Any:  # noqa: ANN401 - of the user's
        """Return the outputs."""
        return self._way.outputs(self.model, given)

    def named_modules(self, *args: Any, **named: Any) -> Iterator[tuple[str, nn.Module]]:  # noqa: ANN401
        """Yield the user's own modules, by the names that they have there."""
        yield from self.model.named_modules(*args, **named)


class _Loss:
    """The rest of a step, as a loss of outputs and target.

    A copy of it has the copy of the model. It is itself asked with a model of its own, for what a
    step calls before may change buffers, and a penalty has gradients.
    """

    def __init__(self, model: nn.Module, asked: nn.Module, way: _Way) -> None:
        self._model, self._asked, self._way = model, asked, way
        self._step = way.step  # modules that a loss uses are looked for among what it holds

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Loss":
        twin = copy.deepcopy(self._model, memo)
        return _Loss(twin, twin, self._way)

    def __call__(self, out: Any, target: Any) -> Tensor:  # noqa: ANN401 - of the user's
        compared = target if len(self._way.compared) > 1 else (target,)
        return self._way.loss(self._asked, out, compared if self._way.compared else ())


def parted(subject: Subject) -> Subject:
    """Return a training by a step as one of inputs, outputs and a loss; itself where it is not one.

    It is one if the last call of a module returns a row for each example, and the rest of the step
    makes the loss of it and of members of the batch.
    """
    if subject.step is not None and not subject.refusal:
        with suppress(Exception):  # a step that cannot be watched is one like any other
            found = _parts(subject, subject.step)
            if found is not None and _agree(subject, found):
                return found
    return subject


def _parts(subject: Subject, step: Step) -> Subject | None:
    every = [*subject.batches, *subject.validation]
    model = cloned(subject.model).eval()
    way = _way(step, model, every)
    if way is None:
        return None
    batches, validation = (
        [way.pair(batch) for batch in part] for part in (subject.batches, subject.validation)
    )
    start, optimizer = subject.start
    return Subject(
        _Outputs(subject.model, way),
        subject.optimizer,
        # A penalty of weights is that of the start, however these have grown.
        _Loss(start, cloned(start).requires_grad_(requires_grad=False), way),
        batches,
        validation,
        start=(_Outputs(start, way), optimizer),
        clip=subject.clip,
        complete=subject.complete,
    )


def _agree(one: Subject, other: Subject) -> bool:
    """Return whether two forms of a training have the same loss on the first batch and the last."""
    for place in (0, -1):
        losses = []
        for subject in (one, other):
            torch.manual_seed(0)
            losses.append(float(subject.copy().loss(subject.batches[place]).detach()))
        if not math.isclose(*losses, rel_tol=_SAME) and not all(map(math.isnan, losses)):
            return False
    return True


def _way(step: Step, model: nn.Module, every: Sequence[Batch]) -> _Way | None:
    """Return how a step goes, where it goes so for all batches."""
    members, form = tree_flatten(every[0])
    places = [i for i, one in enumerate(members) if _rows(one)]
    if not places or not _alike(every, form, places):
        return None
    calls, along = _calls(step, model, every[0], len(members[places[0]]))
    if along is None or _mixes(step, model, (members, form, places)):
        return None
    whole = tuple(map(_Read, range(len(members))))
    last = calls[-1], calls.count(calls[-1])
    way = _Way(step, *last, form, tuple(members), whole, whole, turned=along > 0)
    out = _sound(way.outputs(model, members))
    if way.call > 1 and _beside(way, model, out):
        return None  # a constant in one call's place leaves the others' part of the loss

    def outputs(members: Sequence[Any]) -> Any:  # noqa: ANN401
        torch.manual_seed(0)
        return way.outputs(model, members)

    def loss(members: Sequence[Any]) -> Tensor:  # of all members, and of what the call returned
        torch.manual_seed(0)
        way.start[:] = [torch.get_rng_state()]
        return way.loss(model, members[-1], members[:-1])

    count, with_out = len(members), [*members, out]
    given = _read(outputs, members, places)
    compared = _read(loss, with_out, [*places, count])
    unread = _passed(outputs, model, members) - {*given, *compared}
    given = sorted({*given, *unread} & {*places})
    if not given or count not in compared:
        return None
    compared.remove(count)
    reads = dict.fromkeys({*given, *compared}, ((0, 0), (0, 0)))
    cut = False
    for i in compared:
        both = i in given  # an input that is its own target, as a text is
        ours = _edges(outputs, members, i) if both else (0, 0), _edges(loss, with_out, i)
        ends = ours == ((0, 0), (1, 0)) and _ends(loss, with_out, i)
        if ends or (both and ours in _SHIFTED):
            reads[i], cut = ours, cut or ends
        elif both and not members[i].is_floating_point():
            return None  # which of its places are the target's is not known
    return replace(
        way,
        given=tuple(_Read(i, *reads[i][0]) for i in given),
        compared=tuple(_Read(i, *reads[i][1]) for i in compared),
        cut=cut,
    )


def _beside(way: _Way, model: nn.Module, out: Any) -> bool:  # noqa: ANN401
    """Return whether a loss is made of earlier calls of the module beside its last one.

    A discriminator is called on examples and on those of a generator, a net of pairs on each half.
    """
    earlier: list[Tensor | None] = []
    module = model.get_submodule(way.place)
    handle = module.register_forward_hook(lambda _, __, own: earlier.append(first_tensor(own)))
    try:
        loss = way.loss(model, out, way.sample)
    finally:
        handle.remove()
    own = [one for one in earlier[: way.call - 1] if one is not None and one.requires_grad]
    if not own or not loss.requires_grad:
        return False
    return any(one is not None for one in torch.autograd.grad(loss, own, allow_unused=True))


class _Origins(Calls):
    """Notes which members of a batch tensors are made of.

    Args:
        members: each a tree.
    """

    def __init__(self, members: Sequence[Any]) -> None:
        super().__init__()
        self._of: dict[int, set[int]] = {}
        self._held: list[Any] = [members]  # else another tensor may have the number of one
        for place, member in enumerate(members):
            self._note(member, {place})

    def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:  # noqa: ANN401
        out = function(*args, **named)
        name = getattr(function, "__name__", "")
        if not name.endswith("_like") and not name.startswith("new_"):  # these ask for a shape
            origins = self.of((args, named))
            in_place = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
            self._note((out, *args[: int(in_place)]), origins)
        return out

    def of(self, tree: Any) -> set[int]:  # noqa: ANN401
        """Return what the tensors of a tree are made of."""
        return {*()}.union(*(self._of.get(id(one), ()) for one in tree_leaves(tree)))

    def _note(self, tree: Any, origins: set[int]) -> None:  # noqa: ANN401
        for one in tree_leaves(tree) if origins else ():
            if isinstance(one, Tensor):
                self._of[id(one)] = self._of.get(id(one), set()) | origins
                self._held.append(one)


def _read(
    result: Callable[[Sequence[Any]], Any], members: Sequence[Any], places: Sequence[int]
) -> list[int]:
    """Return the places of the members that a result is made of.

    Those that were numbers of Python on the way show in another result, or in an error.
    """
    origins = _Origins(members)
    with origins:
        usual = result(members)
    made_of = origins.of(usual)
    return [i for i in places if i in made_of or _changes(result, members, i, _other(members[i]))]


def _passed(
    result: Callable[[Sequence[Any]], Any], model: nn.Module, members: Sequence[Any]
) -> set[int]:
    """Return the places of the members that are passed on to modules, which may not read them."""
    origins, found = _Origins(members), {*()}

    def note(_: nn.Module, args: Any, named: Any) -> None:  # noqa: ANN401
        found.update(origins.of((args, named)))

    with ExitStack() as handles:
        for _, module in _learning(model):
            handles.enter_context(module.register_forward_pre_hook(note, with_kwargs=True))
        with origins:
            result(members)
    return found


def _changes(
    result: Callable[[Sequence[Any]], Any], members: Sequence[Any], place: int, other: Tensor
) -> bool:
    """Return whether a result is another with something else in a place, or fails."""
    changed = [other if i == place else member for i, member in enumerate(members)]
    try:
        return _differ(result(changed), result(members))
    except Exception:  # noqa: BLE001 - what a step refuses, it reads
        return True


def _edges(
    result: Callable[[Sequence[Any]], Any], members: Sequence[Any], place: int
) -> tuple[int, int]:
    """Return how many columns, 0 or 1, a result leaves out at the begin and the end of a member."""
    return _ignores(result, members, place, 0), _ignores(result, members, place, -1)


def _ignores(
    result: Callable[[Sequence[Any]], Any], members: Sequence[Any], place: int, column: int
) -> int:
    """Return 1 where a column of a member changes nothing, as the last of a text as input does."""
    member = members[place]
    if member.ndim < 2 or member.shape[1] < 3:
        return 0
    edge = member.clone()
    edge[:, column] = _other(member[:, column])
    return int(not _changes(result, members, place, edge))


def _ends(result: Callable[[Sequence[Any]], Any], members: Sequence[Any], place: int) -> bool:
    """Return whether there is an output for each place of a text, and the last one counts not."""
    out = members[-1]
    alike = isinstance(out, Tensor) and out.shape[:2] == members[place].shape
    return alike and bool(_ignores(result, members, len(members) - 1, -1))


def _sound(out: Any) -> Any:  # noqa: ANN401
    """Return outputs without a graph whose numbers are finite, so that a loss of them is."""
    return tree_map(lambda t: t.detach().nan_to_num() if isinstance(t, Tensor) else t, out)


def _calls(step: Step, model: nn.Module, batch: Batch, count: int) -> tuple[list[str], int | None]:
    """Return the modules that a step calls, up to the call that its outputs come from.

    It is the last call, or the last one within it where it returns a loss, as models of
    transformers do. Modules without parameters are left out. With them comes the dimension of the
    outputs' examples, None where there is none.
    """
    ended: list[tuple[str, int, int | None]] = []
    depth = 0

    def begin(*_: object) -> None:
        nonlocal depth
        depth += 1

    def end(name: str, _: nn.Module, __: object, out: Any) -> None:  # noqa: ANN401
        nonlocal depth
        depth -= 1
        ended.append((name, depth, _examples_along(out, count)))

    with ExitStack() as handles:
        for name, module in _learning(model):
            handles.enter_context(module.register_forward_pre_hook(begin))
            handles.enter_context(module.register_forward_hook(partial(end, name)))
        step(model, batch)
    last = len(ended) - 1
    while last > 0 and ended[last][2] is None and ended[last - 1][1] > ended[last][1]:
        last -= 1
    return [name for name, *_ in ended[: last + 1]], ended[last][2] if ended else None


def _learning(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that have parameters, by name."""
    for name, module in model.named_modules():
        if next(module.parameters(), None) is not None:
            yield name, module


def _examples_along(out: Any, count: int) -> int | None:  # noqa: ANN401
    """Return the dimension of examples, or None where there is none, or a loss beside them.

    It is the second one of scores for each time and example.
    """
    first = first_tensor(out)
    loss = any(isinstance(t, Tensor) and not t.ndim and t.requires_grad for t in tree_leaves(out))
    if first is None or loss or count not in first.shape[:2]:
        return None
    along = first.shape.index(count)
    return along if not along or (first is out and first.ndim > 2) else None


def _mixes(step: Step, model: nn.Module, batch: tuple[list[Any], TreeSpec, list[int]]) -> bool:
    """Return whether a step mixes examples before its first call of a module, as mixup does."""
    members, form, places = batch
    other = list(members)
    for i in places:
        other[i] = torch.cat([_other(members[i])[:1], members[i][1:]])
    seen: list[Any] = []

    def note(_: nn.Module, args: Any, named: Any) -> None:  # noqa: ANN401
        seen.append([one[1:] for one in tree_leaves((args, named)) if _rows(one)])
        raise _Returned

    with ExitStack() as handles:
        for _, module in _learning(model):
            handles.enter_context(module.register_forward_pre_hook(note, with_kwargs=True))
        for each in (members, other):
            torch.manual_seed(0)
            with suppress(_Returned):
                step(model, tree_unflatten(each, form))
    return not all(
        a.shape == b.shape and torch.allclose(a.double(), b.double(), 1e-4, 1e-6, equal_nan=True)
        for a, b in zip(*seen, strict=True)
    )


@contextmanager
def _answering(module: nn.Module, out: Any, call: int) -> Iterator[None]:  # noqa: ANN401
    """Let one call of a module return what is given."""
    own, kept, done = module.forward, vars(module).get("forward"), 0

    def answer(*args: Any, **named: Any) -> Any:  # noqa: ANN401
        nonlocal done
        done += 1
        return out if done == call else own(*args, **named)

    module.forward = answer
    try:
        yield
    finally:
        if kept is None:
            del module.forward
        else:
            module.forward = kept


def _alike(every: Sequence[Batch], form: TreeSpec, places: Sequence[int]) -> bool:
    """Return whether all batches have the same form, and differ in their examples alone."""
    first = tree_leaves(every[0])
    for batch in every:
        members, own = tree_flatten(batch)
        if own != form or len({len(members[i]) if _rows(members[i]) else 0 for i in places}) != 1:
            return False
        rest = [(members[i], first[i]) for i in range(len(members)) if i not in places]
        if any(_differ(one, other) for one, other in rest):
            return False
    return True


def _rows(member: object) -> bool:
    return isinstance(member, Tensor) and member.ndim > 0 and len(member) > 0


def _sized(rows: Tensor, count: int) -> Tensor:
    """Return so many rows, some again where there are too few."""
    return rows if len(rows) == count else rows[torch.arange(count) % len(rows)]


def _other(rows: Any) -> Any:  # noqa: ANN401
    """Return rows of another example in the place of each; where all are one, other values."""
    if not isinstance(rows, Tensor):
        return tree_map(lambda t: _other(t) if _rows(t) else t, rows)
    turned = rows.roll(1, 0)
    if not torch.equal(turned.nan_to_num(), rows.nan_to_num()):
        return turned
    return rows + 1 if rows.is_floating_point() else torch.where(rows == 0, 1, 0).to(rows)


def _differ(one: Any, other: Any) -> bool:  # noqa: ANN401 - any trees
    """Return whether two trees differ in a number; what is not a number is like itself."""
    left, right = tree_leaves(one), tree_leaves(other)
    if len(left) != len(right):
        return True
    return any(
        not (a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num()))
        if isinstance(a, Tensor) and isinstance(b, Tensor)
        else a is not b and bool(a != b)
        for a, b in zip(left, right, strict=True)
    )
