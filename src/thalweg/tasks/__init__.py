"""Tasks: what is trained, model, data and loss, apart from what races it."""

from thalweg.tasks.task import Lane, Lanes, Target, Task

__all__ = ["Lane", "Lanes", "Target", "Task"]
