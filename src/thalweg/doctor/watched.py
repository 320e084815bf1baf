"""Watched: what a page of the doctor shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from thalweg.doctor.finding import Report
from thalweg.doctor.signs import Curves

if TYPE_CHECKING:  # they load torch, which curves alone do not need
    from thalweg.doctor.dynamics import Dynamics
    from thalweg.doctor.proof import Proof
    from thalweg.doctor.signals import Note

__all__ = ["Watched"]


@dataclass(frozen=True)
class Watched:
    """What a page shows.

    Args:
        curves: the losses.
        report: what was found.
        norms: steps, and norms of the gradient.
        rates: one a step.
        layers: names of the parameters that are noted.
        notes: what was noted of them.
        dynamics: what was measured on copies.
        proof: courses with and without the cures; None: not asked for.
    """

    curves: Curves
    report: Report
    norms: tuple[Sequence[float], Sequence[float]] = ((), ())
    rates: Sequence[float] = ()
    layers: Sequence[str] = ()
    notes: Sequence["Note"] = ()
    dynamics: Sequence["Dynamics"] = ()
    proof: "Proof | None" = None
