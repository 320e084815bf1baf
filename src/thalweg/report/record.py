"""Record: what results.json holds, written and read by the same classes.

A number that is not finite is None, because JSON has no such numbers.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta

from thalweg import files
from thalweg.words import MOST

__all__ = [
    "SCHEMA",
    "AtBudget",
    "BatchSize",
    "BatchSizes",
    "Data",
    "Defaults",
    "Interval",
    "Record",
    "Row",
    "Sensitivity",
    "Setup",
    "Target",
    "read",
]

SCHEMA = 3  # of results.json; it changes when the meaning of a name there changes

Count = Annotated[int, Meta(ge=0, le=2**53)]
Number = float | None


@dataclass(frozen=True)
class Interval:
    """A typical value and its interval, 95 % for all rules at once."""

    typical: Number
    low: Number
    high: Number

    @property
    def known(self) -> bool:
        """Whether the ends say anything: two repeats may leave [1e-18, 1e23] of a loss of 0.1."""
        if self.typical is None or (self.low or 0.0) < 0:
            return True
        return self.high is not None and self.high <= (1 + MOST) * self.typical


@dataclass(frozen=True)
class Split:
    """Numbers of examples."""

    train: Count
    validation: Count
    test: Count


@dataclass(frozen=True)
class Data:
    """The data. Those of a module have neither features nor classes.

    The test part of each repeat is drawn anew, unless the user gave it.
    """

    name: str
    source: str
    kind: str
    rows: Count
    split: Split
    features: Count | None = None
    classes: tuple[str, ...] | None = None
    dropped: Count = 0
    drawn: bool = True


@dataclass(frozen=True)
class Setup:
    """What was asked for, and what the race made of it. Only modules have the last ones."""

    loss: str
    metric: str
    model: str
    dtype: str
    l2: Number
    epochs: Count
    trials: Count
    second_round: Count
    trials_per_rule: Mapping[str, Count]
    repeats: Count
    seeds: Count
    batch_sizes: tuple[Count, ...]
    schedules: tuple[str, ...]
    budget: str | None
    halving: bool
    selection: str
    label_smoothing: Number = None
    clip_norm: Number = None
    device: str | None = None
    stacked: str | None = None
    roles: str | None = None
    start: str | None = None


@dataclass(frozen=True)
class Target:
    """The validation loss to reach, and the sentence that says where it comes from."""

    validation_loss: Number
    constant: Number
    reference: Number
    rule: str


@dataclass(frozen=True)
class Sensitivity:
    """How forgiving a rule is: the share of trials near the chosen one, and their rates."""

    within_5_percent: Number
    good_lr: tuple[Number, Number] | None
    good_lr_decades: Number


@dataclass(frozen=True)
class Defaults:
    """A rule's defaults, their loss, and by what share it is above that of the chosen setting."""

    hyper: Mapping[str, Number]
    val_loss: Number
    excess: Number


@dataclass(frozen=True)
class Row:
    """What a race found of one rule.

    A price is the share by which its typical loss is higher than that of the best rule.
    """

    rule: str
    source: str
    hyper: Mapping[str, Number]
    batch_size: Count
    schedule: str
    steps: Count
    val_loss: Number
    test_loss: Interval
    test_losses: tuple[Number, ...]
    price: Interval
    state: Literal["as good", "undecided", "worse"]
    could_be_best: bool
    probability: Number
    repeats_needed: Number
    test_score: Number
    test_scores: tuple[Number, ...]
    epochs_to_target: Count | None
    seconds_to_target: Number
    seconds_per_epoch: Number
    seconds_spread: Number
    sensitivity: Sensitivity
    diverged: Number
    trials: Count
    widened: tuple[str, ...]
    space: Mapping[str, tuple[Number, Number, Literal["log", "one_minus_log", "linear"]]]
    defaults: Defaults

    @property
    def lost(self) -> bool:
        """Whether it diverged in every repeat."""
        return all(loss is None for loss in self.test_losses)


@dataclass(frozen=True)
class AtBudget:
    """The lowest loss of each rule after so many trials, and the best rule then."""

    trials: Count
    best: str | None
    val_loss: Mapping[str, Number]


@dataclass(frozen=True)
class BatchSize:
    """The cost of a batch size, at the best setting that was found for it."""

    batch_size: Count
    hyper: Mapping[str, Number]
    schedule: str
    val_loss: Number
    epochs_to_target: Count | None
    seconds_per_epoch: Number
    seconds_to_target: Number
    bytes: Number
    predicted_epochs: Number


@dataclass(frozen=True)
class BatchSizes:
    """A comparison of the batch sizes, and which one to take."""

    rows: tuple[BatchSize, ...]
    noise_scale: Number
    advice: str


@dataclass(frozen=True)
class Record:
    """All that a race found; docs/store.md says what each name means.

    The rules that are as good as the best come first, then those of which it is not known, then
    those that are worse.
    """

    schema: int
    version: str
    command: str
    seed: int
    data: Data
    protocol: Setup
    target: Target
    winner: str
    take: str
    margin: float
    sentence: str
    code: Mapping[str, str]
    by_budget: tuple[AtBudget, ...]
    batch_sizes: BatchSizes | None
    rules: tuple[Row, ...]

    def __post_init__(self) -> None:
        names = [row.rule for row in self.rules]
        if len({*names}) != len(names) or not {self.winner, self.take} <= {*names}:
            raise ValueError("its rules are not each one row, the winner among them")
        if {*self.protocol.trials_per_rule} != {*names}:
            raise ValueError("its trials are not those of its rules")
        if any({*step.val_loss} != {*names} for step in self.by_budget):
            raise ValueError("its losses at a budget are not those of its rules")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return the record of values as JSON has them. Numbers that are not finite become None.

        Raises:
            ValueError: the values are not what a race writes.
        """
        return msgspec.convert(files.plain(values), cls)

    def plain(self) -> dict[str, Any]:
        """Return the record as JSON has it."""
        values: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return values

    def text(self) -> bytes:
        """Return the content of results.json."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)

    def row(self, rule: str) -> Row:
        """Return the row of a rule."""
        return next(row for row in self.rules if row.rule == rule)

    def mark(self, rule: str) -> str:
        """Return a rule's name, with ★ before the one to take and = before one that is as good."""
        sign = "= " if self.row(rule).state == "as good" else ""
        return ("★ " if rule == self.take else sign) + rule


def read(directory: str | os.PathLike[str]) -> Record:
    """Return the record of a race folder's ``results.json``.

    Raises:
        FileNotFoundError: there is none, because the race has not ended or never began there.
        ValueError: the file is not what a race writes.
    """
    path = Path(directory) / "results.json"
    trained = path.with_name("race.sqlite").is_file()
    if not path.is_file() and not trained:
        raise FileNotFoundError(
            f"{directory} holds no race: there is neither results.json nor race.sqlite in it"
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: no race has ended there; continue one with thalweg race "
            f"--resume {quote(str(directory))}, or print its trainings with thalweg results "
            f"{quote(str(directory))} --csv"
        )
    content = path.read_bytes()
    remedy = "repeat the race or restore the file"
    if trained:
        remedy = f"thalweg race --resume {quote(str(directory))} writes it again"
    try:
        schema = msgspec.json.decode(content, type=_Schema).schema
    except msgspec.DecodeError as error:
        raise ValueError(f"{path} is not the results of a race ({error}); {remedy}") from None
    if schema != SCHEMA:
        raise ValueError(
            f"{path} must have schema {SCHEMA}, got {schema}: another version of thalweg wrote it"
        )
    try:
        return msgspec.json.decode(content, type=Record)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path} is not the results of a race ({error}); {remedy}") from None


class _Schema(msgspec.Struct):
    schema: int
