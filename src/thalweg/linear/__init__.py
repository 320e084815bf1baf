"""Linear models whose whole training is one compiled loop."""

from thalweg.linear.training import Training, train

__all__ = ["Training", "train"]
