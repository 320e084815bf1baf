"""Tasks: what is trained, model, data and loss, apart from what races it."""

from thalweg.tasks.task import Lanes, Target, Task

__all__ = ["Lanes", "Target", "Task"]
