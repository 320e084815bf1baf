"""Write the tables of results/optim.json into docs/optim.md, between its two marks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measure import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "optim.md"
MARKS = "<!-- speed -->\n", "<!-- end of speed -->"

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


def text(rows: list[Row]) -> str:
    """Return all tables of what was measured."""
    lines = []
    for setting in chosen(rows, "setting"):
        others = [f"{n} {setting[n]}" for n in ("torch", "pytorch_optimizer", "torch-optimi")]
        others.append(f"heavyball {setting['heavyball']}")
        lines += [f"{setting['threads']} threads; {', '.join(others)}.", ""]
    for part, write in (("step", steps), ("start", starts), ("memory", memories)):
        if found := chosen(rows, part):
            lines += write(found)
    return "\n".join(lines)


def renewed(page: str) -> str:
    """Return the page with the tables of the results that there are."""
    rows = json.loads((RESULTS / "optim.json").read_text(encoding="utf-8"))["rows"]
    before, rest = page.split(MARKS[0])
    return f"{before}{MARKS[0]}\n{text(rows)}\n{MARKS[1]}{rest.split(MARKS[1])[1]}"


def main() -> None:
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
