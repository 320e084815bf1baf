"""Tasks: what is trained: model, data and loss. They know nothing of races."""

from thalweg.tasks.task import Lane, Lanes, Target, Task

__all__ = ["Lane", "Lanes", "Target", "Task"]
