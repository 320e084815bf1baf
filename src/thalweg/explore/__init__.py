"""Explorer: one page in which every rule, problem and schedule is alive.

The page's modules are in ``web/``, one for each room. What they compute with is written from
Python: rules from their equations, problems and schedules from their formulas.
"""

from thalweg.explore.own import declared
from thalweg.explore.page import check, write

__all__ = ["check", "declared", "write"]
