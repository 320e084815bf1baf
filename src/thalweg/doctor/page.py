"""Page: what the doctor saw and found, as one self-contained file."""

import math
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from thalweg import files
from thalweg.doctor import pictures
from thalweg.doctor.causes import CAUSES
from thalweg.doctor.subject import first_tensor
from thalweg.doctor.watched import Watched
from thalweg.report.page import drawn, template

__all__ = ["check", "write"]

_MARK = b"<!-- a page of thalweg doctor -->"


def check(path: str | os.PathLike[str]) -> None:
    """Raise FileExistsError where a file that is no page of the doctor's is in the way."""
    files.check_replaceable(path, _MARK)


def write(path: str | os.PathLike[str], watched: Watched) -> Path:
    """Write the page; it needs no font, no script and no request.

    Args:
        path: of the page, such as ``doctor.html``; a page of the doctor's there is replaced.
        watched: what it shows.

    Raises:
        FileExistsError: another file is in its place; it stays.
        OSError: it cannot be written.
    """
    figures = {"timeline": drawn("Losses and signals", partial(pictures.timeline, watched))}
    if len(watched.notes) > 1:
        figures["layers"] = drawn("Layer by layer", partial(pictures.layers, watched))
    proof = watched.proof
    if proof is not None and any(cure.losses for cure in proof.cures):
        figures["proof"] = drawn("With and without the cure", partial(pictures.proof, proof))
    page = template(Path(__file__).parent / "page.html").render(
        watched=watched,
        report=watched.report,
        causes=CAUSES,
        figures=figures,
        measured=list(_measured(watched)),
        hardest=[(hard, pictures.image(first_tensor(hard.x))) for hard in proof.hardest]
        if proof
        else [],
        mark=_MARK.decode(),
    )
    return files.write(path, page.encode(), _MARK)


Row = tuple[str, str, list[float]]


def _measured(watched: Watched) -> Iterator[Row]:
    """Yield a row for each signal that is known: its name, what it means, and its values.

    They are those at the start, in the middle and at the end, of those that are finite.
    """
    norms, notes, looks = watched.norms[1], watched.notes, watched.dynamics
    moves = [max(filter(math.isfinite, n.updates), default=math.nan) for n in notes]
    critical = [d.critical for d in looks if d.critical is not None]
    noises = [d.noise.scale if d.noise else math.nan for d in looks]
    rows: list[tuple[str, str, Sequence[float]]] = [
        ("gradient norm", "of all parameters together", norms),
        ("largest update / weight", "of any parameter, in one step; about 0.001 is usual", moves),
        ("cosine", "of a gradient and that of the next step; below 0 steps zig-zag",
         [n.cosine for n in notes]),
        ("weight norm", "of all parameters together; decay makes it fall",
         [n.weights for n in notes]),
        ("rate", "of the first group", watched.rates),
        ("sharpness", "the largest curvature, as the rule feels it",
         [c.sharpness for c in critical]),
        ("rate / its limit", "about 1 is the edge of stability; far above, steps diverge",
         [c.ratio for c in critical]),
        ("gradient noise scale", "the batch size at which a step is as much noise as signal",
         noises),
        ("noise floor", "how far above its minimum this noise keeps the loss, by theory",
         [d.floor for d in looks]),
        ("dead units", "the largest share of one layer's that are always 0",
         [d.dead for d in looks]),
        ("saturated values", "the largest share of one layer's at an end of the activation's range",
         [d.saturated for d in looks]),
    ]  # fmt: skip
    for name, meaning, values in rows:
        known = [value for value in values if math.isfinite(value)]
        if known:
            yield name, meaning, [known[0], known[len(known) // 2], known[-1]]
