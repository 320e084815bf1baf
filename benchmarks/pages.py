"""Write the tables of results/ into the pages of docs/, each between two marks."""

import json
import statistics
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from measure import RESULTS

DOCS = Path(__file__).parents[1] / "docs"
MARKS = "<!-- table {} -->\n", "<!-- end of table {} -->"

Row = dict[str, Any]


def table(titles: list[str], lines: list[list[str]]) -> Iterator[str]:
    for cells in (titles, ["---"] * len(titles), *lines):
        yield f"| {' | '.join(cells)} |"
    yield ""


def chosen(rows: list[Row], part: str) -> list[Row]:
    return [row for row in rows if row["part"] == part]


def cell(row: Row | None) -> str:
    if row is None or "ratio" not in row:
        return ""
    share = f", {row['share']:.0%}" if "share" in row else ""
    return f"{row['ratio']:.2f} {row['fastest'].removeprefix('torch ')}{share}"


def steps(rows: list[Row]) -> Iterator[str]:
    """Yield a table per format: the fastest other's seconds over ours."""
    cells = {(r["class"], r["shape"], r["dtype"]): r for r in rows}
    classes, shapes, dtypes = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
    for dtype in dtypes:
        lines = [[c, *(cell(cells.get((c, s, dtype))) for s in shapes)] for c in classes]
        yield f"{dtype}:"
        yield ""
        yield from table(["", *shapes], [line for line in lines if any(line[1:])])


def starts(rows: list[Row]) -> Iterator[str]:
    """Yield the range of seconds until the first step is done, over the classes."""
    yield "Seconds for importing `thalweg.optim` and the first step, over the classes:"
    yield ""
    lines = []
    for when, cache in (("warm", "warm"), ("cold", "without this class"), ("empty", "empty")):
        both = [r[when]["import"] + r[when]["step"] for r in rows if when in r]
        if both:
            lines.append([cache, f"{min(both):.2f} – {max(both):.2f}"])
    yield from table(["cache of kernels", "seconds"], lines)


def memories(rows: list[Row]) -> Iterator[str]:
    """Yield the greatest memory that a step takes beside what must be there."""
    yield "Memory of a step of 5e7 parameters beside parameters, gradients and state, MB at most:"
    yield ""
    lines = []
    for library in ("thalweg", "torch"):
        beside = [r[library]["peak"] - r[library]["needed"] for r in rows if library in r]
        lines.append([library, f"{max(beside) / 1e6:.0f}"])
    yield from table(["", "MB"], lines)


def optimizers() -> Iterator[str]:
    """Yield all tables of the torch optimizers."""
    rows = results("optim")
    for setting in chosen(rows, "setting"):
        others = [f"{n} {setting[n]}" for n in ("torch", "pytorch_optimizer", "torch-optimi")]
        others.append(f"heavyball {setting['heavyball']}")
        yield f"{setting['threads']} threads; {', '.join(others)}."
        yield ""
    for part, write in (("step", steps), ("start", starts), ("memory", memories)):
        if found := chosen(rows, part):
            yield from write(found)


MODULES = {"mlp": "an MLP 64-64-10", "linear": "softmax regression", "lenet": "LeNet"}
WAYS = {"thalweg": "", "compiled": ", compiled", "linear": " as `thalweg race digits` has it"}


def modules() -> Iterator[str]:
    """Yield the table of trainings of modules side by side."""
    lines = []
    for row in results("race_modules"):
        found = row["per_minute"]
        peers = [max(found["loop"], found["loop, 1 thread"]), found["optuna"], found["jax"]]
        for way, words in WAYS.items():
            if way in found:
                ratios = [f"{found[way] / peer:.1f}" for peer in peers]
                lines.append([MODULES[row["module"]] + words, f"{found[way]:,.0f}", *ratios])
    titles = ["", "trials a minute", "over a loop of torch", "over Optuna", "over JAX with optax"]
    yield from table(titles, lines)


def races() -> Iterator[str]:
    """Yield the table of whole races."""
    lines = []
    for row in results("race"):
        if "race" in row:
            warm = statistics.median(row["warm"])
            cells = (f"{row['cold']:.0f}", f"{warm:.0f}", f"{row['peak_mib'] / 1024:.1f}")
            lines.append([row["race"], *cells])
    yield from table(["", "s, empty caches", "s, later", "GiB at most"], lines)


def arrays() -> Iterator[str]:
    """Yield the table of a step of NumPy arrays: the range of the ratio over the rules."""
    rows = [row for row in results("step") if row["ratio"]]
    shapes = list(dict.fromkeys((row["arrays"], row["size"]) for row in rows))
    fused = {row["rule"] for row in rows if "fused" in row["torch"]}
    lines = []
    for known, words in ((True, "that torch fuses"), (False, "that it does not")):
        own = [row for row in rows if (row["rule"] in fused) is known]
        cells = [f"{len({row['rule'] for row in own})} rules {words}"]
        for shape in shapes:
            ratios = [row["ratio"] for row in own if (row["arrays"], row["size"]) == shape]
            cells.append(f"{min(ratios):.2f} – {max(ratios):.2f}")
        lines.append(cells)
    yield from table(["", *(f"{count:,} × {size:,}" for count, size in shapes)], lines)
    yield noises(rows)


def epochs() -> Iterator[str]:
    """Yield the table of epochs of linear models."""
    rows = [row for row in results("epochs") if "contestant" in row]
    lines = []
    for row in rows:
        if row["contestant"] == "thalweg":
            ours = f"{row['microseconds']:.1f}"
            continue
        named = [f"{row['rule']}, {row['batch']}", f"{row['lanes']:,}"]
        peer = f"{row['contestant']} {in_digits(row['microseconds'])}"
        lines.append([*named, ours, peer, in_digits(row["ratio"])])
    yield from table(["rule, batch", "lanes", "thalweg", "peer", "peer / thalweg"], lines)
    yield noises(rows)


def busy() -> Iterator[str]:
    """Yield the table of steps beside busy processes, or how to make it."""
    if not (RESULTS / "busy.json").exists():
        yield "Not measured on this code yet.\n"
        return
    lines = []
    for row in results("busy"):
        times = (f"{1e3 * row[name]:.1f}" for name in ("mean", "median", "99 %"))
        against = (
            "{:.1f} [{:.1f}, {:.1f}]".format(row["ratio"], *row["interval"])
            if "ratio" in row
            else ""
        )
        lines.append([str(row["busy"]), row["contestant"], *times, against])
    titles = ["busy processes", "", "mean, ms", "median, ms", "99th percentile, ms"]
    yield from table([*titles, "mean over thalweg's [95 %]"], lines)


def repeats() -> Iterator[str]:
    """Yield what races of real data say of each other: a line for what, a column for each set."""
    rows = results("repeat")
    cells = {(row["what"], row["set"]): shares(row) for row in rows}
    whats, sets = (list(dict.fromkeys(row[name] for row in rows)) for name in ("what", "set"))
    lines = [[what, *(cells.get((what, name), "") for name in sets)] for what in whats]
    yield from table(["", *sets], lines)


def synthetic() -> Iterator[str]:
    """Yield what races of drawn losses find, a column for each strength of their own luck."""
    rows = results("verdicts")
    cells = {(row["what"], row["own"]): shares(row) for row in rows}
    whats, owns = (list(dict.fromkeys(row[name] for row in rows)) for name in ("what", "own"))
    lines = [[what, *(cells[what, own] for own in owns)] for what in whats]
    yield from table(["luck of one training", *(f"{own:.1%}" for own in owns)], lines)


def one_pass() -> Iterator[str]:
    """Yield the test losses of linear models with nothing tuned."""
    rows = results("one_pass")
    names = [name for name in rows[0] if name not in {"set", "loss"}]
    lines = [[row["set"], row["loss"], *(f"{row[name]:.4f}" for name in names)] for row in rows]
    yield from table(["set", "test loss", *names], lines)


def small() -> Iterator[str]:
    """Yield how often one way to fit small sets is worse than another."""
    rows = [
        [f"{row['one']}, beside {row['other']}", row["loss"], row["splits"],
         *map(str, row["worse"]),
         f"{row['worst']:.2f}", f"{row['mean']:.3f}"]
        for row in chosen(results("small"), "counts")
    ]  # fmt: skip
    titles = [
        "test loss",
        "loss",
        "splits",
        "> 1 % worse",
        "> 5 %",
        "> 10 %",
        "worst",
        "mean ratio",
    ]
    yield from table(titles, rows)


def peers() -> Iterator[str]:
    """Yield the times and losses of one pass of linear models and of others."""
    rows = chosen(results("linear"), "one pass")
    cells = {(row["contestant"], row["set"]): row for row in rows}
    names, sets = (list(dict.fromkeys(part)) for part in zip(*cells, strict=True))
    titles = [title for name in sets for title in (f"{name}, seconds", "test log loss")]
    lines = [
        [name, *(text for one in sets for text in timed(cells.get((name, one))))] for name in names
    ]
    yield from table(["one pass", *titles], lines)


def timed(row: Row | None) -> tuple[str, str]:
    if row is None:
        return "", ""
    loss = row["test loss"]
    return f"{row['seconds']:.3f}", "" if loss is None else f"{loss:.4f}"


def optima() -> Iterator[str]:
    """Yield the times of linear models, and of others, to near the optimum."""
    rows = chosen(results("linear"), "optimum")
    cells = {(row["contestant"], row["set"]): f"{row['seconds']:.3f}" for row in rows}
    names, sets = (list(dict.fromkeys(part)) for part in zip(*cells, strict=True))
    lines = [[name, *(cells.get((name, one), "") for one in sets)] for name in names]
    yield from table(["to 1e-3 of the least objective, seconds", *sets], lines)


def first_fits() -> Iterator[str]:
    """Yield how long first fits of linear models take, and later ones."""
    rows = results("first_fit")
    lines = [[row["fit"], f"{row['first']:.1f}", f"{row['second']:.2f}"] for row in rows]
    yield from table(["a first fit, seconds", "empty caches", "a later process"], lines)


def shares(row: Row) -> str:
    return f"{row['value']:.2g}" if "value" in row else f"{row['hits']:,} of {row['of']:,}"


def in_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def noises(rows: Iterable[Row]) -> str:
    found = [row["noise"] for row in rows]
    middle = f"{statistics.median(found):.0%}, at most {max(found):.0%}"
    return f"Half the interquartile range over the median: {middle}.\n"


def results(name: str) -> list[Row]:
    """Return the rows of a script's results."""
    rows: list[Row] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    return rows


def renewed(page: str, name: str) -> str:
    """Return a page with the tables of the results that there are."""
    for number, write in enumerate(PAGES[name]):
        first, last = (mark.format(number) for mark in MARKS)
        before, rest = page.split(first)
        page = "".join([before, first, "\n", "\n".join(write()), "\n", last, rest.split(last)[1]])
    return page


PAGES: dict[str, list[Callable[[], Iterator[str]]]] = {
    "optim.md": [optimizers],
    "speed.md": [races, modules, arrays, epochs, busy],
    "verdicts.md": [repeats, synthetic],
    "linear.md": [one_pass, small, peers, optima, first_fits],
}


def main() -> None:
    for name in PAGES:
        page = DOCS / name
        page.write_text(renewed(page.read_text(encoding="utf-8"), name), encoding="utf-8")


if __name__ == "__main__":
    main()
