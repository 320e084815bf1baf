"""Kernels: a rule's equation, compiled to run at the speed of memory."""

from thalweg.kernels.kernel import source
from thalweg.kernels.step import Step

__all__ = ["Step", "source"]
