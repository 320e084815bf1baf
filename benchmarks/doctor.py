"""The doctor on trainings with one planted fault, on the same without it, and on healthy ones.

    python benchmarks/doctor.py                      # both halves, all of it: many hours
    python benchmarks/doctor.py --half judging --minutes 60
    python benchmarks/doctor.py --quick              # about two minutes on one core
    python benchmarks/doctor.py --only lr_too_high --seeds 2
    python benchmarks/doctor.py --cases FOLDER       # cases of a folder, each failing and cured
    python benchmarks/doctor.py --verify             # trains alone: which plants do fail

Thresholds of the doctor may be set on the half "calibration" alone; "judging" has other seeds, data
and architectures. A planted failure counts if it learns at most 90 % of what the same training
without the fault learns, by its score or its loss on validation data; a healthy one if it learns
more than 90 % of what its settings' reference learns. What does not is left out, and counted.
Findings are those of ``thalweg.check`` and of ``thalweg.Doctor`` together, problems first.
"""

import argparse
import itertools
import json
import statistics
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

import thalweg
from doctor_suite.entries import SEEDS, Entry, folder, healthy, planted, references
from doctor_suite.healthy import COUNT
from doctor_suite.registry import PLANTS
from doctor_suite.training import Case, run
from measure import RESULTS, save, show
from thalweg.doctor.examination import ordered
from thalweg.doctor.finding import Finding
from thalweg.errors import TaskError, told

Row = dict[str, Any]
VALIDATIONS = 5  # in a training
CURED = 0.9  # of what the healthy training learns
QUICK = 2.0  # minutes
PAGE = """# What the doctor finds

This page is written by `python benchmarks/doctor.py --page`, from the results that the same script
made. Each training is small: a few hundred steps on scikit-learn's digits and tables, or on data
that are generated. A *planted* training has one fault; a *cured* one is the same without it; a
*healthy* one was drawn over rules, rates, schedules, batch sizes and models. The findings are those
of `thalweg.check` and `thalweg.Doctor` together. The half "calibration" may set thresholds of the
doctor. The half "judging" has other seeds, other data and other architectures. Problems
come before warnings; a warning is no alarm. "folder" are small copies of reported failures.
The whole suite takes many hours. A run may be ended early, and so few trainings say little: counts
stand beside each share. The doctor may have changed since.
"""
CURES = f"""Where the planted cause is named first, its cure is tried on a copy, unless it is code
or data of the user's. It counts if the copy learns {CURED:.0%} or more of what the training
without the fault learns, in shares of the loss of the best constant.
"""


def examined(case: Case) -> tuple[list[Finding], dict[str, float], thalweg.Doctor]:
    """Check a training, train it under the doctor's eyes, and return what both found, and it."""
    model, optimizer, loss_fn = case["model"], case["optimizer"], case["loss_fn"]
    held = case.get("val_loader")
    began = time.thread_time()
    try:
        found = list(thalweg.check(model, optimizer, loss_fn, case["loader"], held))
    except TaskError as error:
        print("check refused:", told(error))
        found = []
    checked = time.thread_time() - began
    doctor = thalweg.Doctor(model, optimizer, loss_fn)
    often = max(1, case["steps"] // VALIDATIONS)

    def watch(batch: Any, step: int, loss: Any) -> None:
        doctor.step(loss, batch=batch)
        if held is not None and step % often == often - 1:
            doctor.validate(held)

    run(case, watch)
    began = time.thread_time()
    try:
        found += doctor.findings
    except Exception as error:  # noqa: BLE001 - counted: nothing was found
        print("the doctor failed:", told(error))
    asked = time.thread_time() - began
    return ordered(found), {"check": checked, "findings": asked}, doctor


def cured(doctor: thalweg.Doctor, cause: str, steps: int, healthy: float | None) -> float | None:
    """Return which share of what the healthy training learns the cure of a cause brings back.

    What a training has learned is the share of the loss of the best constant that is gone. None
    where the cure is code or data of the user's, or where the healthy training is not known.
    """
    if healthy is None or not healthy > 0:
        return None
    try:
        proof = doctor.prove(steps)
    except Exception as error:  # noqa: BLE001 - counted: no cure was tried
        print("no proof:", told(error))
        return None
    left = [cure.left for cure in proof.cures if cure.cause == cause]
    return max(0.0, 1 - left[0]) / healthy if left else None


def row_of(entry: Entry, *, verify: bool) -> Row:
    """Return what became of an entry."""
    case, learned = entry.make()
    found: list[Finding] = []
    seconds: dict[str, float] = {}
    cure = None
    if verify:
        run(case)
    else:
        found, seconds, doctor = examined(case)
        if found and found[0].cause == entry.cause:
            cure = cured(doctor, entry.cause, case["steps"], entry.gone())
    share = learned()
    return {
        "group": entry.group, "name": entry.name, "cause": entry.cause, "half": entry.half,
        "strength": entry.strength, "seed": entry.seed, "share": share,
        "counts": entry.counts(share),
        "problems": [f.cause for f in found if f.severity == "problem"],
        "warnings": [f.cause for f in found if f.severity == "warning"], "seconds": seconds,
        "cured": cure,
    }  # fmt: skip


def _turns(*streams: Iterable[Entry]) -> Iterator[Entry]:
    """Yield from streams in turn, so that an early end has some of each."""
    missing = object()
    for several in itertools.zip_longest(*streams, fillvalue=missing):
        yield from (one for one in several if isinstance(one, Entry))


def entries(options: argparse.Namespace) -> Iterator[Entry]:
    """Return what the options ask for."""
    only = set(options.only or ())
    seeds = range(options.first, options.first + options.seeds)
    if options.cases:
        return folder(options.cases, seeds)
    halves = [options.half] if options.half else ["calibration", "judging"]
    seeds = seeds[: len(SEEDS["judging"]) - options.first]
    sick = planted(halves, seeds, only)
    if options.verify or only:
        return sick
    well = healthy(halves, range(options.first * COUNT // 5, COUNT))
    return _turns(sick, well, sick, references(halves, seeds, only))


def quick(every: Iterator[Entry]) -> Iterator[Entry]:
    """Yield each cause once, and a healthy training beside every second."""
    seen: set[str] = set()
    well = 0
    for entry in every:
        if entry.cause and entry.cause not in seen:
            seen.add(entry.cause)
            yield entry
        elif not entry.cause and 2 * well < len(seen):
            well += 1
            yield entry
        elif entry.cause and entry.strength == "mild":
            return


def named(row: Row) -> str:
    """Return what was found first, a problem or a warning."""
    first: str = [*row["problems"], *row["warnings"], "nothing"][0]
    return first


def right(rows: list[Row], most: int) -> str:
    """Write in how many rows the cause is among the first findings."""
    if not rows:
        return "-"
    good = sum(row["cause"] in (row["problems"] + row["warnings"])[:most] for row in rows)
    return f"{good} of {len(rows)} ({100 * good / len(rows):.0f} %)"


def by_cause(sick: list[Row]) -> list[list[str]]:
    """Return the lines of the confusion matrix: what was named first instead, with counts."""
    causes = defaultdict(list)
    for row in sick:
        causes[row["cause"]].append(row)
    lines = []
    for cause, members in sorted(causes.items()):
        wrong = Counter(named(row) for row in members if named(row) != cause)
        others = ", ".join(f"{name} {count}" for name, count in wrong.most_common())
        lines.append([cause, right(members, 1), right(members, 3), others])
    return lines


def by_strength(sick: list[Row]) -> list[list[str]]:
    """Return how often the cause was named, for each half and strength."""
    lines = []
    for half, strength in dict.fromkeys((row["half"], row["strength"]) for row in sick):
        members = [r for r in sick if r["half"] == half and r["strength"] == strength]
        lines.append([half, strength or "failing", right(members, 1), right(members, 3)])
    return lines


def cures(sick: list[Row]) -> list[list[str]]:
    """Return how often the cure of a cause that was named first brings back what was lost."""
    causes = defaultdict(list)
    for row in sick:
        if row.get("cured") is not None:
            causes["all"].append(row["cured"])
            causes[row["cause"]].append(row["cured"])
    return [
        [cause, f"{sum(share >= CURED for share in shares)} of {len(shares)}",
         f"{statistics.median(shares):.2f}"]
        for cause, shares in causes.items()
    ]  # fmt: skip


def alarms(well: list[Row]) -> list[list[str]]:
    """Return how often a training that learns was said to have a problem."""
    lines = []
    for half, group in dict.fromkeys((row["half"], row["group"]) for row in well):
        members = [r for r in well if r["half"] == half and r["group"] == group]
        first = Counter(row["problems"][0] for row in members if row["problems"])
        what = ", ".join(f"{name} {count}" for name, count in first.most_common())
        share = f"{first.total()} of {len(members)} ({100 * first.total() / len(members):.1f} %)"
        lines.append([half, group, share, what])
    return lines


def summary(rows: list[Row]) -> None:
    """Print the confusion matrix, and what was right and wrong in each half."""
    counted = [row for row in rows if row["counts"]]
    sick = [row for row in counted if row["group"] == "planted"]
    well = [row for row in counted if row["group"] != "planted"]
    show("Planted causes", ["planted", "first", "among three", "first instead"], by_cause(sick))
    show("Cause named", ["half", "strength", "first", "among three"], by_strength(sick))
    show("Problems found in trainings that learn", ["half", "of", "share", "first"], alarms(well))
    show("Cures that were tried", ["cause", "cured", "share learned"], cures(sick))
    out = Counter((r["half"], r["group"]) for r in rows if not r["counts"])
    for (half, group), count in out.items():
        whole = sum(r["half"] == half and r["group"] == group for r in rows)
        why = "do not fail" if group == "planted" else "do not learn enough"
        print(f"left out, {half}: {count} of {whole} {group} trainings, which {why}")
    for part in ("check", "findings"):
        spent = sorted(r["seconds"][part] for r in rows if r["seconds"])
        if spent:
            print(f"{part}: {statistics.median(spent):.1f} s of processor time in the median, "
                  f"{spent[-1]:.1f} s at most")  # fmt: skip


def write_page(names: list[str]) -> None:
    """Write docs/doctor_results.md from the results of these names."""
    rows: list[Row] = []
    for name in names:
        rows += json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    counted = [row for row in rows if row["counts"]]
    sick = [row for row in counted if row["group"] == "planted"]
    well = [row for row in counted if row["group"] != "planted"]
    out = Counter(row["group"] for row in rows if not row["counts"])
    left_out = (
        f"Trainings: {len(rows)}. Left out: {out['planted']} planted failures that did not fail, "
        f"and {out['healthy'] + out['cured']} others that did not learn enough."
    )
    missing = sorted({plant.cause for plant in PLANTS} - {row["cause"] for row in sick})
    if missing:
        left_out += f" Planted causes of which no training counts: {', '.join(missing)}."
    parts = [
        PAGE,
        left_out + "\n",
        "## The cause named\n",
        *_markdown(["half", "strength", "first", "among three"], by_strength(sick)),
        "\n## Problems found in trainings that learn\n",
        *_markdown(["half", "of", "share", "first"], alarms(well)),
        "\n## Cures\n",
        CURES,
        *_markdown(["cause", "cured", "share learned"], cures(sick)),
        "\n## By cause\n",
        *_markdown(["planted", "first", "among three", "first instead"], by_cause(sick)),
    ]
    (RESULTS.parents[1] / "docs" / "doctor_results.md").write_text(
        "\n".join(parts) + "\n", encoding="utf-8"
    )


def _markdown(columns: list[str], rows: list[list[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--half", choices=["calibration", "judging"], help="one half; else both")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of a half, 5 at most")
    parser.add_argument("--first", type=int, default=0, help="seeds of a half to pass over")
    parser.add_argument("--only", action="append", metavar="CAUSE", help="plant this cause alone")
    parser.add_argument("--cases", type=Path, metavar="FOLDER", help="the cases of a folder")
    parser.add_argument("--quick", action="store_true", help="each cause once")
    parser.add_argument("--verify", action="store_true", help="train alone, without the doctor")
    parser.add_argument("--minutes", type=float, help="begin nothing after so many")
    parser.add_argument("--page", nargs="+", metavar="NAME", help="write the page of these results")
    parser.add_argument("--save", metavar="NAME", help="file under results/, without .json")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    limit = options.minutes or (QUICK if options.quick else float("inf"))
    end = time.monotonic() + 60 * limit
    if options.page:
        write_page(options.page)
        return
    every = entries(options)
    rows: list[Row] = []
    for entry in quick(every) if options.quick else every:
        if time.monotonic() > end:
            break
        row = row_of(entry, verify=options.verify)
        rows.append(row)
        mark = " " if row["counts"] else "left out"
        if not options.verify and row["counts"]:
            good = named(row) == entry.cause if entry.cause else not row["problems"]
            mark = "right" if good else "WRONG"
        words = f"{entry.half} {entry.cause or entry.group} {entry.strength} [{entry.name}]"
        print(f"{mark:8} {words} seed {entry.seed}, learned {row['share']:.2f}: "
              f"{', '.join(row['problems']) or '-'}; {', '.join(row['warnings']) or '-'}",
              flush=True)  # fmt: skip
        if options.save:
            save(options.save, rows)  # a run that is ended early has its rows
    summary(rows)


if __name__ == "__main__":
    main()
