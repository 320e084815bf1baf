"""Doctor: why a training fails, what cures it, and the proof."""

from thalweg.doctor.finding import Finding, Report

__all__ = ["Finding", "Report"]
