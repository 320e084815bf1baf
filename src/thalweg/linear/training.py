"""Linear models trained in lanes: many trainings side by side on one stream of minibatches."""

import os
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from thalweg import checks, losses
from thalweg.data.dataset import real
from thalweg.kernels.cpu.kernel import compiled
from thalweg.linear.examples import Examples, initial_parameters
from thalweg.linear.learnable import check_learnable
from thalweg.linear.stream import SAMPLINGS, Stretch, stream
from thalweg.linear.team import Team
from thalweg.linear.trainer import Hyper, Trainer
from thalweg.rule import Rule
from thalweg.rules import get

__all__ = ["Training", "train", "train_on"]


@dataclass(frozen=True)
class Training:
    """The lanes of a finished training.

    Attributes:
        loss: its name.
        epoch: (evaluations,), the epochs after which losses were measured; 0 is the start.
        train_loss: (evaluations, lanes), mean loss on the training data, without the L2 term.
        validation_loss: the same on the validation data; NaN without them.
        diverged_at: (lanes,), the step, from 1, at which a lane became infinite or NaN; 0 = never.
        coef: (lanes, outputs, features).
        intercept: (lanes, outputs); zeros where the model has none.
    """

    loss: str
    epoch: NDArray[np.int64]
    train_loss: NDArray[np.float64]
    validation_loss: NDArray[np.float64]
    diverged_at: NDArray[np.int64]
    coef: NDArray[Any]
    intercept: NDArray[Any]

    def decision(self, X: ArrayLike) -> NDArray[Any]:
        """Return the models' outputs, shape (lanes, n, outputs)."""
        data, features = real("X", X), self.coef.shape[2]
        if data.ndim != 2 or data.shape[1] != features:
            raise ValueError(f"X must have shape (rows, {features}), got {data.shape}")
        with np.errstate(over="ignore", invalid="ignore"):  # of a training that diverged
            z: NDArray[Any] = data @ self.coef.swapaxes(1, 2) + self.intercept[:, None, :]
        return z

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return predictions, shape (lanes, n): values for squared loss, class codes otherwise."""
        return losses.get(self.loss).predict(self.decision(X))


def train(
    X: ArrayLike,
    y: ArrayLike,
    *,
    loss: str = "squared",
    rule: str | Rule,
    epochs: int,
    batch_size: int | None = None,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    lanes: int | None = None,
    sampling: str = "shuffle",
    l2: float = 0.0,
    intercept: bool = True,
    initial: str | ArrayLike = "zeros",
    dtype: str = "float32",
    seed: int = 0,
    evaluate_every: int = 1,
    threads: int | None = None,
    should_stop: Callable[[], bool] | None = None,
    **hyper: Hyper | Sequence[Hyper] | NDArray[np.floating[Any]],
) -> Training:
    """Train a linear model by a rule, in lanes that differ in their hyperparameters.

    Minimizes (1/n) Σ loss(z_i, y_i) + l2/2 ‖w‖² with z = x·w + b over w and b, by steps of the rule
    on minibatches. The losses are ½ (z - y)² (squared), log(1 + e^z) - y z for y in {0, 1}
    (logistic) and log Σ_c e^(z_c) - z_y for y in 0..k-1 (softmax), or one of ``thalweg.losses``
    without a number of its own: hinge, squared_hinge, modified_huber, poisson, gamma. Lanes share
    the initial point and the minibatches, so they compare in pairs; what a lane computes depends on
    no other lane and not on the number of threads.

    Args:
        X: data, shape (n, d), finite.
        y: targets, shape (n,): numbers, or class codes from 0.
        loss: "squared" (default), "logistic", "softmax" or one of those above.
        rule: a rule or its name.
        epochs: passes over the data, >= 1.
        batch_size: rows per step, 1 to n; default 32, or n if that is less.
        validation: data and targets to measure the loss on as well.
        lanes: how many lanes; default: the length of the sequences among the hyperparameters, or 1.
        sampling: "shuffle" (default), "replacement" or "sequential"; see ``stream``.
        l2: weight of the penalty, >= 0; the intercept is not penalized; default 0.
        intercept: whether the model has one; default True.
        initial: "zeros" (default), "uniform" for U(-1/√d, 1/√d) as in torch.nn.Linear, or an array
            of shape (d, k); with an intercept, whose row is the last, (d + 1, k).
        dtype: "float32" (default) or "float64".
        seed: seeds the initial point and the order of rows; default 0.
        evaluate_every: epochs between two measurements of the loss, >= 1; default 1.
        threads: how many threads share the lanes, >= 1; default: all cores.
        should_stop: asked about twenty times a second; when it returns True, the training ends in
            KeyboardInterrupt.
        **hyper: the rule's hyperparameters: a number, a schedule, or a sequence of either, one per
            lane.

    Returns:
        The losses per epoch, the parameters and the lanes that diverged; losses and parameters are
        those of the rule's answer, where it has one.

    Raises:
        ValueError: an argument outside its range, data that are not finite or do not fit.
        TypeError: a name that is no hyperparameter of the rule.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).standard_normal((200, 2))
        >>> fit = train(X, X @ [1.0, -2.0] + 3.0, rule="sgd", epochs=50, lr=[0.01, 0.1])
        >>> fit.coef[1].round(3).tolist(), fit.intercept[1].round(3).tolist()
        ([[1.0, -2.0]], [3.0])
    """
    check_learnable(get(rule))
    real_type = compiled(get(rule), np.dtype(dtype)).dtype  # refuses others before data are read
    layout: dict[str, Any] = {"loss": loss, "intercept": intercept, "dtype": real_type}
    examples = Examples.of(X, y, **layout)
    held_out = None
    if validation is not None:
        held_out = Examples.of(*_pair(validation), **layout, what="validation ")
        held_out.check_like(examples, "validation ")
    return train_on(
        examples,
        held_out,
        hyper,
        rule=rule,
        epochs=epochs,
        batch_size=batch_size,
        lanes=lanes,
        sampling=sampling,
        l2=l2,
        initial=initial,
        seed=seed,
        evaluate_every=evaluate_every,
        threads=threads,
        should_stop=should_stop,
    )


def train_on(
    examples: Examples,
    held_out: Examples | None,
    hyper: Mapping[str, Any],
    *,
    rule: str | Rule,
    epochs: int,
    batch_size: int | None = None,
    lanes: int | None = None,
    sampling: str = "shuffle",
    l2: float = 0.0,
    initial: str | ArrayLike = "zeros",
    seed: int = 0,
    evaluate_every: int = 1,
    threads: int | None = None,
    should_stop: Callable[[], bool] | None = None,
    epochs_ended: Callable[[int], None] = lambda _: None,
) -> Training:
    """Train on data that are prepared already, for many trainings on the same; see ``train``."""
    rule = get(rule)
    n = len(examples.X)
    batch_size = min(32, n) if batch_size is None else batch_size
    batch_size = checks.count("batch_size", batch_size, 1, n, "the rows of X")
    threads = checks.count("threads", os.cpu_count() or 1 if threads is None else threads)
    epochs = checks.count("epochs", epochs)
    hyper = rule.lasting(hyper, -(-n // batch_size) * epochs)
    evaluate_every = checks.count("evaluate_every", evaluate_every)
    if sampling not in SAMPLINGS:
        raise ValueError(f"sampling must be one of {', '.join(SAMPLINGS)}, got {sampling!r}")
    l2 = checks.number("l2", l2, checks.NOT_NEGATIVE)
    start_seed, order_seed = np.random.SeedSequence(checks.count("seed", seed, 0)).spawn(2)
    trainer = Trainer(
        rule,
        examples.loss,
        initial_parameters(initial, examples, start_seed),
        _per_lane(rule, hyper, lanes),
        l2=l2,
        dtype=examples.X.dtype,
    )
    lengths = _cut(epochs, evaluate_every, trainer.epochs_per_call(n, -(-n // batch_size)))
    measurements = _losses_by_epoch(
        trainer,
        examples,
        held_out,
        stream(n, batch_size, lengths, sampling, order_seed),
        measured={*range(0, epochs, evaluate_every), epochs},
        threads=threads,
        should_stop=should_stop,
        epochs_ended=epochs_ended,
    )
    return _trained(trainer, examples, measurements)


def _trained(
    trainer: Trainer, examples: Examples, measurements: dict[int, list[NDArray[np.float64]]]
) -> Training:
    """Return what a training has come to, and the losses on the way."""
    train_loss, validation_loss = np.swapaxes(np.array(list(measurements.values())), 0, 1)
    w = trainer.parameters
    features = w.shape[1] - examples.intercept
    return Training(
        examples.loss,
        np.array(list(measurements)),
        train_loss,
        validation_loss,
        trainer.diverged_at.copy(),
        np.ascontiguousarray(w[:, :features].swapaxes(1, 2)),
        w[:, features] if examples.intercept else np.zeros_like(w[:, 0]),
    )


def _losses_by_epoch(
    trainer: Trainer,
    examples: Examples,
    held_out: Examples | None,
    stretches: Iterator[Stretch],
    *,
    measured: Container[int],
    threads: int,
    should_stop: Callable[[], bool] | None,
    epochs_ended: Callable[[int], None],
) -> dict[int, list[NDArray[np.float64]]]:
    """Train over the stretches; return the losses after those epochs."""
    with ThreadPoolExecutor(min(threads, trainer.count + 1)) as pool:
        team = Team(pool, threads, trainer.count, should_stop)
        measurements = {0: _losses(trainer, team, examples, held_out)}
        done = 0
        for stretch in _ahead(pool, stretches) if threads > 1 else stretches:
            trainer.step(team, examples, stretch)
            done += stretch.epochs
            epochs_ended(stretch.epochs * len(trainer.diverged_at))
            if done in measured:
                measurements[done] = _losses(trainer, team, examples, held_out)
    return measurements


def _ahead(pool: Executor, stretches: Iterator[Stretch]) -> Iterator[Stretch]:
    """Yield the stretches; another thread shuffles the next while this one is used."""
    following = pool.submit(next, stretches, None)
    while (stretch := following.result()) is not None:
        following = pool.submit(next, stretches, None)
        yield stretch


def _losses(
    trainer: Trainer, team: Team, examples: Examples, held_out: Examples | None
) -> list[NDArray[np.float64]]:
    """Measure the training loss and the validation loss of each lane."""
    train_loss = trainer.evaluate(team, examples)
    missing = np.full_like(train_loss, np.nan)
    return [train_loss, trainer.evaluate(team, held_out) if held_out else missing]


def _cut(epochs: int, evaluate_every: int, most: int) -> Iterator[int]:
    """Cut a training into stretches that end where losses are measured, none longer than most."""
    for first in range(0, epochs, evaluate_every):
        gap = min(evaluate_every, epochs - first)
        yield from (min(most, gap - done) for done in range(0, gap, most))


def _pair(validation: Any) -> tuple[ArrayLike, ArrayLike]:  # noqa: ANN401 - what a user gave
    match validation:
        case [X, y]:  # not of an array, which is no sequence
            return X, y
        case [*several]:
            got = f"{len(several)} of them"
        case _:
            got = f"one {type(validation).__name__}"
    raise ValueError(f"validation must be None or two arrays (X, y), got {got}")


def _per_lane(rule: Rule, hyper: Mapping[str, Any], lanes: int | None) -> list[dict[str, Hyper]]:
    """Return each lane's hyperparameters, defaults filled in, numbers checked."""
    rule.check_names(hyper)
    sequences = {n: list(v) for n, v in hyper.items() if np.ndim(v) == 1}  # whatever their index
    longest = max(map(len, sequences.values()), default=1)
    count = longest if lanes is None else checks.count("lanes", lanes)
    for name, sequence in sequences.items():
        if len(sequence) != count:
            raise ValueError(f"{name} must hold one value per lane ({count}), got {len(sequence)}")
    result = []
    for lane in range(count):
        own = {n: sequences[n][lane] if n in sequences else v for n, v in hyper.items()}
        numbers = rule.resolve({n: v for n, v in own.items() if not callable(v)})
        result.append({n: own[n] if callable(own.get(n)) else v for n, v in numbers.items()})
    return result
