"""Races: which update rule trains your model best, at equal budget, with an honest error bar."""

from thalweg.progress import Progress, Standing
from thalweg.racing.race import race, resume
from thalweg.racing.verdict import Verdict

__all__ = ["Progress", "Standing", "Verdict", "race", "resume"]
