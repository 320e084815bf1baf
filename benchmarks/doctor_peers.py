"""Packages that promise a diagnosis, and thalweg, on small copies of reported failures.

    python benchmarks/doctor_peers.py CASES --peers FOLDER
    python benchmarks/doctor_peers.py CASES --peers FOLDER --only gradsnitch torcheck
    python benchmarks/doctor_peers.py --suite 24 --peers FOLDER

CASES is a folder as `benchmarks/doctor.py --cases` takes it: each file has a training as it failed
and the same one cured. With ``--suite`` it is the judging half of the suite of that script: each
cause is planted once, and so many healthy trainings stand beside. What does not fail, or does not
learn, is left out as there. FOLDER has a folder for each package, made by
`pip install --no-deps --target FOLDER/NAME NAME` (torchmortem needs plotly and narwhals in it too).

Each package is used as its own page says, in a fresh process for each training. Its words are
mapped to our causes by WORDS, as generously as they allow: what may mean several causes counts for
each of them. The cause counts as named first if the first thing that a package says may mean it.
An alarm is anything above "info" that it says of the cured or healthy training.
"""

import argparse
import contextlib
import csv
import io
import itertools
import json
import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from doctor_suite.entries import Entry, folder, healthy, planted
from doctor_suite.training import Case, run
from measure import save, show

Say = Callable[[Case, Path], list[str]]

LIMIT = 120  # seconds of processor time for one training
# What a package may mean by its words; the first line that fits counts.
WORDS: list[tuple[str, set[str]]] = [
    (r"double softmax", {"softmax_before_cross_entropy"}),
    (r"zero.?grad", {"gradients_not_zeroed"}),
    (r"suspicious data range|raw.*image|normali[sz]e", {
        "inputs_not_scaled", "inputs_and_targets_not_scaled", "validation_preprocessed_differently",
    }),
    (r"data.?anomaly|invalid input|distribution.?shift", {
        "nan_in_inputs", "inputs_not_scaled", "validation_preprocessed_differently",
    }),
    (r"overfit|train/val|train/eval|generaliz", {
        "overfitting", "validation_preprocessed_differently",
    }),
    (r"nan|inf\b|not finite|non.?finite|mixed precision", {
        "nan_in_inputs", "relu_output_into_log", "lr_too_high", "exploding_gradient_no_clipping",
    }),
    (r"vanish|stall", {"vanishing_gradient_sigmoid", "dead_relu", "init_too_large"}),
    (r"explo", {"exploding_gradient_no_clipping", "lr_too_high", "init_too_large"}),
    (r"spike|instab", {"exploding_gradient_no_clipping", "lr_too_high"}),
    (r"too high|diverg|oscillat|catapult|volatil|edge of stability", {"lr_too_high"}),
    (r"too low", {"lr_too_low", "parameters_not_in_optimizer"}),
    (r"weight.*(norm|imbalance)", {"weight_decay_too_high", "init_too_large"}),
    (r"not change|unchanged|none gradients?|no.?grad|disconnected|unused|no parameters changed", {
        "parameters_not_in_optimizer", "graph_cut_by_detach",
    }),
    (r"dead|collapse", {"dead_relu", "init_too_large", "lr_too_high"}),
    (r"satur", {"vanishing_gradient_sigmoid", "init_too_large", "inputs_not_scaled"}),
    (r"plateau|underfit|stagnat", {
        "lr_too_low", "softmax_before_cross_entropy", "parameters_not_in_optimizer",
        "weight_decay_too_high", "inputs_not_scaled",
    }),
    (r"label", {"labels_do_not_match_inputs", "loss_broadcasts"}),
    (r"noise|snr", {"noise_floor"}),
    (r"layer reuse", {"parameters_shared"}),
]  # fmt: skip


def meant(text: str) -> set[str]:
    """Return the causes that another package may mean."""
    for pattern, causes in WORDS:
        if re.search(pattern, text, re.IGNORECASE):
            return causes
    return set()


def named(package: str, cause: str, text: str) -> bool:
    """Return whether what a package says may mean a cause; thalweg says its name."""
    return text == cause if package == "thalweg" else cause in meant(text)


def norm(case: Case) -> float:
    """Return the norm of the gradient that the last step took."""
    gradients = [p.grad for p in case["model"].parameters() if p.grad is not None]
    return float(torch.stack([g.norm() for g in gradients]).norm()) if gradients else 0.0


def validated(case: Case) -> float | None:
    """Return the validation loss; None without a validation part."""
    if case.get("val_loader") is None:
        return None
    model, was = case["model"], case["model"].training
    model.eval()
    with torch.no_grad():
        losses = [float(case["loss_fn"](model(x), y)) for x, y in case["val_loader"]]
    model.train(was)
    return sum(losses) / len(losses)


def watched(case: Case, note: Callable[[int, float, float | None], Any]) -> None:
    """Train, with a note of step, loss and, at every twentieth of the steps, validation loss."""
    often = max(1, case["steps"] // 20)

    def watch(_: Any, step: int, loss: Any) -> None:
        held = validated(case) if step % often == often - 1 else None
        note(step, float(loss), held)

    run(case, watch)


def thalweg(case: Case, _: Path) -> list[str]:
    examined = import_module("doctor").examined

    return [f.cause for f in examined(case)[0] if f.severity == "problem"]


def gradsnitch(case: Case, _: Path) -> list[str]:
    package = import_module("gradsnitch")

    monitor = package.watch(case["model"], case["optimizer"])
    watched(case, lambda step, loss, held: monitor.log(step, loss, val_loss=held))
    return [found.name for found in monitor.report()]


def training_doctor(case: Case, _: Path) -> list[str]:
    Doctor = import_module("training_doctor").Doctor

    doctor = Doctor()
    said: list[str] = []

    def note(step: int, loss: float, held: float | None) -> None:
        rate = case["optimizer"].param_groups[0]["lr"]
        more = {} if held is None else {"eval_loss": held}
        told = doctor.log(step, loss=loss, lr=rate, grad_norm=norm(case), **more)
        said.extend(d.problem for d in told if d.severity.value != "info")

    watched(case, note)
    return said


def torchmortem(case: Case, _: Path) -> list[str]:
    Autopsy = import_module("torchmortem").Autopsy

    with Autopsy(case["model"], optimizer=case["optimizer"]) as autopsy:
        watched(case, lambda _, loss, __: autopsy.step(loss=loss))
    report = autopsy.get_report()
    return [found.title for found in report.findings if found.severity.name != "INFO"]


def torchdiag(case: Case, _: Path) -> list[str]:
    package = import_module("torchdiag")

    model, (x, y) = case["model"], next(iter(case["loader"]))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        package.verify_step(model, case["optimizer"], case["loss_fn"], x, y)
        package.check_gradients(model)
    run(case)
    with contextlib.redirect_stdout(printed):
        package.check_gradients(model)
        package.check_dead_neurons(model, x)
    lines = printed.getvalue().splitlines()
    return [line.strip(" •") for line in lines if line.strip().startswith("•")]


def torcheck(case: Case, _: Path) -> list[str]:
    package = import_module("torcheck")

    package.register(case["optimizer"])
    for add in (
        package.add_module_changing_check, package.add_module_nan_check,
        package.add_module_inf_check,
    ):  # fmt: skip
        add(case["model"], module_name="model")
    run(case)
    return []


def neuraldbg(case: Case, _: Path) -> list[str]:
    NeuralDbg = import_module("neuraldbg").NeuralDbg

    with NeuralDbg(case["model"]) as debugger:

        def note(_: int, loss: float, __: float | None) -> None:
            debugger.record_loss(loss)
            debugger.step_iteration()

        watched(case, note)
    causes = [one.description for one in debugger.get_root_causes()]
    if causes:
        return causes
    events = [(one.event_type.value, str(one.to_state).lower()) for one in debugger.get_events()]
    return [f"{kind} {to}" for kind, to in events if not re.search(r"healthy|normal|stable", to)]


def torch_audit(case: Case, _: Path) -> list[str]:
    autopatch = import_module("torch_audit").autopatch

    auditor = autopatch(case["model"], optimizer=case["optimizer"], every_n_steps=20)
    run(case)
    result = auditor.finish()
    titles = {name: rule.title for name, rule in result.rules.items()}
    return [
        f"{titles.get(found.rule_id, '')} {found.message}" for found in result.findings
        if found.severity.name != "INFO"
    ]  # fmt: skip


def mldoct(case: Case, source: Path) -> list[str]:
    diagnose_csv = import_module("mldoctor.advisor").diagnose_csv
    lint_script = import_module("mldoctor.linter").lint_script

    said = [f["message"] for f in lint_script(str(source))[0] if f["severity"] == "CRITICAL"]
    rows: list[tuple[float, float, float]] = []

    def note(_: int, loss: float, held: float | None) -> None:
        if held is not None:
            rows.append((loss, held, norm(case)))

    watched(case, note)
    if rows:  # it knows no training without a validation part
        with tempfile.NamedTemporaryFile("w", suffix=".csv", newline="") as log:
            csv.writer(log).writerows([("train_loss", "val_loss", "grad_norm"), *rows])
            log.flush()
            label = diagnose_csv(log.name)["label"]
        said += [] if "healthy" in label.lower() else [label]
    return said


PACKAGES: dict[str, Say] = {
    "thalweg": thalweg, "gradsnitch": gradsnitch, "mldoct": mldoct, "torchmortem": torchmortem,
    "training-doctor": training_doctor, "torchdiag": torchdiag, "torcheck": torcheck,
    "neuraldbg": neuraldbg, "torch-audit": torch_audit,
}  # fmt: skip


def _say(name: str, peers: Path, entry: Entry, source: Path, answer: Any) -> None:
    """Send what a package says of a training, in a process of its own, within its time."""
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT))
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sys.path.insert(0, str(peers / name))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            said = PACKAGES[name](entry.make()[0], source)
        answer.send((list(dict.fromkeys(said)), ""))
    except RuntimeError as error:  # what torcheck says, it raises
        own = name == "torcheck"
        answer.send(([str(error)] if own else [], "" if own else f"RuntimeError: {error}"))
    except Exception as error:  # noqa: BLE001 - a package that fails has said nothing
        answer.send(([], f"{type(error).__name__}: {error}"))


def asked(name: str, peers: Path, entry: Entry, source: Path) -> tuple[list[str], str]:
    """Return what a package says of a training, and what failed."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_say, args=(name, peers, entry, source, there))
    process.start()
    there.close()  # so that the end of the process is the end of what it says
    try:
        said: tuple[list[str], str] = here.recv()
    except EOFError:
        said = [], f"no answer in {LIMIT} s of processor time"
    process.join()
    return said


def suite(count: int) -> Iterator[Entry]:
    """Yield each cause planted once, and so many healthy trainings, of those that count."""
    seen: set[str] = set()
    learning = (entry for entry in healthy(["judging"]) if _counts(entry))
    for entry in planted(["judging"], range(1), set()):
        if entry.cause not in seen and _counts(entry):
            seen.add(entry.cause)
            yield entry
    yield from itertools.islice(learning, count)


def _counts(entry: Entry) -> bool:
    """Train without any package; what the sound training learns is known then to all of them."""
    case, share = entry.make()
    run(case)
    return entry.counts(share())


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what each package says of each training."""
    for entry in suite(options.suite) if options.suite else folder(options.cases, range(1)):
        source = Path(os.devnull) if options.suite else options.cases / f"{entry.name}.py"
        for name in options.only or PACKAGES:
            began = time.monotonic()
            said, failed = asked(name, options.peers, entry, source)
            yield {
                "package": name, "case": entry.name, "group": entry.group, "cause": entry.cause,
                "said": said[:10], "failed": failed, "seconds": time.monotonic() - began,
            }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", type=Path, nargs="?")
    parser.add_argument("--suite", type=int, metavar="N", help="of the suite, with N healthy ones")
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=list(PACKAGES))
    options = parser.parse_args()
    if (options.cases is None) == (options.suite is None):
        parser.error("give either CASES or --suite N")
    found, kept = [], "doctor_peers_suite" if options.suite else "doctor_peers"
    for row in rows(options):
        print(json.dumps(row), flush=True)
        found.append(row)
        save(kept, found)  # a run that is ended early has its rows
    by_package = defaultdict(list)
    for row in found:
        by_package[row["package"]].append(row)
    table = []
    for name, own in by_package.items():
        sick = [row for row in own if row["group"] == "planted"]
        well = [row for row in own if row["group"] != "planted"]
        first, three = (
            sum(any(named(name, row["cause"], text) for text in row["said"][:many]) for row in sick)
            for many in (1, 3)
        )
        alarms = sum(bool(row["said"]) for row in well)
        failed = sum(bool(row["failed"]) for row in own)
        table.append([
            name, f"{first} of {len(sick)}", f"{three} of {len(sick)}",
            f"{alarms} of {len(well)}", str(failed),
        ])  # fmt: skip
    columns = ["package", "cause named first", "among three", "alarms on others", "failed to run"]
    show("Packages that promise a diagnosis", columns, table)


if __name__ == "__main__":
    main()
