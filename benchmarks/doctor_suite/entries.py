"""Entries: every training of the suite and of a folder of cases, and whether it learned."""

import importlib.util
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from doctor_suite import architectures, inputs, loops, outputs  # noqa: F401 - they enter PLANTS
from doctor_suite.healthy import COUNT, Drawn, drawn
from doctor_suite.inputs import noisy
from doctor_suite.registry import PLANTS, Plant
from doctor_suite.training import Case, Training, run
from thalweg.doctor.baseline import constant_loss
from thalweg.doctor.subject import Subject
from thalweg.doctor.trials import tail

__all__ = ["SEEDS", "Entry", "Reference", "folder", "healthy", "planted", "references"]

SEEDS = {"calibration": range(5), "judging": range(5, 10)}
LEARNS = 0.3  # score of a training without a fault that learns: 0 is chance
FAILS = 0.9  # a training that learns at most so much of what the healthy one does has failed


@dataclass(frozen=True)
class Reference:
    """What a healthy training learned: its score, and its loss before and after."""

    score: float
    start: float
    loss: float

    def share(self, training: Training) -> float:
        """Return which share of it another training learned, the lesser by score and by loss."""
        if training.misleads:
            return training.deceived()
        score, loss = training.learned()
        if self.score <= 0:
            return math.nan  # it learned nothing, so nothing can be told: left out
        shares = [score / self.score]
        if training.comparable:
            shares.append((self.start - loss) / (self.start - self.loss))
        return min(0.0 if math.isnan(share) else share for share in shares)


@dataclass(frozen=True)
class Entry:
    """A training that the doctor sees.

    Args:
        group: ``"planted"``, ``"cured"`` (the same without the fault) or ``"healthy"``.
        name: what it is.
        cause: that was planted; "" where nothing was.
        half: ``"calibration"``, ``"judging"`` or ``"folder"``.
        strength: of the fault.
        seed: of data, start and order.
        make: returns the training, and what tells after it how much it has learned.
        sound: makes the training without the fault, where one was planted.
    """

    group: str
    name: str
    cause: str
    half: str
    strength: str
    seed: int
    make: Callable[[], tuple[Case, Callable[[], float]]]
    sound: Callable[[], Case] | None = None

    def gone(self) -> float | None:
        """Return which share of the best constant's loss is gone after the sound training."""
        if self.sound is None:
            return None
        case = self.sound()
        batches = list(case["loader"])
        subject = Subject(case["model"], case["optimizer"], case["loss_fn"], batches)
        best = constant_loss(subject)
        return 1 - tail(run(case)) / best if best else None

    def counts(self, share: float) -> bool:
        """Return whether it failed or learned as its group says; else it is left out."""
        return share <= FAILS if self.group == "planted" else share > FAILS


References = dict[tuple[Any, str, str, int], Reference]


def _reference(known: References, base: Any, variant: str, half: str, seed: int) -> Reference:
    key = base, variant, half, seed
    if key not in known:
        training = base(variant, half, seed)
        start = training.learned()[1]
        run(training.case())
        score, loss = training.learned()
        known[key] = Reference(score, start, loss)
    return known[key]


def _planted(
    plant: Plant, variant: str, half: str, seed: int, *, strength: str, known: References
) -> Entry:
    def make() -> tuple[Case, Callable[[], float]]:
        reference = _reference(known, plant.base, variant, half, seed)
        training = plant.failing(variant, half, seed, strength)
        return training.case(), lambda: reference.share(training)

    def sound() -> Case:
        return plant.healthy(variant, half, seed).case()

    name = f"{plant.name}, {variant}"
    return Entry("planted", name, plant.cause, half, strength, seed, make, sound)


def planted(halves: list[str], seeds: range, only: set[str]) -> Iterator[Entry]:
    """Yield the planted failures: all causes under one seed before the next, some of them mild.

    Args:
        halves: of the suite.
        seeds: which of the half's seeds.
        only: causes; all if it is empty.
    """
    known: References = {}
    widest = max(len(plant.variants) for plant in PLANTS)
    for k, other, turn in itertools.product(seeds, (0, 1), range(widest)):
        for number, plant in enumerate(PLANTS):
            if (only and plant.cause not in only) or turn >= len(plant.variants):
                continue
            if other >= len(plant.strengths):
                continue
            strength = plant.strengths[(number + turn + other) % len(plant.strengths)]
            variant = plant.variants[(turn + k) % len(plant.variants)]
            for half in halves:
                yield _planted(plant, variant, half, SEEDS[half][k], strength=strength, known=known)


def _drawn(number: int, known: References) -> Entry:
    def make() -> tuple[Case, Callable[[], float]]:
        one: Drawn = drawn(number)
        reference = _reference(known, one.base, one.variant, one.half, one.seed)
        return one.training.case(), lambda: reference.share(one.training)

    half = "judging" if number % 2 else "calibration"
    return Entry("healthy", drawn(number).name, "", half, "", number, make)


def healthy(halves: list[str], numbers: range = range(COUNT)) -> Iterator[Entry]:
    """Yield the healthy trainings of the halves, of those that are drawn by these numbers."""
    known: References = {}
    for number in numbers:
        if ("judging" if number % 2 else "calibration") in halves:
            yield _drawn(number, known)


def references(halves: list[str], seeds: range, only: set[str]) -> Iterator[Entry]:
    """Yield the trainings that faults are planted into, without the fault, each once.

    Those with noisy labels are left out: they are trained until they overfit.
    """
    seen = set()
    for k in seeds:
        for plant in PLANTS:
            for variant in plant.variants:
                for half in halves:
                    key = plant.base, variant, half, k
                    if key in seen or (only and plant.cause not in only) or plant.base is noisy:
                        continue
                    seen.add(key)
                    yield _cured(plant, variant, half, SEEDS[half][k])


def _cured(plant: Plant, variant: str, half: str, seed: int) -> Entry:
    def make() -> tuple[Case, Callable[[], float]]:
        training = plant.healthy(variant, half, seed)
        return training.case(), lambda: float(training.learned()[0] > LEARNS)

    return Entry("cured", f"{plant.base.__name__}, {variant}", "", half, "", seed, make)


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def folder(path: Path, seeds: range) -> Iterator[Entry]:
    """Yield the cases of a folder, each as it failed and cured.

    A file whose name begins with a digit has make(seed), make_healthy(seed), score(model, loader),
    CAUSE, and LEARNED: the score of a training that has learned.
    """
    sys.path.insert(0, str(path))
    for seed in seeds:
        for file in sorted(path.glob("[0-9]*.py")):
            module = _module(file)
            for group, make in (("planted", module.make), ("cured", module.make_healthy)):
                yield _case(group, file.stem, module, make, seed)


def _case(group: str, name: str, module: Any, make: Callable[[int], Case], seed: int) -> Entry:
    def made() -> tuple[Case, Callable[[], float]]:
        case = make(seed)
        judged = case.get("val_loader") or case["loader"]
        return case, lambda: float(module.score(case["model"], judged) >= module.LEARNED)

    if group == "planted":
        sound = partial(module.make_healthy, seed)
        return Entry(group, name, module.CAUSE, "folder", "", seed, made, sound)
    return Entry(group, name, "", "folder", "", seed, made)
