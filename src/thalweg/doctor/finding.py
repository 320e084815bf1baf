"""Finding: a cause of a failing training, with the evidence for it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Finding", "Report", "Severity"]

Severity = Literal["problem", "warning"]


@dataclass(frozen=True)
class Finding:
    """A cause that the evidence speaks for.

    Args:
        cause: its name in ``thalweg.doctor.causes.CAUSES``, which has the cure.
        severity: ``"problem"``: the training will fail, or learn less than it could, until this is
            mended; ``"warning"``: worth a look.
        sentence: what was found, in this training's own words and numbers.
        evidence: what was measured, by name.
        threshold: where the line between sick and healthy lies, as a sentence.
        source: where the threshold comes from: a paper, theory, or the script that calibrated it.
        onset: the step, counted from 0, at which it began; None: before the training.
        sure: how sure it is, from 0 to 1; findings are ordered by it within a severity.
    """

    cause: str
    severity: Severity
    sentence: str
    evidence: Mapping[str, float | str]
    threshold: str
    source: str
    onset: int | None = None
    sure: float = 1.0


@dataclass(frozen=True)
class Report:
    """What a look at a training brought.

    Args:
        findings: the most likely cause first.
        looked_at: what was looked at, a few words each.
        ruled_out: causes that would explain the signs, and the reason why each does not.
        skipped: what could not be looked at, and why.
        seconds: how long it took.
    """

    findings: tuple[Finding, ...]
    looked_at: tuple[str, ...] = ()
    ruled_out: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def __iter__(self) -> Iterator[Finding]:
        """Go through the findings."""
        return iter(self.findings)

    def __len__(self) -> int:
        """Return the number of findings."""
        return len(self.findings)
