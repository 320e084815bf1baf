"""Linear models whose whole training is one compiled loop."""

from thalweg.linear.examples import Examples
from thalweg.linear.training import Training, train, train_on

__all__ = ["Examples", "Training", "train", "train_on"]
