"""Signals: what is noted of each step of a training, by hooks that cost little."""

import math
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from thalweg.doctor.loaders import Batch, size_of
from thalweg.doctor.subject import leaves
from thalweg.errors import told

__all__ = ["Memory", "Note", "Pace", "Signals"]

_FIRST = 4  # steps of which everything is noted
_FIRST_NORMS = 16  # steps of which the norm of the gradient is
_SHARE = 0.0025  # of the time, for these norms, and as much again for everything else
_PARAMETERS = 256  # of which each is noted
_ELEMENTS = 4096  # of a parameter, where what it was before is held
_NOTES = 512
_ALONG = 0.9  # squared cosine with the parameters, of what is taken off them
_FEW = 3  # parameters that are asked whether their gradient was zeroed


@dataclass
class Note:
    """What was noted of one step, parameter by parameter.

    Args:
        step: counted from 0.
        weights: the norm of all parameters, before the step.
        gradients: of each parameter, the norm of its gradient over its own; NaN for one that is 0.
        updates: of each parameter, the norm of what the step added over its own.
        cosine: of the angle between this gradient and that of the next step; NaN: not known.
    """

    step: int
    weights: float
    gradients: list[float]
    updates: list[float]
    cosine: float = math.nan


class Pace:
    """When something that costs is done again, so that it takes a share of the time at most.

    It is done at multiples of the least power of two of steps that keeps the share, so that a time
    that is measured a little longer or shorter changes nothing. Processor time counts: on a busy
    machine a training waits longer than its signals do.

    Args:
        share: of the training's time.
        least: steps between two times, at least; a power of two.
        first: so many steps at the start are all of them due.

    Attributes:
        next: before this step it is not due.
    """

    def __init__(self, share: float, least: int = 1, first: int = 0) -> None:
        self._share, self._least, self._first = share, least, first
        self._began, self._spent, self._times = time.thread_time(), 0.0, 0
        self._last, self.next = -1, 0

    def due(self, step: int) -> bool:
        """Return whether it may be done at this step, counted from 0, or is overdue."""
        if step < self.next:
            return False
        if step >= self._first:
            training = max(time.thread_time() - self._began - self._spent, 1e-9) / max(step, 1)
            wanted = self._spent / max(self._times, 1) / (self._share * training)
            apart = max(self._least, 1 << max(0, math.ceil(wanted) - 1).bit_length())
            self.next = (self._last // apart + 1) * apart
        return step >= self.next

    def charge(self, began: float, done: int | None = None) -> None:
        """Count processor time that was spent, from a reading of time.thread_time() on.

        Args:
            began: the reading.
            done: the step at which all was done; None: this was a part.
        """
        self._spent += time.thread_time() - began
        if done is not None:
            self._times += 1
            self._last, self.next = done, done + 1


def _as_made(module: nn.Module) -> bool:
    """Return whether a batch normalization that is trained has seen no batch yet."""
    if not isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001
        return False
    mean, var = module.running_mean, module.running_var
    if mean is None or var is None or nn.parameter.is_lazy(mean):
        return False
    trained = any(p.requires_grad for p in module.parameters())
    return trained and not bool(mean.any()) and bool((var == 1).all())


class Signals:
    """Notes of each step of the user's optimizer.

    Losses, rates and modes are noted at every step; norms of the gradient and, apart from them, all
    else of as many steps as 0.25 % of the time allows. Updates and cosines are read off at most
    4096 elements of each parameter, evenly spaced.

    Args:
        model: the user's module.
        optimizer: the user's.

    Attributes:
        losses: one a step, as given to the doctor.
        rates: the rate of the first group at each step of the optimizer.
        norms: norms of the gradient, at the steps ``norm_steps``; NaN and inf as they are.
        eval_steps: steps taken while the module, or a layer of ``asleep``, was in evaluation mode.
        asleep: batch normalizations whose averages are those that they were made with.
        kept: how often all backward passes after a step met the gradient of the step before.
        asked: how often that was asked.
        noted: the parameters of which each is noted; of very many an even choice.
        notes: at most 512, thinned evenly.
        empty: steps, of ``norm_steps``, at which every gradient was 0 or None.
        rootless: losses that ask for a gradient and come of no operation.
        traced: losses whose graph was followed to its leaves.
        rooted: of these, how many reached a parameter of the model or the optimizer.
        reached: shapes of what the last of them reached.
        undone: shares of what a step changed that were taken back before the next, of few steps.
        shrunk: shares of the parameters that were taken off them between a step and the next.
        failed: why notes ended, where parameters are of a kind that cannot be looked at.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self.losses, self.rates, self.norms = array("d"), array("d"), array("d")
        self.norm_steps, self.undone, self.shrunk = array("q"), array("d"), array("d")
        self.notes: list[Note] = []
        self.steps = self.eval_steps = self.kept = self.asked = self.empty = 0
        self.rootless = self.traced = self.rooted = 0
        self.reached: list[tuple[int, ...]] = []
        self.first_eval: int | None = None
        self.failed = ""
        self._norm_pace, self._pace = Pace(_SHARE, first=_FIRST_NORMS), Pace(_SHARE, first=_FIRST)
        self.held = [p for group in optimizer.param_groups for p in group["params"]]
        self._every = -(-len(self.held) // _PARAMETERS) or 1
        self.noted = self.held[:: self._every]
        self._few = sorted((p for p in self.held if p.requires_grad), key=Tensor.numel)[:_FEW]
        self.asleep = [m for m in model.modules() if _as_made(m)]
        self._looks = False  # at this step
        self._waits = False  # for the next step, to end what this one began
        self._within = False  # the backward pass is within the step, in a closure
        self._asking: list[Any] = []
        self._met: dict[int, bool] = {}
        self._moving: Tensor | None = None  # elements of the parameters before the step
        self._moved: tuple[Tensor, Tensor] | None = None  # what they are after it, and the change
        self._slope: Tensor | None = None  # elements of their gradients, until the next ones
        self._weights: list[float] = []  # norms of the noted ones before the step
        self._sizes: list[float] = []  # of gradients, where they were last measured
        self._sample: _Sample | None = None
        self._handles = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def close(self) -> None:
        """Take the hooks away."""
        for handle in self._handles + self._asking:
            handle.remove()

    @property
    def clip(self) -> float | None:
        """The norm to which the loop clips gradients; None where it does not seem to.

        Norms of gradients that were clipped are equal; others never are.
        """
        norms = sorted(n for n in self.norms if math.isfinite(n))
        at_top = sum(n > 0.999 * norms[-1] for n in norms) if norms else 0
        return norms[-1] if at_top >= 3 and norms[-1] > 0 else None

    def trace(self, loss: Tensor) -> None:
        """Follow the graph of a loss to its leaves: at the first, second, fourth, eighth, ..."""
        count = len(self.losses)
        if count & (count - 1) or loss.grad_fn is None:
            return
        own = {id(p) for p in [*self.held, *self.model.parameters()]}
        found = leaves(loss)
        self.traced += 1
        self.rooted += any(id(leaf) in own for leaf in found)
        self.reached = [tuple(leaf.shape) for leaf in found]

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:  # noqa: ANN401
        """Note what a step is about to do; a copy's step calls this too, and is passed over."""
        if optimizer is not self.optimizer:
            return
        given = (*args[1:], *kwargs.values()) if len(args) > 1 or kwargs else ()
        self._within = bool(given) and any(map(callable, given))
        self.rates.append(float(optimizer.param_groups[0].get("lr", math.nan)))
        if self.asleep:
            self.asleep = [m for m in self.asleep if not m.training]
        if not self.model.training or self.asleep:
            self.eval_steps += 1
            self.first_eval = self.steps if self.first_eval is None else self.first_eval
        step = self.steps
        self._looks = step >= self._pace.next and self._pace.due(step)
        if step >= self._norm_pace.next and self._norm_pace.due(step):
            began = time.thread_time()
            self._try(self._measure)
            self._norm_pace.charge(began, step)
        if self._looks or self._waits:
            began = time.thread_time()
            self._look()
            self._pace.charge(began)
        self.steps += 1

    def _try(self, look: Callable[[], None]) -> None:
        try:
            look()
        except Exception as error:  # noqa: BLE001 - what cannot be looked at is trained all the same
            self.failed, self._slope, self._moving = told(error), None, None
            self._moved = None

    def _measure(self) -> None:
        """Note the norm of the gradient."""
        self._sizes = _norms([p.grad for p in self.held])
        self.norms.append(math.hypot(*self._sizes))
        self.norm_steps.append(self.steps)
        self.empty += self.norms[-1] == 0

    def _look(self) -> None:
        if not self._within:
            self._ask_no_more()
        self._waits = False
        if not self.failed:
            self._try(self._sampled)

    @torch.no_grad()
    def _sampled(self) -> None:
        """End what the step before began, and begin what this one is asked."""
        if self._sample is None:
            self._sample = _Sample(self.noted)
        values = self._sample.of(self.noted)
        slope = self._sample.of([p.grad for p in self.noted])
        if self._slope is not None:
            self._turn(slope)
        if self._moved is not None:
            self._return(values)
        if self._looks:
            self._note()
            self._moving, self._slope = values, slope

    def _note(self) -> None:
        """Note norms of gradients and parameters."""
        if self.norm_steps and self.norm_steps[-1] == self.steps:
            sizes, weights = self._sizes, _norms(self.held)
        else:
            norms = _norms([*(p.grad for p in self.held), *self.held])
            sizes, weights = norms[: len(self.held)], norms[len(self.held) :]
        sizes, own = sizes[:: self._every], weights[:: self._every]
        shares = [g / w if w else math.nan for g, w in zip(sizes, own, strict=True)]
        if len(self.notes) >= _NOTES:
            self.notes = self.notes[::2]
        self.notes.append(Note(self.steps, math.hypot(*weights), shares, []))
        self._weights = own

    def _turn(self, now: Tensor) -> None:
        """Note the angle between the gradient that is held and the one that is there now."""
        assert self._slope is not None
        assert self._sample is not None
        both = torch.stack([self._slope, now])
        self._slope = None
        (here, across), (_, there) = (self._sample.weighted(both) @ both.T).tolist()
        if here > 0 and there > 0:
            self.notes[-1].cosine = across / math.sqrt(here * there)

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:  # noqa: ANN401, ARG002
        if optimizer is not self.optimizer:
            return
        if self._within:
            self._ask_no_more()
        if self._looks:
            began = time.thread_time()
            self._try(self._move)
            self._ask()
            self._pace.charge(began, self.steps - 1)

    @torch.no_grad()
    def _move(self) -> None:
        """Note how far a step has moved the parameters."""
        if self._moving is None:
            return
        assert self._sample is not None
        after = self._sample.of(self.noted)
        change = after - self._moving
        changes = self._sample.norms(change)
        self._moving, self._moved = None, (after, change)
        self.notes[-1].updates = [
            c / w if w else math.nan for c, w in zip(changes, self._weights, strict=True)
        ]

    def _return(self, now: Tensor) -> None:
        """Note what was taken back before the next step: of what a step changed, of parameters."""
        assert self._moved is not None
        assert self._sample is not None
        after, change = self._moved
        self._moved = None
        lost = after - now
        given = self._sample.weighted(torch.stack([change, after, lost]))
        (size, _, _), (_, weights, _), (back, off, whole) = (
            torch.stack([change, after, lost]) @ given.T
        ).tolist()
        if size > 0:
            self.undone.append(back / size)
        if weights > 0:
            self.shrunk.append(off / weights if off * off > _ALONG * weights * whole > 0 else 0.0)

    def _ask(self) -> None:
        """Let backward passes until the next step say whether they meet the gradient of this one.

        If one of them does not, it was zeroed before: what others left there, as a generator's loss
        does in the discriminator, never reaches the step. Where that gradient is 0, as behind dead
        units, it cannot be told from one that was zeroed.
        """
        telling = [p for p in self._few if p.grad is not None and bool(p.grad.any())]
        self._waits, self._met = True, {}
        self._asking = [p.register_hook(self._asker(p)) for p in telling]

    def _ask_no_more(self) -> None:
        for handle in self._asking:
            handle.remove()
        self._asking = []
        self.asked += len(self._met)
        self.kept += sum(self._met.values())
        self._met = {}

    def _asker(self, p: Tensor) -> Any:  # noqa: ANN401 - a hook of torch's
        def ask(_: Tensor) -> None:
            if self._met.get(id(p), True):
                self._met[id(p)] = p.grad is not None and bool(p.grad.any())

        return ask


def _dense(gradients: Iterable[Tensor | None]) -> list[Tensor]:
    """Return gradients as dense tensors: none at all is an empty one, a sparse one its values."""
    empty = torch.zeros(0)
    return [empty if g is None else g.coalesce().values() if g.is_sparse else g for g in gradients]


def _norms(tensors: Iterable[Tensor | None]) -> list[float]:
    """Return the norm of each tensor, of half precision in single."""
    dense = _dense(tensors)
    if any(t.itemsize < 4 for t in dense):
        precise = [torch.float if t.itemsize < 4 else None for t in dense]
        pairs = zip(dense, precise, strict=True)
        return _numbers([torch.linalg.vector_norm(t, dtype=p) for t, p in pairs])
    return _numbers(list(torch._foreach_norm(dense)))  # noqa: SLF001 - as torch's own clipping does


def _numbers(norms: list[Tensor]) -> list[float]:
    """Return one number for each tensor of one; of other devices than the CPU all at once."""
    if all(n.is_cpu for n in norms):
        return [n.item() for n in norms]
    found: list[float] = torch.stack(_beside(norms)).tolist()
    return found


def _beside(tensors: list[Tensor]) -> list[Tensor]:
    """Return tensors on the device of the first one."""
    place = tensors[0].device
    alike = all(t.device == place for t in tensors)
    return tensors if alike else [t.to(place) for t in tensors]


class _Sample:
    """At most so many elements of each of some tensors, evenly spaced, as one flat tensor.

    Args:
        like: tensors of the shapes that all others will have; at least one.
    """

    def __init__(self, like: list[Tensor]) -> None:
        self._apart = [_apart(t) for t in like]
        flat = [_flat(t, every) for t, every in zip(like, self._apart, strict=True)]
        self._sizes = list(map(len, flat))
        self._none = [one.new_zeros(1).expand(len(one)) for one in flat]
        counts = [t.numel() / max(1, size) for t, size in zip(like, self._sizes, strict=True)]
        self._factors = [math.sqrt(count) for count in counts]
        self._counts = torch.cat(
            [torch.full_like(_exact(f), c) for f, c in zip(flat, counts, strict=True)]
        )

    def of(self, tensors: list[Tensor | None]) -> Tensor:
        """Return the elements of tensors; 0 for one that is not there, or is sparse."""
        flat = [
            none if t is None or t.is_sparse else _flat(t, every)
            for t, every, none in zip(tensors, self._apart, self._none, strict=True)
        ]
        return _exact(torch.cat(_beside(flat)))

    def weighted(self, sample: Tensor) -> Tensor:
        """Return a sample in which an element counts for all those that it stands for."""
        return sample * self._counts

    def norms(self, sample: Tensor) -> list[float]:
        """Return the norm of each tensor, estimated of a sample."""
        norms = _numbers(list(torch._foreach_norm(sample.split(self._sizes))))  # noqa: SLF001
        return [norm * factor for norm, factor in zip(norms, self._factors, strict=True)]


def _apart(tensor: Tensor) -> int:
    """Return how far apart elements are taken, so that they are not of one column of every row."""
    every = -(-tensor.numel() // _ELEMENTS) or 1
    if every > 1:
        while math.gcd(every, tensor.shape[-1]) > 1:
            every += 1
    return every


def _flat(tensor: Tensor, every: int) -> Tensor:
    """Return every so many elements of a tensor, flat."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    flat = tensor.reshape(-1)
    return flat[::every] if every > 1 else flat


def _exact(numbers: Tensor) -> Tensor:
    """Return numbers exact enough to sum."""
    return numbers.float() if numbers.element_size() < 4 else numbers


class Memory:
    """Batches that were seen: the first ones and the last ones, within a number of bytes.

    Args:
        most_bytes: for each of the two.
        most: batches, for each of the two.
    """

    def __init__(self, most_bytes: int, most: int) -> None:
        self._most_bytes, self._most = most_bytes, most
        self.first: list[Batch] = []
        self.last: deque[Batch] = deque()
        self._first_bytes = self._last_bytes = 0
        self._filling = True
        self.count = 0

    def add(self, batch: Batch) -> None:
        """Note a batch; its tensors are held, not copied."""
        self.count += 1
        size = size_of(batch)
        if self._filling:
            self._first_bytes += size
            self._filling = self.count <= self._most and self._first_bytes <= self._most_bytes
            if self._filling or self.count == 1:
                self.first.append(batch)
                return
        self.last.append(batch)
        self._last_bytes += size
        while len(self.last) > 1 and (
            self._last_bytes > self._most_bytes or len(self.last) > self._most
        ):
            self._last_bytes -= size_of(self.last.popleft())

    def since(self, step: int) -> list[Batch] | None:
        """Return the batches from a step on; None where they are not all held."""
        wanted = self.count - step
        held = [*self.first, *self.last]
        if wanted <= len(self.last):
            return list(self.last)[len(self.last) - wanted :]
        return held[step:] if len(held) == self.count else None
