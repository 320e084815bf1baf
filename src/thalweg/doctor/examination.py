"""check: is a training wired so that it can learn? Asked by experiments on copies, before it."""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain

from torch import nn
from torch.optim import Optimizer

from thalweg.doctor.checks import (
    data,
    examples,
    gradients,
    losses,
    members,
    outputs,
    parameters,
    parts,
    shapes,
    start,
)
from thalweg.doctor.diagnosis import first_steps
from thalweg.doctor.finding import Finding, Report
from thalweg.doctor.loaders import Batch, read, untouched
from thalweg.doctor.parted import parted
from thalweg.doctor.subject import LossFn, Step, Subject, bare, check_kinds
from thalweg.errors import TaskError, told
from thalweg.live import waiting

__all__ = ["TRYING", "check", "examine", "may_follow", "ordered"]

TRYING = "trying changes on copies"  # what a terminal shows meanwhile
_READING = 1.0  # seconds for training batches, half as many for validation batches
_HELD = 64_000_000  # bytes of batches that are held
_MOST = 64  # batches


def check(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: LossFn | None,
    loader: Iterable[Batch],
    val_loader: Iterable[Batch] | None = None,
    *,
    step: Step | None = None,
) -> Report:
    """Look for faults of the wiring by experiments on copies, before the training.

    Args:
        model: the module that will be trained.
        optimizer: of its parameters: of torch.optim, thalweg.optim, or any subclass.
        loss_fn: of outputs and targets, a mean over the examples; None where ``step`` has it.
        loader: gives training batches, pairs (x, y) unless ``step`` takes others. Up to 64 batches
            or 64 MB are read, for about a second.
        val_loader: gives validation batches; None if there are none.
        step: the user's own (model, batch) -> loss.

    Returns:
        What was found, the most likely cause first. Model, optimizer, data and random state are
        left as they were.

    Raises:
        TaskError: a loader is empty or an iterator, or the model cannot be copied.
        TypeError: the model is no module, or the optimizer none.
    """
    check_kinds(model, optimizer)
    began = time.monotonic()
    with untouched([bare(model)], [loader, val_loader]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a loss says of shapes is looked for below
        part = read(loader, "loader", _READING, _HELD, _MOST)
        held = read(val_loader, "val_loader", _READING / 2, _HELD, _MOST) if val_loader else None
        subject = Subject(
            model,
            optimizer,
            loss_fn,
            part.batches,
            held.batches if held else (),
            step=step,
            complete=part.ended,
        )
        if subject.refusal:
            raise TaskError(f"loader: {subject.refusal}")
        with waiting(TRYING):  # after reading: workers are forked best before a thread runs
            subject = parted(subject)
            findings, looked_at, skipped = examine(subject)
            asleep = start.evaluation_mode(subject)
            findings += [asleep] if asleep else []
            if not any(f.severity == "problem" and not may_follow(f) for f in findings):
                try:
                    findings += first_steps(subject)
                    looked_at += ["scales", "initial weights", "saturation"]
                except Exception as error:  # noqa: BLE001 - what was found before is told all the same
                    skipped["first steps on a copy"] = told(error)
    return Report(tuple(ordered(findings)), tuple(looked_at), {}, skipped, time.monotonic() - began)


Check = Callable[[], Finding | None]


def _checks(subject: Subject) -> Iterator[tuple[str, Check]]:
    """Yield the checks that fit a subject, by name."""
    general = [
        *parameters.CHECKS,
        *start.CHECKS,
        *gradients.CHECKS,
        *losses.CHECKS,
        *members.CHECKS,
    ]
    if subject.pairs:
        general = [*data.CHECKS, *parts.CHECKS, *general]
    for one in general:
        yield one.__name__, partial(one, subject)
    if subject.pairs and subject.output is not None:
        values = outputs.reach(subject)
        for one in [*shapes.CHECKS, *examples.CHECKS]:
            yield one.__name__, partial(one, subject)
        if values is not None:
            for look in outputs.CHECKS:
                yield look.__name__, partial(look, subject, values)


def examine(
    subject: Subject, further: Iterable[tuple[str, Check]] = ()
) -> tuple[list[Finding], list[str], dict[str, str]]:
    """Run every check of the wiring; return findings, what was looked at and what could not be.

    Args:
        subject: the training.
        further: checks beside these, by name.
    """
    findings, looked_at, skipped = [], [], {}
    for name, one in chain(_checks(subject), further):
        title = name.replace("_", " ")
        try:
            found = one()
        except TaskError as error:
            skipped[title] = str(error)
            continue
        except Exception as error:  # noqa: BLE001 - one check that fails hides no other
            skipped[title] = told(error)
            continue
        looked_at.append(title)
        if found is not None:
            findings.append(found)
    return findings, looked_at, skipped


_MAY_FOLLOW = {"inputs_ignored", "dead_relu", "loss_not_finite"}
_FIRST = {"inputs_not_scaled", "inputs_and_targets_not_scaled", "init_too_large"}


def may_follow(finding: Finding) -> bool:
    """Return whether scales or first weights may explain a finding.

    Units that other weights would keep alive are dead whatever the scale of the inputs is.
    """
    shown = finding.cause == "dead_relu" and finding.sure == 1
    return finding.cause in _MAY_FOLLOW and not shown


# Causes that statistics hardly tell from one another: the other one is told as a warning.
_RIVALS = {
    "validation_preprocessed_differently": "validation_of_other_distribution",
    "validation_of_other_distribution": "validation_preprocessed_differently",
}

# A cause that explains others: where it is found, they are its consequences.
_EXPLAINS = {
    "nan_in_inputs": {"loss_not_finite", "labels_do_not_match_inputs", *_RIVALS},
    "weights_not_finite": {
        "loss_not_finite",
        "output_range_too_small",
        "relu_output_into_log",
        "inputs_ignored",
        "lr_too_high",
        "exploding_gradient_no_clipping",
    },
    "softmax_before_cross_entropy": {"output_range_too_small"},
    "sigmoid_before_bce_with_logits": {"output_range_too_small"},
    "softmax_over_one_unit": {
        "output_range_too_small",
        "step_changes_nothing",
        "inputs_ignored",
        "binary_loss_for_classes",
    },
    "softmax_for_multi_label": {"output_range_too_small", "softmax_before_cross_entropy"},
    "binary_loss_for_classes": {"output_range_too_small"},
    "relu_output_into_log": {"output_range_too_small", "loss_not_finite"},
    "inputs_constant": {
        "inputs_ignored",
        "batch_dimension_mixed",
        "labels_do_not_match_inputs",
        *_RIVALS,
    },
    "labels_all_equal": {"class_imbalance", *_RIVALS},
    "class_imbalance": {"validation_of_other_distribution"},
    "loss_sign_wrong": {"output_range_too_small", "class_imbalance", "loss_starts_high"},
    "target_leaks_into_input": set(_RIVALS),  # what is not known later is missing there
    "graph_cut_by_detach": {
        "step_changes_nothing",
        "gradients_lost_before_step",
        "inputs_ignored",
    },
    "labels_out_of_range": {
        "output_range_too_small",
        "loss_sign_wrong",
        "gradients_lost_before_step",
    },
    "parameters_frozen": {"step_changes_nothing"},
    "constant_init": {
        "inputs_ignored",
        "dead_relu",
        "step_changes_nothing",
        "output_range_too_small",
        "lr_too_high",
    },
    "dead_relu": {"inputs_ignored", "step_changes_nothing"},
    "nan_gradient_of_sqrt_at_zero": {"lr_too_high", "exploding_gradient_no_clipping"},
    "loss_terms_unbalanced": {"inputs_and_targets_not_scaled", "inputs_not_scaled"},
    "parameters_not_in_optimizer": {"step_changes_nothing"},
    "data_sorted_not_shuffled": {"labels_all_equal"},
    "gradients_lost_before_step": {"step_changes_nothing"},
}


def _rivals(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield, beside a problem, the cause that would look much the same."""
    for finding in findings:
        rival = _RIVALS.get(finding.cause)
        if rival and finding.severity == "problem":
            sentence = f"{finding.sentence} It may be this, too: look at some examples."
            sure = 0.75 * finding.sure
            yield replace(finding, cause=rival, severity="warning", sentence=sentence, sure=sure)


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings with the most likely first, without those that another explains."""
    found = list(findings)
    present = {finding.cause for finding in found}
    explained = {cause for one in present for cause in _EXPLAINS.get(one, ())}
    scaled = bool(present & _FIRST)
    follows = {
        id(f) for f in found if scaled and may_follow(f) and "left with the cure" not in f.evidence
    }
    found = [f for f in found if f.cause not in explained and id(f) not in follows]
    found += [f for f in _rivals(found) if f.cause not in present]
    kept: dict[str, Finding] = {}
    for finding in sorted(found, key=lambda f: (f.severity != "problem", -f.sure)):
        first = kept.setdefault(finding.cause, finding)
        # Of two checks that are as sure of a cause, the one that measured more tells more.
        alike = (first.severity, first.sure) == (finding.severity, finding.sure)
        if alike and len(finding.evidence) > len(first.evidence):
            kept[finding.cause] = finding
    return list(kept.values())
