"""PyTorch modules as a task of a race."""

import functools
import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from thalweg import rules as registry
from thalweg.errors import blamed
from thalweg.kind import MATRICES
from thalweg.optim import Descent
from thalweg.optim.answer import TRAINING_POINT
from thalweg.optim.roles import HIDDEN, roles_of
from thalweg.rule import Rule
from thalweg.schedules import Hyper
from thalweg.stack import Examples, Model, Outcome, Parts, TorchTask, train
from thalweg.stack.batch import Batch, arrays, each, leaves
from thalweg.stack.lanes import Stack
from thalweg.stack.measure import best_lanes, cost, gradient_noise
from thalweg.stack.objective import seeded
from thalweg.stack.observer import EpochCount, Interrupt, Observer
from thalweg.stack.training import Final, steps_per_epoch
from thalweg.tasks import admission, metric, snippets
from thalweg.tasks import schedule as schedules
from thalweg.tasks.constant import best_constant
from thalweg.tasks.task import NEW_START, Checkpoint, Lane, Lanes, Target, seed_of

if TYPE_CHECKING:
    from thalweg.stack.probe import Traits

__all__ = ["ModuleTask"]

_SHARE = 0.05  # of the way from the reference back to the constant: where the target lies
# Of the reference outside the race: small data need more epochs to take as many steps.
_EPOCHS, _STEPS, _BATCH, _RATES = 3, 500, 32, (3e-4, 1e-3, 3e-3, 1e-2)
_REPEATS = 2  # so many are held in memory


class ModuleTask:
    """A PyTorch module on the three parts of its data.

    Args:
        description: the user's task.
        seed: of the split.
        batch_size: the largest of the race. The lanes must have room for it.
        repeats: how many share a test part that the user gave. Each is judged on a fold of its own,
            so that the luck of the test rows differs between repeats too.

    Raises:
        TaskError: the user's model, loss or data cannot be used; a sentence that says where.
    """

    schedules: tuple[str, ...] = schedules.NAMES
    processes = True
    exact = False  # torch rounds by the number of lanes and by the position among them

    def __init__(
        self, description: TorchTask, seed: int, *, batch_size: int = _BATCH, repeats: int = 1
    ) -> None:
        self.description = description
        self.seed = seed
        self._fold = (0, repeats, seed)
        self.name = description.name
        self._largest = batch_size
        self._lanes: int | None = None
        self._traits: Traits | None = None  # until it is known
        self._examples = Examples.of(description)
        self.drawn = self._examples.drawn
        self.parts: Mapping[str, int] = self._parts.sizes
        with blamed("task"), admission.doubting(self._parts.train):
            model = self.model
            self._traits = model.traits = admission.admit(model, self._parts, self._placed)
        same = model.traits.start
        parameters = sum(p.numel() for p in model.initial(0).parameters.values())
        self.data: Mapping[str, Any] = {
            "name": description.name,
            "source": "TorchTask",
            "kind": metric.kind(description, self._parts.test),
            "rows": sum(self.parts.values()),
        }
        self._facts = {
            "loss": metric.name_of(description.loss or description.step),
            "metric": metric.name(description, self._parts.test),
            "model": f"{model.title}, {parameters:,} parameters",
            "dtype": str(description.autocast or model.dtype).removeprefix("torch."),
            "l2": description.l2,
            "label_smoothing": description.label_smoothing,
            "clip_norm": description.clip_norm,
            "device": str(model.device),
            "start": f"the same starting point: {same}" if same else NEW_START,
        }
        self.said: Sequence[str] = (
            (f"every training starts at the same point: {same}",) if same else ()
        )

    @functools.lru_cache(maxsize=_REPEATS)  # noqa: B019 - tasks live as long as their race
    def repeated(self, repeat: int) -> "ModuleTask":
        """Return the task on other parts, with the same model; see ``Task.repeated``."""
        if repeat == 0:
            return self
        _ = self.model  # both tasks share it
        other = object.__new__(type(self))
        own = ("_parts", "_placed", "_judged", "_noise_scale")
        vars(other).update({name: value for name, value in vars(self).items() if name not in own})
        other.seed = seed_of(self.seed, repeat)
        other._fold = (repeat, *self._fold[1:])
        return other

    @property
    def facts(self) -> Mapping[str, Any]:
        """What results say of the training. Whether lanes train alone is known after measuring."""
        roles = roles_of(self.model.module)
        hidden = ", ".join(name for name, role in roles.items() if role == HIDDEN)
        return {**self._facts, "stacked": self._how(), "hidden": f"they step {hidden}"}

    def _how(self) -> str:
        model = self.model
        if not model.stacked:
            how = f"one training at a time: {model.traits.why}"
        elif self._lanes == 1:
            how = "one training at a time: that was measured to be the fastest"
        else:
            how = "many trainings in one pass"
        return "compiled: " * self.description.compile + how

    @functools.cached_property
    def model(self) -> Model:
        """The module, made in each process."""
        return Model(self.description, self._parts.train, self._traits)

    @functools.cached_property
    def _parts(self) -> Parts:
        return self._examples.draw(self.seed)

    @functools.cached_property
    def _placed(self) -> Parts:
        return self._parts.to(self.model.device)

    @functools.cached_property
    def _judged(self) -> Batch:
        """The rows by which this repeat is judged."""
        return self._placed.test if self.drawn else self._placed.fold(*self._fold)

    @property
    def lanes(self) -> int:
        """So many trials at most are trained in one piece of work; measured, unless it is set."""
        if self._lanes is None:
            with _one_thread():
                most = min(self._largest, self.parts["train"])
                self._lanes = best_lanes(self.model, self._placed.train, most)
        return self._lanes

    @lanes.setter
    def lanes(self, lanes: int) -> None:
        self._lanes = lanes

    @property
    def _batch(self) -> int:
        """The batch size of trainings outside the race."""
        return min(_BATCH, self.parts["train"])

    @property
    def stacked(self) -> bool:
        """Whether trainings run side by side."""
        return self.model.stacked and self.lanes > 1

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what each process makes for itself, and the sources of data that are read."""
        made = ("model", "_parts", "_placed", "_judged")
        kept = {name: value for name, value in vars(self).items() if name not in made}
        description = replace(self.description, train=None, validation=0.2, test=0.2)
        return {**kept, "description": description, "_default": torch.get_default_dtype()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Let torch make tensors in this process as it did where the task was made."""
        torch.set_default_dtype(state.pop("_default"))
        vars(self).update(state)

    def together(self, lane: Lane) -> Hashable:
        """Return what lanes share, of whatever rules: minibatches too, if not each has its own."""
        seed = lane.seed if lane.shared else None
        return lane.epochs, lane.batch_size, lane.shared, seed, lane.rule.gradients

    def run(
        self,
        lanes: Sequence[Lane],
        *,
        should_stop: Callable[[], bool],
        epochs_ended: Callable[[int], None] = lambda _: None,
        alone: bool = False,
    ) -> Lanes:
        """Train lanes; see ``Task.run``."""
        first = lanes[0]
        training = train(
            self.model,
            self._placed,
            [lane.rule for lane in lanes],
            [self._hyper(lane) for lane in lanes],
            seeds=[lane.seed for lane in lanes],
            batch_size=first.batch_size,
            epochs=first.epochs,
            shared=first.shared,
            stacked=self.stacked and not alone,
            observers=[Interrupt(should_stop), EpochCount(epochs_ended)],
        )
        return Lanes(
            training.train_loss,
            training.validation_loss,
            training.diverged_at,
            partial(self._judge, training),
            partial(self._checkpoint, training, lanes),
        )

    def _hyper(self, lane: Lane) -> dict[str, Hyper]:
        steps = self._length(lane)
        hyper: dict[str, Hyper] = dict(lane.rule.resolve(lane.rule.lasting(lane.hyper, steps)))
        if lane.schedule != schedules.CONSTANT:
            factors = schedules.factor(lane.schedule, steps)(np.arange(steps))
            hyper["lr"] = (lane.hyper["lr"] * factors).item
        return hyper

    def _length(self, lane: Lane) -> int:
        """Return how many steps a training has."""
        return self.steps(lane.batch_size, lane.rule) * lane.epochs

    def _judge(self, training: Outcome) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return each lane's loss and score on the test part, NaN for those that diverged."""
        found = np.full((2, len(training.diverged_at)), np.nan)
        for final in training.finals:
            if final.lanes:
                with self.model.mode(training=False), final.judged() as stack:
                    found[0, final.lanes] = stack.losses(self._judged, "test").numpy()
                    found[1, final.lanes] = metric.scores(stack, self._judged)
        return found[0], found[1]

    def _checkpoint(
        self, training: Outcome, lanes: Sequence[Lane], number: int
    ) -> Checkpoint | None:
        """Return what a lane ended with, None if it diverged."""
        for final in training.finals:
            if number in final.lanes:
                lane, position = lanes[number], final.lanes.index(number)
                with final.judged() as stack:
                    model = self.model.state_dict(*stack.lane(position))
                return {
                    "model": model,
                    "optimizer": self._optimizer_state(final, position, lane),
                    "rule": lane.rule.name,
                    "hyper": dict(lane.hyper),
                    "schedule": lane.schedule,
                    "batch_size": lane.batch_size,
                    "epochs": lane.epochs,
                    "seed": lane.seed,
                }
        return None

    def _optimizer_state(self, final: Final, position: int, lane: Lane) -> dict[str, Any]:
        """Return a state_dict of ``optim.Descent`` over all parameters of the module."""
        module = self.model.module
        hyper = lane.rule.lasting(lane.hyper, self._length(lane))
        otherwise = "adamw" if lane.rule.kind == MATRICES else None
        optimizer = Descent(module, lane.rule, otherwise=otherwise, report=None, **hyper)
        names = dict(module.named_parameters())
        states = final.step.states(position)
        for (name, points), own in zip(final.stack.parameters.items(), states, strict=True):
            if lane.rule.judged is not None:
                own[TRAINING_POINT] = points.detach()[position].clone()
            optimizer.state[names[name.removeprefix("module.")]] = own
        packed: dict[str, Any] = optimizer.state_dict()
        return packed

    @property
    def target_epochs(self) -> int:
        """How many epochs ``target`` trains, all lanes together."""
        return len(_RATES) * self._reference_epochs

    @property
    def _reference_epochs(self) -> int:
        """How many epochs Adam trains for the target."""
        return max(_EPOCHS, -(-_STEPS // steps_per_epoch(self.parts["train"], self._batch)))

    def target(self, epochs_ended: Callable[[int], None] = lambda _: None) -> Target:
        """Fix the target by the best constant output and by Adam.

        The constant is the one output for all examples that has the lowest training loss. For a
        user's own step, and for a loss that does not take every output, such as one of
        probabilities, the untrained module stands for it. The reference is the lowest validation
        loss that Adam met in 3 epochs, or in 500 steps if those are more, at four rates, batch 32.
        Both are outside the race.
        """
        epochs = self._reference_epochs
        with _one_thread():
            path = self._adam(_RATES, epochs, EpochCount(epochs_ended)).validation_loss
            constant = best_constant(self.model, self._placed)
        what = "untrained model" if constant is None else "best constant output"
        constant = float(path[0, 0]) if constant is None else constant
        reference = float(np.nanmin([constant, np.nanmin(path)]))
        return Target(
            reference + _SHARE * (constant - reference),
            constant,
            reference,
            f"{1 - _SHARE:.0%} of the way from the {what} ({constant:.4g}) to the lowest "
            f"validation loss that Adam met in {epochs} epochs at {len(_RATES)} rates "
            f"({reference:.4g})",
        )

    def _adam(self, rates: Sequence[float], epochs: int, *observers: Observer) -> Outcome:
        rule = registry.get("adam")
        return train(
            self.model,
            self._placed,
            [rule] * len(rates),
            [rule.resolve({"lr": rate}) for rate in rates],
            seeds=[self.seed] * len(rates),
            batch_size=self._batch,
            epochs=epochs,
            shared=True,
            stacked=self.stacked,
            observers=observers,
        )

    def steps(self, batch_size: int, rule: Rule | None = None) -> int:
        """Return how many steps an epoch has; see ``Task.steps``."""
        gradients = 1.0 if rule is None else rule.gradients
        return steps_per_epoch(self.parts["train"], batch_size, gradients)

    def measure(self, batch_size: int) -> dict[str, float]:
        """Return what a training at a batch size costs, and the gradient noise scale.

        Returns:
            "seconds_per_step" and "bytes" of one training alone, and "noise_scale" in examples, at
            the weights after one epoch of Adam; NaN if the gradient is lost in its noise.
        """
        with _one_thread():
            one = cost(self.model, self._placed.train, batch_size, 1)
        return {
            "seconds_per_step": one.seconds,
            "bytes": one.bytes,
            "noise_scale": self._noise_scale,
        }

    @functools.cached_property
    def _noise_scale(self) -> float:
        order = torch.from_numpy(np.random.default_rng(self.seed).permutation(self.parts["train"]))
        with _one_thread():
            stack = self._adam(_RATES[1:2], 1).finals[0].stack
            few = min(16, len(order) // 2 or 1)
            return gradient_noise(stack, self._placed.train, order, few).scale

    def code(
        self, rule: Rule, hyper: Mapping[str, float], *, batch_size: int, epochs: int, schedule: str
    ) -> dict[str, str]:
        """Return the lines to paste; see ``Task.code``."""
        steps = self.steps(batch_size, rule) * epochs
        return snippets.module(rule, hyper, schedule=schedule, steps=steps)

    def fingerprint(self) -> str:
        """Return a hash of the data, the initial parameters, the settings and the first loss."""
        task, parts = self.description, self._parts
        digest = hashlib.sha256()
        start = self.model.initial(self.seed)
        kept = start.parameters, start.state, start.fixed
        for tensor in leaves((parts.train, parts.validation, parts.test, *kept)):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            for own in arrays(tensor.cpu()):
                flat = own.contiguous().reshape(-1)
                digest.update(flat.view(torch.uint8).numpy().data)  # NumPy has no bfloat16
        settings = (
            task.l2,
            task.label_smoothing,
            task.clip_norm,
            task.autocast,
            task.compile,
            self._facts["loss"],
        )
        with _one_thread(), seeded(self.seed), self.model.mode(training=True):
            few = each(lambda tensor: tensor[:32], self._placed.train)
            losses, _ = Stack(self.model, [self.seed], shared=True, stacked=False).gradients(few, 1)
        digest.update(f"{settings} {losses.item():.5g}".encode())
        return digest.hexdigest()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread, as every worker does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
