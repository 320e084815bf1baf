"""Rules of recent years against other libraries' classes of the same: time and memory of a step.

    python benchmarks/recent.py [--only muon,soap] [--shapes resnet18,block] [--rounds 9]

Time is the processor time of one thread, so that it may be measured on a machine that others use;
they share its memory bus and its caches, however, which ratios of neighbours feel less. Contestants
step in turn, each from gradients of its own; a ratio is the median over rounds of a peer's time
over ours. Muon steps the matrices of a block of GPT-2 small, SOAP two smaller ones, the others all
tensors. torch's Muon computes in bfloat16, as its authors' does, at twice the speed where the
processor has AVX512_BF16; "torch, float32" is the same class with that taken out, and "muon
bfloat16" is ours with that put in. SOAP's first step, which finds eigenvectors, is not counted;
every tenth, which renews them, is.

lanes   64 lanes of a 32 x 32 matrix together, and one optimizer after the other.
state   numbers for each parameter of GPT-2 small, counted on tensors without memory: hidden
        matrices by Muon, NorMuon or SOAP with AdamW for the rest, all by the other rules.
memory  state per parameter, and the peak beside parameters, gradients and state in a process of its
        own, in the largest matrices.

heavyball runs uncompiled. Left out, because they differ from their paper: pytorch_optimizer's and
heavyball's ADOPT, and timm's as it comes; heavyball's Muon, whose momentum is another.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import torch
from torch import Tensor

from measure import RESULTS, save, show
from optim import SHAPES, alone, resident
from thalweg.optim import Descent
from thalweg.rules import get
from thalweg.stack.matrix_step import MatrixStep
from thalweg.stack.step import WholeStep

Shape = tuple[int, ...]
WIDTH = 768
BLOCK: list[Shape] = [(3 * WIDTH, WIDTH), (WIDTH, WIDTH), (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH)]
SMALL: list[Shape] = [(256, 256), (256, 1024)]  # of whose eigenvectors a machine is not busy long
PLACES = SHAPES | {"block": BLOCK, "small": SMALL}


class Peer(NamedTuple):
    """A class of another library: its module, its name, its options."""

    library: str
    module: str
    name: str
    options: Mapping[str, Any]


def po(name: str, **options: Any) -> Peer:
    return Peer("pytorch_optimizer", "pytorch_optimizer", name, options)


def heavy(name: str, **options: Any) -> Peer:
    return Peer("heavyball", "heavyball", name, options)


DECAYED = {"weight_decay": 0.01, "weight_decouple": True}
FREE = {"weight_decay": 0.0, "warmup_steps": 0}
RULES: dict[str, tuple[dict[str, Peer], tuple[str, ...]]] = {
    "ademamix": (
        {
            "pytorch_optimizer": po("AdEMAMix", **DECAYED, foreach=False),
            "pytorch_optimizer foreach": po("AdEMAMix", **DECAYED, foreach=True),
            "heavyball": heavy("AdEMAMix", weight_decay=0.01),
        },
        ("resnet18", "gpt2"),
    ),
    "adopt": (
        {
            "timm": Peer("timm", "timm.optim.adopt", "Adopt", {"clip_exp": 0.25}),
            "timm foreach": Peer(
                "timm", "timm.optim.adopt", "Adopt", {"clip_exp": 0.25, "foreach": True}
            ),
        },
        ("resnet18", "gpt2"),
    ),
    "adan": (
        {
            "pytorch_optimizer": po("Adan", foreach=False),
            "pytorch_optimizer foreach": po("Adan", foreach=True),
            "timm": Peer("timm", "timm.optim.adan", "Adan", {}),
        },
        ("resnet18", "gpt2"),
    ),
    "schedule_free_adamw": (
        {
            "schedulefree": Peer("schedulefree", "schedulefree", "AdamWScheduleFree", FREE),
            "schedulefree foreach=False": Peer(
                "schedulefree", "schedulefree", "AdamWScheduleFree", FREE | {"foreach": False}
            ),
            "pytorch_optimizer": po("ScheduleFreeAdamW", **FREE),
            "heavyball": heavy("SFAdamW", weight_decay=0.0),
        },
        ("resnet18", "gpt2"),
    ),
    "muon": (
        {
            "torch": Peer("torch", "torch.optim", "Muon", {}),
            "torch, float32": Peer("torch", "torch.optim", "Muon", {}),
            "pytorch_optimizer": po("Muon"),
        },
        ("block",),
    ),
    "soap": (
        {
            "pytorch_optimizer": po("SOAP"),
            "heavyball": heavy("SOAP", precondition_frequency=10, merge_dims=False),
        },
        ("small",),
    ),
}
RULES["muon bfloat16"] = RULES["muon"]
RULES["adafactor"] = RULES["normuon"] = ({}, ())  # their state is counted
OURS: dict[str, tuple[str, dict[str, Any]]] = {  # where options are given
    "muon bfloat16": ("muon", {"product_dtype": torch.bfloat16}),
}


def installed(peer: Peer) -> bool:
    try:
        version(peer.library)
    except PackageNotFoundError:
        return False
    return True


def ours(name: str, values: Sequence[Tensor]) -> Descent:
    rule, options = OURS.get(name, (name, {}))
    return Descent(values, rule, lr=1e-4, **options)


def parameters(shapes: Sequence[Shape]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(s, generator=generator).requires_grad_() for s in shapes]
    for value in values:
        value.grad = torch.randn(value.shape, generator=generator)
    return values


def prepared(optimizer: Any) -> Callable[[], Any]:
    """Return the step of an optimizer that has taken two."""
    if hasattr(optimizer, "train"):  # schedulefree's asks for it
        optimizer.train()
    for _ in range(2):
        optimizer.step()
    step: Callable[[], Any] = optimizer.step
    return step


def wide(step: Callable[[], Any]) -> Callable[[], Any]:
    """Return a step in which torch's Muon leaves its matrices in their own format."""

    def without() -> None:
        kept = Tensor.bfloat16
        Tensor.bfloat16 = Tensor.clone  # type: ignore[method-assign]
        try:
            step()
        finally:
            Tensor.bfloat16 = kept  # type: ignore[method-assign]

    return without


def spent(step: Callable[[], Any], times: int = 1) -> float:
    begin = time.process_time()
    for _ in range(times):
        step()
    return time.process_time() - begin


def compared(rule: str, place: str, rounds: int) -> dict[str, Any]:
    """Return our seconds, and the ratio of each peer to us."""
    shapes, ratios = PLACES[place], {}
    mine = prepared(ours(rule, parameters(shapes)))
    seconds: list[float] = []
    times = 10 if rule == "soap" else 1  # so many steps are alike
    for name, peer in RULES[rule][0].items():
        if not installed(peer):
            continue
        module = import_module(peer.module)
        if name == "heavyball":
            module.utils.compile_mode = None
        values: Any = parameters(shapes)
        if peer.library == "pytorch_optimizer" and peer.name == "Muon":
            values = [{"params": values, "use_muon": True}]
        made = getattr(module, peer.name)(values, lr=1e-4, **peer.options)
        made.consume_grad = False  # heavyball would take the gradients away
        theirs = prepared(made)
        theirs = wide(theirs) if name == "torch, float32" else theirs
        pairs = [(spent(mine, times), spent(theirs, times)) for _ in range(rounds)]
        ratios[name] = statistics.median(theirs / ours for ours, theirs in pairs)
        seconds += [ours for ours, _ in pairs]
        print(f"{rule} {place} {name}: {ratios[name]:.2f} of {pairs[-1][0]:.3f} s", flush=True)
    own = statistics.median(seconds)
    return {"part": "step", "rule": rule, "shape": place, "seconds": own, "ratios": ratios}


def lanes(rule: str, count: int, width: int, rounds: int) -> dict[str, Any]:
    """Return how many times as long a loop over optimizers takes as a step of all lanes."""
    own = get(rule)
    hyper = [own.defaults | {"lr": 0.01 * (1 + lane / count)} for lane in range(count)]
    x = torch.randn(count, width, width, generator=torch.Generator().manual_seed(0))
    together = MatrixStep(own, hyper, [x.clone()], [1], None)
    loop = WholeStep(own, hyper, [x.clone()], 0, [1])
    steps = [partial(made, [x], None) for made in (together, loop)]
    for step in steps * 2:
        step()
    pairs = [(spent(steps[0]), spent(steps[1])) for _ in range(rounds)]
    found = statistics.median(alone / both for both, alone in pairs)
    return {"part": "lanes", "rule": rule, "lanes": count, "width": width, "ratio": found}


def peak(rule: str, place: str) -> dict[str, Any]:
    """Return state per parameter and the peak of a step beside what is held."""
    ours(rule, parameters([(300, 300), (300, 500)])).step()  # loads libraries
    before = resident("VmRSS")
    values = parameters(PLACES[place])
    optimizer = ours(rule, values)
    for _ in range(3):
        optimizer.step()
    states = [s.values() for s in optimizer.state.values()]
    held = [value for own in states for value in own if torch.is_tensor(value)]
    needed = sum(p.numel() for p in values) * 8 + sum(s.numel() * s.element_size() for s in held)
    beside = resident("VmHWM") - before - needed
    size = sum(p.numel() for p in values)
    largest = max(p.numel() for p in values) * 4
    return {
        "part": "memory",
        "rule": rule,
        "shape": place,
        "state": sum(value.numel() for value in held) / size,
        "beside": beside / largest,
        "megabytes": beside / 1e6,
    }


def counted(rule: str) -> dict[str, Any]:
    """Return how many numbers of state there are for each parameter of GPT-2 small."""
    values = [torch.empty(shape, device="meta").requires_grad_() for shape in PLACES["gpt2"]]
    for value in values:
        value.grad = torch.empty_like(value)
    groups: list[dict[str, Any]] = [{"params": values}]
    if get(rule).kind == "matrices":
        hidden = [i for i, value in enumerate(values) if value.ndim == 2 and i > 1]  # no embedding
        rest = [value for i, value in enumerate(values) if i not in hidden]
        groups = [{"params": [values[i] for i in hidden]}, {"params": rest, "rule": "adamw"}]
    optimizer = Descent(groups, rule)
    for _ in range(2):
        optimizer.step()
    held = [kept for own in optimizer.state.values() for kept in own.values()]
    size = sum(value.numel() for value in values)
    found = sum(kept.numel() for kept in held if kept.device.type == "meta") / size
    return {"part": "state", "rule": rule, "shape": "gpt2", "state": found}


def renewed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows, and those of earlier runs that they do not replace."""
    path = RESULTS / "recent.json"
    kept = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    return list({(r["part"], r["rule"], r.get("shape")): r for r in [*kept, *rows]}.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(RULES), metavar="A,B")
    parser.add_argument("--shapes", default="", metavar="A,B", help="default: each rule's own")
    parser.add_argument("--parts", default="step,lanes,state,memory", metavar="A,B")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rules, parts, rows = options.only.split(","), options.parts.split(","), []
    for rule, part in itertools.product(rules, parts):
        places = options.shapes.split(",") if options.shapes else RULES[rule][1]
        if part == "lanes" and rule not in OURS and get(rule).kind == "matrices":
            rows.append(lanes(rule, 64, 32, options.rounds))
        elif part == "state" and rule not in OURS:
            rows.append(counted(rule))
        elif part in {"step", "memory"}:
            for place in places:
                timed = part == "step"
                row = compared(rule, place, options.rounds) if timed else alone(peak, rule, place)
                rows.append(row)
        print(rows[-1] if rows else "", flush=True)
    cells = [
        [r["part"], r["rule"], r.get("shape", ""), *map(str, list(r.values())[3:])] for r in rows
    ]
    show("rules of recent years", ["part", "rule", "shape", "", "", ""], [c[:6] for c in cells])
    save("recent", renewed(rows))


if __name__ == "__main__":
    main()
