"""thalweg.optim against torch.optim, pytorch_optimizer, torch-optimi and heavyball.

    python benchmarks/optim.py [--only Adam,Lion] [--shapes 10x100,gpt2] [--dtypes float32]
                               [--parts step,start,memory,leak] [--rounds 15] [--steps 100000]
                               [--threads 2] [--compiled] [--processor] [--device cpu]

step    seconds of one step, contestants in turn in one process with the same number of threads, on
        the same parameters and gradients. At 1x1.6e7 there are several copies, stepped in turn: no
        cache holds them. There is also a plain kernel that reads and writes as many arrays: ours as
        a share of its bandwidth. On a GPU that is a copy of as many bytes.
start   importing and the first step, in a process of its own: from an empty cache of kernels, from
        one without this class's kernel, and from a warm one; what torch takes for its import and
        for its own first optimizer is shown apart.
memory  peak resident memory of two steps of 5e7 parameters, in a process of its own, beside what
        parameters, gradients and state need.
leak    resident memory after so many steps of a tiny model with fresh gradients, less that before.

Other libraries than torch are compared where they are installed and have the rule; in bfloat16 they
keep no compensation, and heavyball runs uncompiled. With --compiled also torch.compile'd steps and
heavyball as it comes, compile times apart: minutes per cell where there are many tensors. Every run
renews its own rows of results/optim.json and leaves the others, and those that tell nothing
(measure.py); on another device than the CPU there are steps alone, and their rows are in
results/optim_DEVICE.json.
"""

import argparse
import importlib
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from classes import CLASSES, MODULES, Entry
from measure import RESULTS, Clock, Ratio, Row, Run, compared, noise, others, refusal, save, show
from measure import in_words as ratio_in_words
from plain import plain_kernel
from thalweg import optim

PATHS = {"fused": {"fused": True}, "foreach": {"foreach": True}, "plain": {"foreach": False}}
COPIED = "plain kernel"

Shape = tuple[int, ...]


def resnet18() -> list[Shape]:
    """Return the shapes of ResNet-18 (He et al. 2016): 62 tensors, 11,689,512 elements."""

    def convolution(out: int, into: int, kernel: int) -> list[Shape]:
        return [(out, into, kernel, kernel), (out,), (out,)]  # with its batch normalization

    shapes, into = convolution(64, 3, 7), 64
    for width in (64, 128, 256, 512):
        shapes += convolution(width, into, 3) + convolution(width, width, 3)
        if into != width:
            shapes += convolution(width, into, 1)
        shapes += convolution(width, width, 3) * 2
        into = width
    return [*shapes, (1000, 512), (1000,)]


def gpt2() -> list[Shape]:
    """Return the shapes of GPT-2 small (Radford et al. 2019): 148 tensors, 124,439,808 elements."""
    d = 768
    attention: list[Shape] = [(d,), (d,), (d, 3 * d), (3 * d,), (d, d), (d,)]
    perceptron: list[Shape] = [(d,), (d,), (d, 4 * d), (4 * d,), (4 * d, d), (d,)]
    return [(50_257, d), (1_024, d), *(attention + perceptron) * 12, (d,), (d,)]


SHAPES: dict[str, list[Shape]] = {
    "10x100": [(100,)] * 10,
    "1x1e4": [(10_000,)],
    "1x1e6": [(1_000_000,)],
    "200x1e4": [(10_000,)] * 200,
    "1000x100": [(100,)] * 1_000,
    "1x1.6e7": [(16_000_000,)],
    "resnet18": resnet18(),
    "gpt2": gpt2(),
}
ONE_LARGE = "1x1.6e7"
UNCACHED = 1 << 30  # bytes of parameters and gradients that no cache holds


# One step.


def in_turn(runs: Sequence[Run]) -> Run:
    """Return what does one of them at each call."""
    turns = itertools.cycle(runs)

    def one() -> None:
        next(turns)()

    return one if len(runs) > 1 else runs[0]


@dataclass
class Cell:
    """The contestants of a cell: each has parameters of its own, in the memory of all."""

    entry: Entry
    shapes: list[Shape]
    dtype: torch.dtype
    device: torch.device
    runs: dict[str, Run] = field(default_factory=dict)
    compile_seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        drawn = [torch.randn(s, generator=generator) for s in self.shapes + self.shapes]
        values = [tensor.to(self.device, self.dtype) for tensor in drawn]
        size = sum(value.numel() * value.element_size() for value in values)
        count = -(-UNCACHED // size) if self.shapes == SHAPES[ONE_LARGE] else 1
        self.copies = [values, *([v.clone() for v in values] for _ in range(count - 1))]

    def optimizers(self, make: Any, options: Mapping[str, Any]) -> list[Any]:
        """Return an optimizer of each copy."""
        return [self.optimizer(make, options, copy) for copy in self.copies]

    def steps(self, make: Any, options: Mapping[str, Any], wrap: Any = lambda step: step) -> Run:
        """Return the step of an optimizer, of another copy at each call."""
        return in_turn([wrap(made.step) for made in self.optimizers(make, options)])

    def optimizer(self, make: Any, options: Mapping[str, Any], values: list[Tensor]) -> Any:
        """Return an optimizer of such values that has taken its first step."""
        count = len(self.shapes)
        parameters = [value.detach().requires_grad_() for value in values[:count]]
        for parameter, gradient in zip(parameters, values[count:], strict=True):
            parameter.grad = gradient
        made = make(parameters, lr=1e-4, **options)
        made.consume_grad = False  # heavyball would take the gradients away
        made.step()
        return made

    def add_compiled(self, name: str, build: Callable[[], Run]) -> None:
        """Add a contestant after two steps of each copy, by which it has compiled."""
        start = time.perf_counter()
        step = build()
        for _ in range(2 * len(self.copies)):
            step()
        self.compile_seconds[name] = time.perf_counter() - start
        self.runs[name] = step

    def add_all(self, *, compiled: bool) -> None:
        """Add ours, torch's, other libraries' and, for the large shape, the plain kernel."""
        ours = self.optimizers(getattr(optim, self.entry.ours), self.entry.options)
        self.runs["thalweg"] = in_turn([made.step for made in ours])
        theirs = getattr(torch.optim, self.entry.ours, None)
        for path, flags in PATHS.items() if theirs else ():
            try:
                run = self.steps(theirs, {**self.entry.options, **flags})
            except (TypeError, RuntimeError):
                if path != "fused":  # which torch has for few rules
                    raise
                continue
            self.runs[f"torch {path}"] = run
        if compiled and theirs:
            foreach = {**self.entry.options, "foreach": True}
            torch.compiler.reset()
            self.add_compiled("torch compiled", lambda: self.steps(theirs, foreach, torch.compile))
        for name, (kind, options) in self.entry.peers.items():
            if installed(name):
                self.add_peer(name, kind, options, compiled=compiled)
        if self.shapes == SHAPES[ONE_LARGE]:
            states = sum(t.numel() > 1 for state in ours[0].state.values() for t in tensors(state))
            size = self.shapes[0][0]
            self.runs[COPIED] = in_turn(
                [plain_kernel(size, self.dtype, states, self.device) for _ in self.copies]
            )

    def add_peer(self, name: str, kind: str, options: Mapping[str, Any], *, compiled: bool) -> None:
        """Add a library's class; heavyball's as often as it has modes."""
        home, _, kind = f"{MODULES[name]}.{kind}".rpartition(".")
        if name == "timm":
            show_optimizers_alone(name)
        module = importlib.import_module(home)

        def build(mode: str | None = None) -> Run:
            if name != "heavyball":
                return self.steps(getattr(module, kind), options)
            module.utils.compile_mode = mode
            run = self.steps(getattr(module, kind), options)

            def step() -> None:
                module.utils.compile_mode = mode
                run()

            return step

        self.runs[name] = build()
        if compiled and name == "heavyball":
            self.add_compiled(f"{name} compiled", lambda: build("max-autotune-no-cudagraphs"))


def tensors(state: Mapping[str, Any]) -> list[Tensor]:
    return [value for value in state.values() if isinstance(value, Tensor)]


def show_optimizers_alone(name: str) -> None:
    """Let a library's optimizers be imported without the rest, which wants other libraries."""
    place = Path(str(distribution(name).locate_file(name)))
    for package, folder in ((name, place), (f"{name}.optim", place / "optim")):
        if package not in sys.modules:
            sys.modules[package] = made = ModuleType(package)
            made.__path__ = [str(folder)]


def installed(name: str) -> str | None:
    """Return the version of a library, if it is there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def waited(run: Run) -> Run:
    """Return what waits for the accelerator, which works on after a call."""

    def until_done() -> None:
        run()
        torch.accelerator.synchronize()

    return until_done


def steps(
    label: str,
    shape: str,
    dtype: str,
    rounds: int,
    *,
    compiled: bool,
    device: torch.device,
    clock: Clock = time.perf_counter,
) -> Row:
    """Measure one cell."""
    cell = Cell(CLASSES[label], SHAPES[shape], getattr(torch, dtype), device)
    cell.add_all(compiled=compiled)
    large = sum(value.numel() for value in cell.copies[0]) > 20_000_000
    runs = cell.runs if device.type == "cpu" else {n: waited(run) for n, run in cell.runs.items()}
    found = compared(runs, min(rounds, 9) if large else rounds, clock=clock)
    peers = [name for name in runs if name not in {"thalweg", COPIED}]
    row: Row = {"part": "step", "class": label, "shape": shape, "dtype": dtype}
    row |= {"seconds": found.median("thalweg"), "noise": found.noise("thalweg")}
    if COPIED in runs:
        row["share"] = found.ratio(COPIED).median
    row |= {"others": {name: found.median(name) for name in peers}}
    row |= {"noises": {name: found.noise(name) for name in peers}}
    row |= {"compile_seconds": cell.compile_seconds}
    best = found.fastest(peers)
    return row | ({"fastest": best} if best else {}) | found.row(best)


def misses(row: Row) -> Iterable[str]:
    """Return the goals of speed that a cell misses."""
    others = row["others"]
    if row.get("ratio", 1) < 1:
        yield f"{row['fastest']} takes {row['ratio']:.2f} of thalweg's time"
    uncompiled = [others[name] for name in map("torch {}".format, PATHS) if name in others]
    if uncompiled and "torch fused" not in others and min(uncompiled) < 3 * row["seconds"]:
        yield f"torch uncompiled / thalweg = {min(uncompiled) / row['seconds']:.2f}, not 3"
    if row["shape"] == "1000x100" and others.get("torch fused", np.inf) < 5 * row["seconds"]:
        yield f"torch fused / thalweg = {others['torch fused'] / row['seconds']:.2f}, not 5"
    if row.get("share", 1) < 0.9:
        yield f"{row['share']:.0%} of a plain kernel's bandwidth, not 90 %"


def show_steps(rows: list[Row]) -> None:
    cells = {(r["class"], r["shape"], r["dtype"]): r for r in rows}
    shapes = [name for name in SHAPES if any(r["shape"] == name for r in rows)]
    for dtype in dict.fromkeys(r["dtype"] for r in rows):
        lines = []
        for label in dict.fromkeys(r["class"] for r in rows):
            found = [cells.get((label, shape, dtype)) for shape in shapes]
            lines.append([label, *(map(in_words, found))])
        show(f"seconds of the fastest other / seconds of thalweg, {dtype}", ["", *shapes], lines)
    for r in rows:
        for miss in misses(r):
            print(f"misses its goal: {r['class']}, {r['shape']}, {r['dtype']}: {miss}")
        for name, spent in r["compile_seconds"].items():
            print(f"{r['class']}, {r['shape']}, {r['dtype']}: {name} in {spent:.1f} s")
    print(noise(rows))


def in_words(row: Row | None) -> str:
    if row is None:
        return ""
    ratio = "-"
    if "ratio" in row:
        found = ratio_in_words(Ratio(row["ratio"], *row["interval"]), Ratio(*row["control"]))
        ratio = f"{found} {row['fastest'].removeprefix('torch ')}"
    return f"{ratio}, {row['share']:.0%}" if "share" in row else ratio


# A process of its own.


def alone(function: Callable[..., Row], *arguments: Any) -> Row:
    """Call a function in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def resident(name: str) -> int:
    """Return VmRSS, this process's resident memory now, or VmHWM, its peak, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(name)))


LIBRARIES: dict[str, Any] = {"thalweg": optim, "torch": torch.optim}


def make(label: str, library: str, parameters: list[Tensor]) -> Any:
    """Return that library's optimizer of a class."""
    entry = CLASSES[label]
    return getattr(LIBRARIES[library], entry.ours)(parameters, lr=1e-4, **entry.options)


def fresh_steps(label: str, library: str) -> Run:
    """Return a step of four tensors of 10 with new gradients, as a training loop takes."""
    parameters = [torch.ones(10, requires_grad=True) for _ in range(4)]
    optimizer = make(label, library, parameters)

    def step() -> None:
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()

    return step


def peak(label: str, library: str) -> Row:
    """Return the memory that 5e7 parameters need, and the peak of two steps, in bytes."""
    fresh_steps(label, library)()  # loads and compiles
    before = resident("VmRSS")
    parameter = torch.ones(50_000_000, requires_grad=True)
    parameter.grad = torch.ones_like(parameter)
    optimizer = make(label, library, [parameter])
    for _ in range(2):
        optimizer.step()
    held = [parameter, parameter.grad, *tensors(optimizer.state.get(parameter, {}))]
    needed = sum(tensor.numel() * tensor.element_size() for tensor in held)
    return {"needed": needed, "peak": resident("VmHWM") - before}


def memories(labels: list[str]) -> list[Row]:
    rows: list[Row] = []
    for label in labels:
        there = [name for name, m in LIBRARIES.items() if hasattr(m, CLASSES[label].ours)]
        found = {library: alone(peak, label, library) for library in there}
        rows.append({"part": "memory", "class": label, **found})
    return rows


def show_memories(rows: list[Row]) -> None:
    lines = []
    for row in rows:
        for library in LIBRARIES:
            if found := row.get(library):
                both = found["needed"], found["peak"], found["peak"] - found["needed"]
                lines.append([row["class"], library, *(f"{value / 1e6:.0f}" for value in both)])
    titles = ["", "", "parameters, gradients, state", "peak", "beside"]
    show("memory of a step of 5e7 parameters, MB", titles, lines)


def growth(label: str, count: int) -> Row:
    """Return by how many bytes resident memory grows in so many steps."""
    step = fresh_steps(label, "thalweg")
    for _ in range(5_000):
        step()
    before, start = resident("VmRSS"), time.perf_counter()
    for _ in range(count):
        step()
    seconds = time.perf_counter() - start
    return {"steps": count, "bytes": resident("VmRSS") - before, "seconds": seconds}


def leaks(labels: list[str], count: int) -> list[Row]:
    return [{"part": "leak", "class": label, **alone(growth, label, count)} for label in labels]


def show_leaks(rows: list[Row]) -> None:
    lines = [
        [row["class"], f"{row['steps']:,}", f"{row['bytes'] / 1024:.0f}", f"{row['seconds']:.0f}"]
        for row in rows
    ]
    titles = ["", "steps", "resident memory grows by (KiB)", "seconds"]
    show("steps of a tiny model", titles, lines)


FIRST = """
import time; start = time.perf_counter()
import torch; torch.optim.SGD([torch.ones(1)]); torch_there = time.perf_counter()
from thalweg import optim; there = time.perf_counter()
parameter = torch.ones(100_000, requires_grad=True)
parameter.grad = torch.ones(100_000)
optim.{ours}([parameter], lr=1e-4, **{options!r}).step(); stepped = time.perf_counter()
print([torch_there - start, there - torch_there, stepped - there])
"""


def first_step(label: str, cache: str) -> dict[str, float]:
    """Return the seconds of torch itself, of importing thalweg.optim and of the first step."""
    entry = CLASSES[label]
    done = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-c", FIRST.format(ours=entry.ours, options=dict(entry.options))],
        env={**os.environ, "THALWEG_CACHE": cache, "NUMBA_CACHE_DIR": f"{cache}/numba"},
        check=True,
        stdout=subprocess.PIPE,
    )
    return dict(zip(("torch", "import", "step"), json.loads(done.stdout), strict=True))


def starts(labels: list[str]) -> list[Row]:
    """Measure the first step with every class: its kernel not yet compiled, then compiled."""
    with tempfile.TemporaryDirectory() as cache:
        rows: list[Row] = [{"class": "Descent", "empty": first_step("Descent", cache)}]
        for label in labels:
            if label != "Descent":
                cold, warm = first_step(label, cache), first_step(label, cache)
                rows.append({"class": label, "cold": cold, "warm": warm})
    return [{"part": "start", **row} for row in rows]


def show_starts(rows: list[Row]) -> None:
    lines = []
    for row in rows:
        for when in ("empty", "cold", "warm"):
            if found := row.get(when):
                both = found["import"] + found["step"]
                cells = [found["import"], found["step"], both, found["torch"]]
                lines.append([row["class"], when, *(f"{value:.2f}" for value in cells)])
    titles = ["", "cache", "import thalweg.optim", "first step", "both", "(torch itself)"]
    show("seconds until the first step is done, 1e5 parameters", titles, lines)


# All of it.


def renew(rows: list[Row], device: torch.device) -> None:
    """Write the rows in place of those of the same cells in that device's results.

    Rows that a clock made are not written where they tell nothing.
    """
    timed = any(row["part"] in {"step", "start"} for row in rows)
    if timed and (why := refusal(rows, others.share())):
        print(f"not written: {why}")
        return

    def cell(row: Row) -> tuple[Any, ...]:
        return tuple(row.get(name) for name in ("part", "class", "shape", "dtype"))

    name = "optim" if device.type == "cpu" else f"optim_{device.type}"
    path = RESULTS / f"{name}.json"
    kept = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    save(name, list({cell(row): row for row in [*kept, *rows]}.values()))


def setting(device: torch.device) -> Row:
    """Return what is compared, where, and with how many threads."""
    peers = {name: installed(name) for name in MODULES}
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name, found in peers.items():
        print(f"{name} {found}" if found else f"{name} is not installed: left out")
    threads = torch.get_num_threads()
    return {
        "part": "setting",
        "torch": torch.__version__,
        "threads": threads,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        **peers,
    }


def chosen(given: str, known: Iterable[str]) -> list[str]:
    names = given.split(",") if given else list(known)
    if unknown := set(names) - set(known):
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; there is {', '.join(known)}")
    return names


def all_steps(
    labels: list[str], shapes: list[str], dtypes: list[str], device: torch.device, **how: Any
) -> list[Row]:
    rows = []
    for label, shape, dtype in itertools.product(labels, shapes, dtypes):
        row = steps(label, shape, dtype, device=device, **how)
        rows.append(row)
        milliseconds = f"{1e3 * row['seconds']:9.4f} ms"
        print(f"{label:16s} {shape:8s} {dtype:8s} {milliseconds}  {in_words(row)}", flush=True)
        if how.get("clock") is not time.process_time:
            renew([row], device)  # hours may follow
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("only", "shapes", "dtypes", "parts"):
        parser.add_argument(f"--{name}", default="", metavar="A,B", help="default: all")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=100_000, help="of the search for leaks")
    parser.add_argument("--threads", type=int, default=numba.get_num_threads())
    parser.add_argument("--compiled", action="store_true", help="torch.compile'd steps as well")
    parser.add_argument(
        "--processor", action="store_true", help="processor time, on a shared machine; not written"
    )
    parser.add_argument("--device", type=torch.device, default="cpu", help="where to step")
    options = parser.parse_args()
    labels, shapes = chosen(options.only, CLASSES), chosen(options.shapes, SHAPES)
    dtypes = chosen(options.dtypes, ("float32", "bfloat16"))
    torch.set_num_threads(options.threads)
    numba.set_num_threads(options.threads)
    clock = time.process_time if options.processor else time.perf_counter
    how = {"rounds": options.rounds, "compiled": options.compiled, "clock": clock}
    parts: dict[str, tuple[Callable[[], list[Row]], Callable[[list[Row]], None]]] = {
        "step": (lambda: all_steps(labels, shapes, dtypes, options.device, **how), show_steps),
        "start": (lambda: starts(labels), show_starts),
        "memory": (lambda: memories(labels), show_memories),
        "leak": (lambda: leaks(labels, options.steps), show_leaks),
    }
    if options.device.type != "cpu":
        parts = {"step": parts["step"]}
    found = setting(options.device)
    if not options.processor:
        renew([found], options.device)
    for part in chosen(options.parts, parts):
        measured, shown = parts[part]
        rows = measured()
        if part != "step":  # which has renewed its own, one by one
            renew(rows, options.device)
        shown(rows)


if __name__ == "__main__":
    main()
